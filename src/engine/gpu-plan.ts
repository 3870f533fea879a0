/** The best plan over the sets of GPUs a model may be given: one card, several, or all of them. */

import { splitByFreeMemory } from "../fit/placement.ts";
import { planFit } from "../fit/plan.ts";
import { estimateSpeed } from "../fit/speed.ts";
import type { FitPlan, FitRefusal, Hardware, ModelSpec, RuntimeSettings, Wish } from "../fit/types.ts";
import { gpuSets } from "./gpu-selection.ts";

/** By this much a plan must be faster to take one more card from other models. */
const worthOneMoreGpu = 1.05;

/**
 * llama.cpp spreads a model over every GPU it sees, whatever little is free there, and layers on several GPUs compute one
 * after the other. So what fits on fewer is put there, unless more are faster or have room for more.
 *
 * @param selectable whether the process can be kept from seeing GPUs; else there is only the set of all
 */
export function planOnGpus(
  model: ModelSpec,
  hardware: Hardware,
  question: Wish,
  selectable: boolean,
): FitPlan | FitRefusal {
  if (hardware.gpus.length < 2) return planFit(model, hardware, question);
  const shares = hardware.gpus.map(loaderBytesFree);
  const sets = selectable ? gpuSets(shares) : [shares.map(() => true)];
  const answers = sets.map((set) =>
    planFit(model, hardware, { ...question, tensorSplit: shares.map((share, gpu) => (set[gpu] === true ? share : 0)) }),
  );
  const plans = answers.filter((answer) => answer.kind === "plan");
  let best: FitPlan | undefined;
  for (const plan of plans) {
    if (best === undefined || isBetter(plan, best, model, hardware)) best = plan;
  }
  return best ?? answers[0]!;
}

/** Whether the plan parts its layers as llama.cpp would not of its own accord, on the GPUs it can be kept to. */
export function hasOwnSplit({ devices, settings }: FitPlan, { gpus }: Hardware, selectable: boolean): boolean {
  if (gpus.length < 2 || settings.gpuLayers === 0) return false;
  const used = gpusUsed({ devices });
  const shares = gpus.map((gpu, index) => (!selectable || used.includes(index) ? loaderBytesFree(gpu) : 0));
  const cut = splitByFreeMemory(settings.gpuLayers, shares);
  return cut.some((layers, gpu) => layers !== settings.gpuLayerSplit[gpu]);
}

/** What the loader will find free on a GPU, bytes; never nothing, which would be a GPU it must not use. */
export function loaderBytesFree(gpu: Hardware["gpus"][number]): number {
  return Math.max(1, gpu.loaderBytesFree ?? gpu.vramBytesFree ?? gpu.vramBytesTotal);
}

/** Numbers of the GPUs that hold something of a plan. */
export function gpusUsed({ devices }: Pick<FitPlan, "devices">): number[] {
  const gpus = devices.filter(({ kind }) => kind === "gpu");
  return gpus.flatMap(({ totalBytes }, gpu) => (totalBytes > 0 ? [gpu] : []));
}

function isBetter(plan: FitPlan, other: FitPlan, model: ModelSpec, hardware: Hardware): boolean {
  const [one, two] = [merits(plan), merits(other)];
  const decisive = one.findIndex((merit, index) => merit !== two[index]);
  if (decisive >= 0) return one[decisive]! > two[decisive]!;
  const rateOf = (tried: FitPlan) => estimateSpeed({ model, plan: tried, hardware }).decodeTokensPerSecond;
  const [rate, otherRate] = [rateOf(plan), rateOf(other)];
  const fewer = gpusUsed(other).length - gpusUsed(plan).length;
  if (fewer === 0) {
    const freeOf = (tried: FitPlan) =>
      gpusUsed(tried).reduce((sum, gpu) => sum + loaderBytesFree(hardware.gpus[gpu]!), 0);
    return rate > otherRate || (rate === otherRate && freeOf(plan) > freeOf(other));
  }
  return fewer > 0 ? rate * worthOneMoreGpu >= otherRate : rate > otherRate * worthOneMoreGpu;
}

/** Most important first, more is better: the planner's own order of what it gives up last. */
function merits({ fits, devices, settings }: FitPlan): number[] {
  return [
    Number(fits),
    settings.gpuLayers,
    -settings.hostExpertLayers,
    // Of a shape the better quantization, of a file always the same.
    Math.round(devices.reduce((sum, { weightBytes }) => sum + weightBytes, 0) / 2 ** 24),
    settings.contextLength,
    cacheWidth(settings),
    settings.microBatchSize,
    settings.sequenceCount,
  ];
}

function cacheWidth({ kvCacheTypeK, kvCacheTypeV }: RuntimeSettings): number {
  return Number(!/^Q|^IQ/.test(kvCacheTypeK)) + Number(!/^Q|^IQ/.test(kvCacheTypeV));
}
