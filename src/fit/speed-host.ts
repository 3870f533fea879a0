/**
 * Decoding where a CPU's arithmetic, not its memory, sets the pace: few cores, or one. There every format has a price of
 * its own and attention costs by the operation, so bytes alone carry a measurement neither to another quantization nor to
 * another depth.
 */
import type { TokenWork } from "./speed-work.ts";
import type { RuntimeSettings } from "./types.ts";

/**
 * Weight bytes multiplied per second relative to Q8_0, by file mix. CPU time of one AVX2 core per token over a model of
 * 200 million weights: bench/learning.ts prints the table again.
 */
const byteRates: readonly (readonly [mix: RegExp, rate: number])[] = [
  [/^(?:B?F16|F32)$/, 1.27],
  [/^Q[45]_[01]/, 0.96],
  [/^Q[2-6]_K|^I?Q|^MXFP4/, 0.84],
];

/** Weight bytes of Q8_0 that take as long as one multiply-add of attention over a cache in half precision. */
const bytesPerAttentionStep = 3.1;

/** CPU time relative to what reading the same bytes in Q8_0 would take. */
export function hostComputeFactor(
  { host, slidingWindow }: TokenWork,
  { quantization = "" }: Pick<RuntimeSettings, "quantization">,
  depthTokens: number,
): number {
  const bytes = host.denseBytes + host.expertBytes + host.kvBytes;
  if (bytes === 0) return 1;
  const name = quantization.toUpperCase().replace(/^UD-/, "");
  const rate = name.startsWith("Q8") ? 1 : (byteRates.find(([mix]) => mix.test(name))?.[1] ?? 1);
  const windowed = slidingWindow > 0 ? Math.min(depthTokens, slidingWindow) : depthTokens;
  const steps = 2 * (host.attentionWidth * depthTokens + host.slidingWidth * windowed);
  return ((host.denseBytes + host.expertBytes) / rate + steps * bytesPerAttentionStep) / bytes;
}
