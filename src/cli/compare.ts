/** `snug compare` and `snug bench`: the commands, and what they print. */
import { type Command, InvalidArgumentError } from "commander";
import type { Locale } from "../core/errors.ts";
import { formatBytes, formatDuration } from "../core/units.ts";
import { type BenchProfile, predictionErrorPercent } from "../fit/bench-profile.ts";
import {
  alignedLines,
  compareMemoryTable,
  compareSpeedTable,
  compareTable,
  compareVerdict,
  rate,
  type Table,
} from "../fit/compare-render.ts";
import type { ComparisonReport } from "../fit/compare-report.ts";
import type { Terminal } from "./terminal.ts";

export interface CompareOptions {
  quantizations?: string[];
  prompt?: string[];
  contexts?: number[];
  maxTokens?: number;
  /** False with --no-quality. */
  quality: boolean;
  force?: boolean;
  json?: boolean;
  markdown?: boolean;
  svg?: string;
}

export interface BenchOptions {
  contexts?: number[];
  parallel?: number[];
  tokens?: number;
  repetitions?: number;
  out?: string;
  share?: string;
  force?: boolean;
  json?: boolean;
}

/** Each resolves to the process's exit code. */
export interface CompareActions {
  compare(model: string, options: CompareOptions): Promise<number>;
  bench(model: string, options: BenchOptions): Promise<number>;
}

const texts = {
  en: {
    compare: "one model at several precisions, measured on this machine",
    bench: "reading and writing speed of a model over depth and answers at once",
    model: "name, GGUF path or hf: reference; demo for the embedded model",
    quantizations: "such as f16,q8_0,q4_k_m; default: those on this disk, or made from an F16 file",
    prompt: "a question for all of them; may be given several times",
    contexts: "tokens in the cache at which speed is measured, such as 512,4096",
    maxTokens: "most tokens of an answer",
    noQuality: "leave out perplexity and KL divergence",
    force: "although others use the machine",
    json: "print JSON",
    markdown: "print Markdown",
    svg: "write the picture as SVG",
    parallel: "answers at once, such as 1,2,4",
    tokens: "tokens to write at each depth (64)",
    repetitions: "times each is measured; the median counts (3)",
    out: "where to write the profile (default: the data folder)",
    share: "also write it without anything that tells who measured, to send in",
    list: "whole numbers with commas between, please",
    answer: (prompt: string) => `Answers: ${prompt}`,
    speed: "Speed, predicted beside measured",
    memory: "Memory, predicted beside measured",
    took: (total: string, overhead: string) => `${total}, of which ${overhead} beside the measuring`,
    benchHead: ["context", "at once", "prompt tokens/s", "tokens/s", "each", "predicted", "error"],
    written: (path: string) => `Profile: ${path}\nThe planner reads it: snug fits … --measured ${path}`,
    learned: "Loads on this machine are planned by it from now on.",
    shared: (path: string) => `To share: ${path}. All that is in it:`,
    shareHint: "Send it as bench/data/profiles/NAME.json in a pull request.",
    loaded: (ms: string, predicted: string, measured: string) =>
      `Loaded in ${ms}; ${measured} taken, ${predicted} predicted.`,
  },
  zh: {
    compare: "在本机实测同一模型的多种精度",
    bench: "测量模型在不同上下文深度和并发数下的读写速度",
    model: "名称、GGUF 路径或 hf: 引用；demo 为内置模型",
    quantizations: "如 f16,q8_0,q4_k_m；默认用磁盘上已有的，或由 F16 文件生成",
    prompt: "向所有精度提出的问题，可多次给出",
    contexts: "测速时缓存中的 token 数，如 512,4096",
    maxTokens: "回答的最多 token 数",
    noQuality: "不测困惑度和 KL 散度",
    force: "即使有人正在使用这台机器",
    json: "输出 JSON",
    markdown: "输出 Markdown",
    svg: "把图保存为 SVG",
    parallel: "同时回答的个数，如 1,2,4",
    tokens: "每个深度生成的 token 数（64）",
    repetitions: "每项测量次数，取中位数（3）",
    out: "档案保存位置（默认数据目录）",
    share: "另存一份不含任何身份信息的档案，供分享",
    list: "请输入用逗号分隔的整数",
    answer: (prompt: string) => `回答：${prompt}`,
    speed: "速度：预测与实测",
    memory: "内存：预测与实测",
    took: (total: string, overhead: string) => `用时 ${total}，其中测量之外 ${overhead}`,
    benchHead: ["上下文", "并发", "提示 token/s", "token/s", "每个", "预测", "误差"],
    written: (path: string) => `档案：${path}\n规划器可读取：snug fits … --measured ${path}`,
    learned: "从现在起，本机的加载会据此规划。",
    shared: (path: string) => `可分享的文件：${path}，全部内容如下：`,
    shareHint: "请以 bench/data/profiles/NAME.json 提交合并请求。",
    loaded: (ms: string, predicted: string, measured: string) =>
      `加载用时 ${ms}；占用 ${measured}，预测 ${predicted}。`,
  },
} satisfies Record<Locale, unknown>;

export function addCompareCommands(
  program: Command,
  actions: CompareActions,
  locale: Locale,
  finish: (code: number) => void,
): void {
  const t = texts[locale];
  const words = (text: string) =>
    text
      .split(",")
      .map((word) => word.trim())
      .filter((word) => word !== "");
  const numbers = (text: string) =>
    words(text).map((word) => {
      if (!/^\d{1,9}$/.test(word)) throw new InvalidArgumentError(t.list);
      return Number(word);
    });
  const one = (text: string) => {
    const [number, ...more] = numbers(text);
    if (number === undefined || more.length > 0) throw new InvalidArgumentError(t.list);
    return number;
  };
  program
    .command("compare")
    .description(t.compare)
    .argument("[model]", t.model, "demo")
    .option("-q, --quantizations <list>", t.quantizations, words)
    .option("--prompt <text>", t.prompt, (text: string, before: string[] = []) => [...before, text])
    .option("--contexts <list>", t.contexts, numbers)
    .option("-n, --max-tokens <count>", t.maxTokens, one)
    .option("--no-quality", t.noQuality)
    .option("--force", t.force)
    .option("--json", t.json)
    .option("--markdown", t.markdown)
    .option("--svg <file>", t.svg)
    .action(async (model: string, options: CompareOptions) => finish(await actions.compare(model, options)));
  program
    .command("bench")
    .description(t.bench)
    .argument("[model]", t.model, "demo")
    .option("--contexts <list>", t.contexts, numbers)
    .option("--parallel <list>", t.parallel, numbers)
    .option("-n, --tokens <count>", t.tokens, one)
    .option("--repetitions <count>", t.repetitions, one)
    .option("--out <file>", t.out)
    .option("--share <file>", t.share)
    .option("--force", t.force)
    .option("--json", t.json)
    .action(async (model: string, options: BenchOptions) => finish(await actions.bench(model, options)));
}

/** Verdict, tables and answers for a person. */
export function renderComparison(
  report: ComparisonReport,
  { locale, paint }: Pick<Terminal, "locale" | "paint">,
): string {
  const t = texts[locale];
  const lines = [paint("bold", compareVerdict(report, locale)), "", ...painted(compareTable(report, locale), paint)];
  const part = (title: string, table: Table) =>
    table.rows.length === 0 ? [] : ["", paint("bold", title), ...painted(table, paint)];
  lines.push(...part(t.memory, compareMemoryTable(report, locale)));
  lines.push(...part(t.speed, compareSpeedTable(report, locale)));
  for (const [index, prompt] of report.prompts.entries()) {
    lines.push("", paint("bold", t.answer(printable(prompt))));
    const given = report.variants.flatMap(({ quantization, answers }) =>
      answers.filter((answer) => answer.prompt === index).map(({ text }) => [quantization, printable(text)] as const),
    );
    const width = Math.max(0, ...given.map(([quantization]) => quantization.length));
    for (const [quantization, text] of given) {
      lines.push(`  ${paint("cyan", quantization.padEnd(width))}  ${text}`);
    }
  }
  lines.push("", paint("dim", t.took(formatDuration(report.durationMs), formatDuration(report.overheadMs))));
  return lines.join("\n");
}

/** Measured beside predicted, one line a measurement. */
export function renderBench(profile: BenchProfile, { locale, paint }: Pick<Terminal, "locale" | "paint">): string {
  const t = texts[locale];
  const rows = profile.rows.map((row) => {
    const error = predictionErrorPercent(row);
    return [
      String(row.contextTokens),
      String(row.sequenceCount),
      rate(row.prefillTokensPerSecond),
      rate(row.decodeTokensPerSecond),
      rate(row.decodeTokensPerSecond / row.sequenceCount),
      row.predicted === undefined ? "–" : rate(row.predicted.decodeTokensPerSecond),
      error === undefined ? "–" : `${error > 0 ? "+" : ""}${error.toFixed(0)} %`,
    ];
  });
  const { ms, predicted, measured = predicted } = profile.load;
  const total = (bytes: typeof predicted) => formatBytes(bytes.hostBytes + bytes.gpuBytes);
  return [
    ...painted({ head: t.benchHead, rows }, paint),
    "",
    t.loaded(formatDuration(ms), total(predicted), total(measured)),
  ].join("\n");
}

export function renderBenchFiles(path: string, locale: Locale): string {
  return `${texts[locale].written(path)}\n${texts[locale].learned}`;
}

/** All that a shared file holds is shown before anybody sends it. */
export function renderShared(path: string, content: string, locale: Locale): string {
  return `${texts[locale].shared(path)}\n${content}\n${texts[locale].shareHint}`;
}

function painted(table: Table, paint: Terminal["paint"]): string[] {
  const [head = "", ...rows] = alignedLines(table);
  return [paint("dim", head), ...rows];
}

/** A model's words must not drive the terminal. */
function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
  return text.replace(/[\s\u0000-\u001f\u007f-\u009f]+/g, " ").trim();
}
