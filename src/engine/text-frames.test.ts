import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { TextFrame } from "./ipc.ts";
import { TextFrames } from "./text-frames.ts";

let sent: TextFrame[][];
let frames: TextFrames;

beforeEach(() => {
  vi.useFakeTimers();
  sent = [];
  frames = new TextFrames((batch) => sent.push(batch), 8);
});
afterEach(() => {
  vi.useRealTimers();
});

describe("text frames", () => {
  test("the first token of a stream goes out at once", () => {
    frames.add(1, "Hel");
    expect(sent).toEqual([[[1, "Hel", 1]]]);
  });

  test("later tokens of all streams share a message", () => {
    frames.add(1, "a");
    frames.add(2, "b");
    sent.length = 0;
    frames.add(1, "c");
    frames.add(2, "d");
    frames.add(1, "e");
    expect(sent).toEqual([]);
    vi.advanceTimersByTime(8);
    expect(sent).toEqual([
      [
        [1, "ce", 2],
        [2, "d", 1],
      ],
    ]);
    vi.advanceTimersByTime(100);
    expect(sent).toHaveLength(1);
  });

  test("the end of a stream sends what waits before it", () => {
    frames.add(1, "a");
    frames.add(1, "b");
    frames.end(1);
    expect(sent.flat()).toEqual([
      [1, "a", 1],
      [1, "b", 1],
    ]);
    frames.add(1, "again");
    expect(sent).toHaveLength(3);
  });
});
