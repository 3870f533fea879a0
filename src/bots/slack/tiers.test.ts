import { expect, test } from "vitest";
import { ManualTimer } from "../../../test/support/manual-timer.ts";
import { Tiers } from "./tiers.ts";

test("the twenty-first start of a stream within a minute waits for its turn", async () => {
  const timer = new ManualTimer();
  const tiers = new Tiers(timer);
  for (let index = 0; index < 20; index++) {
    (await tiers.take("chat.startStream"))();
    timer.advance(100);
  }
  expect(tiers.delayMs("chat.startStream")).toBe(58_000);
  expect(tiers.delayMs("chat.appendStream")).toBe(0);
  let taken = false;
  const waiting = tiers.take("chat.startStream").then(() => {
    taken = true;
  });
  timer.advance(57_999);
  await Promise.resolve();
  expect(taken).toBe(false);
  timer.advance(1);
  await waiting;
});

test("posts are counted for each channel by itself", async () => {
  const tiers = new Tiers(new ManualTimer());
  for (let index = 0; index < 4; index++) await tiers.take("chat.postMessage", "C1");
  expect(tiers.delayMs("chat.postMessage", "C1")).toBe(5_000);
  expect(tiers.delayMs("chat.postMessage", "C2")).toBe(0);
});

test("a call counts from when it was answered, since Slack counts from when it arrived", async () => {
  const timer = new ManualTimer();
  const tiers = new Tiers(timer);
  const answered = [];
  for (let index = 0; index < 4; index++) answered.push(await tiers.take("chat.postMessage", "C1"));
  timer.advance(300);
  for (const answer of answered) answer();
  timer.advance(4_700);
  expect(tiers.delayMs("chat.postMessage", "C1")).toBe(300);
});

test("a method that Slack held back waits as long as it was told", () => {
  const timer = new ManualTimer();
  const tiers = new Tiers(timer);
  tiers.hold("chat.update", 7_000);
  timer.advance(2_000);
  expect(tiers.delayMs("chat.update")).toBe(5_000);
  expect(tiers.delayMs("chat.delete")).toBe(0);
});
