/** Where a plan starts from: settings the wish fixes, and defaults for the rest. */
import { isQuantized } from "./plan-input.ts";
import type { BuildFamily, ModelSpec, RuntimeSettings, Wish } from "./types.ts";

/** Context planned when the wish names none: long enough for a conversation, short enough not to eat the card. */
export const contextLengthDefault = 8192;
/** Context the planner may go down to when the wish leaves it open. */
export const contextLengthMinDefault = 4096;
/** Mix a bare shape is planned with first. */
export const quantizationDefault = "Q4_K_M";

const batchDefault: Record<BuildFamily, { batchSize: number; microBatchSize: number }> = {
  // The binding's default; its micro-batch is its batch.
  "node-llama-cpp": { batchSize: 512, microBatchSize: 512 },
  "llama-server": { batchSize: 2048, microBatchSize: 512 },
  "llama.cpp-2024": { batchSize: 2048, microBatchSize: 512 },
};

/** Complete settings without a placement: nothing offloaded yet. */
export function startingSettings(model: ModelSpec, wish: Wish, quantization: string | undefined): RuntimeSettings {
  const buildFamily = wish.buildFamily ?? "node-llama-cpp";
  const contextLength = wish.contextLength ?? Math.min(contextLengthDefault, model.contextLengthTrained);
  const settings: RuntimeSettings = {
    buildFamily,
    contextLength,
    sequenceCount: wish.sequenceCount ?? 1,
    ...batchSizes(wish, buildFamily),
    flashAttention: wish.flashAttention ?? defaultFlashAttention(wish, buildFamily),
    kvCacheTypeK: wish.kvCacheTypeK ?? "F16",
    kvCacheTypeV: wish.kvCacheTypeV ?? "F16",
    gpuLayers: 0,
    hostExpertLayers: 0,
    gpuLayerSplit: [],
  };
  if (quantization !== undefined) settings.quantization = quantization;
  if (wish.draftTokensMax) settings.draftTokensMax = wish.draftTokensMax;
  if (wish.slotCaches) settings.slotCaches = true;
  return settings;
}

function batchSizes(wish: Wish, family: BuildFamily): { batchSize: number; microBatchSize: number } {
  const start = batchDefault[family];
  if (family === "node-llama-cpp") {
    const size = wish.batchSize ?? wish.microBatchSize ?? start.batchSize;
    return { batchSize: size, microBatchSize: size };
  }
  const batchSize = wish.batchSize ?? Math.max(start.batchSize, wish.microBatchSize ?? 0);
  return { batchSize, microBatchSize: Math.min(wish.microBatchSize ?? start.microBatchSize, batchSize) };
}

/** Off in 2024's builds unless asked for, since a quantized value cache asks. */
function defaultFlashAttention(wish: Wish, family: BuildFamily): boolean {
  return family !== "llama.cpp-2024" || isQuantized(wish.kvCacheTypeV);
}
