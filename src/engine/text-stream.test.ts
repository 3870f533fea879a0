import { describe, expect, test } from "vitest";
import { TextStream } from "./text-stream.ts";

/** Tokens are byte strings here, as in a byte-level vocabulary. */
const decodeBytes = (tokens: readonly Uint8Array[]) => new TextDecoder().decode(Buffer.concat(tokens));

function stream(): TextStream<Uint8Array> {
  return new TextStream(decodeBytes);
}

describe("a text stream", () => {
  test("a character comes out whole, however its bytes are cut", () => {
    const target = stream();
    const texts = [...Buffer.from("a量😀")].map((byte) => target.push(Uint8Array.of(byte)));
    expect(texts).toEqual(["a", "", "", "量", "", "", "", "😀"]);
  });

  test("bytes that never become a character come out as replacement characters", () => {
    const target = stream();
    target.push(Uint8Array.of(0xe9));
    expect(target.end()).toBe("\uFFFD");
    const stuck = Array.from({ length: 8 }, () => target.push(Uint8Array.of(0xff)));
    expect(stuck.join("")).toBe("\uFFFD".repeat(8));
  });
});
