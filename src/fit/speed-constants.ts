/** Constants of the speed model: fitted numbers in data/speed.json, and what stands in where a card is not named. */
import data from "./data/speed.json" with { type: "json" };
import { GPUS } from "./gpus.ts";
import type { BuildFamily, GpuDevice } from "./types.ts";

/** One GPU generation. */
export interface GenerationConstants {
  /** Share of the data sheet's bandwidth that K-quantized weights are read at. */
  efficiency: number;
  /** Seconds a plain attention layer costs beside reading its weights: launches, norms, small kernels. */
  layerSeconds: number;
  /** Share of the matrix rate that prompt processing reaches. */
  prefillEfficiency: number;
  /** Reading rate of half-precision weights relative to K-quants, where it is not the shared one. */
  halfFactor?: number;
}

/** What all generations share. */
export interface SharedConstants {
  /** Reading rate of other formats relative to K-quants of 4 to 6 bits. */
  halfFactor: number;
  legacyFactor: number;
  lowBitFactor: number;
  iqFactor: number;
  /** Reading rate of the few experts a token uses, relative to whole matrices. */
  expertFactor: number;
  /** Share of bandwidth at which the cache is read, with flash attention and without. */
  kvEfficiency: number;
  kvEfficiencyPlain: number;
  kvEfficiencyPlainApple: number;
  /** Further layer costs, in plain layers: routing of an MoE layer, a recurrent block, latent attention, one more norm. */
  moeUnits: number;
  recurrentUnits: number;
  mlaUnits: number;
  normUnits: number;
  /** Layer cost multiplied: without flash attention, and in builds before CUDA graphs and fused kernels. */
  plainAttentionFactor: number;
  oldBuildFactor: number;
  /** Seconds a token: sampling hand-over; one more GPU; one switch between host and GPU. */
  tokenSeconds: number;
  deviceSeconds: number;
  crossingSeconds: number;
  /** Share of the RAM's bandwidth the CPU reads weights at when it works alone, and seconds per host layer. */
  cpuEfficiency: number;
  /** That share when CPU and GPU take turns, relative to alone; and again in a laptop, where they share one power limit. */
  cpuMixedFactor: number;
  cpuLaptopFactor: number;
  cpuLayerSeconds: number;
}

export interface SpeedConstants {
  generations: Readonly<Record<string, GenerationConstants>>;
  shared: SharedConstants;
  /** 90 % of measurements lie within this factor of the estimate: full offload, partial, unmeasured generation. */
  spread: { full: number; partial: number; unmeasured: number; measured: number; prefill: number };
  /** Generations with measurements behind their constants. */
  measured: readonly string[];
}

/** data/speed.json. A generation: share of bandwidth, microseconds per layer, share of matrix rate, half factor. */
interface SpeedFile {
  generations: Record<string, readonly number[]>;
  shared: SharedConstants;
  spread: SpeedConstants["spread"];
  measured: readonly string[];
}

export function readConstants(file: SpeedFile): SpeedConstants {
  const generations: Record<string, GenerationConstants> = {};
  for (const [name, row] of Object.entries(file.generations)) {
    const [efficiency, layerMicroseconds, prefillEfficiency, halfFactor] = row as [number, number, number, number?];
    const layerSeconds = layerMicroseconds / 1e6;
    generations[name] = {
      efficiency,
      layerSeconds,
      prefillEfficiency,
      ...(halfFactor !== undefined && { halfFactor }),
    };
  }
  return { generations, shared: file.shared, spread: file.spread, measured: file.measured };
}

export const SPEED_CONSTANTS: SpeedConstants = readConstants(data as unknown as SpeedFile);

/** A generation without a row behaves like the one named here. */
const NEAREST: Readonly<Record<string, string>> = {
  maxwell: "pascal",
  volta: "turing",
  "blackwell-dc": "hopper",
  polaris: "gcn5",
  rdna1: "rdna2",
  rdna35: "rdna3",
  cdna1: "cdna2",
  cdna3: "cdna2",
  cdna4: "cdna2",
  xe: "alchemist",
  battlemage: "alchemist",
};

/** Stands in for cards whose generation is not known. */
const generationDefault = "ampere";

/** Constants for a card and whether measurements of its generation are behind them. */
export function constantsFor(
  constants: SpeedConstants,
  generation: string | undefined,
): { constants: GenerationConstants; measured: boolean } {
  for (const name of [generation, NEAREST[generation ?? ""], generationDefault]) {
    const found = name === undefined ? undefined : constants.generations[name];
    if (found) return { constants: found, measured: name === generation && constants.measured.includes(name ?? "") };
  }
  return { constants: constants.generations[generationDefault]!, measured: false };
}

/** Bandwidth and rates to calculate with, and what had to be assumed. */
export interface DeviceRates {
  bandwidth: number;
  int8Ops: number;
  fp16Flops: number;
  assumed: boolean;
}

/**
 * A device's rates. Unnamed cards get the median of GeForce RTX cards with about as much memory, as most unnamed cards
 * are; missing matrix rates follow from bandwidth at the generations' usual proportion.
 */
export function deviceRates(gpu: GpuDevice): DeviceRates {
  const bandwidth = gpu.bandwidthBytesPerSecond ?? typicalBandwidth(gpu.vramBytesTotal);
  const fp16Flops = gpu.fp16FlopsPerSecond ?? bandwidth * flopsPerByteTypical;
  const int8Ops = gpu.int8OpsPerSecond ?? fp16Flops * int8PerFp16Typical;
  return { bandwidth, fp16Flops, int8Ops, assumed: gpu.bandwidthBytesPerSecond === undefined };
}

/** FP16 operations per byte of bandwidth and INT8 per FP16 of GeForce RTX 20 to 50 cards (medians of data/gpus.json). */
const flopsPerByteTypical = 85;
const int8PerFp16Typical = 4;

const typical = new Map<number, number>();

function typicalBandwidth(vramBytes: number): number {
  const known = typical.get(vramBytes);
  if (known !== undefined) return known;
  const geforce = GPUS.filter((gpu) => gpu.name.startsWith("RTX ") && !gpu.laptop && /^RTX [2-5]0/.test(gpu.name));
  const away = (bytes: number) => Math.abs(Math.log(bytes / vramBytes));
  const nearest = Math.min(...geforce.map((gpu) => away(gpu.vramBytes[0]!)));
  const rates = geforce
    .filter((gpu) => away(gpu.vramBytes[0]!) < nearest + 0.05)
    .map((gpu) => gpu.bandwidthBytesPerSecond!)
    .sort((a, b) => a - b);
  const median = rates[Math.floor((rates.length - 1) / 2)]!;
  if (typical.size < 1000) typical.set(vramBytes, median);
  return median;
}

/** Dual-channel DDR4-3200: the commonest host of the cards people ask about. */
export const ramBandwidthDefault = 51.2e9;

/** True for builds of 2024 and before. */
export function isOldBuild(family: BuildFamily): boolean {
  return family === "llama.cpp-2024";
}
