/** Names of quantizations as files and people write them. */

const LABEL =
  /(?<=^|[-._/ ])(?:UD-)?(?:I?Q[1-8]_(?:K(?:_(?:XXL|XL|L|M|S|XS))?|[01]|XXS|XS|NL|XL|S|M|L)|TQ[12]_0|BF16|FP?16|FP?32|MXFP4(?:_MOE)?|NVFP4)(?=$|[-._/ ])/gi;

/** "Q4_K_M" of "Qwen3-8B-Q4_K_M.gguf", "UD-Q4_K_XL" of "x-UD-Q4_K_XL-00001-of-00002.gguf"; undefined without one. */
export function quantizationOfName(name: string): string | undefined {
  const labels = name.match(LABEL);
  return labels === null ? undefined : canonicalQuantization(labels[labels.length - 1]!);
}

/** One spelling: upper case, F16 for FP16, and llama.cpp's name for files with MXFP4 experts. */
export function canonicalQuantization(label: string): string {
  const upper = label.toUpperCase();
  if (upper === "MXFP4") return "MXFP4_MOE";
  return upper === "FP16" || upper === "FP32" ? upper.replace("FP", "F") : upper;
}
