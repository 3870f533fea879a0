/** Time to read a prompt: matrix products at a share of the card's rate, micro-batch by micro-batch, plus attention. */
import { constantsFor, deviceRates, isOldBuild, ramBandwidthDefault, type SpeedConstants } from "./speed-constants.ts";
import { hostLayerSeconds, hostPromptSeconds } from "./speed-host.ts";
import type { DeviceWork, TokenWork } from "./speed-work.ts";
import type { GpuDevice, Hardware, RuntimeSettings } from "./types.ts";

/** PCIe 4.0 x16 as copies of weights reach it; layers kept on the host are multiplied on the GPU for long prompts. */
const transferBytesPerSecond = 12e9;
/** Shorter micro-batches are multiplied where their weights are. Source: ggml's op offload (batch of 32). */
const offloadTokensMin = 32;
/** Half-precision products run this much faster than products of quantized weights, which are unpacked on the way. */
const halfRate = 1.2;
/** An expert that gets few tokens of a micro-batch leaves most of its tile empty: half rate at this many. */
const expertTokensHalf = 45;
/** Share of the ideal overlap that several GPUs in a row reach on the micro-batches of one prompt. */
const overlapShare = 0.4;
/** Attention runs below the rate of the large products: with flash attention, and without. */
const attentionShare = 0.5;
const attentionSharePlain = 0.26;

/** Seconds to process `tokens` prompt tokens into an empty context. */
export function prefillSeconds(
  work: TokenWork,
  settings: RuntimeSettings,
  hardware: Hardware,
  tokens: number,
  constants: SpeedConstants,
): number {
  const batch = Math.max(1, Math.min(tokens, settings.microBatchSize));
  const batches = Math.ceil(tokens / batch);
  let seconds = 0;
  let slowestGpu = 0;
  work.gpus.forEach((own, index) => {
    if (own.layers === 0 && own.denseBytes === 0) return;
    const one = gpuSeconds(own, hardware.gpus[index]!, settings, tokens, batches, work.slidingWindow, constants);
    seconds += one;
    slowestGpu = Math.max(slowestGpu, one);
  });
  // Micro-batches of a long prompt follow each other through the GPUs like on a line.
  const gpuCount = work.gpus.filter((gpu) => gpu.denseBytes > 0).length;
  if (gpuCount > 1) seconds -= overlapShare * (seconds - slowestGpu) * (1 - 1 / batches);
  return seconds + hostSeconds(work, settings, hardware, { tokens, batch, batches, withGpu: gpuCount > 0 }, constants);
}

function gpuSeconds(
  work: DeviceWork,
  gpu: GpuDevice,
  settings: RuntimeSettings,
  tokens: number,
  batches: number,
  window: number,
  constants: SpeedConstants,
): number {
  const { constants: own } = constantsFor(constants, gpu.generation);
  const rates = deviceRates(gpu);
  const rate = productRate(gpu, settings, rates) * own.prefillEfficiency;
  const perExpert = (tokens / batches) * work.expertShare;
  const expertCost = work.expertShare > 0 ? 1 + expertTokensHalf / perExpert : 1;
  const parameters = work.activeParameters + work.expertParameters * (expertCost - 1);
  const products = (2 * parameters * tokens) / rate;
  const streaming = (batches * work.residentBytes) / (rates.bandwidth * own.efficiency);
  const launches = batches * work.layers * own.layerSeconds * (isOldBuild(settings.buildFamily) ? 2 : 1);
  const share = settings.flashAttention ? attentionShare : attentionSharePlain;
  return Math.max(products, streaming) + launches + attentionFlops(work, tokens, window) / (rate * share);
}

/** Quantized weights are multiplied as INT8 where the card has units for it, else at the FP16 rate. */
function productRate(gpu: GpuDevice, settings: RuntimeSettings, rates: { int8Ops: number; fp16Flops: number }): number {
  const plain = /^(?:m\d|rdna\d+|gcn\d|polaris|cdna\d)$/.test(gpu.generation ?? "");
  const half = /^(?:B?F16|F32)$/.test(settings.quantization ?? "");
  return (plain ? rates.fp16Flops : rates.int8Ops) * (half ? halfRate : 1);
}

/** Scores and sums over values: 4 operations per head element and pair of tokens that see each other. */
function attentionFlops(work: DeviceWork, tokens: number, window: number): number {
  const seen = tokens / 2;
  const seenInWindow = window > 0 ? Math.min(seen, window) : seen;
  return 4 * tokens * (work.attentionWidth * seen + work.slidingWidth * seenInWindow);
}

function hostSeconds(
  work: TokenWork,
  settings: RuntimeSettings,
  hardware: Hardware,
  { tokens, batch, batches, withGpu }: { tokens: number; batch: number; batches: number; withGpu: boolean },
  { shared }: SpeedConstants,
): number {
  const { residentBytes } = work.host;
  if (residentBytes === 0) return 0;
  const bandwidth = hardware.ramBandwidthBytesPerSecond ?? ramBandwidthDefault;
  const reading = (batches * residentBytes) / (bandwidth * shared.cpuEfficiency);
  const products = hostPromptSeconds(work, settings, hardware, tokens);
  const onCpu = Math.max(reading, products) + batches * hostLayerSeconds(work, hardware, shared);
  if (!withGpu || batch < offloadTokensMin) return onCpu;
  return Math.min(onCpu, (batches * residentBytes) / transferBytesPerSecond);
}
