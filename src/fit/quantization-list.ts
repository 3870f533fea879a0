/** The quantizations by name: what each is for, and how large it makes a model. */
import type { FormatName } from "./quantization-formats.ts";
import { canonicalQuantization } from "./quantization-names.ts";
import type { LlamaMix } from "./quantization-rules.ts";
import type { DynamicMixName, LargeMix } from "./quantization-variants.ts";

export type QuantizationName = LlamaMix | LargeMix | DynamicMixName | FormatName;

/** Which software a quantization is for. */
export type QuantizationFamily = "gguf" | "transformers" | "vllm" | "mlx";

export interface Quantization {
  name: QuantizationName;
  family: QuantizationFamily;
  /** Bits per weight of the whole file for a Llama-3.1-8B shape; other shapes differ by their share of embeddings. */
  bitsPerWeight: number;
  description: string;
}

/** Largest first. */
export const QUANTIZATIONS: readonly Quantization[] = [
  { name: "fp32", family: "transformers", bitsPerWeight: 32, description: "Full precision, as kept for training" },
  { name: "F32", family: "gguf", bitsPerWeight: 32, description: "Full precision, a step of conversion" },
  { name: "bf16", family: "transformers", bitsPerWeight: 16, description: "As most models are published" },
  { name: "fp16", family: "transformers", bitsPerWeight: 16, description: "Half precision" },
  { name: "BF16", family: "gguf", bitsPerWeight: 16, description: "As most models are published" },
  { name: "F16", family: "gguf", bitsPerWeight: 16, description: "Half precision" },
  {
    name: "UD-Q8_K_XL",
    family: "gguf",
    bitsPerWeight: 10.54,
    description: "8 bits, with the most delicate tensors in 16",
  },
  { name: "gptq-int8", family: "vllm", bitsPerWeight: 9.21, description: "GPTQ with 8-bit weights in groups of 128" },
  { name: "fp8", family: "vllm", bitsPerWeight: 9.05, description: "8-bit floats for cards that compute with them" },
  { name: "int8", family: "transformers", bitsPerWeight: 9.05, description: "LLM.int8 of bitsandbytes" },
  { name: "Q8_0", family: "gguf", bitsPerWeight: 8.5, description: "8 bits: no loss anyone has measured in use" },
  {
    name: "MXFP4_MOE",
    family: "gguf",
    bitsPerWeight: 8.5,
    description: "Experts in 4-bit microscaling floats, the rest in 8 bits; made for mixtures of experts",
  },
  { name: "mlx-8bit", family: "mlx", bitsPerWeight: 8.5, description: "8 bits on Apple silicon" },
  { name: "UD-Q6_K_XL", family: "gguf", bitsPerWeight: 7.35, description: "6 bits, with delicate tensors in 8" },
  { name: "Q6_K_L", family: "gguf", bitsPerWeight: 6.82, description: "6 bits, embeddings and output in 8" },
  { name: "UD-Q6_K", family: "gguf", bitsPerWeight: 6.76, description: "6 bits by a later recipe" },
  { name: "Q6_K", family: "gguf", bitsPerWeight: 6.56, description: "6 bits: next to no loss" },
  { name: "Q5_1", family: "gguf", bitsPerWeight: 6.04, description: "Old 5-bit kind with minima" },
  { name: "Q5_K_L", family: "gguf", bitsPerWeight: 6.03, description: "5 bits, embeddings and output in 8" },
  { name: "nvfp4", family: "vllm", bitsPerWeight: 6, description: "NVIDIA's 4-bit floats, for Blackwell cards" },
  { name: "nf4", family: "transformers", bitsPerWeight: 6, description: "NF4 of bitsandbytes" },
  {
    name: "mxfp4",
    family: "vllm",
    bitsPerWeight: 5.79,
    description: "4-bit microscaling floats; in mixtures of experts for the experts alone",
  },
  { name: "UD-Q5_K_XL", family: "gguf", bitsPerWeight: 5.73, description: "5 bits, types chosen layer by layer" },
  { name: "gptq-int4", family: "vllm", bitsPerWeight: 5.71, description: "GPTQ with 4-bit weights in groups of 128" },
  { name: "awq", family: "vllm", bitsPerWeight: 5.71, description: "AWQ with 4-bit weights in groups of 128" },
  { name: "Q5_K_M", family: "gguf", bitsPerWeight: 5.7, description: "5 bits: very little loss" },
  { name: "UD-Q5_K_M", family: "gguf", bitsPerWeight: 5.7, description: "5 bits by a later recipe" },
  { name: "nf4-double", family: "transformers", bitsPerWeight: 5.68, description: "NF4 with its scales quantized too" },
  { name: "Q5_K_S", family: "gguf", bitsPerWeight: 5.57, description: "5 bits, a little smaller" },
  { name: "Q5_0", family: "gguf", bitsPerWeight: 5.57, description: "Old 5-bit kind" },
  { name: "UD-Q5_K_S", family: "gguf", bitsPerWeight: 5.57, description: "5 bits by a later recipe, a little smaller" },
  { name: "Q4_K_L", family: "gguf", bitsPerWeight: 5.28, description: "4 bits, embeddings and output in 8" },
  { name: "Q4_1", family: "gguf", bitsPerWeight: 5.1, description: "Old 4-bit kind with minima" },
  { name: "UD-Q4_K_XL", family: "gguf", bitsPerWeight: 5, description: "4 bits, types chosen layer by layer" },
  { name: "Q4_K_M", family: "gguf", bitsPerWeight: 4.89, description: "4 bits: the usual choice" },
  { name: "UD-Q4_K_M", family: "gguf", bitsPerWeight: 4.89, description: "4 bits by a later recipe" },
  { name: "Q3_K_XL", family: "gguf", bitsPerWeight: 4.76, description: "3 bits, embeddings and output in 8" },
  { name: "Q4_K_S", family: "gguf", bitsPerWeight: 4.67, description: "4 bits, a little smaller" },
  { name: "UD-Q4_K_S", family: "gguf", bitsPerWeight: 4.67, description: "4 bits by a later recipe, a little smaller" },
  {
    name: "IQ4_NL",
    family: "gguf",
    bitsPerWeight: 4.65,
    description: "4 bits on a curve, for rows that others do not divide",
  },
  { name: "UD-IQ4_NL", family: "gguf", bitsPerWeight: 4.65, description: "4 bits on a curve by a later recipe" },
  { name: "Q4_0", family: "gguf", bitsPerWeight: 4.64, description: "Old 4-bit kind, quick on processors" },
  { name: "mlx-4bit", family: "mlx", bitsPerWeight: 4.5, description: "4 bits on Apple silicon" },
  { name: "IQ4_XS", family: "gguf", bitsPerWeight: 4.42, description: "4 bits on a curve, the smallest of them" },
  { name: "UD-IQ4_XS", family: "gguf", bitsPerWeight: 4.42, description: "4 bits on a curve by a later recipe" },
  { name: "Q3_K_L", family: "gguf", bitsPerWeight: 4.3, description: "3 bits, the better part in 5" },
  { name: "UD-Q3_K_XL", family: "gguf", bitsPerWeight: 4.12, description: "3 bits, types chosen layer by layer" },
  { name: "Q3_K_M", family: "gguf", bitsPerWeight: 4, description: "3 bits: loss begins to show" },
  { name: "UD-Q3_K_M", family: "gguf", bitsPerWeight: 4, description: "3 bits by a later recipe" },
  { name: "IQ3_M", family: "gguf", bitsPerWeight: 3.76, description: "3 bits from a codebook, some tensors in 4" },
  { name: "UD-IQ3_S", family: "gguf", bitsPerWeight: 3.7, description: "3 bits from a codebook by a later recipe" },
  { name: "Q2_K_L", family: "gguf", bitsPerWeight: 3.67, description: "2 bits, embeddings and output in 8" },
  { name: "IQ3_S", family: "gguf", bitsPerWeight: 3.66, description: "3 bits from a codebook" },
  { name: "Q3_K_S", family: "gguf", bitsPerWeight: 3.64, description: "3 bits, small: clear loss" },
  { name: "IQ3_XS", family: "gguf", bitsPerWeight: 3.5, description: "3 bits from a codebook, smaller" },
  {
    name: "UD-IQ3_XXS",
    family: "gguf",
    bitsPerWeight: 3.29,
    description: "3 bits from a codebook, types chosen layer by layer",
  },
  { name: "UD-Q2_K_XL", family: "gguf", bitsPerWeight: 3.26, description: "2 bits, types chosen layer by layer" },
  { name: "IQ3_XXS", family: "gguf", bitsPerWeight: 3.25, description: "3 bits from a codebook, the smallest of them" },
  { name: "Q2_K", family: "gguf", bitsPerWeight: 3.16, description: "2 bits: heavy loss, for large models alone" },
  {
    name: "UD-IQ2_M",
    family: "gguf",
    bitsPerWeight: 2.99,
    description: "2 bits from a codebook, types chosen layer by layer",
  },
  { name: "Q2_K_S", family: "gguf", bitsPerWeight: 2.97, description: "2 bits, small" },
  { name: "IQ2_M", family: "gguf", bitsPerWeight: 2.93, description: "2 bits from a codebook, medium" },
  { name: "IQ2_S", family: "gguf", bitsPerWeight: 2.74, description: "2 bits from a codebook, small" },
  { name: "IQ2_XS", family: "gguf", bitsPerWeight: 2.59, description: "2 bits from a codebook, smaller" },
  {
    name: "TQ2_0",
    family: "gguf",
    bitsPerWeight: 2.52,
    description: "Ternary weights in 2 bits, for models trained so",
  },
  {
    name: "UD-IQ2_XXS",
    family: "gguf",
    bitsPerWeight: 2.45,
    description: "2 bits from a codebook, types chosen layer by layer",
  },
  { name: "IQ2_XXS", family: "gguf", bitsPerWeight: 2.38, description: "2 bits from a codebook, the smallest of them" },
  { name: "UD-IQ1_M", family: "gguf", bitsPerWeight: 2.24, description: "Below 2 bits, types chosen layer by layer" },
  {
    name: "TQ1_0",
    family: "gguf",
    bitsPerWeight: 2.19,
    description: "Ternary weights, packed tightly, for models trained so",
  },
  { name: "IQ1_M", family: "gguf", bitsPerWeight: 2.15, description: "Below 2 bits: hardly usable" },
  { name: "UD-IQ1_S", family: "gguf", bitsPerWeight: 2.11, description: "The smallest, types chosen layer by layer" },
  { name: "IQ1_S", family: "gguf", bitsPerWeight: 2, description: "The smallest: hardly usable" },
];

const byName = new Map<string, Quantization>(QUANTIZATIONS.map((one) => [one.name, one]));

/** The quantization of this name, in any usual spelling; undefined when it is none we know. */
export function findQuantization(name: string): Quantization | undefined {
  return byName.get(name) ?? byName.get(canonicalQuantization(name)) ?? byName.get(name.toLowerCase());
}
