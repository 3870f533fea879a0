/**
 * Long Markdown in several messages: code fences are closed and opened again, table headers repeated, words kept whole.
 * Where a page ends depends only on the text up to a little beyond it, so that pages stand still while text is appended.
 */

interface Carry {
  /** Lines a page starts with to go on in the middle of a block. */
  prefix: string;
  /** What ends the block on the page before. */
  suffix: string;
}

interface Cut {
  offset: number;
  carry: Carry | undefined;
}

interface LineBreak {
  /** Where the next line starts. */
  offset: number;
  kind: "paragraph" | "line" | "fence" | "table";
  carry: Carry | undefined;
}

/** A page is not ended in its first half for a nicer place. */
const niceShareMin = 0.5;

/**
 * @param charsMax UTF-16 units of a page, at least 40
 * @param firstCharsMax of the first page, where something stands above the text
 * @returns at least one page; an open fence at the end is closed
 */
export function splitMarkdown(text: string, charsMax: number, firstCharsMax = charsMax): string[] {
  const pages: string[] = [];
  let rest = text.trim();
  let carry: Carry | undefined;
  for (;;) {
    const room = (pages.length === 0 ? firstCharsMax : charsMax) - (carry?.prefix.length ?? 0);
    const end = endOfText(rest, carry);
    if (rest.length + end.length <= room) {
      pages.push(`${carry?.prefix ?? ""}${rest}${end}`);
      return pages;
    }
    const cut = findCut(rest, room, carry);
    const page = rest.slice(0, cut.offset).trimEnd();
    pages.push(`${carry?.prefix ?? ""}${page}${cut.carry?.suffix ?? ""}`);
    // Inside a fence, indentation at the start of the next line is part of the code.
    rest = cut.carry === undefined ? rest.slice(cut.offset).replace(/^\s+/, "") : rest.slice(cut.offset);
    carry = cut.carry;
  }
}

/** What has to follow the last character for an open fence to end. */
function endOfText(rest: string, carry: Carry | undefined): string {
  return fenceAfter(rest, carry) === undefined ? "" : "\n```";
}

/** The opening line of the fence that is open behind these lines. */
function fenceAfter(lines: string, carry: Carry | undefined): string | undefined {
  return lines.split("\n").reduce(nextFence, fenceOf(carry));
}

function fenceOf(carry: Carry | undefined): string | undefined {
  return carry?.suffix === "\n```" ? carry.prefix.trimEnd() : undefined;
}

/** The opening line of the fence that is open after this line. */
function nextFence(open: string | undefined, line: string): string | undefined {
  const trimmed = line.trim();
  if (!trimmed.startsWith("```")) return open;
  if (open !== undefined) return undefined;
  // A fence opened and closed on one line is inline code in three backticks.
  return trimmed.indexOf("```", 3) >= 0 ? undefined : trimmed.slice(0, 40);
}

function fenceCarry(opening: string): Carry {
  return { prefix: `${opening}\n`, suffix: "\n```" };
}

function findCut(rest: string, room: number, carry: Carry | undefined): Cut {
  // The closing fence must fit behind the cut.
  const roomInside = room - 4;
  const breaks = lineBreaks(rest, roomInside, carry);
  const nice = (one: LineBreak) => one.offset >= roomInside * niceShareMin;
  const chosen =
    breaks.findLast((one) => one.kind === "paragraph" && nice(one)) ??
    breaks.findLast((one) => one.kind === "line" && nice(one)) ??
    beforeTable(breaks) ??
    breaks.findLast((one) => (one.kind === "fence" || one.kind === "table") && nice(one));
  if (chosen !== undefined) return chosen;
  const offset = cutInLine(rest, rest.lastIndexOf("\n", roomInside - 1) + 1, roomInside);
  const fence = fenceAfter(rest.slice(0, rest.lastIndexOf("\n", offset - 1) + 1), carry);
  return { offset, carry: fence === undefined ? undefined : fenceCarry(fence) };
}

/** The break before a table that would be cut otherwise. */
function beforeTable(breaks: readonly LineBreak[]): LineBreak | undefined {
  if (breaks.at(-1)?.kind !== "table") return undefined;
  return breaks.findLast((one) => one.kind !== "table" && one.kind !== "fence");
}

function lineBreaks(rest: string, room: number, carry: Carry | undefined): LineBreak[] {
  const breaks: LineBreak[] = [];
  let fence = fenceOf(carry);
  // A page that starts with a table carries that table's header on.
  let tableHeader = carry !== undefined && carry.suffix === "" ? carry.prefix : "";
  let previous = "";
  let offset = 0;
  for (;;) {
    const end = rest.indexOf("\n", offset);
    if (end < 0 || end + 1 > room) return breaks;
    const line = rest.slice(offset, end);
    fence = nextFence(fence, line);
    if (!isTableRow(line)) tableHeader = "";
    else if (isTableRule(line) && isTableRow(previous)) tableHeader = `${previous}\n${line}\n`;
    offset = end + 1;
    const inTable = fence === undefined && isTableRow(line) && rest[offset] === "|";
    if (fence !== undefined) {
      // A break right behind the opening line would leave an empty block.
      if (!line.trim().startsWith("```")) breaks.push({ offset, kind: "fence", carry: fenceCarry(fence) });
    } else if (inTable) {
      if (tableHeader !== "" && !isTableRule(line)) {
        breaks.push({ offset, kind: "table", carry: { prefix: tableHeader, suffix: "" } });
      }
    } else {
      breaks.push({ offset, kind: line.trim() === "" ? "paragraph" : "line", carry: undefined });
    }
    previous = line;
  }
}

function isTableRow(line: string): boolean {
  return line.startsWith("|") && line.length > 1;
}

function isTableRule(line: string): boolean {
  return /^\|[\s:|-]+$/.test(line) && line.includes("-");
}

const closingMarks = "，。、！？；：”’）】》」』〉,.!?;:)]}";
const openingMarks = "“‘（【《「『〈([{";

/** A place to cut a line that is longer than the page. */
function cutInLine(rest: string, lineStart: number, room: number): number {
  const from = Math.max(lineStart, Math.floor(room * niceShareMin));
  const line = rest.slice(from, room);
  const sentence = lastMatchEnd(line, /[.!?]["')]?\s|[。！？；…]["”』」）]?/g);
  if (sentence > 0) return outsideInlineMarks(rest, lineStart, from + sentence);
  const space = Math.max(line.lastIndexOf(" "), line.lastIndexOf("\t"));
  if (space > 0) return outsideInlineMarks(rest, lineStart, from + space + 1);
  for (let offset = room; offset > from; offset--) {
    if (isWordBoundary(rest, offset)) return outsideInlineMarks(rest, lineStart, offset);
  }
  return wholeCharacter(rest, room);
}

function lastMatchEnd(text: string, pattern: RegExp): number {
  let end = 0;
  for (const match of text.matchAll(pattern)) end = match.index + match[0].length;
  return end;
}

/** Scripts without spaces may be cut between any two characters, but not beside a mark that clings to one. */
function isWordBoundary(text: string, offset: number): boolean {
  const before = text[offset - 1] ?? "";
  const after = text[offset] ?? "";
  if (closingMarks.includes(after) || openingMarks.includes(before)) return false;
  const unspaced = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}，。、！？；：]/u;
  return unspaced.test(before) || unspaced.test(after);
}

/** Moves a cut in front of inline code or a link that it would tear, where that leaves enough on the page. */
function outsideInlineMarks(text: string, lineStart: number, offset: number): number {
  const line = text.slice(lineStart, text.indexOf("\n", offset) < 0 ? text.length : text.indexOf("\n", offset));
  for (const match of line.matchAll(/`[^`\n]+`|\[[^\]\n]*\]\([^)\s]*\)|https?:\/\/\S+/g)) {
    const start = lineStart + match.index;
    if (start < offset && offset < start + match[0].length && start - lineStart > 20) return start;
  }
  return offset;
}

const graphemes = new Intl.Segmenter(undefined, { granularity: "grapheme" });
/** Longer than any character people write with joiners. */
const graphemeUnitsMax = 64;

/** The last place at or before the offset that is between two characters as people see them. */
function wholeCharacter(text: string, offset: number): number {
  const from = Math.max(0, offset - graphemeUnitsMax);
  const starts = [...graphemes.segment(text.slice(from, offset + graphemeUnitsMax))].map(({ index }) => from + index);
  const start = starts.findLast((at) => at <= offset) ?? offset;
  return start > from ? start : offset;
}
