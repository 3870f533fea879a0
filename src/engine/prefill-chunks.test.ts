import { describe, expect, test } from "vitest";
import { nextChunk, tileTokens, tokensToRepeat } from "./prefill-chunks.ts";

describe("pieces of a prompt", () => {
  test("are never followed by less than a tile, and never larger than allowed", () => {
    for (const most of [128, 256]) {
      for (let tokens = 1; tokens <= 1500; tokens++) {
        const next = nextChunk(tokens, most);
        expect(next).toBeGreaterThan(0);
        expect(next).toBeLessThanOrEqual(Math.min(most, tokens));
        if (tokens >= 2 * tileTokens) expect(tokens - next === 0 || tokens - next >= tileTokens).toBe(true);
      }
    }
  });

  test("take as much as allowed where enough is left", () => {
    expect([nextChunk(1000, 256), nextChunk(256, 256), nextChunk(321, 256)]).toEqual([256, 256, 256]);
  });

  test("a short end after a long beginning takes known tokens along; a single token is a step of its own", () => {
    expect(tokensToRepeat(1638, 20)).toBe(45);
    expect(tokensToRepeat(1638, 1)).toBe(0);
    expect(tokensToRepeat(1638, 300)).toBe(0);
    expect(tokensToRepeat(100, 20)).toBe(0);
  });
});
