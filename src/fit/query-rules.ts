/**
 * The grammar of a question as a table: what a phrase looks like and what it states. Names of models and GPUs are
 * not here (query-names.ts); who owns a memory size is decided later (query-hardware.ts).
 *
 * Patterns are sticky and hold no nested repetition, so each costs time linear in the phrase.
 */
import {
  AT_LEAST,
  CONTEXT_NUMBER,
  CONTEXT_WORD,
  context,
  count,
  END,
  type Fact,
  gpuLayers,
  KV_TYPE,
  KV_WORD,
  kvType,
  memoryBytes,
  NUMBER,
  parameters,
  RATE_UNIT,
  type Rule,
  rule,
  SCALE,
  SEQUENCE_WORD,
  scaled,
  sequences,
  wordRule,
  words,
} from "./query-grammar.ts";
import { HOST_HAN_RULES, HOST_NUMBER_RULES, HOST_WORD_RULES } from "./query-hosts.ts";
import { OUTSIDE_HAN_RULES, OUTSIDE_WORD_RULES } from "./query-outside.ts";

/** Phrases that start with a digit. Order matters: the more specific stands first. */
const NUMBER_RULES: readonly Rule[] = [
  ...HOST_NUMBER_RULES,
  rule(`${NUMBER}\\s*${RATE_UNIT}(?:\\s*(?:or more|以上|\\+))?`, (m) => ({
    kind: "speed",
    tokensPerSecond: Number(m[1]),
  })),
  rule(`${NUMBER}\\s*${SCALE}\\s*-?(?:tokens?\\s*)?(?:of\\s*|的)?(?:prompts?|提示词?)`, (m) => ({
    kind: "promptTokens",
    tokens: scaled(m[1], m[2]),
  })),
  // In "3060 ctx 8k" the context stands behind its word and the number before is a card.
  rule(
    `${NUMBER}\\s*${SCALE}\\s*-?(?:tokens?\\s*)?(?:of\\s*|的)?-?${CONTEXT_WORD}(?!\\s*[:=]?\\s*${CONTEXT_NUMBER}${END})`,
    (m) => context(scaled(m[1], m[2])),
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
  rule(`(\\d{1,3})\\s*(?:machines?|nodes?|servers?|computers?|pcs|hosts|台(?:机器|电脑|服务器|主机)?)${END}`, (m) => ({
    kind: "machines",
    count: Number(m[1]),
  })),
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

/** Last resort for a digit: a number whose unit was left out. */
const BARE_NUMBER = rule(`${NUMBER}`, (m) => ({ kind: "number", value: Number(m[1]) }));

const QUANTIZATION_NAME =
  "((?:ud[-_])?(?:i?q[1-8]|tq[12])(?:[-_]?(?:0|1|k|nl|xxs|xs|s|m))?(?:[-_]?(?:xxs|xs|s|m|l|xl))?)";

/** Phrases that start with a letter. */
const WORD_RULES: readonly Rule[] = [
  ...OUTSIDE_WORD_RULES,
  ...HOST_WORD_RULES,
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
  wordRule("c", `(?:cache[-_ ]type[-_ ]k|ctk)\\s*[=:]?\\s*${KV_TYPE}${END}`, (m) => kvType(m[1], "k")),
  wordRule("c", `(?:cache[-_ ]type[-_ ]v|ctv)\\s*[=:]?\\s*${KV_TYPE}${END}`, (m) => kvType(m[1], "v")),
  wordRule("k", `${KV_WORD}\\s*(?:type|in|at|as|is|to|=|:|用|为|量化)?\\s*${KV_TYPE}${END}`, (m) =>
    kvType(m[1], "both"),
  ),
  wordRule("fbqi", `${KV_TYPE}[- ]?${KV_WORD}`, (m) => kvType(m[1], "both")),
  wordRule("nwdo", `(?:no|without|disable|off)[- ]?(?:flash[-_ ]?att(?:ention|n)|fa)${END}`, () => ({
    kind: "flashAttention",
    on: false,
  })),
  wordRule("f", `(?:flash[-_ ]?att(?:ention|n)|fa)\\s*[=:]?\\s*(?:off|0|no|false|disabled?)${END}`, () => ({
    kind: "flashAttention",
    on: false,
  })),
  wordRule(
    "wf",
    `(?:with\\s*)?(?:flash[-_ ]?att(?:ention|n)|fa)(?:\\s*[=:]?\\s*(?:on|1|yes|true|enabled?))?${END}`,
    () => ({
      kind: "flashAttention",
      on: true,
    }),
  ),
  wordRule(
    "p",
    `prompts?(?:\\s*(?:length|tokens?|size|of))?\\s*[=:]?\\s*${NUMBER}\\s*${SCALE}(?:\\s*tokens?)?${END}`,
    (m) => ({
      kind: "promptTokens",
      tokens: scaled(m[1], m[2]),
    }),
  ),
  wordRule(
    "cnmw",
    `(?:${CONTEXT_WORD}|c(?==))\\s*(?:of|to|at|is|:|=|为|是|到|>=|>)?\\s*${NUMBER}\\s*${SCALE}(?:\\s*tokens?)?${END}`,
    (m) => context(scaled(m[1], m[2])),
  ),
  wordRule(
    "npmusc",
    `(?:num_parallel|n_parallel|max[-_]num[-_]seqs|parallel|np|users?|slots?|concurrency|sequences?)\\s*[=:]?\\s*(\\d{1,4})${END}`,
    (m) => sequences(m[1]),
  ),
  wordRule("std", `(?:speed|tps|decode|tok/s|t/s)\\s*${AT_LEAST}?\\s*${NUMBER}\\s*(?:${RATE_UNIT})?${END}`, (m) => ({
    kind: "speed",
    tokensPerSecond: Number(m[1]),
  })),
  wordRule("aomf", `${AT_LEAST}\\s*${NUMBER}\\s*${RATE_UNIT}`, (m) => ({
    kind: "speed",
    tokensPerSecond: Number(m[1]),
  })),
  wordRule("ng", `(?:n[-_]?gpu[-_]?layers|gpu[-_ ]?layers|num_gpu|ngl)\\s*[=:]?\\s*(\\d{1,4}|all|max)${END}`, (m) =>
    gpuLayers(m[1]),
  ),
  wordRule(
    "af",
    `all layers(?: on (?:the )?(?:gpu|card))?${END}|full(?:y)? offload(?:ed)?${END}|fully on (?:the )?gpu${END}`,
    () => ({ kind: "gpuLayers", count: "all" }),
  ),
  wordRule("n", `(?:n[-_]cpu[-_]moe|ncmoe)\\s*[=:]?\\s*(\\d{1,3})${END}`, (m) => ({
    kind: "hostExpertLayers",
    count: Number(m[1]),
  })),
  wordRule(
    "um",
    `(?:u[-_]?batch(?:[-_ ]?size)?|micro[-_ ]?batch(?:[-_ ]?size)?|ub)\\s*[=:]?\\s*(\\d{1,5})${END}`,
    (m) => ({
      kind: "microBatchSize",
      count: Number(m[1]),
    }),
  ),
  wordRule("nb", `(?:n_batch|batch(?:[-_ ]?size)?)\\s*[=:]?\\s*(\\d{1,5})${END}`, (m) => ({
    kind: "batchSize",
    count: Number(m[1]),
  })),
  wordRule(
    "nfilwbem",
    `(?:nf4|fp4|fp8|int8|int4|w4a16|w8a8|w8a16|fp16|f16|float16|bf16|bfloat16|fp32|f32|float32|mxfp4|nvfp4|exl2|exl3|llm\\.int8(?:\\(\\))?)${END}`,
    (m) => ({ kind: "quantization", name: m[0].startsWith("llm") ? "int8" : m[0] }),
  ),
  wordRule("ga", `(?:gptq|awq)(?:[- _]?marlin)?(?:[- _]?(?:int)?([48])(?:[- ]?bits?)?)?${END}`, (m) => ({
    kind: "quantization",
    name: `${m[0].slice(0, m[0].startsWith("gptq") ? 4 : 3)}${m[1] ?? ""}`,
  })),
  wordRule("h", `(?:half(?:[- ]precision)?)${END}`, () => ({ kind: "quantization", name: "fp16" })),
  wordRule("fs", `(?:full[- ]precision|single precision)${END}`, () => ({ kind: "quantization", name: "fp32" })),
  wordRule("uqit", `${QUANTIZATION_NAME}${END}`, (m) => ({ kind: "quantization", name: m[1]! })),
  wordRule("a", `a${NUMBER}b${END}`, (m) => ({ kind: "activeParameters", count: Number(m[1]) * 1e9 })),
  wordRule("x", `x\\s?(\\d{1,2})(?![a-z0-9.])`, (m) => count(m[1], true)),
  wordRule(
    "sdtqfe",
    `(single|dual|double|twin|triple|quad|two|three|four|six|eight)${END}(?:\\s*(?:gpus?|cards?)${END})?`,
    (m) => count(m[1]),
  ),
  wordRule("klrs", `(?:keep|leave|reserve|spare)(?: me| at least| about)?${END}`, () => ({
    kind: "role",
    role: "reserve",
  })),
  wordRule("mvaul", `(?:max vram|vram max|vram limit|at most|up to|limit)${END}`, () => ({
    kind: "role",
    role: "cap",
  })),
  wordRule("favu", `(?:free vram|vram free|available vram|free|available|unused)${END}`, () => ({
    kind: "role",
    role: "free",
  })),
  wordRule("us", `(?:unified(?: memory| ram)?|shared memory)${END}`, () => ({ kind: "role", role: "unified" })),
  wordRule(
    "ovgc",
    `(?:of )?(?:vram|video ram|video memory|gpu memory|gpu ram|graphics memory|graphics card|gpus?|cards?|video card)${END}`,
    () => ({ kind: "role", role: "vram" }),
  ),
  wordRule(
    "oscmhrd",
    `(?:of )?(?:system ram|system memory|main memory|cpu ram|cpu memory|host memory|host ram|ram|memory)${END}`,
    () => ({ kind: "role", role: "ram" }),
  ),
  wordRule("d", `ddr([345])(?:[- ]?(\\d{4}))?(?:\\s*(?:mhz|mt/s))?(?:\\s*ram)?${END}`, (m) => ({
    kind: "ramSpeed",
    generation: Number(m[1]),
    ...(m[2] !== undefined && { megatransfers: Number(m[2]) }),
  })),
  words(["cuda"], { kind: "backend", backend: "cuda" }),
  words(["vulkan"], { kind: "backend", backend: "vulkan" }),
  words(["rocm", "hip"], { kind: "backend", backend: "rocm" }),
  words(["metal"], { kind: "backend", backend: "metal" }),
  wordRule("conw", `(?:cpu[- ]?only|only cpu|no gpu|without (?:a )?gpu|cpu)${END}`, () => ({
    kind: "backend",
    backend: "cpu",
  })),
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
  words(["vision", "multimodal", "image input", "images", "image", "pictures", "screenshots", "photos", "ocr"], {
    kind: "vision",
  }),
  words(["fast", "fastest", "quick", "real time", "realtime", "low latency"], { kind: "purpose", purpose: "fast" }),
  wordRule("wpa", `(?:with|plus|and)${END}`, () => ({ kind: "plus" })),
];

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
  ...OUTSIDE_HAN_RULES,
  ...HOST_HAN_RULES,
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
  rule("(?:多模态|视觉|识图|看图|图片|图像|截图)", () => ({ kind: "vision" })),
  rule("(?:半精度)", () => ({ kind: "quantization", name: "fp16" })),
  rule("(?:全精度|单精度)", () => ({ kind: "quantization", name: "fp32" })),
  rule("(?:外加|加上|搭配|加|配|和|与|带|以及|还有)", () => ({ kind: "plus" })),
];

/** The word rules that may match behind each first letter, in order. */
const WORD_RULES_BY_LETTER: ReadonlyMap<string, readonly Rule[]> = new Map(
  [..."abcdefghijklmnopqrstuvwxyz"].map((letter) => [
    letter,
    WORD_RULES.filter(({ starts }) => starts?.includes(letter) ?? true),
  ]),
);

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
  if (kind === "word") return matchFirst(WORD_RULES_BY_LETTER.get(text[offset]!) ?? [], text, offset);
  if (kind === "han") return matchFirst(HAN_RULES, text, offset);
  return matchFirst(SYMBOL_RULES, text, offset);
}

/** A number with no unit, tried after every rule and name. */
export function matchBareNumber(text: string, offset: number): RuleMatch | undefined {
  return matchFirst([BARE_NUMBER], text, offset);
}
