/** After a load over several GPUs: what each of them holds against what was planned for it. */
import { formatBytes, MIB } from "../core/units.ts";
import type { FitPlan } from "../fit/types.ts";

/** One GPU with layers. */
export interface GpuLoad {
  /** Number in the reading. */
  gpu: number;
  name: string;
  layers: number;
  /** Planned: llama.cpp's buffers, and the driver's share beside them. */
  bufferBytes: number;
  runtimeBytes: number;
  /** The buffers as llama-server reports them; the library only tells their sum. */
  measuredBytes?: number;
  /** How much less its driver has free than before the load; other programs count too. */
  takenBytes?: number;
}

export interface GpuReadings {
  /** Free bytes of every GPU by its driver, in the reading's order; undefined where unknown. */
  before: readonly (number | undefined)[];
  after: readonly number[] | undefined;
  /** Buffers of the GPUs with layers, in the same order. */
  measured: readonly number[] | undefined;
}

export function checkGpus({ devices }: Pick<FitPlan, "devices">, readings: GpuReadings): GpuLoad[] {
  const { before, after, measured } = readings;
  const gpus = devices.filter(({ kind }) => kind === "gpu");
  const used = gpus.flatMap((device, gpu) => (device.totalBytes > 0 ? [{ device, gpu }] : []));
  return used.map(({ device, gpu }, index): GpuLoad => {
    const { weightBytes, kvCacheBytes, recurrentStateBytes, computeBufferBytes, runtimeBytes, layers } = device;
    const [was, is] = [before[gpu], after?.[gpu]];
    const own = measured?.length === used.length ? measured[index] : undefined;
    return {
      gpu,
      name: device.name ?? device.id,
      layers,
      bufferBytes: weightBytes + kvCacheBytes + recurrentStateBytes + computeBufferBytes,
      runtimeBytes,
      ...(own === undefined ? {} : { measuredBytes: own }),
      ...(was === undefined || is === undefined ? {} : { takenBytes: was - is }),
    };
  });
}

/** Buffers are known to the byte. */
const bufferDoubtBytes = 32 * MIB;
const bufferDoubtShare = 0.03;
/** A driver's own share differs by card, and other programs move. */
const driverDoubtBytes = 512 * MIB;
const driverDoubtShare = 0.1;

/** One sentence for each GPU that holds another part of the model than planned. */
export function gpuSurprises(gpus: readonly GpuLoad[]): string[] {
  return gpus.flatMap(({ gpu, name, layers, bufferBytes, runtimeBytes, measuredBytes, takenBytes }) => {
    const [planned, found] =
      measuredBytes === undefined ? [bufferBytes + runtimeBytes, takenBytes] : [bufferBytes, measuredBytes];
    if (found === undefined) return [];
    const doubt =
      measuredBytes === undefined
        ? Math.max(driverDoubtBytes, driverDoubtShare * planned)
        : Math.max(bufferDoubtBytes, bufferDoubtShare * planned);
    if (Math.abs(found - planned) <= doubt) return [];
    const [took, plan] = [formatBytes(Math.max(0, found)), formatBytes(planned)];
    return [`GPU ${gpu} (${name}) holds ${took}; ${layers} layers with ${plan} were planned for it.`];
  });
}

/** What the driver took on the GPU where it took most, beside the buffers; undefined where no driver told of all. */
export function mostRuntimeBytes(gpus: readonly GpuLoad[]): number | undefined {
  const shares = gpus.flatMap(({ takenBytes, measuredBytes, bufferBytes }) =>
    takenBytes === undefined ? [] : [takenBytes - (measuredBytes ?? bufferBytes)],
  );
  return shares.length === 0 || shares.length < gpus.length ? undefined : Math.max(...shares);
}
