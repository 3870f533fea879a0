/** A chat engine behind HTTP: ours, llama-server, vLLM, Ollama or whatever else speaks OpenAI's chat completions. */
import { fromBatches } from "../core/batches.ts";
import { type ChatEvent, type ChatRequest, isDelta, isTerminal } from "../core/chat.ts";
import { areDeltas, type DeltaRelay } from "../core/delta-relay.ts";
import { AppError, toAppError } from "../core/errors.ts";
import {
  engineReplyBytesMax,
  firstByteMsMax,
  healthMsMax,
  operationLookMsMax,
  operationMsMax,
  tokenSilenceMsMax,
} from "../core/limits.ts";
import type { ChatEngine, ChatTurn, Clock, EngineHealth, EngineOperation } from "../core/ports.ts";
import { type ChatReader, createChatReader } from "./chat-reader.ts";
import { renderChatBody } from "./chat-request.ts";
import { asAmount, asObject, asText, defined } from "./chat-wire.ts";
import { renderCompletionBody } from "./completions.ts";
import { parseDevices } from "./devices.ts";
import { connectionError, errorOfBody, errorOfReply, parseJson } from "./engine-errors.ts";
import { readBytes } from "./json-body.ts";
import { parseModels } from "./models.ts";
import { renderOperation } from "./operations.ts";
import { renderTermsHeaders } from "./service-terms.ts";
import { createSseParser, type SseParser } from "./sse.ts";
import type { HttpBodyReader, HttpReply, HttpSend } from "./transport.ts";
import { type UpstreamWatch, watchUpstream } from "./upstream-watch.ts";
import { createVectorsClient } from "./vectors-client.ts";

export interface HttpEngineOptions {
  /** Address of the server, with or without its `/v1`. */
  baseUrl: string;
  /** Bearer token it asks for. */
  token?: string;
  /** Name in usage rows and answers for servers that do not tell one; default "remote". */
  engineId?: string;
  clock: Clock;
  /** Default: the runtime's own. */
  fetch?: HttpSend;
  /** Request to first byte, milliseconds; queueing and prefill fall in it unless the server tells of them. */
  firstByteMsMax?: number;
  /** Longest silence of a stream that has begun, milliseconds. */
  silenceMsMax?: number;
  /** For health and model lists, milliseconds. */
  healthMsMax?: number;
  /** Fields of the body that this server understands beyond those every server does. */
  extraBody?: Record<string, unknown>;
  /** Sees each chunk of an answer before the events made of it. */
  onChunk?: (chunk: Record<string, unknown>) => void;
}

/** Never throws from `chat`; see the port. `health` answers "stopped" for a server that cannot be reached. */
export function createHttpEngine(options: HttpEngineOptions): ChatEngine {
  const root = options.baseUrl.replace(/\/+$/, "").replace(/\/v1$/, "");
  const send: HttpSend = options.fetch ?? fetch;
  const headers: Record<string, string> = { accept: "application/json, text/event-stream" };
  if (options.token !== undefined) headers.authorization = `Bearer ${options.token}`;

  const get = async (path: string): Promise<{ reply: HttpReply; body: unknown }> => {
    const signal = AbortSignal.timeout(options.healthMsMax ?? healthMsMax);
    try {
      const reply = await send(`${root}${path}`, { headers, signal, redirect: "manual" });
      if (!reply.ok && path !== "/health") throw await errorOfReply(reply);
      return { reply, body: await readJson(reply) };
    } catch (thrown) {
      throw thrown instanceof AppError ? thrown : connectionError(thrown);
    }
  };

  const post = (request: ChatRequest, signal: AbortSignal): Promise<HttpReply> =>
    send(`${root}/v1/${request.prompt === undefined ? "chat/completions" : "completions"}`, {
      method: "POST",
      headers: { ...headers, ...renderTermsHeaders(request.terms), "content-type": "application/json" },
      body: JSON.stringify({ ...renderBody(request), ...options.extraBody }),
      signal,
      // An engine that could send us elsewhere could send us into its operator's network.
      redirect: "manual",
    }).catch((thrown) => {
      throw connectionError(thrown);
    });

  const models = async () => parseModels((await get("/v1/models")).body);

  const health = async (): Promise<EngineHealth> => {
    try {
      const { reply, body } = await get("/health");
      const told = parseHealth(body);
      if (told !== undefined) return told;
      if (reply.ok) return idle("ready");
      if (reply.status === 503) return { ...idle("loading"), reason: "The engine is still loading its model." };
      // Ollama has no /health; whoever lists models can answer.
      await models();
      return idle("ready");
    } catch (thrown) {
      return { ...idle("stopped"), reason: toAppError(thrown).message };
    }
  };

  const operate = async (operation: EngineOperation): Promise<Record<string, unknown>> => {
    const { method, path, body } = renderOperation(operation);
    const signal = AbortSignal.timeout(method === "GET" ? operationLookMsMax : operationMsMax);
    const reply = await send(`${root}${path}`, {
      method,
      headers: body === undefined ? headers : { ...headers, "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal,
      redirect: "manual",
    }).catch((thrown) => {
      throw signal.aborted
        ? new AppError("engine_timeout", "The engine did not answer in time.")
        : connectionError(thrown);
    });
    const told = await readJson(reply).catch(() => undefined);
    const facts = reply.headers.get("content-type")?.includes("json") ? asObject(told) : undefined;
    if (reply.ok && facts !== undefined) return facts;
    const error = errorOfBody(told, reply);
    // A server that is not ours has no such route and says so in its own words.
    if (error.code === "invalid_configuration" && reply.status === 404) throw notOurs();
    throw reply.ok ? notOurs() : error;
  };

  const vectors = createVectorsClient({
    post: (path, more, body, signal) => {
      const sent = { ...headers, ...more, "content-type": "application/json" };
      return send(`${root}${path}`, { method: "POST", headers: sent, body, signal, redirect: "manual" });
    },
    engineId: options.engineId ?? "remote",
    clock: options.clock,
    answerMsMax: options.firstByteMsMax,
  });

  return {
    ...vectors,
    chat: (request, turn) => fromBatches(runChat(request, turn, options, post)),
    models,
    health,
    operate,
  };
}

function renderBody(request: ChatRequest): Record<string, unknown> {
  return request.prompt === undefined ? renderChatBody(request) : renderCompletionBody(request);
}

async function* runChat(
  request: ChatRequest,
  { signal, relay }: ChatTurn,
  options: HttpEngineOptions,
  post: (request: ChatRequest, signal: AbortSignal) => Promise<HttpReply>,
): AsyncGenerator<readonly ChatEvent[], void> {
  const fallback = { model: request.model, engineId: options.engineId ?? "remote" };
  const reader = createChatReader(fallback, options.clock, options.onChunk);
  if (signal.aborted) return yield [reader.cancel()];
  const watch = watchUpstream(signal, options.clock);
  let whole = false;
  try {
    watch.expectWithin(options.firstByteMsMax ?? firstByteMsMax, "The engine did not begin to answer in time.");
    const reply = await post(request, watch.signal);
    if (!reply.ok) return yield [reader.fail((await errorOfReply(reply)).toFacts())];
    const silenceMsMax = options.silenceMsMax ?? tokenSilenceMsMax;
    for await (const events of readReply(reply, { reader, watch, silenceMsMax, relay })) {
      if (events.length === 0) continue;
      // While the caller holds events it is not the engine that is slow.
      watch.pause();
      const last = events.at(-1)!;
      whole = last.type === "finish";
      yield events;
      watch.resume();
      if (isTerminal(last)) return;
    }
    whole = true;
    yield [reader.complete ? reader.finish() : reader.fail(truncated().toFacts())];
  } catch (thrown) {
    if (signal.aborted) yield [reader.cancel()];
    // An answer that was whole before the connection broke lost nothing.
    else if (reader.complete) yield [reader.finish()];
    else yield [reader.fail((watch.expired ?? brokenOff(thrown, reader.started)).toFacts())];
  } finally {
    watch.end(whole);
  }
}

interface ReplyReading {
  reader: ChatReader;
  watch: UpstreamWatch;
  silenceMsMax: number;
  relay: DeltaRelay | undefined;
}

/** Events of a reply with status 200. Whatever arrives, comments included, is a sign of life. */
async function* readReply(
  reply: HttpReply,
  { reader, watch, silenceMsMax, relay }: ReplyReading,
): AsyncGenerator<ChatEvent[], void> {
  if (reply.body === null) return;
  if (!(reply.headers.get("content-type") ?? "").includes("text/event-stream")) {
    // Some proxies ignore `stream` and answer with one completion.
    const completion = asObject(await readJson(reply));
    if (completion !== undefined) yield reader.readData(JSON.stringify(completion));
    return;
  }
  const body = reply.body.getReader();
  const parser = createSseParser();
  const signOfLife = () => watch.expectWithin(silenceMsMax, "The engine fell silent in the middle of its answer.");
  let open = true;
  /** Read already, and not for the relay. */
  let early: ReturnType<typeof readItems> | undefined;
  let begun = false;
  const pass = (bytes: Uint8Array): boolean => {
    const read = readItems(parser, bytes, reader);
    const { events, hungUp, broken } = read;
    const passes = !hungUp && broken === undefined && areDeltas(events);
    if (passes && (events.length === 0 || relay?.take(events) === true)) {
      signOfLife();
      return true;
    }
    early = read;
    return false;
  };
  try {
    while (open) {
      const { value, done } = await body.read(relay !== undefined && begun ? pass : undefined);
      const { events, hungUp, broken } = early ?? readItems(parser, done ? undefined : value, reader);
      early = undefined;
      begun ||= events.some(isDelta);
      open = done === false && !hungUp;
      if (hungUp) {
        events.push(reader.finish());
        void readToEnd(body);
      }
      // What was whole before something unreadable is still part of the answer.
      if (events.length > 0) yield events;
      if (broken !== undefined) throw broken;
      signOfLife();
    }
  } finally {
    // Cancelling a body that already failed rejects with that failure, which was reported.
    if (open) body.cancel().catch(() => {});
  }
}

/** Events of what arrived together. */
interface ItemsRead {
  events: ChatEvent[];
  hungUp: boolean;
  broken: unknown;
}

/**
 * Nothing counts after an error, nor after `[DONE]`.
 *
 * @param bytes undefined at the end of the stream
 */
function readItems(parser: SseParser, bytes: Uint8Array | undefined, reader: ChatReader): ItemsRead {
  let events: ChatEvent[] = [];
  try {
    const items = bytes === undefined ? parser.end() : parser.push(bytes);
    for (const item of items) {
      if (item.type === "event" && item.data === "[DONE]") {
        reader.readData(item.data);
        return { events, hungUp: true, broken: undefined };
      }
      const read = item.type === "comment" ? reader.readComment(item.text) : reader.readData(item.data);
      if (events.length === 0) events = read;
      else events.push(...read);
      const last = events.at(-1);
      if (last !== undefined && isTerminal(last)) break;
    }
    return { events, hungUp: false, broken: undefined };
  } catch (broken) {
    return { events, hungUp: false, broken };
  }
}

/** After `[DONE]`: a connection whose body is read to its end serves the next request too. */
async function readToEnd(body: HttpBodyReader): Promise<void> {
  const timer = setTimeout(() => void body.cancel().catch(() => {}), hangUpMsMax);
  try {
    while (!(await body.read()).done);
  } catch {
    // The answer was whole.
  } finally {
    clearTimeout(timer);
  }
}

/** Between `[DONE]` and the end of the body. */
const hangUpMsMax = 250;

async function readJson(reply: HttpReply): Promise<unknown> {
  const bytes = await readBytes(reply.body, engineReplyBytesMax);
  return bytes === undefined ? undefined : parseJson(new TextDecoder().decode(bytes));
}

/** Our engine answers with its health; our API in front of one holds it under `engine`. */
function parseHealth(body: unknown): EngineHealth | undefined {
  const health = asObject(asObject(body)?.engine) ?? asObject(body);
  const state = engineStates.find((known) => known === health?.state);
  if (health === undefined || state === undefined) return undefined;
  return {
    state,
    ...defined({ reason: asText(health.reason) }),
    active: asAmount(health.active) ?? 0,
    queued: asAmount(health.queued) ?? 0,
    slots: asAmount(health.slots) ?? 1,
    ...defined({ devices: parseDevices(health.devices) }),
  };
}

const engineStates = ["ready", "loading", "restarting", "failed", "stopped"] as const;

function idle(state: EngineHealth["state"]): EngineHealth {
  return { state, active: 0, queued: 0, slots: 1, assumed: true };
}

function notOurs(): AppError {
  return new AppError("not_found", "This server is no Snug engine: it cannot be operated from here, only asked.");
}

function truncated(): AppError {
  return new AppError("engine_unavailable", "The engine's answer broke off before its end; please try again.");
}

function brokenOff(thrown: unknown, started: boolean): AppError {
  if (thrown instanceof AppError) return thrown;
  return started ? truncated() : connectionError(thrown);
}
