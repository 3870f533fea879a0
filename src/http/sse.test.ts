import { describe, expect, it } from "vitest";
import { createSseParser, readSse, renderSseComment, renderSseEvent, type SseItem } from "./sse.ts";

const encoder = new TextEncoder();

function parseWhole(text: string): SseItem[] {
  const parser = createSseParser();
  return [...parser.push(encoder.encode(text)), ...parser.end()];
}

/** An event stream with every line ending, a comment, a two-line event, a name, four-byte characters and a BOM. */
const stream =
  '\uFEFFdata: {"a":"磁盘🙂"}\r\n\r\n: keep-alive\n\nevent: note\rdata: one\rdata:two\r\rid: 7\nretry: 5\ndata\n\n';
const items: SseItem[] = [
  { type: "event", name: "message", data: '{"a":"磁盘🙂"}' },
  { type: "comment", text: "keep-alive" },
  { type: "event", name: "note", data: "one\ntwo" },
  { type: "event", name: "message", data: "" },
];

describe("reading an event stream", () => {
  it("understands every line ending, comments, names and several data lines", () => {
    expect(parseWhole(stream)).toEqual(items);
  });

  it("gives the same events wherever the bytes are cut, even inside a character or between CR and LF", () => {
    const bytes = encoder.encode(stream);
    for (let cut = 0; cut <= bytes.length; cut++) {
      const parser = createSseParser();
      const found = [...parser.push(bytes.slice(0, cut)), ...parser.push(bytes.slice(cut)), ...parser.end()];
      expect(found, `cut at byte ${cut}`).toEqual(items);
    }
  });

  it("gives the same events byte by byte", () => {
    const parser = createSseParser();
    const found = [...encoder.encode(stream)].flatMap((byte) => parser.push(Uint8Array.of(byte)));
    expect([...found, ...parser.end()]).toEqual(items);
  });

  it("drops an event whose last line is cut", () => {
    expect(parseWhole('data: {"a":1}\n\ndata: {"a":2')).toEqual([{ type: "event", name: "message", data: '{"a":1}' }]);
  });

  it("keeps a last event that lacks only its blank line", () => {
    expect(parseWhole("data: [DONE]\n")).toEqual([{ type: "event", name: "message", data: "[DONE]" }]);
  });

  it("refuses a line longer than the bound, whether or not it ends", () => {
    const parser = createSseParser(64);
    expect(() => parser.push(encoder.encode(`data: ${"x".repeat(100)}`))).toThrow(/longer than 64/);
  });

  it.each([
    ["data: one\n\n", [{ type: "event", name: "message", data: "one" }]],
    ["data: \n\n", [{ type: "event", name: "message", data: "" }]],
    ["data: one\rdata: two\n\n", [{ type: "event", name: "message", data: "one\ntwo" }]],
    ["data: one\r\n\r\n", [{ type: "event", name: "message", data: "one" }]],
    ["data: one\n", []],
    ["data: one\nx", []],
  ])("reads %j, whether or not something began before it", (text, found) => {
    const bytes = encoder.encode(text);
    expect(createSseParser().push(bytes)).toEqual(found);
    const parser = createSseParser();
    parser.push(encoder.encode("event: note\ndata: begun\n"));
    const [first] = parser.push(bytes);
    if (found.length > 0) expect(first).toMatchObject({ name: "note", data: `begun\n${found[0]!.data}` });
  });

  it("refuses one whole event longer than the bound", () => {
    const parser = createSseParser(64);
    expect(parser.push(encoder.encode(`data: ${"x".repeat(64)}\n\n`))).toHaveLength(1);
    expect(() => parser.push(encoder.encode(`data: ${"x".repeat(65)}\n\n`))).toThrow(/longer than 64/);
  });

  it("refuses an event of many lines that is longer than the bound", () => {
    const parser = createSseParser(64);
    expect(() => parser.push(encoder.encode("data: 0123456789\n".repeat(10)))).toThrow(/longer than 64/);
  });

  it("cancels the body when the reader leaves early", async () => {
    let cancelled = false;
    const body = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(encoder.encode("data: x\n\n")),
      cancel: () => {
        cancelled = true;
      },
    });
    for await (const items of readSse(body)) {
      expect(items).toEqual([{ type: "event", name: "message", data: "x" }]);
      break;
    }
    expect(cancelled).toBe(true);
  });
});

describe("writing an event stream", () => {
  it("writes what it reads back, line breaks included", () => {
    const data = "first\nsecond";
    expect(parseWhole(renderSseEvent(data))).toEqual([{ type: "event", name: "message", data }]);
  });

  it("cannot be talked out of a comment by line breaks", () => {
    expect(parseWhole(renderSseComment("a\r\n\r\ndata: forged"))).toEqual([
      { type: "comment", text: "a data: forged" },
    ]);
  });
});
