/**
 * Compute buffers without laying out a graph: the widest moment of a block, the inputs, and the logits, whichever is
 * larger. A few microseconds instead of a few hundred, within about a tenth; for screening many models and for finding
 * the neighbourhood in which the exact layout decides.
 */
import type { ComputeBytes } from "./compute.ts";
import { modelWeights } from "./compute-pass.ts";
import { borrowRowsMin } from "./compute-schedule.ts";
import { cacheCells, cacheRowBytes, isWindowed, microBatchOf, storesRows } from "./memory-cache.ts";
import type { WeightTable } from "./memory-weights.ts";
import { HOST, type Placement } from "./placement.ts";
import type { LayerSpec, ModelSpec, RuntimeSettings } from "./types.ts";

/** What the formula needs of a model; all in float32 values per token of the micro-batch. */
interface Widths {
  /** Values alive at the widest moment of any block, the residual included. */
  block: number;
  /** Values alive around the attention scores when flash attention is off, without the scores. */
  aroundScores: number;
  /** Heads whose scores are written out, in full and in windowed blocks. */
  heads: number;
  windowedHeads: number;
  /** Widest K and V row together. */
  cacheRow: number;
  /** Widest V row, which decides how many indices a transposed cache needs. */
  valueRow: number;
  perLayerInputs: number;
}

const known = new WeakMap<ModelSpec, Widths>();

function widthsOf(model: ModelSpec): Widths {
  let widths = known.get(model);
  if (widths === undefined) {
    widths = measure(model);
    known.set(model, widths);
  }
  return widths;
}

function measure(model: ModelSpec): Widths {
  const { blocks, outside } = modelWeights(model);
  const seen = new Set<string>();
  const embedding = model.embeddingLength;
  const widths = { block: 0, aroundScores: 0, heads: 0, windowedHeads: 0, cacheRow: 0, valueRow: 1 };
  for (let block = 0; block < model.layerCount; block++) {
    const spec = model.layers[block]!;
    const key = `${spec.attention} ${spec.headCount} ${spec.keyLength} ${spec.ffn} ${spec.feedForwardLength}`;
    if (seen.has(key)) continue;
    seen.add(key);
    const rows = (name: string) => blocks[block]!.get(name)?.dims[1] ?? 0;
    widths.block = Math.max(
      widths.block,
      attentionWidth(model, spec, rows),
      feedForwardWidth(model, rows, blocks[block]!),
    );
    if (spec.attention === "recurrent" || spec.attention === "none") continue;
    const around = embedding + spec.headCount * (spec.keyLength + spec.valueLength);
    widths.aroundScores = Math.max(widths.aroundScores, around);
    if (isWindowed(spec)) widths.windowedHeads = Math.max(widths.windowedHeads, spec.headCount);
    else widths.heads = Math.max(widths.heads, spec.headCount);
    widths.cacheRow = Math.max(widths.cacheRow, spec.headCountKv * (spec.keyLength + spec.valueLength));
    widths.valueRow = Math.max(widths.valueRow, spec.headCountKv * spec.valueLength);
  }
  const perLayerInputs = outside.get("per_layer_token_embd")?.dims[0] ?? 0;
  return { ...widths, perLayerInputs };
}

function attentionWidth(model: ModelSpec, spec: LayerSpec, rows: (name: string) => number): number {
  const embedding = model.embeddingLength;
  if (spec.attention === "none") return 2 * embedding;
  if (spec.attention === "recurrent") {
    const state = (spec.recurrentStateBytes ?? 0) / 4;
    const projected =
      rows("attn_qkv") + rows("attn_gate") + rows("ssm_in") + rows("shortconv.in_proj") + 3 * rows("attn_q");
    return 2 * embedding + 2 * projected + state / 512;
  }
  const query = spec.headCount * spec.keyLength;
  if (spec.attention === "mla") return 2 * embedding + 2 * query + spec.headCount * spec.valueLength;
  const gate = rows("attn_q") > query ? 2 * query : 0;
  return 2 * embedding + query + gate + spec.headCount * spec.valueLength + spec.headCountKv * spec.keyLength;
}

function feedForwardWidth(
  model: ModelSpec,
  rows: (name: string) => number,
  weights: ReadonlyMap<string, { dims: readonly number[] }>,
): number {
  const embedding = model.embeddingLength;
  const inner = weights.get("ffn_down")?.dims[0] ?? 0;
  const gated = weights.has("ffn_gate") || rows("ffn_up") > inner;
  const dense = embedding + Math.max(gated ? 3 * inner : embedding + inner, embedding + inner);
  const expert = weights.get("ffn_down_exps")?.dims[0] ?? 0;
  if (expert === 0) return dense;
  const used = model.expertUsedCount;
  const routed = used * Math.max(3 * expert, expert + embedding, 2 * embedding) + 3 * embedding;
  return Math.max(dense, routed + rows("ffn_gate_inp"));
}

export function roughComputeBytes(
  model: ModelSpec,
  settings: RuntimeSettings,
  placement: Placement,
  /** Weights that a GPU may borrow; not needed when it holds everything. */
  weights?: WeightTable,
): ComputeBytes {
  const widths = widthsOf(model);
  const { perStream, slidingPerStream, streams } = cacheCells(model, settings);
  const batch = Math.min(microBatchOf(model, settings), perStream * streams);
  const limited = settings.buildFamily === "llama-server";
  const outputs = limited ? Math.min(batch, settings.sequenceCount * (1 + (settings.draftTokensMax ?? 0))) : batch;
  const embedding = model.embeddingLength;
  const windowed = model.slidingWindow > 0;
  const maskBytes = settings.flashAttention ? 2 : 4;
  const masks = maskBytes * batch * (perStream + (windowed ? slidingPerStream : 0));
  const indices = settings.flashAttention ? 0 : 8 * batch * widths.valueRow * (windowed ? 2 : 1);
  const scores = settings.flashAttention
    ? 0
    : 4 * batch * (Math.max(widths.heads * perStream, widths.windowedHeads * slidingPerStream) + widths.aroundScores);
  const inputs = masks + indices + 4 * batch * (embedding + widths.perLayerInputs);
  const block = inputs + Math.max(4 * batch * widths.block, scores);
  const logits = 4 * outputs * (model.vocabularySize + embedding) + (limited ? 4 * batch * embedding : 0);
  const borrows = placement.gpuCount > 0 && batch >= borrowRowsMin;
  const lent = borrows && weights !== undefined ? largestLent(model, settings, weights, placement) : 0;
  const head = weights === undefined ? 0 : weights.outputBytes + weights.tiedOutputBytes;
  const gpus = Array.from({ length: placement.gpuCount }, (_, gpu) => {
    const lends = gpu === 0 && lent > 0;
    const borrowsHead = gpu === 0 && borrows && placement.output === HOST && outputs >= borrowRowsMin;
    return Math.max(
      placement.blocks.includes(gpu) || lends ? block + (lends ? lent : 0) : 0,
      placement.output === gpu ? logits : 0,
      borrowsHead ? logits + head : 0,
    );
  });
  const onHost = placement.gpuCount === 0;
  const host = onHost ? Math.max(block, logits) : masks + indices + 8 * batch * (embedding + widths.perLayerInputs);
  return { gpus, host, largestTensorBytes: Math.max(4 * outputs * model.vocabularySize, scores) };
}

/** The prediction block's own context: one block that reads a token and the state the main model left. */
export function draftComputeBytes(model: ModelSpec, settings: RuntimeSettings): number {
  const { perStream } = cacheCells(model, settings);
  const batch = microBatchOf(model, settings);
  const mask = (settings.flashAttention ? 2 : 4) * batch * perStream;
  return mask + 4 * batch * (widthsOf(model).block + model.embeddingLength);
}

/** The largest matrix that a GPU borrows from main memory, or the cache of a block there, which it reads as well. */
function largestLent(model: ModelSpec, settings: RuntimeSettings, weights: WeightTable, placement: Placement): number {
  let largest = 0;
  const { perStream, slidingPerStream, streams } = cacheCells(model, settings);
  for (let block = 0; block < model.layerCount; block++) {
    const spec = model.layers[block]!;
    const host = placement.blocks[block] === HOST;
    if (!host && placement.hostExperts[block] !== 1) continue;
    const experts = weights.expertBytes[block]!;
    largest = Math.max(largest, experts > 0 ? experts / 2.5 : weights.blockBytes[block]! / 3);
    if (!host || !storesRows(spec)) continue;
    const cells = (isWindowed(spec) ? slidingPerStream : perStream) * streams;
    const row =
      cacheRowBytes(settings.kvCacheTypeK, spec.headCountKv * spec.keyLength) +
      (spec.attention === "mla" ? 0 : cacheRowBytes(settings.kvCacheTypeV, spec.headCountKv * spec.valueLength));
    largest = Math.max(largest, cells * row);
  }
  return largest;
}
