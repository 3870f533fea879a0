import { expect, test } from "vitest";
import type { UsageGroup } from "../core/ports.ts";
import { TEXTS } from "./locale/locale.ts";
import { renderStatsPicture, statsPictureDays, statsPictureSince } from "./stats-picture.ts";

const now = Date.UTC(2026, 10, 20, 15);

const day = (value: string, promptTokens: number, completionTokens: number): UsageGroup => ({
  value,
  requests: 1,
  aborted: 0,
  failed: 0,
  interrupted: 0,
  promptTokens,
  completionTokens,
  cachedPromptTokens: 0,
});

/** Heights of the bars of one colour, in the order of the days. */
function heights(svg: string, colour: string): number[] {
  const bars = [...svg.matchAll(/<rect x="[\d.]+" y="[\d.]+" width="[\d.]+" height="([\d.]+)" fill="([^"]+)"/g)];
  // The first one is the legend's.
  return bars
    .filter(([, , fill]) => fill === colour)
    .map(([, height]) => Number(height))
    .slice(1);
}

test("the picture begins at midnight two weeks ago, today included", () => {
  expect(new Date(statsPictureSince(now)).toISOString()).toBe("2026-11-07T00:00:00.000Z");
  expect((now - statsPictureSince(now)) / 86_400_000).toBeLessThan(statsPictureDays);
});

test("bars are as high as the tokens they stand for, below a round scale", () => {
  const svg = renderStatsPicture([day("2026-11-19", 800, 400), day("2026-11-20", 400, 0)], now, TEXTS.en)!;
  const [first, second] = heights(svg, "#9bb8dd");
  expect(first).toBeCloseTo(2 * second!, 0);
  expect(heights(svg, "#2f6fbf")).toEqual([second]);
  expect(svg).toContain(">2k<");
  expect(svg).toContain(">1k<");
});

test("days outside the two weeks are left out, and without tokens there is no picture", () => {
  expect(renderStatsPicture([day("2026-11-06", 800, 400)], now, TEXTS.en)).toBeUndefined();
  expect(renderStatsPicture([], now, TEXTS.en)).toBeUndefined();
});

test("the words are the reader's", () => {
  expect(renderStatsPicture([day("2026-11-20", 1, 1)], now, TEXTS["zh-CN"])).toContain("最近 14 天的 token");
});
