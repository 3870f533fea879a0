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
  const acceptedAt = clock.now();
  let firstTokenAt: number | undefined;
  let lastTokenAt: number | undefined;
  let started = false;
  let done = false;
  let finishReason: FinishReason | undefined;
  let reported: Usage | undefined;
  let promptUsage: Usage = {};
  let timings: Timings = {};
  let tokensSeen = 0;
  let shape: TextChunkShape | undefined;
  let shapesLeft = shapesMax;

  const usage = (): Usage => {
    if (reported?.completionTokens !== undefined) return { ...promptUsage, ...reported };
    return started ? { ...promptUsage, ...reported, completionTokens: tokensSeen, estimated: true } : {};
  };

  const finalTimings = (): Timings => {
    const decodeMs = firstTokenAt === undefined || lastTokenAt === undefined ? 0 : lastTokenAt - firstTokenAt;
    const tokens = usage().completionTokens ?? 0;
    return defined({
      timeToFirstTokenMs: firstTokenAt === undefined ? undefined : firstTokenAt - acceptedAt,
      totalMs: clock.now() - acceptedAt,
      completionTokensPerSecond: decodeMs > 0 && tokens > 1 ? ((tokens - 1) / decodeMs) * 1000 : undefined,
      ...timings,
    });
  };

  const countTokens = (count: number) => {
    tokensSeen += count;
    lastTokenAt = clock.now();
    firstTokenAt ??= lastTokenAt;
  };

  /** A chunk that is one token of text and tells nothing else. */
  const readText = (data: string): ChatEvent[] | undefined => {
    const text = shape === undefined ? undefined : readTextChunk(data, shape);
    if (text === undefined) return undefined;
    countTokens(1);
    shapesLeft = shapesMax;
    return [{ type: "text", text }];
  };

  const readPieces = (choice: JsonObject, chunk: JsonObject): ChatEvent[] => {
    const pieces = parsePieces(choice);
    if (pieces.length === 0) return [];
    const tokenCount = asAmount(asObject(chunk.snug)?.tokens);
    countTokens(tokenCount ?? 1);
    // The chunk's tokens are counted with its first piece.
    return pieces.map((piece, index) => {
      if (index > 0) return { ...piece, tokenCount: 0 };
      return tokenCount === undefined ? piece : { ...piece, tokenCount };
    });
  };

  const readChunk = (chunk: JsonObject): ChatEvent[] => {
    const events: ChatEvent[] = [];
    if (!started) {
      started = true;
      promptUsage = parseUsage(asObject(chunk.snug)?.usage) ?? {};
      const { promptTokens, cachedPromptTokens } = promptUsage;
      events.push({
        type: "start",
        producer: parseProducer(chunk, fallback),
        ...defined({ promptTokens, cachedPromptTokens }),
      });
    }
    const choice = choiceOf(chunk);
    if (choice !== undefined) {
      events.push(...readPieces(choice, chunk));
      finishReason = parseFinishReason(choice.finish_reason) ?? finishReason;
    }
    reported = parseUsage(chunk.usage) ?? reported;
    if (chunk.timings !== undefined) timings = parseTimings(chunk.timings);
    return events;
  };

  return {
    get started() {
      return started;
    },
    get complete() {
      return done || finishReason !== undefined;
    },
    readData(data) {
      if (data === "[DONE]") {
        done = true;
        return [];
      }
      const repeated = readText(data);
      if (repeated !== undefined) return repeated;
      const chunk = asObject(parseJson(data));
      if (chunk === undefined) throw new AppError("engine_unavailable", "The engine sent something that is not JSON.");
      onChunk?.(chunk);
      if (chunk.error === undefined || chunk.error === null) {
        const events = readChunk(chunk);
        const text = onChunk === undefined && shapesLeft > 0 ? onlyTextOf(chunk, events) : undefined;
        if (text !== undefined) {
          shapesLeft--;
          shape = shapeOfTextChunk(data, text, textOf) ?? shape;
        }
        return events;
      }
      reported = parseUsage(chunk.usage) ?? reported;
      if (chunk.timings !== undefined) timings = parseTimings(chunk.timings);
      return [this.fail(errorOfEvent(chunk))];
    },
    readComment(text) {
      if (started || !text.startsWith("queued ")) return [];
      const place = asObject(parseJson(text.slice("queued ".length)));
      const position = asAmount(place?.position);
      if (position === undefined) return [];
      const estimatedWaitMs = asAmount(place?.estimated_wait_ms);
      return [{ type: "queued", position, ...defined({ estimatedWaitMs, preparing: readPreparation(place) }) }];
    },
    finish: () => ({
      type: "finish",
      finishReason: finishReason ?? "stop",
      usage: usage(),
      timings: finalTimings(),
    }),
    cancel: () => ({ type: "cancelled", usage: usage(), timings: finalTimings() }),
    fail: (error) => ({ type: "error", error, usage: usage(), timings: finalTimings() }),
  };
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
