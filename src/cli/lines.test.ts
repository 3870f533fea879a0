import { describe, expect, it } from "vitest";
import { readLines } from "./lines.ts";

async function linesOf(chunks: (string | Uint8Array)[], charsMax = 100): Promise<string[]> {
  const lines: string[] = [];
  async function* source() {
    yield* chunks;
  }
  for await (const line of readLines(source(), charsMax)) lines.push(line);
  return lines;
}

describe("lines of a stream", () => {
  it("are put together from chunks that end anywhere, within a letter too", async () => {
    const bytes = new TextEncoder().encode("显存 6\r\n13b\n\nlast");
    for (const size of [1, 2, 3, 7, 100]) {
      const chunks = Array.from({ length: Math.ceil(bytes.length / size) }, (_, at) =>
        bytes.subarray(at * size, (at + 1) * size),
      );
      expect(await linesOf(chunks)).toEqual(["显存 6", "13b", "", "last"]);
    }
  });

  it("need no line end at the end, and an empty stream has none", async () => {
    expect(await linesOf(["a\nb\n"])).toEqual(["a", "b"]);
    expect(await linesOf([])).toEqual([]);
  });

  it("that are too long are cut one character beyond the limit, and the next is whole", async () => {
    const lines = await linesOf(["x".repeat(150), "y".repeat(1e6), "\nnext\n"], 200);
    expect(lines.map((line) => line.length)).toEqual([201, 4]);
  });

  it("hold U+FFFD where bytes are no UTF-8", async () => {
    expect(await linesOf([new Uint8Array([0xff, 0x0a, 0xc3])])).toEqual(["\ufffd", "\ufffd"]);
  });
});
