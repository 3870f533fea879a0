/** One candidate: settings on a machine, with bytes per device, probability and shortfall. */
import { isPipelined } from "./compute.ts";
import type { FreeMemory } from "./free-memory.ts";
import { fitProbabilityMin, gpuFreeMemory, hostFreeMemory, roomProbability, usableBytes } from "./free-memory.ts";
import { memoryCorrection } from "./learned.ts";
import { estimateMemory, gpuRuntimeBytes, type MemoryEstimate, type Precision } from "./memory.ts";
import { type WeightTable, weightTable } from "./memory-weights.ts";
import { createPlacement, type Placement, splitByFreeMemory } from "./placement.ts";
import type { Backend, Hardware, ModelSpec, RuntimeSettings, Wish } from "./types.ts";

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
  /** By which llama.cpp cuts the layers: free bytes of each GPU unless the wish has its own. */
  shares: readonly number[];
  assumptions: string[];
}

export interface Candidate {
  settings: RuntimeSettings;
  estimate: MemoryEstimate;
  precision: Precision;
  fits: boolean;
  probability: number;
  /** Bytes missing on the worst device; 0 or less when it fits. */
  shortfallBytes: number;
  /** Whether the GPUs have room, whatever main memory has. */
  gpusFit: boolean;
}

/** Extra kept per GPU when the wish names no reserve: the doubt about free memory is a margin of its own. */
export const reserveBytesDefault = 0;

/** Share of the memory's size taken as free when no live reading is given. */
const hostFreeShare = 0.8;

export function prepareMachine(hardware: Hardware, wish: Wish): Machine {
  // A wish that fixes the load describes a machine kept for it; a question about a card is asked by who sits before it.
  const setAside = wish.gpuLayers !== undefined && wish.contextLength !== undefined;
  const gpus = hardware.gpus.map((gpu) => gpuFreeMemory(gpu, hardware, setAside));
  const reserveBytes = wish.reserveBytes ?? reserveBytesDefault;
  const vramBytesMax = wish.vramBytesMax ?? Number.POSITIVE_INFINITY;
  const assumptions: string[] = [];
  const ram = hardware.ramBytesFree ?? hostFreeShare * (hardware.ramBytesTotal ?? assumedRam(hardware, assumptions));
  const host = hostFreeMemory(ram);
  const shares = hardware.gpus.map(
    (gpu, index) => wish.tensorSplit?.[index] ?? gpu.loaderBytesFree ?? gpus[index]!.bytes,
  );
  return {
    hardware,
    gpus,
    gpuUsable: gpus.map((free, index) =>
      wish.tensorSplit?.[index] === 0 ? 0 : Math.min(usableBytes(free), free.bytes - reserveBytes, vramBytesMax),
    ),
    shares,
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

/** Which layers go where. */
export interface Place {
  gpuLayers: number;
  hostExpertLayers: number;
  /** Layers per GPU; left out: llama.cpp's own cut. */
  split?: readonly number[];
}

/** Adds a placement to `settings` and prices it. */
export function evaluate(
  model: ModelSpec,
  machine: Machine,
  settings: RuntimeSettings,
  place: Place,
  precision: Precision = "exact",
): Candidate {
  const { gpuLayers, split } = place;
  // Without a layer on a GPU all experts are on the host anyway; saying so would look like a concession.
  const hostExpertLayers = gpuLayers === 0 ? 0 : place.hostExpertLayers;
  const gpuLayerSplit = split ?? defaultSplit(machine, gpuLayers);
  const placed: RuntimeSettings = { ...settings, gpuLayers, hostExpertLayers, gpuLayerSplit };
  const weights: WeightTable = weightTable(model, settings.quantization);
  const placement = createPlacement(model, placed, machine.gpus.length);
  const { backend } = machine.hardware;
  const learned = memoryCorrection(machine.hardware, model.architecture, placed, gpuRuntimeBytes(backend));
  const price = (at: Placement) =>
    judge(machine, placed, estimateMemory(model, weights, placed, at, backend, precision, learned), precision);
  const first = price(placement);
  if (first.gpusFit || precision === "rough" || !isPipelined(model, placed, placement, backend)) return first;
  // llama.cpp tries such a load again with one micro-batch in flight.
  const second = price({ ...placement, mayPipeline: false });
  return second.gpusFit ? second : first;
}

/** Exact where it may decide; a candidate that is out of reach by far is only roughly priced. */
export function consider(model: ModelSpec, machine: Machine, settings: RuntimeSettings, place: Place): Candidate {
  const rough = evaluate(model, machine, settings, place, "rough");
  return rough.shortfallBytes > roughDoubt(rough) ? rough : evaluate(model, machine, settings, place);
}

/** The same candidate, priced exactly. */
export function exactly(model: ModelSpec, machine: Machine, candidate: Candidate): Candidate {
  if (candidate.precision === "exact") return candidate;
  const { gpuLayers, hostExpertLayers, gpuLayerSplit: split } = candidate.settings;
  return evaluate(model, machine, candidate.settings, { gpuLayers, hostExpertLayers, split });
}

/** Rough compute buffers may be this far from the exact ones. */
function roughDoubt({ estimate }: Candidate): number {
  let most = 0;
  for (const device of [...estimate.gpus, estimate.host]) most = Math.max(most, device.computeBufferBytes);
  return 0.4 * most;
}

export function defaultSplit(machine: Machine, gpuLayers: number): number[] {
  if (machine.gpus.length === 1) return [gpuLayers];
  return splitByFreeMemory(gpuLayers, machine.shares);
}

function judge(machine: Machine, settings: RuntimeSettings, estimate: MemoryEstimate, precision: Precision): Candidate {
  let probability = 1;
  let shortfallBytes = Number.NEGATIVE_INFINITY;
  estimate.gpus.forEach((gpu, index) => {
    if (gpu.totalBytes === 0) return;
    const reserved = gpu.totalBytes + machine.reserveBytes;
    probability = Math.min(probability, roomProbability(machine.gpus[index]!, reserved));
    if (gpu.totalBytes > machine.vramBytesMax) probability = 0;
    shortfallBytes = Math.max(shortfallBytes, gpu.totalBytes - machine.gpuUsable[index]!);
  });
  const excess = estimate.largestTensorBytes - allocationMax(machine.hardware.backend);
  if (excess > 0) {
    probability = 0;
    shortfallBytes = Math.max(shortfallBytes, excess);
  }
  const enough = () => shortfallBytes <= 0 && probability >= fitProbabilityMin - 1e-6;
  const gpusFit = enough();
  const hostBytes = estimate.host.totalBytes + sharedBytes(machine, estimate);
  probability = Math.min(probability, roomProbability(machine.host, hostBytes));
  shortfallBytes = Math.max(shortfallBytes, hostBytes - machine.hostUsable);
  return { settings, estimate, precision, fits: enough(), probability, shortfallBytes, gpusFit };
}

/** Bytes a backend hands out in one piece: Vulkan drivers stop at 4 GiB. */
export function allocationMax(backend: Backend): number {
  return backend === "vulkan" ? 4 * gib : Number.POSITIVE_INFINITY;
}

/** With unified memory the GPU's buffers are main memory too. */
function sharedBytes(machine: Machine, estimate: MemoryEstimate): number {
  if (!machine.hardware.unifiedMemory) return 0;
  return estimate.gpus.reduce((sum, gpu) => sum + gpu.totalBytes, 0);
}
