/**
 * Compute buffers: scratch memory of one forward pass, reserved when the context is created. Their size is found by
 * laying out the pass's graph as llama.cpp's allocator would.
 */
import { allocateGraph, type BufferKind, unlimitedBytes } from "./compute-allocate.ts";
import { blockKinds, chooseBlocks } from "./compute-blocks.ts";
import { buildPass } from "./compute-decoder.ts";
import { scheduleGraph } from "./compute-schedule.ts";
import type { WeightTable } from "./memory-weights.ts";
import type { Placement } from "./placement.ts";
import type { Backend, ModelSpec, RuntimeSettings } from "./types.ts";

export interface ComputeBytes {
  gpus: number[];
  host: number;
  /** Largest single tensor on a GPU. */
  largestTensorBytes: number;
}

/** What is known per weight table by settings and placement, and behind it per model by the graph they lead to. */
const answers = new WeakMap<WeightTable, Map<string, ComputeBytes>>();
const layouts = new WeakMap<ModelSpec, Map<string, Layout>>();
/** Entries kept per map; a search tries some dozens. */
const entriesMax = 500;

interface Layout extends ComputeBytes {
  /** State of the allocator after each block. */
  states: string[];
}

export function computeBytes(
  model: ModelSpec,
  settings: RuntimeSettings,
  placement: Placement,
  backend: Backend,
  weights: WeightTable,
): ComputeBytes {
  const context = `${backend} ${placement.gpuCount} ${placement.mayPipeline} ${settingsKey(settings)}`;
  const key = `${context} ${settings.gpuLayerSplit.join(" ")} ${settings.hostExpertLayers}`;
  return remembered(answers, weights, key, () => {
    const { sequence, head } = blockKinds(model, placement, weights);
    const layOutBlocks = (blocks: readonly number[]) => {
      const kinds = blocks.map((block) => sequence[block]).join(" ");
      return remembered(layouts, model, `${context} ${head} ${kinds}`, () =>
        layOut(model, blocks, settings, placement, backend, weights),
      );
    };
    for (const unit of unitsTried) {
      const { blocks, settled } = chooseBlocks(sequence, unit);
      const layout = layOutBlocks(blocks);
      if (settled.every(([before, after]) => layout.states[before] === layout.states[after])) return layout;
    }
    return layOutBlocks([...sequence.keys()]);
  });
}

/** Rounds tried, in shortest ones: places often alternate from block to block. */
const unitsTried = [1, 2];

function remembered<Owner extends object, Value>(
  maps: WeakMap<Owner, Map<string, Value>>,
  owner: Owner,
  key: string,
  compute: () => Value,
): Value {
  let map = maps.get(owner);
  if (map === undefined) {
    map = new Map();
    maps.set(owner, map);
  }
  let value = map.get(key);
  if (value === undefined) {
    value = compute();
    if (map.size >= entriesMax) map.clear();
    map.set(key, value);
  }
  return value;
}

function settingsKey(settings: RuntimeSettings): string {
  const { buildFamily, contextLength, sequenceCount, batchSize, microBatchSize, flashAttention } = settings;
  const numbers = [
    contextLength,
    sequenceCount,
    batchSize,
    microBatchSize,
    settings.draftTokensMax ?? 0,
    settings.slotCaches ? 1 : 0,
  ].join(" ");
  return `${buildFamily} ${numbers} ${flashAttention} ${settings.kvCacheTypeK} ${settings.kvCacheTypeV}`;
}

/** Whether successive micro-batches are in flight on several GPUs at once, which multiplies the inputs kept. */
export function isPipelined(
  model: ModelSpec,
  settings: Pick<RuntimeSettings, "buildFamily" | "gpuLayers">,
  { usedGpuCount, hostExperts, mayPipeline }: Placement,
  backend: Backend,
): boolean {
  if (!mayPipeline) return false;
  const capable = backend === "cuda" || backend === "rocm" || (backend === "vulkan" && !isLegacy(settings));
  return capable && usedGpuCount > 1 && settings.gpuLayers > model.layers.length && !hostExperts.includes(1);
}

function isLegacy({ buildFamily }: Pick<RuntimeSettings, "buildFamily">): boolean {
  return buildFamily === "llama.cpp-2024";
}

export function layOut(
  model: ModelSpec,
  blocks: readonly number[],
  settings: RuntimeSettings,
  placement: Placement,
  backend: Backend,
  weights: WeightTable,
): Layout {
  const pass = buildPass(model, blocks, {
    settings,
    placement,
    // One size for all blocks: a mix that varies by block would make every block its own kind, for next to no change.
    weightBytes: weights.heaviestBytes,
    widensCache: backend === "cuda" || backend === "rocm",
  });
  const scheduled = scheduleGraph(pass.graph, {
    host: placement.gpuCount,
    borrowWeights: true,
    pipelined: isPipelined(model, settings, placement, backend),
    backend,
    family: settings.buildFamily,
  });
  const kinds = [...Array.from({ length: placement.gpuCount }, () => gpuBuffers(backend)), hostBuffers];
  const { sizes, largest, states } = allocateGraph(scheduled, kinds);
  return {
    gpus: sizes.slice(0, -1),
    host: sizes[sizes.length - 1]!,
    largestTensorBytes: Math.max(0, ...largest.slice(0, -1)),
    states,
  };
}

const hostBuffers: BufferKind = { alignment: 32, chunkMax: unlimitedBytes, scratch: false };

function gpuBuffers(backend: Backend): BufferKind {
  // Vulkan cuts its buffers at 1 GiB by default.
  if (backend === "vulkan") return { alignment: 16, chunkMax: 2 ** 30, scratch: false };
  return { alignment: 128, chunkMax: unlimitedBytes, scratch: true };
}
