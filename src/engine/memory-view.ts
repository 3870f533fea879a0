/** Memory of this machine as people look at it: what there is, what is used, and what of that the loaded models hold. */
import { memoryViewMsMax } from "../core/limits.ts";
import type { Clock, DeviceMemory, HardwareReading } from "../core/ports.ts";
import type { ModelStatus } from "./registry-entry.ts";

export interface MemoryViewOptions {
  /** The machine as it was found; its GPUs and sizes do not change. */
  hardware: HardwareReading;
  /** Free bytes of each GPU now, in the reading's order. */
  readVramFree(): Promise<number[] | undefined>;
  /** Bytes of main memory that are free now. */
  readRamFree(): number;
  clock: Clock;
}

/** GPUs first, then main memory; never waits: a figure that is old is read again for the next look. */
export type MemoryView = (models: readonly ModelStatus[]) => DeviceMemory[];

export function createMemoryView({ hardware, readVramFree, readRamFree, clock }: MemoryViewOptions): MemoryView {
  let vramFree: (number | undefined)[] = hardware.gpus.map(({ vramBytesFree }) => vramBytesFree);
  let readAt = clock.now();
  let reading = false;
  const refresh = () => {
    if (hardware.gpus.length === 0 || reading || clock.now() - readAt < memoryViewMsMax) return;
    reading = true;
    void readVramFree()
      .then((free) => {
        if (free?.length === hardware.gpus.length) vramFree = free;
      })
      .catch(() => {})
      .finally(() => {
        reading = false;
        readAt = clock.now();
      });
  };
  return (models) => {
    refresh();
    const gpus = hardware.gpus.map(({ name, vramBytesTotal }, gpu): DeviceMemory => {
      const free = vramFree[gpu];
      return {
        name,
        kind: "gpu",
        bytesTotal: vramBytesTotal,
        ...(free === undefined ? {} : { bytesUsed: Math.max(0, vramBytesTotal - free) }),
        bytesOwn: add(models, (status) => gpuBytesOf(status, gpu)),
      };
    });
    const ram: DeviceMemory = {
      name: "RAM",
      kind: "host",
      bytesTotal: hardware.ramBytesTotal,
      bytesUsed: Math.max(0, hardware.ramBytesTotal - readRamFree()),
      bytesOwn: add(models, hostBytesOf),
    };
    return [...gpus, ram];
  };
}

function add(models: readonly ModelStatus[], read: (status: ModelStatus) => number): number {
  return models.reduce((sum, status) => sum + (status.engine?.model === undefined ? 0 : read(status)), 0);
}

/** What llama.cpp really took; where it only tells the sum, spread over the GPUs as the plan has it. */
function gpuBytesOf({ load }: ModelStatus, gpu: number): number {
  if (load === undefined) return 0;
  const measured = load.gpus?.find((one) => one.gpu === gpu);
  if (measured?.measuredBytes !== undefined) return measured.measuredBytes;
  const planned = load.plan.devices.filter(({ kind }) => kind === "gpu");
  const whole = planned.reduce((sum, { totalBytes }) => sum + totalBytes, 0);
  const part = planned[gpu]?.totalBytes ?? 0;
  return whole === 0 ? 0 : Math.round(((load.measured ?? load.predicted).gpuBytes * part) / whole);
}

/** The child process as a whole, where it has told. */
function hostBytesOf({ engine, load }: ModelStatus): number {
  return engine?.memory?.rssBytes ?? (load === undefined ? 0 : (load.measured ?? load.predicted).hostBytes);
}
