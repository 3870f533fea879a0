/**
 * `parseQuery`: what people type about fitting, in English or Chinese and in any order, as a wish.
 *
 * Rules (query-rules.ts) and names (query-names.ts) are matched at each place of the text, the longer match winning;
 * what they state is then put together, and every guess is said in `notes`.
 */
import { echoQuery } from "./query-echo.ts";
import { finishQuery } from "./query-finish.ts";
import { isSeries, matchGpu, matchModel } from "./query-names.ts";
import { addFact, addGpu, addModel, createReading, type Reading } from "./query-reading.ts";
import { cutReferences } from "./query-references.ts";
import { matchBareNumber, matchRule, type RuleMatch } from "./query-rules.ts";
import { readTerms } from "./query-terms.ts";
import { cutPieces, isHan, normalizeQueryText, type Piece } from "./query-text.ts";
import type { FitsQuery } from "./query-types.ts";
import { isFiller } from "./query-words.ts";

export { QUERY_EXAMPLES } from "./query-text.ts";
export type { FitsQuery, Framework, Localized, ModelReference, Purpose, QueryKind } from "./query-types.ts";

/**
 * Reads a question: "13b 6gb", "llama 3.1 70b on 4090 + 64gb ram", "6gb", "70b", "什么是 nf4".
 *
 * @throws AppError invalid_request, with `details.examples` and, where a word looks misspelled, `details.suggestions`
 * (whole corrected questions), when the text is empty, too long, or states nothing about fitting.
 */
export function parseQuery(text: string): FitsQuery {
  const { rest, reference } = cutReferences(text);
  const plain = rest.trim() === "" && reference !== undefined ? "" : normalizeQueryText(rest);
  const locale = hasHan(text) ? "zh" : "en";
  const terms = reference === undefined ? readTerms(plain) : undefined;
  if (terms !== undefined && terms.terms.length > 0) {
    const query = {
      kind: "term",
      text: text.trim(),
      locale,
      wish: {},
      terms: terms.terms.map(({ names }) => names[0]!),
      notes: [],
    } as const;
    return { ...query, echo: echoQuery(query) };
  }
  const reading = createReading(plain);
  if (reference !== undefined) reading.reference = reference;
  readPieces(plain, cutPieces(plain), reading);
  const query = finishQuery(text.trim(), locale, reading, terms?.asked === true ? terms.word : undefined);
  return { ...query, echo: echoQuery(query) };
}

/**
 * Builds the tables of names now instead of at the first question. For hosts that count CPU time per request and not
 * at start, such as Workers.
 */
export function prepareQueries(): void {
  parseQuery("qwen3 8b on a 3060 with 8gb");
}

function hasHan(text: string): boolean {
  for (let index = 0; index < text.length; index++) if (isHan(text.charCodeAt(index))) return true;
  return false;
}

function readPieces(text: string, pieces: readonly Piece[], reading: Reading): void {
  let index = 0;
  while (index < pieces.length) index = readAt(text, pieces, index, reading);
}

/** Reads what starts at piece `index`; the index of the next unread piece. */
function readAt(text: string, pieces: readonly Piece[], index: number, reading: Reading): number {
  const piece = pieces[index]!;
  const rule = matchRule(text, piece.start, piece.kind);
  const ruleEnd = rule === undefined ? index : endPiece(pieces, index, rule);
  if (piece.kind === "word" || piece.kind === "number") {
    const gpu = matchGpu(pieces, index);
    const model = matchModel(text, pieces, index);
    if (model !== undefined && model.end > ruleEnd && model.end >= (gpu?.end ?? 0)) {
      addModel(reading, model.value, piece.start);
      return model.end;
    }
    // "780m" is a GPU before it is 780 million parameters.
    if (gpu !== undefined && (gpu.end > ruleEnd || (gpu.end === ruleEnd && rule?.fact.kind === "parameters"))) {
      addGpu(reading, gpu.value);
      return skipPlural(pieces, gpu.end);
    }
  }
  const next = pieces[index + 1];
  if (isSeries(piece.text) && next?.kind === "number") reading.series ??= text.slice(piece.start, next.end);
  if (rule !== undefined) {
    addFact(reading, rule.fact);
    return ruleEnd;
  }
  if (piece.kind === "number") {
    const bare = matchBareNumber(text, piece.start);
    const version = text[piece.start - 1] === "v" && !/[a-z]/.test(text[piece.start - 2] ?? " ");
    if (bare?.fact.kind === "number") addFact(reading, version ? { ...bare.fact, version } : bare.fact);
  } else if (piece.kind === "word" && !isFiller(piece.text))
    reading.unknown.push({ text: piece.text, start: piece.start, order: reading.order });
  return index + 1;
}

/** The "s" of "two 4090s". */
function skipPlural(pieces: readonly Piece[], index: number): number {
  const next = pieces[index];
  return next?.text === "s" && next.start === pieces[index - 1]!.end ? index + 1 : index;
}

function endPiece(pieces: readonly Piece[], index: number, { end }: RuleMatch): number {
  let next = index + 1;
  while (next < pieces.length && pieces[next]!.start < end) next++;
  return next;
}
