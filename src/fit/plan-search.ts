/**
 * The search when memory is short. Given up in this order, each step only if the wish leaves it open: slots,
 * micro-batch, KV cache at q8_0, context, quantization; then experts move to the host, then whole layers.
 */
import { formatTokens } from "../core/units.ts";
import { quantizationLadder } from "./memory-weights.ts";
import { offloadableLayers } from "./placement.ts";
import { type Candidate, consider, type Machine } from "./plan-evaluate.ts";
import { placeLayers, placePartly } from "./plan-partial.ts";
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
  const gpuLayers = Math.min(wish.gpuLayers ?? offloadableLayers(model), offloadableLayers(model));
  return placeLayers(model, machine, settings, { gpuLayers, hostExpertLayers: wish.hostExpertLayers ?? 0 });
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
  const place = { gpuLayers: 0, hostExpertLayers: 0 };
  return concede(model, start, wish, (settings) => consider(model, machine, settings, place));
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
  const candidate = placePartly(model, machine, base, wish);
  const savedBytes = deviceBytes(everything) - deviceBytes(candidate);
  const { gpuLayers, hostExpertLayers } = candidate.settings;
  if (hostExpertLayers > 0)
    steps.push({ setting: "hostExpertLayers", from: "0", to: `${hostExpertLayers}`, savedBytes });
  if (gpuLayers < everything.settings.gpuLayers) {
    steps.push({ setting: "gpuLayers", from: `${everything.settings.gpuLayers}`, to: `${gpuLayers}`, savedBytes });
  }
  return { candidate, steps };
}
