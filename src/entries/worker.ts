/** The API on Cloudflare Workers: D1 for the ledger, an engine somewhere else by its address. */
import { createApp } from "../api/app.ts";
import { withAdminSecret } from "../api/auth.ts";
import { createKeyStore, createUsageStore } from "../api/usage/store.ts";
import { AppError } from "../core/errors.ts";
import { interruptedAfterMs } from "../core/limits.ts";
import type { ChatEngine, Logger } from "../core/ports.ts";
import { version } from "../core/version.ts";
import { createHttpEngine } from "../http/client.ts";
import { createD1Database, type D1Binding } from "./d1.ts";
import { createFitDesk } from "./fit-desk.ts";

/** Bindings and secrets of wrangler.toml. */
export interface WorkerEnvironment {
  DB: D1Binding;
  /** Address of an engine or any OpenAI-compatible server; without one there are fits, usage and health, but no chat. */
  SNUG_ENGINE_URL?: string;
  SNUG_ENGINE_TOKEN?: string;
  /** The admin key lives in the secret alone: changing the secret changes the key. */
  SNUG_ADMIN_KEY?: string;
}

/** The part of the runtime's context that is used. */
interface WorkerContext {
  waitUntil(work: Promise<unknown>): void;
  passThroughOnException(): void;
  props: unknown;
}

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
  return createApp({
    engine: createEngine(environment),
    usageStore: createUsageStore(database),
    keyStore: environment.SNUG_ADMIN_KEY ? withAdminSecret(keyStore, environment.SNUG_ADMIN_KEY) : keyStore,
    fits: createFitDesk(),
    clock,
    logger,
    randomId: () => crypto.randomUUID(),
    version,
    background: (work, context) => context.executionCtx.waitUntil(work),
  });
}

function createEngine(environment: WorkerEnvironment): ChatEngine {
  const { SNUG_ENGINE_URL: baseUrl, SNUG_ENGINE_TOKEN: token } = environment;
  if (!baseUrl) return noEngine;
  // The runtime's fetch must be called as a plain function, and tests may replace it.
  const send: typeof fetch = (input, init) => fetch(input, init);
  return createHttpEngine({ baseUrl, clock, fetch: send, ...(token ? { token } : {}) });
}

const noEngineError = new AppError(
  "engine_unavailable",
  "No engine is connected; set SNUG_ENGINE_URL to the address of one.",
);

const noEngine: ChatEngine = {
  async *chat() {
    yield { type: "error", error: noEngineError.toFacts() };
  },
  models: () => Promise.reject(noEngineError),
  health: async () => ({ state: "stopped", reason: noEngineError.message, active: 0, queued: 0, slots: 0 }),
};

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
  },
};
