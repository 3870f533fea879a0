/** The picture that goes with an answer, under a title of its own: the verdict's sentence is too long to stand on it. */
import type { Locale } from "../core/errors.ts";
import { formatBytes } from "../core/units.ts";
import { layersTotal, type PlannedFit } from "./answer-plan.ts";
import { contextLabel, formatRate, machineName, planName } from "./answer-sentences.ts";
import type { FitsAnswer } from "./answer-types.ts";
import { drawPicture, type PictureInput } from "./picture.ts";
import { hardwareLabel } from "./query-echo.ts";
import type { FitPlan, Hardware } from "./types.ts";

/** SVG of the answer's memory and speed; undefined where there is nothing to draw, as for a term. */
export function renderPicture(
  answer: FitsAnswer,
  locale: Locale,
  theme: PictureInput["theme"] = "auto",
): string | undefined {
  if (answer.memory.length === 0) return undefined;
  return drawPicture({
    ...pictureTitle(answer, locale),
    description: answer.verdict.line[locale],
    bars: answer.memory,
    speed: answer.speedByContext,
    locale,
    theme,
  });
}

/** What the bars show, and under it how it goes: "13B model Q4_K_M on a 6 GB GPU", "23 of 41 layers on the GPU …". */
export function pictureTitle(answer: FitsAnswer, locale: Locale): { title: string; subtitle: string } {
  const { refusal, hardware, verdict } = answer;
  const shown = shownPlan(answer);
  const plan = shown ?? refusal?.nearest;
  if (plan === undefined || hardware === undefined)
    return { title: verdict.line[locale], subtitle: verdict.reason[locale] };
  return {
    title: titleOf(plan, hardware, locale),
    subtitle:
      shown === undefined ? refusalLine(refusal?.shortfallBytes ?? 0, plan, locale) : planLine(shown, hardware, locale),
  };
}

/** The plan whose memory the bars show. */
function shownPlan({ plan, models, machines, hardware }: FitsAnswer): PlannedFit | undefined {
  return plan ?? models[0]?.plan ?? machines.find(({ label }) => label === hardware?.name)?.plan;
}

function titleOf(plan: FitPlan, hardware: Hardware, locale: Locale): string {
  const name = shortName(plan, locale);
  if (hardware.gpus.length === 0) return `${name} · ${hardwareLabel(hardware, locale)}`;
  const machine = machineName(hardware, locale);
  // Between Chinese and Latin letters stands a space, between Chinese ones none.
  return locale === "zh"
    ? `${machine}${/[\u4e00-\u9fff]$/.test(machine) ? "" : " "}上的 ${name}`
    : `${name} on ${machine}`;
}

/** "13B model Q4_K_M": a model known by its size alone needs no article on a picture. */
function shortName(plan: FitPlan, locale: Locale): string {
  const { name, quantization, provenance } = plan.model;
  if (provenance !== "size" || !name.endsWith(" model")) return planName(plan, locale);
  return `${locale === "zh" ? name.replace(/ model$/, " 模型") : name} ${quantization}`;
}

function planLine(plan: PlannedFit, hardware: Hardware, locale: Locale): string {
  if (!plan.fits) {
    const over = Math.max(0, ...plan.devices.map(({ freeBytesAfter }) => -freeBytesAfter));
    return refusalLine(over, plan, locale);
  }
  if (plan.vectors === true) return [placeOf(plan, hardware)[locale], contextLabel(plan)[locale]].join(" · ");
  const rate = formatRate(plan.speed.decodeTokensPerSecond);
  const speed = locale === "zh" ? `约 ${rate} tokens/s` : `about ${rate} tokens/s`;
  return [placeOf(plan, hardware)[locale], contextLabel(plan)[locale], speed].join(" · ");
}

function placeOf(plan: FitPlan, { gpus }: Hardware): Record<Locale, string> {
  const { gpuLayers, hostExpertLayers } = plan.settings;
  const gpu = gpus.length > 1 ? "the GPUs" : "the GPU";
  if (plan.offload === "full") return { en: `fully on ${gpu}`, zh: "完整放进显卡" };
  if (plan.offload === "none") return { en: "on the CPU", zh: "用 CPU 运行" };
  const total = layersTotal(plan);
  if (hostExpertLayers > 0 && gpuLayers >= total)
    return { en: `experts of ${hostExpertLayers} layers in main memory`, zh: `${hostExpertLayers} 层的专家在内存` };
  return { en: `${gpuLayers} of ${total} layers on ${gpu}`, zh: `${total} 层中 ${gpuLayers} 层在显卡` };
}

function refusalLine(shortfallBytes: number, plan: FitPlan, locale: Locale): string {
  const short = formatBytes(shortfallBytes);
  const context = contextLabel(plan)[locale];
  const parts: Record<Locale, string[]> = {
    en: ["does not fit", context, ...(shortfallBytes > 0 ? [`${short} is missing`] : [])],
    zh: ["放不下", context, ...(shortfallBytes > 0 ? [`还缺 ${short}`] : [])],
  };
  return parts[locale].join(" · ");
}
