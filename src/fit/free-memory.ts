/**
 * How much memory a device really has to give. A plan's bytes are exact; what other programs hold is not, so free
 * memory is a distribution, and a plan fits when the chance that every device has room is at least 95 %.
 */
import { MIB } from "../core/units.ts";
import type { Backend, GpuDevice, Hardware } from "./types.ts";

/** Plans are accepted at this probability. */
export const fitProbabilityMin = 0.95;

/** Standard deviations between the mean and the 5 % quantile of a normal distribution. */
const deviationsAt95 = 1.6448536;

/** Free memory of one device: normal, cut at nothing; good enough in the tail that matters. */
export interface FreeMemory {
  /** What the reading or the card's size says, before any doubt. */
  bytes: number;
  /** Expected shortage against `bytes`, and its standard deviation. */
  shortageMeanBytes: number;
  shortageDeviationBytes: number;
}

/** Bytes a plan may use so that it has room with 95 % probability. */
export function usableBytes(free: FreeMemory): number {
  return free.bytes - free.shortageMeanBytes - deviationsAt95 * free.shortageDeviationBytes;
}

/** Probability, 0 to 1, that `bytes` find room. */
export function roomProbability(free: FreeMemory, bytes: number): number {
  const left = free.bytes - free.shortageMeanBytes - bytes;
  if (free.shortageDeviationBytes <= 0) return left >= 0 ? 1 : 0;
  return normalCdf(left / free.shortageDeviationBytes);
}

/**
 * What is known of one GPU's free memory.
 *
 * @param setAside true for a machine that does nothing else, as servers and benchmarks are; otherwise a card of which
 *   only the size is known is taken to draw a desktop too
 */
export function gpuFreeMemory(gpu: GpuDevice, hardware: Hardware, setAside = false): FreeMemory {
  const { vramBytesTotal: total } = gpu;
  if (gpu.vramBytesFree !== undefined) return liveReading(total, gpu.vramBytesFree, hardware.backend);
  if (hardware.unifiedMemory || hardware.backend === "metal") return unifiedSize(total, hardware.backend);
  const isFirst = hardware.gpus.indexOf(gpu) <= 0;
  const free = hardware.backend === "vulkan" ? vulkanSizeOnly(total) : sizeOnly(total, isFirst);
  return isFirst && !setAside && total <= desktopCardBytesMax ? withDesktop(free) : free;
}

/** Host memory: a live reading is nearly all usable, since the kernel gives back file cache. */
export function hostFreeMemory(ramBytesFree: number): FreeMemory {
  return { bytes: ramBytesFree, shortageMeanBytes: 0.02 * ramBytesFree, shortageDeviationBytes: 0.03 * ramBytesFree };
}

function liveReading(total: number, free: number, backend: Backend): FreeMemory {
  if (backend === "vulkan" && isBudgetReading(total, free)) {
    const most = Math.min(budgetDoubtShare * total - budgetReserve, budgetDoubtMax);
    return { bytes: free, shortageMeanBytes: most / 2, shortageDeviationBytes: most / 2 / deviationsAt95 };
  }
  const known = LIVE_SHORTAGE[backend];
  return { bytes: free, shortageMeanBytes: known.mean * MIB, shortageDeviationBytes: known.deviation * MIB };
}

/**
 * Between the reading and the load the desktop moves, and workspaces grow with the first batches. The sums stay near
 * the 1 GiB llama.cpp keeps free by default.
 */
const LIVE_SHORTAGE: Record<Backend, { mean: number; deviation: number }> = {
  cuda: { mean: 250, deviation: 300 },
  rocm: { mean: 250, deviation: 300 },
  vulkan: { mean: 300, deviation: 420 },
  metal: { mean: 100, deviation: 150 },
  cpu: { mean: 0, deviation: 0 },
};

/**
 * Windows reports a budget for the asking process: the card minus a fixed 768 MiB, whatever others hold. Such a reading
 * says nothing about the desktop. It held 160 MiB on a 6 GiB laptop and 2.7 GiB on a 12 GiB workstation, where 2.5 GiB
 * of a model then went to main memory without a word.
 */
function isBudgetReading(total: number, free: number): boolean {
  return total - free < 900 * MIB;
}

const budgetReserve = 768 * MIB;
const budgetDoubtShare = 0.305;
const budgetDoubtMax = 3000 * MIB;

/** Only the size is known: the driver's own share, and on the first GPU a desktop of unknown appetite. */
function sizeOnly(total: number, isFirst: boolean): FreeMemory {
  if (!isFirst)
    return { bytes: total, shortageMeanBytes: 150 * MIB + 0.008 * total, shortageDeviationBytes: 0.012 * total };
  return { bytes: total, shortageMeanBytes: 180 * MIB + 0.011 * total, shortageDeviationBytes: 0.0175 * total };
}

/** Larger cards are bought for racks. */
const desktopCardBytesMax = 33 * 1024 * MIB;

/**
 * A desktop and its programs on the card. Cards of 6 to 24 GiB in desktops and laptops had 821 to 1294 MiB less than their
 * size when llama.cpp looked, its own 280 MiB included, and up to 2.8 GiB less with a browser open (fit_starts).
 */
function withDesktop(free: FreeMemory): FreeMemory {
  return {
    ...free,
    shortageMeanBytes: free.shortageMeanBytes + 300 * MIB,
    shortageDeviationBytes: Math.hypot(free.shortageDeviationBytes, 250 * MIB),
  };
}

/** Vulkan drivers keep more to themselves: loads up to 1.7 GiB below a 32 GiB card's size failed. */
function vulkanSizeOnly(total: number): FreeMemory {
  return { bytes: total, shortageMeanBytes: 300 * MIB + 0.02 * total, shortageDeviationBytes: 0.025 * total };
}

/**
 * Memory shared with the system. Apple: `recommendedMaxWorkingSetSize` in Metal logs, two thirds up to 16 GiB (10.7 of
 * 16), 0.74 of 18, 0.78 of 32 and 36; allocations beyond it fail. Machines whose CUDA driver sees all of the memory keep
 * 0.93; elsewhere three quarters, the usual largest carve-out of Strix Halo's firmware (96 of 128).
 */
function unifiedSize(total: number, backend: Backend): FreeMemory {
  return { bytes: unifiedShare(total, backend) * total, shortageMeanBytes: 0, shortageDeviationBytes: 0.012 * total };
}

function unifiedShare(total: number, backend: Backend): number {
  if (backend === "cuda") return 0.93;
  if (backend !== "metal") return 0.75;
  if (total <= 16.5 * 1024 * MIB) return 2 / 3;
  return total < 31.5 * 1024 * MIB ? 0.74 : 0.78;
}

/** Standard normal distribution function; Abramowitz and Stegun 26.2.17, error below 1e-7. */
function normalCdf(x: number): number {
  const t = 1 / (1 + 0.2316419 * Math.abs(x));
  const density = 0.3989422804014327 * Math.exp((-x * x) / 2);
  const poly = t * (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
  const tail = density * poly;
  return x >= 0 ? 1 - tail : tail;
}
