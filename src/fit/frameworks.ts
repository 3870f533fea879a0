/**
 * Transformers and vLLM: GPU memory and speed of a checkpoint in the formats they load. Formulas and constants were
 * checked against the published Qwen tables (docs/speed.md); the terms follow what each library allocates.
 */
import { AppError } from "../core/errors.ts";
import { GIB, MIB } from "../core/units.ts";
import { storesRows } from "./memory-cache.ts";
import { quantizationWeightBytes } from "./quantization-bytes.ts";
import { type FormatName, isFormatName } from "./quantization-formats.ts";
import type { ModelSpec } from "./types.ts";

export type PythonFramework = "transformers" | "vllm";

/**
 * Which code runs. `2023`: model code of its own that keeps the cache as tuples and so holds it twice. `2024`:
 * Transformers before 4.45, which turns every prompt token into float32 logits and keeps rotary tables per layer; vLLM
 * before 0.6, which runs without CUDA graphs beyond 8192 tokens. `current`: since then.
 */
export type FrameworkVersion = "2023" | "2024" | "current";

export interface FrameworkQuestion {
  model: ModelSpec;
  framework: PythonFramework;
  /** Format name as in quantization-formats.ts: "bf16", "int8", "nf4", "gptq-int4", "awq" … */
  quantization: string;
  promptTokens: number;
  /** Tokens generated after it; default 512. */
  generatedTokens?: number;
  sequenceCount?: number;
  gpuCount?: number;
  version?: FrameworkVersion;
  /** `eager` attention holds the whole score matrix of a prompt; default is flash or SDPA. */
  attention?: "flash" | "eager";
}

/** Bytes summed over GPUs. The parts add up to `totalBytes`, the highest moment of the run. */
export interface FrameworkMemory {
  weightBytes: number;
  kvCacheBytes: number;
  /** Intermediate results of the prompt at that moment, logits included. */
  activationBytes: number;
  /** Rotary tables, unpacking buffers, CUDA graphs. */
  workspaceBytes: number;
  /** What the library itself reports (`max_memory_allocated`): everything but the CUDA context. */
  allocatedBytes: number;
  /** CUDA context and libraries, per process and GPU. */
  runtimeBytes: number;
  totalBytes: number;
  /** What stays allocated after the prompt: weights, cache, workspace. */
  residentBytes: number;
}

export const generatedTokensDefault = 512;

/** CUDA context with cuBLAS and PyTorch's kernels loaded, each GPU. */
const contextBytes = 480 * MIB;
/** Small buffers of a run: masks, last logits, cuBLAS workspace. Seen as 33 MiB in the Qwen3 tables. */
const smallBytes = 33 * MIB;
/** Rows the GPTQ kernels unpack activations for at once. */
const gptqRows = 2048;
/** Positions old rotary tables hold. */
const rotaryPositions = 32_768;
/** CUDA graphs of vLLM for its default batch sizes, and prompt tokens it computes at once. */
const graphBytes = 0.75 * GIB;
const vllmChunkTokens = 2048;

export function readFormat(quantization: string): FormatName {
  const name = quantization.toLowerCase();
  if (isFormatName(name)) return name;
  throw new AppError(
    "invalid_request",
    `${JSON.stringify(quantization.slice(0, 40))} is no format Transformers or vLLM load. Try bf16, int8, nf4, gptq-int4 or awq.`,
    { param: "quantization" },
  );
}

/** Peak GPU memory of one run. Throws AppError invalid_request for an unknown format. */
export function estimateFrameworkMemory(question: FrameworkQuestion): FrameworkMemory {
  const format = readFormat(question.quantization);
  const shape = shapeOf(question, format);
  const parts = question.framework === "vllm" ? vllmParts(shape) : transformersParts(shape);
  const allocatedBytes = parts.weightBytes + parts.kvCacheBytes + parts.activationBytes + parts.workspaceBytes;
  const runtimeBytes = shape.gpuCount * contextBytes;
  const residentBytes = parts.weightBytes + shape.kv(shape.prompt + shape.generated) + parts.workspaceBytes;
  return { ...parts, allocatedBytes, runtimeBytes, totalBytes: allocatedBytes + runtimeBytes, residentBytes };
}

type Parts = Pick<FrameworkMemory, "weightBytes" | "kvCacheBytes" | "activationBytes" | "workspaceBytes">;

interface Shape {
  model: ModelSpec;
  format: FormatName;
  version: FrameworkVersion;
  prompt: number;
  generated: number;
  sequences: number;
  gpuCount: number;
  eager: boolean;
  weightBytes: number;
  embeddingBytes: number;
  /** Bytes of one number in caches and activations. */
  elementBytes: 2 | 4;
  /** Cache of all sequences holding this many tokens each. */
  kv(tokens: number): number;
  /** Intermediate results per prompt token of the widest layer. */
  tokenBytes: number;
}

function shapeOf(question: FrameworkQuestion, format: FormatName): Shape {
  const { model } = question;
  const elementBytes = format === "fp32" ? 4 : 2;
  const sequences = question.sequenceCount ?? 1;
  const weights = quantizationWeightBytes(model, format);
  const version = question.version ?? "current";
  return {
    model,
    format,
    version,
    prompt: question.promptTokens,
    generated: question.generatedTokens ?? generatedTokensDefault,
    sequences,
    gpuCount: question.gpuCount ?? 1,
    eager: question.attention === "eager",
    weightBytes: weights.total,
    embeddingBytes: model.vocabularySize * model.embeddingLength * elementBytes,
    elementBytes,
    kv: (tokens) => sequences * cacheBytes(model, tokens, elementBytes, version),
    tokenBytes: elementBytes * (3 * widestFeedForward(model) + 4 * model.embeddingLength),
  };
}

/** Old code keeps sliding layers whole; current code keeps their window. Recurrent states are 16-bit. */
function cacheBytes(model: ModelSpec, tokens: number, elementBytes: number, version: FrameworkVersion): number {
  let bytes = 0;
  for (const layer of model.layers.slice(0, model.layerCount)) {
    if (layer.attention === "recurrent") bytes += (layer.recurrentStateBytes ?? 0) / 2;
    if (!storesRows(layer)) continue;
    const windowed = version === "current" && (layer.attention === "sliding" || layer.attention === "chunked");
    const held = windowed ? Math.min(tokens, model.slidingWindow) : tokens;
    const row = layer.attention === "mla" ? layer.keyLength : layer.keyLength + layer.valueLength;
    bytes += held * layer.headCountKv * row * elementBytes;
  }
  return bytes;
}

function widestFeedForward(model: ModelSpec): number {
  let widest = 0;
  for (const layer of model.layers) {
    const used = layer.ffn === "moe" ? Math.max(1, model.expertUsedCount) : 1;
    widest = Math.max(widest, layer.feedForwardLength * used);
  }
  return widest;
}

/** The larger of two moments: the end of the prompt, with its intermediate results, and the end of the answer. */
function transformersParts(shape: Shape): Parts {
  const workspaceBytes = smallBytes + gptqBytes(shape) + rotaryBytes(shape) + fp8Bytes(shape);
  const cacheCopies = shape.version === "2023" ? 2 : 1;
  const atPrompt = {
    weightBytes: shape.weightBytes,
    kvCacheBytes: shape.kv(shape.prompt) * cacheCopies,
    activationBytes: promptActivations(shape),
    workspaceBytes,
  };
  const atEnd = {
    weightBytes: shape.weightBytes,
    kvCacheBytes: shape.kv(shape.prompt + shape.generated) * cacheCopies,
    activationBytes: 0,
    workspaceBytes,
  };
  // AWQ's loader makes an output matrix of its own before it ties it to the embedding.
  const copy = shape.format === "awq" && shape.model.tiedEmbeddings ? shape.embeddingBytes : 0;
  const atLoad = { weightBytes: shape.weightBytes + copy, kvCacheBytes: 0, activationBytes: 0, workspaceBytes };
  return [atPrompt, atEnd, atLoad].reduce((most, moment) => (sum(moment) > sum(most) ? moment : most));
}

function sum(parts: Parts): number {
  return parts.weightBytes + parts.kvCacheBytes + parts.activationBytes + parts.workspaceBytes;
}

/**
 * Gate, up and their product beside a few hidden states, on each GPU. Old versions: logits of every prompt token in 16
 * and 32 bits on the last GPU, and with several GPUs logits and cache copied back to the first.
 */
function promptActivations(shape: Shape): number {
  const { model, gpuCount, prompt } = shape;
  const tokens = prompt * shape.sequences;
  const layer = tokens * shape.tokenBytes;
  const scores = shape.eager ? shape.sequences * widestHeads(model) * prompt * prompt * (shape.elementBytes + 4) : 0;
  if (shape.version === "current") return gpuCount * Math.max(layer, scores);
  const logits = tokens * model.vocabularySize * (shape.elementBytes + 4);
  const last = Math.max(layer, scores, shape.version === "2024" ? logits : 0);
  if (gpuCount === 1) return last;
  const copied = shape.version === "2024" ? tokens * model.vocabularySize * 4 + shape.kv(prompt) : 0;
  return last + Math.max(layer, copied) + (gpuCount - 2) * layer;
}

function widestHeads(model: ModelSpec): number {
  return model.layers.reduce((most, layer) => Math.max(most, layer.headCount), 0);
}

/**
 * GPTQ kernels unpack one matrix to 16 bits and reorder activations, in buffers of the widest layer, each GPU. The loader
 * of 2023 held the embedding twice.
 */
function gptqBytes(shape: Shape): number {
  if (!shape.format.startsWith("gptq")) return 0;
  const width = widestFeedForward(shape.model);
  const buffers = shape.gpuCount * 2 * (width * shape.model.embeddingLength + gptqRows * width);
  return buffers + (shape.version === "2023" ? shape.embeddingBytes : 0);
}

/** Sine and cosine tables in 32 bits, kept by every layer. */
function rotaryBytes({ version, model }: Shape): number {
  if (version !== "2024") return 0;
  return model.layerCount * rotaryPositions * (model.layers[0]?.keyLength ?? 0) * 2 * 4;
}

/** FP8 checkpoints keep an output matrix of their own though the model ties it. */
function fp8Bytes({ format, model, embeddingBytes }: Shape): number {
  return format === "fp8" && model.tiedEmbeddings ? embeddingBytes : 0;
}

/** vLLM computes prompts in chunks and captures CUDA graphs; its cache takes what is left, here just what is needed. */
function vllmParts(shape: Shape): Parts {
  const chunk = Math.min(vllmChunkTokens, Math.max(1, shape.prompt) * shape.sequences);
  const logits = shape.sequences * shape.model.vocabularySize * (shape.elementBytes + 4);
  return {
    weightBytes: shape.weightBytes,
    kvCacheBytes: shape.kv(shape.prompt + shape.generated),
    activationBytes: shape.gpuCount * chunk * shape.tokenBytes + logits,
    workspaceBytes: shape.gpuCount * (smallBytes + graphBytes),
  };
}
