/** An answer cut into titled sections of plain lines: the one text that terminal, chat and Markdown lay out. */
import type { Locale } from "../core/errors.ts";
import { formatBytes, formatDuration, formatTokens } from "../core/units.ts";
import { layersTotal, type PlannedFit } from "./answer-plan.ts";
import {
  bottleneckName,
  contextLabel,
  formatName,
  formatPercent,
  formatPrice,
  formatRate,
  planName,
} from "./answer-sentences.ts";
import type { FitsAnswer, MachinePick, ModelPick } from "./answer-types.ts";
import { FRAMEWORK_NAMES, PURPOSE_NAMES } from "./query-echo.ts";
import type { Localized } from "./query-types.ts";
import { translateAssumption } from "./render-assumptions.ts";
import { MEMORY_PART_NAMES, type MemoryBar } from "./render-memory.ts";

export type SectionKey =
  | "asked"
  | "plan"
  | "memory"
  | "speed"
  | "quality"
  | "models"
  | "machines"
  | "instead"
  | "terms"
  | "notes";

export interface Section {
  key: SectionKey;
  title: string;
  /** Short plain lines; bars are drawn by the renderer from the answer itself. */
  lines: string[];
  /** True where each line is an item of a list. */
  list: boolean;
}

const TITLES: Record<SectionKey, Localized> = {
  asked: { en: "Asked", zh: "问题" },
  plan: { en: "Plan", zh: "方案" },
  memory: { en: "Memory", zh: "内存" },
  speed: { en: "Speed", zh: "速度" },
  quality: { en: "Quality", zh: "质量" },
  models: { en: "Models", zh: "模型" },
  machines: { en: "Machines", zh: "机器" },
  instead: { en: "Or", zh: "或者" },
  terms: { en: "Means", zh: "含义" },
  notes: { en: "Notes", zh: "说明" },
};

/** Every section the answer has, in reading order; verdict and reason stand before them. */
export function answerSections(answer: FitsAnswer, locale: Locale): Section[] {
  const section = (key: SectionKey, lines: readonly string[], list = false): Section[] =>
    lines.length === 0 ? [] : [{ key, title: TITLES[key][locale], lines: [...lines], list }];
  const plan = answer.plan;
  return [
    ...section("asked", answer.query.kind === "term" ? [] : [answer.query.echo[locale]]),
    ...section("plan", plan === undefined ? [] : [planLine(plan, locale)]),
    ...section("memory", plan === undefined ? [] : answer.memory.map((bar) => barLegend(bar, locale))),
    ...section("speed", plan?.fits !== true ? [] : [speedLine(plan, locale)]),
    ...section("quality", plan === undefined ? [] : qualityLines(plan, locale)),
    ...section("models", modelLines(answer.models, locale), true),
    ...section(
      "machines",
      answer.machines.map((pick) => machineLine(pick, locale)),
      true,
    ),
    ...section(
      "instead",
      answer.alternatives.map(({ line }) => line[locale]),
      true,
    ),
    // The first entry's line is the reason already.
    ...section(
      "terms",
      answer.terms.slice(1).map(({ title, line }) => `${title[locale]}: ${line[locale]}`),
    ),
    ...section("notes", noteLines(answer, locale), true),
  ];
}

/** "Q4_K_M · 23 of 41 layers on the GPU · 4k context · KV q8_0 · flash attention · micro-batch 128". */
export function planLine(plan: PlannedFit, locale: Locale): string {
  const { settings, framework } = plan;
  const zh = locale === "zh";
  if (framework !== undefined)
    return [`${formatName(plan.model.quantization)} · ${FRAMEWORK_NAMES[framework]}`, contextLabel(plan)[locale]].join(
      " · ",
    );
  const parts = [plan.model.quantization];
  const gpus = plan.devices.filter(({ kind }) => kind === "gpu").length;
  if (gpus > 0) {
    const all = layersTotal(plan);
    parts.push(zh ? `GPU ${settings.gpuLayers}/${all} 层` : `${settings.gpuLayers} of ${all} layers on the GPU`);
  }
  if (gpus > 1 && settings.gpuLayers > 0)
    parts.push(zh ? `切分 ${settings.gpuLayerSplit.join("+")}` : `split ${settings.gpuLayerSplit.join("+")}`);
  if (settings.hostExpertLayers > 0) {
    parts.push(
      zh
        ? `${settings.hostExpertLayers} 层专家在内存`
        : `experts of ${settings.hostExpertLayers} layers in main memory`,
    );
  }
  parts.push(contextLabel(plan)[locale], cacheLabel(plan));
  parts.push(settings.flashAttention ? "flash attention" : zh ? "无 flash attention" : "no flash attention");
  parts.push(zh ? `微批 ${settings.microBatchSize}` : `micro-batch ${settings.microBatchSize}`);
  return parts.join(" · ");
}

function cacheLabel({ settings }: PlannedFit): string {
  const keys = settings.kvCacheTypeK.toLowerCase();
  const values = settings.kvCacheTypeV.toLowerCase();
  return keys === values ? `KV ${keys}` : `K ${keys}, V ${values}`;
}

/** "GPU 5.37 GiB of 6 GiB: weights 4.04 GiB, KV cache 935 MiB …". */
function barLegend(bar: MemoryBar, locale: Locale): string {
  const parts = bar.parts.map(({ kind, bytes }) => `${MEMORY_PART_NAMES[kind][locale]} ${formatBytes(bytes)}`);
  const zh = locale === "zh";
  const used = zh
    ? `${formatBytes(bar.usedBytes)} / ${formatBytes(bar.capacityBytes)}`
    : `${formatBytes(bar.usedBytes)} of ${formatBytes(bar.capacityBytes)}`;
  return zh ? `${bar.label} ${used}：${parts.join("，")}` : `${bar.label} ${used}: ${parts.join(", ")}`;
}

/** "5.3 tokens/s (2.3 to 12) · first token after 1.2 s for 512 tokens of prompt (430 tokens/s) · bound by …". */
function speedLine(plan: PlannedFit, locale: Locale): string {
  const { speed } = plan;
  const zh = locale === "zh";
  const decode = formatRate(speed.decodeTokensPerSecond);
  const low = formatRate(speed.decodeLow);
  const high = formatRate(speed.decodeHigh);
  const first = formatDuration(speed.timeToFirstTokenMs);
  const prompt = formatTokens(speed.atPromptTokens);
  const prefill = formatRate(speed.prefillTokensPerSecond);
  if (plan.vectors === true)
    return zh ? `每秒读 ${prefill} tokens（提示 ${prompt}）` : `${prefill} tokens/s read, in texts of ${prompt}`;
  const bound = bottleneckName(plan, locale);
  return zh
    ? `${decode} tokens/s（${low} 至 ${high}）· 提示 ${prompt} tokens 时首字 ${first}（${prefill} tokens/s）· 受${/^[A-Z]/.test(bound) ? " " : ""}${bound}限制`
    : `${decode} tokens/s (${low} to ${high}) · first token after ${first} for a prompt of ${prompt} (${prefill} tokens/s) · bound by ${bound}`;
}

function qualityLines({ quality }: PlannedFit, locale: Locale): string[] {
  const { perplexityIncreasePercent: loss, klDivergence } = quality;
  const zh = locale === "zh";
  // The full citation is in the data; here only what was measured.
  const measured = quality.perplexityIncreasePercent === undefined ? quality.source : quality.source.split(": ")[0]!;
  const source = zh ? translateSource(measured) : measured;
  if (loss === undefined) return [source];
  if (loss === 0) return [zh ? `无损失：${source}` : `no loss: ${source}`];
  const kl =
    klDivergence === undefined
      ? ""
      : zh
        ? `，KL 散度 ${Number(klDivergence.toPrecision(2))}`
        : `, KL divergence ${Number(klDivergence.toPrecision(2))}`;
  return zh
    ? [`困惑度比 16 位高 ${formatPercent(loss)} %${kl}（${source}）`]
    : [`${formatPercent(loss)} % more perplexity than 16 bits${kl} (${source})`];
}

/** Where a quality figure was measured, said in Chinese. */
function translateSource(source: string): string {
  return source
    .replace(/^between (.+?) and (.+?)(?= \(|$)/, "介于 $1 与 $2 的实测之间")
    .replace(/^measured on (.+?)(?= \(|$)/, "$1 实测")
    .replace("smaller models lose more", "更小的模型损失更大")
    .replace("dense models were measured, this one has experts", "实测的是稠密模型，本模型是混合专家")
    .replace("an older model; newer ones lose more", "较旧的模型；较新的损失更大")
    .replace("the unquantized model", "未量化的模型")
    .replace("the model was trained in this format", "模型本身按此格式训练")
    .replace(
      "the experts stay in MXFP4, as they were published; nobody has measured the rest",
      "专家保持发布时的 MXFP4；其余部分没有实测",
    )
    .replace("next to nothing", "几乎没有损失")
    .replace("the experts stay in MXFP4, as they were published", "专家保持发布时的 MXFP4")
    .replace("no published measurement of its vectors is at hand", "量化对其向量的影响没有公开实测")
    .replace(/^no published measurement of (.+) is at hand$/, "没有 $1 的公开实测")
    .replace(/ \(([^()]+)\)$/, "；$1")
    .replaceAll("; ", "；");
}

/** One line per purpose: the best, then who comes next. */
function modelLines(models: readonly ModelPick[], locale: Locale): string[] {
  const purposes = [...new Set(models.map(({ purpose }) => purpose))];
  if (purposes.length === 1) return models.map((pick) => modelLine(pick, locale));
  return purposes.map((purpose) => {
    const [best, ...others] = models.filter((pick) => pick.purpose === purpose);
    const next = others.map(({ model }) => model).join(locale === "zh" ? "、" : ", ");
    const line = modelLine(best!, locale);
    const more = next === "" ? "" : locale === "zh" ? `；其次 ${next}` : `; then ${next}`;
    return locale === "zh"
      ? `${PURPOSE_NAMES[purpose].zh}：${line}${more}`
      : `${PURPOSE_NAMES[purpose].en}: ${line}${more}`;
  });
}

function modelLine({ plan }: ModelPick, locale: Locale): string {
  const rate = formatRate(plan.speed.decodeTokensPerSecond);
  const context = contextLabel(plan)[locale];
  const where: Record<PlannedFit["offload"], Localized> = {
    full: { en: "", zh: "" },
    partial: { en: ", partly on the CPU", zh: "，部分在 CPU" },
    // Where there is no GPU it goes without saying.
    none: plan.devices.some(({ kind }) => kind === "gpu") ? { en: ", on the CPU", zh: "，用 CPU" } : { en: "", zh: "" },
  };
  const comma = locale === "zh" ? "，" : ", ";
  return `${[planName(plan, locale), context, `${rate} t/s`].join(comma)}${where[plan.offload][locale]}`;
}

function machineLine({ label, priceUsd, priceBasis, plan }: MachinePick, locale: Locale): string {
  const price = formatPrice({ priceUsd, priceBasis })[locale];
  const rate = formatRate(plan.speed.decodeTokensPerSecond);
  return locale === "zh" ? `${label}：${price}，${rate} t/s` : `${label}: ${price}, ${rate} t/s`;
}

function noteLines(answer: FitsAnswer, locale: Locale): string[] {
  return [
    ...answer.notes.map((note) => note[locale]),
    ...answer.assumptions.map((one) => translateAssumption(one, locale)),
  ];
}
