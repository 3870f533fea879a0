/** What a phrase may state, and the parts phrases are built of: numbers, units, words, and how their values are read. */
import { GIB, MIB } from "../core/units.ts";
import type { Framework, Purpose } from "./query-types.ts";
import type { Backend, KvCacheType } from "./types.ts";

export type MemoryRole = "vram" | "ram" | "unified" | "free" | "reserve" | "cap";

/** One thing a phrase states. Bytes, tokens, parameters and tokens per second as plain numbers. */
export type Fact =
  | { kind: "memory"; bytes: number }
  | { kind: "role"; role: MemoryRole }
  /** "ddr5-6000": main memory, and how fast it is. */
  | { kind: "ramSpeed"; generation: number; megatransfers?: number }
  /** A processor, board or phone that computes on its own. */
  | { kind: "host"; name: string; channels?: number; bandwidthBytesPerSecond?: number }
  | { kind: "outside"; what: "closed" | "media" | "training"; name: string }
  | { kind: "count"; count: number; suffix?: boolean }
  | { kind: "plus" }
  /** Computers, not cards. */
  | { kind: "machines"; count: number }
  | { kind: "parameters"; count: number; activeCount?: number; expertCount?: number }
  | { kind: "activeParameters"; count: number }
  | { kind: "context"; tokens: number; bare?: boolean }
  | { kind: "promptTokens"; tokens: number }
  | { kind: "sequences"; count: number }
  | { kind: "speed"; tokensPerSecond: number }
  | { kind: "quantization"; name: string }
  | { kind: "kvCacheType"; type: KvCacheType; part: "k" | "v" | "both" }
  | { kind: "flashAttention"; on: boolean }
  | { kind: "gpuLayers"; count: number | "all" }
  | { kind: "hostExpertLayers"; count: number }
  | { kind: "batchSize"; count: number }
  | { kind: "microBatchSize"; count: number }
  | { kind: "framework"; framework: Framework; as?: string }
  | { kind: "backend"; backend: Backend }
  | { kind: "purpose"; purpose: Purpose }
  /** Pictures are to be read as well as text. */
  | { kind: "vision" }
  | { kind: "laptop" }
  | { kind: "apple" }
  | { kind: "number"; value: number; version?: boolean }
  | { kind: "filler" };

export interface Rule {
  /** Letters the phrase may start with; any when left out. Keeps most patterns from being tried at all. */
  starts?: string;
  pattern: RegExp;
  read(match: RegExpExecArray): Fact | undefined;
}

export const NUMBER = "(\\d{1,9}(?:\\.\\d{1,4})?)";
export const END = "(?![a-z0-9])";
export const SCALE = "(k|m|万|千)?";
export const CONTEXT_WORD =
  "(?:ctx(?:[-_ ]?(?:size|len|length))?|context(?:[-_ ]?(?:length|size|window|len))?|num_ctx|n_ctx|max[-_]model[-_]len|max[-_]seq[-_]len|window|上下文(?:长度|窗口|大小)?|文本长度|长度|窗口)";
/** A number that can only be a length of context: "8k", "8192", "32000". */
export const CONTEXT_NUMBER =
  "(?:\\d{1,4}(?:\\.\\d)?\\s?(?:k|万|千)|1024|2048|4096|8192|16384|32768|65536|131072|262144|\\d{1,4}000)";
export const SEQUENCE_WORD =
  "(?:users?|people|persons|slots?|sequences?|seqs?|requests?|clients?|sessions?|streams?|conversations?|parallel|concurrent|concurrency|个?用户|位用户|个?人(?:同时)?(?:用|使用)?|路?并发|路)";
export const RATE_UNIT =
  "(?:t(?:ok(?:en)?s?)?\\s?/\\s?s(?:ec(?:ond)?)?|tps|tok(?:en)?s? (?:per|a) sec(?:ond)?|字/秒|字每秒|个?tokens?每秒|个?token/秒)";
export const AT_LEAST =
  "(?:>=?|=|:|at least|above|over|of|faster than|more than|min(?:imum)?|至少|大于|超过|高于|不低于|要|达到|有)";

export function rule(pattern: string, read: (match: RegExpExecArray) => Fact | undefined): Rule {
  return { pattern: new RegExp(pattern, "y"), read };
}

export function wordRule(starts: string, pattern: string, read: (match: RegExpExecArray) => Fact | undefined): Rule {
  return { ...rule(pattern, read), starts };
}

/** A word list as one rule: any of `words`, ending at a word border. */
export function words(list: readonly string[], fact: Fact): Rule {
  const longestFirst = [...list].sort((a, b) => b.length - a.length);
  return wordRule(list.map((word) => word[0]).join(""), `(?:${longestFirst.map(escapeWord).join("|")})`, () => fact);
}

function escapeWord(word: string): string {
  const escaped = word.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&").replaceAll(" ", "[ _-]?");
  return /[a-z0-9]$/.test(word) ? `${escaped}${END}` : escaped;
}

export function scaled(value: string | undefined, unit: string | undefined): number {
  const number = Number(value);
  if (unit === "k") return Math.round(number * 1024);
  if (unit === "m") return Math.round(number * 1024 * 1024);
  if (unit === "万") return Math.round(number * 10_000);
  if (unit === "千") return Math.round(number * 1000);
  return Math.round(number);
}

export function memoryBytes(value: string | undefined, unit: string): number {
  const number = Number(value);
  if (unit.startsWith("t")) return number * 1024 * GIB;
  if (unit.startsWith("m")) return number * MIB;
  return number * GIB;
}

export function context(tokens: number, bare = false): Fact | undefined {
  if (tokens < 16) return undefined;
  return bare ? { kind: "context", tokens, bare } : { kind: "context", tokens };
}

export function sequences(value: string | undefined): Fact | undefined {
  const count = Number(value);
  return Number.isInteger(count) && count >= 1 && count <= 4096 ? { kind: "sequences", count } : undefined;
}

const KV_TYPES: Record<string, KvCacheType> = {
  f32: "F32",
  fp32: "F32",
  f16: "F16",
  fp16: "F16",
  bf16: "BF16",
  q8: "Q8_0",
  q80: "Q8_0",
  int8: "Q8_0",
  "8bit": "Q8_0",
  q51: "Q5_1",
  q50: "Q5_0",
  q5: "Q5_0",
  q41: "Q4_1",
  q40: "Q4_0",
  q4: "Q4_0",
  int4: "Q4_0",
  "4bit": "Q4_0",
  iq4nl: "IQ4_NL",
};
export const KV_TYPE =
  "(f32|fp32|f16|fp16|bf16|q8_?0|q8|q5_?1|q5_?0|q5|q4_?1|q4_?0|q4|iq4_?nl|int8|int4|8[- ]?bit|4[- ]?bit)";
export const KV_WORD = "(?:kv|k/v)(?:[-_ ]?(?:cache|缓存))?";

export function kvType(name: string | undefined, part: "k" | "v" | "both"): Fact | undefined {
  const type = KV_TYPES[(name ?? "").replace(/[_ -]/g, "")];
  return type === undefined ? undefined : { kind: "kvCacheType", type, part };
}

const COUNT_WORDS: Record<string, number> = {
  single: 1,
  one: 1,
  dual: 2,
  double: 2,
  twin: 2,
  two: 2,
  three: 3,
  triple: 3,
  quad: 4,
  four: 4,
  six: 6,
  eight: 8,
  单: 1,
  一: 1,
  双: 2,
  两: 2,
  俩: 2,
  二: 2,
  三: 3,
  四: 4,
  五: 5,
  六: 6,
  八: 8,
  十: 10,
};

export function count(value: string | undefined, suffix = false): Fact | undefined {
  const number = COUNT_WORDS[value ?? ""] ?? Number(value);
  if (!Number.isInteger(number) || number < 1 || number > 64) return undefined;
  return suffix ? { kind: "count", count: number, suffix } : { kind: "count", count: number };
}

export function parameters(count: number): Fact {
  return { kind: "parameters", count };
}

export function gpuLayers(value: string | undefined): Fact {
  const number = Number(value);
  return { kind: "gpuLayers", count: Number.isNaN(number) || number >= 99 ? "all" : number };
}
