/** What an engine elsewhere says when it cannot, as our errors. */
import { AppError, type AppErrorOptions, ERROR_TABLE, type ErrorCode, type ErrorFacts } from "../core/errors.ts";
import { engineMessageCharsMax, engineReplyBytesMax } from "../core/limits.ts";
import { asAmount, asObject, asText } from "./chat-wire.ts";
import { readBytes } from "./json-body.ts";
import type { HttpReply } from "./transport.ts";

/** A reply with an error status, from ours or any other OpenAI-compatible server. */
export async function errorOfReply(reply: Pick<HttpReply, "status" | "headers" | "body">): Promise<AppError> {
  const bytes = await readBytes(reply.body, engineReplyBytesMax).catch(() => undefined);
  return errorOfBody(parseJson(bytes === undefined ? "" : new TextDecoder().decode(bytes)), reply);
}

/** The same of a body that was read already. */
export function errorOfBody(body: unknown, { status, headers }: Pick<HttpReply, "status" | "headers">): AppError {
  return toError(body, status, retryAfterOf(headers));
}

/** The `error` member of a stream event. */
export function errorOfEvent(event: unknown): ErrorFacts {
  const status = asAmount(asObject(asObject(event)?.error)?.code);
  return toError(event, status ?? 500, undefined).toFacts();
}

/** `fetch` rejected: nothing listens there, the name does not resolve, or the connection broke. */
export function connectionError(cause: unknown): AppError {
  return new AppError(
    "engine_unavailable",
    "The engine cannot be reached; check that it is running and that its address is right.",
    { cause },
  );
}

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function toError(body: unknown, status: number, retryAfterMs: number | undefined): AppError {
  const error = asObject(asObject(body)?.error) ?? asObject(body);
  const message = (asText(error?.message) ?? asText(asObject(body)?.error))?.slice(0, engineMessageCharsMax);
  const code = codeOf(error?.code);
  const options: AppErrorOptions = {};
  if (retryAfterMs !== undefined) options.retryAfterMs = retryAfterMs;
  if (code === undefined) return errorOfStatus(status, message, options);
  if (code === "invalid_api_key" || code === "permission_denied") return tokenRefused();
  const param = asText(error?.param);
  const details = asObject(error?.details);
  if (param !== undefined) options.param = param;
  if (details !== undefined) options.details = details;
  return new AppError(code, message ?? "The engine could not answer.", options);
}

/** A server that does not use our codes: its words are passed on only where they concern the request. */
function errorOfStatus(status: number, message: string | undefined, options: AppErrorOptions): AppError {
  const words = message === undefined ? "" : `: ${message}`;
  if (status === 401 || status === 403) return tokenRefused();
  if (status === 404 || status === 405) {
    return message !== undefined && /model/i.test(message)
      ? new AppError("model_not_found", `The engine does not have that model${words}`, { param: "model" })
      : new AppError("invalid_configuration", "There is no OpenAI-compatible API at the engine's address; check it.");
  }
  if (status === 413) return new AppError("payload_too_large", "The engine refused the request as too large.", options);
  if (status === 429) return new AppError("engine_overloaded", "The engine is busy; try again soon.", options);
  if (message !== undefined && status < 500 && /context.{0,20}(?:size|length|window)/i.test(message)) {
    return new AppError("context_length_exceeded", `The messages are longer than the context${words}`, options);
  }
  if (status >= 400 && status < 500) {
    return new AppError("invalid_request", `The engine refused the request${words || "."}`, options);
  }
  if (status === 503) {
    const loading = message !== undefined && /loading/i.test(message);
    return new AppError(
      "engine_unavailable",
      loading ? "The engine is still loading its model; try again shortly." : "The engine is not ready; try again.",
      options,
    );
  }
  if (status === 504 || status === 408) return new AppError("engine_timeout", "The engine took too long.", options);
  return new AppError("engine_unavailable", "The engine failed on this request; its log holds the reason.", options);
}

/** The fault is this server's setting, not the caller's key: a 401 would send the caller looking in the wrong place. */
function tokenRefused(): AppError {
  return new AppError("invalid_configuration", "The engine refused this server's token; set the right one.");
}

function codeOf(value: unknown): ErrorCode | undefined {
  return typeof value === "string" && Object.hasOwn(ERROR_TABLE, value) ? (value as ErrorCode) : undefined;
}

function retryAfterOf(headers: HttpReply["headers"]): number | undefined {
  const ms = Number(headers.get("retry-after-ms") ?? Number.NaN);
  if (Number.isFinite(ms) && ms >= 0) return ms;
  const seconds = Number(headers.get("retry-after") ?? Number.NaN);
  return Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : undefined;
}
