/** What every request gets on its way in and out: an id, a log line, headers, and errors in the right dress. */
import type { Context } from "hono";
import { createMiddleware } from "hono/factory";
import { routePath } from "hono/route";
import { type AppError, renderProblem, toAppError } from "../core/errors.ts";
import type { Clock, Logger } from "../core/ports.ts";
import { errorHeaders, respondWithError } from "../http/server.ts";
import type { Metrics } from "./metrics.ts";

export interface RequestVariables {
  requestId: string;
  /** Set by a route for its reply, whether that is an answer or an error. */
  replyHeaders?: Record<string, string>;
}

export interface RequestDependencies {
  clock: Clock;
  logger: Logger;
  randomId: () => string;
  metrics: Pick<Metrics, "countRequest">;
}

/** An id that came with the request is kept where it is one; it is written to logs and headers. */
const requestIdPattern = /^[\w.:-]{1,100}$/;

export function identify({ clock, logger, randomId, metrics }: RequestDependencies) {
  return createMiddleware<{ Variables: RequestVariables }>(async (context, next) => {
    const startedAt = clock.now();
    const given = context.req.header("x-request-id");
    const requestId = given !== undefined && requestIdPattern.test(given) ? given : `req-${randomId()}`;
    context.set("requestId", requestId);
    await next();
    // A stream's time is that of its first byte; its whole time is in the ledger.
    const ms = clock.now() - startedAt;
    const { headers, status } = context.res;
    headers.set("x-request-id", requestId);
    headers.set("openai-processing-ms", String(Math.round(ms)));
    for (const [name, value] of Object.entries(context.get("replyHeaders") ?? {})) headers.set(name, value);
    const { method, path } = context.req;
    // Pages that refresh themselves would fill the log.
    const level = path.startsWith("/admin/now/") ? "debug" : "info";
    logger[level]("request", { requestId, method, path, status, ms });
    metrics.countRequest(method, routeOf(context), status);
  });
}

/** The pattern of the route that answered; paths that match none are strangers' and count as one. */
function routeOf(context: Context): string {
  const route = routePath(context, -1);
  return route === "/*" || route === "*" ? "none" : route;
}

/** Replies are data, never pages: nothing in them may run, be framed or be guessed to be something else. */
export const securityHeaders = createMiddleware(async (context, next) => {
  await next();
  const { headers } = context.res;
  headers.set("x-content-type-options", "nosniff");
  headers.set("referrer-policy", "no-referrer");
  if (!headers.has("content-security-policy"))
    headers.set("content-security-policy", "default-src 'none'; frame-ancestors 'none'");
});

const exposedHeaders = [
  "etag",
  "x-request-id",
  "openai-processing-ms",
  "retry-after",
  "retry-after-ms",
  "x-should-retry",
  ...["limit", "remaining", "reset"].flatMap((what) => [`x-ratelimit-${what}-requests`, `x-ratelimit-${what}-tokens`]),
].join(",");

/** A browser's question beforehand: which methods and headers another page may use. */
function answerPreflight(context: Context): Response {
  const headers: Record<string, string> = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "GET,POST,PATCH,DELETE",
    "access-control-max-age": "600",
  };
  const asked = context.req.header("access-control-request-headers");
  if (asked !== undefined && /^[\w\-, ]{1,1000}$/.test(asked)) {
    headers["access-control-allow-headers"] = asked;
    headers.vary = "access-control-request-headers";
  }
  return new Response(null, { status: 204, headers });
}

/**
 * Any page may call the API with a key it was given; the admin page alone has cookies and is nobody else's to call.
 * Headers are set on the reply, not before it: a reply that must be merged with earlier headers is made twice.
 */
export const crossOrigin = createMiddleware(async (context, next) => {
  const { path, method } = context.req;
  if (path === "/admin" || path.startsWith("/admin/")) return await next();
  if (method === "OPTIONS") return answerPreflight(context);
  await next();
  context.res.headers.set("access-control-allow-origin", "*");
  context.res.headers.set("access-control-expose-headers", exposedHeaders);
});

/** Our own routes under /v1 speak problem+json; OpenAI's clients only parse what OpenAI defined. */
const ownRoutes =
  /^\/v1\/(?:warnings|fits|gpus|models\/catalogue|usage|feedback|keys|engines|compare|requests)(?:\/|$)/;

export function respondToError(thrown: unknown, context: Context, logger: Logger): Response {
  const error = toAppError(thrown);
  const requestId = requestIdOf(context);
  if (error.status === 500) logger.error(error.message, { requestId, code: error.code, cause: error.cause ?? error });
  const { path } = context.req;
  const openAi = path.startsWith("/v1/") && !ownRoutes.test(path);
  return openAi ? respondWithError(error, requestId) : respondWithProblem(error, requestId);
}

function requestIdOf(context: Context<{ Variables: RequestVariables }>): string {
  return context.get("requestId");
}

function respondWithProblem(error: AppError, requestId: string): Response {
  return new Response(JSON.stringify(renderProblem(error, requestId)), {
    status: error.status,
    headers: { ...errorHeaders(error), "content-type": "application/problem+json" },
  });
}
