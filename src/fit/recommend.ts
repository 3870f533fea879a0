/**
 * Which models suit a machine, and which machines suit a model. The rules are written down in docs/ranking.md; the
 * numbers in them stand here once.
 *
 * Candidates are tried in the order of the best score they could reach, and the search stops when none left can beat
 * what was found: a card is answered with a few dozen plans, not with the whole catalogue's.
 */
import { GIB, MIB } from "../core/units.ts";
import { type PlannedFit, planWithFigures } from "./answer-plan.ts";
import { textOnly } from "./answer-text-only.ts";
import { CATALOGUE_MODELS, type CatalogueModel, specFromCatalogue } from "./catalogue.ts";
import { gpuFreeMemory, hostFreeMemory, usableBytes } from "./free-memory.ts";
import { quantizationDefault } from "./plan-settings.ts";
import { estimateQuality } from "./quality.ts";
import type { Purpose } from "./query-types.ts";
import { bitsFloor } from "./recommend-hardware.ts";
import type { MeasuredRun } from "./speed.ts";
import { constantsFor, deviceRates, ramBandwidthDefault, SPEED_CONSTANTS } from "./speed-constants.ts";
import type { FitRefusal, Hardware, Wish } from "./types.ts";

/** What a purpose asks of a plan. */
interface PurposeRule {
  /** Tokens per sequence planned when the wish names none. */
  contextLength: number;
  /** Tokens per second above which more speed earns nothing. */
  speedEnough: number;
  /** Prompt length the speed is taken at. */
  promptTokens: number;
}

export const PURPOSE_RULES: Record<Purpose, PurposeRule> = {
  chat: { contextLength: 8192, speedEnough: 12, promptTokens: 512 },
  code: { contextLength: 16_384, speedEnough: 20, promptTokens: 2048 },
  long: { contextLength: 32_768, speedEnough: 12, promptTokens: 16_384 },
  fast: { contextLength: 8192, speedEnough: 80, promptTokens: 512 },
};

/** Capability is counted in doublings of parameters. */
export const RANKING = {
  /** A model a year younger does what one of twice its size did. */
  doublingsPerYear: 1,
  /** Age stops counting here: releases before it are all old. */
  ageCountsFrom: "2023-01",
  /** Percent of perplexity above the unquantized model that cost as much as half the parameters. */
  perplexityPercentPerDoubling: 10,
  /** Doublings lost per halving of the speed below what is enough. */
  doublingsPerSpeedHalving: 1.5,
  /** For "fast", speed is the point: size counts this much of a doubling. */
  fastCapabilityShare: 0.5,
  codeBonus: 1.5,
  /** A model made for one thing only, asked for another. */
  specialistPenalty: 1.5,
  /** Below this nobody waits. */
  tokensPerSecondMin: 1,
} as const;

export interface Recommendation {
  purpose: Purpose;
  /** Name of the catalogue's row. */
  model: string;
  plan: PlannedFit;
  /** Doublings; comparable within one purpose only. */
  score: number;
}

export interface RecommendOptions {
  wish?: Wish;
  purposes?: readonly Purpose[];
  /** Recommendations per purpose; default 3. */
  count?: number;
  /** Names of the rows to choose among; default: the catalogue. */
  candidates?: readonly string[];
  decodeTokensPerSecondMin?: number;
  measured?: readonly MeasuredRun[];
}

const PURPOSES: readonly Purpose[] = ["chat", "code", "long", "fast"];

/** The best few models for a machine, by purpose, best first. Empty where nothing runs. */
export function recommendModels(hardware: Hardware, options: RecommendOptions = {}): Recommendation[] {
  const rows = candidateRows(options.candidates);
  const plans: PlanCache = new Map();
  return (options.purposes ?? PURPOSES).flatMap((purpose) => bestFor(purpose, rows, hardware, options, plans));
}

/** Plans already made for this machine; purposes with the same settings share them. */
type PlanCache = Map<string, PlannedFit | FitRefusal>;

function candidateRows(names: readonly string[] | undefined): readonly CatalogueModel[] {
  if (names === undefined) return CATALOGUE_MODELS.filter(answersQuestions);
  const wanted = new Set(names);
  return CATALOGUE_MODELS.filter(({ name }) => wanted.has(name));
}

/** Leaves out what turns text into vectors or sound, not into answers. */
function answersQuestions({ name, uses }: CatalogueModel): boolean {
  // Classifiers of what others may say answer nothing themselves.
  if (/safeguard|guard/i.test(name)) return false;
  return !uses.includes("embedding") && (uses.includes("chat") || uses.includes("code") || uses.includes("reasoning"));
}

function bestFor(
  purpose: Purpose,
  rows: readonly CatalogueModel[],
  hardware: Hardware,
  options: RecommendOptions,
  plans: PlanCache,
): Recommendation[] {
  const count = options.count ?? 3;
  const wish = purposeWish(purpose, options.wish);
  const budget = memoryBudget(hardware);
  const bounded = rows
    .filter((row) => row.contextLengthTrained >= (wish.contextLengthMin ?? wish.contextLength ?? 0))
    .map((row) => ({ row, bound: upperBound(purpose, row, budget, wish) }))
    .filter(({ bound }) => bound > Number.NEGATIVE_INFINITY)
    .sort((a, b) => b.bound - a.bound);
  const best: Recommendation[] = [];
  for (const { row, bound } of bounded) {
    if (best.length >= count && bound <= best[count - 1]!.score) break;
    const found = tryRow(purpose, row, hardware, wish, options, plans);
    if (found !== undefined) insert(best, found, count);
  }
  return best;
}

function purposeWish(purpose: Purpose, wish: Wish = {}): Wish {
  const rule = PURPOSE_RULES[purpose];
  const contextLength = wish.contextLength ?? rule.contextLength;
  // Long context is the point of "long" alone; elsewhere half will do before the model shrinks.
  const contextLengthMin =
    wish.contextLengthMin ??
    (wish.contextLength === undefined && purpose !== "long" ? contextLength / 2 : contextLength);
  const mix = purpose === "fast" && wish.quantization === undefined ? { quantization: quantizationDefault } : {};
  return { ...wish, ...mix, contextLength, contextLengthMin };
}

function tryRow(
  purpose: Purpose,
  row: CatalogueModel,
  hardware: Hardware,
  wish: Wish,
  options: RecommendOptions,
  plans: PlanCache,
): Recommendation | undefined {
  const { promptTokens } = PURPOSE_RULES[purpose];
  const contextLength = Math.min(wish.contextLength!, row.contextLengthTrained);
  const own = { ...wish, contextLength, contextLengthMin: Math.min(wish.contextLengthMin!, contextLength) };
  const depth = Math.min(promptTokens, contextLength / 2);
  const key = `${row.name} ${contextLength} ${own.contextLengthMin} ${depth} ${own.quantization}`;
  let plan = plans.get(key);
  if (plan === undefined) {
    const question = { promptTokens: depth, ...(options.measured !== undefined && { measured: options.measured }) };
    plan = planWithFigures(textOnly(specFromCatalogue(row)), hardware, own, question);
    plans.set(key, plan);
  }
  if (plan.kind !== "plan") return undefined;
  const speed = plan.speed.decodeTokensPerSecond;
  if (speed < Math.max(RANKING.tokensPerSecondMin, options.decodeTokensPerSecondMin ?? 0)) return undefined;
  const loss = (plan.quality.perplexityIncreasePercent ?? 0) / RANKING.perplexityPercentPerDoubling;
  const score = capability(purpose, row) - loss - speedLoss(purpose, speed);
  return { purpose, model: row.name, plan, score };
}

/** One model per family and generation: three sizes of one family say less than three families. */
function insert(best: Recommendation[], found: Recommendation, count: number): void {
  const family = familyOf(found.model);
  const rival = best.findIndex(({ model }) => familyOf(model) === family);
  if (rival >= 0) {
    if (best[rival]!.score >= found.score) return;
    best.splice(rival, 1);
  }
  best.push(found);
  best.sort((a, b) => b.score - a.score);
  best.length = Math.min(best.length, count);
}

const families = new Map(CATALOGUE_MODELS.map(({ name, family }) => [name, family]));

function familyOf(model: string): string {
  return families.get(model) ?? model;
}

/**
 * Doublings of parameters above one billion, corrected for age and use. A mixture of experts counts as the geometric
 * mean of all and active parameters.
 */
export function capability(purpose: Purpose, row: CatalogueModel): number {
  const effective = row.parameterCount * Math.sqrt(factsOf(row).activeShare);
  const size = Math.log2(effective / 1e9) + yearsAfter(row.release) * RANKING.doublingsPerYear;
  const weighted = purpose === "fast" ? size * RANKING.fastCapabilityShare : size;
  const codes = row.uses.includes("code");
  const chats = row.uses.includes("chat") || row.uses.includes("reasoning");
  if (purpose === "code") return weighted + (codes ? RANKING.codeBonus : 0);
  return weighted - (chats ? 0 : RANKING.specialistPenalty);
}

/** Years between the first release that counts and this one; 0 before. */
function yearsAfter(release: string): number {
  const months = (date: string): number => {
    const [year, month] = date.split("-").map(Number);
    return (year ?? 2023) * 12 + (month ?? 1);
  };
  return Math.max(0, months(release) - months(RANKING.ageCountsFrom)) / 12;
}

/** Doublings lost to a speed below what is enough for the purpose. */
export function speedLoss(purpose: Purpose, tokensPerSecond: number): number {
  const halvings = Math.log2(PURPOSE_RULES[purpose].speedEnough / tokensPerSecond);
  return Math.max(0, halvings) * RANKING.doublingsPerSpeedHalving;
}

/** What a machine can do at the very most: the planner and the speed model never promise more. */
interface Budget {
  vramBytes: number;
  ramBytes: number;
  /** Bytes per second at which weights are read, and seconds a layer costs at least. */
  gpuRate: number;
  hostRate: number;
  layerSeconds: number;
}

/** Share of the memory's size taken as free, as the planner takes it. */
const hostFreeShare = 0.8;

/** Driver context of one process on a card of these backends, at least. */
const runtimeBytesFloor = 200 * MIB;

function memoryBudget(hardware: Hardware): Budget {
  const runtime = hardware.backend === "cuda" || hardware.backend === "rocm" ? runtimeBytesFloor : 0;
  const free = hardware.gpus.map((gpu) => Math.max(0, usableBytes(gpuFreeMemory(gpu, hardware)) - runtime));
  const vramBytes = free.reduce((sum, bytes) => sum + bytes, 0);
  const total = hardware.gpus.reduce((sum, { vramBytesTotal }) => sum + vramBytesTotal, 0);
  const ram = hardware.ramBytesFree ?? hostFreeShare * (hardware.ramBytesTotal ?? Math.max(16 * GIB, 2 * total));
  const { shared } = SPEED_CONSTANTS;
  const cards = hardware.gpus.map((gpu) => ({
    rate: deviceRates(gpu).bandwidth,
    own: constantsFor(SPEED_CONSTANTS, gpu.generation).constants,
  }));
  const mixed = cards.length > 0 ? shared.cpuMixedFactor : 1;
  return {
    vramBytes,
    ramBytes: hardware.unifiedMemory === true && vramBytes > 0 ? 0 : usableBytes(hostFreeMemory(ram)),
    gpuRate: Math.max(0, ...cards.map(({ rate, own }) => rate * Math.min(1, own.efficiency * shared.legacyFactor))),
    hostRate: (hardware.ramBandwidthBytesPerSecond ?? ramBandwidthDefault) * shared.cpuEfficiency * mixed,
    layerSeconds: cards.length === 0 ? shared.cpuLayerSeconds : Math.min(...cards.map(({ own }) => own.layerSeconds)),
  };
}

/** Mixes the planner offers, with fewer bits per weight than any real file of theirs. */
const MIXES = [
  { mix: "Q8_0", bits: 8.45 },
  { mix: "Q6_K", bits: 6.5 },
  { mix: "Q5_K_M", bits: 5.5 },
  { mix: quantizationDefault, bits: 4.7 },
  { mix: "Q4_K_S", bits: 4.5 },
  { mix: "Q3_K_M", bits: 3.7 },
].map((one) => ({ ...one, loss: { early: lossFloor(one.mix, 32_000), dense: lossFloor(one.mix, 128_000) } }));

/** The least a mix can cost models of a kind, in doublings; the vocabulary's size tells the kind (quality.ts). */
function lossFloor(mix: string, vocabularySize: number): number {
  const measured = [1e9, 3e9, 8e9, 13e9, 70e9, 400e9].map((parameterCount) =>
    estimateQuality({ architecture: "llama", parameterCount, vocabularySize, expertCount: 0 }, mix),
  );
  return Math.min(...measured.map((one) => one.perplexityIncreasePercent ?? 0)) / RANKING.perplexityPercentPerDoubling;
}

/** Facts of a row that bounds are made of; once per row. */
interface RowFacts {
  activeShare: number;
  /** Parameters a GPU must hold, and those read for one token: all but the embedding table, where it is no output too. */
  residentParameters: number;
  readParameters: number;
  layerCount: number;
  vocabularySize: number;
  contextLengthTrained: number;
  /** Numbers cached per token by layers that see the whole context. */
  cacheElementsPerToken: number;
  /** Bits per weight of the largest mix: gpt-oss was trained in 4 bits, and every mix keeps them. */
  bitsMax: number;
  /** Rounding costs it nothing that is known, for the same reason (quality.ts). */
  lossless: boolean;
  /** Trained on so little that rounding costs it less (quality.ts). */
  early: boolean;
}

const facts = new Map<string, RowFacts>();

function factsOf(row: CatalogueModel): RowFacts {
  let found = facts.get(row.name);
  if (found === undefined) {
    const spec = specFromCatalogue(row);
    let elements = 0;
    for (const { attention, headCountKv, keyLength, valueLength } of spec.layers) {
      if (attention === "full") elements += headCountKv * (keyLength + valueLength);
    }
    const table = spec.tiedEmbeddings ? 0 : spec.vocabularySize * spec.embeddingLength;
    found = {
      activeShare: Math.min(1, spec.activeParameterCount / row.parameterCount),
      // What a dense model does not read for every token are embedding tables per layer; they stay in main memory.
      residentParameters:
        (spec.expertCount > 0 ? row.parameterCount : Math.min(spec.activeParameterCount, row.parameterCount)) - table,
      readParameters: Math.max(0, Math.min(spec.activeParameterCount, row.parameterCount) - table),
      layerCount: spec.layerCount,
      vocabularySize: spec.vocabularySize,
      contextLengthTrained: row.contextLengthTrained,
      cacheElementsPerToken: elements,
      bitsMax: spec.architecture === "gpt-oss" ? 4.25 : 16,
      lossless: spec.architecture === "gpt-oss",
      early: spec.architecture === "llama" && spec.vocabularySize <= 32_016,
    };
    facts.set(row.name, found);
  }
  return found;
}

/** Float32 logits for our engine's micro-batch: the one it starts with, and the smallest it goes down to. */
const logitRows = { usual: 512, least: 128 };

/** The best score a row could reach: each mix that might fit, read at full rate, or the usual one partly from RAM. */
function upperBound(purpose: Purpose, row: CatalogueModel, budget: Budget, wish: Wish): number {
  const known = factsOf(row);
  const able = capability(purpose, row);
  const seconds = (bits: number, spilled: number): number => {
    const read = (known.readParameters * bits) / 8;
    const onGpu = budget.gpuRate > 0 ? (read * (1 - spilled)) / budget.gpuRate : 0;
    return (read * spilled) / budget.hostRate + onGpu + known.layerCount * budget.layerSeconds;
  };
  let best = Number.NEGATIVE_INFINITY;
  for (const { mix, bits: most, loss } of mixesOf(wish)) {
    const bits = Math.min(most, known.bitsMax);
    const resident = (known.residentParameters * bits) / 8;
    // Better mixes than the usual one are taken only when nothing has to be given up for them.
    const { cache, logits } = besides(known, wish, most > usualBits);
    const spilled = spilledShare(budget.vramBytes - logits, resident + cache);
    const whole = spilled === 0;
    // With a GPU, layers go to main memory in the usual mix only; without one, every mix may be what fits.
    if (!whole && budget.vramBytes > 0 && mix !== (wish.quantization ?? quantizationDefault)) continue;
    if (spilled * resident > budget.ramBytes) continue;
    const cost = known.lossless ? 0 : known.early ? loss.early : loss.dense;
    best = Math.max(best, able - cost - speedLoss(purpose, 1 / seconds(bits, spilled)));
  }
  return best;
}

/** Share of the layers, each with its cache, that finds no room. */
function spilledShare(room: number, bytes: number): number {
  if (bytes <= room) return 0;
  return Math.min(1, Math.max(0, 1 - Math.max(0, room) / bytes));
}

const usualBits = 4.7;

/** The mixes a wish leaves open; one that it fixes costs nothing here, which only makes the bound looser. */
function mixesOf(wish: Wish): typeof MIXES {
  const { quantization } = wish;
  if (quantization === undefined) return MIXES;
  const known = MIXES.filter(({ mix }) => mix === quantization);
  return known.length > 0
    ? known
    : [{ mix: quantization, bits: bitsFloor(quantization), loss: { early: 0, dense: 0 } }];
}

/** Cache and logits: with the settings a plan starts from, or with the least it may go down to. */
function besides(known: RowFacts, wish: Wish, usual: boolean): { cache: number; logits: number } {
  const context = (usual ? wish.contextLength : wish.contextLengthMin) ?? 0;
  const open = wish.kvCacheTypeK === undefined && wish.kvCacheTypeV === undefined;
  const elementBytes = open ? (usual ? 2 : 1) : 0.5;
  const rows =
    wish.buildFamily === "llama-server"
      ? 0
      : Math.min(usual ? logitRows.usual : logitRows.least, wish.batchSize ?? 512);
  const tokens = Math.min(context, known.contextLengthTrained) * (wish.sequenceCount ?? 1);
  return { cache: known.cacheElementsPerToken * elementBytes * tokens, logits: 4 * rows * known.vocabularySize };
}
