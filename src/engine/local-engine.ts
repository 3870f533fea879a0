import type { AppError } from "../core/errors.ts";
import {
  eventsBufferedMax,
  queueRequestsMax,
  queueWaitMsMax,
  readerSilenceMsMax,
  tokenSilenceMsMax,
} from "../core/limits.ts";
import type { ChatEngine, Clock, EngineHealth, Logger } from "../core/ports.ts";
import type { Embeddings, EmbeddingsRequest, Ranking, RerankRequest } from "../core/vectors.ts";
import type { EngineTotals } from "./engine-meter.ts";
import type { AnswerEnd, LoadedModel, LoadSettings, MemorySample } from "./ipc.ts";
import type { Ladder, LadderStep } from "./ladder.ts";
import { SupervisedEngine } from "./supervised-engine.ts";
import type { ChildProgram, SupervisorTimes } from "./supervisor.ts";

export interface LocalEngineOptions {
  model: {
    /** What clients call it. */
    id: string;
    /** A GGUF file; of a split model any part. */
    path: string;
    demo?: boolean;
  };
  /** What the planner or an administrator decided; the rest is `settingsDefault`. */
  settings?: Partial<Omit<LoadSettings, "modelPath">>;
  program: ChildProgram;
  logger: Logger;
  clock: Clock;
  /** Name in answers and usage rows. */
  engineId?: string;
  /** Smaller settings for loads that fail for want of memory; without one they fail for good. */
  ladder?: Ladder;
  /** Looks at a load before it serves; an error stands for "no room", and the ladder is walked. */
  verify?(model: LoadedModel, settings: LoadSettings): Promise<AppError | undefined>;
  /** Told of answers that had the model to themselves from first to last, were read as fast as written, and were free text. */
  onUndisturbed?(answer: UndisturbedAnswer): void;
  limits?: Partial<EngineLimits>;
  times?: Partial<SupervisorTimes>;
}

/** What an answer cost on an otherwise idle model. */
export interface UndisturbedAnswer extends Pick<AnswerEnd, "usage" | "timings"> {
  settings: LoadSettings;
}

/** Bounds of the line and of patience; tests shorten them. */
export interface EngineLimits {
  queueRequestsMax: number;
  queueWaitMsMax: number;
  tokenSilenceMsMax: number;
  readerSilenceMsMax: number;
  eventsBufferedMax: number;
}

const defaultLimits: EngineLimits = {
  queueRequestsMax,
  queueWaitMsMax,
  tokenSilenceMsMax,
  readerSilenceMsMax,
  eventsBufferedMax,
};

export const settingsDefault: Omit<LoadSettings, "modelPath"> = {
  sequenceCount: 2,
  batchSize: 256,
  gpu: "auto",
  gpuLayers: "auto",
  flashAttention: "auto",
  kvCacheTypeK: "F16",
  kvCacheTypeV: "F16",
};

/** What an operator wants to see. */
export interface EngineStatus {
  health: EngineHealth;
  model?: LoadedModel;
  memory?: MemorySample;
  childPid?: number;
  /** What the model is, or will next be, loaded with. */
  settings: LoadSettings;
  /** Settings given up so far, oldest first. */
  ladderSteps: readonly LadderStep[];
  /** Answers ended since the start, and what they cost. */
  totals: EngineTotals;
  /** Milliseconds one more request would wait for a slot; left out while no answer has ended. */
  expectedWaitMs?: number;
  /** Completion tokens of the last seconds, per second, over all answers. */
  tokensPerSecond: number;
}

export interface LocalEngine extends ChatEngine {
  embed(request: EmbeddingsRequest, options: { signal: AbortSignal }): Promise<Embeddings>;
  rerank(request: RerankRequest, options: { signal: AbortSignal }): Promise<Ranking>;
  /** Starts loading; resolves when the model answers, rejects with the `AppError` why it never will. Call once. */
  start(): Promise<LoadedModel>;
  status(): EngineStatus;
  /** Takes no more requests, lets running answers end within `drainMs`, cuts the rest with an error event, frees the model. */
  stop(options?: { drainMs?: number }): Promise<void>;
}

export function createLocalEngine(options: LocalEngineOptions): LocalEngine {
  const settings: LoadSettings = { ...settingsDefault, ...options.settings, modelPath: options.model.path };
  return new SupervisedEngine(options, settings, { ...defaultLimits, ...options.limits });
}
