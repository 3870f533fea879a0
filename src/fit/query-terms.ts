/** "what is nf4", "什么是 KV 缓存", "gptq vs awq": which glossary entries a question asks for. */
import glossary from "./data/glossary.json" with { type: "json" };
import type { Localized } from "./query-types.ts";

export interface GlossaryTerm {
  /** What people type for it, lower case; the first is its id. */
  names: readonly string[];
  title: Localized;
  /** One line a newcomer understands. */
  line: Localized;
}

export const GLOSSARY: readonly GlossaryTerm[] = glossary.terms;

/** Longest name looked up; bounds the work on hostile text. */
const termCharsMax = 60;

const BY_NAME: ReadonlyMap<string, GlossaryTerm> = new Map(
  GLOSSARY.flatMap((term) =>
    [...term.names, term.title.en.toLowerCase()].map((name) => [termKey(name), term] as const),
  ),
);

const PREFIXES = [
  "what is the difference between",
  "what's the difference between",
  "difference between",
  "what is meant by",
  "what does",
  "what do",
  "what is",
  "what's",
  "whats",
  "what are",
  "whatis",
  "explain",
  "define",
  "definition of",
  "meaning of",
  "tell me about",
  "describe",
  "什么是",
  "什么叫",
  "啥是",
  "啥叫",
  "请解释一下",
  "请解释",
  "解释一下",
  "解释",
  "介绍一下",
  "介绍",
  "名词解释",
  "请问",
  "help",
];
const SUFFIXES = [
  "stand for",
  "mean",
  "means",
  "do",
  "good for",
  "explained",
  "definition",
  "meaning",
  "是什么意思",
  "是啥意思",
  "什么意思",
  "啥意思",
  "是什么",
  "是啥",
  "的意思",
  "有什么用",
  "干什么用",
  "的区别是什么",
  "有什么区别",
  "的区别",
  "区别",
  "怎么理解",
];
const ARTICLES = ["a ", "an ", "the "];
const BETWEEN = /^(.{1,60}?)(?:\s+(?:vs\.?|versus|or|and)\s+|\s*(?:和|与|跟|对比|还是|vs)\s*)(.{1,60})$/;

/** What a term question asks for: glossary entries, or the word that has none. */
export interface TermReading {
  terms: readonly GlossaryTerm[];
  /** True when the wording can only be a question about a word. */
  asked: boolean;
  /** The word asked for. */
  word: string;
}

/** The term question in normalized text; `terms` is empty when it asks for nothing the glossary holds. */
export function readTerms(text: string): TermReading {
  const { word, asked } = stripQuestion(text);
  const one = findTerm(word);
  if (one !== undefined) return { terms: [one], asked, word };
  const pair = word.length <= 2 * termCharsMax ? BETWEEN.exec(word) : null;
  if (pair !== null) {
    const both = [findTerm(pair[1]!), findTerm(pair[2]!)].filter((term) => term !== undefined);
    if (both.length === 2) return { terms: [...new Set(both)], asked, word };
  }
  return { terms: [], asked, word };
}

/** The entry a name belongs to, whatever its case, dashes and spaces. */
export function findTerm(name: string): GlossaryTerm | undefined {
  return name.length > termCharsMax ? undefined : BY_NAME.get(termKey(name));
}

function stripQuestion(text: string): { word: string; asked: boolean } {
  let word = text.replace(/[?!.。？！\s]{1,20}$/, "").trim();
  let asked = false;
  const prefix = PREFIXES.find((start) => word.startsWith(start) && !continuesWord(word, start.length));
  if (prefix !== undefined) {
    word = word.slice(prefix.length).trim();
    asked = true;
  }
  const suffix = SUFFIXES.find((end) => word.endsWith(end) && word.length > end.length);
  if (suffix !== undefined && (asked || suffix.charCodeAt(0) > 127)) {
    word = word.slice(0, -suffix.length).trim();
    asked = true;
  }
  for (const article of ARTICLES) if (word.startsWith(article)) word = word.slice(article.length);
  return { word, asked };
}

/** "whatis" must not be cut out of a longer word. */
function continuesWord(word: string, offset: number): boolean {
  return /[a-z]/.test(word[offset] ?? " ") && /[a-z]/.test(word[offset - 1] ?? " ");
}

function termKey(name: string): string {
  return name
    .toLowerCase()
    .replace(/[-_\s"'`“”]+/g, " ")
    .trim();
}
