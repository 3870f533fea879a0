/** The two lines everyone reads: the verdict and its reason, in each language. Numbers come from the plan alone. */
import type { Locale } from "../core/errors.ts";
import { formatBytes, formatParameterCount, formatTokens } from "../core/units.ts";
import { deviceBytes, layersOf, type PlannedFit } from "./answer-plan.ts";
import type { MachinePick, ModelPick, Verdict } from "./answer-types.ts";
import { planFit } from "./plan.ts";
import { hardwareLabel } from "./query-echo.ts";
import { gibLabel } from "./query-hardware.ts";
import type { FitsQuery, Localized } from "./query-types.ts";
import type { SpeedBottleneck } from "./speed.ts";
import type { DeviceBreakdown, FitPlan, FitRefusal, Hardware, ModelSpec, Wish } from "./types.ts";

/** "4.2", "42", "1250": tokens per second as precise as they are sure. */
export function formatRate(tokensPerSecond: number): string {
  if (tokensPerSecond >= 10) return `${Math.round(tokensPerSecond)}`;
  return tokensPerSecond >= 1 ? tokensPerSecond.toFixed(1) : tokensPerSecond.toFixed(2);
}

export const BOTTLENECK_NAMES: Record<SpeedBottleneck, Localized> = {
  "memory bandwidth": { en: "memory bandwidth", zh: "显存带宽" },
  compute: { en: "compute", zh: "算力" },
  "CPU layers": { en: "the layers on the CPU", zh: "CPU 上的层" },
  "launch overhead": { en: "launch overhead", zh: "内核启动开销" },
};

/** What holds a plan back; a machine without a GPU has no memory but its main one. */
export function bottleneckName({ speed, devices }: Pick<PlannedFit, "speed" | "devices">, locale: Locale): string {
  const onHost = speed.bottleneck === "memory bandwidth" && !devices.some(({ kind }) => kind === "gpu");
  return onHost && locale === "zh" ? "内存带宽" : BOTTLENECK_NAMES[speed.bottleneck][locale];
}

/** Formats of Transformers and vLLM as their makers write them. */
const FORMAT_NAMES: Readonly<Record<string, string>> = {
  awq: "AWQ",
  fp8: "FP8",
  int8: "INT8",
  nf4: "NF4",
  "nf4-double": "NF4 double",
  bf16: "BF16",
  fp16: "FP16",
  fp32: "FP32",
  mxfp4: "MXFP4",
  nvfp4: "NVFP4",
  "gptq-int4": "GPTQ int4",
  "gptq-int8": "GPTQ int8",
  "awq-int4": "AWQ int4",
};

export function formatName(quantization: string): string {
  return FORMAT_NAMES[quantization] ?? quantization;
}

/** "Qwen3 8B Q4_K_M", "a 13B model at Q4_K_M"; the quantization is left out when the name holds it. */
export function planName(plan: Pick<FitPlan, "model"> & { framework?: string }, locale: Locale = "en"): string {
  const { name, quantization: format, provenance } = plan.model;
  const quantization = formatName(format);
  if (provenance === "size" && name.endsWith(" model")) {
    const size = name.slice(0, -" model".length);
    const article = /^(?:8|11\D|18\D|8\d)/.test(size) ? "an" : "a";
    return locale === "zh" ? `${size} 模型（${quantization}）` : `${article} ${size} model at ${quantization}`;
  }
  return name.includes(quantization) ? name : `${name} ${quantization}`;
}

/** "a 6 GB GPU", "2 GPUs of 16 GB", "RTX 4090 24 GB", "a machine with 32 GB RAM and no GPU": a machine inside a sentence. */
export function machineName(hardware: Hardware, locale: Locale, withRam = false): string {
  const [first] = hardware.gpus;
  const label = hardwareLabel(hardware, locale);
  if (first === undefined) return bareMachine(hardware, locale);
  const ram = withRam && hardware.ramBytesTotal !== undefined && hardware.unifiedMemory !== true;
  const suffix = ram
    ? locale === "zh"
      ? ` + 内存 ${gibLabel(hardware.ramBytesTotal!)}`
      : ` + ${gibLabel(hardware.ramBytesTotal!)} RAM`
    : "";
  const count = hardware.gpus.length;
  const alike = hardware.gpus.every((gpu) => gpu.name === undefined && gpu.vramBytesTotal === first.vramBytesTotal);
  if (!alike || hardware.unifiedMemory === true) return `${hardware.name ?? label}${suffix}`;
  const size = gibLabel(first.vramBytesTotal);
  if (locale === "zh") return `${count > 1 ? `${count} 张 ` : ""}${size} 显卡${suffix}`;
  return `${count > 1 ? `${count} GPUs of ${size}` : `${/^(?:8|11|18|80)\b/.test(size) ? "an" : "a"} ${size} GPU`}${suffix}`;
}

function bareMachine({ ramBytesTotal }: Hardware, locale: Locale): string {
  if (ramBytesTotal === undefined) return locale === "zh" ? "没有显卡的机器" : "a machine without a GPU";
  const ram = gibLabel(ramBytesTotal);
  return locale === "zh" ? `内存 ${ram}、没有显卡的机器` : `a machine with ${ram} RAM and no GPU`;
}

/** "2.9", "0.42", "12": percent as precise as it is sure. */
export function formatPercent(percent: number): string {
  return percent >= 10 ? percent.toFixed(0) : percent >= 1 ? percent.toFixed(1) : `${Number(percent.toPrecision(2))}`;
}

/** A Chinese sentence sets a space between Latin letters and its own, none between two of its own. */
function spaced(name: string): string {
  return /[\u4e00-\u9fff）】]$/.test(name) ? name : `${name} `;
}

function spacedAround(name: string): string {
  return /^[\u4e00-\u9fff（【]/.test(name) ? spaced(name) : ` ${spaced(name)}`;
}

/** A sentence's first letter, where a name begins with an article. */
function capital(sentence: string): string {
  return sentence[0]!.toUpperCase() + sentence.slice(1);
}

interface FitFacts {
  query: FitsQuery;
  model: ModelSpec;
  hardware: Hardware;
  wish: Wish;
  plan: PlannedFit;
  /** Of a load that was described in full and has no room: the same with as many layers as fit. */
  nearest?: FitPlan | undefined;
}

/** The largest part of a load without room that fits with its other settings; undefined when none does. */
export function nearestLoad(plan: FitPlan, model: ModelSpec, hardware: Hardware, wish: Wish): FitPlan | undefined {
  if (plan.fits) return undefined;
  const { gpuLayers: _asked, ...open } = wish;
  const { kvCacheTypeK, kvCacheTypeV, batchSize, microBatchSize, contextLength } = plan.settings;
  const same: Wish = { kvCacheTypeK, kvCacheTypeV, batchSize, microBatchSize, contextLengthMin: contextLength };
  const other = planFit(model, hardware, { ...open, ...same });
  return other.kind === "plan" && other.settings.gpuLayers < plan.settings.gpuLayers ? other : undefined;
}

export function fitVerdict(facts: FitFacts): Verdict {
  const { plan, hardware } = facts;
  if (!plan.fits) return overVerdict(facts);
  if (hardware.gpus.length === 0) return cpuVerdict(facts);
  if (plan.offload === "full") return fullVerdict(facts);
  if (plan.offload === "none") return noLayerVerdict(facts);
  return plan.settings.hostExpertLayers > 0 && plan.settings.gpuLayers >= layersOf(facts.model)
    ? expertVerdict(facts)
    : partialVerdict(facts);
}

/** A load that the question described in full and that has no room: what is too much where, and how much would do. */
function overVerdict({ plan, nearest, model, hardware }: FitFacts): Verdict {
  const name: Localized = { en: planName(plan), zh: planName(plan, "zh") };
  const over = plan.devices.reduce((most, device) => (device.freeBytesAfter < most.freeBytesAfter ? device : most));
  const need = formatBytes(over.totalBytes);
  const room = formatBytes(Math.max(0, over.freeBytesBefore));
  const where: Localized = over.kind === "gpu" ? { en: "the GPU", zh: "显卡" } : { en: "main memory", zh: "内存" };
  const all = layersOf(model);
  const advice: Localized =
    nearest !== undefined
      ? {
          en: `${nearest.settings.gpuLayers} of ${all} layers would fit.`,
          zh: `${all} 层中放 ${nearest.settings.gpuLayers} 层就可以。`,
        }
      : { en: "Ask without fixed settings for what fits.", zh: "不固定设置再问一次，可得到能放下的方案。" };
  const chance = plan.probability < 0.005 ? { en: "", zh: "" } : chanceClause(plan.probability);
  return {
    code: "none",
    line: {
      en: `No: with these settings ${name.en} does not fit safely on ${machineName(hardware, "en", true)}.`,
      zh: `不行：按这些设置，${spaced(machineName(hardware, "zh", true))}放不下 ${name.zh}。`,
    },
    reason: {
      en: `${capital(where.en)} would have to hold ${need}, and about ${room} is free${chance.en}. ${advice.en}`,
      zh: `${where.zh}需要容纳 ${need}，空闲约 ${room}${chance.zh}。${advice.zh}`,
    },
  };
}

function chanceClause(probability: number): Localized {
  const percent = Math.round(probability * 100);
  return { en: `, which goes well ${percent} times in 100`, zh: `，成功率约 ${percent} / 100` };
}

function speedClause({ plan, query }: FitFacts): Localized {
  if (plan.vectors === true) {
    const reads = `${Number(plan.speed.prefillTokensPerSecond.toPrecision(2))}`;
    return { en: `reading about ${reads} tokens/s`, zh: `每秒读约 ${reads} tokens` };
  }
  const rate = formatRate(plan.speed.decodeTokensPerSecond);
  const wanted = query.decodeTokensPerSecondMin;
  if (wanted === undefined || plan.speed.decodeTokensPerSecond >= wanted) {
    return { en: `about ${rate} tokens/s`, zh: `约 ${rate} tokens/s` };
  }
  return {
    en: `about ${rate} tokens/s, less than the ${wanted} you asked for`,
    zh: `约 ${rate} tokens/s，低于要求的 ${wanted}`,
  };
}

function fullVerdict(facts: FitFacts): Verdict {
  const { plan, hardware, query } = facts;
  const slow = plan.speed.decodeTokensPerSecond < (query.decodeTokensPerSecondMin ?? 0);
  const speed = speedClause(facts);
  const name: Localized = { en: planName(plan), zh: planName(plan, "zh") };
  return {
    code: "full",
    line: {
      en: `${slow ? "Yes, but not that fast" : "Yes"}: ${name.en} runs fully on ${machineName(hardware, "en")}, ${speed.en}.`,
      zh: `${slow ? "可以，但没那么快" : "可以"}：${spaced(name.zh)}能完整放进 ${machineName(hardware, "zh")}，${speed.zh}。`,
    },
    reason: memoryReason(plan),
  };
}

function gpuDevices(plan: FitPlan): DeviceBreakdown[] {
  return plan.devices.filter(({ kind }) => kind === "gpu");
}

function sumOf(devices: readonly DeviceBreakdown[], part: (device: DeviceBreakdown) => number): number {
  return devices.reduce((sum, device) => sum + part(device), 0);
}

/** "context 8k", "context 8k x 4 users". */
export function contextLabel(plan: Pick<FitPlan, "settings">): Localized {
  const { contextLength, sequenceCount } = plan.settings;
  const tokens = formatTokens(contextLength);
  if (sequenceCount === 1) return { en: `${tokens} context`, zh: `${tokens} 上下文` };
  return { en: `${sequenceCount} x ${tokens} context`, zh: `${sequenceCount} × ${tokens} 上下文` };
}

function memoryReason(plan: PlannedFit): Localized {
  const gpus = gpuDevices(plan);
  const used = formatBytes(sumOf(gpus, ({ totalBytes }) => totalBytes));
  const capacity = formatBytes(sumOf(gpus, ({ freeBytesBefore }) => freeBytesBefore));
  const weights = formatBytes(sumOf(gpus, ({ weightBytes }) => weightBytes));
  const cache = formatBytes(sumOf(gpus, ({ kvCacheBytes, recurrentStateBytes }) => kvCacheBytes + recurrentStateBytes));
  const rest = formatBytes(
    sumOf(gpus, (device) => device.computeBufferBytes + device.outputBufferBytes + device.runtimeBytes),
  );
  const context = contextLabel(plan);
  if (plan.vectors === true) {
    return {
      en: `${used} of ${capacity}: weights ${weights}, all else ${formatBytes(sumOf(gpus, ({ totalBytes, weightBytes }) => totalBytes - weightBytes))} at ${context.en}.`,
      zh: `${context.zh}占用 ${used} / ${capacity}：权重 ${weights}，其余 ${formatBytes(sumOf(gpus, ({ totalBytes, weightBytes }) => totalBytes - weightBytes))}。`,
    };
  }
  const bound = { en: bottleneckName(plan, "en"), zh: bottleneckName(plan, "zh") };
  return {
    en: `${used} of ${capacity}: weights ${weights}, KV cache ${cache} for ${context.en}, buffers and runtime ${rest}. Speed is bound by ${bound.en}.`,
    zh: `占用 ${used} / ${capacity}：权重 ${weights}，${context.zh}的 KV 缓存 ${cache}，缓冲与运行时 ${rest}。速度受${bound.zh}限制。`,
  };
}

/** The same settings with every layer on the GPUs, whether they have room or not. */
export function wholePlan(model: ModelSpec, hardware: Hardware, wish: Wish, plan: FitPlan): FitPlan | undefined {
  const { contextLength, sequenceCount, quantization, kvCacheTypeK, kvCacheTypeV, batchSize, microBatchSize } =
    plan.settings;
  const fixed: Wish = {
    ...(quantization !== undefined && model.provenance !== "gguf" && { quantization }),
    ...wish,
    contextLength,
    sequenceCount,
    kvCacheTypeK,
    kvCacheTypeV,
    batchSize,
    microBatchSize,
    gpuLayers: layersOf(model),
    hostExpertLayers: 0,
  };
  const whole = planFit(model, hardware, fixed);
  return whole.kind === "plan" ? whole : undefined;
}

/** GPU memory the whole model would take with the plan's settings. */
export function fullOffloadBytes(model: ModelSpec, hardware: Hardware, wish: Wish, plan: FitPlan): number {
  // Plans for Transformers and vLLM are whole by nature.
  if ("framework" in plan) return deviceBytes(plan);
  return deviceBytes(wholePlan(model, hardware, wish, plan) ?? plan);
}

function partialVerdict(facts: FitFacts): Verdict {
  const { plan, hardware, model, wish } = facts;
  const speed = speedClause(facts);
  const all = layersOf(model);
  const layers = plan.settings.gpuLayers;
  const name: Localized = { en: planName(plan), zh: planName(plan, "zh") };
  const need = formatBytes(fullOffloadBytes(model, hardware, wish, plan));
  const usable = formatBytes(sumOf(gpuDevices(plan), ({ totalBytes }) => totalBytes));
  const capacity = formatBytes(sumOf(gpuDevices(plan), ({ freeBytesBefore }) => freeBytesBefore));
  const left = leftLayers(all - layers, plan.speed.bottleneck === "CPU layers");
  const context = contextLabel(plan);
  return {
    code: "partial",
    line: {
      en: `Partly: ${layers} of ${all} layers of ${name.en} fit on ${machineName(hardware, "en")}, the rest runs on the CPU: ${speed.en}.`,
      zh: `部分可以：${spaced(name.zh)}的 ${all} 层有 ${layers} 层能放进 ${machineName(hardware, "zh")}，其余在 CPU 上运行：${speed.zh}。`,
    },
    reason: {
      en: `All of it would take ${need} at ${context.en}; ${usable} of ${capacity} is used safely, and ${left.en}.`,
      zh: `全部放入需要 ${need}（${context.zh}）；${capacity} 中可安全使用 ${usable}，${left.zh}。`,
    },
  };
}

/** What stays in main memory, and whether it is what the speed waits for. */
function leftLayers(count: number, slowest: boolean): Localized {
  const layers = count === 1 ? "the one layer left in main memory" : `the ${count} layers left in main memory`;
  const verb = count === 1 ? "sets" : "set";
  return slowest
    ? { en: `${layers} ${verb} the pace`, zh: `留在内存里的 ${count} 层决定速度` }
    : { en: `${layers} ${count === 1 ? "costs" : "cost"} part of the speed`, zh: `留在内存里的 ${count} 层拖慢速度` };
}

function expertVerdict(facts: FitFacts): Verdict {
  const { plan, hardware } = facts;
  const speed = speedClause(facts);
  const name: Localized = { en: planName(plan), zh: planName(plan, "zh") };
  const host = formatBytes(plan.devices.find(({ kind }) => kind === "host")?.weightBytes ?? 0);
  const gpu = formatBytes(sumOf(gpuDevices(plan), ({ totalBytes }) => totalBytes));
  return {
    code: "partial",
    line: {
      en: `Yes, with experts in main memory: ${name.en} on ${machineName(hardware, "en")}, ${speed.en}.`,
      zh: `可以，专家放在内存：${name.zh}，${machineName(hardware, "zh")}，${speed.zh}。`,
    },
    reason: {
      en: `All layers and the KV cache lie on the GPU (${gpu}); the experts of ${plan.settings.hostExpertLayers} layers (${host}) stay in main memory, and each token needs only a few of them.`,
      zh: `所有层和 KV 缓存在 GPU（${gpu}）；${plan.settings.hostExpertLayers} 层的专家（${host}）留在内存，每个 token 只用其中少数。`,
    },
  };
}

function noLayerVerdict(facts: FitFacts): Verdict {
  const { plan, hardware } = facts;
  const speed = speedClause(facts);
  return {
    code: "cpu",
    line: {
      en: `${facts.wish.gpuLayers === 0 ? "On the CPU, as asked" : "Not on the GPU"}: ${planName(plan)} runs on the CPU beside ${machineName(hardware, "en")}, ${speed.en}.`,
      zh: `${facts.wish.gpuLayers === 0 ? "按要求用 CPU" : "显卡放不下"}：${spaced(planName(plan, "zh"))}在 CPU 上运行（${machineName(hardware, "zh")}），${speed.zh}。`,
    },
    reason:
      facts.wish.gpuLayers === 0
        ? {
            en: "No layer was to lie on the GPU, so the CPU does it all.",
            zh: "按要求不在显卡上放层，全部由 CPU 计算。",
          }
        : {
            en: "With the settings asked for not one layer fits beside the KV cache and the buffers.",
            zh: "按要求的设置，KV 缓存和缓冲之外连一层都放不下。",
          },
  };
}

function cpuVerdict(facts: FitFacts): Verdict {
  const { plan, hardware } = facts;
  const speed = speedClause(facts);
  const host = plan.devices.find(({ kind }) => kind === "host");
  const used = formatBytes(host?.totalBytes ?? 0);
  const free = formatBytes(host?.freeBytesBefore ?? 0);
  const context = contextLabel(plan);
  return {
    code: "cpu",
    line: {
      en: `Yes, on the CPU: ${planName(plan)} with ${ramName(hardware, "en")}, ${speed.en}.`,
      zh: `可以，用 CPU：${planName(plan, "zh")}，${ramName(hardware, "zh")}，${speed.zh}。`,
    },
    reason:
      plan.vectors === true
        ? {
            en: `${used} of ${free} free main memory at ${context.en}.`,
            zh: `${context.zh}占用 ${used}，空闲内存 ${free}。`,
          }
        : {
            en: `${used} of ${free} free main memory at ${context.en}; every token reads its weights from there, so memory bandwidth sets the speed.`,
            zh: `${context.zh}占用 ${used}，空闲内存 ${free}；每个 token 都要从内存读一遍权重，速度由内存带宽决定。`,
          },
  };
}

function ramName(hardware: Hardware, locale: Locale): string {
  const ram = hardware.ramBytesTotal ?? hardware.ramBytesFree;
  if (ram === undefined) return locale === "zh" ? "内存" : "main memory";
  return locale === "zh" ? `内存 ${gibLabel(ram)}` : `${gibLabel(ram)} RAM`;
}

export function refusalVerdict(hardware: Hardware, refusal: FitRefusal): Verdict {
  const nearest = refusal.nearest;
  const quantization = refusal.model.quantization ?? nearest?.model.quantization;
  const named = { model: { ...refusal.model, quantization: quantization ?? "" } };
  const name: Localized = { en: planName(named), zh: planName(named, "zh") };
  const need =
    nearest === undefined
      ? undefined
      : formatBytes(nearest.devices.reduce((sum, { totalBytes }) => sum + totalBytes, 0));
  const short = formatBytes(refusal.shortfallBytes);
  const python = nearest !== undefined && "framework" in nearest;
  const context = nearest === undefined ? undefined : contextLabel(nearest);
  return {
    code: "none",
    line: {
      en: `No: ${name.en} does not fit on ${machineName(hardware, "en", true)}.`,
      zh: `不行：${spaced(machineName(hardware, "zh", true))}放不下 ${name.zh}。`,
    },
    reason: {
      en:
        need === undefined
          ? refusal.reason
          : python
            ? `It needs ${need} of GPU memory at ${context!.en}; ${short} is missing, and these libraries cannot leave part of it in main memory at a bearable speed.`
            : `${sharesMemory(hardware) ? "It" : "GPU and main memory together"} would need ${need} at ${context!.en}; ${short} is missing.`,
      zh:
        need === undefined
          ? `缺少 ${short}。`
          : python
            ? `需要 ${need} 显存（${context!.zh}），还缺 ${short}；这类库把一部分放进内存会慢得难以使用。`
            : `${sharesMemory(hardware) ? "" : "显存加内存共"}需要 ${need}（${context!.zh}），还缺 ${short}。`,
    },
  };
}

/** One memory only: no GPU, or a GPU in the machine's own memory. */
function sharesMemory(hardware: Hardware): boolean {
  return hardware.gpus.length === 0 || hardware.unifiedMemory === true;
}

export function modelsVerdict(hardware: Hardware, models: readonly ModelPick[], query: FitsQuery): Verdict {
  const label: Localized = { en: machineName(hardware, "en", true), zh: machineName(hardware, "zh", true) };
  const best = models[0];
  if (best === undefined) {
    const speed = query.decodeTokensPerSecondMin;
    return {
      code: "models",
      line: {
        en: `Nothing in the catalogue runs on ${label.en} as asked.`,
        zh: `${spaced(label.zh)}上没有符合要求的模型。`,
      },
      reason:
        speed === undefined
          ? { en: "Even the smallest models need more memory than there is.", zh: "连最小的模型也放不下。" }
          : {
              en: `No model reaches ${speed} tokens/s there with the settings asked for.`,
              zh: `按这些设置，没有模型能达到 ${speed} tokens/s。`,
            },
    };
  }
  const { plan } = best;
  const rate = formatRate(plan.speed.decodeTokensPerSecond);
  const where: Localized =
    plan.offload === "full"
      ? { en: "fully on the GPU", zh: "完整放进显卡" }
      : plan.offload === "none"
        ? { en: "on the CPU", zh: "用 CPU" }
        : { en: "partly on the GPU", zh: "部分在显卡" };
  const context = contextLabel(plan);
  const used = usedWhere(plan);
  const loss = plan.quality.perplexityIncreasePercent;
  const cost: Localized =
    loss === undefined || loss === 0
      ? { en: "", zh: "" }
      : {
          en: `, losing about ${formatPercent(loss)} % perplexity to quantization`,
          zh: `，量化约损失 ${formatPercent(loss)} % 困惑度`,
        };
  return {
    code: "models",
    line: {
      en: `On ${label.en} I would run ${planName(plan)}: ${where.en}, about ${rate} tokens/s.`,
      zh: `在${spacedAround(label.zh)}上推荐 ${planName(plan, "zh")}：${where.zh}，约 ${rate} tokens/s。`,
    },
    reason: {
      en: `It takes ${used.en} at ${context.en}${cost.en}; more by purpose below.`,
      zh: `${context.zh}占用${used.zh}${cost.zh}；其他用途见下。`,
    },
  };
}

/** "6.9 GiB", "3.1 GiB of the GPU and 8.9 GiB of main memory": no part of a plan is left unsaid. */
function usedWhere(plan: PlannedFit): Localized {
  const used = formatBytes(deviceBytes(plan));
  const host = formatBytes(plan.devices.find(({ kind }) => kind === "host")?.totalBytes ?? 0);
  return plan.offload === "partial"
    ? { en: `${used} on the GPU and ${host} of main memory`, zh: `显存 ${used}、内存 ${host}` }
    : { en: used, zh: ` ${used}` };
}

export function machinesVerdict(model: ModelSpec, machines: readonly MachinePick[], speedMin: number): Verdict {
  const cheapest = machines[0];
  const best = machines.find(({ plan }) => plan.speed.decodeTokensPerSecond >= speedMin);
  if (cheapest === undefined) return beyondVerdict(model, speedMin);
  const shown = best ?? cheapest;
  const need = formatBytes(deviceBytes(shown.plan));
  const context = contextLabel(shown.plan);
  const name: Localized = { en: capital(planName(shown.plan)), zh: planName(shown.plan, "zh") };
  const price = formatPrice(shown);
  const rate = formatRate(shown.plan.speed.decodeTokensPerSecond);
  return {
    code: "machines",
    line: {
      en: `${name.en} needs about ${need} of GPU memory at ${context.en}.`,
      zh: `${spaced(name.zh)}约需 ${need} 显存（${context.zh}）。`,
    },
    reason:
      best === undefined
        ? {
            en: `Nothing I have a price for reaches ${speedMin} tokens/s; the nearest is ${shown.label}, ${price.en}, about ${rate} tokens/s.`,
            zh: `有价格的机器都达不到 ${speedMin} tokens/s；最接近的是 ${shown.label}，${price.zh}，约 ${rate} tokens/s。`,
          }
        : {
            en: `The cheapest I know that answers at ${speedMin} tokens/s or more: ${shown.label}, ${price.en}, about ${rate} tokens/s.`,
            zh: `能达到 ${speedMin} tokens/s 的最便宜选择：${shown.label}，${price.zh}，约 ${rate} tokens/s。`,
          },
  };
}

function beyondVerdict(model: ModelSpec, speedMin: number): Verdict {
  const size = formatParameterCount(model.parameterCount);
  return {
    code: "machines",
    line: {
      en: `${model.name} (${size}) is beyond the machines I have prices for.`,
      zh: `${model.name}（${size}）超出了我有价格的机器。`,
    },
    reason: {
      en: `None of them holds it and answers at ${speedMin} tokens/s; several servers with vLLM on Ray would.`,
      zh: `没有一台能放下并达到 ${speedMin} tokens/s；需要用 vLLM + Ray 跨多台服务器。`,
    },
  };
}

/** "about $750 used": rough on purpose. */
export function formatPrice({ priceUsd, priceBasis }: Pick<MachinePick, "priceUsd" | "priceBasis">): Localized {
  const rounded = priceUsd >= 1000 ? Math.round(priceUsd / 100) * 100 : Math.round(priceUsd / 10) * 10;
  return priceBasis === "used"
    ? { en: `about $${rounded} used`, zh: `二手约 ${rounded} 美元` }
    : { en: `about $${rounded}`, zh: `约 ${rounded} 美元` };
}
