/**
 * Compute buffers: scratch memory of one forward pass, reserved when the context is created. Closed forms after
 * llama.cpp's reserved graphs: the widest point of a block, the output logits, and attention scores without flash
 * attention; whichever is largest counts.
 */
import { cacheCells, microBatchOf } from "./memory-cache.ts";
import { HOST, type Placement } from "./placement.ts";
import type { Backend, LayerSpec, ModelSpec, RuntimeSettings } from "./types.ts";

export interface ComputeBytes {
  gpus: number[];
  host: number;
}

const f32 = 4;

export function computeBytes(
  model: ModelSpec,
  settings: RuntimeSettings,
  placement: Placement,
  backend: Backend,
): ComputeBytes {
  const tokens = microBatchOf(model, settings);
  const inputs = inputBytes(model, settings, tokens);
  const gpus = new Array<number>(placement.gpuCount).fill(0);
  let host = backend === "cpu" || placement.gpuCount === 0 ? 0 : inputs;
  model.layers.forEach((layer, block) => {
    const bytes = layerBytes(model, settings, layer, tokens) + inputs;
    const gpu = placement.blocks[block]!;
    if (gpu === HOST && placement.gpuCount === 0) host = Math.max(host, bytes);
    else gpus[Math.max(gpu, 0)] = Math.max(gpus[Math.max(gpu, 0)]!, bytes);
  });
  const logits =
    f32 * outputRows(settings, tokens) * model.vocabularySize + f32 * tokens * model.embeddingLength + inputs;
  if (placement.output === HOST) host = Math.max(host, logits);
  else gpus[placement.output] = Math.max(gpus[placement.output]!, logits);
  return { gpus, host };
}

/** Rows of logits reserved: every token of the batch, except in servers that limit them to the slots. */
function outputRows(settings: RuntimeSettings, tokens: number): number {
  return settings.buildFamily === "llama-server" ? settings.sequenceCount : tokens;
}

function inputBytes(model: ModelSpec, settings: RuntimeSettings, tokens: number): number {
  const cells = cacheCells(model, settings);
  const mask = settings.flashAttention ? 2 : f32;
  return tokens * (mask * cells.perStream + f32 * 2 * model.embeddingLength);
}

function layerBytes(model: ModelSpec, settings: RuntimeSettings, layer: LayerSpec, tokens: number): number {
  const residual = 3 * model.embeddingLength;
  const used = layer.ffn === "moe" ? model.expertUsedCount : 1;
  const ffn = f32 * tokens * (3 * used * layer.feedForwardLength + residual);
  if (settings.flashAttention) return ffn;
  const cells = cacheCells(model, settings);
  return Math.max(ffn, f32 * tokens * (layer.headCount * cells.perStream + residual));
}
