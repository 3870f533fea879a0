/**
 * What a CPU's arithmetic takes, core by core. Few cores, or one, are held up by it and not by their memory: then every
 * format has a price of its own and attention costs by the operation, so bytes alone carry a measurement neither to
 * another quantization nor to another depth.
 *
 * General are the form (weights by format, attention by operation, both shared by the threads) and the order of the
 * formats: ggml multiplies Q4_0, Q4_K, Q2_K and IQ4_NL several rows at once on x86 (ggml-cpu/repack.cpp) and Q8_0 in tiles
 * (llamafile/sgemm.cpp), which prompts gain from; the others one row by one token, which they do not. The figures are CPU
 * time of one core of an AMD EPYC (Zen 5, AVX-512) over a model of 200 million weights, docs/learning.md; another core's
 * are learned from its first answer as one factor, and formats and depths that it has measured replace the table's.
 */
import { usefulThreads } from "./host-threads.ts";
import { ramBandwidthDefault, type SharedConstants } from "./speed-constants.ts";
import type { TokenWork } from "./speed-work.ts";
import type { Hardware, RuntimeSettings } from "./types.ts";

/** Weight bytes of Q8_0 that one core multiplies with a token's vector per second. */
export const coreBytesPerSecond = 16e9;

interface FormatRate {
  mix: RegExp;
  /** Weight bytes per second while answering, relative to Q8_0. */
  bytes: number;
  /** Weights per second of a core while reading a prompt. */
  prompt: number;
}

const formatRates: readonly FormatRate[] = [
  { mix: /^(?:B?F16|F32)/, bytes: 1.35, prompt: 14e9 },
  { mix: /^Q8/, bytes: 1, prompt: 34e9 },
  { mix: /^(?:Q4_[01]|IQ4_NL|MXFP4)/, bytes: 0.92, prompt: 44e9 },
  { mix: /^Q5_[01]/, bytes: 0.92, prompt: 12e9 },
  { mix: /^Q6_K/, bytes: 1.02, prompt: 14e9 },
  { mix: /^Q5_K/, bytes: 0.82, prompt: 10e9 },
  // A good quarter of the mix is Q6_K.
  { mix: /^Q4_K_[ML]/, bytes: 0.9, prompt: 32e9 },
  { mix: /^Q[24]_K/, bytes: 0.86, prompt: 42e9 },
  { mix: /^(?:Q3_K|I?Q|TQ)/, bytes: 0.8, prompt: 11e9 },
];
const formatUnknown: Omit<FormatRate, "mix"> = { bytes: 1, prompt: 18e9 };

/** Weight bytes of Q8_0 that take as long as one multiply-add of attention over a cache in half precision. */
const bytesPerAttentionStep = 2.9;
/** A prompt's tokens look at the cache together, in tiles. */
const promptAttentionShare = 0.3;

/** A machine has at least so many cores, and more where its memory is faster than two channels of DDR4. */
const coresDefault = 8;

/** A layer's small operations on one thread, which waits for no other. */
const layerSecondsAlone = 6e-6;

/** Seconds of the CPU's arithmetic for one token. */
export interface HostTime {
  weights: number;
  attention: number;
}

/** Threads the model runs on: those of the machine, fewer for a small model. */
function hostThreads(
  { host, gpus }: TokenWork,
  { cpuCores, ramBandwidthBytesPerSecond: bandwidth = ramBandwidthDefault }: Hardware,
): number {
  const weightBytes = gpus.reduce((sum, gpu) => sum + gpu.residentBytes, host.residentBytes);
  return usefulThreads(cpuCores ?? coresDefault * Math.max(1, bandwidth / ramBandwidthDefault), weightBytes);
}

export function hostComputeTime(
  work: TokenWork,
  { quantization }: Pick<RuntimeSettings, "quantization">,
  hardware: Hardware,
  depthTokens: number,
): HostTime {
  const { host, slidingWindow } = work;
  const perSecond = coreBytesPerSecond * hostThreads(work, hardware);
  const windowed = slidingWindow > 0 ? Math.min(depthTokens, slidingWindow) : depthTokens;
  const steps = 2 * (host.attentionWidth * depthTokens + host.slidingWidth * windowed);
  return {
    weights: (host.denseBytes + host.expertBytes) / (perSecond * rateOf(quantization).bytes),
    attention: (steps * bytesPerAttentionStep) / perSecond,
  };
}

/** Seconds of arithmetic for a prompt of `tokens` in an empty context. */
export function hostPromptSeconds(
  work: TokenWork,
  { quantization }: Pick<RuntimeSettings, "quantization">,
  hardware: Hardware,
  tokens: number,
): number {
  const { host, slidingWindow } = work;
  const seen = tokens / 2;
  const windowed = slidingWindow > 0 ? Math.min(seen, slidingWindow) : seen;
  const steps = 2 * tokens * (host.attentionWidth * seen + host.slidingWidth * windowed);
  const products = (host.activeParameters * tokens) / rateOf(quantization).prompt;
  return (
    (products + (steps * promptAttentionShare * bytesPerAttentionStep) / coreBytesPerSecond) /
    hostThreads(work, hardware)
  );
}

/** Seconds of layers beside their products. Several threads wait for each other after each of a layer's operations. */
export function hostLayerSeconds(work: TokenWork, hardware: Hardware, shared: SharedConstants): number {
  return work.host.layers * (hostThreads(work, hardware) > 1 ? shared.cpuLayerSeconds : layerSecondsAlone);
}

function rateOf(quantization = ""): Omit<FormatRate, "mix"> {
  const name = quantization.toUpperCase().replace(/^UD-/, "");
  return formatRates.find(({ mix }) => mix.test(name)) ?? formatUnknown;
}
