/** The planner's nouns. Types only; sizes are bytes, rates bytes or tokens per second, unless a name says otherwise. */
import type { LearnedMachine } from "./learned.ts";
import type { TensorType } from "./quantization.ts";

/** How a layer remembers earlier tokens. */
export type AttentionKind =
  /** Every earlier token. */
  | "full"
  /** The last `slidingWindow` tokens. */
  | "sliding"
  /** Fixed-size blocks of `slidingWindow` tokens (Llama 4). */
  | "chunked"
  /** Multi-head latent attention: one compressed row per token (DeepSeek). */
  | "mla"
  /** Linear attention or a state-space block: a state of fixed size per sequence. */
  | "recurrent"
  /** Attention that reads an earlier layer's cache and stores none. */
  | "shared"
  /** No memory of its own (a plain FFN layer in a hybrid). */
  | "none";

export interface LayerSpec {
  attention: AttentionKind;
  headCount: number;
  headCountKv: number;
  /** Elements per head in a K row and a V row as cached (for MLA: the latent row as one KV head). */
  keyLength: number;
  valueLength: number;
  /** Bytes of float32 state per sequence, for `recurrent`; also beside attention where a block does both (Falcon H1). */
  recurrentStateBytes?: number;
  /** Elements per token of a sparse-attention index, cached beside K in K's type (DeepSeek 3.2, GLM 5). */
  indexerKeyLength?: number;
  ffn: "dense" | "moe" | "none";
  /** Width of the dense FFN, or of one expert. */
  feedForwardLength: number;
}

/** One tensor of the file: name as in GGUF, dims in ggml order (row length first). */
export interface TensorSpec {
  name: string;
  dims: readonly number[];
  /** Known for a file; absent for a shape that a quantization mix still has to type. */
  type?: TensorType;
}

/** Where a spec's numbers come from, best first. */
export type ModelProvenance = "gguf" | "config" | "catalogue" | "size";

/** Everything the planner knows of a model, whatever it was read from. */
export interface ModelSpec {
  name: string;
  provenance: ModelProvenance;
  /** `general.architecture`: "llama", "qwen3moe" … */
  architecture: string;
  parameterCount: number;
  /** Parameters read per token: equals `parameterCount` for dense models. */
  activeParameterCount: number;
  /** Blocks of the main model, without MTP blocks. */
  layerCount: number;
  /** Multi-token-prediction blocks behind the main ones. */
  mtpLayerCount: number;
  embeddingLength: number;
  vocabularySize: number;
  contextLengthTrained: number;
  slidingWindow: number;
  /** One per block, MTP blocks last. */
  layers: readonly LayerSpec[];
  expertCount: number;
  expertUsedCount: number;
  /** True when the output matrix is the token embedding. */
  tiedEmbeddings: boolean;
  /** Every tensor, shapes always, types when read from a file. */
  tensors: readonly TensorSpec[];
  /** The file's mix ("Q4_K_M"), when known. */
  quantization?: string;
  /** File or part sizes added up, when known. */
  fileBytes?: number;
  /** Vision or audio projector shipped beside the model. */
  projectorBytes?: number;
  /** What was assumed to fill gaps, in plain English; shown with the answer. */
  assumptions: readonly string[];
}

export type Backend = "cuda" | "vulkan" | "rocm" | "metal" | "cpu";

export interface GpuDevice {
  /** Stable within a plan: "gpu0". */
  id: string;
  name?: string;
  /** Of unified memory the machine's whole; the planner knows what the system keeps of it. */
  vramBytesTotal: number;
  /** A live reading taken with the desktop and other programs running; absent when only the card is known. */
  vramBytesFree?: number;
  /** Free as the loader will find it when it cuts the layers; left out: `vramBytesFree`. */
  loaderBytesFree?: number;
  bandwidthBytesPerSecond?: number;
  /** Half-precision matrix rate, operations per second. */
  fp16FlopsPerSecond?: number;
  /** INT8 matrix or dot-product rate, operations per second: what quantized prompt processing runs on. */
  int8OpsPerSecond?: number;
  /** Architecture generation ("ampere", "rdna3", "m4"), for the speed model. */
  generation?: string;
  laptop?: boolean;
}

export interface Hardware {
  name?: string;
  gpus: readonly GpuDevice[];
  backend: Backend;
  ramBytesTotal?: number;
  ramBytesFree?: number;
  ramBandwidthBytesPerSecond?: number;
  /** Cores that may be used for mathematics; left out: as many as the memory usually feeds. */
  cpuCores?: number;
  /** Apple silicon, Strix Halo and the like: the GPU's memory is the machine's. */
  unifiedMemory?: boolean;
  /** What this very machine's loads and answers taught; the same object for as long as nothing was added. */
  learned?: LearnedMachine;
}

/** Cache types llama.cpp accepts and that are safe to use (others abort the process). */
export type KvCacheType = "F32" | "F16" | "BF16" | "Q8_0" | "Q5_1" | "Q5_0" | "Q4_1" | "Q4_0" | "IQ4_NL";

/**
 * Whose allocations to predict. `node-llama-cpp`: our engine; micro-batch equals batch and logits are reserved for
 * every batch token. `llama-server`: current upstream server, logits for the slots only. `llama.cpp-2024`: upstream
 * builds before outputs were limited, logits for every micro-batch token.
 */
export type BuildFamily = "node-llama-cpp" | "llama-server" | "llama.cpp-2024";

/** One complete set of loader settings. */
export interface RuntimeSettings {
  buildFamily: BuildFamily;
  quantization?: string;
  /** Tokens per sequence. */
  contextLength: number;
  sequenceCount: number;
  batchSize: number;
  microBatchSize: number;
  flashAttention: boolean;
  kvCacheTypeK: KvCacheType;
  kvCacheTypeV: KvCacheType;
  /** Layers in VRAM; the output layer counts as one, MTP blocks too. */
  gpuLayers: number;
  /** Layers whose expert tensors stay on the host, counted from the last; 0 for dense models. */
  hostExpertLayers: number;
  /** Layers given to each GPU, in device order; sums to `gpuLayers`. */
  gpuLayerSplit: readonly number[];
  /** Tokens drafted per step by the model's MTP block; left out when it is unused. */
  draftTokensMax?: number;
  /** True: llama-server keeps a cache of `contextLength` for each slot, instead of one that all share. */
  slotCaches?: boolean;
}

/** What a user asks for; everything left out is the planner's to choose. */
export interface Wish {
  contextLength?: number;
  contextLengthMin?: number;
  sequenceCount?: number;
  /** Fewest sequences the planner may go down to when memory is short; left out: `sequenceCount` is kept. */
  sequenceCountMin?: number;
  batchSize?: number;
  microBatchSize?: number;
  flashAttention?: boolean;
  kvCacheTypeK?: KvCacheType;
  kvCacheTypeV?: KvCacheType;
  gpuLayers?: number;
  hostExpertLayers?: number;
  /** Fixed quantization; absent: the file's own, or the planner's choice for a shape. */
  quantization?: string;
  buildFamily?: BuildFamily;
  /** Tokens drafted per step by the model's own MTP block; 0, the default, leaves the block unused. */
  draftTokensMax?: number;
  /** llama-server only: see `RuntimeSettings`. */
  slotCaches?: boolean;
  /** Bytes per GPU the user keeps for others; default `reserveBytesDefault`. */
  reserveBytes?: number;
  /** Most VRAM to use per GPU, bytes. */
  vramBytesMax?: number;
  /**
   * Shares of the layers for each GPU in device order, as llama.cpp's --tensor-split takes them: a GPU with 0 gets none.
   * Left out: by free memory.
   */
  tensorSplit?: readonly number[];
}

/** Memory of one device under a plan. The parts sum to `totalBytes`. */
export interface DeviceBreakdown {
  id: string;
  kind: "gpu" | "host";
  name?: string;
  layers: number;
  weightBytes: number;
  kvCacheBytes: number;
  recurrentStateBytes: number;
  computeBufferBytes: number;
  outputBufferBytes: number;
  /** Driver context, workspaces, projector: what the runtime takes beside llama.cpp's own buffers. */
  runtimeBytes: number;
  totalBytes: number;
  /** Assumed available before loading. */
  freeBytesBefore: number;
  freeBytesAfter: number;
}

/** One step of the search when short: what was given up and what it bought. */
export interface PlanStep {
  setting: string;
  from: string;
  to: string;
  savedBytes: number;
}

export interface FitPlan {
  kind: "plan";
  model: { name: string; quantization: string; parameterCount: number; provenance: ModelProvenance };
  fits: boolean;
  /** Probability, 0 to 1, that every device has room, given how well free memory is known. */
  probability: number;
  offload: "none" | "partial" | "full";
  settings: RuntimeSettings;
  devices: DeviceBreakdown[];
  steps: PlanStep[];
  assumptions: string[];
}

export interface FitRefusal {
  kind: "refusal";
  model: { name: string; quantization?: string; parameterCount: number; provenance: ModelProvenance };
  /** One English sentence. */
  reason: string;
  /** Bytes missing on the worst device for the smallest acceptable settings. */
  shortfallBytes: number;
  nearest?: FitPlan;
  assumptions: string[];
}
