import { expect, test } from "vitest";
import { ManualTimer } from "../../test/support/manual-timer.ts";
import { MemoryEventClaims } from "../../test/support/memory-event-claims.ts";
import { MemoryLogger } from "../../test/support/memory-logger.ts";
import { tidyClaims } from "./tidy-claims.ts";

const day = 86_400_000;

test("what was claimed over thirty days ago is forgotten with a claim of a later day", async () => {
  const timer = new ManualTimer();
  const claims = tidyClaims(new MemoryEventClaims(), timer, new MemoryLogger());
  await claims.claim("slack", ["old"], timer.now());
  timer.advance(29 * day);
  await claims.claim("slack", ["new"], timer.now());
  expect(await claims.isClaimed("slack", "old")).toBe(true);
  timer.advance(2 * day);
  await claims.claim("slack", ["newest"], timer.now());
  expect(await claims.isClaimed("slack", "old")).toBe(false);
  expect(await claims.isClaimed("slack", "new")).toBe(true);
});

test("a store that cannot forget still claims", async () => {
  const store = new MemoryEventClaims();
  store.forgetClaims = () => Promise.reject(new Error("locked"));
  const logger = new MemoryLogger();
  const claims = tidyClaims(store, new ManualTimer(), logger);
  expect(await claims.claim("slack", ["a"], 1)).toBe(true);
  expect(logger.lines.map(({ message }) => message)).toEqual(["old claims could not be forgotten"]);
});
