/**
 * What an engine that dials out and the API it dials say to each other: one JSON text per WebSocket message.
 *
 * Every frame has an `id`, the request it belongs to (0: the link itself), and a `seq`, its number among the frames of that
 * id in that direction, from 0. Frames of an unknown type are passed over, so that a newer end may say more.
 */
import * as z from "zod";
import { type ChatEvent, type ChatRequest, type FinishReason, isTerminal } from "../core/chat.ts";
import { AppError, ERROR_TABLE, type ErrorFacts } from "../core/errors.ts";
import {
  linkEngineMessageCharsMax,
  linkFactsCharsMax,
  linkMessageBytesMax,
  messagesPerRequestMax,
} from "../core/limits.ts";
import type { EngineHealth, EngineOperation, LinkFacts, ModelListing } from "../core/ports.ts";
import type { EmbeddingsRequest, RerankRequest } from "../core/vectors.ts";

/** Raised when an older end could no longer follow. Ends with different versions do not speak to each other. */
export const linkVersion = 1;

/** Named at the upgrade, so that another version is refused before anything is said. */
export const linkProtocol = `snug.link.${linkVersion}`;

/** Answered by the other end's connection itself, on Workers without waking anybody. */
export const linkPing = "ping";
export const linkPong = "pong";

/** Why a link was closed (WebSocket close codes 4000 to 4999 are an application's). */
export const linkClose = {
  /** The other end spoke nonsense, or too much. */
  protocol: 4400,
  /** The key was revoked or has expired. */
  key: 4401,
  /** The same engine connected again. */
  replaced: 4408,
  /** Another engine has this name. */
  nameTaken: 4409,
  /** An administrator removed the engine: it comes back when it is started again. */
  removed: 4403,
  /** Nothing was heard for too long. */
  silent: 4410,
  /** Orderly: this end is stopping. */
  leaving: 1001,
} as const;

export interface LinkState {
  health: EngineHealth;
  models: ModelListing[];
  /** Takes no new requests; those under way end. */
  draining: boolean;
  facts: LinkFacts;
}

interface Frame {
  id: number;
  seq: number;
}

/** One thing asked for that is answered whole. */
export type LinkCall =
  | { method: "embed"; request: EmbeddingsRequest }
  | { method: "rerank"; request: RerankRequest }
  | { method: "operate"; request: EngineOperation };

/** From the engine. */
export type EngineFrame =
  | (Frame & LinkState & { type: "hello"; version: number; engine: string; instance: string; software: string })
  /** What changed; only the newest counts. */
  | (Frame & Partial<LinkState> & { type: "state" })
  /** The events of an answer. The terminal one is the receipt. */
  | (Frame & { type: "answer"; events: ChatEvent[] })
  | (Frame & { type: "result"; result: unknown })
  | (Frame & { type: "failure"; error: ErrorFacts });

/** From the API. */
export type RelayFrame =
  | (Frame & { type: "welcome"; version: number })
  /** `window`: frames the engine may send before it needs credit. */
  | (Frame & { type: "request"; request: ChatRequest; window: number })
  | (Frame & { type: "call"; call: LinkCall })
  | (Frame & { type: "cancel" })
  /** Frames taken so far; the engine may be `window` ahead of it. */
  | (Frame & { type: "credit"; taken: number });

const amount = z.number().min(0);
const text = z.string();
const frameFields = { id: z.int().min(0), seq: z.int().min(0) };

const healthSchema = z.looseObject({
  state: z.enum(["ready", "loading", "restarting", "failed", "stopped"]),
  reason: text.optional(),
  active: amount,
  queued: amount,
  slots: amount,
});
const modelSchema = z.looseObject({ id: text.min(1), loaded: z.boolean() });
const factsSchema = z
  .looseObject({})
  .refine((facts) => JSON.stringify(facts).length <= linkFactsCharsMax, "says too much of the machine");
const errorSchema = z.looseObject({
  code: z.custom<keyof typeof ERROR_TABLE>((code) => typeof code === "string" && Object.hasOwn(ERROR_TABLE, code)),
  message: text,
  param: text.optional(),
  retryAfterMs: amount.optional(),
  details: z.record(z.string(), z.unknown()).optional(),
});
const state = {
  health: healthSchema,
  models: z.array(modelSchema).max(10_000),
  draining: z.boolean(),
  facts: factsSchema,
};
const { health, models, draining, facts } = state;

const engineSchemas = {
  hello: z.object({
    ...frameFields,
    type: z.literal("hello"),
    version: z.int(),
    engine: z.string().regex(/^[\w.-]{1,64}$/),
    instance: z.string().min(1).max(100),
    software: z.string().max(100),
    ...state,
  }),
  state: z.object({
    ...frameFields,
    type: z.literal("state"),
    health: health.optional(),
    models: models.optional(),
    draining: draining.optional(),
    facts: facts.optional(),
  }),
  result: z.object({ ...frameFields, type: z.literal("result"), result: z.unknown() }),
  failure: z.object({ ...frameFields, type: z.literal("failure"), error: errorSchema }),
};

const requestSchema = z.looseObject({
  model: text.min(1),
  messages: z
    .array(z.looseObject({ role: z.enum(["system", "user", "assistant", "tool"]), content: text }))
    .max(messagesPerRequestMax),
});

const relaySchemas = {
  welcome: z.object({ ...frameFields, type: z.literal("welcome"), version: z.int() }),
  request: z.object({
    ...frameFields,
    type: z.literal("request"),
    request: requestSchema,
    window: z.int().min(1).max(10_000),
  }),
  call: z.object({
    ...frameFields,
    type: z.literal("call"),
    call: z.object({ method: z.enum(["embed", "rerank", "operate"]), request: z.looseObject({}) }),
  }),
  cancel: z.object({ ...frameFields, type: z.literal("cancel") }),
  credit: z.object({ ...frameFields, type: z.literal("credit"), taken: z.int().min(0) }),
};

/** @throws AppError payload_too_large when the other end would not take so long a message */
export function encodeFrame(frame: EngineFrame | RelayFrame): string {
  const message = JSON.stringify(frame);
  // Three bytes is the most a UTF-16 unit takes; most messages need not be counted.
  if (message.length * 3 > linkMessageBytesMax && new TextEncoder().encode(message).length > linkMessageBytesMax) {
    throw new AppError("payload_too_large", "This request is too large for the engine's link; send a shorter one.");
  }
  return message;
}

/**
 * A message of an engine. Undefined: of a type not known here.
 *
 * @throws AppError invalid_request: no frame, or one that does not hold what its type says
 */
export function decodeEngineFrame(message: string): EngineFrame | undefined {
  if (message.length > linkEngineMessageCharsMax)
    throw refused(`is longer than ${linkEngineMessageCharsMax} characters`);
  const value = parse(message);
  // Most of what comes, and worth the shorter way.
  if (value.type === "answer") return readAnswer(value);
  return read(value, engineSchemas) as EngineFrame | undefined;
}

/** A message of the API, as `decodeEngineFrame`. */
export function decodeRelayFrame(message: string): RelayFrame | undefined {
  return read(parse(message), relaySchemas) as RelayFrame | undefined;
}

interface FrameObject extends Record<string, unknown> {
  type: string;
}

function parse(message: string): FrameObject {
  let value: unknown;
  try {
    value = JSON.parse(message);
  } catch {
    throw refused("is not JSON");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw refused("is not an object");
  const { type } = value as Record<string, unknown>;
  if (typeof type !== "string") throw refused("has no type");
  return value as FrameObject;
}

function read(value: FrameObject, schemas: Record<string, z.ZodType>): unknown {
  if (!Object.hasOwn(schemas, value.type)) return undefined;
  const parsed = schemas[value.type]!.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw refused(`(${value.type}) is wrong at ${issue?.path.join(".").slice(0, 100) ?? "its root"}`);
}

function readAnswer(value: FrameObject): EngineFrame {
  const { id, seq, events } = value;
  if (!isCount(id) || !isCount(seq) || !Array.isArray(events) || events.length === 0) {
    throw refused("(answer) lacks its numbers or events");
  }
  for (const [place, event] of events.entries()) {
    if (!isEvent(event)) throw refused(`(answer) is wrong at events.${place}`);
    if (isTerminal(event) && place < events.length - 1) throw refused("(answer) goes on after its end");
  }
  return { type: "answer", id, seq, events };
}

const finishReasons: readonly FinishReason[] = ["stop", "length", "tool_calls", "content_filter"];

function isEvent(value: unknown): value is ChatEvent {
  if (!isObject(value)) return false;
  switch (value.type) {
    case "text":
    case "reasoning":
      return typeof value.text === "string" && isOptionalCount(value.tokenCount) && isList(value.logprobs);
    case "tool_call":
      return isCount(value.index) && typeof value.arguments === "string" && isOptionalCount(value.tokenCount);
    case "queued":
      return isCount(value.position);
    case "start":
      return isObject(value.producer) && typeof value.producer.model === "string";
    case "finish":
      return finishReasons.some((reason) => reason === value.finishReason) && hasAccount(value);
    case "cancelled":
      return hasAccount(value);
    case "error":
      return errorSchema.safeParse(value.error).success && hasAccount({ usage: {}, timings: {}, ...value });
    default:
      return false;
  }
}

/** Amounts only: they end up in sums. */
function hasAccount({ usage, timings }: Record<string, unknown>): boolean {
  return isObject(usage) && isObject(timings) && areAmounts(usage) && areAmounts(timings);
}

function areAmounts(values: Record<string, unknown>): boolean {
  return Object.values(values).every(
    (value) => typeof value === "boolean" || (typeof value === "number" && Number.isFinite(value) && value >= 0),
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isOptionalCount(value: unknown): boolean {
  return value === undefined || isCount(value);
}

function isList(value: unknown): boolean {
  return value === undefined || Array.isArray(value);
}

function refused(what: string): AppError {
  return new AppError("invalid_request", `A message on the engine's link ${what}.`);
}
