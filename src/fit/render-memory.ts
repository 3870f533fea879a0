/** A device's memory as parts in a fixed order: what the bars in terminal, chat and picture are drawn from. */
import { gpuFreeMemory, hostFreeMemory, usableBytes } from "./free-memory.ts";
import type { Localized } from "./query-types.ts";
import type { DeviceBreakdown, Hardware } from "./types.ts";

export type MemoryPartKind =
  | "weights"
  | "kvCache"
  | "state"
  | "compute"
  | "runtime"
  | "others"
  | "reserve"
  | "free"
  | "over";

export interface MemoryPart {
  kind: MemoryPartKind;
  bytes: number;
}

/** A device's bar: parts sum to `totalBytes`; the card ends at `capacityBytes`, what lies beyond it is `over`. */
export interface MemoryBar {
  id: string;
  kind: "gpu" | "host";
  label: string;
  layers: number;
  usedBytes: number;
  capacityBytes: number;
  totalBytes: number;
  parts: MemoryPart[];
}

export const MEMORY_PART_NAMES: Record<MemoryPartKind, Localized> = {
  weights: { en: "weights", zh: "权重" },
  kvCache: { en: "KV cache", zh: "KV 缓存" },
  state: { en: "state", zh: "循环状态" },
  compute: { en: "compute", zh: "计算缓冲" },
  runtime: { en: "runtime", zh: "运行时" },
  others: { en: "other programs", zh: "其他程序" },
  reserve: { en: "reserve", zh: "余量" },
  free: { en: "free", zh: "空闲" },
  over: { en: "too much", zh: "超出" },
};

/** One bar per device that holds anything; the host only when layers or experts lie there. */
export function memoryBars(devices: readonly DeviceBreakdown[], hardware: Hardware, reserveBytes = 0): MemoryBar[] {
  return devices.flatMap((device) => {
    const index = hardware.gpus.findIndex(({ id }) => id === device.id);
    if (device.kind === "host") return holdsLayers(device, hardware) ? [hostBar(device)] : [];
    return index < 0 ? [] : [gpuBar(device, hardware, index, reserveBytes)];
  });
}

/** Every plan leaves the token embedding on the host; a bar for that alone would only be noise beside a GPU. */
function holdsLayers(device: DeviceBreakdown, hardware: Hardware): boolean {
  return hardware.gpus.length === 0 || device.layers > 0 || device.weightBytes > 2 ** 31;
}

function gpuBar(device: DeviceBreakdown, hardware: Hardware, index: number, reserveBytes: number): MemoryBar {
  const gpu = hardware.gpus[index]!;
  const free = gpuFreeMemory(gpu, hardware);
  const margin = Math.max(0, free.bytes - usableBytes(free)) + reserveBytes;
  // Of unified memory only the GPU's share counts.
  const capacityBytes =
    hardware.unifiedMemory === true ? device.freeBytesBefore : Math.max(gpu.vramBytesTotal, device.freeBytesBefore);
  const parts = ownParts(device);
  const others = gpu.vramBytesFree === undefined ? 0 : capacityBytes - device.freeBytesBefore;
  if (others > 0) parts.unshift({ kind: "others", bytes: others });
  const alike = hardware.gpus.filter(({ name }) => name === gpu.name).length > 1;
  const name = gpu.name ?? "GPU";
  return finish(device, alike ? `${name} #${index + 1}` : name, capacityBytes, parts, margin);
}

function hostBar(device: DeviceBreakdown): MemoryBar {
  const free = hostFreeMemory(device.freeBytesBefore);
  return finish(device, "CPU", device.freeBytesBefore, ownParts(device), Math.max(0, free.bytes - usableBytes(free)));
}

function ownParts(device: DeviceBreakdown): MemoryPart[] {
  const parts: MemoryPart[] = [
    { kind: "weights", bytes: device.weightBytes },
    { kind: "kvCache", bytes: device.kvCacheBytes },
    { kind: "state", bytes: device.recurrentStateBytes },
    { kind: "compute", bytes: device.computeBufferBytes + device.outputBufferBytes },
    { kind: "runtime", bytes: device.runtimeBytes },
  ];
  return parts.filter(({ bytes }) => bytes > 0);
}

function finish(
  device: DeviceBreakdown,
  label: string,
  capacityBytes: number,
  parts: MemoryPart[],
  margin: number,
): MemoryBar {
  const used = parts.reduce((sum, { bytes }) => sum + bytes, 0);
  const left = capacityBytes - used;
  if (left > 0) {
    const reserve = Math.min(left, margin);
    if (reserve > 0) parts.push({ kind: "reserve", bytes: reserve });
    if (left > reserve) parts.push({ kind: "free", bytes: left - reserve });
  }
  return {
    id: device.id,
    kind: device.kind,
    label,
    layers: device.layers,
    usedBytes: device.totalBytes,
    capacityBytes,
    totalBytes: Math.max(capacityBytes, used),
    parts,
  };
}
