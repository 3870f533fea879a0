/** An embedding model or a reranker on llama-server: texts are counted and cut here, and read there one at a time. */
import type { ChatRequest } from "../core/chat.ts";
import { AppError } from "../core/errors.ts";
import { charsPerTokenMax } from "../core/limits.ts";
import { asAmount, asObject } from "../http/chat-wire.ts";
import { decodeVector, encodeVector } from "../http/vector-base64.ts";
import { AnswerAccount } from "./answer-account.ts";
import type { AnswerEnd, LoadedModel, MemorySample } from "./ipc.ts";
import type { TaskHooks } from "./llama-measure.ts";
import { sampleServerMemory } from "./llama-server-memory.ts";
import { createServerPost, type ServerPost, unlessGone, wellFormed } from "./llama-server-post.ts";
import type { ServerProcess } from "./llama-server-process.ts";
import { ServerPrompts } from "./llama-server-prompt.ts";
import type { ModelRuntime } from "./model-runtime.ts";
import type { EmbedResult, EmbedTask, RerankResult, RerankTask } from "./task.ts";
import { scaleToOne } from "./unit-vector.ts";
import { cannotChat, cannotDo, holdsNothing, requireDimensions, textTooLong } from "./vector-limits.ts";

/** What the header says of how a model reads and scores. */
export interface VectorModel {
  embeddingLength: number;
  /** A reranker's own way to put a query and a document together, with {query} and {document} in it. */
  rerankTemplate: string | undefined;
}

interface CountedText {
  text: string;
  promptTokens: number;
}

export class ServerVectorRuntime implements ModelRuntime<never> {
  readonly facts: LoadedModel;
  readonly #model: VectorModel;
  readonly #server: ServerProcess;
  readonly #post: ServerPost;
  readonly #prompts: ServerPrompts;
  /** Tokens that stand around a query and a document where there is no template; asked for once. */
  #rerankFrame: Promise<number> | undefined;

  constructor(facts: LoadedModel, model: VectorModel, server: ServerProcess) {
    this.facts = facts;
    this.#model = model;
    this.#server = server;
    this.#post = createServerPost(server);
    this.#prompts = new ServerPrompts(server);
  }

  admit(_request: ChatRequest): never {
    throw cannotChat(this.facts);
  }

  /** Never reached: `admit` lets nothing in. */
  async answer(_prompt: never): Promise<AnswerEnd> {
    return new AnswerAccount(0, 0).failed(cannotChat(this.facts));
  }

  /** @throws AppError invalid_request, context_length_exceeded naming the input */
  async embed(task: EmbedTask, hooks: TaskHooks): Promise<EmbedResult> {
    if (this.facts.task === "rerank") throw cannotDo(this.facts, "make embeddings", "POST /v1/rerank");
    requireDimensions(task.dimensions, this.#model.embeddingLength);
    return await this.#asked(() => this.#embed(task, hooks));
  }

  async #embed({ inputs, dimensions, truncation }: EmbedTask, hooks: TaskHooks): Promise<EmbedResult> {
    const texts: number[][] = [];
    // All are counted first: one that is too long is refused before any work is done.
    for (const [index, text] of inputs.entries()) {
      hooks.signal.throwIfAborted();
      texts.push(await this.#inputTokens(text, truncation, `input[${index}]`));
    }
    const vectors: string[] = [];
    for (const tokens of texts) {
      const body = { input: [tokens], encoding_format: "base64" };
      const vector = vectorOf(await this.#post("/v1/embeddings", body, hooks.signal));
      vectors.push(encodeVector(scaleToOne([...vector], dimensions)));
      hooks.progress(vectors.length, texts.length);
    }
    return { vectors, promptTokens: texts.reduce((sum, tokens) => sum + tokens.length, 0) };
  }

  /** @throws AppError as `embed`, naming the document */
  async rerank(task: RerankTask, hooks: TaskHooks): Promise<RerankResult> {
    if (this.facts.task !== "rerank") throw cannotDo(this.facts, "rerank", "POST /v1/embeddings");
    return await this.#asked(() => this.#rerank(task, hooks));
  }

  async #rerank({ query, documents, truncation }: RerankTask, hooks: TaskHooks): Promise<RerankResult> {
    const asked = await this.#harmless(query, "query");
    const { contextLength } = this.facts;
    const alone = overlong(query, contextLength) ?? (await this.#countPair(asked, ""));
    if (alone >= contextLength) throw textTooLong("query", alone, this.facts);
    const texts: CountedText[] = [];
    for (const [index, document] of documents.entries()) {
      hooks.signal.throwIfAborted();
      texts.push(await this.#fitPair(asked, document, truncation, `documents[${index}]`));
    }
    const scores: number[] = [];
    for (const { text } of texts) {
      const body = { query: asked, documents: [text] };
      scores.push(this.#shareOf(scoreOf(await this.#post("/v1/rerank", body, hooks.signal))));
      hooks.progress(scores.length, texts.length);
    }
    return { scores, promptTokens: texts.reduce((sum, { promptTokens }) => sum + promptTokens, 0) };
  }

  async sampleMemory(): Promise<MemorySample> {
    return await sampleServerMemory(this.#server);
  }

  async dispose(): Promise<void> {
    this.#server.kill();
  }

  async #asked<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (thrown) {
      if (thrown instanceof AppError && thrown.code === "engine_unavailable") await unlessGone(this.#server);
      throw thrown;
    }
  }

  /** With what the model wants around a text; names of control tokens in it are text. */
  async #inputTokens(text: string, truncation: "auto" | undefined, param: string): Promise<number[]> {
    const { contextLength } = this.facts;
    const room = contextLength - 1;
    const uncounted = overlong(text, contextLength);
    if (uncounted !== undefined && truncation !== "auto") throw textTooLong(param, uncounted, this.facts);
    const said = wellFormed(text.slice(0, room * charsPerTokenMax));
    const whole = await this.#prompts.tokens(said, { add_special: true, parse_special: false });
    if (whole.length === 0) throw holdsNothing(param);
    if (whole.length <= room) return whole;
    if (truncation !== "auto") throw textTooLong(param, whole.length, this.facts);
    const bare = await this.#prompts.tokens(said, { add_special: false, parse_special: false });
    // Whatever stands behind the text stays there when the text is cut.
    const before = whole.findIndex((_, at) => bare.every((token, place) => whole[at + place] === token));
    const after = whole.slice(before + bare.length);
    return [...whole.slice(0, room - after.length), ...after];
  }

  async #fitPair(query: string, document: string, truncation: "auto" | undefined, param: string): Promise<CountedText> {
    const { contextLength } = this.facts;
    const room = contextLength - 1;
    const uncounted = overlong(document, contextLength);
    if (uncounted !== undefined && truncation !== "auto") throw textTooLong(param, uncounted, this.facts);
    let text = await this.#harmless(document.slice(0, room * charsPerTokenMax), param);
    let promptTokens = await this.#countPair(query, text);
    if (promptTokens > room && truncation !== "auto") throw textTooLong(param, promptTokens, this.facts);
    // The server takes texts, not tokens: cut by the share that is too much, until the rest has room.
    while (promptTokens > room && text !== "") {
      text = wellFormed(text.slice(0, Math.floor(text.length * Math.min(room / promptTokens, 0.99))));
      promptTokens = await this.#countPair(query, text);
    }
    return { text, promptTokens };
  }

  /** Tokens of both as the model reads them. */
  async #countPair(query: string, document: string): Promise<number> {
    const template = this.#model.rerankTemplate;
    if (template !== undefined) {
      const prompt = template.replaceAll("{query}", () => query).replaceAll("{document}", () => document);
      return (await this.#prompts.tokens(prompt, { add_special: false, parse_special: true })).length;
    }
    this.#rerankFrame ??= this.#measureFrame();
    const [asked, read] = await Promise.all([this.#bareLength(query), this.#bareLength(document)]);
    return (await this.#rerankFrame) + asked + read;
  }

  async #measureFrame(): Promise<number> {
    const { usage } = await this.#post("/v1/rerank", { query: "a", documents: ["a"] });
    return (asAmount(asObject(usage)?.prompt_tokens) ?? 0) - 2 * (await this.#bareLength("a"));
  }

  async #bareLength(text: string): Promise<number> {
    return (await this.#prompts.tokens(text, { add_special: false, parse_special: false })).length;
  }

  /** With a template, the server reads names of control tokens in what it is given as those tokens. */
  async #harmless(text: string, param: string): Promise<string> {
    return this.#model.rerankTemplate === undefined
      ? wellFormed(text)
      : await this.#prompts.withoutControlsIn(text, param);
  }

  /** llama.cpp scales the scores of these itself. */
  #shareOf(score: number): number {
    return /^qwen3(?:vl)?$/.test(this.facts.architecture) ? score : 1 / (1 + Math.exp(-score));
  }
}

/** So many tokens at least, of a text that would take long to count and is too long in any case. */
function overlong(text: string, contextLength: number): number | undefined {
  return text.length > (contextLength - 1) * charsPerTokenMax ? Math.ceil(text.length / charsPerTokenMax) : undefined;
}

function vectorOf({ data }: Record<string, unknown>): Float32Array {
  const vector = Array.isArray(data) ? decodeVector(asObject(data[0])?.embedding) : undefined;
  if (vector === undefined || vector.length === 0) throw new Error("llama-server made no vector");
  return vector;
}

function scoreOf({ results }: Record<string, unknown>): number {
  const score = Array.isArray(results) ? asObject(results[0])?.relevance_score : undefined;
  if (typeof score !== "number") throw new Error("llama-server gave no score");
  return score;
}
