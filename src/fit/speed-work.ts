/**
 * What one token costs, counted before any constant is applied: per device the layers to launch, the weight bytes to
 * read once and the cache bytes to read at a depth. Exact for a given placement; speed.ts turns it into time.
 */
import { cacheRowBytes, isWindowed, storesRows } from "./memory-cache.ts";
import { weightTable } from "./memory-weights.ts";
import { createPlacement, HOST } from "./placement.ts";
import type { LayerSpec, ModelSpec, RuntimeSettings } from "./types.ts";

export interface DeviceWork {
  /** Layers by kind: all of them, and those that cost more. */
  layers: number;
  moeLayers: number;
  recurrentLayers: number;
  mlaLayers: number;
  /** Norms beyond the two every layer has, queries' and keys' aside. */
  extraNorms: number;
  /** Weight bytes read for one token: whole matrices, and the experts it uses. */
  denseBytes: number;
  expertBytes: number;
  /** Cache and state bytes read (and state written) for one token at the depth asked. */
  kvBytes: number;
  /** Weights resident on the device, all experts: what a prompt streams. */
  residentBytes: number;
  /** Parameters multiplied for one token: for prompt processing. */
  activeParameters: number;
  /** The part of them in experts, and the share of a layer's experts that one token uses. */
  expertParameters: number;
  expertShare: number;
  /** Query heads x head size, summed over layers that see every token, and over layers with a window. */
  attentionWidth: number;
  slidingWidth: number;
}

export interface TokenWork {
  gpus: DeviceWork[];
  host: DeviceWork;
  /** Times the hidden state moves between host and GPU for one token, experts on the host included. */
  crossings: number;
  /** Tokens a sliding-window layer sees. */
  slidingWindow: number;
}

/** A block with a smaller state is a short convolution (LFM2): as cheap as attention. */
const recurrentStateBytesMin = 65_536;

const extraNorms = new WeakMap<ModelSpec, number>();

/**
 * Norms of a block beyond two (queries' and keys' aside), as the first block's tensors tell; all blocks are built alike.
 * Models with post norms in place of pre norms have none.
 */
function extraNormsOf(model: ModelSpec): number {
  const known = extraNorms.get(model);
  if (known !== undefined) return known;
  let count = -2;
  for (const { name } of model.tensors) {
    if (name.startsWith("blk.1.")) break;
    if (/^blk\.0\.(?:(?:attn|ffn)_norm|(?:post_|layer_output|attn_post|attn_sub|ffn_sub)\w*norm)\.weight$/.test(name))
      count++;
  }
  extraNorms.set(model, Math.max(0, count));
  return Math.max(0, count);
}

function emptyWork(): DeviceWork {
  return {
    layers: 0,
    moeLayers: 0,
    recurrentLayers: 0,
    mlaLayers: 0,
    extraNorms: 0,
    denseBytes: 0,
    expertBytes: 0,
    kvBytes: 0,
    residentBytes: 0,
    activeParameters: 0,
    expertParameters: 0,
    expertShare: 0,
    attentionWidth: 0,
    slidingWidth: 0,
  };
}

/** Work of one token with `depth` tokens before it. */
export function tokenWork(model: ModelSpec, settings: RuntimeSettings, gpuCount: number, depth: number): TokenWork {
  const placement = createPlacement(model, settings, gpuCount);
  const weights = weightTable(model, settings.quantization);
  const norms = extraNormsOf(model);
  const gpus = Array.from({ length: gpuCount }, emptyWork);
  const host = emptyWork();
  const on = (device: number): DeviceWork => (device === HOST ? host : gpus[device]!);
  const usedShare = model.expertCount > 0 ? model.expertUsedCount / model.expertCount : 0;
  const parametersPerByte = model.parameterCount / Math.max(1, weights.totalBytes);
  let crossings = 0;
  let before = placement.blocks[0] ?? HOST;
  const blocks = settings.draftTokensMax ? model.layers.length : model.layerCount;
  for (let i = 0; i < blocks; i++) {
    const layer = model.layers[i]!;
    const device = placement.blocks[i]!;
    const work = on(device);
    const experts = weights.expertBytes[i]!;
    const dense = weights.blockBytes[i]! - experts;
    const expertsOn = placement.hostExperts[i] === 1 ? host : work;
    countLayer(work, layer, norms);
    work.denseBytes += dense;
    work.residentBytes += dense;
    expertsOn.expertBytes += experts * usedShare;
    expertsOn.residentBytes += experts;
    work.activeParameters += (dense + experts * usedShare) * parametersPerByte;
    work.expertParameters += experts * usedShare * parametersPerByte;
    work.expertShare = usedShare;
    work.kvBytes += layerKvBytes(layer, settings, model.slidingWindow, depth);
    if (device !== before && (device === HOST || before === HOST)) crossings++;
    if (expertsOn === host && device !== HOST) crossings += 2;
    before = device;
  }
  const outputWork = on(placement.output);
  const outputBytes = weights.outputBytes + weights.tiedOutputBytes;
  outputWork.denseBytes += outputBytes;
  outputWork.residentBytes += outputBytes;
  if (placement.output !== before && (placement.output === HOST || before === HOST)) crossings++;
  return { gpus, host, crossings, slidingWindow: model.slidingWindow };
}

function countLayer(work: DeviceWork, layer: LayerSpec, norms: number): void {
  work.layers++;
  work.extraNorms += norms;
  if (layer.ffn === "moe") work.moeLayers++;
  if (layer.attention === "recurrent" && (layer.recurrentStateBytes ?? 0) >= recurrentStateBytesMin)
    work.recurrentLayers++;
  if (layer.attention === "mla") work.mlaLayers++;
  const attends = layer.attention !== "recurrent" && layer.attention !== "none";
  if (!attends) return;
  const width = layer.headCount * layer.keyLength;
  if (isWindowed(layer)) work.slidingWidth += width;
  else work.attentionWidth += width;
}

/** Bytes of cache a token at `depth` reads in one layer; a recurrent state is read and written whole. */
function layerKvBytes(layer: LayerSpec, settings: RuntimeSettings, window: number, depth: number): number {
  if (layer.attention === "recurrent") return 2 * (layer.recurrentStateBytes ?? 0);
  const reads = storesRows(layer) || layer.attention === "shared";
  if (!reads) return 0;
  const tokens = isWindowed(layer) ? Math.min(depth, window) : depth;
  const k = cacheRowBytes(settings.kvCacheTypeK, layer.headCountKv * layer.keyLength);
  const v = layer.attention === "mla" ? 0 : cacheRowBytes(settings.kvCacheTypeV, layer.headCountKv * layer.valueLength);
  return tokens * (k + v);
}
