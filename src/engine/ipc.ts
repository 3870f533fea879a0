/**
 * What the engine process and its llama child say to each other, over Node's IPC channel. Plain data only.
 *
 * A chat goes: `admit` (tokens are counted, so an over-long prompt is refused at once, however long the line is), then
 * `run` when a slot is free, then `started`, `texts`*, `ended`. `cancel` ends it at any point.
 */
import type { ChatRequest, FinishReason, Timings, Usage } from "../core/chat.ts";
import type { ErrorFacts } from "../core/errors.ts";
import type { Backend, KvCacheType } from "../fit/types.ts";
import type { AnswerPiece } from "./answer-parser.ts";
import type { ChildTask, TaskResults } from "./task.ts";

/** llama.cpp as a library, or as a server process of its own. */
export type EngineBackend = "node-llama-cpp" | "llama-server";

/** llama.cpp's backend: "auto" tries the best one the machine has, false is the CPU. */
export type GpuChoice = "auto" | "cuda" | "vulkan" | "metal" | false;

/** One complete set of loader settings. What is left out is chosen at load time. */
export interface LoadSettings {
  modelPath: string;
  /** Tokens per sequence. Default: what the model was trained for, at most `contextLengthDefault`. */
  contextLength?: number;
  /** Answers at once. */
  sequenceCount: number;
  /** Tokens per decode step, also the micro-batch. */
  batchSize: number;
  gpu: GpuChoice;
  /** Layers in VRAM; the output layer counts as one. "auto": as many as fit. */
  gpuLayers: number | "auto";
  /** What runs the model; left out: node-llama-cpp. */
  backend?: EngineBackend;
  /** Layers whose experts stay in main memory, counted from the last; llama-server only. */
  hostExpertLayers?: number;
  /**
   * Layers planned for each of several GPUs, in the reading's order: what llama-server is told, and what is expected of
   * the library. With fewer `gpuLayers` than planned they are shares.
   */
  gpuLayerSplit?: readonly number[];
  /** What the driver calls each of several GPUs, in the reading's order. */
  gpuNames?: readonly string[];
  /** Lets the process see the GPUs with layers only, in that order. */
  gpuEnvironment?: Readonly<Record<string, string>>;
  flashAttention: boolean | "auto";
  kvCacheTypeK: KvCacheType;
  kvCacheTypeV: KvCacheType;
  /** At most this many; never more than cores, the cgroup's quota, or what the model's size is worth. */
  threadsMax?: number;
  /** Reads every tensor for invalid numbers first; costs one pass over the file. */
  checkTensors?: boolean;
  /** A load whose buffers would be larger, or turn out to be, ends with engine_out_of_memory. */
  memoryLimit?: Partial<MemoryBytes>;
}

/** Bytes by where they lie; several GPUs are summed up. */
export interface MemoryBytes {
  hostBytes: number;
  gpuBytes: number;
}

/** The buffers llama.cpp really allocated. */
export interface MeasuredMemory {
  /** Weights. */
  model: MemoryBytes;
  /** KV cache, recurrent state and compute buffers. */
  context: MemoryBytes;
  /** What each GPU of the load holds of both, bytes, in the plan's order; absent where only sums are known. */
  gpus?: readonly number[];
  /** Free on all GPUs together when all was allocated, whoever holds the rest; absent without a GPU. */
  vramBytesFree?: number;
}

/** What was loaded. */
export interface LoadedModel {
  architecture: string;
  name?: string;
  quantization?: string;
  parameterCount: number;
  fileBytes: number;
  contextLength: number;
  contextLengthTrained: number;
  /** What it is for; left out: chat. */
  task?: "embedding" | "rerank";
  sequenceCount: number;
  backend: Backend;
  gpuLayers: number;
  threads: number;
  /** Which of the library's renderers writes the conversation. */
  chatTemplate: string;
  /** Start of the load to ready, milliseconds. */
  loadMs: number;
  /** Absent when the library no longer tells. */
  memory?: MeasuredMemory;
}

/** GPUs as llama.cpp sees them. Bytes are sums over all of them: it tells no more. */
export interface LlamaDevices {
  backend: Backend;
  names: string[];
  vramBytesTotal: number;
  vramBytesFree: number;
  mathCores: number;
}

export interface MemorySample {
  /** Resident memory of the child process. */
  rssBytes: number;
  /** Used on all GPUs together, by anybody; absent without one. */
  vramBytesUsed?: number;
}

/** How an answer ended, with what it cost. */
export interface AnswerEnd {
  end: { type: "finish"; finishReason: FinishReason } | { type: "cancelled" } | { type: "error"; error: ErrorFacts };
  usage: Usage;
  timings: Pick<Timings, "prefillTokensPerSecond" | "completionTokensPerSecond">;
}

/** A piece of one answer, and how many tokens it took; without a piece, tokens that show nothing yet. */
export type AnswerFrame = [id: number, tokenCount: number, piece?: AnswerPiece];

export type ParentMessage =
  /** With the mark that an earlier child's `ready` had. */
  | { type: "load"; settings: LoadSettings; templateMark?: string | undefined }
  /** Only look at the devices; answered by `devices`. */
  | { type: "probe"; gpu: GpuChoice }
  /** Answered by `task_done` or `task_failed`; `cancel` ends it. */
  | { type: "task"; id: number; task: ChildTask }
  | { type: "admit"; id: number; request: ChatRequest }
  | { type: "run"; id: number }
  | { type: "cancel"; id: number }
  /** The reader is slow: produce no more until `resume`. */
  | { type: "pause"; id: number }
  | { type: "resume"; id: number }
  | { type: "stop" };

export type ChildMessage =
  /** A process of its own that must not outlive this one. */
  | { type: "helper"; pid: number }
  | { type: "ready"; model: LoadedModel; templateMark?: string | undefined }
  | { type: "load_failed"; error: ErrorFacts }
  /** The chosen backend found no usable device; the CPU is used, and another start may save itself the search. */
  | { type: "gpu_unusable"; backend: Backend }
  | { type: "devices"; devices: LlamaDevices }
  | { type: "task_progress"; id: number; done: number; total: number }
  | { type: "task_done"; id: number; result: TaskResults[ChildTask["kind"]] }
  | { type: "task_failed"; id: number; error: ErrorFacts }
  | { type: "admitted"; id: number; promptTokens: number }
  | { type: "refused"; id: number; error: ErrorFacts }
  | { type: "started"; id: number; cachedPromptTokens: number }
  /** A chunk of the prompt is done: a sign of life while there is no text yet. */
  | { type: "progress"; id: number; promptTokensDone: number }
  | { type: "texts"; frames: AnswerFrame[] }
  | ({ type: "ended"; id: number } & AnswerEnd)
  | { type: "pulse"; memory: MemorySample }
  | { type: "log"; level: "debug" | "info" | "warn" | "error"; message: string };
