/** What remembering of events must keep: the one in memory and SQLite run the same suite. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { createEventClaims } from "../../src/api/bot-claims.ts";
import type { EventClaims } from "../../src/core/ports.ts";
import { openSqlite } from "../../src/entries/sqlite.ts";
import { MemoryEventClaims } from "../support/memory-event-claims.ts";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

function openFolder() {
  const folder = mkdtempSync(join(tmpdir(), "snug-claims-"));
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  const open = () => {
    const database = openSqlite(folder);
    return { claims: createEventClaims(database), close: () => database.close() };
  };
  return { open };
}

function describeClaims(name: string, openEmpty: () => EventClaims): void {
  describe(`${name} keeps the claims contract`, () => {
    test("the same key is claimed once, also by two callers at once", async () => {
      const claims = openEmpty();
      const won = await Promise.all([claims.claim("slack", ["e1"], 1), claims.claim("slack", ["e1"], 1)]);
      expect(won.filter(Boolean)).toHaveLength(1);
      expect(await claims.claim("slack", ["e1"], 2)).toBe(false);
    });

    test("one known key of several refuses them all", async () => {
      const claims = openEmpty();
      expect(await claims.claim("slack", ["message 1", "event 1"], 1)).toBe(true);
      expect(await claims.claim("slack", ["message 1", "event 2"], 2)).toBe(false);
      expect(await claims.isClaimed("slack", "event 2")).toBe(false);
      expect(await claims.claim("slack", ["message 2", "event 2"], 3)).toBe(true);
    });

    test("platforms do not share keys", async () => {
      const claims = openEmpty();
      await claims.claim("slack", ["1"], 1);
      expect(await claims.isClaimed("discord", "1")).toBe(false);
      expect(await claims.claim("discord", ["1"], 1)).toBe(true);
    });

    test("what is old is forgotten, what is not stays", async () => {
      const claims = openEmpty();
      await claims.claim("slack", ["old"], 10);
      await claims.claim("slack", ["new"], 20);
      await claims.forgetClaims(20);
      expect(await claims.isClaimed("slack", "old")).toBe(false);
      expect(await claims.isClaimed("slack", "new")).toBe(true);
    });
  });
}

describeClaims("The memory", () => new MemoryEventClaims());
describeClaims("SQLite", () => {
  const { claims, close } = openFolder().open();
  cleanups.unshift(close);
  return claims;
});

test("claims in SQLite outlive the program", async () => {
  const { open } = openFolder();
  const first = open();
  await first.claims.claim("slack", ["e1"], 1);
  first.close();
  const second = open();
  expect(await second.claims.claim("slack", ["e1"], 2)).toBe(false);
  second.close();
});
