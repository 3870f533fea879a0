/** What an operator sees of an engine: GET /status. */
import type { EngineHealth } from "../core/ports.ts";
import type { DeviceBreakdown } from "../fit/types.ts";
import type { GpuLoad } from "./gpu-check.ts";
import type { LoadSettings, MemoryBytes } from "./ipc.ts";
import type { LadderStep } from "./ladder.ts";
import type { ModelStatus } from "./registry-entry.ts";

export interface EngineReport {
  health: EngineHealth;
  draining: boolean;
  models: ModelReport[];
}

export interface ModelReport
  extends Pick<ModelStatus, "id" | "state" | "pinned" | "reason" | "download" | "lastUsedAt"> {
  demo?: true;
  quantization?: string;
  backend?: string;
  /** node-llama-cpp or llama-server, and why it is that one. */
  program?: { name: string; reason: string };
  /** What it is loaded with now; after steps down no longer what was planned first. */
  settings?: Omit<LoadSettings, "modelPath" | "gpuNames">;
  path?: string;
  plan?: { offload: string; fits: boolean; probability: number; devices: DeviceBreakdown[]; assumptions: string[] };
  memory?: {
    /** Buffers of llama.cpp, bytes. */
    predicted: MemoryBytes;
    measured?: MemoryBytes;
    /** Where there are several GPUs, each with layers against its plan. */
    gpus?: readonly GpuLoad[];
    /** Kept off every GPU because earlier loads there took more than forecast. */
    correctionBytes: number;
    /** The child process as a whole. */
    rssBytes?: number;
    /** On all GPUs together, by anybody. */
    vramBytesUsed?: number;
  };
  /** Settings given up because there was no room, oldest first. */
  ladder?: readonly LadderStep[];
  slots?: number;
  active?: number;
  queued?: number;
  /** Milliseconds one more request would wait, by the answers so far. */
  expectedWaitMs?: number;
  tokensPerSecond?: number;
  totals?: object;
  loadMs?: number;
}

export function reportEngine(health: EngineHealth, draining: boolean, models: readonly ModelStatus[]): EngineReport {
  return { health, draining, models: models.map(reportModel) };
}

function reportModel({ engine, load, demo, program, ...status }: ModelStatus): ModelReport {
  const { id, state, pinned, reason, download, lastUsedAt } = status;
  const base: ModelReport = {
    id,
    state,
    pinned,
    ...(demo ? { demo } : {}),
    ...(reason === undefined ? {} : { reason }),
    ...(download === undefined ? {} : { download }),
    ...(lastUsedAt === undefined ? {} : { lastUsedAt }),
  };
  if (engine === undefined || load === undefined) return base;
  const { modelPath, gpuNames: _, ...settings } = engine.settings;
  const { offload, fits, probability, devices, assumptions } = load.plan;
  const { slots, active, queued } = engine.health;
  return {
    ...base,
    ...(engine.health.reason === undefined ? {} : { reason: engine.health.reason }),
    ...(engine.model?.quantization === undefined ? {} : { quantization: engine.model.quantization }),
    ...(engine.model === undefined ? {} : { backend: engine.model.backend, loadMs: engine.model.loadMs }),
    ...(program === undefined ? {} : { program: { name: program.backend, reason: program.reason.en } }),
    path: modelPath,
    settings,
    plan: { offload, fits, probability, devices, assumptions },
    memory: {
      predicted: load.predicted,
      ...(load.measured === undefined ? {} : { measured: load.measured }),
      ...(load.gpus === undefined ? {} : { gpus: load.gpus }),
      correctionBytes: load.correctionBytes,
      ...engine.memory,
    },
    ladder: engine.ladderSteps,
    slots,
    active,
    queued,
    ...(engine.expectedWaitMs === undefined ? {} : { expectedWaitMs: engine.expectedWaitMs }),
    tokensPerSecond: engine.tokensPerSecond,
    totals: engine.totals,
  };
}
