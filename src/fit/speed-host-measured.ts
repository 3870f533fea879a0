/** A CPU's own runs in place of the table of speed-host.ts, where arithmetic sets its pace. */
import { median } from "./learned.ts";
import { ramBandwidthDefault, type SpeedConstants } from "./speed-constants.ts";
import { hostReadingSeconds, type TokenTime } from "./speed-decode.ts";
import { hostComputeTime, hostLayerSeconds } from "./speed-host.ts";
import { fitTwo, machineOf, type Point, type SpeedRun } from "./speed-measured.ts";
import type { TokenWork } from "./speed-work.ts";
import type { Hardware } from "./types.ts";

/** Factors on the table's times. */
export interface HostCorrection {
  /** On weights and whatever else a token takes, of formats that were not measured. */
  weights: number;
  /** The same by file mix, for those that were. */
  byQuantization: ReadonlyMap<string, number>;
  /** On attention: told apart from the weights where one format was measured at depths far enough apart. */
  attention: number;
}

/** Below this share of its memory's rate a CPU is held up by computing, whatever the table says. */
const readingShareMax = 0.4;
/** Attention that comes out further from the weights' factor was a disturbed run. */
const attentionFactorMax = 3;

/** Undefined where the runs are held up by memory. */
export function fitHostCorrection(
  runs: readonly SpeedRun[],
  hardware: Hardware,
  constants: SpeedConstants,
): HostCorrection | undefined {
  if (!isComputing(runs, hardware, constants)) return undefined;
  const groups = new Map<string, Point[]>();
  for (const run of runs) {
    const name = run.settings.quantization ?? "";
    groups.set(name, [...(groups.get(name) ?? []), pointOf(run, coresOf(machineOf(run, hardware)), constants)]);
  }
  const overall = median([...groups.values()].flat().map((point) => point.seconds / (point.launch + point.memory)));
  const told = [...groups.values()].flatMap((points) => attentionOf(points, overall) ?? []);
  const attention = told.length === 0 ? overall : median(told);
  const byQuantization = new Map<string, number>();
  for (const [name, points] of groups) {
    byQuantization.set(name, median(points.map((point) => weightsOf(point, attention))));
  }
  return { weights: median([...byQuantization.values()]), byQuantization, attention };
}

/** Where nobody told the cores, all runs are taken to have had the same. */
function coresOf(hardware: Hardware): Hardware {
  return { ...hardware, cpuCores: hardware.cpuCores ?? 1 };
}

/** Time of weights and all else in `launch`, of attention in `memory`. */
function pointOf(
  { work, settings, depthTokens, decodeTokensPerSecond }: SpeedRun,
  hardware: Hardware,
  constants: SpeedConstants,
): Point {
  const { weights, attention } = hostComputeTime(work, settings, hardware, depthTokens);
  const rest = restOf(work, hardware, constants);
  return { launch: weights + rest, memory: attention, cpu: 0, seconds: 1 / decodeTokensPerSecond };
}

function restOf(work: TokenWork, hardware: Hardware, { shared }: SpeedConstants): number {
  return hostLayerSeconds(work, hardware, shared) + shared.tokenSeconds;
}

/** Undefined where runs of one format lie at one depth, and for a factor that no CPU has. */
function attentionOf(points: readonly Point[], overall: number): number | undefined {
  const { launch, memory } = fitTwo(points);
  // Scaled as one, the two were not told apart.
  if (launch === memory) return undefined;
  const ratio = memory / overall;
  return ratio < attentionFactorMax && ratio > 1 / attentionFactorMax ? memory : undefined;
}

/** What is left for the weights; a deep run of a small model may leave little. */
function weightsOf({ launch, memory, seconds }: Point, attention: number): number {
  return Math.max(0.2 * seconds, seconds - memory * attention) / launch;
}

function isComputing(runs: readonly SpeedRun[], hardware: Hardware, constants: SpeedConstants): boolean {
  const bandwidth = hardware.ramBandwidthBytesPerSecond ?? ramBandwidthDefault;
  const shares = runs.map(({ work: { host }, decodeTokensPerSecond: rate }) => {
    return ((host.denseBytes + host.expertBytes + host.kvBytes) * rate) / bandwidth;
  });
  if (median(shares) < readingShareMax) return true;
  const ratios = runs.map((run) => {
    const machine = machineOf(run, hardware);
    const { weights, attention } = hostComputeTime(run.work, run.settings, machine, run.depthTokens);
    return (weights + attention) / hostReadingSeconds(run.work, machine, constants.shared);
  });
  return median(ratios) > 1;
}

export function correctHostTime(
  time: TokenTime,
  { weights, byQuantization, attention }: HostCorrection,
  { work, settings, depthTokens }: Pick<SpeedRun, "work" | "settings" | "depthTokens">,
  hardware: Hardware,
  { shared }: SpeedConstants,
): TokenTime {
  const machine = coresOf(hardware);
  const own = byQuantization.get(settings.quantization ?? "") ?? weights;
  const table = hostComputeTime(work, settings, machine, depthTokens);
  const cpu = (table.weights + hostLayerSeconds(work, machine, shared)) * own + table.attention * attention;
  return { ...time, cpu, launch: time.launch * own };
}
