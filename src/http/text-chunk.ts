/**
 * Chunks of one answer differ in their text and in nothing else, for hundreds of them. A chunk that is equal to one that
 * was read before, but for the text, need not be read as JSON again.
 */
import { parseJson } from "./engine-errors.ts";

/** All of a chunk before and behind the JSON string that is its text. */
export interface TextChunkShape {
  head: string;
  tail: string;
}

const mark = "\u0001";

/**
 * @param data a chunk as JSON
 * @param text what it says
 * @param textOf reads the text of a parsed chunk
 * @returns undefined where the place of the text is not beyond doubt
 */
export function shapeOfTextChunk(
  data: string,
  text: string,
  textOf: (chunk: unknown) => string | undefined,
): TextChunkShape | undefined {
  const written = JSON.stringify(text);
  const at = data.indexOf(written);
  if (at < 0) return undefined;
  const shape = { head: data.slice(0, at), tail: data.slice(at + written.length) };
  const marked = parseJson(`${shape.head}${JSON.stringify(mark)}${shape.tail}`);
  return textOf(marked) === mark ? shape : undefined;
}

/** The text of a chunk of this shape; undefined for all others, and for an empty one. */
export function readTextChunk(data: string, { head, tail }: TextChunkShape): string | undefined {
  if (data.length <= head.length + tail.length + 2 || !data.startsWith(head) || !data.endsWith(tail)) return undefined;
  const written = data.slice(head.length, data.length - tail.length);
  const inner = written.slice(1, -1);
  if (isPlain(inner) && written === `"${inner}"`) return inner;
  const text = parseJson(written);
  return typeof text === "string" && text !== "" ? text : undefined;
}

/** The same as `JSON.stringify`. */
export function writeJsonString(text: string): string {
  return isPlain(text) ? `"${text}"` : JSON.stringify(text);
}

/** True where every character stands for itself in a JSON string. Most tokens do, and then JSON is more than is needed. */
function isPlain(text: string): boolean {
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if (unit < 0x20 || unit === 0x22 || unit === 0x5c || (unit >= 0xd800 && unit < 0xe000)) return false;
  }
  return true;
}
