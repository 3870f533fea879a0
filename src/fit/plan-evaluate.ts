/** One candidate: settings on a machine, with bytes per device, probability and shortfall. */
import type { FreeMemory } from "./free-memory.ts";
import { fitProbabilityMin, gpuFreeMemory, hostFreeMemory, roomProbability, usableBytes } from "./free-memory.ts";
import { estimateMemory, type MemoryEstimate } from "./memory.ts";
import { type WeightTable, weightTable } from "./memory-weights.ts";
import { createPlacement, splitByFreeMemory } from "./placement.ts";
import type { Hardware, ModelSpec, RuntimeSettings, Wish } from "./types.ts";

/** A machine as the planner sees it, prepared once per question. */
export interface Machine {
  hardware: Hardware;
  gpus: FreeMemory[];
  /** Bytes a plan may use on each GPU: 95 % sure, less the user's reserve, under the user's cap. */
  gpuUsable: number[];
  host: FreeMemory;
  hostUsable: number;
  reserveBytes: number;
  vramBytesMax: number;
  assumptions: string[];
}

export interface Candidate {
  settings: RuntimeSettings;
  estimate: MemoryEstimate;
  fits: boolean;
  probability: number;
  /** Bytes missing on the worst device; 0 or less when it fits. */
  shortfallBytes: number;
}

/** Extra kept per GPU when the wish names no reserve: the doubt about free memory is a margin of its own. */
export const reserveBytesDefault = 0;

/** Share of the memory's size taken as free when no live reading is given. */
const hostFreeShare = 0.8;

export function prepareMachine(hardware: Hardware, wish: Wish): Machine {
  const gpus = hardware.gpus.map((gpu) => gpuFreeMemory(gpu, hardware));
  const reserveBytes = wish.reserveBytes ?? reserveBytesDefault;
  const vramBytesMax = wish.vramBytesMax ?? Number.POSITIVE_INFINITY;
  const assumptions: string[] = [];
  const ram = hardware.ramBytesFree ?? hostFreeShare * (hardware.ramBytesTotal ?? assumedRam(hardware, assumptions));
  const host = hostFreeMemory(ram);
  return {
    hardware,
    gpus,
    gpuUsable: gpus.map((free) => Math.min(usableBytes(free), free.bytes - reserveBytes, vramBytesMax)),
    host,
    hostUsable: usableBytes(host),
    reserveBytes,
    vramBytesMax,
    assumptions,
  };
}

const gib = 2 ** 30;

function assumedRam(hardware: Hardware, assumptions: string[]): number {
  const vram = hardware.gpus.reduce((sum, gpu) => sum + gpu.vramBytesTotal, 0);
  const bytes = hardware.unifiedMemory ? vram : Math.max(16 * gib, 2 * vram);
  assumptions.push(`Main memory is not known; ${Math.round(bytes / gib)} GiB are assumed.`);
  return bytes;
}

/** Adds a placement to `settings` (`gpuLayers` in default split, `hostExpertLayers`) and prices it. */
export function evaluate(
  model: ModelSpec,
  machine: Machine,
  settings: RuntimeSettings,
  gpuLayers: number,
  hostExpertLayers = 0,
  split = defaultSplit(machine, gpuLayers),
): Candidate {
  const placed: RuntimeSettings = { ...settings, gpuLayers, hostExpertLayers, gpuLayerSplit: split };
  const weights: WeightTable = weightTable(model, settings.quantization);
  const placement = createPlacement(model, placed, machine.gpus.length);
  const estimate = estimateMemory(model, weights, placed, placement, machine.hardware.backend);
  return judge(machine, placed, estimate);
}

export function defaultSplit(machine: Machine, gpuLayers: number): number[] {
  return splitByFreeMemory(
    gpuLayers,
    machine.gpus.map((free) => free.bytes),
  );
}

function judge(machine: Machine, settings: RuntimeSettings, estimate: MemoryEstimate): Candidate {
  let probability = 1;
  let shortfallBytes = Number.NEGATIVE_INFINITY;
  estimate.gpus.forEach((gpu, index) => {
    if (gpu.totalBytes === 0) return;
    const reserved = gpu.totalBytes + machine.reserveBytes;
    probability = Math.min(probability, roomProbability(machine.gpus[index]!, reserved));
    if (gpu.totalBytes > machine.vramBytesMax) probability = 0;
    shortfallBytes = Math.max(shortfallBytes, gpu.totalBytes - machine.gpuUsable[index]!);
  });
  const hostBytes = estimate.host.totalBytes + sharedBytes(machine, estimate);
  probability = Math.min(probability, roomProbability(machine.host, hostBytes));
  shortfallBytes = Math.max(shortfallBytes, hostBytes - machine.hostUsable);
  const fits = shortfallBytes <= 0 && probability >= fitProbabilityMin - 1e-6;
  return { settings, estimate, fits, probability, shortfallBytes };
}

/** With unified memory the GPU's buffers are main memory too. */
function sharedBytes(machine: Machine, estimate: MemoryEstimate): number {
  if (!machine.hardware.unifiedMemory) return 0;
  return estimate.gpus.reduce((sum, gpu) => sum + gpu.totalBytes, 0);
}
