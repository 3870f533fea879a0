/**
 * What people type, made regular: one case, one width, one kind of space; then cut into pieces that rules and
 * names are matched against. Everything is linear in the text, whose length is bounded.
 */
import { AppError } from "../core/errors.ts";
import { fitQueryCharsMax } from "../core/limits.ts";
import type { Localized } from "./query-types.ts";

/** A run of one kind of character; `start` and `end` are offsets in the normalized text. */
export interface Piece {
  kind: "number" | "word" | "han" | "symbol";
  text: string;
  start: number;
  end: number;
}

/** Questions shown with every refusal to understand. */
export const QUERY_EXAMPLES: readonly string[] = [
  "13b 6gb",
  "qwen3-8b q4_k_m 8gb ctx 16k",
  "llama 3.1 70b on 4090 + 64gb ram",
  "6gb",
  "70b",
  "13B 6G显存",
];

/**
 * The refusal for text that is no question about fitting. `details.sentences` says it in every language,
 * `details.suggestions` holds whole questions that would work.
 */
export function queryError(sentence: Localized, suggestions: readonly string[] = []): AppError {
  const examples = QUERY_EXAMPLES.slice(0, 4).join(" · ");
  const sentences: Localized = { en: `${sentence.en} Try: ${examples}.`, zh: `${sentence.zh}试试：${examples}。` };
  return new AppError("invalid_request", sentences.en, {
    param: "query",
    details: { sentences, examples: QUERY_EXAMPLES, ...(suggestions.length === 0 ? {} : { suggestions }) },
  });
}

/**
 * Lower case, half width, plain spaces. Full-width digits and letters become ASCII (NFKC), multiplication signs become
 * `x`, Chinese punctuation becomes a space, dashes become `-`.
 *
 * @throws AppError invalid_request when the text is empty or longer than `fitQueryCharsMax`.
 */
export function normalizeQueryText(text: string): string {
  if (text.length > fitQueryCharsMax) {
    throw queryError({
      en: `The question is ${text.length} characters long; ${fitQueryCharsMax} is the most.`,
      zh: `问题有 ${text.length} 个字符，最多 ${fitQueryCharsMax} 个。`,
    });
  }
  const plain = (isAscii(text) ? text : fold(text))
    .toLowerCase()
    // "4o90": a letter between digits that was meant as one.
    .replace(/(?<=\d)o(?=\d)/g, "0")
    .trim();
  if (plain.length === 0) throw queryError({ en: "The question is empty.", zh: "问题是空的。" });
  // Some characters unfold to many; the bound holds for what the rules see as well.
  return plain.length > fitQueryCharsMax ? plain.slice(0, fitQueryCharsMax) : plain;
}

function isAscii(text: string): boolean {
  for (let index = 0; index < text.length; index++) if (text.charCodeAt(index) > 126) return false;
  return true;
}

function fold(text: string): string {
  return text
    .normalize("NFKC")
    .replace(/(?:通义)?千问|通义/g, "qwen")
    .replace(/深度求索/g, "deepseek")
    .replace(/(?:腾讯)?混元/g, "hunyuan")
    .replace(/百川/g, "baichuan")
    .replace(/书生/g, "internlm")
    .replace(/智谱/g, "glm")
    .replace(/[×✕✖]/g, "x")
    .replace(/[‐-―−]/g, "-")
    .replace(/[≥⩾]/g, ">=")
    .replace(/[、。「」『』【】《》]/g, " ")
    .replace(/[\p{Cc}\p{Cf}\p{Z}]/gu, " ");
}

/** True for a Chinese character. */
export function isHan(code: number): boolean {
  return (code >= 0x4e00 && code <= 0x9fff) || (code >= 0x3400 && code <= 0x4dbf);
}

function isDigit(code: number): boolean {
  return code >= 48 && code <= 57;
}

function isLetter(code: number): boolean {
  return code >= 97 && code <= 122;
}

/**
 * Cuts at every change between digits, letters, Chinese characters and symbols, so that "qwen3-8b", "qwen3 8b" and
 * "Qwen 3 8B" give the same words. A decimal point belongs to its number; a Chinese character stands alone.
 */
export function cutPieces(text: string): Piece[] {
  const pieces: Piece[] = [];
  let start = 0;
  while (start < text.length) {
    const code = text.charCodeAt(start);
    let end = start + 1;
    let kind: Piece["kind"] = "symbol";
    if (code === 32 || code === 9 || code === 10 || code === 13) {
      start = end;
      continue;
    }
    if (isDigit(code)) {
      kind = "number";
      end = numberEnd(text, start);
    } else if (isLetter(code)) {
      kind = "word";
      while (end < text.length && isLetter(text.charCodeAt(end))) end++;
      if (isTimes(text, start, end, pieces.at(-1))) end = start + 1;
    } else if (isHan(code)) {
      kind = "han";
    }
    pieces.push({ kind, text: text.slice(start, end), start, end });
    start = end;
  }
  return pieces;
}

/** The "x" of "8xh100": glued behind a count, in front of a name. "7900xtx" has none. */
function isTimes(text: string, start: number, end: number, before: Piece | undefined): boolean {
  return (
    text[start] === "x" &&
    end > start + 1 &&
    before?.kind === "number" &&
    before.end === start &&
    before.text.length <= 2
  );
}

function numberEnd(text: string, start: number): number {
  let end = start + 1;
  while (end < text.length && isDigit(text.charCodeAt(end))) end++;
  if (text[end] === "." && isDigit(text.charCodeAt(end + 1))) {
    end += 2;
    while (end < text.length && isDigit(text.charCodeAt(end))) end++;
  }
  return end;
}
