import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { findKey } from "../api/auth.ts";
import { createKeyStore } from "../api/key-store.ts";
import { withProcessKey } from "./process-key.ts";
import { openSqlite, type SqliteDatabase } from "./sqlite.ts";

let folder: string;
let database: SqliteDatabase;
const clock = { now: () => 1000 };

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "snug-key-"));
  database = openSqlite(folder);
});
afterEach(() => {
  database.close();
  rmSync(folder, { recursive: true, force: true });
});

const open = () => withProcessKey(createKeyStore(database), "discord", { requestsPerDay: 5 }, { clock, randomBytes });

test("the key opens the door under the bot's name, with a limit per person", async () => {
  const { keyStore, secret } = await open();
  expect(await findKey({ keyStore, clock }, `Bearer ${secret}`)).toMatchObject({
    id: "discord",
    scopes: ["chat", "fits", "usage", "compare"],
    userLimits: { requestsPerDay: 5 },
  });
});

test("the next process has another secret, and nothing was stored", async () => {
  const first = await open();
  const second = await open();
  expect(await findKey({ keyStore: second.keyStore, clock }, `Bearer ${first.secret}`)).toBeUndefined();
  expect(await second.keyStore.list()).toEqual([]);
  expect(await second.keyStore.count()).toBe(0);
});
