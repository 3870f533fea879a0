/** The whole product on Node: API, SQLite ledger, and an engine in the process tree or elsewhere. */
import { randomBytes, randomUUID } from "node:crypto";
import type { Context } from "hono";
import { createApp } from "../api/app.ts";
import { ensureAdminKey } from "../api/auth.ts";
import { createBotStateStore } from "../api/bot-state.ts";
import { parseAliases, parseEngineList } from "../api/engine-list.ts";
import { createEngineStore } from "../api/engine-store.ts";
import type { FitDesk } from "../api/fits.ts";
import { createKeyStore } from "../api/key-store.ts";
import { createLinkHub } from "../api/link-hub.ts";
import { linkUrlMark } from "../api/link-route.ts";
import { describeApi } from "../api/openapi.ts";
import { createRouter, type Router } from "../api/router.ts";
import type { MemberFacts } from "../api/router-member.ts";
import { createSessionStore } from "../api/session-store.ts";
import { createUsageStore } from "../api/usage/store.ts";
import type { AppError } from "../core/errors.ts";
import { closeMsMax, drainMsMax, engineStateMsMax, ledgerTidyMs, linkKeyLookMs } from "../core/limits.ts";
import type { ChatEngine, Clock, EngineRecord, HardwareReading, Logger } from "../core/ports.ts";
import type { DownloadProgress } from "../engine/store.ts";
import { createHttpEngine } from "../http/client.ts";
import { readAdminAsset } from "./admin-assets.ts";
import { type BotSettings, prepareBots, type RunningBots } from "./bots.ts";
import { startEmbeddedEngine } from "./embedded-engine.ts";
import { sendOverHttp } from "./http-send.ts";
import { tidyLedger } from "./ledger-upkeep.ts";
import { createLinkServer, createLinkUpgrade } from "./link-socket.ts";
import { type FetchHandler, type Listener, listen } from "./listen.ts";
import { respondWithSource } from "./node-streams.ts";
import { packageVersion } from "./package-files.ts";
import type { Settings } from "./settings.ts";
import { openSqlite } from "./sqlite.ts";
import { systemTimer } from "./timer.ts";
import { startTracing } from "./tracing.ts";

export interface SnugServer {
  address: string;
  engine: ChatEngine;
  /** Answers at once of the embedded engine; undefined for engines elsewhere. */
  slots(): Promise<number | undefined>;
  /** Made by this start; shown once. */
  newAdminKey: string | undefined;
  /** Resolves when the model answers, or with the reason why it does not. */
  ready: Promise<AppError | undefined>;
  /** Running answers end within `drainMs` or are cut with an error event; then the ledger is closed. */
  stop(options?: { drainMs?: number }): Promise<void>;
}

export interface ServerOptions {
  settings: Settings;
  bots: BotSettings;
  hardware: HardwareReading;
  fits: FitDesk;
  logger: Logger;
  signal: AbortSignal;
  /** For OpenTelemetry's own variables; left out: no tracing. */
  environment?: Record<string, string | undefined>;
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
    const bots = await prepareBots(options.bots, keyStore, { clock, randomBytes });
    const tracing = await startTracing(options.environment ?? {}, packageVersion);
    const backend = await openEngine(options);
    const settling = new Set<Promise<void>>();
    const engineStore = createEngineStore(database);
    const hub = createLinkHub({ timer: systemTimer, logger, onLinked: () => void router.refresh().catch(() => {}) });
    const router = createRouter({
      engines: backend.members,
      registered: {
        list: engineStore.list,
        open: (record) => (record.url === linkUrlMark ? hub.engine(record.name) : openRemote(record)),
      },
      aliases: parseAliases(settings.aliases ?? ""),
      timer: systemTimer,
    });
    const app = createApp({
      engine: router,
      engineStore,
      sessionStore: createSessionStore(database),
      feedback: createBotStateStore(database),
      assets: readAdminAsset,
      describe: describeApi,
      usageStore,
      keyStore: bots.keyStore,
      fits: { ...options.fits, machine: backend.machine },
      version: packageVersion,
      clock,
      logger,
      randomId: randomUUID,
      respond: respondWithSource,
      ...(tracing === undefined ? {} : { onAnswer: tracing.onAnswer }),
      randomBytes,
      deadlines: settings.deadlines,
      link: createLinkUpgrade(hub),
      links: { remove: async (name) => hub.remove(name), checkKeys: () => hub.tidy(keyStore) },
      addressOf: settings.trustProxy ? forwardedAddress : socketAddress,
      background: (work) => {
        settling.add(work);
        void work.finally(() => settling.delete(work));
      },
    });
    // Bots need the API's address to start, so their platforms' requests find nobody until then.
    let runningBots: RunningBots | undefined;
    const serve: FetchHandler = (request, ...rest) => {
      const { endpoints } = runningBots ?? {};
      // Most have none, and taking an address apart costs every request.
      const endpoint = endpoints?.size ? endpoints.get(new URL(request.url).pathname) : undefined;
      return endpoint === undefined ? app.fetch(request, ...rest) : endpoint(request);
    };
    listener = await listen(serve, settings, createLinkServer()).catch(async (error) => {
      await backend.stop({ drainMs: 0 });
      throw error;
    });
    const { address, refuse, close } = listener;
    runningBots = bots.start({ address, database, usage: usageStore, logger });
    const watching = watchEngines(router);
    const stopping = new AbortController();
    const tidy = () => tidyLedger(usageStore, settings.usageDays, { clock, logger, signal: stopping.signal });
    let tidying = tidy();
    const tidyTimer = setInterval(() => {
      tidying = tidying.then(tidy);
    }, ledgerTidyMs);
    tidyTimer.unref();
    const lookingAtLinks = setInterval(() => void hub.tidy(keyStore).catch(() => {}), linkKeyLookMs);
    lookingAtLinks.unref();
    return {
      address,
      engine: router,
      slots: backend.slots,
      newAdminKey,
      ready: backend.ready,
      async stop({ drainMs = drainMsMax } = {}) {
        // Bots finish their answers over the API, so they go first.
        await runningBots?.stop({ drainMs });
        refuse();
        clearInterval(watching);
        clearInterval(tidyTimer);
        clearInterval(lookingAtLinks);
        stopping.abort();
        await Promise.all([backend.stop({ drainMs }), hub.close(drainMs)]);
        await close(closeMsMax);
        await Promise.all([...settling, tidying]);
        await tracing?.stop();
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
  const facts = { origin: "settings", weight: 1, draining: false } as const;
  if (settings.engineUrl === undefined) {
    const { engine, ready, machine, stop } = await startEmbeddedEngine({
      settings,
      hardware,
      clock,
      logger,
      signal,
      ...(onProgress === undefined ? {} : { onProgress }),
    });
    const slots = async () => (await engine.health()).slots;
    return {
      members: [{ ...facts, name: "local", named: false, engine }] satisfies MemberFacts[],
      slots,
      ready,
      machine,
      stop,
    };
  }
  const token = settings.engineToken === undefined ? {} : { token: settings.engineToken };
  const members: MemberFacts[] = parseEngineList(settings.engineUrl).map(({ name, url, named, weight }) => ({
    ...facts,
    weight,
    name,
    url,
    named,
    engine: openRemote({ name, url, ...token }),
  }));
  return {
    members,
    slots: async () => undefined,
    ready: Promise.resolve(undefined),
    machine: () => undefined,
    stop: async () => {},
  };
}

function openRemote({ name, url, token }: Pick<EngineRecord, "name" | "url" | "token">): ChatEngine {
  return createHttpEngine({
    baseUrl: url,
    engineId: name,
    clock,
    fetch: sendOverHttp,
    ...(token === undefined ? {} : { token }),
  });
}

/** Routing reads what this keeps fresh. A lone engine is not routed to, so nobody needs to ask it. */
function watchEngines(router: Router): NodeJS.Timeout {
  const look = async () => {
    if ((await router.members()).length > 1) await router.refresh();
  };
  const watching = setInterval(() => void look().catch(() => {}), engineStateMsMax);
  watching.unref();
  return watching;
}

/**
 * Undefined for this machine itself: its programs share one address, and one of them with a wrong key must not lock out
 * the others, nor one stranger everybody behind a proxy that was not made known.
 */
function socketAddress(context: Context): string | undefined {
  const bindings: { incoming?: { socket?: { remoteAddress?: string } } } = context.env ?? {};
  const address = bindings.incoming?.socket?.remoteAddress;
  return address === undefined || /^(?:::1$|(?:::ffff:)?127\.)/.test(address) ? undefined : address;
}

/** The proxy in front appends the address it saw; what stands before that came from the client and may be made up. */
function forwardedAddress(context: Context): string | undefined {
  const last = context.req.header("x-forwarded-for")?.split(",").at(-1)?.trim();
  return last === undefined || last === "" ? socketAddress(context) : last;
}
