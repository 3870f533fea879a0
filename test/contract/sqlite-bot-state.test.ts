import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach } from "vitest";
import { createBotStateStore } from "../../src/api/bot-state.ts";
import { openSqlite } from "../../src/entries/sqlite.ts";
import { describeBotState } from "./bot-state.ts";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

describeBotState("SQLite", async () => {
  const folder = mkdtempSync(join(tmpdir(), "snug-bots-"));
  const database = openSqlite(folder);
  cleanups.push(() => {
    database.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return createBotStateStore(database);
});
