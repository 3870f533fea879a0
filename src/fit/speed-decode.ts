/** Time of one generated token: the two-term model (time per layer, bytes over effective bandwidth), device by device. */
import {
  constantsFor,
  deviceRates,
  type GenerationConstants,
  isOldBuild,
  ramBandwidthDefault,
  type SharedConstants,
  type SpeedConstants,
} from "./speed-constants.ts";
import { hostComputeTime, hostLayerSeconds } from "./speed-host.ts";
import type { DeviceWork, TokenWork } from "./speed-work.ts";
import type { GpuDevice, Hardware, RuntimeSettings } from "./types.ts";

/** Seconds of one token by cause; they add up. */
export interface TokenTime {
  /** Reading weights and cache from GPU memory. */
  memory: number;
  /** Multiplying, where a device is too slow to keep up with its memory. */
  compute: number;
  /** Everything on the CPU, and moving to and from it. */
  cpu: number;
  /** Launching kernels, hand-over between GPUs, sampling. */
  launch: number;
}

/** @param depthTokens the depth `work` was counted at */
export function tokenTime(
  work: TokenWork,
  settings: RuntimeSettings,
  hardware: Hardware,
  constants: SpeedConstants,
  depthTokens: number,
): TokenTime {
  const { shared } = constants;
  const time: TokenTime = { memory: 0, compute: 0, cpu: 0, launch: shared.tokenSeconds };
  const busy = work.gpus.filter((gpu) => gpu.denseBytes > 0).length;
  work.gpus.forEach((own, index) => {
    if (own.denseBytes + own.expertBytes > 0) addGpu(time, own, hardware.gpus[index]!, settings, constants);
  });
  time.launch += Math.max(0, busy - 1) * shared.deviceSeconds;
  if (hostBytes(work) > 0) {
    const { weights, attention } = hostComputeTime(work, settings, hardware, depthTokens);
    time.cpu +=
      Math.max(hostReadingSeconds(work, hardware, shared), weights + attention) +
      hostLayerSeconds(work, hardware, shared);
  }
  time.cpu += busy > 0 ? work.crossings * shared.crossingSeconds : 0;
  return time;
}

export function totalSeconds(time: TokenTime): number {
  return time.memory + time.compute + time.cpu + time.launch;
}

function addGpu(
  time: TokenTime,
  work: DeviceWork,
  gpu: GpuDevice,
  settings: RuntimeSettings,
  constants: SpeedConstants,
): void {
  const { shared } = constants;
  const { constants: own } = constantsFor(constants, gpu.generation);
  const rates = deviceRates(gpu);
  const format = formatFactor(settings.quantization, shared, own);
  const reading = rates.bandwidth * Math.min(1, own.efficiency * format);
  const weights = work.denseBytes / reading + work.expertBytes / (reading * shared.expertFactor);
  const compute = (2 * work.activeParameters) / rates.fp16Flops;
  const memory = weights + work.kvBytes / (rates.bandwidth * kvEfficiency(gpu, settings, shared));
  time.memory += memory;
  time.compute += Math.max(0, compute - memory);
  time.launch += layerUnits(work, shared) * own.layerSeconds * buildFactor(settings, shared);
}

/** Layers in units of a plain attention layer with a dense feed-forward. */
function layerUnits(work: DeviceWork, shared: SharedConstants): number {
  return (
    work.layers +
    work.moeLayers * shared.moeUnits +
    work.recurrentLayers * shared.recurrentUnits +
    work.mlaLayers * shared.mlaUnits +
    work.extraNorms * shared.normUnits
  );
}

function buildFactor(settings: RuntimeSettings, shared: SharedConstants): number {
  const attention = settings.flashAttention ? 1 : shared.plainAttentionFactor;
  return attention * (isOldBuild(settings.buildFamily) ? shared.oldBuildFactor : 1);
}

function kvEfficiency(gpu: GpuDevice, settings: RuntimeSettings, shared: SharedConstants): number {
  if (settings.flashAttention) return shared.kvEfficiency;
  return /^m\d$/.test(gpu.generation ?? "") ? shared.kvEfficiencyPlainApple : shared.kvEfficiencyPlain;
}

/** Reading rate of a file mix relative to K-quants of 4 to 6 bits, by its name. */
export function formatFactor(
  quantization: string | undefined,
  shared: SharedConstants,
  generation?: GenerationConstants,
): number {
  const name = (quantization ?? "").toUpperCase().replace(/^UD-/, "");
  if (/^(?:B?F16|F32)$/.test(name)) return generation?.halfFactor ?? shared.halfFactor;
  if (/^(?:Q[458]_[01]|MXFP4|NVFP4)/.test(name)) return shared.legacyFactor;
  if (/^Q[23]_K/.test(name)) return shared.lowBitFactor;
  if (/^(?:IQ|TQ)/.test(name)) return name.startsWith("IQ4") ? 1 : shared.iqFactor;
  return 1;
}

function hostBytes({ host }: TokenWork): number {
  return host.denseBytes + host.expertBytes + host.kvBytes;
}

/** Seconds to read the host's part of the weights and the cache from RAM. */
export function hostReadingSeconds(work: TokenWork, hardware: Hardware, shared: SharedConstants): number {
  const bandwidth = hardware.ramBandwidthBytesPerSecond ?? ramBandwidthDefault;
  const laptop = hardware.gpus.some((gpu) => gpu.laptop) ? shared.cpuLaptopFactor : 1;
  const mixed = work.gpus.some((gpu) => gpu.denseBytes > 0);
  return hostBytes(work) / (bandwidth * shared.cpuEfficiency * (mixed ? shared.cpuMixedFactor * laptop : 1));
}
