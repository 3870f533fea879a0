/**
 * What loads were forecast to take and what they took, kept in the data folder. The forecast of llama.cpp's buffers is
 * exact; what a driver takes beside them is not, and differs by card and build.
 */
import * as z from "zod";
import { memoryRecordsMax } from "../core/limits.ts";
import type { HardwareReading, Logger } from "../core/ports.ts";
import type { LearnedLoad } from "../fit/learned.ts";
import { RecordFile } from "./record-file.ts";

const bytes = z.number().nonnegative();
const memorySchema = z.object({ hostBytes: bytes, gpuBytes: bytes });

const recordSchema = z.object({
  /** Milliseconds since the epoch. */
  at: z.number(),
  /** `deviceKey`. */
  device: z.string(),
  /** What ran it, with its version; left out by versions that did not tell. */
  build: z.string().optional(),
  architecture: z.string().optional(),
  model: z.string(),
  quantization: z.string().optional(),
  contextLength: z.number(),
  sequenceCount: z.number(),
  batchSize: z.number(),
  gpuLayers: z.number(),
  kvCacheTypeK: z.string(),
  kvCacheTypeV: z.string(),
  /** Buffers only, without any correction learned before. */
  predicted: memorySchema,
  measured: memorySchema,
  /** The compute buffers among them. */
  compute: z.object({ predicted: memorySchema, measured: memorySchema }).optional(),
  /** Driver and workspaces as forecast, all GPUs together. */
  runtimeBytesPredicted: bytes,
  /** How much less was free on all GPUs together after the load than before. */
  vramBytesTaken: z.number().optional(),
  /** Of several GPUs the one on which it took most beside the buffers. */
  runtimeBytesMost: z.number().optional(),
  gpuCount: z.number(),
});

export type MemoryRecord = z.infer<typeof recordSchema>;

/** Same cards, same backend: same habits. */
export function deviceKey(reading: HardwareReading): string {
  const cards = reading.gpus.map((gpu) => `${gpu.name} ${gpu.driverVersion ?? ""}`.trim());
  return cards.length === 0 ? `${reading.backend} ${reading.cpu.name}` : `${reading.backend} ${cards.join(" + ")}`;
}

/** The cards of a `deviceKey` by name; a driver's version stands behind each where it is known. */
export function cardsOf(device: string): string[] {
  const [backend = "", ...rest] = device.split(" ");
  if (backend === "cpu") return [];
  return rest
    .join(" ")
    .split(" + ")
    .map((card) => card.replace(/ \d+(?:\.\d+)+$/, ""));
}

export class MemoryRecords {
  readonly #file: RecordFile<typeof recordSchema>;

  private constructor(file: RecordFile<typeof recordSchema>) {
    this.#file = file;
  }

  /** A missing file is an empty one; a damaged one is begun anew with a warning. Never rejects. */
  static async open(path: string, logger: Logger): Promise<MemoryRecords> {
    return new MemoryRecords(
      await RecordFile.open({ path, schema: recordSchema, recordsMax: memoryRecordsMax, logger }),
    );
  }

  /** Oldest first. */
  get all(): readonly MemoryRecord[] {
    return this.#file.all;
  }

  add(record: MemoryRecord): void {
    this.#file.add(record);
  }

  /** Resolves when all is written. */
  async settled(): Promise<void> {
    await this.#file.settled();
  }
}

/** A load as the planner learns from it. */
export function learnedLoad(record: MemoryRecord): LearnedLoad {
  const { architecture, compute, gpuCount, vramBytesTaken, runtimeBytesMost, measured } = record;
  const tells = gpuCount > 0 && vramBytesTaken !== undefined && measured.gpuBytes > 0;
  return {
    architecture: architecture ?? "",
    gpuCount,
    ...(compute === undefined ? {} : { compute }),
    ...(tells ? { runtimeBytes: runtimeBytesMost ?? (vramBytesTaken - measured.gpuBytes) / gpuCount } : {}),
  };
}
