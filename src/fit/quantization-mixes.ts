/** File mixes applied to a model: a tensor type per tensor, and bytes per part of the model. */
import { TENSOR_TYPES, type TensorType } from "./quantization.ts";
import {
  LLAMA_MIXES,
  type LlamaMix,
  outputTypeForRows,
  TENSOR_CATEGORIES,
  type TypeRule,
  typeForRows,
  typeRule,
  ZONES,
} from "./quantization-rules.ts";
import { type QuantizableModel, type QuantizationShape, shapeOf, type TensorGroup } from "./quantization-shape.ts";

export interface MixOptions {
  /** Quantized with an importance matrix. Default: true for the I-quants, which nearly always are, false for others. */
  importanceMatrix?: boolean;
  /** Type of the token embedding and the output matrix, instead of the mix's own. */
  tableType?: TensorType;
}

/** Bytes of a model's tensor data. `total` is `input + output + the layers`. */
export interface WeightBytes {
  total: number;
  /** Token embeddings and their kin: on the host whatever the offload. */
  input: number;
  /**
   * Everything else outside the blocks: the output matrix and final norms. With tied embeddings the matrix is counted
   * in `input` alone; `tiedOutput` is what its second copy takes where the output layer runs on a GPU.
   */
  output: number;
  tiedOutput: number;
  /** Per block, multi-token-prediction blocks last. */
  layers: Float64Array;
  /** The part of each block that is stacked expert matrices. */
  experts: Float64Array;
}

/** The same with the blocks together, for quick looks at many models. `total` is `input + output + blocks`. */
export interface WeightSummary {
  total: number;
  input: number;
  output: number;
  tiedOutput: number;
  blocks: number;
  /** The part of the blocks that is stacked expert matrices. */
  experts: number;
}

export function isLlamaMix(name: string): name is LlamaMix {
  return mixIndexes.has(name);
}

/** One type per entry of `model.tensors`, as llama.cpp's quantizer picks them when it writes this mix. */
export function quantizationTypes(model: QuantizableModel, mix: LlamaMix, options: MixOptions = {}): TensorType[] {
  const types = new Array<TensorType>(model.tensors.length);
  const shape = shapeOf(model);
  const { rules } = appliedMix(shape, mix, options);
  shape.groups.forEach((group, at) => {
    for (const member of group.members) types[member.index] = rateOf(rules[at]!, member.zones).type;
  });
  return types;
}

/** Bytes of all tensors under a mix; a file adds its header to that. */
export function fileWeightBytes(model: QuantizableModel, mix: LlamaMix, options: MixOptions = {}): number {
  return appliedMix(shapeOf(model), mix, options).total;
}

/** Bytes by part under a mix, without a walk over the tensors. */
export function mixWeightSummary(model: QuantizableModel, mix: LlamaMix, options: MixOptions = {}): WeightSummary {
  const shape = shapeOf(model);
  const { rules } = appliedMix(shape, mix, options);
  return summarize(shape, (group, at) => groupBytes(group, rules[at]!));
}

/** Bytes by block under a mix. */
export function mixWeightBytes(model: QuantizableModel, mix: LlamaMix, options: MixOptions = {}): WeightBytes {
  const shape = shapeOf(model);
  const { rules } = appliedMix(shape, mix, options);
  return sumWeightBytes(model, (group, at) => {
    const rule = rules[at]!;
    return ({ zones }) => group.elements * rateOf(rule, zones).bytesPerElement;
  });
}

/** Bytes by block where each tensor has a type of its own, as in a file. `types` runs along `model.tensors`. */
export function typedWeightBytes(model: QuantizableModel, types: readonly TensorType[]): WeightBytes {
  return sumWeightBytes(
    model,
    (group) =>
      ({ index }) =>
        group.elements * bytesPerElement(types[index]!),
  );
}

export type MemberBytes = (member: TensorGroup["members"][number]) => number;

/** Adds up `bytesIn(group)(member)` by the part of the model each tensor belongs to. */
export function sumWeightBytes(
  model: QuantizableModel,
  bytesIn: (group: TensorGroup, at: number) => MemberBytes,
): WeightBytes {
  const { groups, tied } = shapeOf(model);
  const layers = new Float64Array(model.layers.length);
  const experts = new Float64Array(model.layers.length);
  const sum: WeightBytes = { total: 0, input: 0, output: 0, tiedOutput: 0, layers, experts };
  for (let at = 0; at < groups.length; at++) {
    const group = groups[at]!;
    const memberBytes = bytesIn(group, at);
    for (const member of group.members) {
      const bytes = memberBytes(member);
      sum.total += bytes;
      if (member.layer >= 0 && member.layer < layers.length) {
        layers[member.layer]! += bytes;
        if (group.expert) experts[member.layer]! += bytes;
      } else if (group.part === "input") sum.input += bytes;
      else sum.output += bytes;
      if (tied && group.tokenEmbedding) sum.tiedOutput += bytes;
    }
  }
  return sum;
}

/** Adds up the bytes of whole groups by part. */
export function summarize(
  shape: QuantizationShape,
  bytesOf: (group: TensorGroup, at: number) => number,
): WeightSummary {
  const sum: WeightSummary = { total: 0, input: 0, output: 0, tiedOutput: 0, blocks: 0, experts: 0 };
  for (let at = 0; at < shape.groups.length; at++) {
    const group = shape.groups[at]!;
    const bytes = bytesOf(group, at);
    sum.total += bytes;
    if (group.part === "block") sum.blocks += bytes;
    else sum[group.part] += bytes;
    if (group.expert) sum.experts += bytes;
    if (shape.tied && group.tokenEmbedding) sum.tiedOutput += bytes;
  }
  return sum;
}

interface Rate {
  type: TensorType;
  bytesPerElement: number;
}

/** A `TypeRule` with its types fitted to a row length and priced. */
interface PricedRule extends Rate {
  zones: readonly (Rate & { index: number })[];
}

function bytesPerElement(type: TensorType): number {
  const { blockSize, bytesPerBlock } = TENSOR_TYPES[type];
  return bytesPerBlock / blockSize;
}

function price(rule: TypeRule, fitRows: (type: TensorType) => TensorType): PricedRule {
  const rate = (wanted: TensorType) => {
    const type = fitRows(wanted);
    return { type, bytesPerElement: bytesPerElement(type) };
  };
  return {
    ...rate(rule.type),
    zones: rule.zones.map(({ zone, type }) => ({ ...rate(type), index: ZONES.indexOf(zone) })),
  };
}

const plainRules = new Map<TensorType, PricedRule>(
  (Object.keys(TENSOR_TYPES) as TensorType[]).map((type) => [type, price({ type, zones: [] }, (same) => same)]),
);

const mixIndexes = new Map<string, number>(LLAMA_MIXES.map((mix, index) => [mix, index]));

/** A mix applied to a shape: one rule per group, and what they add up to. */
interface AppliedMix {
  rules: readonly PricedRule[];
  total: number;
}

/** Kept per shape: the second question about a model and mix is a look-up. */
const appliedMixes = new WeakMap<QuantizationShape, Map<number, AppliedMix>>();

function appliedMix(shape: QuantizationShape, mix: LlamaMix, options: MixOptions): AppliedMix {
  let byMix = appliedMixes.get(shape);
  if (byMix === undefined) {
    byMix = new Map();
    appliedMixes.set(shape, byMix);
  }
  const importanceMatrix = options.importanceMatrix ?? mix.startsWith("IQ");
  const tableId = options.tableType === undefined ? 255 : TENSOR_TYPES[options.tableType].id;
  const key = (mixIndexes.get(mix)! * 256 + tableId) * 2 + Number(importanceMatrix);
  const known = byMix.get(key);
  if (known !== undefined) return known;
  const settled = { ...options, importanceMatrix };
  const rules = shape.groups.map((group) => ruleFor(shape, group, mix, settled));
  const total = shape.groups.reduce((sum, group, at) => sum + groupBytes(group, rules[at]!), 0);
  const applied = { rules, total };
  byMix.set(key, applied);
  return applied;
}

/** Rules depend on few facts, so one serves every model that shares them; the key packs all of them. */
const sharedRules = new Map<number, PricedRule>();

function ruleFor(
  shape: QuantizationShape,
  group: TensorGroup,
  mix: LlamaMix,
  { tableType, importanceMatrix }: MixOptions & { importanceMatrix: boolean },
): PricedRule {
  if (!group.quantized) return plainRules.get(keptType(group.keptType, mix))!;
  if (group.expert && shape.expertsStayMxfp4 && mix !== "F32") return plainRules.get("MXFP4")!;
  if (tableType !== undefined && (group.category === "tokenEmbedding" || group.category === "output")) {
    return plainRules.get(typeForRows(tableType, group.rowLength))!;
  }
  const category = group.category === "tokenEmbedding" && shape.tied ? "output" : group.category;
  const rowBits = group.rowLength % 256 === 0 ? 0 : group.rowLength % 32 === 0 ? 1 : 2;
  const place = rowBits + 3 * (TENSOR_CATEGORIES.indexOf(category) + TENSOR_CATEGORIES.length * mixIndexes.get(mix)!);
  const key = place * 256 + factBits(shape) + (group.stacked ? 64 : 0) + (importanceMatrix ? 128 : 0);
  const known = sharedRules.get(key);
  if (known !== undefined) return known;
  const wanted = typeRule(mix, category, { ...shape, importanceMatrix }, group.stacked);
  const rule = price(wanted, (type) =>
    category === "output" ? outputTypeForRows(mix, type, group.rowLength) : typeForRows(type, group.rowLength),
  );
  sharedRules.set(key, rule);
  return rule;
}

function factBits(shape: QuantizationShape): number {
  return (
    (shape.falcon ? 1 : 0) +
    (shape.seventyB ? 2 : 0) +
    (shape.headsPerKvHead >= 4 ? 4 : 0) +
    (shape.expertCount === 8 ? 8 : 0) +
    (shape.expertCount >= 4 ? 16 : 0) +
    (shape.ownFusedQkv ? 32 : 0)
  );
}

/** What the quantizer does not touch keeps the converter's type: float32, or the source's 16-bit float. */
function keptType(type: TensorType | undefined, mix: LlamaMix): TensorType {
  if (type === "I32") return type;
  if (type === "F32" || mix === "F32") return "F32";
  return mix === "BF16" ? "BF16" : "F16";
}

function rateOf(rule: PricedRule, zoneBits: number): Rate {
  for (const zone of rule.zones) if (zoneBits & (1 << zone.index)) return zone;
  return rule;
}

function groupBytes(group: TensorGroup, rule: PricedRule): number {
  let bytesPerElement = 0;
  let counted = 0;
  for (const zone of rule.zones) {
    // Zones nest, so what the earlier one took is part of the later one's count.
    const count = group.zoneCounts[zone.index]! - counted;
    bytesPerElement += count * zone.bytesPerElement;
    counted += count;
  }
  return group.elements * (bytesPerElement + (group.members.length - counted) * rule.bytesPerElement);
}
