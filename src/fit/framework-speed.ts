/**
 * Speed of Transformers and vLLM. Transformers launches every layer from Python, which costs most of a token for all but
 * the largest models; vLLM replays CUDA graphs and is held by memory bandwidth. Constants: medians of the Qwen tables.
 */
import { type FrameworkQuestion, generatedTokensDefault, readFormat } from "./frameworks.ts";
import { storesRows } from "./memory-cache.ts";
import { quantizationWeightBytes } from "./quantization-bytes.ts";
import type { FormatName } from "./quantization-formats.ts";
import type { SpeedBottleneck, SpeedEstimate } from "./speed.ts";
import { deviceRates } from "./speed-constants.ts";
import type { Hardware, ModelSpec } from "./types.ts";

export interface FrameworkSpeedQuestion extends FrameworkQuestion {
  hardware: Hardware;
}

export interface FrameworkSpeed extends SpeedEstimate {
  /** Generated tokens over the whole time, prompt included: how the published tables count. */
  answerTokensPerSecond: number;
}

/** Milliseconds a layer keeps Python and the launch queue busy in Transformers, by weight format. */
const hostMs: Readonly<Record<FormatName, number>> = {
  fp32: 0.83,
  fp16: 0.83,
  bf16: 0.83,
  "gptq-int4": 0.82,
  "gptq-int8": 1.12,
  awq: 1.08,
  nf4: 1.28,
  "nf4-double": 1.4,
  int8: 2,
  fp8: 1.55,
  nvfp4: 1.55,
  mxfp4: 1.3,
  "mlx-4bit": 0.83,
  "mlx-8bit": 0.83,
};
/** Milliseconds per expert of a layer: Transformers visits each in a loop, used or not. */
const expertMs = 0.1;
const expertMsFp8 = 0.37;
/** Share of bandwidth at which Transformers reads weights: plain products, and formats unpacked on the way. */
const readShare: Readonly<Partial<Record<FormatName, number>>> = {
  "gptq-int4": 0.22,
  "gptq-int8": 0.33,
  awq: 0.25,
  nf4: 0.25,
  "nf4-double": 0.25,
  int8: 0.3,
  fp8: 0.3,
};
const readShareDefault = 0.65;
/** Share of bandwidth at which its cache is copied, widened to all heads and read. */
const cacheShare = 0.36;

/** vLLM: milliseconds a token, a layer, a layer when tensor parallel, a layer without CUDA graphs; shares of bandwidth. */
const vllmTokenMs = 0.35;
const vllmLayerMs = 0.105;
const vllmParallelMs = 0.02;
const vllmEagerMs = 0.36;
const vllmReadShare = 0.8;
/** The AWQ kernel before Marlin, and the cost of a layer before vLLM 0.6, relative to since then. */
const vllmOldAwqShare = 0.45;
const vllmOldLayer = 1.35;
const vllmExpertShare = 0.25;
/** Longest context that vLLM of 2024 captured graphs for. */
const vllmGraphTokens = 8192;
/** Share of the FP16 matrix rate at prompts, and half of it for attention. */
const promptShare = 0.55;

export function estimateFrameworkSpeed(question: FrameworkSpeedQuestion): FrameworkSpeed {
  const { model, hardware, framework } = question;
  const format = readFormat(question.quantization);
  const gpuCount = question.gpuCount ?? Math.max(1, hardware.gpus.length);
  const gpu = hardware.gpus[0] ?? { id: "none", vramBytesTotal: 8e9 };
  const rates = deviceRates(gpu);
  const prompt = Math.max(1, question.promptTokens);
  const generated = question.generatedTokens ?? generatedTokensDefault;
  const parallel = framework === "vllm" ? gpuCount : 1;
  const flops = rates.fp16Flops * promptShare * parallel;
  const prefill = promptFlops(model, prompt) / flops;
  const depth = prompt + generated / 2;
  const token = framework === "vllm" ? vllmSeconds : transformersSeconds;
  const { seconds, bottleneck } = token({ ...question, gpuCount }, format, rates.bandwidth, depth);
  const spread = 1.35;
  return {
    decodeTokensPerSecond: 1 / seconds,
    decodeLow: 1 / (seconds * spread),
    decodeHigh: spread / seconds,
    prefillTokensPerSecond: prompt / prefill,
    timeToFirstTokenMs: (prefill + seconds) * 1000,
    atPromptTokens: prompt,
    bottleneck,
    assumptions: [],
    answerTokensPerSecond: generated / (prefill + generated * seconds),
  };
}

interface TokenSeconds {
  seconds: number;
  bottleneck: SpeedBottleneck;
}

/** Python and GPU work side by side: the slower of the two sets the pace. */
function transformersSeconds(
  { model }: FrameworkQuestion,
  format: FormatName,
  bandwidth: number,
  depth: number,
): TokenSeconds {
  const moeLayers = model.layers.filter((layer) => layer.ffn === "moe").length;
  const loop = moeLayers * model.expertCount * (format === "fp8" ? expertMsFp8 : expertMs);
  const host = (model.layerCount * hostMs[format] + loop) / 1000;
  const weights = activeBytes(model, format).total / (bandwidth * (readShare[format] ?? readShareDefault));
  const gpu = weights + cacheTraffic(model, depth) / (bandwidth * cacheShare);
  return { seconds: Math.max(host, gpu), bottleneck: host > gpu ? "launch overhead" : "memory bandwidth" };
}

/** The cache is copied to append a token, widened to all query heads, and read: 3 + 2 heads-per-KV-head times its size. */
function cacheTraffic(model: ModelSpec, depth: number): number {
  let bytes = 0;
  for (const layer of model.layers) {
    if (!storesRows(layer)) continue;
    const own = depth * layer.headCountKv * (layer.keyLength + layer.valueLength) * 2;
    bytes += own * (3 + (2 * layer.headCount) / Math.max(1, layer.headCountKv));
  }
  return bytes;
}

function vllmSeconds(question: FrameworkQuestion, format: FormatName, bandwidth: number, depth: number): TokenSeconds {
  const { model, gpuCount = 1 } = question;
  const { total, experts } = activeBytes(model, format);
  const old = question.version === "2024";
  const reading = bandwidth * (old && format === "awq" ? vllmOldAwqShare : vllmReadShare) * gpuCount;
  const weights = (total - experts) / reading + experts / (bandwidth * vllmExpertShare * gpuCount);
  const gpu = weights + cacheBytes(model, depth) / reading;
  const layerMs = (vllmLayerMs + (gpuCount > 1 ? vllmParallelMs : 0)) * (old ? vllmOldLayer : 1);
  const launch = (vllmTokenMs + model.layerCount * layerMs) / 1000;
  const eager = old && depth > vllmGraphTokens;
  const host = eager ? (model.layerCount * vllmEagerMs) / 1000 : 0;
  const seconds = Math.max(gpu + launch, host);
  return { seconds, bottleneck: launch > gpu || host > gpu + launch ? "launch overhead" : "memory bandwidth" };
}

function cacheBytes(model: ModelSpec, depth: number): number {
  let bytes = 0;
  for (const layer of model.layers) {
    if (!storesRows(layer)) continue;
    const row = layer.attention === "mla" ? layer.keyLength : layer.keyLength + layer.valueLength;
    const seen = layer.attention === "sliding" ? Math.min(depth, model.slidingWindow) : depth;
    bytes += seen * layer.headCountKv * row * 2;
  }
  return bytes;
}

/** Bytes of weights one token reads: everything but the embedding table, of experts those it uses. */
function activeBytes(model: ModelSpec, format: FormatName): { total: number; experts: number } {
  const weights = quantizationWeightBytes(model, format);
  const all = weights.experts.reduce((total, bytes) => total + bytes, 0);
  const experts = model.expertCount > 0 ? (all * model.expertUsedCount) / model.expertCount : 0;
  return { total: weights.total - weights.input + weights.tiedOutput - all + experts, experts };
}

/** Products of all weights but the embedding, and attention over the prompt. */
function promptFlops(model: ModelSpec, tokens: number): number {
  const embedding = model.vocabularySize * model.embeddingLength;
  const active = model.activeParameterCount - (model.tiedEmbeddings ? embedding : 2 * embedding);
  let attention = 0;
  for (const layer of model.layers) {
    if (layer.attention !== "recurrent" && layer.attention !== "none") attention += layer.headCount * layer.keyLength;
  }
  return 2 * Math.max(active, 0) * tokens + 2 * 2 * attention * tokens * tokens;
}
