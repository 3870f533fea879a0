/**
 * llama.cpp through node-llama-cpp: one loaded model, one context, several sequences. With llama-load.ts the only importer
 * of that library. Runs in the llama child, because native code may take its process with it.
 */
import type { Llama, LlamaContext, LlamaModel, Token } from "node-llama-cpp";
import type { ChatRequest } from "../core/chat.ts";
import { AppError, toAppError } from "../core/errors.ts";
import { charsPerTokenMax, contextLengthDefault } from "../core/limits.ts";
import type { QualityScore } from "../fit/compare-report.ts";
import { AnswerAccount } from "./answer-account.ts";
import { type CallRules, writeAnswerGrammar } from "./answer-grammar.ts";
import { BatchStrategy } from "./batching.ts";
import { type CheckedModel, checkModelFile } from "./check-model.ts";
import type { AnswerEnd, LoadedModel, LoadSettings, MemorySample } from "./ipc.ts";
import { AnswerWriter } from "./llama-answer.ts";
import { BoundSequence, nativeContextOf } from "./llama-binding.ts";
import {
  backendOf,
  createContext,
  isMemoryError,
  limitMemory,
  limitThreads,
  loadModel,
  measureMemory,
  openLlama,
  probeDevices,
  translateLoadError,
} from "./llama-load.ts";
import { LogprobTeller } from "./llama-logprobs.ts";
import { measureSpeed, type TaskHooks } from "./llama-measure.ts";
import { requireKnownTokens, samplingDefaults, samplingOf, TokenSampler } from "./llama-sampling.ts";
import { scoreTexts } from "./llama-score.ts";
import { copiedTokensMin, SequenceSlots } from "./llama-slots.ts";
import { TokenSteps } from "./llama-steps.ts";
import { AnswerTeller } from "./llama-teller.ts";
import { callableTools, LlamaTemplate, type RenderedPrompt } from "./llama-template.ts";
import { VectorRuntime } from "./llama-vectors.ts";
import { requireWithinLimit } from "./memory-limit.ts";
import type { AnswerHooks, CountedPrompt, LoadHooks, ModelRuntime, RuntimeKind } from "./model-runtime.ts";
import { cpuFloor, gpuFloor, nextChunk, PrefillPace, tileTokens } from "./prefill-chunks.ts";
import { countChars, promptTooLong } from "./prompt-size.ts";
import { fillerText } from "./quality-text.ts";
import type { MeasuredSpeed, MeasureTask, ScoreTask } from "./task.ts";
import { poolIsInOrder } from "./threads.ts";
import { leaveOutOldest } from "./truncation.ts";

/** A request whose conversation is rendered and counted, ready to run. */
export interface Prompt extends RenderedPrompt, CountedPrompt {
  request: ChatRequest;
  /** Of the answer, thoughts aside. */
  grammar: string | undefined;
  /** Where the model may call functions. */
  calls: CallRules | undefined;
}

export class LlamaRuntime implements ModelRuntime<Prompt> {
  readonly facts: LoadedModel;
  readonly #llama: Llama;
  readonly #model: LlamaModel;
  readonly #template: LlamaTemplate;
  readonly #batch: BatchStrategy;
  readonly #pace: PrefillPace;
  readonly #steps: TokenSteps;
  readonly #slots: SequenceSlots;

  private constructor(parts: {
    facts: LoadedModel;
    llama: Llama;
    model: LlamaModel;
    context: LlamaContext;
    template: LlamaTemplate;
    batch: BatchStrategy;
    pace: PrefillPace;
  }) {
    this.facts = parts.facts;
    this.#llama = parts.llama;
    this.#model = parts.model;
    this.#template = parts.template;
    this.#batch = parts.batch;
    this.#pace = parts.pace;
    this.#steps = new TokenSteps({
      context: nativeContextOf(parts.context),
      plan: (waiting, size) => parts.batch.plan(waiting, size),
      size: parts.context.batchSize,
      inOrder: poolIsInOrder(),
    });
    const sequences = Array.from(
      { length: parts.facts.sequenceCount },
      // Checkpoints of sliding-window models are copies of their cache in RAM; 32 of them, the default, add up.
      () => new BoundSequence(parts.context.getSequence({ checkpoints: { max: 2 } }), parts.model),
    );
    const plain = isPlain(parts.model);
    this.#slots = new SequenceSlots(sequences, {
      // GPUs have no need of it.
      repeats: plain && parts.model.gpuLayers === 0,
      slidingWindow: parts.model.fileInsights.swaSize,
      copiedTokensMin: plain ? copiedTokensMin(parts.facts) : undefined,
    });
  }

  /** @throws AppError model_not_found, model_file_invalid, engine_out_of_memory, invalid_configuration */
  static async load(
    settings: LoadSettings,
    { path, ...checked }: CheckedModel,
    hooks: LoadHooks,
  ): Promise<LlamaRuntime> {
    const startedAt = performance.now();
    let complaint: string | undefined;
    const log: LoadHooks["log"] = (level, message) => {
      complaint ??= /error loading model: (.+)/.exec(message)?.[1];
      hooks.log(level, message);
    };
    try {
      const llama = await openLlama(settings.gpu, { ...hooks, log });
      await limitMemory(llama, settings);
      const threads = await limitThreads(llama, checked.fileBytes, settings.threadsMax);
      const contextLength = settings.contextLength ?? Math.min(checked.contextLengthTrained, contextLengthDefault);
      const model = await loadModel(llama, { ...settings, modelPath: path }, contextLength);
      const pace = new PrefillPace(settings.batchSize, llama.gpu === false ? cpuFloor : gpuFloor);
      const batch = new BatchStrategy(pace);
      const context = await createContext(model, settings, { contextLength, threads });
      const template = LlamaTemplate.of(model, hooks.templateMark);
      await warmUp(model, context);
      // After the first step, which brings workspaces of its own.
      const memory = await measureMemory(llama, model, context);
      requireWithinLimit(memory, settings.memoryLimit);
      const facts: LoadedModel = {
        ...checked,
        // The library may pad a context up; what was asked for stays the promise.
        contextLength: Math.min(contextLength, context.contextSize),
        sequenceCount: settings.sequenceCount,
        backend: backendOf(llama),
        gpuLayers: model.gpuLayers,
        threads,
        chatTemplate: template.name,
        loadMs: Math.round(performance.now() - startedAt),
        ...(memory === undefined ? {} : { memory }),
      };
      return new LlamaRuntime({ facts, llama, model, context, template, batch, pace });
    } catch (thrown) {
      throw translateLoadError(thrown, complaint);
    }
  }

  /**
   * Renders the conversation and counts it.
   *
   * @throws AppError context_length_exceeded with `{promptTokens, contextLength}`, invalid_request when the model's
   *   template refuses these messages or a schema cannot be kept
   */
  admit(request: ChatRequest): Prompt {
    requireKnownTokens(request, this.#model);
    const rendered = this.#fit(request);
    const form = rendered.marks.calls;
    const calls = form === undefined ? undefined : { form, tools: callableTools(request) };
    return {
      ...rendered,
      promptTokens: rendered.tokens.length,
      request,
      calls,
      grammar: writeAnswerGrammar(request, { calls, afterThought: rendered.marks.openThought !== undefined }),
    };
  }

  #fit(request: ChatRequest): RenderedPrompt {
    if (request.truncation !== "auto") return this.#renderWithin(request, 1);
    // A conversation that fills the context would leave no room for an answer.
    const { contextLength } = this.facts;
    const answerTokens = Math.min(request.maxTokens ?? contextLength, Math.floor(contextLength / 4));
    const fitting = leaveOutOldest(request.messages, (messages) => {
      try {
        return this.#renderWithin({ ...request, messages }, answerTokens);
      } catch (thrown) {
        if (thrown instanceof AppError && thrown.code === "context_length_exceeded") return undefined;
        throw thrown;
      }
    });
    return fitting ?? this.#renderWithin(request, answerTokens);
  }

  /** @param answerTokens room to leave */
  #renderWithin(request: ChatRequest, answerTokens: number): RenderedPrompt {
    const { contextLength } = this.facts;
    const chars = countChars(request);
    const param = request.prompt === undefined ? "messages" : "prompt";
    // Counting megabytes would hold up every running answer.
    if (chars > contextLength * charsPerTokenMax)
      throw promptTooLong(Math.ceil(chars / charsPerTokenMax), contextLength, param);
    const rendered = this.#template.render(request);
    if (rendered.tokens.length === 0) throw nothingToRead(param);
    if (rendered.tokens.length > contextLength - answerTokens)
      throw promptTooLong(rendered.tokens.length, contextLength, param);
    return rendered;
  }

  /** Answers on a free sequence. Never throws: failures are in the returned end. */
  async answer(prompt: Prompt, hooks: AnswerHooks): Promise<AnswerEnd> {
    const tokensLeft = this.facts.contextLength - prompt.tokens.length;
    // The context ends the answer at the latest: past it the library would silently drop the beginning.
    const account = new AnswerAccount(
      prompt.tokens.length,
      Math.min(prompt.request.maxTokens ?? tokensLeft, tokensLeft),
    );
    let bound: BoundSequence | undefined;
    try {
      bound = await this.#steps.between(() =>
        this.#slots.take(prompt.tokens, prompt.request.userId, this.#batch.decoding),
      );
      if (bound === undefined) throw new AppError("engine_overloaded", "No sequence is free; try again.");
      return await this.#generate(prompt, account, bound, hooks);
    } catch (thrown) {
      // The sequence's state is unknown now; it must not serve as a prefix.
      if (bound !== undefined) await this.#forget(bound);
      return account.failed(translateAnswerError(thrown));
    } finally {
      if (bound !== undefined) this.#slots.release(bound);
    }
  }

  async #forget({ sequence }: BoundSequence): Promise<void> {
    await this.#steps.between(() => sequence.clearHistory()).catch(() => {});
  }

  /** For a model that answers nobody meanwhile: its sequences are emptied. Throws AppError, or the signal's reason. */
  async measure(task: MeasureTask, hooks: TaskHooks): Promise<MeasuredSpeed> {
    const sequences = this.#slots.sequences.slice(0, task.sequenceCount);
    if (sequences.length < task.sequenceCount || task.depthTokens + task.decodeTokens >= this.facts.contextLength) {
      throw new AppError("invalid_request", "The model was loaded with fewer sequences or less context than that.");
    }
    const empty = () => Promise.all(sequences.map(({ sequence }) => sequence.clearHistory()));
    await empty();
    try {
      const filler = this.#model.tokenize(fillerText());
      return await measureSpeed(task, { steps: this.#steps, batch: this.#batch, sequences, filler }, hooks);
    } finally {
      await empty();
    }
  }

  /** As `measure`. */
  async score(task: ScoreTask, hooks: TaskHooks): Promise<QualityScore> {
    const { tokens } = this.#model;
    return await scoreTexts(
      task,
      {
        sequence: this.#slots.sequences[0]!.sequence,
        tokenize: (text) => this.#model.tokenize(text),
        beginToken: tokens.shouldPrependBosToken ? (tokens.bos ?? undefined) : undefined,
        contextLength: this.facts.contextLength,
      },
      hooks,
    );
  }

  async sampleMemory(): Promise<MemorySample> {
    const rssBytes = process.memoryUsage.rss();
    if (this.#llama.gpu === false) return { rssBytes };
    return { rssBytes, vramBytesUsed: (await this.#llama.getVramState()).used };
  }

  get templateMark(): string | undefined {
    return this.#template.mark;
  }

  async dispose(): Promise<void> {
    await this.#steps.close();
    await this.#llama.dispose();
  }

  async #generate(
    prompt: Prompt,
    account: AnswerAccount,
    bound: BoundSequence,
    hooks: AnswerHooks,
  ): Promise<AnswerEnd> {
    account.cachedPromptTokens = bound.length;
    hooks.started(account.cachedPromptTokens);
    this.#batch.enter();
    try {
      const rest = await this.#prefill(prompt.tokens, bound, hooks);
      return rest === undefined ? account.cancelled() : await this.#decode(prompt, account, bound, rest, hooks);
    } finally {
      this.#batch.leave();
    }
  }

  /**
   * Evaluates all but the last chunk, looking at the signal between chunks. What was evaluated stays as a prefix for the
   * next try.
   *
   * @returns the last chunk, undefined when aborted
   */
  async #prefill(
    tokens: readonly Token[],
    bound: BoundSequence,
    hooks: AnswerHooks,
  ): Promise<readonly Token[] | undefined> {
    let rest = tokens.slice(bound.length);
    // What is less than a tile longer is not cut: the end would cost as much as the piece.
    for (;;) {
      const beside = this.#batch.decoding;
      const most = beside ? this.#pace.tokens + 1 : this.#pace.tokensAlone;
      if (rest.length < most + tileTokens) break;
      if (hooks.signal.aborted) return undefined;
      const chunk = nextChunk(rest.length, most, beside);
      const startedAt = performance.now();
      await this.#steps.evaluate(bound, rest.slice(0, chunk));
      this.#pace.note(chunk, performance.now() - startedAt);
      rest = rest.slice(chunk);
      hooks.progress(tokens.length - rest.length);
    }
    return hooks.signal.aborted ? undefined : rest;
  }

  async #decode(
    prompt: Prompt,
    account: AnswerAccount,
    bound: BoundSequence,
    rest: readonly Token[],
    hooks: AnswerHooks,
  ): Promise<AnswerEnd> {
    const writer = await AnswerWriter.create(prompt, this.#llama, this.#model);
    const { logprobs } = prompt.request;
    const probable = logprobs === undefined ? undefined : new LogprobTeller(this.#model, logprobs.top);
    const teller = new AnswerTeller(writer, account, hooks, probable);
    const sampler = new TokenSampler(bound, samplingOf(prompt.request, this.#model), {
      probabilities: probable !== undefined,
      grammar: () => writer.grammar,
    });
    try {
      for (let next = rest; ; ) {
        const { token, probabilities } = await this.#steps.draw(bound, next, sampler);
        sampler.note(token);
        const taken = teller.take(token, probabilities);
        const end = taken instanceof Promise ? await taken : taken;
        if (end !== undefined) return end;
        // Nothing is awaited in vain: each turn holds the step up in which all answers go on.
        const pause = hooks.paused();
        if (pause !== undefined) await this.#stepAside(pause);
        if (hooks.signal.aborted) break;
        next = [token];
      }
    } finally {
      sampler.dispose();
      teller.tellLate();
    }
    return account.cancelled();
  }

  /** The others go on without it meanwhile. */
  async #stepAside(pause: Promise<void>): Promise<void> {
    this.#batch.leave();
    await pause;
    this.#batch.enter();
  }
}

/** Every token stays in the cache until it is taken out: no sliding window, no recurrent state. */
function isPlain({ fileInsights }: LlamaModel): boolean {
  const { swaSize, isHybrid, isRecurrent } = fileInsights;
  return swaSize === undefined && !isHybrid && !isRecurrent;
}

/**
 * One token, before anybody waits for it: the first step compiles GPU kernels (a minute and more on a new driver), reads
 * the weights from disk and touches all buffers. All that belongs to loading.
 */
async function warmUp(model: LlamaModel, context: LlamaContext): Promise<void> {
  const sequence = context.getSequence();
  for await (const _ of sequence.evaluate(model.tokenize("Hi"), samplingDefaults)) break;
  await sequence.dispose();
}

/** Most models have a token that begins every text; the others need some text to go on from. */
function nothingToRead(param: string): AppError {
  return new AppError("invalid_request", `${param} is empty; this model needs at least one word.`, { param });
}

function translateAnswerError(cause: unknown): AppError {
  if (!isMemoryError(cause)) return toAppError(cause);
  return new AppError("engine_out_of_memory", "The model ran out of memory while answering.", { cause });
}

/** llama.cpp as a library in this process. */
export const llamaLibrary: RuntimeKind<Prompt> = {
  async load(settings, hooks) {
    const checked = await checkModelFile(settings.modelPath);
    return checked.task === undefined
      ? await LlamaRuntime.load(settings, checked, hooks)
      : await VectorRuntime.load(settings, checked, hooks);
  },
  probe: probeDevices,
};
