/**
 * Bytes on every device for one complete set of settings. Weights, caches and state are exact; compute buffers follow
 * llama.cpp's graph allocator (compute.ts); the runtime's own share is measured per backend.
 */
import { MIB } from "../core/units.ts";
import { computeBytes } from "./compute.ts";
import { draftComputeBytes, roughComputeBytes } from "./compute-rough.ts";
import type { MemoryCorrection } from "./learned.ts";
import { type BlockMemory, blockMemory } from "./memory-cache.ts";
import type { WeightTable } from "./memory-weights.ts";
import { HOST, type Placement } from "./placement.ts";
import type { Backend, ModelSpec, RuntimeSettings } from "./types.ts";

/** The parts of one device's memory, bytes. */
export interface DeviceMemory {
  layers: number;
  weightBytes: number;
  kvCacheBytes: number;
  recurrentStateBytes: number;
  computeBufferBytes: number;
  outputBufferBytes: number;
  runtimeBytes: number;
  totalBytes: number;
}

/** How compute buffers are found: by laying out the pass, or by a formula that is a hundred times faster. */
export type Precision = "exact" | "rough";

export interface MemoryEstimate {
  gpus: DeviceMemory[];
  host: DeviceMemory;
  /** Largest single tensor on a GPU, bytes; some backends cannot allocate more than a few GiB at once. */
  largestTensorBytes: number;
}

/** What one process takes on a GPU before llama.cpp allocates: driver context, kernels, workspaces. Measured. */
const RUNTIME_BYTES: Record<Backend, number> = {
  // 211 to 330 MiB on single cards, with cuBLAS loaded.
  cuda: 280 * MIB,
  rocm: 400 * MIB,
  // 10 to 31 MiB beyond the buffers in seven starts.
  vulkan: 30 * MIB,
  metal: 50 * MIB,
  cpu: 0,
};

/** Bytes a process takes on each GPU it uses, before any buffer. */
export function gpuRuntimeBytes(backend: Backend): number {
  return RUNTIME_BYTES[backend];
}

export function estimateMemory(
  model: ModelSpec,
  weights: WeightTable,
  settings: RuntimeSettings,
  placement: Placement,
  backend: Backend,
  precision: Precision = "exact",
  learned?: MemoryCorrection,
): MemoryEstimate {
  const gpus = Array.from({ length: placement.gpuCount }, emptyDevice);
  const host = emptyDevice();
  const device = (index: number) => (index === HOST ? host : gpus[index]!);
  addOutside(weights, placement, device, host);
  addBlocks(weights, blockMemory(model, settings), placement, device, host, usedBlocks(model, settings));
  const compute =
    precision === "exact"
      ? computeBytes(model, settings, placement, backend, weights)
      : roughComputeBytes(model, settings, placement, weights);
  gpus.forEach((gpu, index) => {
    gpu.computeBufferBytes = scaled(compute.gpus[index]!, learned?.computeGpu);
    if (gpu.layers > 0 || gpu.computeBufferBytes > 0)
      gpu.runtimeBytes = learned?.runtimeBytes ?? RUNTIME_BYTES[backend];
  });
  host.computeBufferBytes = scaled(compute.host, learned?.computeHost);
  if (settings.draftTokensMax && model.mtpLayerCount > 0) {
    device(placement.blocks[model.layerCount]!).computeBufferBytes += draftComputeBytes(model, settings);
  }
  host.outputBufferBytes = outputBufferBytes(model, settings);
  if (model.projectorBytes !== undefined) (gpus[0] ?? host).runtimeBytes += model.projectorBytes;
  for (const one of gpus) sumUp(one);
  sumUp(host);
  const offloads = settings.gpuLayers > 0;
  const largestTensorBytes = Math.max(compute.largestTensorBytes, offloads ? weights.largestTensorBytes : 0);
  return { gpus, host, largestTensorBytes };
}

/** Blocks that are loaded: node-llama-cpp leaves out prediction blocks it does not draft with. */
function usedBlocks(model: ModelSpec, settings: RuntimeSettings): number {
  const leavesOut = settings.buildFamily === "node-llama-cpp" && !settings.draftTokensMax;
  return leavesOut ? model.layerCount : model.layers.length;
}

/** The head, the tables and what else stands outside the blocks. */
function addOutside(
  weights: WeightTable,
  placement: Placement,
  device: (index: number) => DeviceMemory,
  host: DeviceMemory,
): void {
  host.weightBytes += weights.inputBytes;
  const output = device(placement.output);
  output.layers++;
  output.weightBytes += weights.outputBytes;
  if (output !== host) output.weightBytes += weights.tiedOutputBytes;
  device(placement.blocks[0] ?? HOST).weightBytes += weights.firstBlockBytes;
}

/** Blocks stand in runs; a run is summed up before it is added, which is most of a search's time. */
function addBlocks(
  { blockBytes, expertBytes }: WeightTable,
  { kvCacheBytes, recurrentBytes }: BlockMemory,
  { blocks, hostExperts }: Placement,
  device: (index: number) => DeviceMemory,
  host: DeviceMemory,
  usedCount: number,
): void {
  let from = 0;
  while (from < blocks.length) {
    const index = blocks[from]!;
    let [own, lent, cache, state] = [0, 0, 0, 0];
    let block = from;
    for (; block < blocks.length && blocks[block] === index; block++) {
      cache += kvCacheBytes[block]!;
      state += recurrentBytes[block]!;
      if (block >= usedCount) continue;
      own += blockBytes[block]!;
      if (hostExperts[block] === 1) lent += expertBytes[block]!;
    }
    const target = device(index);
    target.layers += block - from;
    target.weightBytes += own - lent;
    target.kvCacheBytes += cache;
    target.recurrentStateBytes += state;
    host.weightBytes += lent;
    from = block;
  }
}

/** Logits handed back to the program: one row per sequence, in host memory. */
export function outputBufferBytes(model: ModelSpec, settings: Pick<RuntimeSettings, "sequenceCount">): number {
  return 4 * model.vocabularySize * settings.sequenceCount;
}

function scaled(bytes: number, factor = 1): number {
  return factor === 1 ? bytes : Math.ceil(bytes * factor);
}

function sumUp(device: DeviceMemory): void {
  device.totalBytes =
    device.weightBytes +
    device.kvCacheBytes +
    device.recurrentStateBytes +
    device.computeBufferBytes +
    device.outputBufferBytes +
    device.runtimeBytes;
}

function emptyDevice(): DeviceMemory {
  return {
    layers: 0,
    weightBytes: 0,
    kvCacheBytes: 0,
    recurrentStateBytes: 0,
    computeBufferBytes: 0,
    outputBufferBytes: 0,
    runtimeBytes: 0,
    totalBytes: 0,
  };
}
