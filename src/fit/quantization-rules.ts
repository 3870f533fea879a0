/**
 * Which tensor type llama.cpp's quantizer gives each tensor under each file mix, as rules over classes of tensors.
 *
 * Source of the facts: the selection logic of `src/llama-quant.cpp` in the llama.cpp release that node-llama-cpp
 * ships. A rule names one type for a whole class plus, at most, two nested zones of layers that get a better one, so
 * that bytes follow from a few counts instead of a walk over every tensor.
 */
import { TENSOR_TYPES, type TensorType } from "./quantization.ts";

/** File mixes of llama.cpp's quantizer. */
export const LLAMA_MIXES = [
  "F32",
  "F16",
  "BF16",
  "Q8_0",
  "Q6_K",
  "Q5_K_M",
  "Q5_K_S",
  "Q5_1",
  "Q5_0",
  "Q4_K_M",
  "Q4_K_S",
  "Q4_1",
  "Q4_0",
  "Q3_K_L",
  "Q3_K_M",
  "Q3_K_S",
  "Q2_K",
  "Q2_K_S",
  "IQ4_NL",
  "IQ4_XS",
  "IQ3_M",
  "IQ3_S",
  "IQ3_XS",
  "IQ3_XXS",
  "IQ2_M",
  "IQ2_S",
  "IQ2_XS",
  "IQ2_XXS",
  "IQ1_M",
  "IQ1_S",
  "TQ2_0",
  "TQ1_0",
  "MXFP4_MOE",
] as const;

export type LlamaMix = (typeof LLAMA_MIXES)[number];

/** The type most tensors of a mix get. The names of the IQ2_S, IQ2_M and IQ3_XS mixes do not say their base type. */
const BASE_TYPE: Record<LlamaMix, TensorType> = {
  F32: "F32",
  F16: "F16",
  BF16: "BF16",
  Q8_0: "Q8_0",
  Q6_K: "Q6_K",
  Q5_K_M: "Q5_K",
  Q5_K_S: "Q5_K",
  Q5_1: "Q5_1",
  Q5_0: "Q5_0",
  Q4_K_M: "Q4_K",
  Q4_K_S: "Q4_K",
  Q4_1: "Q4_1",
  Q4_0: "Q4_0",
  Q3_K_L: "Q3_K",
  Q3_K_M: "Q3_K",
  Q3_K_S: "Q3_K",
  Q2_K: "Q2_K",
  Q2_K_S: "Q2_K",
  IQ4_NL: "IQ4_NL",
  IQ4_XS: "IQ4_XS",
  IQ3_M: "IQ3_S",
  IQ3_S: "IQ3_S",
  IQ3_XS: "IQ3_S",
  IQ3_XXS: "IQ3_XXS",
  IQ2_M: "IQ2_S",
  IQ2_S: "IQ2_XS",
  IQ2_XS: "IQ2_XS",
  IQ2_XXS: "IQ2_XXS",
  IQ1_M: "IQ1_M",
  IQ1_S: "IQ1_S",
  TQ2_0: "TQ2_0",
  TQ1_0: "TQ1_0",
  MXFP4_MOE: "MXFP4",
};

export const TENSOR_CATEGORIES = [
  "tokenEmbedding",
  "output",
  "attentionQ",
  "attentionK",
  "attentionV",
  "attentionQkv",
  "attentionOutput",
  "ffnUp",
  "ffnGate",
  "ffnDown",
  "other",
] as const;

/** Classes the quantizer treats alike. MLA's KV expansion counts as `attentionV`. */
export type TensorCategory = (typeof TENSOR_CATEGORIES)[number];

/** Layers a rule may single out, by a tensor's position among its class. */
export const ZONES = [
  "moreBits",
  "firstEighth",
  "firstSixteenth",
  "firstTwo",
  "firstFour",
  "middle",
  "earlyFfnDown",
] as const;
export type Zone = (typeof ZONES)[number];

/** `type` for the class, except in the zones; the first zone that holds a tensor wins, and lies inside the second. */
export interface TypeRule {
  type: TensorType;
  zones: readonly { zone: Zone; type: TensorType }[];
}

/** What else the selection depends on. */
export interface SelectionFacts {
  falcon: boolean;
  /** Fused QKV follows rules of its own, as in releases before 2026, and not those of `attentionV`. */
  ownFusedQkv: boolean;
  /** 80-layer Llama or Qwen2 shapes with shared KV heads: `attn_v` is small there and gets Q5_K at least. */
  seventyB: boolean;
  /** Query heads per KV head of the first layer. */
  headsPerKvHead: number;
  expertCount: number;
  /** Quantized with an importance matrix, as nearly all published I-quants are. */
  importanceMatrix: boolean;
}

/** The rule for tensors of one category under one mix; `expertMatrix` says the tensor stacks experts (3-D). */
export function typeRule(
  mix: LlamaMix,
  category: TensorCategory,
  facts: SelectionFacts,
  expertMatrix: boolean,
): TypeRule {
  const type = BASE_TYPE[mix];
  if (isFloat(type)) return plain(type);
  if (mix === "MXFP4_MOE") return plain(expertMatrix ? "MXFP4" : "Q8_0");
  switch (category) {
    case "output":
      return plain(outputType(mix, facts));
    case "tokenEmbedding":
      return plain(tokenEmbeddingType(mix));
    case "attentionV":
      return attentionVRule(mix, facts);
    case "attentionQkv":
      return facts.ownFusedQkv ? plain(fusedQkvType(mix)) : attentionVRule(mix, facts);
    case "attentionK":
      return plain(attentionKType(mix, facts));
    case "attentionQ":
      return plain(mix === "IQ3_XS" ? "IQ3_XXS" : mix === "IQ3_XXS" ? "IQ2_S" : type);
    case "attentionOutput":
      return plain(attentionOutputType(mix, facts));
    case "ffnDown":
      return ffnDownRule(mix, facts);
    case "ffnGate":
    case "ffnUp":
      return mix === "IQ3_XS" ? zoned(type, ["middle", "IQ3_XXS"]) : plain(type);
    case "other":
      return plain(type);
  }
}

/**
 * A type that can store rows of this length: the wanted one, else its 32-block stand-in, else F16. Output matrices
 * take Q8_0 at once, when the mix's base type cannot store them.
 */
export function typeForRows(type: TensorType, rowLength: number): TensorType {
  if (rowLength % TENSOR_TYPES[type].blockSize === 0) return type;
  const standIn = STAND_IN[type] ?? type;
  return rowLength % TENSOR_TYPES[standIn].blockSize === 0 ? standIn : "F16";
}

export function outputTypeForRows(mix: LlamaMix, type: TensorType, rowLength: number): TensorType {
  const fits = rowLength % TENSOR_TYPES[BASE_TYPE[mix]].blockSize === 0;
  return typeForRows(fits || isFloat(type) ? type : "Q8_0", rowLength);
}

const STAND_IN: Partial<Record<TensorType, TensorType>> = {
  IQ1_S: "IQ4_NL",
  IQ1_M: "IQ4_NL",
  IQ2_XXS: "IQ4_NL",
  IQ2_XS: "IQ4_NL",
  IQ2_S: "IQ4_NL",
  IQ3_XXS: "IQ4_NL",
  IQ3_S: "IQ4_NL",
  IQ4_XS: "IQ4_NL",
  Q2_0: "Q4_0",
  Q2_K: "Q4_0",
  Q3_K: "Q4_0",
  TQ1_0: "Q4_0",
  TQ2_0: "Q4_0",
  Q4_K: "Q5_0",
  Q5_K: "Q5_1",
  Q6_K: "Q8_0",
};

/** The mixes at two bits and below protect attention and the first layers in a way of their own. */
const SMALLEST_MIXES: ReadonlySet<LlamaMix> = new Set(["IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M"]);

function outputType(mix: LlamaMix, facts: SelectionFacts): TensorType {
  if (facts.falcon || mix === "Q8_0") return "Q8_0";
  return SMALLEST_MIXES.has(mix) || mix === "IQ3_XXS" ? "Q5_K" : "Q6_K";
}

function tokenEmbeddingType(mix: LlamaMix): TensorType {
  switch (mix) {
    case "IQ1_S":
    case "IQ1_M":
    case "IQ2_XXS":
    case "IQ2_XS":
      return "Q2_K";
    case "IQ2_S":
    case "IQ2_M":
    case "IQ3_XXS":
      return "IQ3_S";
    case "TQ1_0":
    case "TQ2_0":
      return "Q4_K";
    default:
      return BASE_TYPE[mix];
  }
}

function attentionVRule(mix: LlamaMix, facts: SelectionFacts): TypeRule {
  if (SMALLEST_MIXES.has(mix)) {
    if (facts.headsPerKvHead >= 4 || facts.expertCount >= 4) return plain("Q4_K");
    return plain(mix === "IQ2_S" || mix === "IQ2_M" ? "IQ3_S" : "Q2_K");
  }
  if (facts.expertCount === 8) return plain("Q8_0");
  const rule = attentionVBase(mix, facts);
  return facts.seventyB ? mapTypes(rule, (type) => (type === "Q3_K" || type === "Q4_K" ? "Q5_K" : type)) : rule;
}

function attentionVBase(mix: LlamaMix, facts: SelectionFacts): TypeRule {
  const type = BASE_TYPE[mix];
  const grouped = facts.headsPerKvHead >= 4;
  switch (mix) {
    case "Q2_K":
      return plain(grouped ? "Q4_K" : "Q3_K");
    case "Q2_K_S":
    case "IQ3_XS":
    case "IQ3_S":
      return plain(grouped ? "Q4_K" : type);
    case "IQ3_XXS":
      return plain(grouped ? "Q4_K" : facts.importanceMatrix ? "IQ3_XXS" : "IQ3_S");
    case "IQ3_M":
      return plain("Q4_K");
    case "Q3_K_M":
      return zoned("Q4_K", ["firstTwo", "Q5_K"]);
    case "Q3_K_L":
      return plain("Q5_K");
    case "IQ4_NL":
    case "IQ4_XS":
      return plain(grouped ? "Q5_K" : type);
    case "Q4_K_M":
    case "Q5_K_M":
      return zoned(type, ["moreBits", "Q6_K"]);
    case "Q4_K_S":
      return zoned(type, ["firstFour", "Q5_K"]);
    default:
      return plain(type);
  }
}

function fusedQkvType(mix: LlamaMix): TensorType {
  if (mix === "Q3_K_M" || mix === "Q3_K_L" || mix === "IQ3_M") return "Q4_K";
  if (mix === "Q4_K_M") return "Q5_K";
  return mix === "Q5_K_M" ? "Q6_K" : BASE_TYPE[mix];
}

function attentionKType(mix: LlamaMix, facts: SelectionFacts): TensorType {
  if (facts.expertCount === 8) return SMALLEST_MIXES.has(mix) ? "Q4_K" : "Q8_0";
  return mix === "IQ3_XS" ? "IQ3_XXS" : mix === "IQ3_XXS" ? "IQ2_S" : BASE_TYPE[mix];
}

const EIGHT_EXPERT_OUTPUT_Q5_K: ReadonlySet<LlamaMix> = new Set([
  "Q2_K",
  "IQ3_XS",
  "IQ3_XXS",
  "Q3_K_S",
  "Q3_K_M",
  "IQ4_NL",
  "Q4_K_S",
  "Q4_K_M",
  "IQ3_S",
  "IQ3_M",
  "IQ4_XS",
  "IQ1_S",
  "IQ1_M",
  "IQ2_XXS",
  "IQ2_XS",
  "IQ2_S",
  "IQ2_M",
]);

function attentionOutputType(mix: LlamaMix, facts: SelectionFacts): TensorType {
  const type = BASE_TYPE[mix];
  if (facts.expertCount === 8 && !(facts.falcon && !SMALLEST_MIXES.has(mix))) {
    return EIGHT_EXPERT_OUTPUT_Q5_K.has(mix) ? "Q5_K" : type;
  }
  if (mix === "IQ1_S" || mix === "IQ1_M") return "IQ2_XXS";
  if (mix === "IQ2_S" || mix === "IQ2_M") return "IQ3_S";
  if (facts.falcon) return mix === "Q3_K_L" ? "Q4_K" : type;
  if (mix === "Q2_K") return "Q3_K";
  if (mix === "IQ3_XXS") return "IQ3_S";
  if (mix === "Q3_K_M" || mix === "IQ3_M") return "Q4_K";
  return mix === "Q3_K_L" ? "Q5_K" : type;
}

function ffnDownRule(mix: LlamaMix, facts: SelectionFacts): TypeRule {
  const type = BASE_TYPE[mix];
  switch (mix) {
    case "IQ2_S":
    case "IQ2_M":
      return zoned(type, ["earlyFfnDown", "IQ3_S"]);
    case "IQ1_S":
    case "IQ1_M":
    case "IQ2_XXS":
    case "IQ2_XS":
      return zoned(type, ["earlyFfnDown", "Q2_K"]);
    case "Q2_K":
      return plain("Q3_K");
    case "Q2_K_S":
      return zoned(type, ["firstEighth", "Q4_K"]);
    case "IQ3_XXS":
      return facts.importanceMatrix ? plain(type) : zoned("Q3_K", ["firstEighth", "Q4_K"]);
    case "Q3_K_M":
      if (facts.falcon) return zoned("Q3_K", ["firstSixteenth", "Q5_K"], ["moreBits", "Q4_K"]);
      return zoned("Q4_K", ["firstSixteenth", "Q5_K"]);
    case "IQ3_M":
      return zoned(type, [facts.expertCount === 8 ? "moreBits" : "firstEighth", "Q4_K"]);
    case "Q3_K_L":
      return plain(facts.falcon ? "Q4_K" : "Q5_K");
    case "Q4_K_M":
      if (facts.falcon) return zoned(type, ["firstSixteenth", "Q6_K"], ["moreBits", "Q5_K"]);
      return zoned(type, ["moreBits", "Q6_K"]);
    case "IQ4_NL":
    case "IQ4_XS":
      return facts.importanceMatrix ? plain(type) : zoned(type, ["firstEighth", "Q5_K"]);
    case "Q5_K_M":
      return zoned(type, ["moreBits", "Q6_K"]);
    case "Q4_K_S":
      return facts.falcon ? plain(type) : zoned(type, ["firstEighth", "Q5_K"]);
    case "Q4_0":
    case "Q5_0":
      // The first ffn_down layers go astray in these two even with a matrix, so the quantizer steps them up.
      return facts.importanceMatrix ? zoned(type, ["firstEighth", mix === "Q4_0" ? "Q4_1" : "Q5_1"]) : plain(type);
    default:
      return plain(type);
  }
}

function isFloat(type: TensorType): boolean {
  return type === "F32" || type === "F16" || type === "BF16";
}

function plain(type: TensorType): TypeRule {
  return { type, zones: [] };
}

function zoned(type: TensorType, ...zones: [Zone, TensorType][]): TypeRule {
  return { type, zones: zones.map(([zone, zoneType]) => ({ zone, type: zoneType })) };
}

function mapTypes(rule: TypeRule, map: (type: TensorType) => TensorType): TypeRule {
  return { type: map(rule.type), zones: rule.zones.map(({ zone, type }) => ({ zone, type: map(type) })) };
}
