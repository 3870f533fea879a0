/**
 * Which device holds which block. llama.cpp fills from the back: the output head first, then the last blocks, so that
 * the first blocks stay on the host; over several GPUs the offloaded blocks are cut into runs in device order.
 * Source: load_tensors in llama-model.cpp.
 */
import type { ModelSpec, RuntimeSettings } from "./types.ts";

/** Device number of the host. */
export const HOST = -1;

export interface Placement {
  /** Device of each block (GPU index or HOST), multi-token-prediction blocks last. */
  blocks: Int16Array;
  /** Device of the output head. */
  output: number;
  /** 1 for blocks whose routed experts stay on the host although the block is on a GPU. */
  hostExperts: Uint8Array;
  gpuCount: number;
  /** GPUs that got layers. */
  usedGpuCount: number;
  /** False where a load that lacks room was tried again with one micro-batch in flight instead of four. */
  mayPipeline: boolean;
}

/** Layers that can be offloaded: every block and the output head. */
export function offloadableLayers(model: ModelSpec): number {
  return model.layers.length + 1;
}

export function createPlacement(
  model: ModelSpec,
  settings: Pick<RuntimeSettings, "buildFamily" | "gpuLayers" | "gpuLayerSplit" | "hostExpertLayers">,
  gpuCount: number,
): Placement {
  const blockCount = model.layers.length;
  const blocks = new Int16Array(blockCount).fill(HOST);
  const hostExperts = new Uint8Array(blockCount);
  let output = HOST;
  const gpuLayers = gpuCount === 0 ? 0 : Math.min(settings.gpuLayers, blockCount + 1);
  // Until 2025 the head was the last to be offloaded, now it is the first.
  const headLast = settings.buildFamily === "llama.cpp-2024" && gpuLayers <= blockCount;
  let layer = blockCount + (headLast ? 0 : 1) - gpuLayers;
  for (let gpu = 0; gpu < gpuCount; gpu++) {
    const end = Math.min(layer + (settings.gpuLayerSplit[gpu] ?? 0), blockCount + 1);
    blocks.fill(gpu, layer, Math.min(end, blockCount));
    if (layer <= blockCount && end > blockCount) output = gpu;
    layer = end;
  }
  let left = settings.hostExpertLayers;
  for (let block = blockCount - 1; block >= 0 && left > 0; block--) {
    if (model.layers[block]!.ffn !== "moe") continue;
    hostExperts[block] = 1;
    left--;
  }
  const used = settings.gpuLayerSplit.slice(0, gpuCount).filter((layers) => layers > 0);
  return { blocks, output, hostExperts, gpuCount, usedGpuCount: used.length, mayPipeline: true };
}

/**
 * llama.cpp's default cut: a layer goes to the first device whose share of the free memory, added up, exceeds the
 * layer's relative position. Returns layers per GPU; they sum to `gpuLayers`.
 */
export function splitByFreeMemory(gpuLayers: number, freeBytes: readonly number[]): number[] {
  const counts = freeBytes.map(() => 0);
  const sum = freeBytes.reduce((total, free) => total + Math.max(0, free), 0);
  if (counts.length === 0 || gpuLayers <= 0) return counts;
  if (sum <= 0) {
    counts[counts.length - 1] = gpuLayers;
    return counts;
  }
  let passed = 0;
  // The loader compares in single precision, which decides ties between equal cards.
  const points = freeBytes.map((free) => {
    passed = Math.fround(passed + Math.fround(Math.max(0, free)));
    return passed;
  });
  for (let index = 0; index < gpuLayers; index++) {
    const position = Math.fround(index / gpuLayers);
    let gpu = points.findIndex((point) => Math.fround(point / passed) > position);
    if (gpu < 0) gpu = counts.length - 1;
    counts[gpu]!++;
  }
  return counts;
}
