import { describe, expect, test } from "vitest";
import { keptOfSlidingCache, placePrompt, type SequenceState } from "./choose-sequence.ts";

const free = (length: number, commonPrefix: number, lastUsed: number): SequenceState => ({
  busy: false,
  length,
  commonPrefix,
  lastUsed,
});
const empty = free(0, 0, 0);
const busy: SequenceState = { busy: true, length: 50, commonPrefix: 0, lastUsed: 9 };

/** As with a context of 16,384 tokens. */
const copied = 64;

describe("choosing a sequence", () => {
  test("the conversation is continued where it is", () => {
    expect(placePrompt([empty, free(900, 880, 3), free(500, 40, 1)])).toEqual({ target: 1, moves: [] });
  });

  test("a shared system prompt is no reason to throw a conversation away", () => {
    expect(placePrompt([free(900, 100, 3), empty])).toEqual({ target: 1, moves: [] });
  });

  test("without anything shared the one unused for longest is given up", () => {
    expect(placePrompt([free(900, 10, 7), free(900, 10, 2), free(900, 10, 5)])?.target).toBe(1);
  });

  test("an answer asked for again finds its prompt under the old answer", () => {
    expect(placePrompt([empty, free(300, 200, 1)])?.target).toBe(1);
  });

  test("no free sequence is told", () => {
    expect(placePrompt([])).toBeUndefined();
    expect(placePrompt([busy, busy], copied)).toBeUndefined();
  });
});

describe("what somebody else holds too", () => {
  test("is copied to a sequence of its own, also from an answer that is running", () => {
    expect(placePrompt([free(900, 100, 3), empty], copied)).toEqual({ target: 1, moves: [], copyFrom: 0 });
    const running = { busy: true, length: 900, commonPrefix: 100, lastUsed: 3 };
    expect(placePrompt([running, empty], copied)).toEqual({ target: 1, moves: [], copyFrom: 0 });
  });

  test("is taken from where most of it is, and not when there is little", () => {
    const states = [free(900, 100, 4), free(900, 300, 5), empty];
    expect(placePrompt(states, copied)).toMatchObject({ target: 2, copyFrom: 1 });
    expect(placePrompt([free(900, 60, 4), empty], copied)).toEqual({ target: 1, moves: [] });
  });

  test("is left to another user, whose talk would go for it", () => {
    const theirs = { ...free(500, 400, 4), foreign: true };
    expect(placePrompt([theirs, free(900, 0, 1)], copied)).toEqual({ target: 1, moves: [], copyFrom: 0 });
    expect(placePrompt([{ ...theirs, foreign: false }, free(900, 0, 1)], copied)?.target).toBe(0);
    // In a channel people go on with one talk.
    expect(placePrompt([{ ...theirs, length: 420 }, free(900, 0, 1)], copied)?.target).toBe(0);
    expect(placePrompt([theirs, free(900, 0, 1)])?.target).toBe(0);
  });

  test("is not copied over what the sequence itself has of it", () => {
    expect(placePrompt([free(900, 300, 4), free(900, 280, 1)], copied)).toEqual({ target: 1, moves: [] });
  });
});

describe("gaps between running answers", () => {
  test("are avoided: an empty neighbour is taken rather than the oldest", () => {
    expect(placePrompt([empty, free(10, 0, 1), busy, free(10, 0, 2)], copied)).toEqual({ target: 1, moves: [] });
  });

  test("are avoided by moving a conversation out of the way, into the place of the oldest", () => {
    const states = [busy, free(900, 0, 7), free(900, 0, 2), free(900, 0, 5)];
    expect(placePrompt(states, copied)).toEqual({ target: 1, moves: [{ from: 1, to: 2 }] });
  });

  test("are closed where an answer ended in the middle", () => {
    const states = [busy, free(900, 0, 7), busy, free(900, 0, 2)];
    expect(placePrompt(states, copied)).toEqual({ target: 1, moves: [{ from: 1, to: 3 }] });
  });

  test("are avoided by moving the conversation that goes on", () => {
    const states = [busy, free(10, 0, 4), free(900, 880, 5), free(700, 0, 2)];
    expect(placePrompt(states, copied)).toEqual({ target: 1, moves: [{ from: 2, to: 1 }] });
    const full = [busy, free(600, 0, 4), free(900, 880, 5), free(700, 0, 2)];
    const moves = [
      { from: 1, to: 3 },
      { from: 2, to: 1 },
    ];
    expect(placePrompt(full, copied)).toEqual({ target: 1, moves });
  });

  test("stay where closing one would throw a recent conversation away", () => {
    const states = [busy, free(600, 0, 4), free(900, 880, 5)];
    expect(placePrompt(states, copied)).toEqual({ target: 2, moves: [] });
  });

  test("do not matter while nobody else is answering, or nothing can be copied", () => {
    expect(placePrompt([free(900, 0, 3), free(900, 880, 5)], copied)).toEqual({ target: 1, moves: [] });
    expect(placePrompt([busy, free(900, 0, 7), free(900, 0, 2)])).toEqual({ target: 2, moves: [] });
  });

  test("and a shared beginning may come together: the neighbour's conversation moves, then it gets the beginning", () => {
    const running = { busy: true, length: 500, commonPrefix: 200, lastUsed: 9 };
    const states = [running, free(900, 0, 7), free(900, 0, 2)];
    expect(placePrompt(states, copied)).toEqual({ target: 1, moves: [{ from: 1, to: 2 }], copyFrom: 0 });
  });
});

describe("a sequence with a sliding window, wound back", () => {
  test("keeps what it shares while the window before it is whole", () => {
    expect(keptOfSlidingCache({ common: 237, firstCell: 0 }, 64)).toBe(237);
    expect(keptOfSlidingCache({ common: 40, firstCell: 0 }, 64)).toBe(40);
    expect(keptOfSlidingCache({ common: 237, firstCell: 173 }, 64)).toBe(237);
  });

  test("is built again where some of that window is gone, even if the token itself is there", () => {
    expect(keptOfSlidingCache({ common: 237, firstCell: 174 }, 64)).toBe(174);
    expect(keptOfSlidingCache({ common: 237, firstCell: 300 }, 64)).toBe(237);
    expect(keptOfSlidingCache({ common: 30, firstCell: 20 }, 64)).toBe(20);
  });
});
