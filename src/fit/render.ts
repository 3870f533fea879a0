/**
 * An answer as text. Whatever the form, the first line is the verdict and the second its reason; then plan, memory,
 * speed, quality and alternatives; launch settings last and folded away where the form can fold.
 */
import type { Locale } from "../core/errors.ts";
import { formatBytes } from "../core/units.ts";
import type { FitsAnswer } from "./answer-types.ts";
import type { LaunchRecipe } from "./launch.ts";
import { MEMORY_PART_NAMES, type MemoryBar, type MemoryPartKind } from "./render-memory.ts";
import { answerSections, type Section, type SectionKey } from "./render-sections.ts";

/** Characters a message may hold. */
export const discordCharsMax = 2000;
export const slackCharsMax = 3000;

/** A message in pieces no chat platform owns; each platform draws them its way. */
export type AnswerBlock =
  | { kind: "verdict"; text: string }
  | { kind: "text"; title?: string; text: string }
  | { kind: "list"; title: string; items: string[] }
  /** Memory of the devices in a fixed-width font. */
  | { kind: "bars"; lines: string[] }
  /** Copy-paste settings; to be hidden until asked for where the platform can. */
  | { kind: "settings"; title: string; language: LaunchRecipe["language"]; text: string };

export interface BlockOptions {
  locale: Locale;
  /** Characters of all blocks together as `blocksToMarkdown` writes them. */
  charsMax: number;
  /** Leaves out copy-paste settings. */
  withoutSettings?: boolean;
}

/** What to leave out first when a message is too long. */
const LEAST_WANTED: readonly SectionKey[] = ["quality", "notes", "asked", "memory", "plan", "speed", "instead"];

/**
 * The answer for a chat message. Always within `charsMax` (1000 at least): settings go first, then sections from the
 * least wanted, then items from the end of lists; verdict and reason stay.
 */
export function renderBlocks(answer: FitsAnswer, options: BlockOptions): AnswerBlock[] {
  const { locale, charsMax } = options;
  let sections = answerSections(answer, locale);
  const settings = options.withoutSettings === true ? [] : settingsBlocks(answer);
  let blocks = assemble(answer, sections, settings, locale);
  if (length(blocks) > charsMax) blocks = assemble(answer, sections, [], locale);
  for (const key of LEAST_WANTED) {
    if (length(blocks) <= charsMax) return blocks;
    sections = shortenSection(sections, key);
    blocks = assemble(answer, sections, [], locale);
    if (length(blocks) <= charsMax) return blocks;
    sections = sections.filter((section) => section.key !== key);
    blocks = assemble(answer, sections, [], locale);
  }
  return length(blocks) <= charsMax ? blocks : cutBlocks(blocks, charsMax);
}

/** A list loses its second half before it goes altogether. */
function shortenSection(sections: readonly Section[], key: SectionKey): Section[] {
  return sections.map((section) =>
    section.key === key && section.list
      ? { ...section, lines: section.lines.slice(0, Math.ceil(section.lines.length / 2)) }
      : section,
  );
}

function cutBlocks(blocks: readonly AnswerBlock[], charsMax: number): AnswerBlock[] {
  const kept: AnswerBlock[] = [];
  for (const block of blocks) {
    if (length([...kept, block]) > charsMax) break;
    kept.push(block);
  }
  return kept.length > 0
    ? kept
    : [
        {
          kind: "verdict",
          text: [...(blocks[0]?.kind === "verdict" ? blocks[0].text : "")].slice(0, charsMax - 10).join(""),
        },
      ];
}

function assemble(
  answer: FitsAnswer,
  sections: readonly Section[],
  settings: readonly AnswerBlock[],
  locale: Locale,
): AnswerBlock[] {
  const { verdict } = answer;
  const blocks: AnswerBlock[] = [
    { kind: "verdict", text: verdict.line[locale] },
    { kind: "text", text: verdict.reason[locale] },
  ];
  for (const { key, title, lines, list } of sections) {
    if (key === "memory") blocks.push({ kind: "bars", lines: answer.memory.map((bar) => plainBar(bar, chatBarWidth)) });
    else if (list) blocks.push({ kind: "list", title, items: lines });
    else blocks.push({ kind: "text", title, text: lines.join("\n") });
  }
  return [...blocks, ...settings];
}

function settingsBlocks(answer: FitsAnswer): AnswerBlock[] {
  const [first] = answer.launch;
  return first === undefined
    ? []
    : [{ kind: "settings", title: first.title, language: first.language, text: first.text }];
}

function length(blocks: readonly AnswerBlock[]): number {
  return blocksToMarkdown(blocks).length;
}

/** Blocks as the Markdown that Discord and most chats read. */
export function blocksToMarkdown(blocks: readonly AnswerBlock[]): string {
  return blocks.map(blockToMarkdown).join("\n");
}

function blockToMarkdown(block: AnswerBlock): string {
  switch (block.kind) {
    case "verdict":
      return `**${escapeMarkdown(block.text)}**`;
    case "text":
      return block.title === undefined
        ? escapeMarkdown(block.text)
        : `**${block.title}** ${escapeMarkdown(block.text)}`;
    case "list":
      return [`**${block.title}**`, ...block.items.map((item) => `- ${escapeMarkdown(item)}`)].join("\n");
    case "bars":
      return ["```", ...block.lines, "```"].join("\n");
    case "settings":
      return [`**${block.title}**`, `\`\`\`${block.language}`, block.text.replaceAll("```", "'''"), "```"].join("\n");
  }
}

/** Names from a question may hold Markdown; nothing of it may act, and no mention may ping. */
export function escapeMarkdown(text: string): string {
  return text
    .replace(/([\\`*~|[\]<>])/g, "\\$1")
    .replace(/(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])/g, "\\_")
    .replace(/@(?=everyone|here|&|!|\d)/g, "@\u200b");
}

const chatBarWidth = 28;

/** A sign per part, so that bars read without colour. */
export const PART_SIGNS: Record<MemoryPartKind, string> = {
  weights: "█",
  kvCache: "▓",
  state: "▒",
  compute: "▒",
  runtime: "░",
  others: "×",
  reserve: "·",
  free: " ",
  over: "!",
};

/** "[████▓▒░·  ] 5.37 / 6 GiB GPU". */
export function plainBar(bar: MemoryBar, width: number): string {
  const cells = barCells(bar, width)
    .map(({ kind, count }) => PART_SIGNS[kind].repeat(count))
    .join("");
  return `[${cells}] ${formatBytes(bar.usedBytes)} / ${formatBytes(bar.capacityBytes)} ${bar.label}`;
}

/** Cells per part, rounded so that they sum to `width`; a part that is there gets a cell if there is room. */
export function barCells(bar: MemoryBar, width: number): { kind: MemoryPartKind; count: number }[] {
  const over = bar.totalBytes > bar.capacityBytes;
  const exact = bar.parts.map(({ kind, bytes }) => ({ kind, exact: (bytes / bar.totalBytes) * width }));
  const cells = exact.map(({ kind, exact: value }) => ({
    kind,
    count: Math.floor(value),
    rest: value - Math.floor(value),
  }));
  for (const cell of cells) {
    if (cell.count === 0 && cell.kind !== "free" && cell.rest > 0.15) {
      cell.count = 1;
      cell.rest = -1;
    }
  }
  let left = width - cells.reduce((sum, { count }) => sum + count, 0);
  const byRest = [...cells].sort((a, b) => b.rest - a.rest);
  for (const cell of byRest) {
    if (left <= 0) break;
    cell.count++;
    left--;
  }
  for (const cell of [...cells].sort((a, b) => b.count - a.count)) {
    if (left >= 0) break;
    const take = Math.min(cell.count, -left);
    cell.count -= take;
    left += take;
  }
  const out = cells.map(({ kind, count }) => ({ kind, count }));
  if (over) markOver(out, Math.round((width * (bar.totalBytes - bar.capacityBytes)) / bar.totalBytes));
  return out.filter(({ count }) => count > 0);
}

/** The cells beyond the card's end. */
function markOver(cells: { kind: MemoryPartKind; count: number }[], count: number): void {
  let left = count;
  for (let index = cells.length - 1; index >= 0 && left > 0; index--) {
    const take = Math.min(cells[index]!.count, left);
    cells[index]!.count -= take;
    left -= take;
  }
  if (count > 0) cells.push({ kind: "over", count });
}

/** A page of Markdown: everything, with every launch setting in a fold. */
export function renderMarkdown(answer: FitsAnswer, locale: Locale): string {
  const { verdict } = answer;
  const lines = [`## ${escapeMarkdown(verdict.line[locale])}`, "", escapeMarkdown(verdict.reason[locale]), ""];
  for (const section of answerSections(answer, locale)) {
    lines.push(`### ${section.title}`, "");
    if (section.key === "memory")
      lines.push(
        "```",
        ...answer.memory.map((bar) => plainBar(bar, 40)),
        "```",
        "",
        signLegend(answer.memory, locale),
        "",
      );
    for (const line of section.lines)
      lines.push(section.list || section.lines.length > 1 ? `- ${escapeMarkdown(line)}` : escapeMarkdown(line));
    lines.push("");
  }
  for (const recipe of answer.launch) lines.push(...foldedRecipe(recipe, locale));
  return `${lines.join("\n").trimEnd()}\n`;
}

function foldedRecipe(recipe: LaunchRecipe, locale: Locale): string[] {
  const notes = recipe.notes.map((note) => `- ${escapeMarkdown(note[locale])}`);
  return [
    `<details><summary>${recipe.title}</summary>`,
    "",
    `\`\`\`${recipe.language}`,
    recipe.text.replaceAll("```", "'''"),
    "```",
    ...(notes.length === 0 ? [] : ["", ...notes]),
    "",
    "</details>",
    "",
  ];
}

/** "█ weights · ▓ KV cache": the signs in use. */
export function signLegend(bars: readonly MemoryBar[], locale: Locale): string {
  const kinds = [...new Set(bars.flatMap(({ parts }) => parts.map(({ kind }) => kind)))].filter(
    (kind) => kind !== "free",
  );
  return kinds.map((kind) => `${PART_SIGNS[kind]} ${MEMORY_PART_NAMES[kind][locale]}`).join(" · ");
}
