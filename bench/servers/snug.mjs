/**
 * Snug's API as `snug start` builds it, with the ledger on SQLite ("on") or writing nothing ("off"):
 * `node snug.mjs <upstream port> on|off <data folder>`. It runs what `npm run build` made.
 */

import { randomBytes, randomUUID } from "node:crypto";
import { createApp } from "../../dist/api/app.js";
import { ensureAdminKey } from "../../dist/api/auth.js";
import { createEngineStore } from "../../dist/api/engine-store.js";
import { createKeyStore } from "../../dist/api/key-store.js";
import { createRouter } from "../../dist/api/router.js";
import { createUsageStore } from "../../dist/api/usage/store.js";
import { createFitDesk } from "../../dist/entries/fit-desk.js";
import { sendOverHttp } from "../../dist/entries/http-send.js";
import { listen } from "../../dist/entries/listen.js";
import { respondWithSource } from "../../dist/entries/node-streams.js";
import { openSqlite } from "../../dist/entries/sqlite.js";
import { systemTimer } from "../../dist/entries/timer.js";
import { createHttpEngine } from "../../dist/http/client.js";

const [, , port, ledger, folder] = process.argv;
const clock = { now: () => Date.now() };
const silent = { debug() {}, info() {}, warn() {}, error: console.error };
const database = openSqlite(folder);
const keyStore = createKeyStore(database);
await ensureAdminKey(keyStore, process.env.SNUG_ADMIN_KEY, { clock, randomBytes });
const written = createUsageStore(database);
const usageStore = ledger === "on" ? written : { ...written, admit: async () => {}, settle: async () => {} };
const engineStore = createEngineStore(database);
const app = createApp({
  engine: createRouter({
    engines: [
      {
        name: "upstream",
        named: false,
        origin: "settings",
        weight: 1,
        draining: false,
        engine: createHttpEngine({ baseUrl: `http://127.0.0.1:${port}`, clock, fetch: sendOverHttp }),
      },
    ],
    registered: { list: engineStore.list, open: () => undefined },
    timer: systemTimer,
  }),
  engineStore,
  usageStore,
  keyStore,
  fits: createFitDesk(),
  version: "bench",
  clock,
  logger: silent,
  randomId: randomUUID,
  respond: respondWithSource,
  randomBytes,
  addressOf: () => undefined,
  background: () => {},
});
// An orderly end, so that `node --cpu-prof` writes what it saw.
process.once("SIGTERM", () => process.exit());

const { address } = await listen(app.fetch, { host: "127.0.0.1", port: 0 });
console.log(`listening ${new URL(address).port}`);
