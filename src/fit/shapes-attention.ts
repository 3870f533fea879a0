/** Attention, latent attention and recurrent mixers: the first half of a block's tensors. */
import { perLayerAt } from "./model-keys.ts";
import { hasIndexer, isMla, isRecurrent } from "./model-layers.ts";
import type { ModelShape } from "./model-shape.ts";
import { addNorm, headsOf, type TensorHints, type TensorList } from "./shapes-list.ts";
import { addRecurrentMixer, addSsm } from "./shapes-recurrent.ts";

/** Adds everything of block `index` that comes before its feed-forward part. */
export function addAttention(list: TensorList, shape: ModelShape, index: number, hints: TensorHints): void {
  const { flags, recurrent } = shape.traits;
  const heads = perLayerAt(shape.headCount, index);
  const headsKv = perLayerAt(shape.headCountKv, index);
  const recurrentHere = isRecurrent(shape, index);
  const mixes = recurrentHere || heads > 0;
  if (mixes || recurrent?.blocks === "zeroKvHeadsZeroFfn") addAttnNorms(list, shape, index, hints);
  if (recurrentHere && recurrent?.blocks !== "besideAttention") {
    addRecurrentMixer(list, shape, hints);
    if (recurrent?.state === "deltaNet") addNorm(list, shape, "post_attention_norm");
    return;
  }
  if (recurrent?.blocks === "besideAttention") addSsm(list, shape, hints);
  if (shape.traits.attention === "mla" || shape.traits.attention === "mlaLegacy") {
    addLatentAttention(list, shape, index);
    return;
  }
  if (shape.traits.attention === "deci" && headsKv === 0) {
    // A pruned block: attention replaced by one matrix, or left out.
    if (heads > 0) list.weight("attn_output", shape.embeddingLength, shape.embeddingLength);
    return;
  }
  if (headsKv === 0) return;
  addHeads(list, shape, index, hints);
  if (flags.has("postAttnNorm") || recurrent?.state === "deltaNet") addNorm(list, shape, "post_attention_norm");
  if (flags.has("postAttnOutputNorm")) addNorm(list, shape, "attn_output_norm");
}

function addAttnNorms(list: TensorList, shape: ModelShape, index: number, hints: TensorHints): void {
  const { flags } = shape.traits;
  const modernBertFirst = shape.architecture === "modern-bert" && index === 0;
  if (
    flags.has("noAttnNorm") ||
    flags.has("noNorms") ||
    flags.has("embeddingNorm") !== (shape.architecture === "modern-bert")
  ) {
    return;
  }
  if (modernBertFirst) return;
  addNorm(list, shape, "attn_norm");
  if (hints.secondAttnNorm) addNorm(list, shape, "attn_norm_2");
}

function addHeads(list: TensorList, shape: ModelShape, index: number, hints: TensorHints): void {
  const { flags } = shape.traits;
  const width = shape.embeddingLength;
  const sliding = shape.slidingLayers?.[index] ?? false;
  const key = sliding ? shape.keyLengthSliding : shape.keyLength;
  const value = sliding ? shape.valueLengthSliding : shape.valueLength;
  const heads = perLayerAt(shape.headCount, index);
  const headsKv = perLayerAt(shape.headCountKv, index);
  const query = heads * key;
  // Blocks that read an earlier block's cache have no key and value matrices; Gemma 3n's files keep unused ones.
  const ownsKv = shape.traits.attention !== "gemma4" || index < shape.kvLayersFromStart || index >= shape.layerCount;
  addProjections(
    list,
    shape,
    { query: query * (flags.has("gatedQuery") ? 2 : 1), keys: headsKv * key, values: headsKv * value, ownsKv, sliding },
    hints,
  );
  list.weight("attn_output", heads * value, width);
  if (flags.has("outBias")) list.bias("attn_output", width);
  if (flags.has("subNorms")) list.weight("attn_sub_norm", width);
  addHeadNorms(list, shape, { key, heads, headsKv, ownsKv }, hints);
  if (flags.has("sinks")) list.weight("attn_sinks", heads);
  if (flags.has("gateElement")) list.weight("attn_gate", width, query);
  if (flags.has("gateHead")) list.weight("attn_gate", width, heads);
  if (shape.indexerKeyLength > 0 && hasIndexer(shape, index)) addProjectedIndexer(list, shape);
}

interface Projections {
  query: number;
  keys: number;
  values: number;
  ownsKv: boolean;
  sliding: boolean;
}

function addProjections(list: TensorList, shape: ModelShape, sizes: Projections, hints: TensorHints): void {
  const { flags } = shape.traits;
  const width = shape.embeddingLength;
  const biased = hints.qkvBias ?? flags.has("qkvBias");
  if (flags.has("qkvFused")) {
    const all = sizes.query + sizes.keys + sizes.values;
    list.weight("attn_qkv", width, all);
    if (biased) list.bias("attn_qkv", all);
    return;
  }
  list.weight("attn_q", width, sizes.query);
  if (biased) list.bias("attn_q", sizes.query);
  if (!sizes.ownsKv) return;
  list.weight("attn_k", width, sizes.keys);
  if (biased) list.bias("attn_k", sizes.keys);
  if (!valuesAreKeys(shape, sizes.sliding)) {
    list.weight("attn_v", width, sizes.values);
    if (biased) list.bias("attn_v", sizes.values);
  }
}

/** Larger Gemma 4 models use the keys as values in their full-attention blocks. */
function valuesAreKeys(shape: ModelShape, sliding: boolean): boolean {
  return shape.traits.attention === "gemma4" && !sliding && shape.perLayerEmbeddingLength === 0;
}

interface HeadSizes {
  key: number;
  heads: number;
  headsKv: number;
  ownsKv: boolean;
}

function addHeadNorms(list: TensorList, shape: ModelShape, sizes: HeadSizes, hints: TensorHints): void {
  const { flags } = shape.traits;
  if (hints.qkNorm ?? flags.has("qkNorm")) {
    list.weight("attn_q_norm", sizes.key);
    if (sizes.ownsKv) list.weight("attn_k_norm", sizes.key);
  } else if (flags.has("qkNormRow")) {
    list.weight("attn_q_norm", sizes.heads * sizes.key);
    list.weight("attn_k_norm", sizes.headsKv * sizes.key);
  } else if (flags.has("qkNormHeads") || (shape.architecture === "command-r" && shape.layerCount >= 64)) {
    list.weight("attn_q_norm", sizes.key, sizes.heads);
    list.weight("attn_k_norm", sizes.key, sizes.headsKv);
  }
}

/** DeepSeek's compressed keys and values. Older files keep the decompression as one matrix, newer ones as two. */
function addLatentAttention(list: TensorList, shape: ModelShape, index: number): void {
  const { embeddingLength: width, queryLoraRank: rankQ, kvLoraRank: rankKv, ropeLength: rope } = shape;
  const heads = headsOf(shape.headCount);
  const absorbed = isMla(shape);
  const key = absorbed ? shape.keyLengthMla : shape.keyLength;
  const value = absorbed ? shape.valueLengthMla : shape.valueLength;
  if (rankQ > 0) {
    list.weight("attn_q_a", width, rankQ);
    list.weight("attn_q_a_norm", rankQ);
    list.weight("attn_q_b", rankQ, heads * key);
  } else {
    list.weight("attn_q", width, heads * key);
  }
  list.weight("attn_kv_a_mqa", width, rankKv + rope);
  list.weight("attn_kv_a_norm", rankKv);
  if (absorbed) {
    list.weight("attn_k_b", key - rope, rankKv, heads);
    list.weight("attn_v_b", rankKv, value, heads);
  } else {
    list.weight("attn_kv_b", rankKv, heads * (key - rope + value));
  }
  list.weight("attn_output", heads * value, width);
  if (hasIndexer(shape, index)) addLatentIndexer(list, shape);
}

function addLatentIndexer(list: TensorList, shape: ModelShape): void {
  const { indexerKeyLength: key, indexerHeadCount: heads, embeddingLength: width } = shape;
  list.weight("indexer.k_norm", key);
  list.bias("indexer.k_norm", key);
  list.weight("indexer.proj", width, heads);
  list.weight("indexer.attn_k", width, key);
  list.weight("indexer.attn_q_b", shape.queryLoraRank, heads * key);
}

function addProjectedIndexer(list: TensorList, shape: ModelShape): void {
  const { indexerKeyLength: key, indexerHeadCount: heads, embeddingLength: width } = shape;
  list.weight("indexer.q_proj", width, heads * key);
  list.weight("indexer.k_proj", width, key);
  list.weight("indexer.q_norm", key);
  list.weight("indexer.k_norm", key);
}
