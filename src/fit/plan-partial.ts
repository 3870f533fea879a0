/** Placing layers when not everything fits: over several GPUs, experts on the host, then whole layers on the host. */
import { offloadableLayers } from "./placement.ts";
import { type Candidate, consider, evaluate, exactly, type Machine, type Place } from "./plan-evaluate.ts";
import type { ModelSpec, RuntimeSettings, Wish } from "./types.ts";

/** Layers in llama.cpp's cut; servers that take a cut of their own get one filled from the back where that fits. */
export function placeLayers(model: ModelSpec, machine: Machine, settings: RuntimeSettings, place: Place): Candidate {
  const first = consider(model, machine, settings, place);
  if (first.fits || machine.gpus.length < 2 || settings.buildFamily === "node-llama-cpp") return first;
  const split = fillFromBack(model, machine, settings, place);
  return split === undefined ? first : consider(model, machine, settings, { ...place, split });
}

/** Layers per GPU so that the last GPU is as full as it may be, then the one before; undefined when they do not fit. */
function fillFromBack(
  model: ModelSpec,
  machine: Machine,
  settings: RuntimeSettings,
  place: Place,
): number[] | undefined {
  const split = machine.gpus.map(() => 0);
  let left = place.gpuLayers;
  for (let gpu = machine.gpus.length - 1; gpu >= 0 && left > 0; gpu--) {
    const count = largest(0, left, (tried) => {
      // The layers still to place go to the first GPU for the trial; only this GPU's bytes are looked at.
      const trial = split.slice();
      trial[gpu] = tried;
      if (gpu > 0) trial[0] = left - tried;
      const { estimate } = evaluate(model, machine, settings, { ...place, split: trial }, "rough");
      return estimate.gpus[gpu]!.totalBytes <= machine.gpuUsable[gpu]!;
    });
    split[gpu] = count;
    left -= count;
  }
  return left === 0 ? split : undefined;
}

/** Experts to the host first where the software can place them, then whole layers. */
export function placePartly(model: ModelSpec, machine: Machine, base: RuntimeSettings, wish: Wish): Candidate {
  const all = offloadableLayers(model);
  const movable = canPlaceExperts(base) && wish.hostExpertLayers === undefined ? expertLayerCount(model) : 0;
  if (movable > 0) {
    const at = (hostExpertLayers: number): Place => ({ gpuLayers: all, hostExpertLayers });
    const experts = fewest(model, machine, base, 1, movable, at);
    if (experts.fits) return experts;
  }
  const hostExpertLayers = wish.hostExpertLayers ?? movable;
  return fewest(model, machine, base, 0, all, (missing) => ({ gpuLayers: all - missing, hostExpertLayers }));
}

function expertLayerCount(model: ModelSpec): number {
  return model.layers.filter((layer) => layer.ffn === "moe").length;
}

/** node-llama-cpp has no way to place single tensors. */
function canPlaceExperts(settings: RuntimeSettings): boolean {
  return settings.buildFamily === "llama-server";
}

/**
 * The candidate with the smallest of `from..to` whose GPUs have room; the one at `to` when none has. Whether main memory
 * holds the rest is left to the caller. A rough bisection finds the neighbourhood, exact prices the place in it.
 */
function fewest(
  model: ModelSpec,
  machine: Machine,
  base: RuntimeSettings,
  from: number,
  to: number,
  at: (value: number) => Place,
): Candidate {
  const fitsRoughly = (value: number) => evaluate(model, machine, base, at(value), "rough").gpusFit;
  let value = to - largest(0, to - from, (less) => fitsRoughly(to - less));
  const price = (tried: number) => exactly(model, machine, placeLayers(model, machine, base, at(tried)));
  let best = price(value);
  while (!best.gpusFit && value < to) best = price(++value);
  while (best.gpusFit && value > from) {
    const better = price(value - 1);
    if (!better.gpusFit) break;
    best = better;
    value--;
  }
  return best;
}

/** The largest of `from..to` for which `holds` is true, given that it holds up to some point; `from` when for none. */
function largest(from: number, to: number, holds: (value: number) => boolean): number {
  let low = from;
  let high = to;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (holds(middle)) low = middle;
    else high = middle - 1;
  }
  return low;
}
