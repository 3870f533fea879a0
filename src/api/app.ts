/** The API: every route on one screen. It knows neither where it runs nor what answers. */
import { type Context, Hono } from "hono";
import { AppError } from "../core/errors.ts";
import {
  adminBodyBytesMax,
  feedbackBodyBytesMax,
  fitQuestionsMax,
  fitQuestionsPerMinute,
  keyGuessesMax,
  keyGuessesPerMinute,
} from "../core/limits.ts";
import type { BotStateStore, Clock, EngineStore, KeyStore, Logger, SessionStore, UsageStore } from "../core/ports.ts";
import type { StreamResponder } from "../http/answer-stream.ts";
import { readJsonBody } from "../http/json-body.ts";
import { renderModels } from "../http/models.ts";
import { parseDoctorQuestion, parseOperation, parsePlanQuestion } from "../http/operations.ts";
import { createAddressLimit } from "./address-limit.ts";
import type { AssetReader } from "./admin/assets.ts";
import { createAdminPages } from "./admin/pages.tsx";
import { type Deadlines, sourceOf } from "./admission.ts";
import type { AnswerObserver } from "./answered-request.ts";
import { type AuthVariables, findKey, hasScope, requireScope } from "./auth.ts";
import { chat, chatCompletionsForm, completionsForm, responsesForm } from "./chat.ts";
import { createCompareRoutes } from "./compare.ts";
import { createDocsPage } from "./docs-page.ts";
import { createEngineDesk } from "./engines.ts";
import { takeFeedback } from "./feedback.ts";
import { createFitRoutes, type FitDesk } from "./fits.ts";
import { createHandedOver } from "./handed-over.ts";
import { readHealth } from "./health.ts";
import { issueKey, revokeKey, viewKey } from "./keys.ts";
import {
  closeLinksOfRevoked,
  createLinkRoute,
  type LinkControl,
  type LinkUpgrade,
  tellRefusalInHeaders,
} from "./link-route.ts";
import { createLiveRequests } from "./live-requests.ts";
import { createMetrics, metricsContentType } from "./metrics.ts";
import { createQuotaBook, type QuotaBook } from "./quota.ts";
import { createRecentKeys } from "./recent-keys.ts";
import { crossOrigin, identify, type RequestVariables, respondToError, securityHeaders } from "./requests.ts";
import type { Router } from "./router.ts";
import { exportUsage, readUsage } from "./usage/report.ts";
import { embeddings, rerank } from "./vectors.ts";

export interface AppDependencies {
  engine: Router;
  usageStore: UsageStore;
  keyStore: KeyStore;
  engineStore: EngineStore;
  /** Who is signed in to the admin page. */
  sessionStore: SessionStore;
  /** Thumbs under answers. */
  feedback: Pick<BotStateStore, "feedbackTotals" | "recordFeedback">;
  /** Styles and scripts of the admin page; left out where the runtime serves them. */
  assets?: AssetReader;
  fits: FitDesk;
  /** The document of /openapi.json; left out where the runtime serves it as a file. */
  describe?: (version: string) => object;
  version: string;
  clock: Clock;
  logger: Logger;
  randomId: () => string;
  /** Unguessable bytes (`crypto.getRandomValues`). */
  randomBytes: (count: number) => Uint8Array;
  /** Address of the client, against guessing of keys; undefined where it is not known. */
  addressOf: (context: Context) => string | undefined;
  /**
   * Keeps the process or isolate alive until the promise, which never rejects, has resolved: `waitUntil` on Workers,
   * a set to wait for at shutdown on Node.
   */
  background: (work: Promise<void>, context: Context) => void;
  /** Hears of each request that was answered, for tracing. */
  onAnswer?: AnswerObserver;
  /** How streams are written; default over a web stream. */
  respond?: StreamResponder;
  /** Largest chat body; default `requestBodyBytesMax`. */
  bodyBytesMax?: number;
  /** Longest waits for the first word and for a whole answer; left out: as long as engines take. */
  deadlines?: Deadlines;
  /** Opens the connection of an engine that dials in; left out where none can. */
  link?: LinkUpgrade;
  /** The connections that are open. */
  links?: LinkControl;
  /** Who counts the quotas; left out: this process. */
  quotas?: QuotaBook;
}

interface ApiEnvironment {
  Variables: RequestVariables & AuthVariables;
}

export function createApp(dependencies: AppDependencies): Hono<ApiEnvironment> {
  const { engine, usageStore, fits, version, logger, clock, addressOf } = dependencies;
  const recent = createRecentKeys(clock);
  const remembered = recent.guard(dependencies.keyStore);
  const { links } = dependencies;
  const keyStore = links === undefined ? remembered : closeLinksOfRevoked(remembered, { ...dependencies, links });
  const metrics = createMetrics();
  const live = createLiveRequests();
  const handedOver = createHandedOver(usageStore);
  const quotas = dependencies.quotas ?? createQuotaBook({ usageStore, clock });
  const guesses = createAddressLimit({ burst: keyGuessesMax, perMinute: keyGuessesPerMinute, clock, addressOf });
  const questions = createAddressLimit({ burst: fitQuestionsMax, perMinute: fitQuestionsPerMinute, clock, addressOf });
  const door = { keyStore, clock, guesses, recent };
  const chatDependencies = { ...dependencies, quotas, live, metrics, handedOver };
  const desk = createEngineDesk(engine, dependencies.engineStore, clock, links);
  const [chatKey, usageKey, adminKey] = (["chat", "usage", "admin"] as const).map((scope) => requireScope(door, scope));

  const app = new Hono<ApiEnvironment>();
  app.use(identify({ ...dependencies, metrics }), securityHeaders, crossOrigin);
  app.onError((error, context) => respondToError(error, context, logger));
  app.notFound((context) => respondToError(routeNotFound(context), context, logger));

  const { describe } = dependencies;
  if (describe !== undefined) {
    let description: object | undefined;
    app.get("/openapi.json", (context) => {
      description ??= describe(version);
      return context.json(description);
    });
  }
  app.get("/health", async (context) => context.json(await readHealth(engine, usageStore, version)));

  app.use("/v1/fits", async (context, next) => {
    const header = context.req.header("authorization");
    const key = header === undefined ? undefined : await findKey(door, header);
    if (key === undefined || !hasScope(key, "fits")) {
      questions.check(context, "Many questions came from this address; wait a little, or ask with an API key.");
      questions.spend(context);
    }
    await next();
  });
  app.route("/", createFitRoutes({ fits, version }));

  app.post("/v1/chat/completions", chatKey!, (context) => chat(context, chatDependencies, chatCompletionsForm));
  app.post("/v1/completions", chatKey!, (context) => chat(context, chatDependencies, completionsForm));
  app.post("/v1/responses", chatKey!, (context) => chat(context, chatDependencies, responsesForm));
  app.post("/v1/embeddings", chatKey!, (context) => embeddings(context, chatDependencies));
  app.post("/v1/rerank", chatKey!, (context) => rerank(context, chatDependencies));
  app.get("/v1/models", chatKey!, async (context) => {
    const { models } = context.get("key");
    const listings = (await engine.models()).filter(({ id }) => models === undefined || models.includes(id));
    return context.json(renderModels(listings, Math.floor(clock.now() / 1000)));
  });

  app.get("/v1/usage", usageKey!, async (context) =>
    context.json(await readUsage(usageStore, context.get("key"), context.req.query())),
  );

  app.get("/v1/usage/export", usageKey!, (context) => exportUsage(usageStore, context.get("key"), context.req.query()));

  app.post("/v1/feedback", chatKey!, async (context) => {
    const source = sourceOf(context.req.header("x-snug-source"));
    const body = await readJsonBody(context.req.raw, feedbackBodyBytesMax);
    await takeFeedback(dependencies.feedback, body, { key: context.get("key"), source, clock });
    return context.body(null, 204);
  });

  app.get("/v1/keys", adminKey!, async (context) =>
    context.json({ keys: (await keyStore.list()).map((key) => viewKey(key, clock.now())) }),
  );
  app.post("/v1/keys", adminKey!, async (context) => {
    const { key, secret } = await issueKey(keyStore, await readJsonBody(context.req.raw), dependencies);
    return context.json({ ...viewKey(key, clock.now()), secret }, 201, { "cache-control": "no-store" });
  });
  app.delete("/v1/keys/:id", adminKey!, async (context) => {
    const id = context.req.param("id");
    if (id === context.get("key").id) {
      throw new AppError("invalid_request", "A key does not revoke itself; use another admin key.", { param: "id" });
    }
    return context.json(viewKey(await revokeKey(keyStore, id, clock.now()), clock.now()));
  });

  app.get("/v1/engines", adminKey!, async (context) =>
    context.json({ engines: await desk.list(), waiting: engine.waiting }),
  );
  app.post("/v1/engines", adminKey!, async (context) =>
    context.json(await desk.add(await readJsonBody(context.req.raw)), 201),
  );
  app.patch("/v1/engines/:name", adminKey!, async (context) =>
    context.json(await desk.change(context.req.param("name"), await readJsonBody(context.req.raw))),
  );
  app.delete("/v1/engines/:name", adminKey!, async (context) => {
    await desk.remove(context.req.param("name"));
    return context.body(null, 204);
  });

  app.get("/v1/engines/:name/status", adminKey!, async (context) =>
    context.json(await desk.operate(context.req.param("name"), { verb: "status" })),
  );
  app.get("/v1/engines/:name/plan", adminKey!, async (context) =>
    context.json(await desk.operate(context.req.param("name"), parsePlanQuestion(context.req.query("model")))),
  );
  app.get("/v1/engines/:name/doctor", adminKey!, async (context) =>
    context.json(await desk.operate(context.req.param("name"), parseDoctorQuestion(context.req.query("lang")))),
  );
  app.get("/v1/engines/:name/monitoring", adminKey!, async (context) =>
    context.json(await desk.operate(context.req.param("name"), { verb: "monitoring" })),
  );
  app.get("/v1/warnings", usageKey!, async (context) => context.json({ warnings: await desk.warnings() }));
  for (const verb of ["load", "unload", "drain"] as const) {
    app.post(`/v1/engines/:name/${verb}`, adminKey!, async (context) => {
      const operation = parseOperation(verb, await readJsonBody(context.req.raw, adminBodyBytesMax));
      return context.json(await desk.operate(context.req.param("name"), operation));
    });
  }

  app.use("/v1/compare/*", requireScope(door, "compare"));
  app.route("/", createCompareRoutes(desk));

  if (dependencies.link !== undefined) {
    const { engineStore, link: upgrade } = dependencies;
    app.use("/v1/link", tellRefusalInHeaders);
    app.get("/v1/link", requireScope(door, "engine"), createLinkRoute({ router: engine, engineStore, clock, upgrade }));
  }

  app.get("/v1/requests", adminKey!, (context) => context.json({ requests: live.list() }));
  app.delete("/v1/requests/:id", adminKey!, (context) => context.json(live.cancel(context.req.param("id"))));

  app.get("/metrics", adminKey!, async (context) => {
    const [engines, gpus, ended] = await Promise.all([desk.list(), desk.gpus(), handedOver.take()]);
    for (const row of ended) metrics.countAnswer(row, { ...row, aborted: row.aborted === true });
    const text = metrics.render({ version, live: live.list().length, engines, gpus });
    return context.body(text, 200, { "content-type": metricsContentType, "cache-control": "no-store" });
  });
  app.route("/docs", createDocsPage(dependencies.assets));
  app.get("/docs/", (context) => context.redirect("/docs", 308));
  const admin = createAdminPages({ ...dependencies, ...door, live, desk, waiting: () => engine.waiting });
  app.route("/admin", admin);
  app.get("/admin/", (context) => context.redirect("/admin", 308));
  return app;
}

function routeNotFound(context: Context): AppError {
  const { method, path } = context.req;
  return new AppError(
    "not_found",
    `There is no ${method} ${path.slice(0, 200)} here; see the documentation for the routes.`,
  );
}
