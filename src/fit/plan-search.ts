/**
 * The search when memory is short. Given up in this order, each step only if the wish leaves it open: slots,
 * micro-batch, KV cache at q8_0, context, quantization; then experts move to the host, then whole layers.
 */
import { formatTokens } from "../core/units.ts";
import { quantizationLadder } from "./memory-weights.ts";
import { offloadableLayers } from "./placement.ts";
import { type Candidate, defaultSplit, evaluate, type Machine } from "./plan-evaluate.ts";
import { contextLengthMinDefault, quantizationDefault } from "./plan-settings.ts";
import type { ModelSpec, PlanStep, RuntimeSettings, Wish } from "./types.ts";

export interface Found {
  candidate: Candidate;
  steps: PlanStep[];
}

interface Concession {
  setting: string;
  from: string;
  to: string;
  settings: RuntimeSettings;
}

/** The best candidate for `start`; when nothing fits, the smallest one tried, with `fits` false. */
export function search(model: ModelSpec, machine: Machine, start: RuntimeSettings, wish: Wish): Found {
  if (machine.gpus.length === 0) return searchHost(model, machine, start, wish);
  const full = (settings: RuntimeSettings) => placeFully(model, machine, settings, wish);
  const better = wish.quantization === undefined ? betterQuantization(model, start, full) : undefined;
  if (better !== undefined) return { candidate: better, steps: [] };
  const conceded = concede(model, start, wish, full);
  if (conceded.candidate.fits || wish.gpuLayers !== undefined) return conceded;
  return searchPartial(model, machine, start, wish, conceded);
}

/** Everything on the GPUs, or as many layers as the wish fixes. */
function placeFully(model: ModelSpec, machine: Machine, settings: RuntimeSettings, wish: Wish): Candidate {
  const layers = Math.min(wish.gpuLayers ?? offloadableLayers(model), offloadableLayers(model));
  return placeLayers(model, machine, settings, layers, wish.hostExpertLayers ?? 0);
}

/** A layer count in the default cut; servers that take a cut of their own get one filled from the back if that fits. */
function placeLayers(
  model: ModelSpec,
  machine: Machine,
  settings: RuntimeSettings,
  gpuLayers: number,
  hostExpertLayers: number,
): Candidate {
  const first = evaluate(model, machine, settings, gpuLayers, hostExpertLayers);
  if (first.fits || machine.gpus.length < 2 || settings.buildFamily === "node-llama-cpp") return first;
  const filled = fillFromBack(model, machine, first);
  if (filled === undefined) return first;
  return evaluate(model, machine, settings, gpuLayers, hostExpertLayers, filled);
}

/** Layers per GPU so that the last GPU is as full as it may be, then the one before; undefined when they do not fit. */
function fillFromBack(model: ModelSpec, machine: Machine, tried: Candidate): number[] | undefined {
  const { settings } = tried;
  const split = machine.gpus.map(() => 0);
  let left = settings.gpuLayers;
  for (let gpu = machine.gpus.length - 1; gpu >= 0 && left > 0; gpu--) {
    let low = 0;
    let high = left;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      split[gpu] = middle;
      // The layers still to place go to the first GPU for the trial; only this GPU's bytes are looked at.
      const trial = split.slice();
      trial[0] = trial[0]! + (left - middle);
      const one = evaluate(
        model,
        machine,
        settings,
        settings.gpuLayers,
        settings.hostExpertLayers,
        gpu === 0 ? split : trial,
      );
      if (one.estimate.gpus[gpu]!.totalBytes <= machine.gpuUsable[gpu]!) low = middle;
      else high = middle - 1;
    }
    split[gpu] = low;
    left -= low;
  }
  return left === 0 ? split : undefined;
}

/** A better mix than the default when it costs nothing: a shape leaves the choice open, and the card has room. */
function betterQuantization(
  model: ModelSpec,
  start: RuntimeSettings,
  full: (settings: RuntimeSettings) => Candidate,
): Candidate | undefined {
  if (start.quantization !== quantizationDefault) return undefined;
  for (const quantization of quantizationLadder(model)) {
    const candidate = full({ ...start, quantization });
    if (candidate.fits) return candidate;
    if (quantization === quantizationDefault) return undefined;
  }
  return undefined;
}

/** Gives up one thing after the other until `place` fits; the last candidate otherwise. */
function concede(
  model: ModelSpec,
  start: RuntimeSettings,
  wish: Wish,
  place: (settings: RuntimeSettings) => Candidate,
): Found {
  let candidate = place(start);
  const steps: PlanStep[] = [];
  for (const next of concessions(model, start, wish)) {
    if (candidate.fits) break;
    const smaller = place(next(candidate.settings).settings);
    const { setting, from, to } = next(candidate.settings);
    const savedBytes = deviceBytes(candidate) - deviceBytes(smaller);
    if (savedBytes <= 0) continue;
    steps.push({ setting, from, to, savedBytes });
    candidate = smaller;
  }
  return { candidate, steps };
}

function deviceBytes({ estimate }: Candidate): number {
  const gpus = estimate.gpus.reduce((sum, gpu) => sum + gpu.totalBytes, 0);
  return gpus > 0 ? gpus : estimate.host.totalBytes;
}

type Step = (settings: RuntimeSettings) => Concession;

function concessions(model: ModelSpec, start: RuntimeSettings, wish: Wish): Step[] {
  return [
    ...sequenceSteps(start, wish),
    ...microBatchSteps(start, wish),
    ...cacheTypeSteps(model, start, wish),
    ...contextSteps(start, wish),
    ...quantizationSteps(model, start, wish),
  ];
}

function sequenceSteps(start: RuntimeSettings, wish: Wish): Step[] {
  const min = wish.sequenceCountMin ?? start.sequenceCount;
  const steps: Step[] = [];
  for (let count = start.sequenceCount; count > min; ) {
    count = Math.max(min, Math.floor(count / 2));
    const to = count;
    steps.push((settings) => ({
      setting: "sequenceCount",
      from: `${settings.sequenceCount}`,
      to: `${to}`,
      settings: { ...settings, sequenceCount: to },
    }));
  }
  return steps;
}

function microBatchSteps(start: RuntimeSettings, wish: Wish): Step[] {
  const fixed = wish.microBatchSize ?? (start.buildFamily === "node-llama-cpp" ? wish.batchSize : undefined);
  if (fixed !== undefined) return [];
  return [256, 128]
    .filter((size) => size < start.microBatchSize && size >= start.sequenceCount)
    .map((size) => (settings) => ({
      setting: "microBatchSize",
      from: `${settings.microBatchSize}`,
      to: `${size}`,
      settings: {
        ...settings,
        microBatchSize: size,
        batchSize: settings.buildFamily === "node-llama-cpp" ? size : settings.batchSize,
      },
    }));
}

function cacheTypeSteps(model: ModelSpec, start: RuntimeSettings, wish: Wish): Step[] {
  const open = wish.kvCacheTypeK === undefined && wish.kvCacheTypeV === undefined && start.flashAttention;
  const divides = model.layers.every((layer) => layer.keyLength % 32 === 0 && layer.valueLength % 32 === 0);
  if (!open || !divides) return [];
  return [
    (settings) => ({
      setting: "kvCacheType",
      from: settings.kvCacheTypeK,
      to: "Q8_0",
      settings: { ...settings, kvCacheTypeK: "Q8_0", kvCacheTypeV: "Q8_0" },
    }),
  ];
}

function contextSteps(start: RuntimeSettings, wish: Wish): Step[] {
  const min =
    wish.contextLengthMin ?? (wish.contextLength === undefined ? contextLengthMinDefault : start.contextLength);
  const steps: Step[] = [];
  for (let length = start.contextLength; length > min; ) {
    length = Math.max(min, Math.floor(length / 2));
    const to = length;
    steps.push((settings) => ({
      setting: "contextLength",
      from: formatTokens(settings.contextLength),
      to: formatTokens(to),
      settings: { ...settings, contextLength: to },
    }));
  }
  return steps;
}

function quantizationSteps(model: ModelSpec, start: RuntimeSettings, wish: Wish): Step[] {
  if (wish.quantization !== undefined || start.quantization !== quantizationDefault) return [];
  const ladder = quantizationLadder(model);
  return ladder.slice(ladder.indexOf(quantizationDefault) + 1).map((to) => (settings) => ({
    setting: "quantization",
    from: settings.quantization ?? "",
    to,
    settings: { ...settings, quantization: to },
  }));
}

/** No GPU: the same concessions against main memory. */
function searchHost(model: ModelSpec, machine: Machine, start: RuntimeSettings, wish: Wish): Found {
  return concede(model, start, wish, (settings) => evaluate(model, machine, settings, 0));
}

/**
 * Part of the model stays in main memory. Smaller mixes bought no full offload, so the default mix comes back; what was
 * saved on slots, micro-batch, cache and context stays saved, since each layer kept on the GPU is speed.
 */
function searchPartial(model: ModelSpec, machine: Machine, start: RuntimeSettings, wish: Wish, conceded: Found): Found {
  const steps = conceded.steps.filter((step) => step.setting !== "quantization");
  const base: RuntimeSettings = { ...conceded.candidate.settings };
  if (start.quantization === undefined) delete base.quantization;
  else base.quantization = start.quantization;
  const everything = placeFully(model, machine, base, wish);
  const experts = expertsToHost(model, machine, base, wish);
  const candidate = experts?.fits ? experts : layersToHost(model, machine, base, wish);
  const savedBytes = deviceBytes(everything) - deviceBytes(candidate);
  const { gpuLayers, hostExpertLayers } = candidate.settings;
  if (hostExpertLayers > 0)
    steps.push({ setting: "hostExpertLayers", from: "0", to: `${hostExpertLayers}`, savedBytes });
  if (gpuLayers < everything.settings.gpuLayers) {
    steps.push({ setting: "gpuLayers", from: `${everything.settings.gpuLayers}`, to: `${gpuLayers}`, savedBytes });
  }
  return { candidate, steps };
}

function expertLayerCount(model: ModelSpec): number {
  return model.layers.filter((layer) => layer.ffn === "moe").length;
}

/** node-llama-cpp has no way to place single tensors. */
function canPlaceExperts(settings: RuntimeSettings): boolean {
  return settings.buildFamily === "llama-server";
}

/** All layers on the GPUs, the fewest experts on the host; undefined where experts cannot be moved. */
function expertsToHost(model: ModelSpec, machine: Machine, base: RuntimeSettings, wish: Wish): Candidate | undefined {
  const most = expertLayerCount(model);
  if (most === 0 || !canPlaceExperts(base) || wish.hostExpertLayers !== undefined) return undefined;
  const layers = offloadableLayers(model);
  return smallest(1, most, (count) => placeLayers(model, machine, base, layers, count));
}

/** The most layers that fit, with every expert on the host where that is possible. */
function layersToHost(model: ModelSpec, machine: Machine, base: RuntimeSettings, wish: Wish): Candidate {
  const experts = wish.hostExpertLayers ?? (canPlaceExperts(base) ? expertLayerCount(model) : 0);
  const all = offloadableLayers(model);
  return smallest(0, all, (missing) => placeLayers(model, machine, base, all - missing, experts));
}

/** The first of `from..to` whose candidate fits, by bisection; the last one's candidate when none does. */
function smallest(from: number, to: number, at: (value: number) => Candidate): Candidate {
  let low = from;
  let high = to;
  let best = at(high);
  if (!best.fits) return best;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const candidate = at(middle);
    if (candidate.fits) {
      best = candidate;
      high = middle;
    } else low = middle + 1;
  }
  return best;
}

export { defaultSplit };
