/** Which cards, pairs and machines run a model: planned one by one, cheapest first. Rules: docs/ranking.md. */
import { GIB } from "../core/units.ts";
import { deviceBytes, layersOf, type PlannedFit, withFigures } from "./answer-plan.ts";
import prices from "./data/prices.json" with { type: "json" };
import { GPUS, type GpuFacts } from "./gpus.ts";
import { planFit } from "./plan.ts";
import { contextLengthMinDefault, quantizationDefault } from "./plan-settings.ts";
import type { Backend, FitPlan, FitRefusal, GpuDevice, Hardware, KvCacheType, ModelSpec, Wish } from "./types.ts";

/** A machine one can buy, its rough price, and the plan on it. */
export interface MachineOption {
  /** "2x RTX 3090 24 GB". */
  label: string;
  hardware: Hardware;
  /** US dollars, for the cards alone; for unified memory the whole machine. Rough: it only puts options in order. */
  priceUsd: number;
  priceBasis: "launch" | "used";
  plan: PlannedFit;
}

export interface MachineOptions {
  wish?: Wish;
  /** Speed the option must reach; default `decodeSpeedDefault`. */
  decodeTokensPerSecondMin?: number;
  promptTokens?: number;
  /** Plans for Transformers or vLLM instead of GGUF; NVIDIA cards only then. */
  plan?: (model: ModelSpec, hardware: Hardware, wish: Wish) => PlannedFit | FitRefusal;
  /** Options returned; default 5. */
  count?: number;
}

/** Reading speed: slower answers are waited for. */
export const decodeSpeedDefault = 10;

/** Cards of one kind in a machine. Eight is a server's number, and its price is not ours to guess. */
const CARD_COUNTS = [1, 2, 4];

interface Offer {
  facts: GpuFacts;
  count: number;
  bytes: number;
  priceUsd: number;
  priceBasis: "launch" | "used";
}

let offers: Offer[] | undefined;

/** Everything on offer, cheapest first. */
function allOffers(): Offer[] {
  if (offers !== undefined) return offers;
  const rows: readonly { gpu: string; vramGiB: number; usd: number; basis: string }[] = prices.prices;
  offers = rows.flatMap(({ gpu, vramGiB, usd, basis }) => {
    const facts = GPUS.find(({ name }) => name === gpu);
    const bytes = facts?.vramBytes.find((own) => Math.round(own / GIB) === vramGiB);
    if (facts === undefined || bytes === undefined) return [];
    const counts = facts.unifiedMemory ? [1] : CARD_COUNTS;
    const priceBasis: Offer["priceBasis"] = basis === "used" ? "used" : "launch";
    return counts.map((count) => ({ facts, count, bytes, priceUsd: usd * count, priceBasis }));
  });
  offers.sort((a, b) => a.priceUsd - b.priceUsd || b.bytes * b.count - a.bytes * a.count);
  return offers;
}

/**
 * The cheapest machines that hold the whole model and answer at the speed asked, cheapest first: one that costs more is
 * listed only when it is clearly faster than every cheaper one. Where no speed was asked for, the fastest machine that
 * is cheaper but slower stands first.
 */
export function recommendMachines(model: ModelSpec, options: MachineOptions = {}): MachineOption[] {
  const asked = options.decodeTokensPerSecondMin;
  const count = options.count ?? 5;
  const wish: Wish = { quantization: model.quantization ?? quantizationDefault, ...options.wish };
  const need = options.plan === undefined ? wholeBytes(model, wish) : leastBytes(model, wish);
  const found: MachineOption[] = [];
  const plans: PlanCache = new Map();
  let slower: MachineOption | undefined;
  for (const offer of allOffers()) {
    if (found.length >= count) break;
    if (offer.bytes * offer.count < need || (options.plan !== undefined && offer.facts.backend !== "cuda")) continue;
    const option = tryOffer(offer, model, wish, options, plans);
    if (option === undefined) continue;
    const speed = speedOf(option);
    if (speed >= Math.max(asked ?? decodeSpeedDefault, speedOf(found.at(-1)) * fasterFactorMin)) found.push(option);
    else if (found.length === 0 && speed >= slowSpeedMin && speed > speedOf(slower)) slower = option;
  }
  return asked === undefined && slower !== undefined ? [slower, ...found].slice(0, count) : found;
}

function speedOf(option: MachineOption | undefined): number {
  return option?.plan.speed.decodeTokensPerSecond ?? 0;
}

/** Plans by what memory depends on: cards of one size and backend differ in speed alone. */
type PlanCache = Map<string, FitPlan | undefined>;

function tryOffer(
  offer: Offer,
  model: ModelSpec,
  wish: Wish,
  options: MachineOptions,
  plans: PlanCache,
): MachineOption | undefined {
  const hardware = hardwareOf(offer);
  const plan =
    options.plan === undefined
      ? ggufPlan(offer, hardware, model, wish, options, plans)
      : options.plan(model, hardware, wish);
  if (plan?.kind !== "plan" || plan.offload !== "full") return undefined;
  return { label: hardware.name!, hardware, priceUsd: offer.priceUsd, priceBasis: offer.priceBasis, plan };
}

function ggufPlan(
  { facts, count, bytes }: Offer,
  hardware: Hardware,
  model: ModelSpec,
  wish: Wish,
  { promptTokens }: MachineOptions,
  plans: PlanCache,
): PlannedFit | undefined {
  const key = `${count} ${bytes} ${facts.backend} ${facts.unifiedMemory}`;
  if (!plans.has(key)) plans.set(key, wholePlan(model, hardware, wish));
  const plan = plans.get(key);
  if (plan === undefined) return undefined;
  const devices = plan.devices.map((device) => (device.kind === "gpu" ? { ...device, name: facts.name } : device));
  return withFigures({ ...plan, devices }, model, hardware, promptTokens === undefined ? {} : { promptTokens });
}

/** The plan with every layer on the GPUs; undefined where there is none. */
function wholePlan(model: ModelSpec, hardware: Hardware, wish: Wish): FitPlan | undefined {
  if (smallestWhole(model, hardware, wish)?.fits !== true) return undefined;
  const plan = planFit(model, hardware, wish);
  return plan.kind === "plan" && plan.offload === "full" ? plan : undefined;
}

/** Slower than this is for nobody. */
const slowSpeedMin = 3;

/** A dearer option must be this much faster than the cheaper ones to be worth a line. */
const fasterFactorMin = 1.15;

/** The model whole with everything given up that a plan may give up; what has no room for this holds it in no way. */
function smallestWhole(model: ModelSpec, hardware: Hardware, wish: Wish): FitPlan | undefined {
  const contextLength = Math.min(
    wish.contextLength ?? wish.contextLengthMin ?? contextLengthMinDefault,
    model.contextLengthTrained,
  );
  const whole = planFit(model, hardware, {
    ...wish,
    contextLength,
    kvCacheTypeK: wish.kvCacheTypeK ?? smallestCache(model),
    kvCacheTypeV: wish.kvCacheTypeV ?? smallestCache(model),
    batchSize: wish.batchSize ?? 128,
    gpuLayers: layersOf(model),
  });
  return whole.kind === "plan" ? whole : undefined;
}

/** Its GPU memory on one card large enough for anything. */
function wholeBytes(model: ModelSpec, wish: Wish): number {
  const card: Hardware = { gpus: [{ id: "gpu0", vramBytesTotal: 1024 * GIB }], backend: "vulkan" };
  const whole = smallestWhole(model, card, wish);
  return whole === undefined ? 0 : deviceBytes(whole);
}

/** The cache type the planner goes down to, where the heads divide into its blocks. */
function smallestCache(model: ModelSpec): KvCacheType {
  const divides = model.layers.every(({ keyLength, valueLength }) => keyLength % 32 === 0 && valueLength % 32 === 0);
  return divides ? "Q8_0" : "F16";
}

/** Weights alone; a machine with less memory is not worth a plan. */
function leastBytes(model: ModelSpec, wish: Wish): number {
  return (model.parameterCount * bitsFloor(wish.quantization ?? quantizationDefault)) / 8;
}

/** Fewer bits per weight than any file of this quantization has. */
export function bitsFloor(quantization: string): number {
  const name = quantization.toUpperCase();
  if (/^(?:FP)?F?32/.test(name) || name === "FP32") return 31;
  if (/16/.test(name)) return 15;
  if (/8/.test(name)) return 7.5;
  if (/^(?:UD-)?I?Q[123]|^TQ/.test(name)) return 1.6;
  return 4;
}

function hardwareOf({ facts, count, bytes }: Offer): Hardware {
  const device: Omit<GpuDevice, "id"> = {
    name: facts.name,
    vramBytesTotal: bytes,
    generation: facts.generation,
    ...(facts.bandwidthBytesPerSecond !== undefined && { bandwidthBytesPerSecond: facts.bandwidthBytesPerSecond }),
    ...(facts.fp16FlopsPerSecond !== undefined && { fp16FlopsPerSecond: facts.fp16FlopsPerSecond }),
    ...(facts.int8OpsPerSecond !== undefined && { int8OpsPerSecond: facts.int8OpsPerSecond }),
  };
  const backend: Backend = facts.backend;
  const size = `${Math.round(bytes / GIB)} GB`;
  return {
    name: `${count > 1 ? `${count}x ` : ""}${facts.name} ${size}`,
    gpus: Array.from({ length: count }, (_, index) => ({ id: `gpu${index}`, ...device })),
    backend,
    ...(facts.unifiedMemory
      ? {
          unifiedMemory: true,
          ramBytesTotal: bytes,
          ...(facts.bandwidthBytesPerSecond !== undefined && {
            ramBandwidthBytesPerSecond: facts.bandwidthBytesPerSecond,
          }),
        }
      : // A host that can at least stage the file.
        { ramBytesTotal: Math.max(32 * GIB, bytes * count) }),
  };
}
