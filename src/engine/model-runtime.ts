/** What runs a loaded model inside the child process: llama.cpp as a library, or a server of its own. */
import type { ChatRequest } from "../core/chat.ts";
import type { QualityScore } from "../fit/compare-report.ts";
import type { Backend } from "../fit/types.ts";
import type { AnswerPiece } from "./answer-parser.ts";
import type {
  AnswerEnd,
  ChildMessage,
  GpuChoice,
  LlamaDevices,
  LoadedModel,
  LoadSettings,
  MemorySample,
} from "./ipc.ts";
import type { TaskHooks } from "./llama-measure.ts";
import type {
  EmbedResult,
  EmbedTask,
  MeasuredSpeed,
  MeasureTask,
  RerankResult,
  RerankTask,
  ScoreTask,
} from "./task.ts";

/** @typeParam Prompt a request whose conversation is rendered and counted, ready to run */
export interface ModelRuntime<Prompt extends CountedPrompt = CountedPrompt> {
  readonly facts: LoadedModel;
  /** For the next process that loads the model: see `LoadHooks`. */
  readonly templateMark?: string | undefined;
  /**
   * Renders the conversation and counts it.
   *
   * @throws AppError context_length_exceeded with `{promptTokens, contextLength}`, invalid_request when the model's
   *   template refuses these messages or a schema cannot be kept
   */
  admit(request: ChatRequest): Prompt | Promise<Prompt>;
  /** Answers on a free sequence. Never throws: failures are in the returned end. */
  answer(prompt: Prompt, hooks: AnswerHooks): Promise<AnswerEnd>;
  /** For a model that answers nobody meanwhile. Absent where the model runs elsewhere. */
  measure?(task: MeasureTask, hooks: TaskHooks): Promise<MeasuredSpeed>;
  score?(task: ScoreTask, hooks: TaskHooks): Promise<QualityScore>;
  /** Absent where the model writes text. The signal's reason is thrown when it aborts. */
  embed?(task: EmbedTask, hooks: TaskHooks): Promise<EmbedResult>;
  rerank?(task: RerankTask, hooks: TaskHooks): Promise<RerankResult>;
  sampleMemory(): Promise<MemorySample>;
  /** Frees everything. */
  dispose(): Promise<void>;
}

export interface CountedPrompt {
  promptTokens: number;
}

export interface AnswerHooks {
  signal: AbortSignal;
  /** Undefined to go on, else what to wait for while the reader is slow. */
  paused(): Promise<void> | undefined;
  started(cachedPromptTokens: number): void;
  progress(promptTokensDone: number): void;
  /** What one token showed; nothing while a character or a mark is incomplete. `tokenCount` where it was not one. */
  token(pieces: readonly AnswerPiece[], tokenCount?: number): void;
}

export interface LoadHooks {
  /** What the last process that loaded the model said of its chat template; saves the search for it. */
  templateMark?: string | undefined;
  log(level: Extract<ChildMessage, { type: "log" }>["level"], message: string): void;
  /** The backend has no usable device; the CPU is taken instead. */
  gpuUnusable(backend: Backend): void;
  /** A process of its own that must not outlive this one. */
  helper(pid: number): void;
}

/** One way to run models. */
export interface RuntimeKind<Prompt extends CountedPrompt = CountedPrompt> {
  /** @throws AppError model_not_found, model_file_invalid, engine_out_of_memory, invalid_configuration */
  load(settings: LoadSettings, hooks: LoadHooks): Promise<ModelRuntime<Prompt>>;
  /** The devices it finds, without a model. */
  probe(gpu: GpuChoice, hooks: LoadHooks): Promise<LlamaDevices>;
}
