/** File mixes that publishers made out of llama.cpp's: exactly known ones, and ones known by the sizes of their files. */
import type { LlamaMix } from "./quantization-rules.ts";

/** Mixes with the token embedding and the output matrix in Q8_0, as bartowski's repositories name them. */
export const LARGE_MIXES = {
  Q6_K_L: "Q6_K",
  Q5_K_L: "Q5_K_M",
  Q4_K_L: "Q4_K_M",
  Q3_K_XL: "Q3_K_L",
  Q2_K_L: "Q2_K",
} as const satisfies Record<string, LlamaMix>;

export type LargeMix = keyof typeof LARGE_MIXES;

/** A mix with types of its own per model, described by what its files weigh against those of a plain mix. */
export interface DynamicMix {
  base: LlamaMix;
  /** Median of file size over base size, for dense models and for mixtures of experts. */
  dense: number;
  experts: number;
  /** The same for the architectures of 2026, which Unsloth quantizes by a later recipe. */
  denseLater: number;
  expertsLater: number;
  /** Largest deviation seen, as a share. */
  tolerance: number;
}

/**
 * Unsloth Dynamic mixes. Their types are chosen layer by layer for each model and not published as a rule, so only
 * sizes can be told: factors are medians over the files in test/fixtures/gguf-file-sizes.jsonl, and where no file of a
 * kind was at hand, the value of the nearest kind.
 */
export const DYNAMIC_MIXES = {
  "UD-Q8_K_XL": mix("Q8_0", 1.24, 1.11, 1.08, 1.03, 0.1),
  "UD-Q6_K_XL": mix("Q6_K", 1.12, 1.05, 1.09, 1.07, 0.06),
  "UD-Q6_K": mix("Q6_K", 1.03, 1.03, 1.03, 1.03, 0.03),
  "UD-Q5_K_XL": mix("Q5_K_M", 1.004, 1.001, 1.007, 1.09, 0.03),
  "UD-Q5_K_M": mix("Q5_K_M", 1.0, 1.0, 1.0, 1.09, 0.03),
  "UD-Q5_K_S": mix("Q5_K_S", 1.0, 1.0, 1.0, 1.044, 0.03),
  "UD-Q4_K_XL": mix("Q4_K_M", 1.021, 0.954, 1.059, 1.05, 0.16),
  "UD-Q4_K_M": mix("Q4_K_M", 1.0, 1.0, 1.0, 1.028, 0.03),
  "UD-Q4_K_S": mix("Q4_K_S", 1.0, 1.0, 1.0, 1.059, 0.03),
  "UD-Q3_K_XL": mix("Q3_K_M", 1.031, 0.939, 0.99, 0.987, 0.03),
  "UD-Q3_K_M": mix("Q3_K_M", 1.0, 1.0, 0.98, 0.977, 0.03),
  "UD-Q2_K_XL": mix("Q2_K", 1.031, 1.048, 0.966, 0.972, 0.05),
  "UD-IQ4_NL": mix("IQ4_NL", 1.0, 1.0, 0.96, 0.93, 0.03),
  "UD-IQ4_XS": mix("IQ4_XS", 1.0, 1.0, 0.97, 0.964, 0.03),
  "UD-IQ3_S": mix("IQ3_S", 1.01, 1.05, 0.97, 0.954, 0.04),
  "UD-IQ3_XXS": mix("IQ3_XXS", 1.012, 1.088, 0.98, 1.009, 0.04),
  "UD-IQ2_M": mix("IQ2_M", 1.019, 1.068, 0.965, 0.979, 0.05),
  "UD-IQ2_XXS": mix("IQ2_XXS", 1.029, 1.267, 1.0, 1.14, 0.08),
  "UD-IQ1_M": mix("IQ1_M", 1.042, 1.366, 1.04, 1.37, 0.06),
  "UD-IQ1_S": mix("IQ1_S", 1.054, 1.41, 1.05, 1.41, 0.07),
} as const satisfies Record<string, DynamicMix>;

export type DynamicMixName = keyof typeof DYNAMIC_MIXES;

function mix(
  base: LlamaMix,
  dense: number,
  experts: number,
  denseLater: number,
  expertsLater: number,
  tolerance: number,
): DynamicMix {
  return { base, dense, experts, denseLater, expertsLater, tolerance };
}

const LATER_ARCHITECTURES: ReadonlySet<string> = new Set(["qwen35", "qwen35moe", "gemma4"]);

/** What a file of this mix weighs, as a multiple of its base. */
export function dynamicFactor(mix: DynamicMix, model: { architecture: string; expertCount: number }): number {
  if (LATER_ARCHITECTURES.has(model.architecture)) return model.expertCount > 1 ? mix.expertsLater : mix.denseLater;
  return model.expertCount > 1 ? mix.experts : mix.dense;
}

export function isLargeMix(name: string): name is LargeMix {
  return Object.hasOwn(LARGE_MIXES, name);
}

export function isDynamicMix(name: string): name is DynamicMixName {
  return Object.hasOwn(DYNAMIC_MIXES, name);
}
