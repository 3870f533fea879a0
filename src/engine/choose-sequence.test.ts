import { describe, expect, test } from "vitest";
import { chooseSequence } from "./choose-sequence.ts";

describe("choosing a sequence", () => {
  test("the conversation is continued where it is", () => {
    const states = [
      { length: 0, commonPrefix: 0, lastUsed: 0 },
      { length: 900, commonPrefix: 880, lastUsed: 3 },
      { length: 500, commonPrefix: 40, lastUsed: 1 },
    ];
    expect(chooseSequence(states)).toBe(1);
  });

  test("a shared system prompt is no reason to throw a conversation away", () => {
    const states = [
      { length: 900, commonPrefix: 100, lastUsed: 3 },
      { length: 0, commonPrefix: 0, lastUsed: 0 },
    ];
    expect(chooseSequence(states)).toBe(1);
  });

  test("without anything shared the one unused for longest is given up", () => {
    const states = [
      { length: 900, commonPrefix: 10, lastUsed: 7 },
      { length: 900, commonPrefix: 10, lastUsed: 2 },
      { length: 900, commonPrefix: 10, lastUsed: 5 },
    ];
    expect(chooseSequence(states)).toBe(1);
  });

  test("an answer asked for again finds its prompt under the old answer", () => {
    const states = [
      { length: 0, commonPrefix: 0, lastUsed: 0 },
      { length: 300, commonPrefix: 200, lastUsed: 1 },
    ];
    expect(chooseSequence(states)).toBe(1);
  });

  test("no free sequence is -1", () => {
    expect(chooseSequence([])).toBe(-1);
  });
});
