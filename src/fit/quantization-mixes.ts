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

export function isLlamaMix(name: string): name is LlamaMix {
  return (LLAMA_MIXES as readonly string[]).includes(name);
}

/** One type per entry of `model.tensors`, as llama.cpp's quantizer picks them when it writes this mix. */
export function quantizationTypes(model: QuantizableModel, mix: LlamaMix, options: MixOptions = {}): TensorType[] {
  const types = new Array<TensorType>(model.tensors.length);
  const shape = shapeOf(model);
  for (const group of shape.groups) {
    const rule = ruleFor(shape, group, mix, options);
    for (const member of group.members) types[member.index] = typeOf(rule, member.zones);
  }
  return types;
}

/** Bytes of all tensors under a mix; a file adds its header to that. */
export function fileWeightBytes(model: QuantizableModel, mix: LlamaMix, options: MixOptions = {}): number {
  const shape = shapeOf(model);
  let bytes = 0;
  for (const group of shape.groups) bytes += groupBytes(group, ruleFor(shape, group, mix, options));
  return bytes;
}

/** Bytes by block under a mix. */
export function mixWeightBytes(model: QuantizableModel, mix: LlamaMix, options: MixOptions = {}): WeightBytes {
  const shape = shapeOf(model);
  return sumWeightBytes(model, (group) => {
    const rule = ruleFor(shape, group, mix, options);
    return ({ zones }) => tensorBytesIn(group, typeOf(rule, zones));
  });
}

/** Bytes by block where each tensor has a type of its own, as in a file. `types` runs along `model.tensors`. */
export function typedWeightBytes(model: QuantizableModel, types: readonly TensorType[]): WeightBytes {
  return sumWeightBytes(
    model,
    (group) =>
      ({ index }) =>
        tensorBytesIn(group, types[index]!),
  );
}

export type MemberBytes = (member: TensorGroup["members"][number]) => number;

/** Adds up `bytesIn(group)(member)` by the part of the model each tensor belongs to. */
export function sumWeightBytes(model: QuantizableModel, bytesIn: (group: TensorGroup) => MemberBytes): WeightBytes {
  const { groups, tied } = shapeOf(model);
  const layers = new Float64Array(model.layers.length);
  const experts = new Float64Array(model.layers.length);
  const sum: WeightBytes = { total: 0, input: 0, output: 0, tiedOutput: 0, layers, experts };
  for (const group of groups) {
    const memberBytes = bytesIn(group);
    for (const member of group.members) {
      const bytes = memberBytes(member);
      sum.total += bytes;
      if (member.layer >= 0 && member.layer < layers.length) {
        layers[member.layer]! += bytes;
        if (group.expert) experts[member.layer]! += bytes;
      } else if (group.input) sum.input += bytes;
      else sum.output += bytes;
      if (tied && group.tokenEmbedding) sum.tiedOutput += bytes;
    }
  }
  return sum;
}

/** Rules depend on few facts, so one entry serves every model that shares them; the key packs all of them. */
const rules = new Map<number, TypeRule>();

function ruleFor(shape: QuantizationShape, group: TensorGroup, mix: LlamaMix, options: MixOptions): TypeRule {
  if (!group.quantized) return keptRule(group.keptType, mix);
  if (group.expert && shape.expertsStayMxfp4 && mix !== "F32") return MXFP4_RULE;
  if (options.tableType !== undefined && (group.category === "tokenEmbedding" || group.category === "output")) {
    return { type: typeForRows(options.tableType, group.rowLength), zones: [] };
  }
  const category = group.category === "tokenEmbedding" && shape.tied ? "output" : group.category;
  const importanceMatrix = options.importanceMatrix ?? mix.startsWith("IQ");
  const factBits =
    (shape.falcon ? 1 : 0) +
    (shape.seventyB ? 2 : 0) +
    (shape.headsPerKvHead >= 4 ? 4 : 0) +
    (shape.expertCount === 8 ? 8 : 0) +
    (shape.expertCount >= 4 ? 16 : 0) +
    (importanceMatrix ? 32 : 0) +
    (group.stacked ? 64 : 0) +
    (shape.ownFusedQkv ? 128 : 0);
  const rowBits = group.rowLength % 256 === 0 ? 0 : group.rowLength % 32 === 0 ? 1 : 2;
  const key =
    factBits +
    256 * (rowBits + 3 * (TENSOR_CATEGORIES.indexOf(category) + TENSOR_CATEGORIES.length * LLAMA_MIXES.indexOf(mix)));
  let rule = rules.get(key);
  if (rule === undefined) {
    const wanted = typeRule(mix, category, { ...shape, importanceMatrix }, group.stacked);
    const rowsFit = (type: TensorType) =>
      category === "output" ? outputTypeForRows(mix, type, group.rowLength) : typeForRows(type, group.rowLength);
    rule = { type: rowsFit(wanted.type), zones: wanted.zones.map(({ zone, type }) => ({ zone, type: rowsFit(type) })) };
    rules.set(key, rule);
  }
  return rule;
}

const MXFP4_RULE: TypeRule = { type: "MXFP4", zones: [] };
const F32_RULE: TypeRule = { type: "F32", zones: [] };
const F16_RULE: TypeRule = { type: "F16", zones: [] };
const BF16_RULE: TypeRule = { type: "BF16", zones: [] };
const I32_RULE: TypeRule = { type: "I32", zones: [] };

/** What the quantizer does not touch keeps the converter's type: float32, or the source's 16-bit float. */
function keptRule(keptType: TensorType | undefined, mix: LlamaMix): TypeRule {
  if (keptType === "I32") return I32_RULE;
  if (keptType === "F32" || mix === "F32") return F32_RULE;
  return mix === "BF16" ? BF16_RULE : F16_RULE;
}

function typeOf(rule: TypeRule, zoneBits: number): TensorType {
  for (const { zone, type } of rule.zones) if (zoneBits & (1 << ZONES.indexOf(zone))) return type;
  return rule.type;
}

function groupBytes(group: TensorGroup, rule: TypeRule): number {
  let bytes = 0;
  let counted = 0;
  for (const { zone, type } of rule.zones) {
    // Zones nest, so what the earlier one took is part of the later one's count.
    const count = group.zoneCounts[ZONES.indexOf(zone)]! - counted;
    bytes += count * tensorBytesIn(group, type);
    counted += count;
  }
  return bytes + (group.members.length - counted) * tensorBytesIn(group, rule.type);
}

function tensorBytesIn(group: TensorGroup, type: TensorType): number {
  const { blockSize, bytesPerBlock } = TENSOR_TYPES[type];
  return (group.rowLength / blockSize) * bytesPerBlock * group.rows;
}
