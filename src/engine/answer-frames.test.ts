import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { AnswerFrames } from "./answer-frames.ts";
import type { AnswerFrame } from "./ipc.ts";

let sent: AnswerFrame[][];
let frames: AnswerFrames;

beforeEach(() => {
  vi.useFakeTimers();
  sent = [];
  frames = new AnswerFrames((batch) => sent.push(batch), 8);
});
afterEach(() => {
  vi.useRealTimers();
});

describe("answer frames", () => {
  test("the first token of a stream goes out at once", () => {
    frames.add(1, [{ type: "text", text: "Hel" }]);
    expect(sent).toEqual([[[1, 1, { type: "text", text: "Hel" }]]]);
  });

  test("later tokens of all streams share a message", () => {
    frames.add(1, [{ type: "text", text: "a" }]);
    frames.add(2, [{ type: "text", text: "b" }]);
    sent.length = 0;
    frames.add(1, [{ type: "text", text: "c" }]);
    frames.add(2, [{ type: "text", text: "d" }]);
    frames.add(1, [{ type: "text", text: "e" }]);
    expect(sent).toEqual([]);
    vi.advanceTimersByTime(8);
    expect(sent).toEqual([
      [
        [1, 2, { type: "text", text: "ce" }],
        [2, 1, { type: "text", text: "d" }],
      ],
    ]);
    vi.advanceTimersByTime(100);
    expect(sent).toHaveLength(1);
  });

  test("the end of a stream sends what waits before it", () => {
    frames.add(1, [{ type: "text", text: "a" }]);
    frames.add(1, [{ type: "text", text: "b" }]);
    frames.end(1);
    expect(sent.flat()).toEqual([
      [1, 1, { type: "text", text: "a" }],
      [1, 1, { type: "text", text: "b" }],
    ]);
    frames.add(1, [{ type: "text", text: "again" }]);
    expect(sent).toHaveLength(3);
  });
  test("thoughts, text and calls stay apart and in order, and every token is counted once", () => {
    frames.add(1, []);
    sent.length = 0;
    frames.add(1, [{ type: "reasoning", text: "Hm" }]);
    frames.add(1, []);
    frames.add(1, [
      { type: "reasoning", text: "." },
      { type: "text", text: "Yes" },
    ]);
    frames.add(1, [
      { type: "tool_call", index: 0, name: "f", arguments: "" },
      { type: "tool_call", index: 0, arguments: "{" },
    ]);
    frames.add(1, [{ type: "tool_call", index: 0, arguments: "}" }]);
    frames.add(1, [{ type: "tool_call", index: 1, name: "g", arguments: "{}" }]);
    frames.flush();
    expect(sent).toEqual([
      [
        [1, 3, { type: "reasoning", text: "Hm." }],
        [1, 0, { type: "text", text: "Yes" }],
        [1, 2, { type: "tool_call", index: 0, name: "f", arguments: "{}" }],
        [1, 1, { type: "tool_call", index: 1, name: "g", arguments: "{}" }],
      ],
    ]);
  });
});
