/**
 * What a machine's own loads and answers say against the forecast, as a pure input of the planner: the driver's share of a
 * GPU, a factor on compute buffers, and runs for the speed model. Which file it is kept in is the engine's business.
 */
import { MIB } from "../core/units.ts";
import { findGpu } from "./gpus.ts";
import type { SpeedRun } from "./speed-measured.ts";
import type { Backend, BuildFamily, Hardware, RuntimeSettings } from "./types.ts";

/** Bytes by where they lie, several GPUs summed up. */
interface Bytes {
  hostBytes: number;
  gpuBytes: number;
}

/** One load, as far as it teaches. */
export interface LearnedLoad {
  /** `general.architecture`. */
  architecture: string;
  /** GPUs it had layers on. */
  gpuCount: number;
  /** Compute buffers as the planner lays them out, without any correction, and as they were. */
  compute?: { predicted: Bytes; measured: Bytes };
  /** What the driver took on each GPU beside llama.cpp's buffers; left out where no driver told. */
  runtimeBytes?: number;
}

/** Runs of answers, one at a time on the machine. */
export interface LearnedRun extends SpeedRun {
  architecture: string;
}

/** One machine with one build of llama.cpp. Both lists oldest first. */
export interface LearnedMachine {
  backend: Backend;
  buildFamily: BuildFamily;
  loads: readonly LearnedLoad[];
  runs: readonly LearnedRun[];
}

/** The same for people to look at, by device, build and architecture. */
export interface LearnedEntry {
  /** Backend, cards and driver. */
  device: string;
  build: string;
  architecture: string;
  loads: number;
  /** Answers alike, each the median of a few. */
  runs: number;
  /** Per GPU, in place of the usual share. */
  runtimeBytes?: number;
  computeFactor?: { host: number; gpu: number };
  /** Rate at which weights are read while answering, with what the runs say; of a CPU that computes, Q8_0 per core. */
  effectiveBandwidthBytesPerSecond?: number;
  /** What a layer costs beside reading its weights. */
  layerSeconds?: number;
  /** Milliseconds since the epoch. */
  lastAt: number;
}

/** The machine that answers questions, for those about it. */
export interface KnownMachine {
  /** As its drivers call them. */
  gpuNames: readonly string[];
  learned: LearnedMachine;
}

/** What the planner puts in place of its own figures. */
export interface MemoryCorrection {
  /** Per GPU in use; in place of the backend's usual share. */
  runtimeBytes?: number;
  /** Factors on compute buffers; at 1 the layout is right. */
  computeHost: number;
  computeGpu: number;
}

/** Loads looked at: a driver may have been updated since older ones. */
const recentLoadsMax = 8;
/** From so many loads on a figure may also be lowered. */
const loadsToLower = 3;
/** Above the median by more, another program started in the same seconds. */
const runtimeOutlierBytes = 1024 * MIB;
/** No driver takes more of its own. */
const runtimeBytesMax = 2048 * MIB;
/** A layout that is further off is another graph, not this one's error. */
const computeFactorMax = 2;
const computeFactorMin = 0.5;
/** Lowered no further than this: the next context may reach another widest moment. */
const computeLoweredMin = 0.9;

const corrections = new WeakMap<LearnedMachine, Map<string, MemoryCorrection | undefined>>();

/**
 * Never below what was seen: of the readings kept the largest counts, and the planner's own figure where it is larger and
 * fewer than three loads say otherwise. Undefined when nothing was learned for such settings.
 *
 * @param usual what the planner takes a driver's share to be, bytes per GPU
 */
export function memoryCorrection(
  { learned, backend }: Pick<Hardware, "learned" | "backend">,
  architecture: string,
  settings: Pick<RuntimeSettings, "buildFamily">,
  usual: number,
): MemoryCorrection | undefined {
  if (learned === undefined || learned.buildFamily !== settings.buildFamily || learned.backend !== backend) return;
  const known = keptWith(corrections, learned);
  if (!known.has(architecture)) known.set(architecture, correctionOf(learned.loads, architecture, usual));
  return known.get(architecture);
}

function correctionOf(
  loads: readonly LearnedLoad[],
  architecture: string,
  usual: number,
): MemoryCorrection | undefined {
  const runtimeBytes = learnedRuntime(loads, usual);
  const alike = loads.filter((load) => load.architecture === architecture).slice(-recentLoadsMax);
  const [computeHost, computeGpu] = [learnedFactor(alike, "hostBytes"), learnedFactor(alike, "gpuBytes")];
  if (runtimeBytes === undefined && computeHost === 1 && computeGpu === 1) return undefined;
  return { ...(runtimeBytes === undefined ? {} : { runtimeBytes }), computeHost, computeGpu };
}

/** Bytes the driver takes per GPU, from all architectures' loads. */
function learnedRuntime(loads: readonly LearnedLoad[], usual: number): number | undefined {
  const seen = loads.flatMap(({ runtimeBytes }) => (runtimeBytes === undefined ? [] : [runtimeBytes]));
  const recent = seen.slice(-recentLoadsMax).map((bytes) => Math.min(runtimeBytesMax, Math.max(0, bytes)));
  if (recent.length === 0) return undefined;
  // Of two readings neither can be told to be the odd one.
  const limit = recent.length < 3 ? Number.POSITIVE_INFINITY : median(recent) + runtimeOutlierBytes;
  const most = Math.max(...recent.filter((bytes) => bytes <= limit));
  return Math.round(recent.length < loadsToLower ? Math.max(usual, most) : most);
}

function learnedFactor(loads: readonly LearnedLoad[], where: keyof Bytes): number {
  const ratios = loads.flatMap(({ compute }) => {
    if (compute === undefined || !(compute.predicted[where] >= MIB)) return [];
    const ratio = compute.measured[where] / compute.predicted[where];
    return ratio >= computeFactorMin && ratio <= computeFactorMax ? [ratio] : [];
  });
  if (ratios.length === 0) return 1;
  const most = Math.max(...ratios);
  return ratios.length < loadsToLower ? Math.max(1, most) : Math.max(computeLoweredMin, most);
}

/**
 * Runs that say most about a model: those of its own architecture, else all of the machine's. Undefined when there are
 * none for such a build.
 */
export function learnedRuns(
  { learned, backend }: Pick<Hardware, "learned" | "backend">,
  architecture: string,
  { buildFamily }: Pick<RuntimeSettings, "buildFamily">,
): readonly LearnedRun[] | undefined {
  if (learned === undefined || learned.buildFamily !== buildFamily || learned.backend !== backend) return undefined;
  const own = runsOf(learned, architecture);
  return own.length > 0 ? own : learned.runs.length > 0 ? learned.runs : undefined;
}

const runsByArchitecture = new WeakMap<LearnedMachine, Map<string, readonly LearnedRun[]>>();

/** The same list for the same question, so that what is worked out from it can be kept with it. */
function runsOf(learned: LearnedMachine, architecture: string): readonly LearnedRun[] {
  const known = keptWith(runsByArchitecture, learned);
  let runs = known.get(architecture);
  if (runs === undefined) {
    runs = learned.runs.filter((run) => run.architecture === architecture);
    known.set(architecture, runs);
  }
  return runs;
}

function keptWith<Value>(
  all: WeakMap<LearnedMachine, Map<string, Value>>,
  learned: LearnedMachine,
): Map<string, Value> {
  const known = all.get(learned) ?? new Map<string, Value>();
  all.set(learned, known);
  return known;
}

/**
 * The machine a question describes with what was learned, when it is the one that answers: the same cards by name and
 * number, or none, and the same backend. Undefined for every other.
 */
export function taughtHardware(hardware: Hardware, machine: KnownMachine | undefined): Hardware | undefined {
  if (machine === undefined || hardware.learned !== undefined) return undefined;
  const { gpuNames, learned } = machine;
  if (hardware.backend !== learned.backend || hardware.gpus.length !== gpuNames.length) return undefined;
  const called = (name: string) => findGpu(name)?.gpu.name;
  const own = gpuNames.map(called);
  const same = hardware.gpus.every(({ name }, index) => {
    const asked = name === undefined ? undefined : called(name);
    return asked !== undefined && asked === own[index];
  });
  return same ? { ...hardware, learned } : undefined;
}

/** Said with an answer that was planned with it. */
export function learnedNote({ loads, runs }: LearnedMachine): Record<"en" | "zh", string> {
  return {
    en: `Memory and speed are corrected by what this machine learned (loads: ${loads.length}, kinds of answers: ${runs.length}).`,
    zh: `内存和速度已按本机 ${loads.length} 次加载、${runs.length} 种回答学到的数据修正。`,
  };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
