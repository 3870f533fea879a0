import { expect, test } from "vitest";
import { EngineMeter } from "./engine-meter.ts";

test("speed is that of the last five seconds and falls to nothing", () => {
  let now = 1000;
  const meter = new EngineMeter(() => now);
  for (let second = 0; second < 20; second++) {
    meter.tokens(10);
    now += 1000;
  }
  expect(meter.tokensPerSecond).toBeCloseTo(8, 5);
  now += 4000;
  expect(meter.tokensPerSecond).toBe(0);
});

test("answers are counted by how they ended, with their tokens", () => {
  const meter = new EngineMeter(() => 0);
  meter.answered("finish", { promptTokens: 10, completionTokens: 5, cachedPromptTokens: 4 });
  meter.answered("cancelled", { promptTokens: 3, completionTokens: 1 });
  meter.answered("error", {});
  expect(meter.totals).toEqual({
    finished: 1,
    cancelled: 1,
    failed: 1,
    promptTokens: 13,
    cachedPromptTokens: 4,
    completionTokens: 6,
  });
});
