/** A chat engine over HTTP: what `snug engine` serves on a GPU machine for an API elsewhere. OpenAI-shaped, one token. */
import { createHash, randomUUID, timingSafeEqual } from "node:crypto";
import { type Context, Hono, type MiddlewareHandler } from "hono";
import type { ServiceTerms } from "../core/chat.ts";
import type { DeltaRelay } from "../core/delta-relay.ts";
import { AppError, toAppError } from "../core/errors.ts";
import type { ChatEngine, Clock, Logger } from "../core/ports.ts";
import { soonerMs } from "../core/service-terms.ts";
import type { StreamResponder } from "../http/answer-stream.ts";
import { type ChatCall, parseChatCall } from "../http/chat-request.ts";
import { completionsDialect, parseCompletionCall } from "../http/completions.ts";
import { withDeadlines, within } from "../http/deadlines.ts";
import { parseEmbeddingsCall, renderEmbeddings } from "../http/embeddings.ts";
import { readJsonBody } from "../http/json-body.ts";
import { renderModels } from "../http/models.ts";
import { parseRerankCall, renderRanking } from "../http/rerank.ts";
import { type AnswerDialect, answerChat, respondWithError } from "../http/server.ts";
import { readAskedTerms, readGrantedTerms } from "../http/service-terms.ts";
import { addAdminRoutes } from "./admin.ts";
import type { EngineControl } from "./operations.ts";

export interface EngineAppOptions {
  engine: ChatEngine;
  /** Bearer token callers must show; undefined serves everybody who can reach the port. */
  token: string | undefined;
  clock: Clock;
  logger: Logger;
  /** Longest waits, milliseconds; what a caller asks for can only be sooner. */
  deadlines?: Pick<ServiceTerms, "firstTokenMsMax" | "totalMsMax">;
  /** How a stream is written; default over a web stream. */
  respond?: StreamResponder;
  /** The same engine, where operators may look into it and drive it. */
  control?: EngineControl;
}

export function createEngineApp(options: EngineAppOptions): Hono {
  const { engine, token, clock, logger, control, respond, deadlines = {} } = options;
  const app = new Hono();
  const mayEnter = createTokenCheck(token);

  app.onError((thrown, context) => {
    const error = toAppError(thrown);
    const requestId = requestIdOf(context);
    if (error.code === "internal") logger.error("A request to the engine failed.", { requestId, cause: thrown });
    return respondWithError(error, requestId);
  });
  app.notFound((context) => {
    const message = `There is no ${context.req.method} ${context.req.path.slice(0, 200)} on an engine.`;
    return respondWithError(new AppError("not_found", message));
  });

  // Open, so that a load balancer can look; why a model failed names files, and like the machine's memory is for
  // those who have the token.
  app.get("/health", async (context) => {
    const { reason, devices, ...health } = await engine.health();
    const inside = { ...(reason === undefined ? {} : { reason }), ...(devices === undefined ? {} : { devices }) };
    const told = mayEnter(context) ? { ...health, ...inside } : health;
    return context.json(told, health.state === "ready" ? 200 : 503, { "cache-control": "no-store" });
  });

  // The process lives; whether it can answer is what /health/ready and /health say.
  app.get("/health/live", (context) => context.json({ state: "live" }, 200, { "cache-control": "no-store" }));
  app.get("/health/ready", async (context) => {
    const { state } = await engine.health();
    return context.json({ state }, state === "ready" ? 200 : 503, { "cache-control": "no-store" });
  });

  const requireToken: MiddlewareHandler = async (context, next) => {
    if (!mayEnter(context)) {
      const message =
        "This engine needs its token as 'Authorization: Bearer …'; its operator set it in SNUG_ENGINE_TOKEN.";
      throw new AppError("invalid_api_key", message);
    }
    await next();
  };
  app.use("/v1/*", requireToken);
  if (control !== undefined) {
    addAdminRoutes(app, control, {
      isOpen: token === undefined,
      mayLook: requireToken,
      mayDrive: async (context, next) => {
        if (token === undefined) {
          const message = "Loading, unloading and draining need a token: set SNUG_ENGINE_TOKEN and start again.";
          throw new AppError("permission_denied", message);
        }
        return await requireToken(context, next);
      },
    });
  }

  /** Who showed the token speaks for the keys behind it; without one, callers cannot name their own share. */
  const termsOf = (context: Context): ServiceTerms => {
    const header = (name: string) => context.req.header(name);
    const terms = token === undefined ? readAskedTerms(header) : readGrantedTerms(header);
    const firstTokenMsMax = soonerMs(deadlines.firstTokenMsMax, terms.firstTokenMsMax);
    const totalMsMax = soonerMs(deadlines.totalMsMax, terms.totalMsMax);
    return {
      ...terms,
      ...(firstTokenMsMax === undefined ? {} : { firstTokenMsMax }),
      ...(totalMsMax === undefined ? {} : { totalMsMax }),
    };
  };

  app.get("/v1/models", async (context) => context.json(renderModels(await engine.models(), seconds(clock))));

  const answer = async (context: Context, { parse, dialect, idPrefix }: AnswerForm) => {
    const call = parse(await readJsonBody(context.req.raw));
    const requestId = requestIdOf(context);
    const terms = termsOf(context);
    const request = { ...call.request, terms };
    const run = (signal: AbortSignal, relay: DeltaRelay) =>
      withDeadlines(terms, signal, (inner) => engine.chat(request, { signal: inner, relay }));
    return await answerChat(call, run, {
      id: `${idPrefix}${randomUUID()}`,
      ...(dialect === undefined ? {} : { dialect }),
      created: seconds(clock),
      clientSignal: context.req.raw.signal,
      requestId,
      respond,
      onFault: (cause) => logger.error("The chat engine broke its contract.", { requestId, cause }),
    });
  };
  app.post("/v1/chat/completions", (context) => answer(context, { parse: parseChatCall, idPrefix: "chatcmpl-" }));
  app.post("/v1/completions", (context) =>
    answer(context, { parse: parseCompletionCall, dialect: completionsDialect, idPrefix: "cmpl-" }),
  );

  const askVectors = async (
    context: Context,
    work: (engine: ChatEngine, terms: ServiceTerms, signal: AbortSignal) => Promise<object>,
  ) => {
    const terms = termsOf(context);
    return context.json(await within(terms.totalMsMax, context.req.raw.signal, (inner) => work(engine, terms, inner)));
  };
  app.post("/v1/embeddings", async (context) => {
    const { request, encoding } = parseEmbeddingsCall(await readJsonBody(context.req.raw));
    return await askVectors(context, async ({ embed = makesNone }, terms, signal) =>
      renderEmbeddings(await embed.call(engine, { ...request, terms }, { signal }), encoding),
    );
  });
  app.post("/v1/rerank", async (context) => {
    const call = parseRerankCall(await readJsonBody(context.req.raw));
    return await askVectors(context, async ({ rerank = makesNone }, terms, signal) =>
      renderRanking(await rerank.call(engine, { ...call.request, terms }, { signal }), call),
    );
  });
  return app;
}

async function makesNone(): Promise<never> {
  throw new AppError("model_not_found", "This engine only chats; it makes no embeddings and ranks nothing.", {
    param: "model",
  });
}

/** One of OpenAI's ways to ask for text. */
interface AnswerForm {
  parse(body: unknown): ChatCall;
  dialect?: AnswerDialect;
  idPrefix: string;
}

/** Compares hashes: neither the length nor the beginning of the token shows in the time it takes. */
function createTokenCheck(token: string | undefined): (context: Context) => boolean {
  if (token === undefined) return () => true;
  const hash = (text: string) => createHash("sha256").update(text).digest();
  const expected = hash(token);
  return (context) => {
    const shown = /^Bearer +(\S+) *$/i.exec(context.req.header("authorization") ?? "")?.[1];
    return shown !== undefined && timingSafeEqual(hash(shown), expected);
  };
}

/** The caller's own id where it is one, so that both logs can be laid side by side. */
function requestIdOf(context: Context): string {
  const given = context.req.header("x-request-id");
  return given !== undefined && /^[\w.-]{1,100}$/.test(given) ? given : randomUUID();
}

function seconds(clock: Clock): number {
  return Math.floor(clock.now() / 1000);
}
