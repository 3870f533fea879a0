/** The API on Cloudflare Workers: D1 for the ledger, Durable Objects for engines that dial in and for keys with quotas. */
import { createApp } from "../api/app.ts";
import { withAdminSecret } from "../api/auth.ts";
import { createBotStateStore } from "../api/bot-state.ts";
import { parseAliases, parseEngineList } from "../api/engine-list.ts";
import { createEngineStore } from "../api/engine-store.ts";
import { createKeyStore } from "../api/key-store.ts";
import { createRouter } from "../api/router.ts";
import { createSessionStore } from "../api/session-store.ts";
import { createUsageStore } from "../api/usage/store.ts";
import { AppError } from "../core/errors.ts";
import { interruptedAfterMs } from "../core/limits.ts";
import type { UsageReceipt } from "../core/ports.ts";
import { version } from "../core/version.ts";
import { prepareAnswers } from "../fit/prepare.ts";
import { respondWithError } from "../http/server.ts";
import { createD1Database } from "./d1.ts";
import { deadlinesOf } from "./deadlines.ts";
import { createFitDesk } from "./fit-desk.ts";
import { tidyLedger } from "./ledger-upkeep.ts";
import { systemTimer } from "./timer.ts";
import { createLinkControl, createWorkerEngines, linkObject } from "./worker-engines.ts";
import type { WorkerEnvironment } from "./worker-environment.ts";
import { workerLogger } from "./worker-logger.ts";
import { takeReceipts } from "./worker-queue.ts";
import { createObjectQuotas } from "./worker-quota.ts";
import { respondOverPassage } from "./worker-streams.ts";
import { passedOn, type QueueBatch } from "./workers-runtime.ts";

export { EngineLink } from "./worker-link.ts";
export { KeyQuota } from "./worker-quota.ts";
export type { WorkerEnvironment };

/** The guard counts by the minute. */
const floodRestMs = 60_000;

/** The part of the runtime's context that is used. */
interface WorkerContext {
  waitUntil(work: Promise<unknown>): void;
  passThroughOnException(): void;
  props: unknown;
}

// Before the first request, where CPU time is not counted against it: docs/decisions/2026-11-20-answers-prepared-at-start.md
prepareAnswers();

const clock = { now: () => Date.now() };

/** One app per isolate: the environment object lives as long as the isolate does. */
const apps = new WeakMap<WorkerEnvironment, ReturnType<typeof createWorkerApp>>();

function createWorkerApp(environment: WorkerEnvironment) {
  const database = createD1Database(environment.DB);
  const keyStore = createKeyStore(database);
  const engineStore = createEngineStore(database);
  const { SNUG_ENGINE_URL: urls, SNUG_ENGINE_TOKEN: token, ENGINE_LINK: links } = environment;
  const openEngine = createWorkerEngines(links, environment.SNUG_RELAY === "worker");
  return createApp({
    engine: createRouter({
      engines: parseEngineList(urls ?? "").map(({ name, url, named, weight }) => ({
        name,
        url,
        named,
        engine: openEngine({ name, url, ...(token ? { token } : {}) }),
        origin: "settings",
        weight,
        draining: false,
      })),
      registered: { list: engineStore.list, open: openEngine },
      aliases: parseAliases(environment.SNUG_ALIASES ?? ""),
      timer: systemTimer,
      noEngineMessage:
        "No engine is connected; run `snug engine --connect`, set SNUG_ENGINE_URL to the address of one, or register one at /v1/engines.",
    }),
    engineStore,
    sessionStore: createSessionStore(database),
    feedback: createBotStateStore(database),
    usageStore: createUsageStore(database),
    keyStore: environment.SNUG_ADMIN_KEY ? withAdminSecret(keyStore, environment.SNUG_ADMIN_KEY) : keyStore,
    fits: createFitDesk(),
    clock,
    logger: workerLogger,
    randomId: () => crypto.randomUUID(),
    randomBytes: (count) => crypto.getRandomValues(new Uint8Array(count)),
    // Set by Cloudflare on every request, whatever the client sent.
    addressOf: (context) => context.req.header("cf-connecting-ip"),
    version,
    deadlines: deadlinesOf({
      firstToken: Number(environment.SNUG_FIRST_TOKEN_TIMEOUT ?? 0),
      answer: Number(environment.SNUG_ANSWER_TIMEOUT ?? 0),
    }),
    background: (work, context) => context.executionCtx.waitUntil(work),
    respond: respondOverPassage,
    quotas: createObjectQuotas(environment.KEY_QUOTA),
    links: createLinkControl(links),
    async link(_context, { name, keyId }) {
      const query = new URLSearchParams({ engine: name, key: keyId });
      const headers = { upgrade: "websocket" };
      return passedOn(await linkObject(links, name).fetch(`http://link/connect?${query}`, { headers }));
    },
  });
}

/** Floods of one address end here, before they cost a read of the ledger. Platforms that sign come from few addresses. */
async function isFlood(request: Request, { ADDRESS_GUARD }: WorkerEnvironment): Promise<boolean> {
  const address = request.headers.get("cf-connecting-ip");
  if (ADDRESS_GUARD === undefined || address === null) return false;
  if (/^\/(?:discord|slack)\//.test(new URL(request.url).pathname)) return false;
  return !(await ADDRESS_GUARD.limit({ key: address })).success;
}

export default {
  async fetch(request: Request, environment: WorkerEnvironment, context: WorkerContext): Promise<Response> {
    if (await isFlood(request, environment)) {
      const error = new AppError("rate_limit_exceeded", "Too many requests came from this address; wait a minute.", {
        retryAfterMs: floodRestMs,
      });
      return respondWithError(error);
    }
    let app = apps.get(environment);
    if (app === undefined) {
      app = createWorkerApp(environment);
      apps.set(environment, app);
    }
    return app.fetch(request, environment, context);
  },

  queue: (batch: QueueBatch<UsageReceipt>, environment: WorkerEnvironment): Promise<void> =>
    takeReceipts(batch, environment),

  /** Isolates come and go without a start to tidy up at, so rows left open by one are marked by the clock. */
  async scheduled(_event: unknown, environment: WorkerEnvironment): Promise<void> {
    const store = createUsageStore(createD1Database(environment.DB));
    const marked = await store.markInterrupted(clock.now() - interruptedAfterMs);
    workerLogger.info("Marked requests that never ended.", { marked });
    const days = Number(environment.SNUG_USAGE_DAYS);
    await tidyLedger(store, days >= 2 ? days : undefined, { clock, logger: workerLogger });
  },
};
