/** An embedding model or a reranker through node-llama-cpp: one context that reads one text at a time. */
import type { Llama, LlamaEmbeddingContext, LlamaModel, LlamaRankingContext, Token } from "node-llama-cpp";
import type { ChatRequest } from "../core/chat.ts";
import { AppError, toAppError } from "../core/errors.ts";
import { charsPerTokenMax } from "../core/limits.ts";
import { encodeVector } from "../http/vector-base64.ts";
import { AnswerAccount } from "./answer-account.ts";
import type { CheckedModel } from "./check-model.ts";
import type { AnswerEnd, LoadedModel, LoadSettings, MemorySample } from "./ipc.ts";
import {
  backendOf,
  isMemoryError,
  limitMemory,
  limitThreads,
  loadModel,
  measureMemory,
  openLlama,
  translateLoadError,
} from "./llama-load.ts";
import type { TaskHooks } from "./llama-measure.ts";
import { requireWithinLimit } from "./memory-limit.ts";
import type { LoadHooks, ModelRuntime } from "./model-runtime.ts";
import type { EmbedResult, EmbedTask, RerankResult, RerankTask } from "./task.ts";
import { scaleToOne } from "./unit-vector.ts";
import { cannotChat, cannotDo, holdsNothing, requireDimensions, textTooLong } from "./vector-limits.ts";

type Context = LlamaEmbeddingContext | LlamaRankingContext;

export class VectorRuntime implements ModelRuntime<never> {
  readonly facts: LoadedModel;
  readonly #llama: Llama;
  readonly #model: LlamaModel;
  readonly #embedding: LlamaEmbeddingContext | undefined;
  readonly #ranking: LlamaRankingContext | undefined;

  private constructor(facts: LoadedModel, llama: Llama, model: LlamaModel, context: Context) {
    this.facts = facts;
    this.#llama = llama;
    this.#model = model;
    if (isRanking(context)) this.#ranking = context;
    else this.#embedding = context;
  }

  /** @throws AppError model_file_invalid, engine_out_of_memory, invalid_configuration */
  static async load(
    settings: LoadSettings,
    { path, ...checked }: CheckedModel,
    hooks: LoadHooks,
  ): Promise<VectorRuntime> {
    const startedAt = performance.now();
    try {
      const llama = await openLlama(settings.gpu, hooks);
      await limitMemory(llama, settings);
      const threads = await limitThreads(llama, checked.fileBytes, settings.threadsMax);
      const contextLength = settings.contextLength ?? checked.contextLengthTrained;
      const model = await loadModel(llama, { ...settings, modelPath: path }, contextLength);
      const size = { contextSize: contextLength, batchSize: settings.batchSize, threads };
      const rerank = checked.task === "rerank";
      const context = rerank ? await model.createRankingContext(size) : await model.createEmbeddingContext(size);
      // The first step compiles kernels and touches all buffers: that is part of loading.
      const warm = model.tokenize("Hi");
      if (isRanking(context)) await context.rank(warm, warm);
      else await context.getEmbeddingFor(warm);
      const inner: unknown = Reflect.get(context, "_llamaContext");
      const memory = typeof inner === "object" && inner !== null ? await measureMemory(llama, model, inner) : undefined;
      requireWithinLimit(memory, settings.memoryLimit);
      const facts: LoadedModel = {
        ...checked,
        contextLength,
        sequenceCount: 1,
        backend: backendOf(llama),
        gpuLayers: model.gpuLayers,
        threads,
        chatTemplate: "none",
        loadMs: Math.round(performance.now() - startedAt),
        ...(memory === undefined ? {} : { memory }),
      };
      return new VectorRuntime(facts, llama, model, context);
    } catch (thrown) {
      throw translateLoadError(thrown);
    }
  }

  admit(_request: ChatRequest): never {
    throw cannotChat(this.facts);
  }

  /** Never reached: `admit` lets nothing in. */
  async answer(_prompt: never): Promise<AnswerEnd> {
    return new AnswerAccount(0, 0).failed(cannotChat(this.facts));
  }

  /** @throws AppError invalid_request, context_length_exceeded naming the input, engine_out_of_memory */
  async embed({ inputs, dimensions, truncation }: EmbedTask, hooks: TaskHooks): Promise<EmbedResult> {
    const context = this.#embedding;
    if (context === undefined) throw cannotDo(this.facts, "make embeddings", "POST /v1/rerank");
    requireDimensions(dimensions, this.#model.embeddingVectorSize);
    const length = (tokens: Token[]) => context.calculateInputLength([...tokens]);
    // All are counted first: one that is too long is refused before any work is done.
    const texts = inputs.map((text, index) => this.#fit(text, truncation, length, `input[${index}]`));
    const vectors: string[] = [];
    for (const tokens of texts) {
      hooks.signal.throwIfAborted();
      const { vector } = await translated(context.getEmbeddingFor([...tokens]));
      if (vector.length === 0) throw holdsNothing(`input[${vectors.length}]`);
      vectors.push(encodeVector(scaleToOne(vector, dimensions)));
      hooks.progress(vectors.length, texts.length);
    }
    return { vectors, promptTokens: texts.reduce((sum, tokens) => sum + length(tokens), 0) };
  }

  /** @throws AppError as `embed`, naming the document */
  async rerank({ query, documents, truncation }: RerankTask, hooks: TaskHooks): Promise<RerankResult> {
    const context = this.#ranking;
    if (context === undefined) throw cannotDo(this.facts, "rerank", "POST /v1/embeddings");
    const asked = this.#model.tokenize(query);
    const length = (tokens: Token[]) => context.calculateInputLength(asked, tokens);
    if (length([]) >= this.facts.contextLength) throw textTooLong("query", length([]), this.facts);
    const texts = documents.map((text, index) => this.#fit(text, truncation, length, `documents[${index}]`));
    const scores: number[] = [];
    for (const tokens of texts) {
      hooks.signal.throwIfAborted();
      scores.push(await translated(context.rank(asked, tokens)));
      hooks.progress(scores.length, texts.length);
    }
    return { scores, promptTokens: texts.reduce((sum, tokens) => sum + length(tokens), 0) };
  }

  async sampleMemory(): Promise<MemorySample> {
    const rssBytes = process.memoryUsage.rss();
    if (this.#llama.gpu === false) return { rssBytes };
    return { rssBytes, vramBytesUsed: (await this.#llama.getVramState()).used };
  }

  async dispose(): Promise<void> {
    await this.#llama.dispose();
  }

  /** @param length of those tokens with everything the model wants around them */
  #fit(text: string, truncation: "auto" | undefined, length: (tokens: Token[]) => number, param: string): Token[] {
    const room = this.facts.contextLength - 1;
    // Counting megabytes would take longer than reading what fits.
    const chars = room * charsPerTokenMax;
    if (text.length > chars && truncation !== "auto")
      throw textTooLong(param, Math.ceil(text.length / charsPerTokenMax), this.facts);
    // Names of control tokens in a text are text.
    const tokens = this.#model.tokenize(text.slice(0, chars));
    const whole = length(tokens);
    if (whole <= room) return tokens;
    if (truncation !== "auto") throw textTooLong(param, whole, this.facts);
    return tokens.slice(0, Math.max(0, tokens.length - (whole - room)));
  }
}

function isRanking(context: Context): context is LlamaRankingContext {
  return "rank" in context;
}

async function translated<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (cause) {
    if (!isMemoryError(cause)) throw toAppError(cause);
    throw new AppError("engine_out_of_memory", "The model ran out of memory while reading.", { cause });
  }
}
