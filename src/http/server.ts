/** The serving side of the OpenAI-shaped wire: a chat's events become one HTTP response. */
import { type ChatDelta, type ChatEvent, isDelta, type Producer, type TokenLogprob } from "../core/chat.ts";
import { createRelay, type DeltaRelay, type OpenRelay } from "../core/delta-relay.ts";
import { AppError, ERROR_TABLE, type ErrorFacts, renderOpenAiError } from "../core/errors.ts";
import { keepAliveMs, retryWaitMsMax } from "../core/limits.ts";
import {
  AnswerClient,
  type AnswerEvents,
  createAnswerSource,
  readToTerminal,
  type StreamResponder,
  streamOverWeb,
} from "./answer-stream.ts";
import type { ChatCall } from "./chat-request.ts";
import {
  createMessage,
  defined,
  type JsonObject,
  renderDelta,
  renderLogprobs,
  renderProducer,
  renderTimings,
  renderUsage,
} from "./chat-wire.ts";
import { renderSseComment, renderSseEvent } from "./sse.ts";
import { writeJsonString } from "./text-chunk.ts";

export interface AnswerOptions {
  /** Completion id, "chatcmpl-…". */
  id: string;
  /** Seconds since the epoch. */
  created: number;
  /** Aborts when the client goes away (`request.signal`). */
  clientSignal: AbortSignal;
  /** Shown in the message of internal errors. */
  requestId?: string;
  /** Longest silence on a stream before a comment is sent. */
  keepAliveMs?: number;
  /** Default: chat completions. */
  dialect?: AnswerDialect;
  /** Default: over a web stream. */
  respond?: StreamResponder | undefined;
  /** What an engine threw in breach of its contract; the client sees `internal` only. */
  onFault?: (thrown: unknown) => void;
}

/** A finished answer, as far as it is known. */
export interface WholeAnswer {
  producer: Producer;
  /** The text of the answer. */
  content: string;
  logprobs: readonly TokenLogprob[];
  /** All of it, thoughts and calls included, as OpenAI's `message`. */
  message: JsonObject;
  finish: Extract<ChatEvent, { type: "finish" }>;
}

/** How events become bytes: chat completions by default, or another of OpenAI's forms. */
export interface AnswerDialect {
  /** Server-sent frames of each event, in order; the terminal event's frames are the last. */
  createWriter(call: ChatCall, options: AnswerOptions): { write(event: ChatEvent): Iterable<string> };
  renderWhole(answer: WholeAnswer, call: ChatCall, options: AnswerOptions): JsonObject;
}

/** Status of a reply nobody is there to read; nginx's number, known to log readers. */
export const clientClosedStatus = 499;

/**
 * Runs a chat and answers in OpenAI's form, as a stream or as one completion.
 *
 * The status is committed with the first event that is not an error. Later failures become one `data: {"error":…}` and a
 * close without `[DONE]`. The signal given to `chat` aborts when the client leaves, by its own signal or by cancelling
 * the body; the events are then read to their end, so that whoever counts tokens on the way sees the last word. `cancel`
 * aborts it too, for who runs the server; the client stays and is told.
 */
export async function answerChat(
  call: ChatCall,
  chat: (signal: AbortSignal, relay: DeltaRelay, cancel: () => void) => AsyncIterable<ChatEvent>,
  options: AnswerOptions,
): Promise<Response> {
  const client = new AnswerClient();
  if (options.clientSignal.aborted) client.leave();
  options.clientSignal.addEventListener("abort", client.leave, { once: true });
  const ended = () => options.clientSignal.removeEventListener("abort", client.leave);
  const relay = createRelay();
  const events = readToTerminal(chat(client.signal, relay, client.cancel), ended, options.onFault);
  return call.stream
    ? await answerStream(events, call, { client, relay }, options)
    : await answerCompletion(events, call, client, options);
}

/** An error before the first byte: status, OpenAI body, and what the retrying client should know. */
export function respondWithError(error: AppError, requestId?: string): Response {
  return Response.json(renderOpenAiError(error, requestId), { status: error.status, headers: errorHeaders(error) });
}

/** `retry-after` for everybody; the official clients also read the other two. */
export function errorHeaders(error: AppError): Record<string, string> {
  const headers: Record<string, string> = { "cache-control": "no-store" };
  if (error.code === "invalid_api_key") headers["www-authenticate"] = 'Bearer realm="snug"';
  // The rest of the body was not read, so the connection cannot carry another request.
  if (error.code === "payload_too_large") headers.connection = "close";
  // A day's quota is no matter of trying again: clients' own back-off ends after a minute.
  const tooFar = error.retryAfterMs !== undefined && error.retryAfterMs > retryWaitMsMax;
  if (ERROR_TABLE[error.code].retry === "no" || tooFar) headers["x-should-retry"] = "false";
  if (error.retryAfterMs !== undefined) {
    headers["retry-after"] = String(Math.max(1, Math.ceil(error.retryAfterMs / 1000)));
    headers["retry-after-ms"] = String(Math.ceil(error.retryAfterMs));
  }
  return headers;
}

async function answerCompletion(
  events: AnswerEvents,
  call: ChatCall,
  client: AnswerClient,
  options: AnswerOptions,
): Promise<Response> {
  let producer: Producer = { model: call.request.model };
  const message = createMessage();
  for (let batch = await events.next(); batch !== undefined; batch = await events.next()) {
    for (const event of batch) {
      if (event.type === "start") producer = event.producer;
      if (isDelta(event)) message.add(event);
      if (event.type === "error" || event.type === "cancelled") return respondWithoutAnswer(event, client, options);
      if (event.type !== "finish") continue;
      const dialect = options.dialect ?? chatCompletions;
      const body = dialect.renderWhole(
        { producer, content: message.content, logprobs: message.logprobs, message: message.render(), finish: event },
        call,
        options,
      );
      return Response.json(body, { headers: { "cache-control": "no-store" } });
    }
  }
  throw new AppError("internal", "A chat ended without its last event.");
}

async function answerStream(
  events: AnswerEvents,
  call: ChatCall,
  { client, relay }: { client: AnswerClient; relay: OpenRelay },
  options: AnswerOptions,
): Promise<Response> {
  const first = await events.next();
  if (first?.[0] === undefined) throw new AppError("internal", "A chat ended without its last event.");
  if (first[0].type === "error" || first[0].type === "cancelled") {
    return respondWithoutAnswer(first[0], client, options);
  }
  const source = createAnswerSource(first, events, {
    writer: (options.dialect ?? chatCompletions).createWriter(call, options),
    client,
    relay,
    keepAliveMs: options.keepAliveMs ?? keepAliveMs,
    onFault: options.onFault,
  });
  return (options.respond ?? streamOverWeb)(source, streamHeaders);
}

const streamHeaders = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-cache, no-transform",
  "x-accel-buffering": "no",
};

function respondWithoutAnswer(
  event: Extract<ChatEvent, { type: "error" | "cancelled" }>,
  client: AnswerClient,
  options: AnswerOptions,
): Response {
  if (client.left) return new Response(null, { status: clientClosedStatus });
  return respondWithError(AppError.fromFacts(errorOf(event)), options.requestId);
}

/** A cancel that did not come from this client, such as an operator's. */
export function errorOf(event: Extract<ChatEvent, { type: "error" | "cancelled" }>): ErrorFacts {
  if (event.type === "error") return event.error;
  return { code: "engine_unavailable", message: "The answer was cancelled on the server; please try again." };
}

const chatCompletions: AnswerDialect = { createWriter: createChunkWriter, renderWhole: renderCompletion };

function renderCompletion(
  { producer, message, logprobs, finish }: WholeAnswer,
  _call: ChatCall,
  options: AnswerOptions,
): JsonObject {
  return {
    id: options.id,
    object: "chat.completion",
    created: options.created,
    model: producer.model,
    choices: [
      {
        index: 0,
        message,
        logprobs: renderLogprobs(logprobs),
        finish_reason: finish.finishReason,
      },
    ],
    usage: renderUsage(finish.usage),
    timings: renderTimings(finish.timings, finish.usage),
    snug: renderProducer(producer),
  };
}

/** Stands for a chunk's text where the same chunk is written again and again. */
const textMark = "\u0000text\u0000";

function createChunkWriter(call: ChatCall, options: AnswerOptions) {
  let producer: Producer = { model: call.request.model };
  let roleSent = false;
  /** What stands around the text of a chunk, as long as the producer is the same. */
  let around: [head: string, tail: string] | undefined;

  const chunk = (choices: JsonObject[], extras: JsonObject = {}) =>
    renderSseEvent(
      JSON.stringify({
        id: options.id,
        object: "chat.completion.chunk",
        created: options.created,
        model: producer.model,
        choices,
        ...(call.includeUsage ? { usage: null } : {}),
        ...extras,
      }),
    );
  const choice = (
    delta: JsonObject,
    { finishReason = null, logprobs }: { finishReason?: string | null; logprobs?: TokenLogprob[] | undefined } = {},
  ): JsonObject[] => [{ index: 0, delta, logprobs: renderLogprobs(logprobs), finish_reason: finishReason }];
  const role = (extras: JsonObject = {}) => {
    roleSent = true;
    return chunk(choice({ role: "assistant", content: "" }), extras);
  };

  /** Written for every token, so without what the other events need. */
  const text = (event: Extract<ChatEvent, { type: "text" }>): string => {
    around ??= chunk(choice({ content: textMark })).split(JSON.stringify(textMark)) as [string, string];
    return `${around[0]}${writeJsonString(event.text)}${around[1]}`;
  };

  const delta = (event: ChatDelta): string => {
    // A chunk is one token to a counting reader unless it says otherwise.
    const counted = event.tokenCount === undefined || event.tokenCount === 1;
    const logprobs = event.type === "text" ? event.logprobs : undefined;
    if (event.type === "text" && counted && logprobs === undefined) return text(event);
    return chunk(choice(renderDelta(event), { logprobs }), counted ? {} : { snug: { tokens: event.tokenCount } });
  };

  function write(event: ChatEvent): string[] {
    if (event.type === "text" && roleSent) return [delta(event)];
    if (event.type === "queued") return [renderQueued(event)];
    if (event.type === "error" || event.type === "cancelled") return [renderFailure(event, producer, options)];
    if (event.type === "start") {
      producer = event.producer;
      around = undefined;
      const counts = renderUsage(
        defined({ promptTokens: event.promptTokens, cachedPromptTokens: event.cachedPromptTokens }),
      );
      return [role({ snug: { ...renderProducer(producer), ...(counts === null ? {} : { usage: counts }) } })];
    }
    const frames = roleSent ? [] : [role()];
    if (isDelta(event)) {
      frames.push(delta(event));
      return frames;
    }
    frames.push(
      chunk(choice({}, { finishReason: event.finishReason }), {
        timings: renderTimings(event.timings, event.usage),
        snug: renderProducer(producer),
      }),
    );
    if (call.includeUsage) frames.push(chunk([], { usage: renderUsage(event.usage) }));
    frames.push(renderSseEvent("[DONE]"));
    return frames;
  }
  return { write };
}

/** A comment: readers who do not know it pass over it. */
export function renderQueued(event: Extract<ChatEvent, { type: "queued" }>): string {
  const { position, estimatedWaitMs, preparing } = event;
  return renderSseComment(`queued ${JSON.stringify({ position, estimated_wait_ms: estimatedWaitMs, preparing })}`);
}

export function renderFailure(
  event: Extract<ChatEvent, { type: "error" | "cancelled" }>,
  producer: Producer,
  options: AnswerOptions,
): string {
  const usage = event.usage ?? {};
  return renderSseEvent(
    JSON.stringify({
      ...renderOpenAiError(AppError.fromFacts(errorOf(event)), options.requestId),
      usage: renderUsage(usage),
      timings: renderTimings(event.timings ?? {}, usage),
      snug: renderProducer(producer),
    }),
  );
}
