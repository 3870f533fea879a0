/** The chunks of an OpenAI-shaped answer, read as chat events, with what is needed to account for a broken one. */
import type {
  ChatDelta,
  ChatEvent,
  FinishReason,
  Preparation,
  Producer,
  TerminalChatEvent,
  Timings,
  Usage,
} from "../core/chat.ts";
import { AppError, type ErrorFacts } from "../core/errors.ts";
import type { Clock } from "../core/ports.ts";
import {
  asAmount,
  asObject,
  asText,
  defined,
  type JsonObject,
  parseDelta,
  parseFinishReason,
  parseLogprobs,
  parseProducer,
  parseTimings,
  parseUsage,
} from "./chat-wire.ts";
import { errorOfEvent, parseJson } from "./engine-errors.ts";
import { readTextChunk, shapeOfTextChunk, type TextChunkShape } from "./text-chunk.ts";

export interface ChatReader {
  /** True once an answer has begun. */
  readonly started: boolean;
  /** True once the answer is known to be whole. */
  readonly complete: boolean;
  /** Events of one `data:` line. An `error` event among them is the last. */
  readData(data: string): ChatEvent[];
  /** Our engines tell the place in the queue in a comment. */
  readComment(text: string): ChatEvent[];
  finish(): TerminalChatEvent;
  cancel(): TerminalChatEvent;
  fail(error: ErrorFacts): TerminalChatEvent;
}

/**
 * @param fallback what answers, as far as known before the server says so itself
 * @param clock measures what the server does not report, from now on
 * @param onChunk sees each chunk before it is read
 */
export function createChatReader(fallback: Producer, clock: Clock, onChunk?: (chunk: JsonObject) => void): ChatReader {
  return new ChunkReader(fallback, clock, onChunk);
}

/** A class, as there is one for every answer: an object with getters of its own has a layout of its own as well. */
class ChunkReader implements ChatReader {
  readonly #fallback: Producer;
  readonly #clock: Clock;
  readonly #onChunk: ((chunk: JsonObject) => void) | undefined;
  readonly #acceptedAt: number;
  #firstTokenAt: number | undefined;
  #lastTokenAt: number | undefined;
  #started = false;
  #done = false;
  #finishReason: FinishReason | undefined;
  #reported: Usage | undefined;
  #promptUsage: Usage = {};
  #timings: Timings = {};
  #tokensSeen = 0;
  #shape: TextChunkShape | undefined;
  #shapesLeft = shapesMax;

  constructor(fallback: Producer, clock: Clock, onChunk: ((chunk: JsonObject) => void) | undefined) {
    this.#fallback = fallback;
    this.#clock = clock;
    this.#onChunk = onChunk;
    this.#acceptedAt = clock.now();
  }

  get started(): boolean {
    return this.#started;
  }

  get complete(): boolean {
    return this.#done || this.#finishReason !== undefined;
  }

  readData(data: string): ChatEvent[] {
    if (data === "[DONE]") {
      this.#done = true;
      return [];
    }
    const repeated = this.#readText(data);
    if (repeated !== undefined) return repeated;
    const chunk = asObject(parseJson(data));
    if (chunk === undefined) throw new AppError("engine_unavailable", "The engine sent something that is not JSON.");
    this.#onChunk?.(chunk);
    if (chunk.error === undefined || chunk.error === null) {
      const events = this.#readChunk(chunk);
      this.#learnShape(data, chunk, events);
      return events;
    }
    this.#readSums(chunk);
    return [this.fail(errorOfEvent(chunk))];
  }

  readComment(text: string): ChatEvent[] {
    if (this.#started || !text.startsWith("queued ")) return [];
    const place = asObject(parseJson(text.slice("queued ".length)));
    const position = asAmount(place?.position);
    if (position === undefined) return [];
    const estimatedWaitMs = asAmount(place?.estimated_wait_ms);
    return [{ type: "queued", position, ...defined({ estimatedWaitMs, preparing: readPreparation(place) }) }];
  }

  finish(): TerminalChatEvent {
    const finishReason = this.#finishReason ?? "stop";
    return { type: "finish", finishReason, usage: this.#usage(), timings: this.#finalTimings() };
  }

  cancel(): TerminalChatEvent {
    return { type: "cancelled", usage: this.#usage(), timings: this.#finalTimings() };
  }

  fail(error: ErrorFacts): TerminalChatEvent {
    return { type: "error", error, usage: this.#usage(), timings: this.#finalTimings() };
  }

  #usage(): Usage {
    if (this.#reported?.completionTokens !== undefined) return { ...this.#promptUsage, ...this.#reported };
    if (!this.#started) return {};
    return { ...this.#promptUsage, ...this.#reported, completionTokens: this.#tokensSeen, estimated: true };
  }

  #finalTimings(): Timings {
    const first = this.#firstTokenAt;
    const last = this.#lastTokenAt;
    const decodeMs = first === undefined || last === undefined ? 0 : last - first;
    const tokens = this.#usage().completionTokens ?? 0;
    return defined({
      timeToFirstTokenMs: first === undefined ? undefined : first - this.#acceptedAt,
      totalMs: this.#clock.now() - this.#acceptedAt,
      completionTokensPerSecond: decodeMs > 0 && tokens > 1 ? ((tokens - 1) / decodeMs) * 1000 : undefined,
      ...this.#timings,
    });
  }

  #countTokens(count: number): void {
    this.#tokensSeen += count;
    this.#lastTokenAt = this.#clock.now();
    this.#firstTokenAt ??= this.#lastTokenAt;
  }

  /** A chunk that is one token of text and tells nothing else. */
  #readText(data: string): ChatEvent[] | undefined {
    const text = this.#shape === undefined ? undefined : readTextChunk(data, this.#shape);
    if (text === undefined) return undefined;
    this.#countTokens(1);
    this.#shapesLeft = shapesMax;
    return [{ type: "text", text }];
  }

  #learnShape(data: string, chunk: JsonObject, events: readonly ChatEvent[]): void {
    const text = this.#onChunk === undefined && this.#shapesLeft > 0 ? onlyTextOf(chunk, events) : undefined;
    if (text === undefined) return;
    this.#shapesLeft--;
    this.#shape = shapeOfTextChunk(data, text, textOf) ?? this.#shape;
  }

  #readPieces(choice: JsonObject, chunk: JsonObject): ChatEvent[] {
    const pieces = parsePieces(choice);
    if (pieces.length === 0) return [];
    const tokenCount = asAmount(asObject(chunk.snug)?.tokens);
    this.#countTokens(tokenCount ?? 1);
    // The chunk's tokens are counted with its first piece.
    return pieces.map((piece, index) => {
      if (index > 0) return { ...piece, tokenCount: 0 };
      return tokenCount === undefined ? piece : { ...piece, tokenCount };
    });
  }

  #readChunk(chunk: JsonObject): ChatEvent[] {
    const events: ChatEvent[] = [];
    if (!this.#started) {
      this.#started = true;
      this.#promptUsage = parseUsage(asObject(chunk.snug)?.usage) ?? {};
      const { promptTokens, cachedPromptTokens } = this.#promptUsage;
      events.push({
        type: "start",
        producer: parseProducer(chunk, this.#fallback),
        ...defined({ promptTokens, cachedPromptTokens }),
      });
    }
    const choice = choiceOf(chunk);
    if (choice !== undefined) {
      events.push(...this.#readPieces(choice, chunk));
      this.#finishReason = parseFinishReason(choice.finish_reason) ?? this.#finishReason;
    }
    this.#readSums(chunk);
    return events;
  }

  #readSums(chunk: JsonObject): void {
    this.#reported = parseUsage(chunk.usage) ?? this.#reported;
    if (chunk.timings !== undefined) this.#timings = parseTimings(chunk.timings);
  }
}

/** Some servers put something else into every chunk, a time or a number: of these no two are alike. */
const shapesMax = 8;

/** The text of a chunk that is one token of it, if there is nothing else in it that would have to be read again. */
function onlyTextOf(chunk: JsonObject, events: readonly ChatEvent[]): string | undefined {
  const [event] = events;
  const tellsMore = chunk.usage != null || chunk.timings !== undefined || chunk.snug !== undefined;
  if (tellsMore || events.length !== 1 || event?.type !== "text" || event.logprobs !== undefined) return undefined;
  return parseFinishReason(choiceOf(chunk)?.finish_reason) === undefined ? event.text : undefined;
}

function textOf(data: unknown): string | undefined {
  const chunk = asObject(data);
  const choice = chunk === undefined ? undefined : choiceOf(chunk);
  const [piece, ...more] = choice === undefined ? [] : parsePieces(choice);
  return piece?.type === "text" && more.length === 0 ? piece.text : undefined;
}

/** The usage chunk has an empty list, null or no list at all, depending on the server. */
function choiceOf(chunk: JsonObject): JsonObject | undefined {
  return Array.isArray(chunk.choices) ? asObject(chunk.choices[0]) : undefined;
}

function readPreparation(place: JsonObject | undefined): Preparation | undefined {
  const { step, share } = asObject(place?.preparing) ?? {};
  if (step !== "download" && step !== "load") return undefined;
  return { step, ...defined({ share: asAmount(share) }) };
}

/** What a choice says: a chat's `delta` or `message`, or the `text` of a completion. */
function parsePieces(choice: JsonObject): ChatDelta[] {
  const text = asText(choice.text);
  const pieces: ChatDelta[] =
    text === undefined
      ? parseDelta(asObject(choice.delta) ?? asObject(choice.message) ?? {})
      : [{ type: "text", text }];
  const logprobs = parseLogprobs(choice.logprobs);
  const first = pieces.find((piece) => piece.type === "text");
  if (first !== undefined && logprobs.length > 0) first.logprobs = logprobs;
  return pieces;
}
