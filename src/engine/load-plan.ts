/** From a file on disk and a reading of this machine to the settings the llama child loads with. */
import { AppError } from "../core/errors.ts";
import type { HardwareReading } from "../core/ports.ts";
import { formatBytes } from "../core/units.ts";
import { findGpu } from "../fit/gpus.ts";
import { planFit } from "../fit/plan.ts";
import type { FitPlan, GpuDevice, Hardware, ModelSpec, Wish } from "../fit/types.ts";
import type { LoadSettings } from "./ipc.ts";

/** What an administrator may fix; the planner chooses the rest. */
export interface LoadWish {
  contextLength?: number;
  sequenceCount?: number;
}

export interface LoadPlan {
  plan: FitPlan;
  settings: Omit<LoadSettings, "modelPath">;
}

/** Answers at once when nothing was asked for; the planner goes down to one when memory is short. */
const sequenceCountDefault = 4;

/**
 * @throws AppError model_does_not_fit, naming what is missing and the nearest plan that has room
 */
export function planLoad(model: ModelSpec, reading: HardwareReading, wish: LoadWish = {}): LoadPlan {
  const answer = planFit(model, hardwareOf(reading), planWish(wish));
  const plan = answer.kind === "plan" ? answer : undefined;
  if (plan?.fits !== true) throw refusal(model, answer);
  const { settings } = plan;
  return {
    plan,
    settings: {
      contextLength: settings.contextLength,
      sequenceCount: settings.sequenceCount,
      batchSize: settings.batchSize,
      gpu: reading.gpus.length === 0 ? false : "auto",
      gpuLayers: settings.gpuLayers,
      flashAttention: settings.flashAttention,
      kvCacheTypeK: settings.kvCacheTypeK,
      kvCacheTypeV: settings.kvCacheTypeV,
    },
  };
}

function planWish({ contextLength, sequenceCount }: LoadWish): Wish {
  return {
    buildFamily: "node-llama-cpp",
    // node-llama-cpp cannot keep experts on the host while their layer is on the GPU.
    hostExpertLayers: 0,
    ...(contextLength === undefined ? {} : { contextLength }),
    ...(sequenceCount === undefined ? { sequenceCount: sequenceCountDefault, sequenceCountMin: 1 } : { sequenceCount }),
  };
}

/** The planner's view of this machine; bandwidth and generation come from the card's name. */
export function hardwareOf(reading: HardwareReading): Hardware {
  return {
    name: "this machine",
    backend: reading.backend,
    ramBytesTotal: reading.ramBytesTotal,
    ramBytesFree: reading.ramBytesFree,
    gpus: reading.gpus.map((gpu, index): GpuDevice => {
      const facts = findGpu(gpu.name)?.gpu;
      return {
        id: `gpu${index}`,
        name: gpu.name,
        vramBytesTotal: gpu.vramBytesTotal,
        ...(gpu.vramBytesFree === undefined ? {} : { vramBytesFree: gpu.vramBytesFree }),
        ...(facts?.bandwidthBytesPerSecond === undefined
          ? {}
          : { bandwidthBytesPerSecond: facts.bandwidthBytesPerSecond }),
        ...(facts?.generation === undefined ? {} : { generation: facts.generation }),
      };
    }),
  };
}

function refusal(model: ModelSpec, answer: ReturnType<typeof planFit>): AppError {
  if (answer.kind === "plan") {
    const percent = Math.round(answer.probability * 100);
    const message = `${model.name} with these settings would fit this machine with a probability of ${percent} % only; ask for less context or fewer slots.`;
    return new AppError("model_does_not_fit", message, { details: { probability: answer.probability } });
  }
  const { nearest, reason, shortfallBytes } = answer;
  const settings = nearest?.settings;
  const hint = nearest?.fits
    ? ` Nearest that fits: context ${settings?.contextLength}, ${settings?.sequenceCount} at once, ${settings?.gpuLayers} layers on the GPU.`
    : ` Free ${formatBytes(shortfallBytes)}, or take a smaller quantization: snug fits ${JSON.stringify(model.name)}`;
  return new AppError("model_does_not_fit", reason + hint, {
    details: { shortfallBytes, ...(settings === undefined ? {} : { nearest: settings }) },
  });
}
