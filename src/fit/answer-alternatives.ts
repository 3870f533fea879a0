/** What stands near to a plan and does better: another quantization, model, context, placement, or card. */
import { formatBytes, GIB } from "../core/units.ts";
import { planFramework, pythonFrameworkOf } from "./answer-frameworks.ts";
import { deviceBytes, type PlannedFit, type PlanQuestion, planWithFigures, wishOfFramework } from "./answer-plan.ts";
import {
  contextLabel,
  formatName,
  formatPercent,
  formatRate,
  fullOffloadBytes,
  planName,
  wholePlan,
} from "./answer-sentences.ts";
import type { Alternative } from "./answer-types.ts";
import type { CatalogueModel } from "./catalogue.ts";
import { gpuFreeMemory, usableBytes } from "./free-memory.ts";
import { weightBits } from "./launch-python.ts";
import { quantizationTotalBytes } from "./quantization-bytes.ts";
import type { FitsQuery, Localized } from "./query-types.ts";
import { recommendModels } from "./recommend.ts";
import type { FitPlan, FitRefusal, Hardware, ModelSpec, Wish } from "./types.ts";

export interface AlternativesInput {
  query: FitsQuery;
  model: ModelSpec;
  /** The catalogue's row, when the model is one. */
  row?: CatalogueModel;
  hardware: Hardware;
  wish: Wish;
  question: PlanQuestion;
  planned: PlannedFit | FitRefusal;
}

/** Slower than this, something else is worth naming; what is named is no slower. */
const comfortableTokensPerSecond = 8;
/** A plan partly on the CPU is worth comparing with a whole one until it writes as fast as people read. */
const readingTokensPerSecond = 12;
/** Percent of perplexity from which a smaller model at more bits is the better answer. */
const bearableLossPercent = 8;

/** Alternatives in the order of their use; at most six. */
export function alternativesFor(input: AlternativesInput): Alternative[] {
  const { planned } = input;
  if (pythonFrameworkOf(input.query.framework) !== undefined) return frameworkAlternatives(input);
  const full = planned.kind === "plan" && planned.offload === "full";
  if (planned.kind === "plan" && planned.vectors === true) return full ? [] : definedOf([largerCard(input)]);
  const found = full
    ? [...quantizationTrade(input, planned), ...otherModels(input)]
    : [
        expertPlacement(input),
        ...bestFirst(smallerQuantization(input), [shorterContext(input), ...otherModels(input)]),
        lastResort(input),
        largerCard(input),
      ];
  return definedOf(found).slice(0, 6);
}

function definedOf(found: readonly (Alternative | undefined)[]): Alternative[] {
  return found.filter((one) => one !== undefined);
}

/** Percent of perplexity from which a smaller mix of the same model stands behind what else there is. */
const heavyLossPercent = 15;

function bestFirst(
  smaller: Alternative | undefined,
  others: readonly (Alternative | undefined)[],
): (Alternative | undefined)[] {
  const loss = smaller?.plan?.quality.perplexityIncreasePercent ?? 0;
  return loss >= heavyLossPercent ? [...others, smaller] : [smaller, ...others];
}

/** Mixes below the smallest that the planner goes down to by itself. */
const LAST_MIXES = ["IQ3_XXS", "Q2_K", "IQ2_M", "IQ2_XXS", "IQ1_M"];

/** Where nothing usual fits in GPU and main memory together: the largest mix that does. */
function lastResort({ model, hardware, wish, question, planned }: AlternativesInput): Alternative | undefined {
  if (planned.kind === "plan" || model.provenance === "gguf" || planned.nearest === undefined) return undefined;
  const room = planned.nearest.devices.reduce((sum, { freeBytesBefore }) => sum + freeBytesBefore, 0);
  for (const quantization of LAST_MIXES) {
    // What the weights alone overflow needs no plan.
    if (quantizationTotalBytes(model, quantization) > room) continue;
    const plan = planWithFigures(model, hardware, { ...wish, quantization }, question);
    if (plan.kind === "plan" && plan.offload !== "full") return { kind: "quantization", plan, line: resortLine(plan) };
  }
  return undefined;
}

function resortLine(plan: PlannedFit): Localized {
  const loss = lossClause(plan);
  const context = contextLabel(plan);
  return {
    en: `${plan.model.quantization} runs from main memory with ${context.en}: about ${rateOf(plan)} tokens/s${loss.en}.`,
    zh: `${plan.model.quantization} 可从内存运行（${context.zh}）：约 ${rateOf(plan)} tokens/s${loss.zh}。`,
  };
}

/** ", at 57 % more perplexity than 16 bits"; nothing where nobody has measured. */
function lossClause({ quality }: PlannedFit): Localized {
  const loss = quality.perplexityIncreasePercent;
  return loss === undefined
    ? { en: "", zh: "" }
    : {
        en: `, at ${formatPercent(loss)} % more perplexity than 16 bits`,
        zh: `，困惑度比 16 位高 ${formatPercent(loss)} %`,
      };
}

/** For Transformers and vLLM: a smaller format of theirs, the same model as GGUF, a larger card. */
function frameworkAlternatives(input: AlternativesInput): Alternative[] {
  const { planned } = input;
  const found = [smallerFormat(input), asGguf(input), planned.kind === "plan" ? undefined : largerCard(input)];
  return found.filter((one) => one !== undefined);
}

/** Formats by size, largest first. */
const FORMAT_STEPS = ["fp32", "bf16", "int8", "nf4"];

function smallerFormat({
  query,
  model,
  hardware,
  wish,
  question,
  planned,
}: AlternativesInput): Alternative | undefined {
  const framework = pythonFrameworkOf(query.framework);
  if (planned.kind === "plan" || framework === undefined) return undefined;
  const bits = weightBits(wish.quantization ?? "bf16");
  for (const step of FORMAT_STEPS.filter((name) => weightBits(name) < bits)) {
    const quantization =
      framework === "vllm" && step === "nf4" ? "awq" : framework === "vllm" && step === "int8" ? "fp8" : step;
    const plan = planFramework(model, hardware, { ...wish, quantization }, framework, question);
    if (plan.kind === "plan") return { kind: "quantization", plan, line: smallerLine(plan) };
  }
  return undefined;
}

/** The GGUF mix nearest in size to a format. */
function mixOf(quantization: string): string {
  const bits = weightBits(quantization);
  return bits >= 16 ? "F16" : bits === 8 ? "Q8_0" : "Q4_K_M";
}

/** The same size of weights in llama.cpp, which can also leave layers in main memory. */
function asGguf({ model, hardware, wish, question, planned }: AlternativesInput): Alternative | undefined {
  const now = planned.kind === "plan" ? planned.model.quantization : (wish.quantization ?? "bf16");
  const { quantization: _format, ...rest } = wish;
  const plan = planWithFigures(model, hardware, { ...rest, quantization: mixOf(now) }, question);
  if (plan.kind !== "plan") return undefined;
  const used = formatBytes(deviceBytes(plan));
  const whole = plan.offload === "full";
  const context = contextLabel(plan);
  const loss = plan.quality.perplexityIncreasePercent;
  const cost: Localized =
    loss === undefined || loss === 0
      ? { en: "", zh: "" }
      : { en: `, +${formatPercent(loss)} % perplexity`, zh: `，困惑度 +${formatPercent(loss)} %` };
  return {
    kind: "gguf",
    plan,
    line: {
      en: `As GGUF ${plan.model.quantization} in Snug or llama.cpp: ${whole ? `${used} of GPU memory` : "partly on the CPU"} with ${context.en}, about ${rateOf(plan)} tokens/s${cost.en}.`,
      zh: `用 GGUF ${plan.model.quantization}（Snug 或 llama.cpp）：${whole ? `占用显存 ${used}` : "部分在 CPU"}（${context.zh}），约 ${rateOf(plan)} tokens/s${cost.zh}。`,
    },
  };
}

/** Mixes tried when the planned one does not fit whole, best first. */
const SMALLER_MIXES = ["Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q3_K_M", "IQ3_XXS", "Q2_K", "IQ2_M"];

function rateOf(plan: PlannedFit): string {
  return formatRate(plan.speed.decodeTokensPerSecond);
}

/** Bytes of the mixes to tell which are smaller; order of the list, not arithmetic. */
function mixesBelow(quantization: string | undefined): string[] {
  const index = SMALLER_MIXES.indexOf(quantization ?? "");
  if (index >= 0) return SMALLER_MIXES.slice(index + 1);
  if (/^(?:F32|BF16|F16|FP|Q8)/.test(quantization ?? "")) return SMALLER_MIXES;
  return SMALLER_MIXES.slice(SMALLER_MIXES.indexOf("IQ4_XS"));
}

/** The best smaller mix that lies on the GPUs whole. */
function smallerQuantization(input: AlternativesInput): Alternative | undefined {
  const { model, hardware, wish, question, planned } = input;
  if (hardware.gpus.length === 0 || model.provenance === "gguf") return undefined;
  const reference = planned.kind === "plan" ? planned : planned.nearest;
  if (reference === undefined) return undefined;
  for (const quantization of mixesBelow(reference.model.quantization)) {
    const own = { ...wish, quantization };
    // One look at the smallest settings the plan came down to tells whether the search is worth it.
    if (wholePlan(model, hardware, own, reference)?.fits !== true) continue;
    const plan = planWithFigures(model, hardware, own, question);
    if (plan.kind === "plan" && plan.offload === "full") return { kind: "quantization", plan, line: smallerLine(plan) };
  }
  return undefined;
}

function smallerLine(plan: PlannedFit): Localized {
  const cost = lossClause(plan);
  const context = contextLabel(plan);
  return {
    en: `${formatName(plan.model.quantization)} fits whole with ${context.en}: about ${rateOf(plan)} tokens/s${cost.en}.`,
    zh: `${formatName(plan.model.quantization)} 可完整放入（${context.zh}）：约 ${rateOf(plan)} tokens/s${cost.zh}。`,
  };
}

/** For a plan that fits: what one step up or down in quantization costs and buys. */
function quantizationTrade(input: AlternativesInput, plan: PlannedFit): Alternative[] {
  const { model, hardware, wish, question } = input;
  if (model.provenance === "gguf") return [];
  const { contextLength, sequenceCount, kvCacheTypeK, kvCacheTypeV, microBatchSize, batchSize } = plan.settings;
  // One thing changes at a time: a smaller mix with a larger cache would take more, and say nothing.
  const cache = { kvCacheTypeK, kvCacheTypeV, microBatchSize, batchSize };
  const fixed: Wish = { ...wish, contextLength, sequenceCount, ...cache };
  const steps = ["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M"];
  const at = steps.indexOf(plan.model.quantization);
  if (at < 0) return [];
  // The planner takes the largest mix that fits, so there is a step up only when the question fixed a smaller one.
  const names = [
    wish.quantization === undefined ? undefined : steps[at - 1],
    steps[Math.min(at + (at === 0 ? 3 : 1), steps.length - 1)],
  ];
  return names.flatMap((quantization) => {
    if (quantization === undefined || quantization === plan.model.quantization) return [];
    const other = planWithFigures(model, hardware, { ...fixed, quantization }, question);
    return other.kind === "plan" && other.offload === "full"
      ? [{ kind: "quantization" as const, plan: other, line: tradeLine(plan, other) }]
      : [];
  });
}

function tradeLine(now: PlannedFit, other: PlannedFit): Localized {
  const bytes = deviceBytes(other) - deviceBytes(now);
  const size = formatBytes(Math.abs(bytes));
  const before = now.quality.perplexityIncreasePercent;
  const after = other.quality.perplexityIncreasePercent;
  const cost: Localized =
    before === undefined || after === undefined
      ? { en: "", zh: "" }
      : {
          en: `, perplexity +${formatPercent(after)} % instead of +${formatPercent(before)} %`,
          zh: `，困惑度 +${formatPercent(after)} %（现为 +${formatPercent(before)} %）`,
        };
  return {
    en: `${other.model.quantization}: ${bytes > 0 ? "takes" : "saves"} ${size}${bytes > 0 ? " more" : ""}, about ${rateOf(other)} tokens/s instead of ${rateOf(now)}${cost.en}.`,
    zh: `${other.model.quantization}：${bytes > 0 ? "多占" : "节省"} ${size}，约 ${rateOf(other)} tokens/s（现为 ${rateOf(now)}）${cost.zh}。`,
  };
}

/** Less context where the question fixed it and the whole model would then fit. */
function shorterContext(input: AlternativesInput): Alternative | undefined {
  const { model, hardware, wish, question } = input;
  if (wish.contextLength === undefined || wish.contextLength <= 4096 || hardware.gpus.length === 0) return undefined;
  const { contextLength: _asked, ...rest } = wish;
  const plan = planWithFigures(
    model,
    hardware,
    { ...rest, contextLength: wish.contextLength, contextLengthMin: 4096 },
    question,
  );
  if (plan.kind !== "plan" || plan.offload !== "full" || plan.settings.contextLength >= wish.contextLength)
    return undefined;
  const context = contextLabel(plan);
  return {
    kind: "context",
    plan,
    line: {
      en: `With ${context.en} it fits whole: ${plan.model.quantization}, about ${rateOf(plan)} tokens/s.`,
      zh: `${context.zh}时可完整放入：${plan.model.quantization}，约 ${rateOf(plan)} tokens/s。`,
    },
  };
}

/** Experts in main memory, which llama.cpp's server can do and our engine cannot. */
function expertPlacement(input: AlternativesInput): Alternative | undefined {
  const { model, hardware, wish, question, planned } = input;
  if (model.expertCount === 0 || wish.buildFamily === "llama-server" || hardware.gpus.length === 0) return undefined;
  const plan = planWithFigures(model, hardware, { ...wish, ...wishOfFramework("llama.cpp") }, question);
  if (plan.kind !== "plan" || plan.settings.hostExpertLayers === 0) return undefined;
  const before = planned.kind === "plan" ? planned.speed.decodeTokensPerSecond : 0;
  if (plan.speed.decodeTokensPerSecond < before * 1.1) return undefined;
  const { hostExpertLayers } = plan.settings;
  return {
    kind: "experts",
    plan,
    line: {
      en: `llama.cpp's server can keep the experts of ${hostExpertLayers} layers in main memory and the rest on the GPU: about ${rateOf(plan)} tokens/s.`,
      zh: `llama.cpp server 可把 ${hostExpertLayers} 层的专家放在内存、其余在 GPU：约 ${rateOf(plan)} tokens/s。`,
    },
  };
}

/** What the machine runs well instead. */
function otherModels(input: AlternativesInput): Alternative[] {
  const { query, row, hardware, wish, planned, question } = input;
  if (planned.kind === "plan" && isGood(planned, query.decodeTokensPerSecondMin)) return [];
  const { quantization: _mix, gpuLayers: _layers, hostExpertLayers: _experts, ...rest } = wish;
  const picks = recommendModels(hardware, {
    purposes: [query.purpose ?? "chat"],
    count: 3,
    wish: rest,
    decodeTokensPerSecondMin: query.decodeTokensPerSecondMin ?? comfortableTokensPerSecond,
    ...(question.measured !== undefined && { measured: question.measured }),
  });
  return picks
    .filter(({ model }) => model !== row?.name)
    .slice(0, 2)
    .map(({ plan }) => ({ kind: "model", plan, line: modelLine(plan) }));
}

/** Fast enough to read along, and not squeezed until it forgets. */
function isGood({ speed, quality, offload, devices }: PlannedFit, asked = 0): boolean {
  const loss = quality.perplexityIncreasePercent ?? 0;
  const onGpus = offload === "full" || !devices.some(({ kind }) => kind === "gpu");
  const enough = Math.max(asked, onGpus ? comfortableTokensPerSecond : readingTokensPerSecond);
  return speed.decodeTokensPerSecond >= enough && loss <= bearableLossPercent;
}

function modelLine(plan: PlannedFit): Localized {
  const where: Record<PlannedFit["offload"], Localized> = {
    full: { en: "fully on the GPU", zh: "可完整放进显卡" },
    partial: { en: "partly on the CPU", zh: "可以运行，部分在 CPU" },
    none: { en: "there", zh: "可以运行" },
  };
  const context = contextLabel(plan);
  return {
    en: `${planName(plan)} runs ${where[plan.offload].en} with ${context.en}: about ${rateOf(plan)} tokens/s.`,
    zh: `${planName(plan, "zh")} ${where[plan.offload].zh}（${context.zh}）：约 ${rateOf(plan)} tokens/s。`,
  };
}

/** Sizes cards come in, GiB; beyond the largest, several are needed. */
const CARD_SIZES = [4, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 80, 96];
/** Card that big servers are made of, GiB. */
const serverCard = 80;

/** The smallest card, or cards as many as asked about, that would hold the whole model. */
function largerCard(input: AlternativesInput): Alternative | undefined {
  const { model, hardware, wish, planned } = input;
  const gpu = hardware.gpus[0];
  const plan: FitPlan | undefined = planned.kind === "plan" ? planned : planned.nearest;
  if (plan === undefined || gpu === undefined || hardware.unifiedMemory === true) return undefined;
  const bytes = fullOffloadBytes(model, hardware, wish, plan);
  const usable = (gib: number): number => {
    const card = { id: "gpu0", vramBytesTotal: gib * GIB };
    return usableBytes(gpuFreeMemory(card, hardware)) - (wish.reserveBytes ?? 0);
  };
  const count = hardware.gpus.length;
  const size = CARD_SIZES.find((gib) => usable(gib) >= bytes / count);
  if (size === undefined) return cardLine(plan, bytes, Math.ceil(bytes / usable(serverCard)), serverCard);
  return size * GIB <= gpu.vramBytesTotal ? undefined : cardLine(plan, bytes, count, size);
}

function cardLine(plan: FitPlan, bytes: number, count: number, size: number): Alternative {
  const context = contextLabel(plan);
  const cards: Localized =
    count === 1
      ? { en: `A${/^(?:8|80)$/.test(`${size}`) ? "n" : ""} ${size} GB card holds`, zh: `${size} GB 显卡` }
      : { en: `${count} cards of ${size} GB hold`, zh: `${count} 张 ${size} GB 显卡` };
  return {
    kind: "memory",
    line: {
      en: `${cards.en} all of ${planName(plan)} with ${context.en} (${formatBytes(bytes)}).`,
      zh: `${cards.zh}可完整放下 ${planName(plan, "zh")}，${context.zh}，共 ${formatBytes(bytes)}。`,
    },
  };
}
