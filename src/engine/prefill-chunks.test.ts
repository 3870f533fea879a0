import { describe, expect, test } from "vitest";
import { cpuFloor, gpuFloor, nextChunk, PrefillPace, tileTokens, tokensToRepeat } from "./prefill-chunks.ts";

describe("pieces of a prompt", () => {
  test("are never followed by less than a tile, and never larger than allowed", () => {
    for (const beside of [false, true]) {
      for (const most of [128, 256]) {
        for (let tokens = 1; tokens <= 1500; tokens++) {
          const next = nextChunk(tokens, most, beside);
          expect(next).toBeGreaterThan(0);
          expect(next).toBeLessThanOrEqual(Math.min(most, tokens));
          if (tokens >= 2 * tileTokens + 2) expect(tokens - next === 0 || tokens - next >= tileTokens).toBe(true);
        }
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

  test("are whole tiles, and beside other answers one token more, which is computed with theirs", () => {
    expect([nextChunk(1000, 256), nextChunk(256, 256), nextChunk(1000, 200)]).toEqual([256, 256, 192]);
    expect([nextChunk(1000, 257, true), nextChunk(1000, 256, true)]).toEqual([257, 193]);
  });

  test("leave a tile for the end, or take a short end along where there is room", () => {
    expect(nextChunk(280, 256)).toBe(192);
    expect(nextChunk(100, 64, false, 512)).toBe(100);
    expect(nextChunk(100, 65, true, 512)).toBe(100);
  });

  test("a short end after a long beginning takes known tokens along; a single token is a step of its own", () => {
    expect(tokensToRepeat(1638, 20)).toBe(44);
    expect(tokensToRepeat(1638, 20, true)).toBe(45);
    expect(tokensToRepeat(1638, 1)).toBe(0);
    expect(tokensToRepeat(1638, 300)).toBe(0);
    expect(tokensToRepeat(100, 20)).toBe(0);
  });
});

describe("the pace of prompts", () => {
  test("begins with one tile and follows what steps took, down to one tile and up to what a step can hold", () => {
    const pace = new PrefillPace(512, cpuFloor, 50);
    expect(pace.tokens).toBe(64);
    pace.note(64, 12.8);
    expect(pace.tokens).toBe(192);
    for (let step = 0; step < 20; step++) pace.note(pace.tokens, pace.tokens * 0.01);
    expect(pace.tokens).toBe(512);
    for (let step = 0; step < 20; step++) pace.note(pace.tokens, pace.tokens * 3);
    expect(pace.tokens).toBe(64);
  });

  test("stays higher on a GPU, to which weights may have to travel for each step", () => {
    const pace = new PrefillPace(512, gpuFloor, 50);
    pace.note(256, 2_000);
    expect([pace.tokens, pace.tokensAlone]).toEqual([128, 256]);
    for (let step = 0; step < 20; step++) pace.note(256, 10);
    expect([pace.tokens, pace.tokensAlone]).toEqual([512, 512]);
  });

  test("is a small batch where steps can hold no tile", () => {
    expect(new PrefillPace(32, cpuFloor).tokens).toBe(32);
  });
});
