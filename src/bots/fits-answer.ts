/** `/fits`: the planner's answer as a chat message, and complete queries while one is being typed. */
import { AppError, type Locale } from "../core/errors.ts";
import type { ChatFile } from "../core/ports.ts";
import { answerQuery, type FitsAnswer } from "../fit/answer.ts";
import { renderPicture } from "../fit/answer-picture.ts";
import { CATALOGUE_MODELS } from "../fit/catalogue.ts";
import type { LoadedGguf } from "../fit/gguf-load.ts";
import { GPUS } from "../fit/gpus.ts";
import { specFromGguf } from "../fit/model.ts";
import { type FitsQuery, parseQuery, QUERY_EXAMPLES, type QueryKind } from "../fit/query.ts";
import { blocksToMarkdown, renderBlocks } from "../fit/render.ts";
import { TEXTS } from "./locale/locale.ts";
import type { BotLocale } from "./locale/texts.ts";

/**
 * PNG of a picture, since chats show no SVG; `render` gives it in the language whose letters can be drawn. Undefined
 * where there is nothing to draw.
 */
export type DrawPng = (
  render: (locale: Locale) => string | undefined,
  wanted: Locale,
) => Promise<Uint8Array | undefined>;

/** The planner, as the bots see it. */
export interface FitsPort {
  /**
   * @param charsMax of the text
   * @throws AppError for a question it cannot read; `details.sentences` may say why, by language
   */
  answer(query: string, locale: BotLocale, charsMax: number): Promise<{ text: string; picture?: ChatFile }>;
  /** Complete queries that go on from what was typed, best first. Never throws. */
  suggest(typed: string, countMax: number): string[];
}

export interface FitsPortOptions {
  /** Reads the header behind an `hf:` reference or an address. Without it such questions are answered by name. */
  loadGguf?: (location: string) => Promise<LoadedGguf>;
  /** Without it there are no pictures. */
  drawPng?: DrawPng;
}

export function createFitsPort(options: FitsPortOptions = {}): FitsPort {
  return {
    async answer(text, locale, charsMax) {
      const query = parseQuery(text);
      const model = await readModel(query, options);
      const answer = answerQuery(query, model === undefined ? {} : { model });
      const planLocale: Locale = locale === "en" ? "en" : "zh";
      const markdown = blocksToMarkdown(renderBlocks(answer, { locale: planLocale, charsMax }));
      const picture = await drawAnswer(answer, planLocale, TEXTS[locale].fitsPicture, options);
      return { text: markdown, ...(picture === undefined ? {} : { picture }) };
    },
    suggest: suggestQueries,
  };
}

async function readModel(query: FitsQuery, { loadGguf }: FitsPortOptions) {
  if (query.model?.kind !== "gguf" || loadGguf === undefined) return undefined;
  const { header, name, quantization, projectorBytes } = await loadGguf(query.model.location);
  return {
    ...specFromGguf(header, name === undefined ? {} : { name }),
    ...(quantization === undefined ? {} : { quantization }),
    ...(projectorBytes === undefined ? {} : { projectorBytes }),
  };
}

async function drawAnswer(
  answer: FitsAnswer,
  locale: Locale,
  label: string,
  { drawPng }: FitsPortOptions,
): Promise<ChatFile | undefined> {
  const bytes = await drawPng?.((drawable) => renderPicture(answer, drawable, "light"), locale);
  if (bytes === undefined) return undefined;
  const description = `${label}: ${answer.verdict.line[locale]}`;
  return { name: "memory.png", contentType: "image/png", bytes, description };
}

/** What people own and run most, for questions that lack one half. */
const usualCards = ["6gb", "8gb", "12gb", "16gb", "24gb", "RTX 3060", "RTX 4060", "RTX 4070", "RTX 3090", "RTX 4090"];
const usualModels = ["8b", "14b", "32b", "70b", ...CATALOGUE_MODELS.slice(0, 12).map((model) => model.name)];

const names: readonly string[] = [...CATALOGUE_MODELS.map((model) => model.name), ...GPUS.map((gpu) => gpu.name)];
const wordsCompletedMax = 4;

/**
 * The typed text itself when it is a whole question, then its missing half, then what its last words may become.
 */
function suggestQueries(typed: string, countMax: number): string[] {
  const text = typed.trim().replace(/\s+/g, " ");
  if (text === "") return QUERY_EXAMPLES.slice(0, countMax);
  const kind = kindOf(text);
  const missing = kind === "hardware" ? usualCards : kind === "models" ? usualModels : [];
  const found = [
    ...(kind === undefined ? [] : [text]),
    ...completions(text),
    ...missing.map((half) => `${text} ${half}`),
  ];
  return [...new Set(found)].slice(0, countMax);
}

function kindOf(text: string): QueryKind | undefined {
  try {
    return parseQuery(text).kind;
  } catch (thrown) {
    if (thrown instanceof AppError) return undefined;
    throw thrown;
  }
}

/** Names that begin with the last word, or the last two, three … */
function completions(text: string): string[] {
  const words = text.split(" ");
  for (let count = Math.min(words.length, wordsCompletedMax); count > 0; count--) {
    const typed = squash(words.slice(-count).join(" "));
    if (typed.length < 2) continue;
    const head = words.slice(0, -count).join(" ");
    const found = names.filter((name) => squash(name).startsWith(typed) && squash(name) !== typed);
    if (found.length > 0) return found.map((name) => (head === "" ? name : `${head} ${name}`));
  }
  return [];
}

/** Brand words aside, since "3060" is what people type for an RTX 3060. */
function squash(name: string): string {
  return name
    .toLowerCase()
    .replace(/^(geforce |nvidia |amd |radeon |intel |apple )*(rtx |gtx |rx |arc )?/, "")
    .replace(/[\s_-]/g, "");
}
