/** A comparison in words and tables, for terminal, chat and Markdown. */
import type { Locale } from "../core/errors.ts";
import { formatBytes, formatDuration, formatParameterCount } from "../core/units.ts";
import type { CompareProgress, CompareStep, ComparisonReport, VariantResult } from "./compare-report.ts";

type Localized<T = string> = Record<Locale, T>;

/** Mean divergence up to which predictions are said to differ so much. */
const divergenceClasses: readonly { below: number; says: Localized }[] = [
  { below: 0.005, says: { en: "hardly at all", zh: "几乎没有差别" } },
  { below: 0.05, says: { en: "a little", zh: "略有差别" } },
  { below: 0.2, says: { en: "noticeably", zh: "有明显差别" } },
  { below: Number.POSITIVE_INFINITY, says: { en: "a lot", zh: "差别很大" } },
];
/** A precision that differs by more is not recommended for its speed. */
const divergenceMax = 0.2;

export interface Table {
  head: string[];
  rows: string[][];
}

/** One or two sentences: what to take, and what it costs. */
export function compareVerdict(report: ComparisonReport, locale: Locale): string {
  const zh = locale === "zh";
  const ran = report.variants.filter((variant) => decodeOf(variant) !== undefined);
  const notes = failures(report, locale);
  if (ran.length === 0)
    return [zh ? "没有一种精度能在这里运行。" : "None of the precisions ran here.", ...notes].join(zh ? "" : " ");
  const base = ran.find(({ quantization }) => quantization === report.reference) ?? ran[0]!;
  const good = ran.filter(({ quality }) => (quality?.divergence?.mean ?? 0) < divergenceMax);
  const best = good.reduce((left, right) => (decodeOf(right)! > decodeOf(left)! ? right : left), base);
  if (best === base) {
    const alone = ran.length === 1;
    const said = zh
      ? alone
        ? `只有 ${base.quantization} 可以测量：每秒 ${rate(decodeOf(base)!)} 个 token。`
        : `在这台机器上 ${base.quantization} 最快，其他精度没有带来好处。`
      : alone
        ? `Only ${base.quantization} could be measured: ${rate(decodeOf(base)!)} tokens/s.`
        : `${base.quantization} is the fastest here; the others gain nothing in speed.`;
    return [said, ...smallest(report, ran, base, locale), ...notes].join(zh ? "" : " ");
  }
  return [comparison(best, base, locale), ...notes].join(zh ? "" : " ");
}

function comparison(best: VariantResult, base: VariantResult, locale: Locale): string {
  const zh = locale === "zh";
  const times = trimmed(decodeOf(best)! / decodeOf(base)!);
  const memory = shareOf(memoryOf(best), memoryOf(base));
  const divergence = best.quality?.divergence;
  const differs = divergence === undefined ? undefined : classOf(divergence.mean)[locale];
  const kl = divergence === undefined ? "" : divergence.mean.toPrecision(2);
  if (zh) {
    const part = memory === undefined ? "" : `，占用内存为其 ${memory}`;
    const how = differs === undefined ? "" : `，预测结果${differs}（KL 散度 ${kl}）`;
    return `建议用 ${best.quantization}：生成速度是 ${base.quantization} 的 ${times} 倍${part}${how}。`;
  }
  const part = memory === undefined ? "" : `, in ${memory} of its memory`;
  const how = differs === undefined ? "" : `, and its predictions differ ${differs} (KL divergence ${kl})`;
  return `Take ${best.quantization}: it answers ${times} times as fast as ${base.quantization}${part}${how}.`;
}

/** What memory can be saved where speed cannot. */
function smallest(
  { reference }: ComparisonReport,
  ran: readonly VariantResult[],
  base: VariantResult,
  locale: Locale,
): string[] {
  const good = ran.filter((one) => one !== base && (one.quality?.divergence?.mean ?? 0) < divergenceMax);
  const sized = good.filter((one) => memoryOf(one) !== undefined);
  if (sized.length === 0 || memoryOf(base) === undefined) return [];
  const small = sized.reduce((left, right) => (memoryOf(right)! < memoryOf(left)! ? right : left));
  const share = shareOf(memoryOf(small), memoryOf(base));
  if (share === undefined || memoryOf(small)! >= memoryOf(base)!) return [];
  const kl = small.quality?.divergence?.mean.toPrecision(2);
  const how =
    kl === undefined || reference === undefined ? "" : locale === "zh" ? `（KL 散度 ${kl}）` : ` (KL divergence ${kl})`;
  return [
    locale === "zh"
      ? `${small.quantization} 只占其内存的 ${share}${how}。`
      : `${small.quantization} needs ${share} of its memory${how}.`,
  ];
}

function failures(report: ComparisonReport, locale: Locale): string[] {
  const zh = locale === "zh";
  const said = report.variants.flatMap(({ quantization, failure }) =>
    failure === undefined
      ? []
      : [zh ? `${quantization} 未能完成：${failure.message}` : `${quantization}: ${failure.message}`],
  );
  if (report.disturbed) {
    said.push(
      zh
        ? "测量期间还有别人在使用这台机器，时间偏长。"
        : "Others used the machine meanwhile, so times are longer than they would be.",
    );
  }
  if (report.model.demo) {
    said.push(
      zh
        ? "演示模型很小，它的数字说明不了大模型的情况。"
        : "The demo model is tiny: its figures say little about large ones.",
    );
  }
  return said;
}

const HEADS: Localized<string[]> = {
  en: ["precision", "file", "memory", "load", "first token", "prompt/s", "tokens/s", "perplexity", "KL", "same word"],
  zh: ["精度", "文件", "内存", "加载", "首 token", "提示/s", "token/s", "困惑度", "KL 散度", "首选相同"],
};

/** The main figures, one row a precision. */
export function compareTable(report: ComparisonReport, locale: Locale): Table {
  const rows = report.variants.map((variant) => {
    const { quantization, fileBytes, load, speeds, quality } = variant;
    const first = variant.answers[0];
    return [
      quantization,
      fileBytes === undefined ? "–" : formatBytes(fileBytes),
      formatMaybe(memoryOf(variant), formatBytes),
      formatMaybe(load?.ms, formatDuration),
      formatMaybe(first?.timeToFirstTokenMs, formatDuration),
      formatMaybe(speeds[0]?.prefillTokensPerSecond, rate),
      formatMaybe(decodeOf(variant), rate),
      formatMaybe(quality?.perplexity, trimmed),
      formatMaybe(quality?.divergence?.mean, (nats) => nats.toPrecision(2)),
      formatMaybe(quality?.divergence?.sameTopShare, (share) => `${(share * 100).toFixed(1)} %`),
    ];
  });
  return { head: HEADS[locale], rows };
}

/** Predicted beside measured: speed at every depth. */
export function compareSpeedTable({ variants }: ComparisonReport, locale: Locale): Table {
  const zh = locale === "zh";
  return {
    head: zh
      ? ["精度", "上下文", "提示 token/s", "预测", "生成 token/s", "预测"]
      : ["precision", "context", "prompt tokens/s", "predicted", "decode tokens/s", "predicted"],
    rows: variants.flatMap(({ quantization, speeds }) =>
      speeds.map(({ contextTokens, prefillTokensPerSecond, decodeTokensPerSecond, predicted }) => [
        quantization,
        String(contextTokens),
        rate(prefillTokensPerSecond),
        rate(predicted.prefillTokensPerSecond),
        rate(decodeTokensPerSecond),
        rate(predicted.decodeTokensPerSecond),
      ]),
    ),
  };
}

/** Predicted beside measured: memory by place. */
export function compareMemoryTable({ variants }: ComparisonReport, locale: Locale): Table {
  const zh = locale === "zh";
  const rows = variants.flatMap(({ quantization, memory }) => {
    if (memory === undefined) return [];
    const { predicted, measured, rssBytes, vramBytesTaken } = memory;
    return [
      [
        quantization,
        formatBytes(predicted.gpuBytes),
        formatMaybe(measured?.gpuBytes, formatBytes),
        formatMaybe(vramBytesTaken, formatBytes),
        formatBytes(predicted.hostBytes),
        formatMaybe(measured?.hostBytes, formatBytes),
        formatMaybe(rssBytes, formatBytes),
      ],
    ];
  });
  return {
    head: zh
      ? ["精度", "显存预测", "显存实测", "驱动所见", "内存预测", "内存实测", "进程"]
      : ["precision", "VRAM predicted", "measured", "by the driver", "RAM predicted", "measured", "process"],
    rows,
  };
}

/** The whole report, as people paste it. */
export function renderCompareMarkdown(report: ComparisonReport, locale: Locale): string {
  const zh = locale === "zh";
  const { model, machine, durationMs, overheadMs, text } = report;
  const devices = [...machine.gpus, machine.cpu].join(", ");
  const when = new Date(report.startedAt).toISOString().slice(0, 16).replace("T", " ");
  const title = zh ? `# ${model.name} 的精度对比` : `# ${model.name} by precision`;
  const facts = zh
    ? `${formatParameterCount(model.parameterCount)} 参数（${model.architecture}），${devices}，后端 ${machine.backend}，${when} UTC。用时 ${formatDuration(durationMs)}，其中测量之外 ${formatDuration(overheadMs)}。`
    : `${formatParameterCount(model.parameterCount)} parameters (${model.architecture}) on ${devices}, backend ${machine.backend}, ${when} UTC. It took ${formatDuration(durationMs)}, of which ${formatDuration(overheadMs)} beside the measuring.`;
  const quality =
    text === undefined || report.reference === undefined
      ? []
      : [
          zh
            ? `困惑度在随附文本（版本 ${text.version}）上以 ${text.windowTokens} token 的窗口测得，只计后半；KL 散度相对 ${report.reference}，单位奈特。`
            : `Perplexity is of the shipped text, version ${text.version}, in windows of ${text.windowTokens} tokens whose second half counts; KL divergence is from ${report.reference}, in nats.`,
        ];
  return [
    title,
    compareVerdict(report, locale),
    facts,
    markdownTable(compareTable(report, locale)),
    ...quality,
    zh ? "## 内存" : "## Memory",
    markdownTable(compareMemoryTable(report, locale)),
    zh ? "## 速度" : "## Speed",
    markdownTable(compareSpeedTable(report, locale)),
    zh ? "## 回答" : "## Answers",
    ...report.prompts.map((prompt, index) => answersOf(report, prompt, index)),
  ].join("\n\n");
}

function answersOf({ variants }: ComparisonReport, prompt: string, index: number): string {
  const lines = variants.flatMap(({ quantization, answers }) => {
    const answer = answers.find((one) => one.prompt === index);
    return answer === undefined ? [] : [`- **${quantization}**: ${oneLine(answer.text)}`];
  });
  return [`> ${oneLine(prompt)}`, lines.join("\n")].join("\n\n");
}

/** A verdict, the figures people look for as a block, and the answers as far as there is room. */
export function renderCompareChat(report: ComparisonReport, locale: Locale, charsMax: number): string {
  const { head, rows } = compareTable(report, locale);
  const shown = [0, 2, 4, 6, 7, 8];
  const pick = (row: readonly string[]) => shown.map((column) => row[column]!);
  const block = ["```", ...alignedLines({ head: pick(head), rows: rows.map(pick) }), "```"].join("\n");
  let text = [compareVerdict(report, locale), block].join("\n");
  for (const [index, prompt] of report.prompts.entries()) {
    const more = `${text}\n${answersOf(report, prompt, index)}`;
    if (more.length > charsMax) break;
    text = more;
  }
  return text.length > charsMax ? `${text.slice(0, Math.max(0, charsMax - 1))}…` : text;
}

const STEPS: Localized<Record<CompareStep, string>> = {
  en: {
    prepare: "getting the file",
    load: "loading",
    speed: "measuring speed",
    answer: "answering",
    quality: "measuring quality",
  },
  zh: { prepare: "准备文件", load: "加载", speed: "测速", answer: "回答", quality: "测质量" },
};

/** "Q4_K_M: measuring speed". */
export function compareStepLabel({ quantization, step }: CompareProgress, locale: Locale): string {
  return `${quantization}${locale === "zh" ? "：" : ": "}${STEPS[locale][step]}`;
}

/** Columns of equal width; wide characters count twice. */
export function alignedLines({ head, rows }: Table): string[] {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => cells(row[column]!))));
  return all.map((row) =>
    row
      .map((cell, column) => {
        const room = " ".repeat(widths[column]! - cells(cell));
        return column === 0 ? cell + room : room + cell;
      })
      .join("  ")
      .trimEnd(),
  );
}

function cells(text: string): number {
  let count = 0;
  for (const character of text) count += character.codePointAt(0)! > 0x2e7f ? 2 : 1;
  return count;
}

export function markdownTable({ head, rows }: Table): string {
  const line = (row: readonly string[]) => `| ${row.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(head), line(head.map((_, column) => (column === 0 ? "---" : "---:"))), ...rows.map(line)].join("\n");
}

export function decodeOf({ speeds }: VariantResult): number | undefined {
  const rate = speeds[0]?.decodeTokensPerSecond;
  return rate !== undefined && rate > 0 && Number.isFinite(rate) ? rate : undefined;
}

/** Of GPU and host together, as measured where it was. */
export function memoryOf({ memory }: VariantResult): number | undefined {
  if (memory === undefined) return undefined;
  const { hostBytes, gpuBytes } = memory.measured ?? memory.predicted;
  return hostBytes + gpuBytes;
}

function shareOf(part: number | undefined, whole: number | undefined): string | undefined {
  if (part === undefined || whole === undefined || !(whole > 0)) return undefined;
  return `${Math.round((part / whole) * 100)} %`;
}

function classOf(nats: number): Localized {
  return divergenceClasses.find(({ below }) => nats < below)!.says;
}

export function rate(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

/** Three digits, and whole numbers in full. */
export function trimmed(value: number): string {
  return value >= 1000 ? value.toFixed(0) : value.toPrecision(3);
}

function formatMaybe(value: number | undefined, format: (value: number) => string): string {
  return value === undefined || !Number.isFinite(value) ? "–" : format(value);
}

/** Model output may hold anything; in a list it is one line. */
function oneLine(text: string): string {
  return text.replace(/\s+/g, " ").replaceAll("`", "'").trim();
}
