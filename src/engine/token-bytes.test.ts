import { expect, it } from "vitest";
import { bytesOfToken } from "./token-bytes.ts";

it.each([
  ["a word", "Ġhello", " hello", [32, 104, 101, 108, 108, 111]],
  ["a whole character", "ä½ł", "你", [0xe4, 0xbd, 0xa0]],
  ["the first byte of one, byte-level", "ä", "\uFFFD", [0xe4]],
  ["the last bytes of one, byte-level", "½ł", "\uFFFD\uFFFD", [0xbd, 0xa0]],
  ["a byte token", "<0xE4>", "\uFFFD", [0xe4]],
  ["a replacement character that is meant", "�", "\uFFFD", [0xef, 0xbf, 0xbd]],
])("%s", (_case, written, text, bytes) => {
  expect(bytesOfToken(written, text)).toEqual(bytes);
});
