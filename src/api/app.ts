/** The API: every route on one screen. It knows neither where it runs nor what answers. */
import { type Context, Hono } from "hono";
import { AppError } from "../core/errors.ts";
import { fitBodyBytesMax, requestBodyBytesMax } from "../core/limits.ts";
import type { ChatEngine, KeyStore, UsageSource, UsageStore } from "../core/ports.ts";
import { parseChatCall } from "../http/chat-request.ts";
import { readJsonBody } from "../http/json-body.ts";
import { renderModels } from "../http/models.ts";
import { answerChat } from "../http/server.ts";
import { type AuthVariables, requireScope } from "./auth.ts";
import { readHealth } from "./health.ts";
import {
  crossOrigin,
  identify,
  type RequestDependencies,
  type RequestVariables,
  respondToError,
  securityHeaders,
} from "./requests.ts";
import { meterChat } from "./usage/meter.ts";
import { readUsage } from "./usage/report.ts";

/** Answers questions about fitting; needs no engine. Both throw `AppError`. */
export interface FitDesk {
  /** "13b 6gb" and the like. */
  answerQuery(text: string): Promise<object>;
  /** The same as JSON, decoded but not checked. */
  answerRequest(body: unknown): Promise<object>;
}

export interface AppDependencies extends RequestDependencies {
  engine: ChatEngine;
  usageStore: UsageStore;
  keyStore: KeyStore;
  fits: FitDesk;
  version: string;
  /**
   * Keeps the process or isolate alive until the promise, which never rejects, has resolved: `waitUntil` on Workers,
   * a set to wait for at shutdown on Node.
   */
  background: (work: Promise<void>, context: Context) => void;
  /** Largest chat body; default `requestBodyBytesMax`. */
  bodyBytesMax?: number;
}

interface ApiEnvironment {
  Variables: RequestVariables & AuthVariables;
}

export function createApp(dependencies: AppDependencies): Hono<ApiEnvironment> {
  const { engine, usageStore, keyStore, fits, version, logger, clock } = dependencies;
  const app = new Hono<ApiEnvironment>();
  app.use(identify(dependencies), securityHeaders, crossOrigin);
  app.onError((error, context) => respondToError(error, context, logger));
  app.notFound((context) => respondToError(routeNotFound(context), context, logger));

  app.get("/health", async (context) => context.json(await readHealth(engine, usageStore, version)));

  app.get("/v1/fits", async (context) => context.json(await fits.answerQuery(context.req.query("q") ?? "")));
  app.post("/v1/fits", async (context) =>
    context.json(await fits.answerRequest(await readJsonBody(context.req.raw, fitBodyBytesMax))),
  );

  app.post("/v1/chat/completions", requireScope(keyStore, "chat"), (context) => chat(context, dependencies));
  app.get("/v1/models", requireScope(keyStore, "chat"), async (context) =>
    context.json(renderModels(await engine.models(), Math.floor(clock.now() / 1000))),
  );

  app.get("/v1/usage", requireScope(keyStore, "usage"), async (context) =>
    context.json(await readUsage(usageStore, context.get("key"), context.req.query())),
  );
  return app;
}

/** Admission first: even a process that dies before the engine answers leaves a trace of the request. */
async function chat(context: Context<ApiEnvironment>, dependencies: AppDependencies): Promise<Response> {
  const { engine, usageStore: store, clock, logger, randomId } = dependencies;
  const call = parseChatCall(await readJsonBody(context.req.raw, dependencies.bodyBytesMax ?? requestBodyBytesMax));
  const { model, userId } = call.request;
  const id = `chatcmpl-${randomId()}`;
  const at = clock.now();
  await store.admit({
    id,
    at,
    keyId: context.get("key").id,
    source: sourceOf(context.req.header("x-snug-source")),
    model,
    stream: call.stream,
    ...(userId === undefined ? {} : { userId }),
  });
  const requestId = context.get("requestId");
  const run = (signal: AbortSignal) => {
    const metered = meterChat(engine.chat(call.request, { signal }), { id, at, store, clock, logger, signal });
    dependencies.background(metered.settled, context);
    return metered.events;
  };
  return answerChat(call, run, {
    id,
    created: Math.floor(at / 1000),
    clientSignal: context.req.raw.signal,
    requestId,
    onFault: (cause) => logger.error("A chat engine broke its contract.", { requestId, cause }),
  });
}

const sources: readonly UsageSource[] = ["api", "cli", "discord", "slack"];

/** Our own programs say where a request came from. */
function sourceOf(header: string | undefined): UsageSource {
  return sources.find((source) => source === header) ?? "api";
}

function routeNotFound(context: Context): AppError {
  const { method, path } = context.req;
  return new AppError(
    "not_found",
    `There is no ${method} ${path.slice(0, 200)} here; see the documentation for the routes.`,
  );
}
