/**
 * A model's tensors sorted into classes the quantizer treats alike, once per model. What a mix costs then follows from
 * a dozen classes with counts and not from a thousand names.
 */
import type { TensorType } from "./quantization.ts";
import { type TensorCategory, ZONES, type Zone } from "./quantization-rules.ts";
import type { LayerSpec, TensorSpec } from "./types.ts";

/** What the quantizer looks at; every `ModelSpec` has it. */
export interface QuantizableModel {
  readonly architecture: string;
  /** Main blocks. */
  readonly layerCount: number;
  /** All blocks, multi-token-prediction ones last. */
  readonly layers: readonly Pick<LayerSpec, "headCount" | "headCountKv">[];
  readonly expertCount: number;
  readonly tensors: readonly TensorSpec[];
}

export interface TensorMember {
  /** In `model.tensors`. */
  index: number;
  /** Block, or -1. */
  layer: number;
  /** Bit per zone of `ZONES`. */
  zones: number;
}

/** Tensors of one name and shape: alike but for the block they are in. */
export interface TensorGroup {
  category: TensorCategory;
  /** False for norms, biases, routers and the like, which stay in `keptType`. */
  quantized: boolean;
  /** Undefined: the 16-bit float of the source. */
  keptType: TensorType | undefined;
  rowLength: number;
  /** Product of the other dimensions. */
  rows: number;
  elements: number;
  /** Which part of the model the tensors belong to. */
  part: "input" | "output" | "block";
  /** Third dimension over 1: stacked experts, or MLA's per-head matrices. */
  stacked: boolean;
  expert: boolean;
  /** The main embedding table, which doubles as the output matrix when there is no other. */
  tokenEmbedding: boolean;
  members: TensorMember[];
  /** Members per zone, in the order of `ZONES`. */
  zoneCounts: number[];
}

export interface QuantizationShape {
  groups: TensorGroup[];
  /** No output matrix of its own. */
  tied: boolean;

  falcon: boolean;
  seventyB: boolean;
  headsPerKvHead: number;
  expertCount: number;
  /** Fused QKV was typed as a class of its own before 2026, when the files of these models were made. */
  ownFusedQkv: boolean;
  /** Published with MXFP4 experts only, which the quantizer does not touch again. */
  expertsStayMxfp4: boolean;
}

const shapes = new WeakMap<readonly TensorSpec[], QuantizationShape>();

export function shapeOf(model: QuantizableModel): QuantizationShape {
  let shape = shapes.get(model.tensors);
  if (shape === undefined) {
    shape = compileShape(model);
    shapes.set(model.tensors, shape);
  }
  return shape;
}

function compileShape(model: QuantizableModel): QuantizationShape {
  const groups = collectGroups(model.tensors);
  markZones(groups, model);
  const first = model.layers[0];
  const headCount = first?.headCount ?? 0;
  const headCountKv = first?.headCountKv ?? 0;
  const { architecture, expertCount } = model;
  return {
    groups,
    tied: !model.tensors.some((tensor) => tensor.name === "output.weight"),
    falcon: architecture === "falcon",
    seventyB: isSeventyB(architecture, model.layers.length, headCount, headCountKv),
    headsPerKvHead: headCountKv === 0 ? 0 : Math.trunc(headCount / headCountKv),
    expertCount,
    ownFusedQkv: OLDER_FUSED_ARCHITECTURES.has(architecture),
    expertsStayMxfp4: architecture === "gpt-oss",
  };
}

const OLDER_FUSED_ARCHITECTURES: ReadonlySet<string> = new Set([
  "bloom",
  "chatglm",
  "codeshell",
  "dbrx",
  "falcon",
  "gpt2",
  "gptneox",
  "jais",
  "modern-bert",
  "mpt",
  "nomic-bert",
  "nomic-bert-moe",
  "openelm",
  "phi2",
  "phi3",
  "phimoe",
  "qwen",
  "refact",
  "starcoder",
]);

/** llama.cpp names a model "70B" by its layer count, in these architectures. */
function isSeventyB(architecture: string, layerCount: number, headCount: number, headCountKv: number): boolean {
  if (architecture === "jais2") return layerCount === 68;
  if (layerCount !== 80) return false;
  return architecture === "llama" ? headCount !== headCountKv : ["qwen2", "deci", "olmo"].includes(architecture);
}

function collectGroups(tensors: readonly TensorSpec[]): TensorGroup[] {
  const groups: TensorGroup[] = [];
  const bySuffix = new Map<string, GroupEntry>();
  for (let index = 0; index < tensors.length; index++) {
    const { name, dims } = tensors[index]!;
    const layer = blockOf(name);
    const suffix = layer < 0 ? name : name.slice(name.indexOf(".", 5) + 1);
    let entry = bySuffix.get(suffix);
    // Nearly always the first: a name has another shape in few models, and then two or three.
    while (entry !== undefined && !sameDims(entry.dims, dims)) entry = entry.next;
    if (entry === undefined) {
      entry = { group: createGroup(suffix, dims, layer), dims, next: bySuffix.get(suffix) };
      bySuffix.set(suffix, entry);
      groups.push(entry.group);
    }
    entry.group.members.push({ index, layer, zones: 0 });
  }
  return groups;
}

/** Groups of one name with different shapes, chained. */
interface GroupEntry {
  group: TensorGroup;
  dims: readonly number[];
  next: GroupEntry | undefined;
}

/** N of "blk.N.…", else -1. */
export function blockOf(name: string): number {
  if (!name.startsWith("blk.")) return -1;
  let layer = 0;
  for (let at = 4; at < name.length; at++) {
    const digit = name.charCodeAt(at) - 48;
    if (digit < 0 || digit > 9) return at > 4 && name[at] === "." ? layer : -1;
    layer = layer * 10 + digit;
  }
  return -1;
}

function sameDims(a: readonly number[], b: readonly number[]): boolean {
  if (a.length !== b.length) return false;
  for (let index = 0; index < a.length; index++) if (a[index] !== b[index]) return false;
  return true;
}

function createGroup(suffix: string, dims: readonly number[], layer: number): TensorGroup {
  const rowLength = dims[0] ?? 1;
  let rows = 1;
  for (let index = 1; index < dims.length; index++) rows *= dims[index]!;
  const stacked = (dims[2] ?? 1) > 1;
  const matrix = rows > 1;
  return {
    category: categoryOf(suffix),
    quantized: matrix && isQuantizable(suffix),
    keptType: matrix ? keptTypeOf(suffix) : "F32",
    rowLength,
    rows,
    elements: rowLength * rows,
    part: layer >= 0 ? "block" : INPUT_NAMES.has(suffix) ? "input" : "output",
    stacked,
    expert: stacked && suffix.includes("_exps."),
    tokenEmbedding: suffix === "token_embd.weight",
    members: [],
    zoneCounts: new Array<number>(ZONES.length).fill(0),
  };
}

/** Token embeddings and their kin, which llama.cpp keeps on the host. */
const INPUT_NAMES: ReadonlySet<string> = new Set([
  "token_embd.weight",
  "per_layer_token_embd.weight",
  "position_embd.weight",
  "token_types.weight",
]);

/** Whether llama.cpp keeps this tensor on the host with the token embedding. */
export function isInputName(name: string): boolean {
  return INPUT_NAMES.has(name);
}

function categoryOf(suffix: string): TensorCategory {
  if (suffix === "output.weight") return "output";
  if (suffix === "token_embd.weight" || suffix === "per_layer_token_embd.weight") return "tokenEmbedding";
  return CATEGORY_BY_PART.find(([part]) => suffix.includes(part))?.[1] ?? "other";
}

const CATEGORY_BY_PART: readonly (readonly [string, TensorCategory])[] = [
  ["attn_qkv.weight", "attentionQkv"],
  ["attn_kv_b.weight", "attentionV"],
  ["attn_v.weight", "attentionV"],
  ["attn_k.weight", "attentionK"],
  ["attn_q.weight", "attentionQ"],
  ["attn_output.weight", "attentionOutput"],
  ["ffn_up", "ffnUp"],
  ["ffn_gate", "ffnGate"],
  ["ffn_down", "ffnDown"],
];

/** Parts of names the quantizer leaves alone: small, or too delicate. */
const KEPT_PARTS = [
  "_norm.weight",
  "ffn_gate_inp.weight",
  "ffn_gate_tid2eid.weight",
  "altup",
  "laurel",
  "per_layer_model_proj",
  "position_embd",
  "token_types.weight",
  "ssm_conv1d",
  "shortconv.conv.weight",
  "indexer.k_proj.weight",
  "indexer.q_proj.weight",
  "time_mix_first.weight",
  "time_mix_w0.weight",
  "time_mix_w1.weight",
  "time_mix_w2.weight",
  "time_mix_v0.weight",
  "time_mix_v1.weight",
  "time_mix_v2.weight",
  "time_mix_a0.weight",
  "time_mix_a1.weight",
  "time_mix_a2.weight",
  "time_mix_g1.weight",
  "time_mix_g2.weight",
  "time_mix_decay_w1.weight",
  "time_mix_decay_w2.weight",
  "time_mix_lerp_fused.weight",
  "attn_rel_b.weight",
];

function isQuantizable(suffix: string): boolean {
  return suffix.endsWith("weight") && !KEPT_PARTS.some((part) => suffix.includes(part));
}

/** Matrices the converter writes as float32 whatever the file's type. */
const FLOAT32_PARTS = [
  "_norm.weight",
  "ffn_gate_inp",
  "position_embd",
  "token_types",
  "ssm_conv1d",
  "shortconv.conv",
  "time_mix_first",
  "time_mix_w1",
  "time_mix_w2",
  "time_mix_decay_w1",
  "time_mix_decay_w2",
  "time_mix_lerp_fused",
  "altup_correct_coef",
  "altup_predict_coef",
  "indexer.proj",
];

function keptTypeOf(suffix: string): TensorType | undefined {
  if (suffix.includes("ffn_gate_tid2eid")) return "I32";
  if (!suffix.endsWith(".weight") || FLOAT32_PARTS.some((part) => suffix.includes(part))) return "F32";
  return undefined;
}

const ZONED_CATEGORIES = ["attentionV", "ffnDown", "ffnGate", "ffnUp"] as const;

/** The quantizer visits blocks in order and names alphabetically within one; "the n-th" below means in that order. */
function markZones(groups: TensorGroup[], model: QuantizableModel): void {
  const layerCount = Math.max(model.layers.length, model.layerCount);
  for (const category of ZONED_CATEGORIES) {
    const visited = groups
      .filter((group) => group.quantized && zonedCategory(group.category) === category)
      .flatMap((group) => group.members)
      .sort((a, b) => a.layer - b.layer || compareNames(model.tensors[a.index]!, model.tensors[b.index]!));
    const count = category === "attentionV" ? visited.length : layerCount;
    visited.forEach((member, ordinal) => {
      // With experts the block in the name counts; otherwise tensors are counted as they come.
      const position = category !== "attentionV" && model.expertCount > 1 ? member.layer : ordinal;
      member.zones = zoneBits(position, count, ordinal);
    });
  }
  for (const group of groups) {
    for (const { zones } of group.members) {
      for (let bit = 0; bit < ZONES.length; bit++) if (zones & (1 << bit)) group.zoneCounts[bit]!++;
    }
  }
}

/** Fused QKV is counted among the value matrices. */
function zonedCategory(category: TensorCategory): TensorCategory {
  return category === "attentionQkv" ? "attentionV" : category;
}

function compareNames(a: TensorSpec, b: TensorSpec): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}

function zoneBits(position: number, count: number, ordinal: number): number {
  const eighth = Math.trunc(count / 8);
  const lastEighth = Math.trunc((7 * count) / 8);
  const holds: Record<Zone, boolean> = {
    moreBits: position < eighth || position >= lastEighth || (position - eighth) % 3 === 2,
    firstEighth: position < eighth,
    firstSixteenth: position < Math.trunc(count / 16),
    firstTwo: position < 2,
    firstFour: position < 4,
    middle: position >= eighth && position < lastEighth,
    earlyFfnDown: ordinal < eighth,
  };
  return ZONES.reduce((bits, zone, bit) => (holds[zone] ? bits | (1 << bit) : bits), 0);
}
