/** The API on Cloudflare Workers: D1 for the ledger, an engine somewhere else by its address. */
import { createApp } from "../api/app.ts";
import { withAdminSecret } from "../api/auth.ts";
import { createBotStateStore } from "../api/bot-state.ts";
import { parseAliases, parseEngineList } from "../api/engine-list.ts";
import { createEngineStore } from "../api/engine-store.ts";
import { createKeyStore } from "../api/key-store.ts";
import { createRouter } from "../api/router.ts";
import { createSessionStore } from "../api/session-store.ts";
import { createUsageStore } from "../api/usage/store.ts";
import { interruptedAfterMs, quotaRecountMsWorkers } from "../core/limits.ts";
import type { EngineRecord, Logger } from "../core/ports.ts";
import { version } from "../core/version.ts";
import { prepareAnswers } from "../fit/prepare.ts";
import { createHttpEngine } from "../http/client.ts";
import { createD1Database, type D1Binding } from "./d1.ts";
import { createFitDesk } from "./fit-desk.ts";
import { tidyLedger } from "./ledger-upkeep.ts";
import { systemTimer } from "./timer.ts";

/** Bindings and secrets of wrangler.toml. */
export interface WorkerEnvironment {
  DB: D1Binding;
  /** Addresses of engines; without any there are fits, usage and health, but no chat until one is registered. */
  SNUG_ENGINE_URL?: string;
  SNUG_ENGINE_TOKEN?: string;
  /** "name=model|other-model,…" */
  SNUG_ALIASES?: string;
  /** Days the rows of the ledger are kept, at least 2; without it for good. */
  SNUG_USAGE_DAYS?: string;
  /** The admin key lives in the secret alone: changing the secret changes the key. */
  SNUG_ADMIN_KEY?: string;
}

/** The part of the runtime's context that is used. */
interface WorkerContext {
  waitUntil(work: Promise<unknown>): void;
  passThroughOnException(): void;
  props: unknown;
}

// Before the first request, where CPU time is not counted against it: docs/decisions/2026-11-20-answers-prepared-at-start.md
prepareAnswers();

const clock = { now: () => Date.now() };

/** Workers' logs take objects and make them searchable. */
const logger: Logger = {
  debug: () => {},
  info: (message, facts) => console.log({ message, ...facts }),
  warn: (message, facts) => console.warn({ message, ...facts }),
  error: (message, facts = {}) =>
    console.error({ message, ...facts, cause: facts.cause instanceof Error ? facts.cause.stack : facts.cause }),
};

/** One app per isolate: the environment object lives as long as the isolate does. */
const apps = new WeakMap<WorkerEnvironment, ReturnType<typeof createWorkerApp>>();

function createWorkerApp(environment: WorkerEnvironment) {
  const database = createD1Database(environment.DB);
  const keyStore = createKeyStore(database);
  const engineStore = createEngineStore(database);
  const { SNUG_ENGINE_URL: urls, SNUG_ENGINE_TOKEN: token } = environment;
  return createApp({
    engine: createRouter({
      engines: parseEngineList(urls ?? "").map(({ name, url, named }) => ({
        name,
        url,
        named,
        engine: openEngine({ name, url, ...(token ? { token } : {}) }),
        origin: "settings",
        weight: 1,
        draining: false,
      })),
      registered: { list: engineStore.list, open: openEngine },
      aliases: parseAliases(environment.SNUG_ALIASES ?? ""),
      timer: systemTimer,
      noEngineMessage:
        "No engine is connected; set SNUG_ENGINE_URL to the address of one, or register one at /v1/engines.",
    }),
    engineStore,
    sessionStore: createSessionStore(database),
    feedback: createBotStateStore(database),
    usageStore: createUsageStore(database),
    keyStore: environment.SNUG_ADMIN_KEY ? withAdminSecret(keyStore, environment.SNUG_ADMIN_KEY) : keyStore,
    fits: createFitDesk(),
    clock,
    logger,
    randomId: () => crypto.randomUUID(),
    randomBytes: (count) => crypto.getRandomValues(new Uint8Array(count)),
    // Set by Cloudflare on every request, whatever the client sent.
    addressOf: (context) => context.req.header("cf-connecting-ip"),
    version,
    background: (work, context) => context.executionCtx.waitUntil(work),
    quotaRecountMs: quotaRecountMsWorkers,
  });
}

function openEngine({ url, name, token }: Pick<EngineRecord, "name" | "url" | "token">) {
  // The runtime's fetch must be called as a plain function, and tests may replace it.
  const send: typeof fetch = (input, init) => fetch(input, init);
  return createHttpEngine({
    baseUrl: url,
    engineId: name,
    clock,
    fetch: send,
    ...(token === undefined ? {} : { token }),
  });
}

export default {
  fetch(request: Request, environment: WorkerEnvironment, context: WorkerContext): Response | Promise<Response> {
    let app = apps.get(environment);
    if (app === undefined) {
      app = createWorkerApp(environment);
      apps.set(environment, app);
    }
    return app.fetch(request, environment, context);
  },

  /** Isolates come and go without a start to tidy up at, so rows left open by one are marked by the clock. */
  async scheduled(_event: unknown, environment: WorkerEnvironment): Promise<void> {
    const store = createUsageStore(createD1Database(environment.DB));
    const marked = await store.markInterrupted(clock.now() - interruptedAfterMs);
    logger.info("Marked requests that never ended.", { marked });
    const days = Number(environment.SNUG_USAGE_DAYS);
    await tidyLedger(store, days >= 2 ? days : undefined, { clock, logger });
  },
};
