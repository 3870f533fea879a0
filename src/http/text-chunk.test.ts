import { describe, expect, it } from "vitest";
import type { ChatEvent } from "../core/chat.ts";
import { createChatReader } from "./chat-reader.ts";
import { readTextChunk, shapeOfTextChunk, writeJsonString } from "./text-chunk.ts";

const chunk = (content: string, more: object = {}) =>
  JSON.stringify({ id: "a", model: "m", choices: [{ index: 0, delta: { content }, finish_reason: null }], ...more });

type Chunk = { choices: { delta: { content?: string } }[] } | undefined;
const contentOf = (data: unknown) => (data as Chunk)?.choices[0]?.delta.content;

describe("the shape of a text chunk", () => {
  const shape = shapeOfTextChunk(chunk("one"), "one", contentOf)!;

  it.each([" two", 'quote " and \\ and \n', "磁盘🙂", "\u0000\u2028", "null", "\ud83d"])("reads %j", (text) => {
    expect(readTextChunk(chunk(text), shape)).toBe(text);
  });

  it.each([
    ["an empty text", chunk("")],
    ["another member", chunk("two", { usage: null })],
    ["an end", chunk("two").replace("null", '"stop"')],
    ["no text", chunk("two").replace('"two"', "null")],
    ["a number", chunk("two").replace('"two"', "12345")],
    ["two strings", chunk("two").replace('"two"', '"two","x":"y"')],
    ["a line break that is not escaped", chunk("two").replace("two", "t\nwo")],
    ["a text that was cut", chunk("two").replace('"two"', '"two')],
    ["nothing but its beginning and end", shape.head + shape.tail],
  ])("leaves %s to be read as JSON", (_what, data) => {
    expect(readTextChunk(data, shape)).toBeUndefined();
  });

  it("is not taken from a text that stands elsewhere too, before its own place", () => {
    expect(shapeOfTextChunk(`{"x":"m",${chunk("m").slice(1)}`, "m", contentOf)).toBeUndefined();
  });

  it("is not taken where the text is escaped in another way", () => {
    expect(shapeOfTextChunk(chunk("A").replace('"A"', '"\\u0041"'), "A", contentOf)).toBeUndefined();
  });
});

describe("a JSON string", () => {
  it.each(["", " two", 'quote " and \\ and \n', "磁盘🙂", "\u0000\u001f\u007f\u2028", "\ud83d", "a\udc00b"])(
    "of %j is written as JSON.stringify writes it",
    (text) => {
      expect(writeJsonString(text)).toBe(JSON.stringify(text));
    },
  );
});

describe("chunks read one after the other", () => {
  const read = (lines: string[]): ChatEvent[] => {
    const reader = createChatReader({ model: "m" }, { now: () => 0 });
    return [...lines.flatMap((line) => reader.readData(line)), reader.finish()];
  };
  const usage = { prompt_tokens: 3, completion_tokens: 9 };

  it("say the same as each read alone, whatever stands between them", () => {
    const lines = [
      chunk("one"),
      chunk("two"),
      chunk("three"),
      chunk("four", { snug: { tokens: 2 } }),
      chunk("five"),
      JSON.stringify({ choices: [{ delta: { reasoning_content: "hm" } }] }),
      chunk("six"),
      chunk("seven").replace("null", '"length"'),
      chunk("", { choices: [], usage }),
      "[DONE]",
    ];
    const events = read(lines);
    expect(events.slice(1)).toEqual([
      ...["one", "two", "three"].map((text) => ({ type: "text", text })),
      { type: "text", text: "four", tokenCount: 2 },
      { type: "text", text: "five" },
      { type: "reasoning", text: "hm" },
      { type: "text", text: "six" },
      { type: "text", text: "seven" },
      expect.objectContaining({
        type: "finish",
        finishReason: "length",
        usage: { promptTokens: 3, completionTokens: 9 },
      }),
    ]);
  });

  it("are counted where nobody tells", () => {
    const finish = read(["one", "two", "three", "four"].map((text) => chunk(text))).at(-1);
    expect(finish).toMatchObject({ usage: { completionTokens: 4, estimated: true } });
  });
});
