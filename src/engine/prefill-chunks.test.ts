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

  test("are what is allowed where that is less than a tile", () => {
    for (let most = 0; most < 300; most++) {
      for (const tokens of [2, 60, 64, 65, 66, 129, 130, 200, 1000]) {
        expect(nextChunk(tokens, most)).toBeLessThanOrEqual(Math.min(most, tokens));
        if (most > 0) expect(nextChunk(tokens, most)).toBeGreaterThan(0);
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
