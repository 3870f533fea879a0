/** The whole API over a real SQLite file and a scripted engine, with keys to come in by. */
import { randomBytes, randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type AppDependencies, createApp } from "../../src/api/app.ts";
import { createKey, createSecret } from "../../src/api/auth.ts";
import { createBotStateStore } from "../../src/api/bot-state.ts";
import { createEngineStore } from "../../src/api/engine-store.ts";
import { createKeyStore } from "../../src/api/key-store.ts";
import { createLinkHub } from "../../src/api/link-hub.ts";
import { describeApi } from "../../src/api/openapi.ts";
import { createRouter } from "../../src/api/router.ts";
import { createSessionStore } from "../../src/api/session-store.ts";
import { createUsageStore } from "../../src/api/usage/store.ts";
import type { ApiKey, KeyScope, Logger, UsageRow } from "../../src/core/ports.ts";
import { readAdminAsset } from "../../src/entries/admin-assets.ts";
import { createFitDesk } from "../../src/entries/fit-desk.ts";
import { createLinkUpgrade } from "../../src/entries/link-socket.ts";
import { openSqlite } from "../../src/entries/sqlite.ts";
import { systemTimer } from "../../src/entries/timer.ts";
import { createHttpEngine } from "../../src/http/client.ts";
import { holdToDescription } from "./described.ts";
import { FakeEngine, type FakeEngineOptions } from "./fake-engine.ts";

export interface LogLine {
  level: keyof Logger;
  message: string;
  facts: Record<string, unknown>;
}

export interface ApiOptions {
  engine?: FakeEngineOptions;
  replace?: Partial<AppDependencies>;
}

export type TestApi = Awaited<ReturnType<typeof openApi>>;

export async function openApi(options: ApiOptions = {}) {
  const folder = mkdtempSync(join(tmpdir(), "snug-api-"));
  const database = openSqlite(folder);
  const usageStore = createUsageStore(database);
  const keyStore = createKeyStore(database);
  const engine = new FakeEngine(options.engine);
  const clock = { now: () => Date.now() };
  const engineStore = createEngineStore(database);
  const botState = createBotStateStore(database);
  const log: LogLine[] = [];
  const background: Promise<void>[] = [];

  const app = createApp({
    engine: createRouter({
      engines: [{ name: "fake", engine, origin: "settings", named: false, weight: 1, draining: false }],
      registered: { list: engineStore.list, open: ({ url }) => createHttpEngine({ baseUrl: url, clock }) },
      timer: systemTimer,
    }),
    engineStore,
    sessionStore: createSessionStore(database),
    feedback: botState,
    assets: readAdminAsset,
    describe: describeApi,
    link: createLinkUpgrade(createLinkHub({ timer: systemTimer, logger: recordTo(log) })),
    randomBytes,
    addressOf: (context) => context.req.header("test-address"),
    usageStore,
    keyStore,
    fits: createFitDesk(),
    clock,
    logger: recordTo(log),
    randomId: () => randomUUID(),
    version: "0.0.0-test",
    background: (work) => background.push(work),
    ...options.replace,
  });

  const makeKey = async (scopes: KeyScope[], more: Partial<ApiKey> = {}) => {
    const secret = createSecret(randomBytes);
    const key = await createKey(secret, { name: scopes.join(), scopes, createdAt: Date.now() });
    await keyStore.insert({ ...key, ...more });
    return { secret, id: key.id };
  };
  const admin = await makeKey(["admin"]);

  return {
    app,
    engine,
    usageStore,
    keyStore,
    engineStore,
    botState,
    log,
    admin,
    makeKey,
    /** With the admin key unless `init` brings its own authorization. Answers are held to /openapi.json. */
    async request(path: string, init: RequestInit = {}): Promise<Response> {
      const headers = new Headers(init.headers);
      if (!headers.has("authorization")) headers.set("authorization", `Bearer ${admin.secret}`);
      const response = await app.request(path, { ...init, headers });
      await holdToDescription(init.method ?? "GET", path.split("?")[0]!, response);
      return response;
    },
    chat(body: object, init: RequestInit = {}): Promise<Response> {
      const messages = [{ role: "user", content: "Say it." }];
      return this.request("/v1/chat/completions", {
        method: "POST",
        body: JSON.stringify({ model: "fake", messages, ...body }),
        ...init,
        headers: { "content-type": "application/json", ...init.headers },
      });
    },
    /** Ledger rows, newest first, once everything under way is settled. */
    async rows(): Promise<UsageRow[]> {
      await Promise.all(background);
      return usageStore.rows({});
    },
    close(): void {
      database.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function recordTo(log: LogLine[]): Logger {
  const record =
    (level: keyof Logger) =>
    (message: string, facts: Record<string, unknown> = {}) => {
      log.push({ level, message, facts });
    };
  return { debug: record("debug"), info: record("info"), warn: record("warn"), error: record("error") };
}
