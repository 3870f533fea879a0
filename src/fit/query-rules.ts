/**
 * The grammar of a question as a table: what a phrase looks like and what it states. Names of models and GPUs are
 * not here (query-names.ts); who owns a memory size is decided later (query-hardware.ts).
 *
 * Patterns are sticky and hold no nested repetition, so each costs time linear in the phrase.
 */
import { GIB, MIB } from "../core/units.ts";
import type { Framework, Purpose } from "./query-types.ts";
import type { Backend, KvCacheType } from "./types.ts";

export type MemoryRole = "vram" | "ram" | "unified" | "free" | "reserve" | "cap";

/** One thing a phrase states. Bytes, tokens, parameters and tokens per second as plain numbers. */
export type Fact =
  | { kind: "memory"; bytes: number }
  | { kind: "role"; role: MemoryRole }
  | { kind: "count"; count: number; suffix?: boolean }
  | { kind: "plus" }
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
  | { kind: "laptop" }
  | { kind: "apple" }
  | { kind: "number"; value: number }
  | { kind: "filler" };

interface Rule {
  pattern: RegExp;
  read(match: RegExpExecArray): Fact | undefined;
}

const NUMBER = "(\\d{1,9}(?:\\.\\d{1,4})?)";
const END = "(?![a-z0-9])";
const SCALE = "(k|m|万|千)?";
const CONTEXT_WORD =
  "(?:ctx(?:[-_ ]?(?:size|len|length))?|context(?:[-_ ]?(?:length|size|window|len))?|num_ctx|n_ctx|max[-_]model[-_]len|max[-_]seq[-_]len|window|上下文(?:长度|窗口|大小)?|文本长度|长度|窗口)";
const SEQUENCE_WORD =
  "(?:users?|people|persons|slots?|sequences?|seqs?|requests?|clients?|sessions?|streams?|conversations?|parallel|concurrent|concurrency|个?用户|位用户|个?人(?:同时)?(?:用|使用)?|路?并发|路)";
const RATE_UNIT =
  "(?:t(?:ok(?:en)?s?)?\\s?/\\s?s(?:ec(?:ond)?)?|tps|tok(?:en)?s? (?:per|a) sec(?:ond)?|字/秒|字每秒|个?tokens?每秒|个?token/秒)";
const AT_LEAST =
  "(?:>=?|=|:|at least|above|over|of|faster than|more than|min(?:imum)?|至少|大于|超过|高于|不低于|要|达到|有)";

function rule(pattern: string, read: (match: RegExpExecArray) => Fact | undefined): Rule {
  return { pattern: new RegExp(pattern, "y"), read };
}

/** A word list as one rule: any of `words`, ending at a word border. */
function words(list: readonly string[], fact: Fact): Rule {
  const longestFirst = [...list].sort((a, b) => b.length - a.length);
  return rule(`(?:${longestFirst.map(escapeWord).join("|")})`, () => fact);
}

function escapeWord(word: string): string {
  const escaped = word.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&").replaceAll(" ", "[ _-]?");
  return /[a-z0-9]$/.test(word) ? `${escaped}${END}` : escaped;
}

function scaled(value: string | undefined, unit: string | undefined): number {
  const number = Number(value);
  if (unit === "k") return Math.round(number * 1024);
  if (unit === "m") return Math.round(number * 1024 * 1024);
  if (unit === "万") return Math.round(number * 10_000);
  if (unit === "千") return Math.round(number * 1000);
  return Math.round(number);
}

function memoryBytes(value: string | undefined, unit: string): number {
  const number = Number(value);
  if (unit.startsWith("t")) return number * 1024 * GIB;
  if (unit.startsWith("m")) return number * MIB;
  return number * GIB;
}

function context(tokens: number, bare = false): Fact | undefined {
  if (tokens < 16) return undefined;
  return bare ? { kind: "context", tokens, bare } : { kind: "context", tokens };
}

function sequences(value: string | undefined): Fact | undefined {
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
const KV_TYPE = "(f32|fp32|f16|fp16|bf16|q8_?0|q8|q5_?1|q5_?0|q5|q4_?1|q4_?0|q4|iq4_?nl|int8|int4|8[- ]?bit|4[- ]?bit)";
const KV_WORD = "(?:kv|k/v)(?:[-_ ]?(?:cache|缓存))?";

function kvType(name: string | undefined, part: "k" | "v" | "both"): Fact | undefined {
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

function count(value: string | undefined, suffix = false): Fact | undefined {
  const number = COUNT_WORDS[value ?? ""] ?? Number(value);
  if (!Number.isInteger(number) || number < 1 || number > 64) return undefined;
  return suffix ? { kind: "count", count: number, suffix } : { kind: "count", count: number };
}

/** Phrases that start with a digit. Order matters: the more specific stands first. */
const NUMBER_RULES: readonly Rule[] = [
  rule(`${NUMBER}\\s*${RATE_UNIT}(?:\\s*(?:or more|以上|\\+))?`, (m) => ({
    kind: "speed",
    tokensPerSecond: Number(m[1]),
  })),
  rule(`${NUMBER}\\s*${SCALE}\\s*-?(?:tokens?\\s*)?(?:of\\s*|的)?(?:prompts?|提示词?)`, (m) => ({
    kind: "promptTokens",
    tokens: scaled(m[1], m[2]),
  })),
  rule(`${NUMBER}\\s*${SCALE}\\s*-?(?:tokens?\\s*)?(?:of\\s*|的)?-?${CONTEXT_WORD}`, (m) =>
    context(scaled(m[1], m[2])),
  ),
  rule(`${NUMBER}\\s*-?\\s*(?:concurrent\\s*|parallel\\s*|simultaneous\\s*)?${SEQUENCE_WORD}`, (m) => sequences(m[1])),
  rule(`${NUMBER}\\s*b[-_ ]?a\\s?${NUMBER}\\s*b${END}`, (m) => ({
    kind: "parameters",
    count: Number(m[1]) * 1e9,
    activeCount: Number(m[2]) * 1e9,
  })),
  rule(`(\\d{1,3})\\s*x\\s*${NUMBER}\\s*b${END}`, (m) => ({
    kind: "parameters",
    count: Number(m[1]) * Number(m[2]) * 1e9,
    expertCount: Number(m[1]),
  })),
  rule(`(\\d{1,2})\\s*[x*]\\s*(?=[a-z0-9])`, (m) => count(m[1])),
  rule(`(\\d{1,2})\\s*[张块卡片](?:显卡|卡)?`, (m) => count(m[1])),
  rule(`(\\d{1,2})\\s*(?:gpus?|cards|graphics cards)${END}`, (m) => count(m[1])),
  rule(`${NUMBER}\\s*(?:gib|gb|gigabytes?|gigs?|g|mib|mb|megabytes?|tib|tb)(?:yte)?${END}`, (m) => ({
    kind: "memory",
    bytes: memoryBytes(m[1], m[0].slice(m[1]!.length).trim()),
  })),
  rule(`${NUMBER}\\s*t(?=\\s*(?:ram|内存))`, (m) => ({ kind: "memory", bytes: memoryBytes(m[1], "t") })),
  rule(`${NUMBER}\\s*(?:b|bn|billion)${END}(?:\\s*(?:params?|parameters?|参数))?`, (m) =>
    parameters(Number(m[1]) * 1e9),
  ),
  rule(`${NUMBER}\\s*(?:m|million)${END}(?:\\s*(?:params?|parameters?|参数))?`, (m) => parameters(Number(m[1]) * 1e6)),
  rule(`${NUMBER}\\s*(?:t|trillion)${END}(?:\\s*(?:params?|parameters?|参数))?`, (m) =>
    parameters(Number(m[1]) * 1e12),
  ),
  rule(`${NUMBER}\\s*亿(?:参数)?`, (m) => parameters(Number(m[1]) * 1e8)),
  rule(`${NUMBER}\\s*k(?:\\s*tokens?)?${END}`, (m) => context(scaled(m[1], "k"), true)),
  rule(`${NUMBER}\\s*tokens?${END}`, (m) => context(Math.round(Number(m[1])), true)),
  rule(`(\\d{1,3})\\s*(?:gpu[- ]?)?(?:layers?(?: on (?:the )?(?:gpu|card))?${END}|层)`, (m) => ({
    kind: "gpuLayers",
    count: Number(m[1]),
  })),
  rule(`([48])[- ]?bits?[- ]?${KV_WORD}`, (m) => kvType(`${m[1]}bit`, "both")),
  rule("8[- ]?(?:bits?(?![a-z0-9])|位|比特)(?:量化)?", () => ({ kind: "quantization", name: "8bit" })),
  rule("4[- ]?(?:bits?(?![a-z0-9])|位|比特)(?:量化)?", () => ({ kind: "quantization", name: "4bit" })),
  rule("16[- ]?(?:bits?(?![a-z0-9])|位|比特)", () => ({ kind: "quantization", name: "fp16" })),
  rule("32[- ]?(?:bits?(?![a-z0-9])|位|比特)", () => ({ kind: "quantization", name: "fp32" })),
  rule("([2356])[- ]?(?:bits?(?![a-z0-9])|位|比特)(?:量化)?", (m) => ({ kind: "quantization", name: `q${m[1]}` })),
];

function parameters(count: number): Fact | undefined {
  return count >= 1e6 && count <= 1e14 ? { kind: "parameters", count } : undefined;
}

/** Last resort for a digit: a number whose unit was left out. */
const BARE_NUMBER = rule(`${NUMBER}`, (m) => ({ kind: "number", value: Number(m[1]) }));

const QUANTIZATION_NAME =
  "((?:ud[-_])?(?:i?q[1-8]|tq[12])(?:[-_]?(?:0|1|k|nl|xxs|xs|s|m))?(?:[-_]?(?:xxs|xs|s|m|l|xl))?)";

/** Phrases that start with a letter. */
const WORD_RULES: readonly Rule[] = [
  words(["llama.cpp", "llama cpp", "llamacpp", "llama-server", "llama-cli"], {
    kind: "framework",
    framework: "llama.cpp",
  }),
  words(["koboldcpp", "kobold", "oobabooga", "text-generation-webui", "jan", "gpt4all", "llamafile"], {
    kind: "framework",
    framework: "llama.cpp",
    as: "GGUF",
  }),
  words(["ollama"], { kind: "framework", framework: "ollama" }),
  words(["lm studio", "lmstudio"], { kind: "framework", framework: "lmstudio" }),
  words(["vllm", "v llm"], { kind: "framework", framework: "vllm" }),
  words(["sglang"], { kind: "framework", framework: "vllm", as: "SGLang" }),
  words(["hf transformers", "transformers", "bitsandbytes", "bnb", "accelerate"], {
    kind: "framework",
    framework: "transformers",
  }),
  words(["tensorrt llm", "tensorrt", "trt llm", "trtllm"], { kind: "framework", framework: "tensorrt-llm" }),
  words(["mlx", "mlx lm"], { kind: "framework", framework: "mlx" }),
  words(["snug"], { kind: "framework", framework: "snug" }),
  rule(`(?:cache[-_ ]type[-_ ]k|ctk)\\s*[=:]?\\s*${KV_TYPE}${END}`, (m) => kvType(m[1], "k")),
  rule(`(?:cache[-_ ]type[-_ ]v|ctv)\\s*[=:]?\\s*${KV_TYPE}${END}`, (m) => kvType(m[1], "v")),
  rule(`${KV_WORD}\\s*(?:type|in|at|as|is|to|=|:|用|为|量化)?\\s*${KV_TYPE}${END}`, (m) => kvType(m[1], "both")),
  rule(`${KV_TYPE}[- ]?${KV_WORD}`, (m) => kvType(m[1], "both")),
  rule(`(?:no|without|disable|off)[- ]?(?:flash[-_ ]?att(?:ention|n)|fa)${END}`, () => ({
    kind: "flashAttention",
    on: false,
  })),
  rule(`(?:flash[-_ ]?att(?:ention|n)|fa)\\s*[=:]?\\s*(?:off|0|no|false|disabled?)${END}`, () => ({
    kind: "flashAttention",
    on: false,
  })),
  rule(`(?:with\\s*)?(?:flash[-_ ]?att(?:ention|n)|fa)(?:\\s*[=:]?\\s*(?:on|1|yes|true|enabled?))?${END}`, () => ({
    kind: "flashAttention",
    on: true,
  })),
  rule(`prompts?(?:\\s*(?:length|tokens?|size|of))?\\s*[=:]?\\s*${NUMBER}\\s*${SCALE}(?:\\s*tokens?)?${END}`, (m) => ({
    kind: "promptTokens",
    tokens: scaled(m[1], m[2]),
  })),
  rule(
    `(?:${CONTEXT_WORD}|c(?==))\\s*(?:of|to|at|is|:|=|为|是|到|>=|>)?\\s*${NUMBER}\\s*${SCALE}(?:\\s*tokens?)?${END}`,
    (m) => context(scaled(m[1], m[2])),
  ),
  rule(
    `(?:num_parallel|n_parallel|max[-_]num[-_]seqs|parallel|np|users?|slots?|concurrency|sequences?)\\s*[=:]?\\s*(\\d{1,4})${END}`,
    (m) => sequences(m[1]),
  ),
  rule(`(?:speed|tps|decode|tok/s|t/s)\\s*${AT_LEAST}?\\s*${NUMBER}\\s*(?:${RATE_UNIT})?${END}`, (m) => ({
    kind: "speed",
    tokensPerSecond: Number(m[1]),
  })),
  rule(`${AT_LEAST}\\s*${NUMBER}\\s*${RATE_UNIT}`, (m) => ({ kind: "speed", tokensPerSecond: Number(m[1]) })),
  rule(`(?:n[-_]?gpu[-_]?layers|gpu[-_ ]?layers|num_gpu|ngl)\\s*[=:]?\\s*(\\d{1,4}|all|max)${END}`, (m) =>
    gpuLayers(m[1]),
  ),
  rule(
    `all layers(?: on (?:the )?(?:gpu|card))?${END}|full(?:y)? offload(?:ed)?${END}|fully on (?:the )?gpu${END}`,
    () => ({ kind: "gpuLayers", count: "all" }),
  ),
  rule(`(?:n[-_]cpu[-_]moe|ncmoe)\\s*[=:]?\\s*(\\d{1,3})${END}`, (m) => ({
    kind: "hostExpertLayers",
    count: Number(m[1]),
  })),
  rule(`(?:u[-_]?batch(?:[-_ ]?size)?|micro[-_ ]?batch(?:[-_ ]?size)?|ub)\\s*[=:]?\\s*(\\d{1,5})${END}`, (m) => ({
    kind: "microBatchSize",
    count: Number(m[1]),
  })),
  rule(`(?:n_batch|batch(?:[-_ ]?size)?)\\s*[=:]?\\s*(\\d{1,5})${END}`, (m) => ({
    kind: "batchSize",
    count: Number(m[1]),
  })),
  rule(
    `(?:nf4|fp4|fp8|int8|int4|w4a16|w8a8|w8a16|fp16|f16|float16|bf16|bfloat16|fp32|f32|float32|mxfp4|nvfp4|exl2|exl3|llm\\.int8(?:\\(\\))?)${END}`,
    (m) => ({ kind: "quantization", name: m[0].startsWith("llm") ? "int8" : m[0] }),
  ),
  rule(`(?:gptq|awq)(?:[- _]?marlin)?(?:[- _]?(?:int)?([48])(?:[- ]?bits?)?)?${END}`, (m) => ({
    kind: "quantization",
    name: `${m[0].slice(0, m[0].startsWith("gptq") ? 4 : 3)}${m[1] ?? ""}`,
  })),
  rule(`(?:half(?:[- ]precision)?)${END}`, () => ({ kind: "quantization", name: "fp16" })),
  rule(`(?:full[- ]precision|single precision)${END}`, () => ({ kind: "quantization", name: "fp32" })),
  rule(`${QUANTIZATION_NAME}${END}`, (m) => ({ kind: "quantization", name: m[1]! })),
  rule(`a${NUMBER}b${END}`, (m) => ({ kind: "activeParameters", count: Number(m[1]) * 1e9 })),
  rule(`x\\s?(\\d{1,2})(?![a-z0-9.])`, (m) => count(m[1], true)),
  rule(`(single|dual|double|twin|triple|quad|two|three|four|six|eight)${END}(?:\\s*(?:gpus?|cards?)${END})?`, (m) =>
    count(m[1]),
  ),
  rule(`(?:keep|leave|reserve|spare)(?: me| at least| about)?${END}`, () => ({ kind: "role", role: "reserve" })),
  rule(`(?:max vram|vram max|vram limit|at most|up to|limit)${END}`, () => ({ kind: "role", role: "cap" })),
  rule(`(?:free vram|vram free|available vram|free|available|unused)${END}`, () => ({ kind: "role", role: "free" })),
  rule(`(?:unified(?: memory| ram)?|shared memory)${END}`, () => ({ kind: "role", role: "unified" })),
  rule(
    `(?:of )?(?:vram|video ram|video memory|gpu memory|gpu ram|graphics memory|graphics card|gpus?|cards?|video card)${END}`,
    () => ({ kind: "role", role: "vram" }),
  ),
  rule(
    `(?:of )?(?:system ram|system memory|main memory|cpu ram|cpu memory|host memory|host ram|ram|ddr[345]|memory)${END}`,
    () => ({ kind: "role", role: "ram" }),
  ),
  words(["cuda"], { kind: "backend", backend: "cuda" }),
  words(["vulkan"], { kind: "backend", backend: "vulkan" }),
  words(["rocm", "hip"], { kind: "backend", backend: "rocm" }),
  words(["metal"], { kind: "backend", backend: "metal" }),
  rule(`(?:cpu[- ]?only|only cpu|no gpu|without (?:a )?gpu|cpu)${END}`, () => ({ kind: "backend", backend: "cpu" })),
  words(["laptop", "notebook", "mobile", "max-q", "max q", "maxq"], { kind: "laptop" }),
  words(
    [
      "macbook pro",
      "macbook air",
      "macbook",
      "mac mini",
      "mac studio",
      "mac pro",
      "imac",
      "mac",
      "apple silicon",
      "apple",
    ],
    { kind: "apple" },
  ),
  words(["coding", "code", "programming", "coder", "programmer", "copilot", "dev"], {
    kind: "purpose",
    purpose: "code",
  }),
  words(["chat", "chatting", "chatbot", "assistant", "roleplay", "rp", "conversation"], {
    kind: "purpose",
    purpose: "chat",
  }),
  words(
    [
      "long context",
      "long documents",
      "long document",
      "long docs",
      "long text",
      "long",
      "rag",
      "books",
      "pdfs",
      "summarization",
      "summarize",
    ],
    { kind: "purpose", purpose: "long" },
  ),
  words(["fast", "fastest", "quick", "real time", "realtime", "low latency"], { kind: "purpose", purpose: "fast" }),
  rule(`(?:with|plus|and)${END}`, () => ({ kind: "plus" })),
];

function gpuLayers(value: string | undefined): Fact {
  const number = Number(value);
  return { kind: "gpuLayers", count: Number.isNaN(number) || number >= 99 ? "all" : number };
}

/** Phrases that start with a symbol. */
const SYMBOL_RULES: readonly Rule[] = [
  rule(`>=?\\s*${NUMBER}\\s*(?:${RATE_UNIT})`, (m) => ({ kind: "speed", tokensPerSecond: Number(m[1]) })),
  rule(`--?c\\s+${NUMBER}\\s*${SCALE}${END}`, (m) => context(scaled(m[1], m[2]))),
  rule(`--?ngl\\s+(\\d{1,4}|all)${END}`, (m) => gpuLayers(m[1])),
  rule(`--?np\\s+(\\d{1,4})${END}`, (m) => sequences(m[1])),
  rule(`--?b\\s+(\\d{1,5})${END}`, (m) => ({ kind: "batchSize", count: Number(m[1]) })),
  rule(`--?fa${END}(?:\\s+(?:on|1|auto))?`, () => ({ kind: "flashAttention", on: true })),
  rule(`[*]\\s*(\\d{1,2})(?![a-z0-9.])`, (m) => count(m[1], true)),
  rule("[+&]", () => ({ kind: "plus" })),
];

/** Phrases that start with a Chinese character. */
const HAN_RULES: readonly Rule[] = [
  rule(
    `(?:上下文|文本长度|长度|窗口)(?:长度|窗口|大小)?\\s*(?:为|是|到|要|[:=])?\\s*${NUMBER}\\s*${SCALE}(?:\\s*tokens?)?`,
    (m) => context(scaled(m[1], m[2])),
  ),
  rule(
    `(?:速度|每秒|生成速度)\\s*${AT_LEAST}?\\s*${NUMBER}\\s*(?:${RATE_UNIT}|个?(?:tokens?|字|词))?(?:以上)?`,
    (m) => ({ kind: "speed", tokensPerSecond: Number(m[1]) }),
  ),
  rule(`${AT_LEAST}\\s*${NUMBER}\\s*${RATE_UNIT}`, (m) => ({ kind: "speed", tokensPerSecond: Number(m[1]) })),
  rule(`(?:并发数?|用户数?)\\s*[:=为]?\\s*(\\d{1,4})`, (m) => sequences(m[1])),
  rule(`提示词?(?:长度)?\\s*${NUMBER}\\s*${SCALE}(?:\\s*tokens?)?`, (m) => ({
    kind: "promptTokens",
    tokens: scaled(m[1], m[2]),
  })),
  rule(`缓存(?:用|量化)?\\s*${KV_TYPE}`, (m) => kvType(m[1], "both")),
  rule("(?:关闭|不用|不开|无)(?:flash[- ]?attention|闪存注意力|fa)", () => ({ kind: "flashAttention", on: false })),
  rule("(?:打开|开启|启用|开)(?:flash[- ]?attention|闪存注意力|fa)", () => ({ kind: "flashAttention", on: true })),
  rule("(?:八位量化|八位|八比特)", () => ({ kind: "quantization", name: "8bit" })),
  rule("(?:四位量化|四位|四比特)", () => ({ kind: "quantization", name: "4bit" })),
  rule("([单双两俩二三四六八])(?:路)?(?:张|块|卡|个|片)?(?:显卡|卡)?", (m) => count(m[1])),
  rule("(?:预留|保留|留出|留|空出)", () => ({ kind: "role", role: "reserve" })),
  rule("(?:最多|不超过|上限)", () => ({ kind: "role", role: "cap" })),
  rule("(?:剩余显存|可用显存|空闲显存|空闲|剩余|可用|还剩)", () => ({ kind: "role", role: "free" })),
  rule("(?:统一内存|共享内存)", () => ({ kind: "role", role: "unified" })),
  rule("(?:显存|显卡内存|显卡|独显|的?卡)", () => ({ kind: "role", role: "vram" })),
  rule("(?:系统内存|主机内存|电脑内存|内存条|内存|运存)", () => ({ kind: "role", role: "ram" })),
  rule("(?:纯cpu|没有显卡|没显卡|无显卡|无独显|没有独显|核显|集显)", () => ({ kind: "backend", backend: "cpu" })),
  rule("(?:笔记本电脑|笔记本|移动版|移动端|本本)", () => ({ kind: "laptop" })),
  rule("(?:苹果电脑|苹果)", () => ({ kind: "apple" })),
  rule("(?:写代码|代码|编程|程序员|写程序|开发)", () => ({ kind: "purpose", purpose: "code" })),
  rule("(?:聊天|对话|闲聊|角色扮演|助手)", () => ({ kind: "purpose", purpose: "chat" })),
  rule("(?:长文本|长上下文|长文档|长文|读书|总结|文档|知识库)", () => ({ kind: "purpose", purpose: "long" })),
  rule("(?:最快|快速|快一点|快点|低延迟|实时|快)", () => ({ kind: "purpose", purpose: "fast" })),
  rule("(?:半精度)", () => ({ kind: "quantization", name: "fp16" })),
  rule("(?:全精度|单精度)", () => ({ kind: "quantization", name: "fp32" })),
  rule("(?:外加|加上|搭配|加|配|和|与|带|以及|还有)", () => ({ kind: "plus" })),
];

/** What a phrase at an offset states, and where it ends. */
export interface RuleMatch {
  fact: Fact;
  end: number;
}

function matchFirst(rules: readonly Rule[], text: string, offset: number): RuleMatch | undefined {
  for (const { pattern, read } of rules) {
    pattern.lastIndex = offset;
    const match = pattern.exec(text);
    if (match === null) continue;
    const fact = read(match);
    if (fact !== undefined) return { fact, end: offset + match[0].length };
  }
  return undefined;
}

/** The phrase that starts at `offset` of normalized text, if any rule knows it. */
export function matchRule(
  text: string,
  offset: number,
  kind: "number" | "word" | "han" | "symbol",
): RuleMatch | undefined {
  if (kind === "number") return matchFirst(NUMBER_RULES, text, offset);
  if (kind === "word") return matchFirst(WORD_RULES, text, offset);
  if (kind === "han") return matchFirst(HAN_RULES, text, offset);
  return matchFirst(SYMBOL_RULES, text, offset);
}

/** A number with no unit, tried after every rule and name. */
export function matchBareNumber(text: string, offset: number): RuleMatch | undefined {
  return matchFirst([BARE_NUMBER], text, offset);
}
