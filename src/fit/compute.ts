/**
 * Compute buffers: scratch memory of one forward pass, reserved when the context is created. Their size is found by
 * laying out the pass's graph as llama.cpp's allocator would.
 */
import { allocateGraph, type BufferKind } from "./compute-allocate.ts";
import { buildPass } from "./compute-decoder.ts";
import { scheduleGraph } from "./compute-schedule.ts";
import type { Placement } from "./placement.ts";
import type { Backend, ModelSpec, RuntimeSettings } from "./types.ts";

export interface ComputeBytes {
  gpus: number[];
  host: number;
  /** Largest single tensor on a GPU. */
  largestTensorBytes: number;
}

export function computeBytes(
  model: ModelSpec,
  settings: RuntimeSettings,
  placement: Placement,
  backend: Backend,
  weightBytes: (index: number) => number,
): ComputeBytes {
  const blocks = Array.from({ length: model.layerCount }, (_, index) => index);
  const pass = buildPass(model, blocks, {
    settings,
    placement,
    weightBytes,
    widensCache: backend === "cuda" || backend === "rocm",
  });
  const scheduled = scheduleGraph(pass.graph, {
    host: placement.gpuCount,
    borrowWeights: true,
    pipelined: false,
    backend,
  });
  const kinds = [...Array.from({ length: placement.gpuCount }, () => gpuBuffers(backend)), hostBuffers];
  const { sizes, largest } = allocateGraph(scheduled, kinds);
  return {
    gpus: sizes.slice(0, -1),
    host: sizes[sizes.length - 1]!,
    largestTensorBytes: Math.max(0, ...largest.slice(0, -1)),
  };
}

const hostBuffers: BufferKind = { alignment: 32, chunkMax: Number.MAX_SAFE_INTEGER / 2, scratch: false };

function gpuBuffers(backend: Backend): BufferKind {
  // Vulkan cuts its buffers at 1 GiB by default.
  if (backend === "vulkan") return { alignment: 16, chunkMax: 2 ** 30, scratch: false };
  return { alignment: 128, chunkMax: Number.MAX_SAFE_INTEGER / 2, scratch: true };
}
