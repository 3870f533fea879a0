/** The whole product on Node: API, SQLite ledger, and an engine in the process tree or elsewhere. */
import { randomBytes, randomUUID } from "node:crypto";
import { createApp, type FitDesk } from "../api/app.ts";
import { ensureAdminKey } from "../api/auth.ts";
import { createKeyStore, createUsageStore } from "../api/usage/store.ts";
import type { AppError } from "../core/errors.ts";
import { closeMsMax, drainMsMax } from "../core/limits.ts";
import type { ChatEngine, Clock, HardwareReading, Logger } from "../core/ports.ts";
import type { DownloadProgress } from "../engine/models.ts";
import type { FitPlan } from "../fit/types.ts";
import { createHttpEngine } from "../http/client.ts";
import { startEmbeddedEngine } from "./embedded-engine.ts";
import { type Listener, listen } from "./listen.ts";
import { packageVersion } from "./package-files.ts";
import type { Settings } from "./settings.ts";
import { openSqlite } from "./sqlite.ts";

export interface SnugServer {
  address: string;
  engine: ChatEngine;
  plan?: FitPlan;
  /** Made by this start; shown once. */
  newAdminKey: string | undefined;
  /** Resolves when the model answers, or with the reason why it does not. */
  ready: Promise<AppError | undefined>;
  /** Running answers end within `drainMs` or are cut with an error event; then the ledger is closed. */
  stop(options?: { drainMs?: number }): Promise<void>;
}

export interface ServerOptions {
  settings: Settings;
  hardware: HardwareReading;
  fits: FitDesk;
  logger: Logger;
  signal: AbortSignal;
  onProgress?: (progress: DownloadProgress) => void;
}

const clock: Clock = { now: () => Date.now() };

/** @throws AppError invalid_configuration: data folder, port or key */
export async function startServer(options: ServerOptions): Promise<SnugServer> {
  const { settings, logger } = options;
  const database = openSqlite(settings.dataDir);
  let listener: Listener | undefined;
  try {
    const usageStore = createUsageStore(database);
    await usageStore.markInterrupted(clock.now());
    const keyStore = createKeyStore(database);
    const newAdminKey = await ensureAdminKey(keyStore, settings.adminKey, { clock, randomBytes });
    const backend = await openEngine(options);
    const settling = new Set<Promise<void>>();
    const app = createApp({
      engine: backend.engine,
      usageStore,
      keyStore,
      fits: options.fits,
      version: packageVersion,
      clock,
      logger,
      randomId: randomUUID,
      background: (work) => {
        settling.add(work);
        void work.finally(() => settling.delete(work));
      },
    });
    listener = await listen(app.fetch, settings).catch(async (error) => {
      await backend.stop({ drainMs: 0 });
      throw error;
    });
    const { address, refuse, close } = listener;
    return {
      address,
      engine: backend.engine,
      ...(backend.plan === undefined ? {} : { plan: backend.plan }),
      newAdminKey,
      ready: backend.ready,
      async stop({ drainMs = drainMsMax } = {}) {
        refuse();
        await backend.stop({ drainMs });
        await close(closeMsMax);
        await Promise.all(settling);
        database.close();
      },
    };
  } catch (error) {
    database.close();
    throw error;
  }
}

async function openEngine(options: ServerOptions) {
  const { settings, hardware, logger, signal, onProgress } = options;
  if (settings.engineUrl === undefined) {
    return startEmbeddedEngine({
      settings,
      hardware,
      clock,
      logger,
      signal,
      ...(onProgress === undefined ? {} : { onProgress }),
    });
  }
  const engine = createHttpEngine({
    baseUrl: settings.engineUrl,
    clock,
    ...(settings.engineToken === undefined ? {} : { token: settings.engineToken }),
  });
  return { engine, plan: undefined, ready: Promise.resolve(undefined), stop: async () => {} };
}
