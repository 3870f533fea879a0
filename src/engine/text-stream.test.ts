import { describe, expect, test } from "vitest";
import { TextStream } from "./text-stream.ts";

/** Tokens are byte strings here, as in a byte-level vocabulary. */
const decodeBytes = (tokens: readonly Uint8Array[]) => new TextDecoder().decode(Buffer.concat(tokens));

function stream(stops: string[] = []): TextStream<Uint8Array> {
  return new TextStream(decodeBytes, stops);
}

function pieces(text: string, stops: string[]): { texts: string[]; stopped: boolean; rest: string } {
  const target = stream(stops);
  const texts: string[] = [];
  for (const character of text) {
    const piece = target.push(Buffer.from(character));
    texts.push(piece.text);
    if (piece.stopped) return { texts, stopped: true, rest: "" };
  }
  return { texts, stopped: false, rest: target.end() };
}

describe("a text stream", () => {
  test("a character comes out whole, however its bytes are cut", () => {
    const target = stream();
    const texts = [...Buffer.from("a量😀")].map((byte) => target.push(Uint8Array.of(byte)).text);
    expect(texts).toEqual(["a", "", "", "量", "", "", "", "😀"]);
  });

  test("bytes that never become a character come out as replacement characters", () => {
    const target = stream();
    target.push(Uint8Array.of(0xe9));
    expect(target.end()).toBe("\uFFFD");
    const stuck = Array.from({ length: 8 }, () => target.push(Uint8Array.of(0xff)).text);
    expect(stuck.join("")).toBe("\uFFFD".repeat(8));
  });

  test("a stop text is not shown, nor its beginning", () => {
    expect(pieces("one STOP two", ["STOP"])).toEqual({
      texts: ["o", "n", "e", " ", "", "", "", ""],
      stopped: true,
      rest: "",
    });
  });

  test("a false beginning comes out late but whole", () => {
    const { texts, rest } = pieces("STO over", ["STOP"]);
    expect(texts.join("") + rest).toBe("STO over");
    expect(texts.slice(0, 4)).toEqual(["", "", "", "STO "]);
  });

  test("what is held back at the end belongs to the answer", () => {
    expect(pieces("to be ST", ["STOP"]).rest).toBe("ST");
  });

  test("the earliest of several stop texts wins", () => {
    const { texts, stopped } = pieces("a; b, c", [",", ";", "never"]);
    expect(stopped).toBe(true);
    expect(texts.join("")).toBe("a");
  });

  test("a stop text inside one token ends the answer before it", () => {
    expect(stream(["\n\n"]).push(Buffer.from("end.\n\nmore"))).toEqual({ text: "end.", stopped: true });
  });

  test("an overlapping repetition is still found", () => {
    expect(pieces("aab aaab", ["aaab"])).toMatchObject({ stopped: true });
    expect(pieces("aab aaab", ["aaab"]).texts.join("")).toBe("aab ");
  });

  test("an empty stop text stops nothing", () => {
    expect(pieces("text", [""])).toMatchObject({ stopped: false, texts: ["t", "e", "x", "t"] });
  });
});
