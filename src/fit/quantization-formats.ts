/**
 * Formats other than GGUF: what a checkpoint for Transformers, vLLM or MLX takes, by the storage rules of each.
 *
 * All of them quantize the linear layers of the blocks and leave norms, biases and routers in 16 bits; they differ in
 * what they store beside the weights, and in what happens to the token embedding and the output matrix.
 */
import type { TensorGroup } from "./quantization-shape.ts";

export const FORMAT_NAMES = [
  "fp32",
  "fp16",
  "bf16",
  "fp8",
  "int8",
  "gptq-int8",
  "mlx-8bit",
  "mlx-4bit",
  "nf4",
  "nf4-double",
  "gptq-int4",
  "awq",
  "nvfp4",
  "mxfp4",
] as const;

export type FormatName = (typeof FORMAT_NAMES)[number];

interface Format {
  /** Bytes of one linear layer of `outputs` rows by `inputs` columns, scales included. */
  linear(inputs: number, outputs: number): number;
  /** Bytes per element of what is not quantized. */
  plain: 2 | 4;
  /** Embedding and output matrix are stored like the linear layers too. */
  embeddings?: true;
  /** Where there are experts, only they are quantized. */
  expertsOnly?: true;
}

/** Weights, scales and zero points of group quantization along the input dimension. */
function grouped(bits: number, scaleBits: number, zeroBits: number, indexBytes: number) {
  return (inputs: number, outputs: number) => {
    const groups = Math.ceil(inputs / 128);
    return (outputs * (inputs * bits + groups * (scaleBits + zeroBits))) / 8 + inputs * indexBytes;
  };
}

const FORMATS: Record<FormatName, Format> = {
  fp32: { linear: (inputs, outputs) => inputs * outputs * 4, plain: 4 },
  fp16: { linear: (inputs, outputs) => inputs * outputs * 2, plain: 2 },
  bf16: { linear: (inputs, outputs) => inputs * outputs * 2, plain: 2 },
  // One float32 scale per output channel (compressed-tensors); block scales of 128 x 128 take less.
  fp8: { linear: (inputs, outputs) => inputs * outputs + outputs * 4, plain: 2 },
  // bitsandbytes LLM.int8: one float32 statistic per row.
  int8: { linear: (inputs, outputs) => inputs * outputs + outputs * 4, plain: 2 },
  // GPTQ, groups of 128: float16 scales, packed zero points, an int32 group index per input.
  "gptq-int8": { linear: grouped(8, 16, 8, 4), plain: 2 },
  "gptq-int4": { linear: grouped(4, 16, 4, 4), plain: 2 },
  // AWQ stores the same without the index.
  awq: { linear: grouped(4, 16, 4, 0), plain: 2 },
  // bitsandbytes: one float32 maximum per 64 weights; doubled, those maxima become int8 in blocks of 256.
  nf4: { linear: (inputs, outputs) => (inputs * outputs) / 2 + Math.ceil((inputs * outputs) / 64) * 4, plain: 2 },
  "nf4-double": { linear: doubleQuantized, plain: 2 },
  // MLX, groups of 64: a 16-bit scale and a 16-bit bias each; embedding and output matrix included.
  "mlx-4bit": { linear: (inputs, outputs) => (inputs * outputs * 4.5) / 8, plain: 2, embeddings: true },
  "mlx-8bit": { linear: (inputs, outputs) => (inputs * outputs * 8.5) / 8, plain: 2, embeddings: true },
  // OCP microscaling: one shared 8-bit exponent per 32 weights. Published for expert layers.
  mxfp4: { linear: (inputs, outputs) => (inputs * outputs * 4.25) / 8, plain: 2, expertsOnly: true },
  // One 8-bit float scale per 16 weights and one float32 per tensor.
  nvfp4: { linear: (inputs, outputs) => (inputs * outputs * 4.5) / 8 + 4, plain: 2 },
};

function doubleQuantized(inputs: number, outputs: number): number {
  const blocks = Math.ceil((inputs * outputs) / 64);
  return (inputs * outputs) / 2 + blocks + Math.ceil(blocks / 256) * 4;
}

export function isFormatName(name: string): name is FormatName {
  return (FORMAT_NAMES as readonly string[]).includes(name);
}

/** Bytes of one tensor of a group in this format. `hasExperts`: the model is a mixture of experts. */
export function formatTensorBytes(format: FormatName, group: TensorGroup, hasExperts: boolean): number {
  const { linear, plain, embeddings, expertsOnly } = FORMATS[format];
  const table = group.category === "tokenEmbedding" || group.category === "output";
  const quantized = group.quantized && (embeddings || !table) && !(expertsOnly && hasExperts && !group.expert);
  if (!quantized) return group.elements * plain;
  return linear(group.rowLength, group.rows);
}
