/** Which of several quantizations of one model to take on this machine. */
import type { FitPlan } from "../fit/types.ts";

/** One file of the model, by what the planner needs to know of it. */
export interface QuantizationOffer<T> {
  item: T;
  /** Undefined when the file's name does not say. */
  quantization?: string;
  fileBytes: number;
  /** The plan for this machine; undefined when it does not fit, or cannot be planned. */
  plan(): FitPlan | undefined;
}

/** Near lossless: larger files cost memory and speed for nothing anybody can see. */
const bitsPerWeightMax = 9;
/** Below about three bits answers suffer more than from part of the layers in main memory. */
const bitsPerWeightMin = 3.2;
/** What people take when they have no reason to take another. */
const usual = ["Q4_K_M", "UD-Q4_K_XL", "MXFP4_MOE", "Q4_0", "Q4_K_S", "IQ4_XS"];

/**
 * On a GPU the largest file that lies there whole with nothing given up; else the usual four bits if they lie there
 * whole with something given up; else the largest smaller one that does, down to three bits; else the usual one partly
 * on the GPU; else whatever fits. Without a GPU the usual one, since every bit is time there.
 *
 * @returns undefined when none fits
 */
export function chooseQuantization<T>(
  offers: readonly QuantizationOffer<T>[],
  parameterCount: number,
): { offer: QuantizationOffer<T>; plan: FitPlan } | undefined {
  const bits = ({ fileBytes }: QuantizationOffer<T>) => (fileBytes * 8) / parameterCount;
  const sorted = [...offers].sort((left, right) => right.fileBytes - left.fileBytes);
  const sensible = sorted.filter((offer) => bits(offer) <= bitsPerWeightMax);
  const candidates = sensible.length > 0 ? sensible : sorted.slice(-1);
  const plans = new Map<QuantizationOffer<T>, FitPlan | undefined>();
  const planOf = (offer: QuantizationOffer<T>) => {
    if (!plans.has(offer)) plans.set(offer, offer.plan());
    return plans.get(offer);
  };
  const first = (among: readonly QuantizationOffer<T>[], accepts: (plan: FitPlan) => boolean) => {
    for (const offer of among) {
      const plan = planOf(offer);
      if (plan !== undefined && accepts(plan)) return { offer, plan };
    }
    return undefined;
  };
  const common = candidates
    .filter(({ quantization }) => quantization !== undefined && usual.includes(quantization))
    .sort((left, right) => usual.indexOf(left.quantization ?? "") - usual.indexOf(right.quantization ?? ""));
  const smaller = candidates.filter((offer) => bits(offer) >= bitsPerWeightMin);
  return (
    first(candidates, (plan) => plan.offload === "full" && plan.steps.length === 0) ??
    first(common, (plan) => plan.offload === "full") ??
    first(smaller, (plan) => plan.offload === "full") ??
    first(common, () => true) ??
    first(candidates, () => true)
  );
}
