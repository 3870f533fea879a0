/** The models people run: looked up by the names they type, each with the shape its files have. */
import { editDistance, type NameTokens, tokensOf } from "./catalogue-names.ts";
import { type CatalogueRow, type CatalogueUse, readRows } from "./catalogue-rows.ts";
import { specFromKeys } from "./model.ts";
import { metadataOfFacts, type ShapeFacts } from "./shape-facts.ts";
import type { ModelSpec } from "./types.ts";

export type { CatalogueUse } from "./catalogue-rows.ts";

export interface CatalogueModel {
  /** Stable key: the name in lower case with hyphens. */
  id: string;
  name: string;
  aliases: readonly string[];
  family: string;
  /** "2025-04". */
  release: string;
  architecture: string;
  /** Of the part llama.cpp loads; a vision tower comes on top. */
  parameterCount: number;
  contextLengthTrained: number;
  license?: string;
  /** Hugging Face repository of the original weights. */
  repository?: string;
  /** Hugging Face repository of GGUF files. */
  ggufRepository?: string;
  uses: readonly CatalogueUse[];
  /** Size of the vision or audio projector file at F16, when published. */
  projectorBytes?: number;
  /** Where the facts come from. */
  source: string;
  shape: ShapeFacts;
}

/** Every model, newest first. */
export const CATALOGUE_MODELS: readonly CatalogueModel[] = readRows().map(toModel).sort(byRelease);

export interface CatalogueMatch {
  model: CatalogueModel;
  /** Others the text may mean, best first. */
  also: CatalogueModel[];
}

/** The model `text` means, or undefined when it names none. Sizes alone ("13b") name none. */
export function findCatalogueModel(text: string): CatalogueMatch | undefined {
  const query = tokensOf(text);
  if (query.squashed === "") return undefined;
  const { exact, byFamilyWord } = index();
  const same = exact.get(query.squashedWhole) ?? exact.get(query.squashed);
  const ranked = rank(
    query,
    [...new Set(query.words)].flatMap((word) => byFamilyWord.get(word) ?? []),
  );
  const best = same?.[0] ?? ranked[0];
  if (best === undefined) return undefined;
  const also = [...(same ?? []), ...ranked].filter((model, at, all) => model !== best && all.indexOf(model) === at);
  return { model: best, also: also.slice(0, alsoMax) };
}

/** Names near to `text`, for "did you mean". */
export function suggestModels(text: string, count: number): CatalogueModel[] {
  const query = tokensOf(text);
  const best = new Map<CatalogueModel, number>();
  for (const { model, tokens } of index().entries) {
    const score = closeness(query, tokens);
    if (score <= closenessMax && score < (best.get(model) ?? Number.POSITIVE_INFINITY)) best.set(model, score);
  }
  const ranked = [...best].sort(([, left], [, right]) => left - right);
  return ranked.slice(0, count).map(([model]) => model);
}

const specs = new Map<string, ModelSpec>();

/** The model's spec: layers now, tensors on first use, both once. */
export function specFromCatalogue(model: CatalogueModel): ModelSpec {
  const known = specs.get(model.id);
  if (known !== undefined) return known;
  const { metadata, hints } = metadataOfFacts(model.shape);
  const spec = specFromKeys(metadata, "catalogue", { name: model.name, parameterCount: model.parameterCount }, hints);
  if (model.projectorBytes !== undefined) spec.projectorBytes = model.projectorBytes;
  specs.set(model.id, spec);
  return spec;
}

const alsoMax = 12;
/** Share of a name's letters that may differ before it is no longer a suggestion. */
const closenessMax = 0.4;

interface Entry {
  model: CatalogueModel;
  tokens: NameTokens;
}

interface Index {
  exact: Map<string, CatalogueModel[]>;
  entries: readonly Entry[];
  /** Entries by the first word of their name, the family's: a query must say it. */
  byFamilyWord: ReadonlyMap<string, readonly Entry[]>;
  words: ReadonlySet<string>;
}

let built: Index | undefined;

function index(): Index {
  if (built !== undefined) return built;
  const exact = new Map<string, CatalogueModel[]>();
  const entries: Entry[] = [];
  const byFamilyWord = new Map<string, Entry[]>();
  const words = new Set<string>();
  for (const model of CATALOGUE_MODELS) {
    for (const name of namesOf(model)) {
      const tokens = tokensOf(name);
      const entry = { model, tokens };
      entries.push(entry);
      const first = tokens.words[0] ?? "";
      byFamilyWord.set(first, [...(byFamilyWord.get(first) ?? []), entry]);
      for (const word of tokens.words) words.add(word);
      for (const key of new Set([tokens.squashedWhole, tokens.squashed])) {
        const list = exact.get(key) ?? [];
        // A name written just so comes before one that only reads the same with words dropped.
        if (key === tokens.squashedWhole) list.unshift(model);
        else list.push(model);
        exact.set(key, [...new Set(list)]);
      }
    }
  }
  built = { exact, entries, byFamilyWord, words };
  return built;
}

function namesOf(model: CatalogueModel): string[] {
  const names = [model.name, ...model.aliases];
  if (model.repository !== undefined) names.push(model.repository);
  return names;
}

/** Models whose name holds every part of the query, fewest further parts first, then the newest, then the usual size. */
function rank(query: NameTokens, entries: readonly Entry[]): CatalogueModel[] {
  const best = new Map<CatalogueModel, number>();
  for (const { model, tokens } of entries) {
    const extra = furtherParts(query, tokens);
    if (extra === undefined) continue;
    const before = best.get(model);
    if (before === undefined || extra < before) best.set(model, extra);
  }
  return [...best]
    .sort(
      ([left, extraLeft], [right, extraRight]) =>
        extraLeft - extraRight || byRelease(left, right) || usualFirst(left, right),
    )
    .map(([model]) => model);
}

/** Words that come and go with a release of the same model. */
const SOFT_WORDS = new Set(["thinking", "terminus", "exp"]);
/** A date of a release ("2507", "0528") may be left out of the catalogue; a family's number may not. */
const DATE = /^(?:2\d[01]\d|[01]\d[0-3]\d|\d{6,8})$/;

/** How many parts of the name the query leaves out; undefined when the query says something the name does not. */
function furtherParts(query: NameTokens, name: NameTokens): number | undefined {
  if (!query.sizes.every((size) => name.sizes.includes(size))) return undefined;
  const { words } = index();
  const unknownWords = query.words.filter((word) => !words.has(word));
  // A fine-tune's name is fine beside a family and a size; without a size it may be anything.
  if (unknownWords.length > 0 && query.sizes.length === 0) return undefined;
  const missingWords = query.words.filter((word) => words.has(word) && !name.words.includes(word));
  if (missingWords.some((word) => !SOFT_WORDS.has(word))) return undefined;
  const known = [...name.numbers, ...name.versions];
  const missingNumbers = query.numbers.filter((number) => !known.includes(number));
  if (missingNumbers.some((number) => !DATE.test(number))) return undefined;
  const missingVersions = query.versions.filter((version) => !known.includes(version));
  if (missingVersions.length > 0 && unknownWords.length === 0) return undefined;
  const said = [...query.numbers, ...query.versions];
  const extra =
    name.words.filter((word) => !query.words.includes(word)).length +
    known.filter((number) => !said.includes(number)).length * 0.5 +
    name.sizes.filter((size) => !query.sizes.includes(size)).length * 0.25;
  const missing = unknownWords.length + missingWords.length + missingNumbers.length + missingVersions.length;
  return extra + missing * 2;
}

function closeness(query: NameTokens, name: NameTokens): number {
  const longest = Math.max(query.squashed.length, name.squashed.length, 1);
  const limit = Math.ceil(longest * closenessMax);
  const sizePenalty = query.sizes.length > 0 && !query.sizes.some((size) => name.sizes.includes(size)) ? 0.15 : 0;
  return editDistance(query.squashed, name.squashed, limit) / longest + sizePenalty;
}

/** The size most people mean when they name none: near 8 billion. */
function usualFirst(left: CatalogueModel, right: CatalogueModel): number {
  const away = (model: CatalogueModel) => Math.abs(Math.log(model.parameterCount / 8e9));
  return away(left) - away(right);
}

function byRelease(left: CatalogueModel, right: CatalogueModel): number {
  return right.release.localeCompare(left.release);
}

function toModel(row: CatalogueRow): CatalogueModel {
  const model: CatalogueModel = {
    id: row.name.toLowerCase().replace(/[^a-z0-9.]+/g, "-"),
    name: row.name,
    aliases: row.aliases,
    family: row.family,
    release: row.release,
    architecture: row.shape.arch,
    parameterCount: row.params,
    contextLengthTrained: row.shape.context,
    uses: row.uses,
    source: row.source,
    shape: row.shape,
  };
  if (row.license !== undefined) model.license = row.license;
  if (row.hf !== undefined) model.repository = row.hf;
  if (row.gguf !== undefined) model.ggufRepository = row.gguf;
  if (row.projector !== undefined) model.projectorBytes = row.projector;
  return model;
}
