/**
 * How fast a plan answers: tokens per second after a prompt of a given length, the time to the first of them, and what
 * holds it back. The model and how its constants were fitted: docs/speed.md.
 */
import { learnedRuns } from "./learned.ts";
import { constantsFor, deviceRates, SPEED_CONSTANTS, type SpeedConstants } from "./speed-constants.ts";
import { type TokenTime, tokenTime, totalSeconds } from "./speed-decode.ts";
import {
  type Correction,
  correctTime,
  countRun,
  fitCorrection,
  fitPrefillCorrection,
  type MeasuredRun,
  type SpeedRun,
} from "./speed-measured.ts";
import { prefillSeconds } from "./speed-prefill.ts";
import { tokenWork } from "./speed-work.ts";
import type { FitPlan, Hardware, ModelSpec } from "./types.ts";

export type { MeasuredRun, SpeedRun } from "./speed-measured.ts";

/** What most of a token's time goes to. */
export type SpeedBottleneck = "memory bandwidth" | "compute" | "CPU layers" | "launch overhead";

export interface SpeedQuestion {
  model: ModelSpec;
  /** A plan, or just its settings with the placement in them. */
  plan: Pick<FitPlan, "settings">;
  hardware: Hardware;
  /** Tokens of the prompt; default 512. */
  promptTokens?: number;
  /** Tokens in the cache when the answer is half written; default `promptTokens`. */
  depthTokens?: number;
  /** Runs measured on this machine; they take the place of the fitted constants, and of what `hardware` learned. */
  measured?: readonly MeasuredRun[];
}

export interface SpeedEstimate {
  /** One user, one answer at a time. */
  decodeTokensPerSecond: number;
  /** Nine of ten measurements of such plans lie between these. */
  decodeLow: number;
  decodeHigh: number;
  prefillTokensPerSecond: number;
  /** Prompt processing and the first token; no queue, nothing cached. */
  timeToFirstTokenMs: number;
  /** The prompt length the rates hold for. */
  atPromptTokens: number;
  bottleneck: SpeedBottleneck;
  /** What was assumed because the machine was not fully named, in plain English. */
  assumptions: string[];
}

/** Prompt length of an answer that names none. */
export const promptTokensDefault = 512;

export function estimateSpeed(question: SpeedQuestion, constants: SpeedConstants = SPEED_CONSTANTS): SpeedEstimate {
  const { model } = question;
  const { settings } = question.plan;
  const promptTokens = Math.max(1, Math.floor(question.promptTokens ?? promptTokensDefault));
  const depth = Math.max(0, question.depthTokens ?? promptTokens);
  const { decode: correction, prefill: prefillFactor, cpuCores } = correctionsOf(question, constants);
  const hardware = { ...(cpuCores === undefined ? {} : { cpuCores }), ...question.hardware };
  const work = tokenWork(model, settings, hardware.gpus.length, depth);
  const plainTime = tokenTime(work, settings, hardware, constants, depth);
  const asked = { work, settings, depthTokens: depth };
  const time = correction ? correctTime(plainTime, correction, asked, hardware, constants) : plainTime;
  const seconds = totalSeconds(time);
  const prefill = prefillSeconds(work, settings, hardware, promptTokens, constants) * prefillFactor;
  const spread = spreadOf(question, correction, constants);
  return {
    decodeTokensPerSecond: 1 / seconds,
    decodeLow: 1 / (seconds * spread),
    decodeHigh: spread / seconds,
    prefillTokensPerSecond: promptTokens / prefill,
    timeToFirstTokenMs: (prefill + seconds) * 1000,
    atPromptTokens: promptTokens,
    bottleneck: bottleneckOf(time, hardware),
    assumptions: assumptionsOf(question),
  };
}

interface Corrections {
  decode: Correction | undefined;
  prefill: number;
  /** As at the last run: a question about the machine need not name them. */
  cpuCores: number | undefined;
}

/** By list of learned runs: a catalogue is ranked by thousands of estimates on one machine. */
const known = new WeakMap<readonly SpeedRun[], Corrections>();

function correctionsOf({ model, plan, hardware, measured }: SpeedQuestion, constants: SpeedConstants): Corrections {
  if (measured !== undefined) {
    return corrections(
      measured.map((run) => countRun(run, hardware.gpus.length)),
      hardware,
      constants,
    );
  }
  const runs = learnedRuns(hardware, model.architecture, plan.settings);
  if (runs === undefined) return { decode: undefined, prefill: 1, cpuCores: undefined };
  const found = known.get(runs) ?? corrections(runs, hardware, constants);
  known.set(runs, found);
  return found;
}

function corrections(runs: readonly SpeedRun[], hardware: Hardware, constants: SpeedConstants): Corrections {
  return {
    decode: fitCorrection(runs, hardware, constants),
    prefill: fitPrefillCorrection(runs, hardware, constants) ?? 1,
    cpuCores: runs.findLast((run) => run.cpuCores !== undefined)?.cpuCores,
  };
}

/** The largest cause. A machine without a GPU reads its weights from RAM: that is memory bandwidth too. */
function bottleneckOf(time: TokenTime, hardware: Hardware): SpeedBottleneck {
  const causes: [SpeedBottleneck, number][] = [
    ["memory bandwidth", time.memory + (hardware.gpus.length === 0 ? time.cpu : 0)],
    ["compute", time.compute],
    ["CPU layers", hardware.gpus.length === 0 ? 0 : time.cpu],
    ["launch overhead", time.launch],
  ];
  return causes.reduce((most, cause) => (cause[1] > most[1] ? cause : most))[0];
}

/** Learned from other architectures alone: the machine is known, what this one asks of it is not. */
function hasForeignRuns({ measured, hardware, model }: SpeedQuestion): boolean {
  return measured === undefined && !hardware.learned?.runs.some((run) => run.architecture === model.architecture);
}

/** Half-width of the interval as a factor. */
function spreadOf(question: SpeedQuestion, correction: Correction | undefined, constants: SpeedConstants): number {
  const { spread } = constants;
  if (correction) return hasForeignRuns(question) ? spread.unmeasured : spread.measured;
  const { gpus } = question.hardware;
  const { settings } = question.plan;
  const partial = gpus.length === 0 || settings.hostExpertLayers > 0 || settings.gpuLayers <= question.model.layerCount;
  if (partial) return spread.partial;
  const known = gpus.every((gpu) => constantsFor(constants, gpu.generation).measured && !deviceRates(gpu).assumed);
  return known ? spread.full : spread.unmeasured;
}

function assumptionsOf({ hardware, plan, model }: SpeedQuestion): string[] {
  const assumptions: string[] = [];
  for (const gpu of hardware.gpus) {
    const rates = deviceRates(gpu);
    if (!rates.assumed) continue;
    const rate = Math.round(rates.bandwidth / 1e9);
    assumptions.push(`Speed assumes a GeForce RTX of that size with ${rate} GB/s; name the card for a better figure.`);
    break;
  }
  const hostWork = hardware.gpus.length === 0 || plan.settings.gpuLayers <= model.layerCount;
  if ((hostWork || plan.settings.hostExpertLayers > 0) && hardware.ramBandwidthBytesPerSecond === undefined) {
    assumptions.push("Speed assumes dual-channel DDR4-3200 memory (51 GB/s); DDR5 is about 1.7 times as fast.");
  }
  return assumptions;
}
