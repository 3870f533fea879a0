/** What llama-server says of itself while it loads: the buffers it took, where they lie, and what went wrong. */
import { MIB } from "../core/units.ts";
import type { Backend } from "../fit/types.ts";
import type { MeasuredMemory, MemoryBytes } from "./ipc.ts";

interface BufferLine {
  place: string;
  kind: string;
  bytes: number;
}

/** "load_tensors:   CPU_Mapped model buffer size =   248.00 MiB" */
const bufferLine = /:\s*(\S+)\s+(model|KV|RS|output|compute) buffer size (?:=|is)\s*([\d.]+) MiB/;
const offloadLine = /offloaded (\d+)\/\d+ layers to GPU/;
/** What tells more than "exiting due to model loading error", most telling first. */
const complaints = [
  /(?:failed to allocate|out of memory|cannot allocate memory|unable to allocate|bad_alloc).*/i,
  /error loading model: (.+)/,
  /(?:error: |fail(?:ed)? to )(.+)/i,
];
const memoryComplaint = complaints[0]!;

/** Backends by what their buffers are called. */
const deviceNames: readonly [RegExp, Backend][] = [
  [/^CUDA\d/, "cuda"],
  [/^ROCm\d/, "rocm"],
  [/^Vulkan\d/, "vulkan"],
  [/^(?:Metal|MTL)/, "metal"],
];

export class ServerLog {
  /** Layers the server says it put on GPUs. */
  gpuLayers: number | undefined;
  readonly #buffers: BufferLine[] = [];
  readonly #lines: string[] = [];

  add(line: string): void {
    const buffer = bufferLine.exec(line);
    if (buffer !== null) {
      const [, place, kind, mib] = buffer;
      this.#buffers.push({ place: place!, kind: kind!, bytes: Math.round(Number(mib) * MIB) });
    }
    const offloaded = offloadLine.exec(line);
    if (offloaded !== null) this.gpuLayers = Number(offloaded[1]);
    this.#lines.push(line);
    if (this.#lines.length > linesKept) this.#lines.shift();
  }

  /** The one that holds weights on a GPU; "cpu" when none does. */
  get backend(): Backend {
    for (const { place } of this.#buffers) {
      const known = deviceNames.find(([name]) => name.test(place));
      if (known !== undefined && !isHost(place)) return known[1];
    }
    return "cpu";
  }

  /** Undefined before the server has told its weights. */
  get memory(): MeasuredMemory | undefined {
    if (!this.#buffers.some(({ kind }) => kind === "model")) return undefined;
    const model = noBytes();
    const context = noBytes();
    for (const buffer of this.#standing()) count(buffer.kind === "model" ? model : context, buffer);
    return { model, context };
  }

  /** Bytes of all buffers on one device, by its name. */
  bytesOn(device: string): number {
    const sum = noBytes();
    for (const buffer of this.#standing()) if (buffer.place === device) count(sum, buffer);
    return sum.gpuBytes + sum.hostBytes;
  }

  /** Without those that were replaced: a graph that is reserved again takes the place of the one before. */
  #standing(): BufferLine[] {
    const computed = new Map<string, BufferLine>();
    for (const buffer of this.#buffers) if (buffer.kind === "compute") computed.set(buffer.place, buffer);
    return [...this.#buffers.filter(({ kind }) => kind !== "compute"), ...computed.values()];
  }

  /** The most telling of its last lines; undefined when none tells anything. */
  get complaint(): string | undefined {
    for (const pattern of complaints) {
      const found = this.#lines.map((line) => pattern.exec(line)).find((match) => match !== null);
      if (found != null) return (found[1] ?? found[0]).trim();
    }
    return undefined;
  }

  get ranOutOfMemory(): boolean {
    return this.#lines.some((line) => memoryComplaint.test(line));
  }
}

const linesKept = 200;

function noBytes(): MemoryBytes {
  return { hostBytes: 0, gpuBytes: 0 };
}

function count(sum: MemoryBytes, { place, bytes }: BufferLine): void {
  sum[isHost(place) ? "hostBytes" : "gpuBytes"] += bytes;
}

/** Main memory, also where a driver pins it: CPU, CPU_Mapped, CPU_REPACK, CUDA_Host, Vulkan_Host, AMX. */
function isHost(place: string): boolean {
  return /^(?:CPU|AMX|BLAS)|_Host$/.test(place);
}
