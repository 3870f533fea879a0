/** Server-sent events: writing them and reading them (WHATWG HTML, section 9.2). */
import { AppError } from "../core/errors.ts";
import { streamLineCharsMax } from "../core/limits.ts";
import type { HttpBody } from "./transport.ts";

/** One event, or a comment line (which carries no data but proves the sender lives). */
export type SseItem = { type: "event"; name: string; data: string } | { type: "comment"; text: string };

/** `data` may hold line breaks; each line becomes a field of its own. */
export function renderSseEvent(data: string): string {
  return data.includes("\n") || data.includes("\r")
    ? `${data
        .split(/\r\n|\r|\n/)
        .map((line) => `data: ${line}`)
        .join("\n")}\n\n`
    : `data: ${data}\n\n`;
}

/** An event with a name of its own; `data` is one line. */
export function renderNamedSseEvent(name: string, data: string): string {
  return `event: ${name}\n${renderSseEvent(data)}`;
}

/** A comment; readers ignore it. Line breaks would end it early and become spaces. */
export function renderSseComment(text: string): string {
  return `: ${text.replace(/[\r\n]+/g, " ")}\n\n`;
}

export interface SseParser {
  /** Items completed by these bytes, however the bytes were cut. */
  push(bytes: Uint8Array): SseItem[];
  /** What the end of the stream completes: an event whose last line was whole but whose blank line never came. */
  end(): SseItem[];
}

/**
 * @param lineCharsMax longest line and longest event accepted
 * @throws AppError engine_unavailable from `push` when a line or an event is longer
 */
export function createSseParser(lineCharsMax = streamLineCharsMax): SseParser {
  const decode = createTextReader();
  let rest = "";
  /** The last chunk ended in CR: an LF that follows belongs to the same line break. */
  let afterCarriageReturn = false;
  let name = "";
  let data: string[] = [];
  let dataChars = 0;

  const dispatch = (items: SseItem[]) => {
    if (data.length > 0) items.push({ type: "event", name: name || "message", data: data.join("\n") });
    name = "";
    data = [];
    dataChars = 0;
  };

  const takeLine = (line: string, items: SseItem[]) => {
    if (line === "") return dispatch(items);
    const colon = line.indexOf(":");
    if (colon === 0) {
      items.push({ type: "comment", text: line.slice(line[1] === " " ? 2 : 1) });
      return;
    }
    const field = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "event") name = value;
    if (field !== "data") return;
    dataChars += value.length;
    if (dataChars > lineCharsMax) throw tooLong(lineCharsMax);
    data.push(value);
  };

  const takeText = (text: string): SseItem[] => {
    const items: SseItem[] = [];
    // One event that came whole, as a token does.
    if (rest === "" && data.length === 0 && name === "" && !afterCarriageReturn && isOneEvent(text)) {
      if (text.length - wholeMark.length > lineCharsMax) throw tooLong(lineCharsMax);
      items.push({ type: "event", name: "message", data: text.slice(dataMark.length, -eventEnd.length) });
      return items;
    }
    const whole = afterCarriageReturn && text.startsWith("\n") ? text.slice(1) : text;
    if (text !== "") afterCarriageReturn = text.endsWith("\r");
    // Carriage returns are rare, and looking for one kind of line break is several times cheaper than for three.
    const lines = whole.includes("\r") ? whole.replace(/\r\n?/g, "\n") : whole;
    let start = 0;
    // Only the new text is searched: a line that arrives byte by byte must not cost its length squared.
    for (let end = lines.indexOf("\n"); end >= 0; end = lines.indexOf("\n", start)) {
      takeLine(rest + lines.slice(start, end), items);
      rest = "";
      start = end + 1;
    }
    rest += lines.slice(start);
    if (rest.length > lineCharsMax) throw tooLong(lineCharsMax);
    return items;
  };

  return {
    push: (bytes) => takeText(decode(bytes)),
    end() {
      const items = takeText(decode());
      if (rest === "") dispatch(items);
      return items;
    },
  };
}

const dataMark = "data: ";
const eventEnd = "\n\n";
const wholeMark = `${dataMark}${eventEnd}`;

function isOneEvent(text: string): boolean {
  return (
    text.startsWith(dataMark) &&
    text.endsWith(eventEnd) &&
    text.indexOf("\n") === text.length - eventEnd.length &&
    !text.includes("\r")
  );
}

/** For bytes that are whole in themselves: without a state to keep, decoding costs a third. */
const wholeText = new TextDecoder("utf-8", { fatal: false, ignoreBOM: true });

/** Text of UTF-8 that may be cut anywhere; called without bytes at its end. */
function createTextReader(): (bytes?: Uint8Array) => string {
  let begun = false;
  /** The last bytes may have ended within a character. */
  let cut = false;
  let streaming: InstanceType<typeof TextDecoder> | undefined;
  return (bytes) => {
    if (bytes === undefined) return streaming?.decode() ?? "";
    if (bytes.length === 0) return "";
    const endsInAscii = bytes[bytes.length - 1]! < 0x80;
    const mayBeginWithMark = !begun && bytes[0] === 0xef;
    begun = true;
    if (!cut && endsInAscii && !mayBeginWithMark) return wholeText.decode(bytes);
    cut = !endsInAscii;
    streaming ??= new TextDecoder("utf-8", { fatal: false, ignoreBOM: !mayBeginWithMark });
    return streaming.decode(bytes, { stream: true });
  };
}

/** Reads a body as events, those together that arrived together. Leaving the iteration early cancels the body. */
export async function* readSse(body: HttpBody): AsyncGenerator<SseItem[]> {
  const parser = createSseParser();
  const reader = body.getReader();
  let ended = false;
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done || value === undefined) break;
      yield parser.push(value);
    }
    ended = true;
    yield parser.end();
  } finally {
    // Cancelling a body that already failed rejects with that failure, which the reader above has reported.
    if (!ended) reader.cancel().catch(() => {});
  }
}

function tooLong(lineCharsMax: number): AppError {
  return new AppError(
    "engine_unavailable",
    `The engine sent an event longer than ${lineCharsMax} characters, so its answer was cut.`,
  );
}
