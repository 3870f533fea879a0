/** An answer for a terminal: two lines to read, then a table of sections, in colour or without, at any width. */
import type { Locale } from "../core/errors.ts";
import { formatBytes } from "../core/units.ts";
import type { FitsAnswer, VerdictCode } from "./answer-types.ts";
import { barCells, PART_SIGNS } from "./render.ts";
import { MEMORY_PART_NAMES, type MemoryBar, type MemoryPartKind } from "./render-memory.ts";
import { answerSections, type Section } from "./render-sections.ts";

export interface TerminalOptions {
  locale: Locale;
  /** Width in cells; below 40 is treated as 40. */
  columns: number;
  colour: boolean;
  /** Every launch recipe instead of the first. */
  allSettings?: boolean;
}

const ESCAPE = "\u001b[";

/** 256-colour codes near to the picture's colours; they hold on dark and light grounds. */
const PART_COLOURS: Record<MemoryPartKind, string> = {
  weights: "38;5;33",
  kvCache: "38;5;214",
  state: "38;5;227",
  compute: "38;5;36",
  runtime: "38;5;175",
  others: "38;5;244",
  reserve: "38;5;244",
  free: "38;5;240",
  over: "38;5;202",
};

const VERDICT_COLOURS: Record<VerdictCode, string> = {
  full: "1;38;5;35",
  partial: "1;38;5;214",
  cpu: "1;38;5;214",
  none: "1;38;5;203",
  models: "1;38;5;35",
  machines: "1;38;5;35",
  term: "1",
};

export function renderTerminal(answer: FitsAnswer, options: TerminalOptions): string {
  const { locale } = options;
  const columns = Math.max(40, Math.floor(options.columns));
  const paint = (code: string, text: string): string => (options.colour ? `${ESCAPE}${code}m${text}${ESCAPE}0m` : text);
  const { verdict } = answer;
  const sections = answerSections(answer, locale);
  const label = Math.max(0, ...sections.map(({ title }) => displayWidth(title)), settingsTitle(locale).length) + 2;
  const lines = [
    ...wrapText(verdict.line[locale], columns).map((line) => paint(VERDICT_COLOURS[verdict.code], line)),
    ...wrapText(verdict.reason[locale], columns),
    "",
  ];
  for (const section of sections) {
    const body =
      section.key === "memory"
        ? memoryLines(answer.memory, columns - label, locale, paint)
        : bodyLines(section, columns - label);
    lines.push(...beside(section.title, body, label, paint));
  }
  lines.push(...settingsLines(answer, options, columns, paint));
  return `${lines.map(clean).join("\n").trimEnd()}\n`;
}

type Paint = (code: string, text: string) => string;

function settingsTitle(locale: Locale): string {
  return locale === "zh" ? "设置" : "Settings";
}

/** Title in the first column, lines in the second. */
function beside(title: string, body: readonly string[], width: number, paint: Paint): string[] {
  return body.map((line, index) => {
    const head = index === 0 ? title : "";
    return `${paint("2", head)}${" ".repeat(Math.max(1, width - displayWidth(head)))}${line}`;
  });
}

function bodyLines({ lines, list }: Section, width: number): string[] {
  return lines.flatMap((line) => {
    if (!list) return wrapText(line, width);
    return wrapText(line, width - 2).map((part, index) => (index === 0 ? `• ${part}` : `  ${part}`));
  });
}

function memoryLines(bars: readonly MemoryBar[], width: number, locale: Locale, paint: Paint): string[] {
  const totals = bars.map((bar) => `${formatBytes(bar.usedBytes)} / ${formatBytes(bar.capacityBytes)}`);
  const labels = Math.max(0, ...bars.map(({ label }) => displayWidth(label)));
  const cells = Math.max(10, Math.min(48, width - labels - Math.max(0, ...totals.map((total) => total.length)) - 4));
  return bars.flatMap((bar, index) => {
    const drawn = barCells(bar, cells)
      .map(({ kind, count }) => paint(PART_COLOURS[kind], PART_SIGNS[kind].repeat(count)))
      .join("");
    const legend = bar.parts.map(({ kind, bytes }) => {
      const sign = kind === "free" ? "" : `${PART_SIGNS[kind]} `;
      return { text: `${sign}${MEMORY_PART_NAMES[kind][locale]} ${formatBytes(bytes)}`, sign, kind };
    });
    const rows: string[] = [];
    let row = "";
    let used = 0;
    for (const { text, sign, kind } of legend) {
      const wide = displayWidth(text);
      if (used > 0 && used + 2 + wide > width) {
        rows.push(row);
        row = "";
        used = 0;
      }
      const painted = sign === "" ? text : `${paint(PART_COLOURS[kind], sign.trim())} ${text.slice(sign.length)}`;
      row += used === 0 ? painted : `  ${painted}`;
      used += used === 0 ? wide : wide + 2;
    }
    rows.push(row);
    const label = bar.label + " ".repeat(labels - displayWidth(bar.label));
    return [`${label} ▕${drawn}▏ ${totals[index]}`, ...rows];
  });
}

function settingsLines(answer: FitsAnswer, options: TerminalOptions, columns: number, paint: Paint): string[] {
  const recipes = options.allSettings === true ? answer.launch : answer.launch.slice(0, 1);
  const lines = recipes.flatMap((recipe) => {
    const notes = recipe.notes.flatMap((note) =>
      wrapText(note[options.locale], columns - 4).map((line) => paint("2", `  ${line}`)),
    );
    return [
      "",
      paint("2", `${settingsTitle(options.locale)}${options.locale === "zh" ? "：" : ": "}${recipe.title}`),
      ...recipe.text.split("\n").map((line) => `  ${line}`),
      ...notes,
    ];
  });
  const others = answer.launch.slice(recipes.length).map(({ title }) => title);
  if (others.length > 0) {
    const more =
      options.locale === "zh" ? `另有（--launch）：${others.join("、")}` : `Also with --launch: ${others.join(", ")}`;
    lines.push("", ...wrapText(more, columns).map((line) => paint("2", line)));
  }
  return lines;
}

/** Terminal cells a text takes: two for a full-width character, none for a combining one. */
export function displayWidth(text: string): number {
  let width = 0;
  for (const char of text) {
    const code = char.codePointAt(0)!;
    if (code === 0x200b || (code >= 0x300 && code <= 0x36f) || (code >= 0xfe00 && code <= 0xfe0f)) continue;
    width += isWide(code) ? 2 : 1;
  }
  return width;
}

function isWide(code: number): boolean {
  return (
    (code >= 0x1100 && code <= 0x115f) ||
    (code >= 0x2e80 && code <= 0xa4cf) ||
    (code >= 0xac00 && code <= 0xd7a3) ||
    (code >= 0xf900 && code <= 0xfaff) ||
    (code >= 0xfe30 && code <= 0xfe6f) ||
    (code >= 0xff00 && code <= 0xff60) ||
    (code >= 0xffe0 && code <= 0xffe6) ||
    (code >= 0x1f300 && code <= 0x1faff) ||
    (code >= 0x20000 && code <= 0x3fffd)
  );
}

/** Marks that may not begin a line. */
const CLOSING = /^[，。、；：？！）》”,.;:?!)]/;

/** Breaks at spaces, and anywhere between Chinese characters; words longer than a line are cut. */
export function wrapText(text: string, width: number): string[] {
  const limit = Math.max(8, width);
  const lines: string[] = [];
  let line = "";
  let used = 0;
  for (const piece of text.match(/ +|[\u2e80-\u9fff\uff00-\uffef]|[^ \u2e80-\u9fff\uff00-\uffef]+/gu) ?? []) {
    for (const part of cutLong(piece, limit)) {
      const wide = displayWidth(part);
      const fits = used + wide <= limit || (CLOSING.test(part) && used + wide <= limit + 2);
      if (!fits) {
        lines.push(line.trimEnd());
        line = "";
        used = 0;
        if (part.trim() === "") continue;
      }
      if (used === 0 && part.trim() === "") continue;
      line += part;
      used += wide;
    }
  }
  if (line.trim() !== "" || lines.length === 0) lines.push(line.trimEnd());
  return lines;
}

function cutLong(piece: string, limit: number): string[] {
  if (displayWidth(piece) <= limit) return [piece];
  const parts: string[] = [];
  let part = "";
  for (const char of piece) {
    if (displayWidth(part) + displayWidth(char) > limit) {
      parts.push(part);
      part = "";
    }
    part += char;
  }
  return [...parts, part];
}

/** Names from a question may hold control characters; a terminal would obey them. Our own colours are kept. */
function clean(line: string): string {
  return line.replace(/\p{Cc}(?:\[[\d;]*m)?/gu, (found) => (found.startsWith(ESCAPE) ? found : ""));
}
