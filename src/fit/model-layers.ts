/** Per-block facts of a model: what each block remembers of earlier tokens, and how its feed-forward part is built. */
import { perLayerAt, perLayerMax } from "./model-keys.ts";
import type { ModelShape } from "./model-shape.ts";
import type { AttentionKind, LayerSpec } from "./types.ts";

const f32 = 4;

/** One spec per block, MTP blocks last. */
export function layersOf(shape: ModelShape): LayerSpec[] {
  const state = recurrentStateBytes(shape);
  const count = shape.layerCount + shape.mtpLayerCount;
  return Array.from({ length: count }, (_, index) => layerAt(shape, index, state));
}

function layerAt(shape: ModelShape, index: number, stateBytes: number): LayerSpec {
  const attention = attentionAt(shape, index);
  const sliding = attention === "sliding" || attention === "chunked" || (shape.slidingLayers?.[index] ?? false);
  const caches = attention !== "recurrent" && attention !== "none";
  const layer: LayerSpec = {
    attention,
    headCount: perLayerAt(shape.headCount, index),
    headCountKv: attention === "mla" ? 1 : perLayerAt(shape.headCountKv, index),
    keyLength:
      attention === "mla" ? shape.kvLoraRank + shape.ropeLength : sliding ? shape.keyLengthSliding : shape.keyLength,
    valueLength: attention === "mla" ? shape.kvLoraRank : sliding ? shape.valueLengthSliding : shape.valueLength,
    ...feedForwardAt(shape, index),
  };
  if (isRecurrent(shape, index)) layer.recurrentStateBytes = stateBytes;
  if (caches && hasIndexer(shape, index)) layer.indexerKeyLength = shape.indexerKeyLength;
  return layer;
}

/** Whether block `index` keeps a recurrent state. */
export function isRecurrent(shape: ModelShape, index: number): boolean {
  const recurrent = shape.traits.recurrent;
  if (recurrent === undefined || index >= shape.layerCount) return false;
  if (shape.recurrentLayers !== undefined) return shape.recurrentLayers[index] ?? false;
  switch (recurrent.blocks) {
    case "all":
    case "besideAttention":
      return true;
    case "interval": {
      const interval = shape.reader.integer("full_attention_interval", recurrent.interval ?? 4, { min: 1, max: 512 });
      return (index + 1) % interval !== 0;
    }
    case "zeroKvHeads":
      return perLayerAt(shape.headCountKv, index) === 0;
    case "zeroKvHeadsZeroFfn":
      return perLayerAt(shape.headCountKv, index) === 0 && perLayerAt(shape.feedForwardLength, index) === 0;
  }
}

function attentionAt(shape: ModelShape, index: number): AttentionKind {
  const { traits } = shape;
  if (traits.noCache) return "none";
  if (isRecurrent(shape, index) && traits.recurrent?.blocks !== "besideAttention") return "recurrent";
  if (traits.recurrent?.blocks === "zeroKvHeadsZeroFfn" && index < shape.layerCount) {
    if (perLayerAt(shape.feedForwardLength, index) > 0) return "none";
  }
  if (isMla(shape)) return "mla";
  if (index < shape.layerCount && index >= shape.kvLayersFromStart) return "shared";
  if (perLayerAt(shape.headCountKv, index) === 0) return "none";
  if (shape.slidingLayers?.[index]) return traits.sliding?.kind ?? "sliding";
  return "full";
}

/** True when the cache holds compressed rows; older files of the same models cache full heads. */
export function isMla(shape: ModelShape): boolean {
  return shape.traits.attention === "mla" && shape.keyLengthMla > 0 && shape.valueLengthMla > 0 && shape.kvLoraRank > 0;
}

/** Whether block `index` owns a sparse-attention index. MTP blocks attend densely. */
export function hasIndexer(shape: ModelShape, index: number): boolean {
  if (shape.indexerKeyLength === 0 || index >= shape.layerCount) return false;
  if (shape.architecture === "minimax-m3") return index >= shape.leadingDenseLayers;
  return shape.indexerLayers?.[index] ?? true;
}

/** Whether block `index` routes tokens to experts. */
export function isExpertLayer(shape: ModelShape, index: number): boolean {
  if (shape.expertCount === 0 || index < shape.leadingDenseLayers) return false;
  if (index >= shape.layerCount) return !(shape.traits.mtpDense ?? false);
  switch (shape.architecture) {
    case "llama4":
      return (index + 1) % shape.expertLayerStep === 0;
    case "jamba":
      return index % shape.expertLayerStep === shape.expertLayerStep - 1;
    case "nomic-bert-moe":
      return index % shape.expertLayerStep === 1;
    case "nemotron_h_moe":
      return perLayerAt(shape.feedForwardLength, index) > 0;
    case "mimo2":
    case "step35":
      return perLayerAt(shape.feedForwardLength, index) === 0 || shape.leadingDenseLayers > 0;
    default:
      return true;
  }
}

function feedForwardAt(shape: ModelShape, index: number): Pick<LayerSpec, "ffn" | "feedForwardLength"> {
  if (isExpertLayer(shape, index))
    return { ffn: "moe", feedForwardLength: perLayerAt(shape.expertFeedForwardLength, index) };
  const width = perLayerAt(shape.feedForwardLength, index);
  return width > 0 ? { ffn: "dense", feedForwardLength: width } : { ffn: "none", feedForwardLength: 0 };
}

/**
 * Bytes of float32 state one recurrent block keeps per sequence: the convolution's last inputs and the state matrix,
 * as llama.cpp allocates them (`n_embd_r` + `n_embd_s` in llama-hparams.cpp).
 */
export function recurrentStateBytes(shape: ModelShape): number {
  const recurrent = shape.traits.recurrent;
  if (recurrent === undefined) return 0;
  const { ssm, embeddingLength } = shape;
  const heads = perLayerAt(shape.headCount, 0) || perLayerMax(shape.headCount);
  switch (recurrent.state) {
    case "wkv":
      return f32 * (shape.tokenShiftCount * embeddingLength + embeddingLength * shape.wkvHeadLength);
    case "shortConv":
      return f32 * embeddingLength * Math.max(0, shape.shortConvCache - 1);
    case "kda": {
      const inner = heads * shape.kdaHeadLength;
      return f32 * (3 * Math.max(0, (ssm?.convKernel ?? 4) - 1) * inner + inner * shape.kdaHeadLength);
    }
    case "lightning":
      return f32 * shape.keyLength * shape.keyLength * heads;
    case "ssm":
    case "deltaNet": {
      if (ssm === undefined) return 0;
      const convolution = Math.max(0, ssm.convKernel - 1) * (ssm.innerSize + 2 * ssm.groupCount * ssm.stateSize);
      return f32 * (convolution + ssm.stateSize * ssm.innerSize);
    }
  }
}
