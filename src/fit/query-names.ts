/** Names of cards and models inside a question: where they start, where they end, what they mean. */
import { CATALOGUE_MODELS, type CatalogueModel, findCatalogueModel } from "./catalogue.ts";
import gpuData from "./data/gpus.json" with { type: "json" };
import { findGpu, GPUS } from "./gpus.ts";
import type { NamedGpu } from "./query-hardware.ts";
import { matchRule } from "./query-rules.ts";
import { cutPieces, normalizeQueryText, type Piece } from "./query-text.ts";

interface TrieNode {
  next: Map<string, TrieNode>;
  /** The name that ends here. */
  name?: string;
}

const BRANDS = new Set(["nvidia", "geforce", "amd", "intel", "apple", "graphics", "card"]);
/** Series words that people leave out before a number that tells enough. */
const SERIES = new Set(["rtx", "gtx", "rx", "arc", "quadro", "tesla", "instinct", "radeon", "titan", "ai", "pro"]);
/** Pieces between words that do not part a name. */
const JOINTS = new Set(["-", "_", ".", ":", "/"]);
/** Longest model name looked at, in pieces; bounds the work on hostile text. */
const namePiecesMax = 16;
const resolvedMax = 1000;

let gpuTrie: TrieNode | undefined;
let gpuWords: ReadonlySet<string> | undefined;

function addName(root: TrieNode, keys: readonly string[], name: string): void {
  let node = root;
  for (const key of keys) {
    let next = node.next.get(key);
    if (next === undefined) {
      next = { next: new Map() };
      node.next.set(key, next);
    }
    node = next;
  }
  node.name ??= name;
}

/** A card's name as pieces, without brand words and without its memory size, which is read apart. */
function gpuKeys(name: string): string[] {
  const keys = cutPieces(normalizeQueryText(name))
    .filter(({ kind, text }) => kind !== "symbol" && !BRANDS.has(text))
    .map(({ text }) => text);
  const size = keys.indexOf("gb");
  return size > 0 ? keys.filter((_, index) => index !== size && index !== size - 1) : keys;
}

/** A key alone must tell a card: "4090" and "a100" do, "580" and "x" do not. */
function tells(keys: readonly string[]): boolean {
  const first = keys[0]!;
  // "780m": three digits do when a letter follows them.
  if (/^\d/.test(first)) return first.length >= 4 || (keys[1] === "m" && first.length === 3);
  return keys.length > 1 || first.length > 3;
}

function buildGpuTrie(): TrieNode {
  const root: TrieNode = { next: new Map() };
  const rows: readonly { name: string; aliases?: readonly string[] }[] = gpuData.gpus;
  for (const row of rows) for (const name of [row.name, ...(row.aliases ?? [])]) addGpuName(root, name);
  return root;
}

/** A name under every spelling people use for it; each ends in a text that findGpu knows. */
function addGpuName(root: TrieNode, name: string): void {
  let text = name.toLowerCase().replace(/\s*\b\d+ ?gb\b/, "");
  addName(root, gpuKeys(name), text);
  for (;;) {
    const keys = gpuKeys(text);
    const last = keys.at(-1);
    if (last === "super") addName(root, [...keys.slice(0, -1), "s"], text);
    if (last === "laptop") {
      addName(root, [...keys.slice(0, -1), "m"], text);
      addName(root, keys.slice(0, -1), text.replace(/ laptop$/, ""));
    }
    const [first, ...rest] = text.split(" ");
    if (!SERIES.has(first!) && !BRANDS.has(first!)) return;
    if (rest.length === 0 || !tells(gpuKeys(rest.join(" ")))) return;
    text = rest.join(" ");
    addName(root, gpuKeys(text), text);
  }
}

/** Every word of a card's name, for "did you mean". */
export function gpuVocabulary(): ReadonlySet<string> {
  gpuWords ??= new Set(GPUS.flatMap(({ name }) => gpuKeys(name)).filter((word) => word.length >= 3));
  return gpuWords;
}

export interface NameMatch<T> {
  value: T;
  /** Index of the first piece behind the name. */
  end: number;
}

const resolvedGpus = new Map<string, NamedGpu | undefined>();

/** The longest card name that starts at piece `start`. */
export function matchGpu(pieces: readonly Piece[], start: number): NameMatch<NamedGpu> | undefined {
  gpuTrie ??= buildGpuTrie();
  // "a 30b model": an article is no A30.
  const [first, second] = [pieces[start]!, pieces[start + 1]];
  if (first.text === "a" && second?.kind === "number" && second.start !== first.end) return undefined;
  let node: TrieNode | undefined = gpuTrie;
  let found: { name: string; end: number } | undefined;
  for (let index = start; index < pieces.length && node !== undefined; index++) {
    const { text, kind } = pieces[index]!;
    if (kind === "symbol" && JOINTS.has(text) && index > start) continue;
    if (index === start && BRANDS.has(text)) continue;
    node = node.next.get(text);
    if (node?.name !== undefined) found = { name: node.name, end: index + 1 };
  }
  if (found === undefined) return undefined;
  const value = resolveGpu(found.name);
  return value === undefined ? undefined : { value, end: found.end };
}

function resolveGpu(name: string): NamedGpu | undefined {
  if (!resolvedGpus.has(name)) resolvedGpus.set(name, findGpu(name));
  return resolvedGpus.get(name);
}

/** A model named in a question. */
export interface NamedModel {
  model: CatalogueModel;
  also: readonly CatalogueModel[];
  /** The words that named it. */
  text: string;
  /** True when the words hold a size ("8b"). */
  sized: boolean;
}

interface ModelWords {
  /** Words a name may start with. */
  first: ReadonlySet<string>;
  all: ReadonlySet<string>;
  /** "command r", "falcon h": single letters that stand apart, with the word before them. */
  letters: ReadonlySet<string>;
}

/** Words that say how a model was tuned or packed; part of a name when they stand in it. */
const TUNING_WORDS = ["instruct", "chat", "it", "base", "hf", "preview", "thinking", "distill", "v", "latest", "gguf"];

let modelWords: ModelWords | undefined;

function wordsOfModels(): ModelWords {
  if (modelWords !== undefined) return modelWords;
  const first = new Set<string>();
  const all = new Set<string>(TUNING_WORDS);
  const letters = new Set<string>();
  for (const { name, aliases, repository } of CATALOGUE_MODELS) {
    const names = [name, ...aliases];
    if (repository !== undefined) names.push(repository.split("/").at(-1)!);
    for (const one of names) {
      const pieces = cutPieces(normalizeQueryText(one)).filter(({ kind }) => kind !== "symbol");
      if (pieces[0] !== undefined) first.add(pieces[0].text);
      pieces.forEach(({ text }, index) => {
        all.add(text);
        if (text.length === 1 && index > 0) letters.add(`${pieces[index - 1]!.text} ${text}`);
      });
    }
  }
  // Units and formats are read by the rules; as words of a name ("…-4B-BF16") they would be swallowed.
  for (const word of ["b", "g", "gb", "bf", "fp", "int", "awq", "gptq", "mxfp", "nvfp"]) all.delete(word);
  modelWords = { first, all, letters };
  return modelWords;
}

/** Every word a model's name starts with, for "did you mean". */
export function modelVocabulary(): ReadonlySet<string> {
  return wordsOfModels().first;
}

const resolvedModels = new Map<string, NamedModel | null>();

/** The longest model name that starts at piece `start` of `text`. */
export function matchModel(text: string, pieces: readonly Piece[], start: number): NameMatch<NamedModel> | undefined {
  const { first } = wordsOfModels();
  const piece = pieces[start]!;
  const next = pieces[start + 1];
  const joined = piece.kind === "word" && next?.kind === "word" && first.has(piece.text + next.text);
  if (!joined && !first.has(piece.text)) return undefined;
  if (piece.text.length === 1 && (next?.kind !== "number" || next.start !== piece.end)) return undefined;
  const ends = nameEnds(text, pieces, joined ? start + 1 : start);
  for (let at = ends.length - 1; at >= 0; at--) {
    const { end, sized } = ends[at]!;
    const words = text.slice(piece.start, pieces[end - 1]!.end);
    // "code llama" is written "CodeLlama".
    const value = joined ? resolveModel(words.replace(" ", ""), sized) : resolveModel(words, sized);
    if (value !== undefined && !BRANDS.has(words)) return { value, end };
  }
  return undefined;
}

/** Words that say a card's series, never a model: "rtx", "radeon". */
export function isSeries(word: string): boolean {
  return word === "rtx" || word === "gtx" || word === "rx" || word === "radeon" || word === "quadro";
}

let namesWithPlus: ReadonlySet<string> | undefined;

/** "commandr+": what stands before and with the plus of a name that has one. */
function plusNames(): ReadonlySet<string> {
  namesWithPlus ??= new Set(
    CATALOGUE_MODELS.flatMap(({ name, aliases }) => [name, ...aliases]).flatMap((name) => {
      const end = name.indexOf("+");
      return end < 0
        ? []
        : [
            name
              .slice(0, end + 1)
              .toLowerCase()
              .replace(/[^a-z0-9+]/g, ""),
          ];
    }),
  );
  return namesWithPlus;
}

/** Where a name that starts at `start` may end, nearest first. */
function nameEnds(text: string, pieces: readonly Piece[], start: number): { end: number; sized: boolean }[] {
  const { all, letters } = wordsOfModels();
  const ends: { end: number; sized: boolean }[] = [];
  let sized = false;
  let index = start;
  while (index < pieces.length && index - start < namePiecesMax) {
    const piece = pieces[index]!;
    if (piece.kind === "symbol") {
      const glued = pieces[index - 1]?.end === piece.start && pieces[index + 1]?.start === piece.end;
      // "command r+": a plus that ends a name, and joins nothing to it.
      if (piece.text === "+" && !glued && index > start && pieces[index - 1]!.end === piece.start) {
        const name = text.slice(pieces[start]!.start, piece.end);
        if (plusNames().has(name.replace(/[^a-z0-9+]/g, ""))) {
          ends.push({ end: ++index, sized });
          continue;
        }
      }
      if (!JOINTS.has(piece.text) || !glued) break;
      index++;
      continue;
    }
    if (piece.kind === "han") break;
    if (index > start) {
      const size = sizeEnd(text, pieces, index);
      if (size !== undefined) {
        sized = true;
        index = size;
        ends.push({ end: index, sized });
        continue;
      }
      if (piece.kind === "number" && matchRule(text, piece.start, "number") !== undefined) break;
      if (!all.has(piece.text)) break;
      const before = pieces[index - 1]!;
      const glued = before.end === piece.start || pieces[index + 1]?.start === piece.end;
      if (piece.kind === "word" && piece.text.length === 1 && !glued && !letters.has(`${before.text} ${piece.text}`))
        break;
    }
    index++;
    ends.push({ end: index, sized });
  }
  return ends;
}

/** The piece behind a model size ("8b", "30b-a3b", "8x7b", "e4b") that starts at `index`. */
function sizeEnd(text: string, pieces: readonly Piece[], index: number): number | undefined {
  const piece = pieces[index]!;
  if (piece.kind === "word" && (piece.text === "e" || piece.text === "a") && pieces[index + 1]?.start === piece.end) {
    return pieces[index + 1]?.kind === "number" ? sizeEnd(text, pieces, index + 1) : undefined;
  }
  if (piece.kind !== "number") return undefined;
  const match = matchRule(text, piece.start, "number");
  if (match?.fact.kind !== "parameters") return undefined;
  let end = index;
  while (end < pieces.length && pieces[end]!.start < match.end) end++;
  return end;
}

function resolveModel(words: string, sized: boolean): NamedModel | undefined {
  const known = resolvedModels.get(words);
  if (known !== undefined) return known ?? undefined;
  const match = findCatalogueModel(words);
  const value = match === undefined ? null : { ...match, text: words, sized };
  if (resolvedModels.size >= resolvedMax) resolvedModels.clear();
  resolvedModels.set(words, value);
  return value ?? undefined;
}
