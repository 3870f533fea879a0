/**
 * llama.cpp through node-llama-cpp: one loaded model, one context, several sequences. The only importer of that library;
 * its errors become `AppError`s here. Runs in the llama child, because native code may take its process with it.
 */
import { randomInt } from "node:crypto";
import {
  type BuiltInChatWrapperType,
  type ChatHistoryItem,
  getLlama,
  InsufficientMemoryError,
  type Llama,
  type LlamaContext,
  type LlamaContextSequence,
  LlamaLogLevel,
  type LlamaModel,
  LlamaText,
  NoBinaryFoundError,
  resolveChatWrapper,
  type Token,
} from "node-llama-cpp";
import type { ChatMessage, ChatRequest } from "../core/chat.ts";
import { AppError, toAppError } from "../core/errors.ts";
import {
  charsPerTokenMax,
  contextLengthDefault,
  prefillChunkTokens,
  prefillTokensBesideDecodeMax,
} from "../core/limits.ts";
import { MIB } from "../core/units.ts";
import type { Backend } from "../fit/types.ts";
import { BatchStrategy } from "./batching.ts";
import { checkModelFile } from "./check-model.ts";
import { chooseSequence } from "./choose-sequence.ts";
import { readUsableCores } from "./cpu-quota.ts";
import { mayHaveGpu } from "./gpu-presence.ts";
import type {
  AnswerEnd,
  ChildMessage,
  GpuChoice,
  LlamaDevices,
  LoadedModel,
  LoadSettings,
  MemorySample,
} from "./ipc.ts";
import { TextStream } from "./text-stream.ts";

/** What llama.cpp's own server samples with when a request does not say; cuts the improbable tail small models have. */
const samplingDefaults = { temperature: 0.8, topP: 0.95, topK: 40, minP: 0.05 } as const;

/** Work for one thread; measured: 10 and 4 million parameters run fastest on one, 440 million gain from a second. */
const weightBytesPerThread = 64 * MIB;

export interface LoadHooks {
  log(level: Extract<ChildMessage, { type: "log" }>["level"], message: string): void;
  /** The backend has no usable device; the CPU is taken instead. */
  gpuUnusable(backend: Backend): void;
}

/** A request whose conversation is rendered and counted, ready to run. */
export interface Prompt {
  request: ChatRequest;
  tokens: Token[];
  /** Tokens, beside the model's own, that end a turn under this chat template. */
  stopTokens: ReadonlySet<Token>;
  /** The request's stop texts and the template's. */
  stopTexts: readonly string[];
}

export interface AnswerHooks {
  signal: AbortSignal;
  /** Undefined to go on, else what to wait for while the reader is slow. */
  paused(): Promise<void> | undefined;
  started(cachedPromptTokens: number): void;
  progress(promptTokensDone: number): void;
  /** Text may be empty: a token that completes no character yet. */
  token(text: string): void;
}

interface Slot {
  sequence: LlamaContextSequence;
  lastUsed: number;
  busy: boolean;
}

export class LlamaRuntime {
  readonly facts: LoadedModel;
  readonly #llama: Llama;
  readonly #model: LlamaModel;
  readonly #wrapper: BuiltInChatWrapperType;
  readonly #batch: BatchStrategy;
  readonly #slots: Slot[];
  #uses = 0;

  private constructor(parts: {
    facts: LoadedModel;
    llama: Llama;
    model: LlamaModel;
    context: LlamaContext;
    wrapper: BuiltInChatWrapperType;
    batch: BatchStrategy;
  }) {
    this.facts = parts.facts;
    this.#llama = parts.llama;
    this.#model = parts.model;
    this.#wrapper = parts.wrapper;
    this.#batch = parts.batch;
    this.#slots = Array.from({ length: parts.facts.sequenceCount }, () => ({
      // Checkpoints of sliding-window models are copies of their cache in RAM; 32 of them, the default, add up.
      sequence: parts.context.getSequence({ checkpoints: { max: 2 } }),
      lastUsed: 0,
      busy: false,
    }));
  }

  /** @throws AppError model_not_found, model_file_invalid, engine_out_of_memory, invalid_configuration */
  static async load(settings: LoadSettings, hooks: LoadHooks): Promise<LlamaRuntime> {
    const startedAt = performance.now();
    const { path, ...checked } = await checkModelFile(settings.modelPath);
    let complaint: string | undefined;
    const log: LoadHooks["log"] = (level, message) => {
      complaint ??= /error loading model: (.+)/.exec(message)?.[1];
      hooks.log(level, message);
    };
    try {
      const llama = await openLlama(settings.gpu, { ...hooks, log });
      const threads = await limitThreads(llama, checked.fileBytes, settings.threadsMax);
      const contextLength = settings.contextLength ?? Math.min(checked.contextLengthTrained, contextLengthDefault);
      const model = await loadModel(llama, { ...settings, modelPath: path }, contextLength);
      const batch = new BatchStrategy(prefillTokensBesideDecodeMax);
      const context = await createContext(model, settings, { contextLength, threads, batch });
      const wrapper = resolveChatWrapper(model);
      const facts: LoadedModel = {
        ...checked,
        // The library may pad a context up; what was asked for stays the promise.
        contextLength: Math.min(contextLength, context.contextSize),
        sequenceCount: settings.sequenceCount,
        backend: backendOf(llama),
        gpuLayers: model.gpuLayers,
        threads,
        chatTemplate: wrapper.wrapperName,
        loadMs: Math.round(performance.now() - startedAt),
      };
      return new LlamaRuntime({ facts, llama, model, context, wrapper, batch });
    } catch (thrown) {
      throw translateLoadError(thrown, complaint);
    }
  }

  /**
   * Renders the conversation and counts it.
   *
   * @throws AppError context_length_exceeded with `{promptTokens, contextLength}`, invalid_request when the model's
   *   template refuses these messages
   */
  admit(request: ChatRequest): Prompt {
    const { contextLength } = this.facts;
    const chars = request.messages.reduce((sum, message) => sum + message.content.length, 0);
    // Counting megabytes would hold up every running answer.
    if (chars > contextLength * charsPerTokenMax) throw tooLong(Math.ceil(chars / charsPerTokenMax), contextLength);
    const { contextText, stopGenerationTriggers } = this.#render(request.messages);
    const tokens = contextText.tokenize(this.#model.tokenizer);
    if (tokens.length >= contextLength) throw tooLong(tokens.length, contextLength);
    const stopTokens = new Set<Token>();
    const stopTexts = [...(request.stop ?? [])];
    for (const trigger of stopGenerationTriggers) this.#addStop(trigger, stopTokens, stopTexts);
    return { request, tokens, stopTokens, stopTexts };
  }

  /** Answers on a free sequence. Never throws: failures are in the returned end. */
  async answer(prompt: Prompt, hooks: AnswerHooks): Promise<AnswerEnd> {
    const answer = new Answer(prompt, this.facts.contextLength);
    const slot = this.#takeSlot(prompt.tokens);
    if (slot === undefined) return answer.failed(new AppError("engine_overloaded", "No sequence is free; try again."));
    try {
      return await this.#generate(answer, slot.sequence, hooks);
    } catch (thrown) {
      // The sequence's state is unknown now; it must not serve as a prefix.
      await slot.sequence.clearHistory().catch(() => {});
      return answer.failed(translateAnswerError(thrown));
    } finally {
      slot.busy = false;
    }
  }

  async sampleMemory(): Promise<MemorySample> {
    const rssBytes = process.memoryUsage.rss();
    if (this.#llama.gpu === false) return { rssBytes };
    return { rssBytes, vramBytesUsed: (await this.#llama.getVramState()).used };
  }

  async dispose(): Promise<void> {
    await this.#llama.dispose();
  }

  #render(messages: readonly ChatMessage[]) {
    // The empty model turn at the end is the one to write.
    const chatHistory: ChatHistoryItem[] = [...messages.map(toHistoryItem), { type: "model", response: [] }];
    try {
      return this.#wrapper.generateContextState({ chatHistory });
    } catch (cause) {
      const message =
        "The model's chat template does not accept this sequence of messages; try user and assistant in turn.";
      throw new AppError("invalid_request", message, { param: "messages", cause });
    }
  }

  /** A template's end of turn: a control token where the vocabulary has one, else a text to look for. */
  #addStop(trigger: LlamaText, stopTokens: Set<Token>, stopTexts: string[]): void {
    if (trigger.values.every((value) => typeof value === "string")) {
      stopTexts.push(trigger.toString());
      return;
    }
    const [first, ...rest] = trigger.tokenize(this.#model.tokenizer);
    if (first === undefined) return;
    if (rest.length === 0 || this.#model.isSpecialToken(first)) stopTokens.add(first);
    else stopTexts.push(trigger.toString());
  }

  #takeSlot(tokens: Token[]): Slot | undefined {
    const free = this.#slots.filter((slot) => !slot.busy);
    const states = free.map(({ sequence, lastUsed }) => ({
      length: sequence.nextTokenIndex,
      commonPrefix: sequence.compareContextTokens(tokens).firstDifferentIndex,
      lastUsed,
    }));
    const slot = free[chooseSequence(states)];
    if (slot === undefined) return undefined;
    slot.busy = true;
    slot.lastUsed = ++this.#uses;
    return slot;
  }

  async #generate(answer: Answer, sequence: LlamaContextSequence, hooks: AnswerHooks): Promise<AnswerEnd> {
    const { tokens } = answer.prompt;
    // At least the last token is evaluated again: its logits choose the first word.
    await sequence.adaptStateToTokens(tokens.slice(0, -1), false);
    answer.cachedPromptTokens = sequence.nextTokenIndex;
    hooks.started(answer.cachedPromptTokens);
    this.#batch.enter();
    try {
      const rest = await this.#prefill(answer, sequence, hooks);
      return rest === undefined ? answer.cancelled() : await this.#decode(answer, sequence, rest, hooks);
    } finally {
      this.#batch.leave();
    }
  }

  /**
   * Evaluates all but the last chunk, looking at the signal between chunks: the library itself finishes a whole prompt
   * before it honours an abort. What was evaluated stays as a prefix for the next try.
   */
  async #prefill(answer: Answer, sequence: LlamaContextSequence, hooks: AnswerHooks): Promise<Token[] | undefined> {
    let rest = answer.prompt.tokens.slice(answer.cachedPromptTokens);
    while (rest.length > prefillChunkTokens) {
      if (hooks.signal.aborted) return undefined;
      await sequence.evaluateWithoutGeneratingNewTokens(rest.slice(0, prefillChunkTokens));
      rest = rest.slice(prefillChunkTokens);
      hooks.progress(answer.prompt.tokens.length - rest.length);
    }
    return hooks.signal.aborted ? undefined : rest;
  }

  async #decode(answer: Answer, sequence: LlamaContextSequence, rest: Token[], hooks: AnswerHooks): Promise<AnswerEnd> {
    const { prompt } = answer;
    const text = new TextStream<Token>(
      (tokens, before) => this.#model.detokenize(tokens, false, before),
      prompt.stopTexts,
    );
    const generated = sequence.evaluate(rest, { ...samplingOf(prompt.request), yieldEogToken: true });
    for await (const token of generated) {
      answer.count();
      if (this.#model.isEogToken(token) || prompt.stopTokens.has(token)) {
        hooks.token(text.end());
        return answer.finished("stop");
      }
      const piece = text.push(token);
      const full = !piece.stopped && answer.completionTokens >= answer.tokensMax;
      hooks.token(full ? piece.text + text.end() : piece.text);
      if (piece.stopped) return answer.finished("stop");
      if (full) return answer.finished("length");
      await this.#waitForReader(hooks);
      if (hooks.signal.aborted) return answer.cancelled();
    }
    throw new Error("the token stream ended by itself");
  }

  async #waitForReader(hooks: AnswerHooks): Promise<void> {
    const paused = hooks.paused();
    if (paused === undefined) return;
    this.#batch.leave();
    await paused;
    this.#batch.enter();
  }
}

/** The devices llama.cpp finds, without a model. */
export async function probeDevices(gpu: GpuChoice, hooks: LoadHooks): Promise<LlamaDevices> {
  try {
    const llama = await openLlama(gpu, hooks);
    const vram = llama.gpu === false ? { total: 0, free: 0 } : await llama.getVramState();
    const devices: LlamaDevices = {
      backend: backendOf(llama),
      names: llama.gpu === false ? [] : await llama.getGpuDeviceNames(),
      vramBytesTotal: vram.total,
      vramBytesFree: vram.free,
      mathCores: llama.cpuMathCores,
    };
    await llama.dispose();
    return devices;
  } catch (thrown) {
    throw translateLoadError(thrown);
  }
}

/** What one answer has cost so far. */
class Answer {
  readonly prompt: Prompt;
  /** The context ends the answer at the latest: past it the library would silently drop the beginning. */
  readonly tokensMax: number;
  cachedPromptTokens = 0;
  completionTokens = 0;
  readonly #startedAt = performance.now();
  #firstTokenAt: number | undefined;
  #lastTokenAt = 0;

  constructor(prompt: Prompt, contextLength: number) {
    this.prompt = prompt;
    this.tokensMax = Math.min(prompt.request.maxTokens ?? contextLength, contextLength - prompt.tokens.length);
  }

  count(): void {
    this.completionTokens++;
    this.#lastTokenAt = performance.now();
    this.#firstTokenAt ??= this.#lastTokenAt;
  }

  finished(finishReason: "stop" | "length"): AnswerEnd {
    return { end: { type: "finish", finishReason }, ...this.#account() };
  }

  cancelled(): AnswerEnd {
    return { end: { type: "cancelled" }, ...this.#account() };
  }

  failed(error: AppError): AnswerEnd {
    return { end: { type: "error", error: error.toFacts() }, ...this.#account() };
  }

  #account(): Omit<AnswerEnd, "end"> {
    const { cachedPromptTokens, completionTokens } = this;
    const promptTokens = this.prompt.tokens.length;
    const timings: AnswerEnd["timings"] = {};
    if (this.#firstTokenAt !== undefined) {
      const prefillMs = this.#firstTokenAt - this.#startedAt;
      const decodeMs = this.#lastTokenAt - this.#firstTokenAt;
      if (prefillMs > 0) timings.prefillTokensPerSecond = ((promptTokens - cachedPromptTokens) / prefillMs) * 1000;
      if (decodeMs > 0) timings.completionTokensPerSecond = ((completionTokens - 1) / decodeMs) * 1000;
    }
    return { usage: { promptTokens, completionTokens, cachedPromptTokens }, timings };
  }
}

function toHistoryItem({ role, content }: ChatMessage): ChatHistoryItem {
  if (role === "assistant") return { type: "model", response: [content] };
  if (role === "user") return { type: "user", text: content };
  return { type: "system", text: LlamaText(content).toJSON() };
}

function samplingOf({ temperature, topP, seed }: ChatRequest) {
  return {
    ...samplingDefaults,
    ...(temperature === undefined ? {} : { temperature }),
    ...(topP === undefined ? {} : { topP }),
    // Left to itself the library takes the time in seconds: two users in one second would get the same dice.
    seed: seed === undefined ? randomInt(2 ** 32) : seed >>> 0,
  };
}

async function openLlama(gpu: GpuChoice, hooks: LoadHooks): Promise<Llama> {
  const options = {
    // Never compile: a missing binary must be an error at once, not minutes of compiler.
    build: "never",
    skipDownload: true,
    progressLogs: false,
    logLevel: LlamaLogLevel.warn,
    logger: (level: LlamaLogLevel, message: string) => hooks.log(toLogLevel(level), message.trimEnd()),
  } as const;
  const wanted = gpu === "auto" && !(await mayHaveGpu()) ? false : gpu;
  let llama = await getLlama({ ...options, gpu: wanted });
  if (!(await hasUsableDevice(llama))) {
    hooks.gpuUnusable(backendOf(llama));
    await llama.dispose();
    llama = await getLlama({ ...options, gpu: false });
  }
  return llama;
}

/**
 * Threads that pay. They wait for each other many times per token by spinning, so one more than there are free cores
 * makes all of them slow (the library's default of 4 on 2 cores: 100 times), and a small model is fastest on one.
 */
async function limitThreads(llama: Llama, fileBytes: number, threadsMax = Number.POSITIVE_INFINITY): Promise<number> {
  const cores = Math.min(llama.cpuMathCores, await readUsableCores());
  const threads = Math.max(1, Math.min(cores, threadsMax, Math.ceil(fileBytes / weightBytesPerThread)));
  llama.maxThreads = threads;
  return threads;
}

/** A Vulkan loader with only a software driver reports itself as a GPU with no device and no memory. */
async function hasUsableDevice(llama: Llama): Promise<boolean> {
  if (llama.gpu === false) return true;
  const names = await llama.getGpuDeviceNames();
  return names.length > 0 && (await llama.getVramState()).total > 0;
}

function backendOf(llama: Llama): Backend {
  return llama.gpu === false ? "cpu" : llama.gpu;
}

async function loadModel(llama: Llama, settings: LoadSettings, contextLength: number): Promise<LlamaModel> {
  const { gpuLayers, sequenceCount } = settings;
  return await llama.loadModel({
    modelPath: settings.modelPath,
    gpuLayers: gpuLayers === "auto" ? { fitContext: { contextSize: contextLength * sequenceCount } } : gpuLayers,
    defaultContextFlashAttention: settings.flashAttention,
    experimentalDefaultContextKvCacheKeyType: settings.kvCacheTypeK,
    experimentalDefaultContextKvCacheValueType: settings.kvCacheTypeV,
    ...(settings.checkTensors === undefined ? {} : { checkTensors: settings.checkTensors }),
  });
}

async function createContext(
  model: LlamaModel,
  settings: LoadSettings,
  { contextLength, threads, batch }: { contextLength: number; threads: number; batch: BatchStrategy },
): Promise<LlamaContext> {
  return await model.createContext({
    contextSize: contextLength,
    sequences: settings.sequenceCount,
    batchSize: settings.batchSize,
    threads,
    flashAttention: settings.flashAttention,
    // A smaller context than asked for would be a silent change of the plan.
    failedCreationRemedy: false,
    batching: { itemPrioritizationStrategy: ({ items, size }) => batch.plan(items, size) },
  });
}

function tooLong(promptTokens: number, contextLength: number): AppError {
  return new AppError(
    "context_length_exceeded",
    `The messages take ${promptTokens} tokens and the model reads at most ${contextLength - 1} here; shorten them.`,
    { param: "messages", details: { promptTokens, contextLength } },
  );
}

function toLogLevel(level: LlamaLogLevel): "debug" | "info" | "warn" | "error" {
  if (level === LlamaLogLevel.fatal || level === LlamaLogLevel.error) return "error";
  if (level === LlamaLogLevel.warn) return "warn";
  return level === LlamaLogLevel.debug ? "debug" : "info";
}

/** @param complaint what llama.cpp logged, which says more than the library's "Failed to load model" */
function translateLoadError(cause: unknown, complaint?: string): AppError {
  if (cause instanceof AppError) return cause;
  if (cause instanceof NoBinaryFoundError) {
    const message =
      "llama.cpp has no ready-made binary for this system; run `npm ci` again, or use an engine elsewhere.";
    return new AppError("invalid_configuration", message, { cause });
  }
  if (isMemoryError(cause)) {
    const message =
      "The model and its context need more memory than is free. Take a smaller quantization, a shorter context or fewer parallel answers.";
    return new AppError("engine_out_of_memory", message, { cause });
  }
  const words = complaint ?? (cause instanceof Error ? cause.message : String(cause));
  return new AppError("model_file_invalid", `llama.cpp could not load the model: ${words}. Try another file.`, {
    cause,
  });
}

function translateAnswerError(cause: unknown): AppError {
  if (!isMemoryError(cause)) return toAppError(cause);
  return new AppError("engine_out_of_memory", "The model ran out of memory while answering.", { cause });
}

function isMemoryError(cause: unknown): boolean {
  if (cause instanceof InsufficientMemoryError) return true;
  return cause instanceof Error && /memory|failed to create context|failed to allocate/i.test(cause.message);
}
