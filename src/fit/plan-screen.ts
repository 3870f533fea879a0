/** A quick look at many models and mixes: what would fit whole, to a tenth of the compute buffers. */
import { roughComputeBytes } from "./compute-rough.ts";
import { memoryCorrection } from "./learned.ts";
import { gpuRuntimeBytes } from "./memory.ts";
import { blockMemory } from "./memory-cache.ts";
import { isEncoder } from "./memory-weights.ts";
import { createPlacement, offloadableLayers } from "./placement.ts";
import { type Machine, prepareMachine } from "./plan-evaluate.ts";
import { checkHardware, checkWish } from "./plan-input.ts";
import { startingSettings } from "./plan-settings.ts";
import { quantizationWeightSummary } from "./quantization-bytes.ts";
import type { Hardware, ModelSpec, Wish } from "./types.ts";

export interface ScreenedFit {
  quantization: string;
  /** Bytes on the GPUs together with everything offloaded. */
  gpuBytes: number;
  /** Whether the GPUs' usable memory together holds them; `planFit` has the last word. */
  fits: boolean;
}

/** A machine prepared for screening; keep it while the machine and the wish stay the same. */
export interface ScreeningMachine {
  machine: Machine;
  usableBytes: number;
  wish: Wish;
}

/** Throws AppError invalid_request for impossible hardware. */
export function prepareScreening(hardware: Hardware, wish: Wish = {}): ScreeningMachine {
  checkHardware(hardware);
  const machine = prepareMachine(hardware, wish);
  return { machine, usableBytes: machine.gpuUsable.reduce((sum, bytes) => sum + Math.max(0, bytes), 0), wish };
}

/**
 * Every one of `quantizations` (GGUF names) for a model with all layers on the GPUs and the wish's settings or their
 * defaults; nothing is conceded. Some microseconds per model and less than one per mix.
 *
 * Throws AppError invalid_request for an impossible wish or an unknown mix.
 */
export function screenFit(
  model: ModelSpec,
  { machine, usableBytes, wish }: ScreeningMachine,
  quantizations: readonly string[],
): ScreenedFit[] {
  checkWish(model, wish);
  const context = contextBytes(model, machine, wish);
  return quantizations.map((quantization) => {
    const gpuBytes = context + gpuWeightBytes(model, quantization);
    return { quantization, gpuBytes, fits: gpuBytes <= usableBytes };
  });
}

const weighed = new WeakMap<ModelSpec, Map<string, number>>();

/** All weights but the tables that stay in main memory; prediction blocks count, used or not. */
function gpuWeightBytes(model: ModelSpec, quantization: string): number {
  let byName = weighed.get(model);
  if (byName === undefined) {
    byName = new Map();
    weighed.set(model, byName);
  }
  let bytes = byName.get(quantization);
  if (bytes === undefined) {
    const { total, input, tiedOutput } = quantizationWeightSummary(model, quantization);
    bytes = total - input + (isEncoder(model.architecture) ? 0 : tiedOutput);
    byName.set(quantization, bytes);
  }
  return bytes;
}

/** Cache, state, compute buffers and the runtime's share: what every mix needs beside its weights. */
function contextBytes(model: ModelSpec, machine: Machine, wish: Wish): number {
  const gpuLayers = offloadableLayers(model);
  const settings = { ...startingSettings(model, wish, undefined), gpuLayers, gpuLayerSplit: [gpuLayers] };
  const { kvCacheBytes, recurrentBytes } = blockMemory(model, settings);
  const usual = gpuRuntimeBytes(machine.hardware.backend);
  const learned = memoryCorrection(machine.hardware, model.architecture, settings, usual);
  let sum = machine.gpus.length * (learned?.runtimeBytes ?? usual);
  for (let block = 0; block < kvCacheBytes.length; block++) sum += kvCacheBytes[block]! + recurrentBytes[block]!;
  const compute = roughComputeBytes(model, settings, createPlacement(model, settings, 1));
  return sum + Math.max(1, machine.gpus.length) * compute.gpus[0]!;
}
