/** A model's hyperparameters, read from GGUF keys and checked: what layers and tensors are derived from. */
import { AppError, type ErrorCode } from "../core/errors.ts";
import { KeyReader, type PerLayer, perLayerAt, perLayerMax } from "./model-keys.ts";
import { type ArchitectureTraits, traitsOf } from "./model-traits.ts";

/** Same bound as llama.cpp's own (`LLAMA_MAX_LAYERS`). */
export const layersMax = 512;
const headsMax = 4096;
const lengthMax = 2 ** 20;
/** Fused feed-forward blocks of pruned models reach 425,984. */
const feedForwardMax = 2 ** 22;
const vocabularyMax = 2 ** 23;
const contextMax = 2 ** 40;
const expertsMax = 4096;

/** State-space or linear-attention sizes, as `<arch>.ssm.*`. */
export interface SsmShape {
  convKernel: number;
  innerSize: number;
  stateSize: number;
  timeStepRank: number;
  groupCount: number;
}

export interface ModelShape {
  architecture: string;
  traits: ArchitectureTraits;
  name: string | undefined;
  /** Blocks of the main model. */
  layerCount: number;
  mtpLayerCount: number;
  embeddingLength: number;
  /** Undefined when neither the vocabulary's size nor its tokens were given. */
  vocabularySize: number | undefined;
  contextLengthTrained: number;
  headCount: PerLayer;
  headCountKv: PerLayer;
  keyLength: number;
  valueLength: number;
  keyLengthSliding: number;
  valueLengthSliding: number;
  ropeLength: number;
  feedForwardLength: PerLayer;
  expertCount: number;
  expertUsedCount: number;
  expertFeedForwardLength: PerLayer;
  /** Width of all shared experts together; 0 when there are none. */
  sharedExpertLength: number;
  leadingDenseLayers: number;
  /** Every n-th block is MoE; 1 for all. */
  expertLayerStep: number;
  /** Width the routed experts work in, when smaller than the model's. */
  expertLatentLength: number;
  slidingWindow: number;
  /** One per block. */
  slidingLayers: readonly boolean[] | undefined;
  recurrentLayers: readonly boolean[] | undefined;
  /** Blocks from this one on read an earlier block's cache; `layerCount` when none do. */
  kvLayersFromStart: number;
  queryLoraRank: number;
  kvLoraRank: number;
  /** Head sizes of MLA after decompression; 0 when the file is of the older form that caches full heads. */
  keyLengthMla: number;
  valueLengthMla: number;
  indexerHeadCount: number;
  indexerKeyLength: number;
  /** Which blocks own an index; all when undefined. */
  indexerLayers: readonly boolean[] | undefined;
  ssm: SsmShape | undefined;
  shortConvCache: number;
  kdaHeadLength: number;
  wkvHeadLength: number;
  tokenShiftCount: number;
  perLayerEmbeddingLength: number;
  reader: KeyReader;
}

/**
 * Reads the hyperparameters of `metadata` (GGUF keys: "general.architecture", "llama.block_count" …).
 * Throws `code` when a key is missing or absurd.
 */
export function readShape(metadata: Readonly<Record<string, unknown>>, code: ErrorCode): ModelShape {
  const architecture = new KeyReader(metadata, "general", code).text("architecture");
  if (architecture === undefined) throw new AppError(code, "The model's metadata lacks general.architecture.");
  const keys = new KeyReader(metadata, architecture, code);
  const traits = traitsOf(architecture);
  const allLayers = keys.required("block_count", { min: 1, max: layersMax });
  const mtpLayerCount = keys.integer("nextn_predict_layers", 0, { max: allLayers - 1 });
  const layerCount = allLayers - mtpLayerCount;
  const embeddingLength = keys.required("embedding_length", { min: 1, max: lengthMax });
  const headCount = keys.perLayer("attention.head_count", allLayers, 0, { max: headsMax });
  const headDefault = Math.floor(embeddingLength / Math.max(1, perLayerAt(headCount, 0) || perLayerMax(headCount)));
  const keyLength = keys.integer("attention.key_length", headDefault, { max: lengthMax });
  const valueLength = keys.integer("attention.value_length", headDefault, { max: lengthMax });
  const window = readSliding(keys, traits, layerCount, allLayers);
  return {
    architecture,
    traits,
    name: new KeyReader(metadata, "general", code).text("name"),
    layerCount,
    mtpLayerCount,
    embeddingLength,
    vocabularySize: readVocabulary(keys),
    contextLengthTrained: keys.integer("context_length", 2048, { min: 1, max: contextMax }),
    headCount,
    headCountKv: keys.perLayer("attention.head_count_kv", allLayers, headCount, { max: headsMax }),
    keyLength,
    valueLength,
    keyLengthSliding: keys.integer("attention.key_length_swa", keyLength, { max: lengthMax }),
    valueLengthSliding: keys.integer("attention.value_length_swa", valueLength, { max: lengthMax }),
    ropeLength: keys.integer("rope.dimension_count", keyLength, { max: lengthMax }),
    feedForwardLength: readFeedForward(keys, allLayers),
    ...readExperts(keys, traits, allLayers),
    ...window,
    recurrentLayers: keys.flags("attention.recurrent_layers", allLayers),
    kvLayersFromStart: readKvLayers(keys, traits, layerCount),
    queryLoraRank: keys.integer("attention.q_lora_rank", 0, { max: lengthMax }),
    kvLoraRank: keys.integer("attention.kv_lora_rank", 0, { max: lengthMax }),
    keyLengthMla: keys.integer("attention.key_length_mla", 0, { max: lengthMax }),
    valueLengthMla: keys.integer("attention.value_length_mla", 0, { max: lengthMax }),
    indexerHeadCount: keys.integer("attention.indexer.head_count", 0, { max: headsMax }),
    indexerKeyLength: keys.integer("attention.indexer.key_length", 0, { max: lengthMax }),
    indexerLayers: keys.flags("attention.indexer.types", layerCount),
    ssm: readSsm(keys),
    shortConvCache: keys.integer("shortconv.l_cache", 0, { max: 4096 }),
    kdaHeadLength: keys.integer("kda.head_dim", 0, { max: lengthMax }),
    wkvHeadLength: keys.integer("wkv.head_size", 0, { max: lengthMax }),
    tokenShiftCount: keys.integer("token_shift_count", 2, { max: 16 }),
    perLayerEmbeddingLength: keys.integer("embedding_length_per_layer_input", 0, { max: lengthMax }),
    reader: keys,
  };
}

function readVocabulary(keys: KeyReader): number | undefined {
  const tokens = keys.raw("tokenizer.ggml.tokens");
  // A reader that does not keep long lists leaves `{length}` in their place.
  const length = Array.isArray(tokens) ? tokens.length : (tokens as { length?: unknown } | undefined)?.length;
  if (typeof length === "number" && length > 0 && length <= vocabularyMax) return length;
  return keys.optional("vocab_size", { min: 1, max: vocabularyMax });
}

function readFeedForward(keys: KeyReader, allLayers: number): PerLayer {
  const width = keys.perLayer("feed_forward_length", allLayers, 0, { max: feedForwardMax });
  // Qwen 1 counts gate and up together.
  return keys.architecture === "qwen" && typeof width === "number" ? Math.floor(width / 2) : width;
}

function readExperts(keys: KeyReader, traits: ArchitectureTraits, allLayers: number) {
  const expertCount = keys.integer("expert_count", 0, { max: expertsMax });
  const expertUsedCount = keys.integer("expert_used_count", 0, { max: expertsMax });
  if (expertUsedCount > expertCount) keys.refuse("The model uses more experts per token than it has.");
  const own = keys.perLayer("feed_forward_length", allLayers, 0, { max: feedForwardMax });
  const width = keys.perLayer(
    "expert_feed_forward_length",
    allLayers,
    traits.expertWidth?.(own, expertUsedCount) ?? own,
    {
      max: feedForwardMax,
    },
  );
  const sharedCount = keys.integer("expert_shared_count", traits.sharedExpertCount ?? 0, { max: 64 });
  const sharedDefault = sharedCount * perLayerMax(width);
  const sharedOne = keys.optional("expert_shared_feed_forward_length", { max: feedForwardMax });
  const sharedTotal =
    sharedOne === undefined ? sharedDefault : traits.sharedWidthIsPerExpert ? sharedOne * sharedCount : sharedOne;
  return {
    expertCount,
    expertUsedCount,
    expertFeedForwardLength: width,
    sharedExpertLength: expertCount === 0 ? 0 : sharedTotal,
    leadingDenseLayers: keys.integer("leading_dense_block_count", 0, { max: layersMax }),
    expertLayerStep: Math.max(
      1,
      keys.integer("interleave_moe_layer_step", keys.integer("moe_every_n_layers", 1, { max: layersMax }), {
        max: layersMax,
      }),
    ),
    expertLatentLength: keys.integer("moe_latent_size", keys.integer("expert_latent_length", 0, { max: lengthMax }), {
      max: lengthMax,
    }),
  };
}

function readSliding(keys: KeyReader, traits: ArchitectureTraits, layerCount: number, allLayers: number) {
  const sliding = traits.sliding;
  const given = keys.optional("attention.sliding_window", { max: contextMax });
  if (sliding === undefined) return { slidingWindow: 0, slidingLayers: undefined };
  const window = sliding.windowFixed ?? given ?? sliding.window ?? 0;
  const off =
    given === 0 ||
    (sliding.keyRequired && given === undefined) ||
    window === 0 ||
    (sliding.onlyLayerCount !== undefined && sliding.onlyLayerCount !== layerCount);
  if (off) return { slidingWindow: 0, slidingLayers: undefined };
  const listed = keys.flags("attention.sliding_window_pattern", layerCount);
  const period = listed ? 0 : keys.integer("attention.sliding_window_pattern", sliding.period, { max: layersMax });
  const layers = Array.from({ length: allLayers }, (_, index) => {
    if (index >= layerCount) return false;
    if (listed) return listed[index] ?? false;
    if (period === 0) return true;
    return sliding.fullFirst ? index % period !== 0 : index % period < period - 1;
  });
  return { slidingWindow: window, slidingLayers: layers };
}

function readKvLayers(keys: KeyReader, traits: ArchitectureTraits, layerCount: number): number {
  const shared = keys.integer("attention.shared_kv_layers", 0, { max: layerCount });
  if (traits.kvLayersFromStart !== undefined) return Math.min(layerCount, traits.kvLayersFromStart);
  return traits.sharesKv ? layerCount - shared : layerCount;
}

function readSsm(keys: KeyReader): SsmShape | undefined {
  if (!keys.has("ssm.conv_kernel") && !keys.has("ssm.state_size")) return undefined;
  return {
    convKernel: keys.integer("ssm.conv_kernel", 4, { max: 4096 }),
    innerSize: keys.integer("ssm.inner_size", 0, { max: lengthMax }),
    stateSize: keys.integer("ssm.state_size", 0, { max: lengthMax }),
    timeStepRank: keys.integer("ssm.time_step_rank", 0, { max: lengthMax }),
    groupCount: keys.integer("ssm.group_count", 0, { max: lengthMax }),
  };
}
