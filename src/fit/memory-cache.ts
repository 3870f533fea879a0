/**
 * What a context remembers: KV cache and recurrent state, in bytes per block. Exact: llama.cpp allocates these buffers
 * whole when the context is created.
 */
import { roundUp } from "../core/units.ts";
import { TENSOR_TYPES } from "./quantization.ts";
import type { KvCacheType, LayerSpec, ModelSpec, RuntimeSettings } from "./types.ts";

/** Caches are padded to whole pages of this many cells. */
const cellsPerPage = 256;
/** What they were padded to in 2024 where flash attention was off. */
const cellsPerPageLegacy = 32;

/** Settings the caches depend on. */
export type CacheSettings = Pick<
  RuntimeSettings,
  | "buildFamily"
  | "contextLength"
  | "sequenceCount"
  | "microBatchSize"
  | "flashAttention"
  | "kvCacheTypeK"
  | "kvCacheTypeV"
> & { draftTokensMax?: number; slotCaches?: boolean };

/** Cells of the caches of one context. */
export interface CacheCells {
  /** Cells a token sees in a full-attention layer: per sequence, or of the one shared cache. */
  perStream: number;
  /** The same for sliding-window layers. */
  slidingPerStream: number;
  /** Separate caches: one per sequence, or 1 when sequences share. */
  streams: number;
}

/**
 * Cells by build family. node-llama-cpp gives each sequence its own cache; llama-server shares one cache of
 * `contextLength` cells between its slots ("unified"), and sizes sliding windows for all slots together, unless a number
 * of slots is asked for.
 * Sources: llama_context (n_ctx padding), llama_kv_cache_iswa (window + micro-batch, padded).
 */
export function cacheCells(model: ModelSpec, settings: CacheSettings): CacheCells {
  const sequences = settings.sequenceCount;
  const unified = settings.buildFamily !== "node-llama-cpp" && settings.slotCaches !== true;
  if (settings.buildFamily === "llama.cpp-2024") {
    const cells = roundUp(settings.contextLength, settings.flashAttention ? cellsPerPage : cellsPerPageLegacy);
    // Before caches were cut to the window, every layer had cells for the whole context.
    return { perStream: cells, slidingPerStream: cells, streams: 1 };
  }
  const perStream = roundUp(settings.contextLength, cellsPerPage);
  const windows = model.slidingWindow * (unified ? sequences : 1);
  const batch = Math.min(microBatchOf(model, settings), unified ? perStream : perStream * sequences);
  const sliding = roundUp(Math.min(perStream, windows + batch), cellsPerPage);
  return { perStream, slidingPerStream: Math.min(perStream, sliding), streams: unified ? 1 : sequences };
}

/**
 * Tokens of one compute step as the build family sets it: node-llama-cpp adds one to the batch of models with sliding
 * windows.
 */
export function microBatchOf(
  model: ModelSpec,
  settings: Pick<RuntimeSettings, "buildFamily" | "microBatchSize">,
): number {
  const spare = settings.buildFamily === "node-llama-cpp" && model.slidingWindow > 0 ? 1 : 0;
  return settings.microBatchSize + spare;
}

/** Bytes of `elements` cached elements in one row. */
export function cacheRowBytes(type: KvCacheType, elements: number): number {
  const { blockSize, bytesPerBlock } = TENSOR_TYPES[type];
  return (elements / blockSize) * bytesPerBlock;
}

/** What every block remembers, bytes per block (multi-token-prediction blocks last). */
export interface BlockMemory {
  kvCacheBytes: Float64Array;
  recurrentBytes: Float64Array;
}

const remembered = new WeakMap<ModelSpec, Map<string, BlockMemory>>();
/** Answers kept per model; a search asks again and again for a few sets of settings. */
const answersKept = 32;

/** Both at once. */
export function blockMemory(model: ModelSpec, settings: CacheSettings): BlockMemory {
  const { buildFamily, contextLength, sequenceCount, microBatchSize, kvCacheTypeK, kvCacheTypeV } = settings;
  const key = `${buildFamily} ${contextLength} ${sequenceCount} ${microBatchSize} ${kvCacheTypeK} ${kvCacheTypeV} ${settings.flashAttention} ${settings.draftTokensMax} ${settings.slotCaches}`;
  let answers = remembered.get(model);
  if (answers === undefined) {
    answers = new Map();
    remembered.set(model, answers);
  }
  let memory = answers.get(key);
  if (memory === undefined) {
    memory = {
      kvCacheBytes: kvCacheBytesByLayer(model, settings),
      recurrentBytes: recurrentBytesByLayer(model, settings),
    };
    if (answers.size >= answersKept) answers.clear();
    answers.set(key, memory);
  }
  return memory;
}

/** KV cache bytes of every block (multi-token-prediction blocks last). */
export function kvCacheBytesByLayer(model: ModelSpec, settings: CacheSettings): Float64Array {
  const cells = cacheCells(model, settings);
  const widestV = settings.flashAttention ? 0 : widestValueRow(model);
  const bytes = new Float64Array(model.layers.length);
  const count = settings.draftTokensMax ? model.layers.length : model.layerCount;
  for (let index = 0; index < count; index++) {
    bytes[index] = layerCacheBytes(model.layers[index]!, settings, cells, widestV);
  }
  return bytes;
}

function layerCacheBytes(layer: LayerSpec, settings: CacheSettings, cells: CacheCells, widestV: number): number {
  if (!storesRows(layer)) return 0;
  const perStream = isWindowed(layer) ? cells.slidingPerStream : cells.perStream;
  const k = cacheRowBytes(settings.kvCacheTypeK, layer.headCountKv * layer.keyLength);
  // MLA keeps one compressed row, read both as key and as value.
  const v =
    layer.attention === "mla"
      ? 0
      : // Without flash attention V is stored transposed, every layer as wide as the widest.
        cacheRowBytes(settings.kvCacheTypeV, Math.max(layer.headCountKv * layer.valueLength, widestV));
  const index = cacheRowBytes(settings.kvCacheTypeK, layer.indexerKeyLength ?? 0);
  return perStream * cells.streams * (k + v + index);
}

/** True for layers that own a KV cache. */
export function storesRows(layer: LayerSpec): boolean {
  return (
    layer.headCountKv > 0 &&
    layer.attention !== "recurrent" &&
    layer.attention !== "shared" &&
    layer.attention !== "none"
  );
}

export function isWindowed(layer: LayerSpec): boolean {
  return layer.attention === "sliding" || layer.attention === "chunked";
}

function widestValueRow(model: ModelSpec): number {
  let widest = 0;
  for (const layer of model.layers) {
    if (storesRows(layer)) widest = Math.max(widest, layer.headCountKv * layer.valueLength);
  }
  return widest;
}

/**
 * Recurrent state of every block: one state per sequence, plus one per draft token that may have to be taken back.
 * Source: llama_memory_recurrent (rows = sequences x (1 + n_rs_seq)).
 */
export function recurrentBytesByLayer(model: ModelSpec, settings: CacheSettings): Float64Array {
  const rows = settings.sequenceCount * (1 + (settings.draftTokensMax ?? 0));
  const bytes = new Float64Array(model.layers.length);
  for (let index = 0; index < bytes.length; index++)
    bytes[index] = (model.layers[index]!.recurrentStateBytes ?? 0) * rows;
  return bytes;
}
