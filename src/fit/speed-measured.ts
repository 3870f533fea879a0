/** A machine's own runs in place of the fitted constants. */
import { median } from "./learned.ts";
import type { SpeedConstants } from "./speed-constants.ts";
import { type TokenTime, tokenTime, totalSeconds } from "./speed-decode.ts";
import { correctHostTime, fitHostCorrection, type HostCorrection } from "./speed-host-measured.ts";
import { prefillSeconds } from "./speed-prefill.ts";
import { type TokenWork, tokenWork } from "./speed-work.ts";
import type { Hardware, ModelSpec, RuntimeSettings } from "./types.ts";

/** One run of a model measured on the machine at hand. */
export interface ModelRun {
  model: ModelSpec;
  settings: RuntimeSettings;
  /** Tokens in the cache at the middle of the measured answer. */
  depthTokens: number;
  decodeTokensPerSecond: number;
  /** With `promptTokens`: how fast a prompt of that length was read. */
  prefillTokensPerSecond?: number;
  promptTokens?: number;
  /** Cores the machine had for it, where a CPU did the work. */
  cpuCores?: number;
}

/** A run with its work counted, so that the model itself need not be at hand. */
export interface SpeedRun extends Omit<ModelRun, "model"> {
  /** One token's, at `depthTokens`. */
  work: TokenWork;
}

export type MeasuredRun = ModelRun | SpeedRun;

/** Counts the work of a run where that is still to do. */
export function countRun(measured: MeasuredRun, gpuCount: number): SpeedRun {
  if ("work" in measured) return measured;
  const { model, ...run } = measured;
  return { ...run, work: tokenWork(model, run.settings, gpuCount, run.depthTokens) };
}

/** What the runs say the machine needs, relative to the fitted constants. */
export interface Correction {
  /** Factor on time spent per layer. */
  launch: number;
  /** Factor on time spent reading and multiplying. */
  memory: number;
  /** Factor on CPU time. */
  cpu: number;
  /** Set where the CPU computes more slowly than its memory delivers: its time follows the operations, not the bytes. */
  host?: HostCorrection;
}

/** Further from the constants than this is a broken run, not a machine. */
const correctionMax = 50;
/** Two terms are told apart only by runs whose shares differ by this much. */
const shareDifferenceMin = 0.08;

/** Applies a correction to the time of a token with `depthTokens` before it. */
export function correctTime(
  time: TokenTime,
  correction: Correction,
  run: Pick<SpeedRun, "work" | "settings" | "depthTokens">,
  hardware: Hardware,
  constants: SpeedConstants,
): TokenTime {
  if (correction.host !== undefined) return correctHostTime(time, correction.host, run, hardware, constants);
  return {
    memory: time.memory * correction.memory,
    compute: time.compute * correction.memory,
    cpu: time.cpu * correction.cpu,
    launch: time.launch * correction.launch,
  };
}

/**
 * Fits the two terms to the runs. One run, or runs alike, scale all of time; runs of different models (a small and a
 * large, or two quantizations) tell layer cost and reading rate apart by least squares on relative errors. CPU time
 * follows the runs that have it. Undefined when no run is usable.
 */
export function fitCorrection(
  runs: readonly SpeedRun[],
  hardware: Hardware,
  constants: SpeedConstants,
): Correction | undefined {
  const points: Point[] = [];
  const usable: SpeedRun[] = [];
  for (const run of runs) {
    if (!isRate(run.decodeTokensPerSecond)) continue;
    const time = tokenTime(run.work, run.settings, machineOf(run, hardware), constants, run.depthTokens);
    const seconds = 1 / run.decodeTokensPerSecond;
    const ratio = seconds / totalSeconds(time);
    if (ratio > correctionMax || ratio < 1 / correctionMax) continue;
    points.push({ launch: time.launch, memory: time.memory + time.compute, cpu: time.cpu, seconds });
    usable.push(run);
  }
  if (points.length === 0) return undefined;
  const host = hardware.gpus.length === 0 ? fitHostCorrection(usable, hardware, constants) : undefined;
  if (host !== undefined) return { launch: host.weights, memory: host.weights, cpu: host.weights, host };
  const onGpu = points.filter(({ cpu, seconds }) => cpu < 0.1 * seconds);
  const { launch, memory } = onGpu.length > 0 ? fitTwo(onGpu) : scaleAll(points);
  const cpuRuns = points.filter(({ cpu, seconds }) => cpu >= 0.1 * seconds);
  if (cpuRuns.length === 0 || onGpu.length === 0) return { launch, memory, cpu: onGpu.length > 0 ? 1 : memory };
  const ratios = cpuRuns.map((run) => (run.seconds - run.launch * launch - run.memory * memory) / run.cpu);
  return { launch, memory, cpu: clamp(median(ratios)) };
}

/** The machine as it was for a run: a process may have been given other cores since. */
export function machineOf({ cpuCores }: Pick<SpeedRun, "cpuCores">, hardware: Hardware): Hardware {
  return cpuCores === undefined ? hardware : { ...hardware, cpuCores };
}

function isRate(rate: number): boolean {
  return rate > 0 && Number.isFinite(rate);
}

/** Factor on prompt time from runs that carry a prompt rate; undefined when none does. */
export function fitPrefillCorrection(
  runs: readonly SpeedRun[],
  hardware: Hardware,
  constants: SpeedConstants,
): number | undefined {
  const ratios: number[] = [];
  for (const run of runs) {
    const { work, settings, prefillTokensPerSecond: rate, promptTokens } = run;
    if (rate === undefined || promptTokens === undefined || !(rate > 0) || !(promptTokens >= 1)) continue;
    const machine = machineOf(run, hardware);
    ratios.push(promptTokens / rate / prefillSeconds(work, settings, machine, promptTokens, constants));
  }
  return ratios.length === 0 ? undefined : clamp(median(ratios));
}

export interface Point {
  launch: number;
  memory: number;
  cpu: number;
  seconds: number;
}

function scaleAll(points: readonly Point[]): { launch: number; memory: number } {
  const ratio = median(points.map(({ launch, memory, cpu, seconds }) => seconds / (launch + memory + cpu)));
  return { launch: ratio, memory: ratio };
}

/** Least squares of `a launch + b memory + cpu = seconds`, each run weighted by 1/seconds. */
export function fitTwo(points: readonly Point[]): { launch: number; memory: number } {
  const shares = points.map(({ launch, memory }) => launch / (launch + memory));
  if (Math.max(...shares) - Math.min(...shares) < shareDifferenceMin) return scaleAll(points);
  let ll = 0;
  let lm = 0;
  let mm = 0;
  let l = 0;
  let m = 0;
  for (const point of points) {
    const x = point.launch / point.seconds;
    const y = point.memory / point.seconds;
    const rest = 1 - point.cpu / point.seconds;
    ll += x * x;
    lm += x * y;
    mm += y * y;
    l += x * rest;
    m += y * rest;
  }
  const determinant = ll * mm - lm * lm;
  const launch = (l * mm - m * lm) / determinant;
  const memory = (ll * m - lm * l) / determinant;
  const usable = (factor: number) => Number.isFinite(factor) && factor > 0.1 && factor < 10;
  return usable(launch) && usable(memory) ? { launch, memory } : scaleAll(points);
}

function clamp(factor: number): number {
  return Math.min(correctionMax, Math.max(1 / correctionMax, factor));
}
