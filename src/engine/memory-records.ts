/**
 * What loads were forecast to take and what they took, kept in the data folder. The forecast of llama.cpp's buffers is
 * exact; what a driver takes beside them is not, and differs by card and build. So the shortfall seen on a device is
 * added to the reserve of the next load there.
 */
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import * as z from "zod";
import { memoryRecordsMax } from "../core/limits.ts";
import type { HardwareReading, Logger } from "../core/ports.ts";
import { GIB } from "../core/units.ts";

const bytes = z.number().nonnegative();
const memorySchema = z.object({ hostBytes: bytes, gpuBytes: bytes });

const recordSchema = z.object({
  /** Milliseconds since the epoch. */
  at: z.number(),
  /** `deviceKey`. */
  device: z.string(),
  model: z.string(),
  quantization: z.string().optional(),
  contextLength: z.number(),
  sequenceCount: z.number(),
  batchSize: z.number(),
  gpuLayers: z.number(),
  kvCacheTypeK: z.string(),
  kvCacheTypeV: z.string(),
  /** Buffers only. */
  predicted: memorySchema,
  measured: memorySchema,
  /** Driver and workspaces as forecast, all GPUs together. */
  runtimeBytesPredicted: bytes,
  /** How much less was free on all GPUs together after the load than before. */
  vramBytesTaken: z.number().optional(),
  gpuCount: z.number(),
});

export type MemoryRecord = z.infer<typeof recordSchema>;

const fileSchema = z.object({ version: z.literal(1), records: z.array(recordSchema) });

/** Loads looked at for the correction: the driver may have been updated since older ones. */
const recentMax = 5;
/** More than this was another program that started in the same seconds. */
const correctionBytesMax = 2 * GIB;

/** Same cards, same backend: same habits. */
export function deviceKey(reading: HardwareReading): string {
  const cards = reading.gpus.map((gpu) => `${gpu.name} ${gpu.driverVersion ?? ""}`.trim());
  return cards.length === 0 ? `${reading.backend} ${reading.cpu.name}` : `${reading.backend} ${cards.join(" + ")}`;
}

export class MemoryRecords {
  readonly #path: string;
  readonly #logger: Logger;
  #records: MemoryRecord[] = [];
  #writing = Promise.resolve();

  private constructor(path: string, logger: Logger) {
    this.#path = path;
    this.#logger = logger;
  }

  /** A missing file is an empty one; a damaged one is set aside with a warning. Never rejects. */
  static async open(path: string, logger: Logger): Promise<MemoryRecords> {
    const records = new MemoryRecords(path, logger);
    try {
      records.#records = fileSchema.parse(JSON.parse(await readFile(path, "utf8"))).records;
    } catch (cause) {
      if (!isMissing(cause))
        logger.warn("The record of earlier loads cannot be read and is begun anew.", { path, cause });
    }
    return records;
  }

  /** Oldest first. */
  get all(): readonly MemoryRecord[] {
    return this.#records;
  }

  /**
   * Bytes per GPU that loads on this device took beyond their forecast: the median of the last few, since a program
   * that started meanwhile spoils one of them.
   */
  correctionBytes(device: string): number {
    const excesses = this.#records
      .filter((record) => record.device === device && record.gpuCount > 0 && record.vramBytesTaken !== undefined)
      .slice(-recentMax)
      .map(({ vramBytesTaken, predicted, runtimeBytesPredicted, gpuCount }) => {
        return ((vramBytesTaken ?? 0) - predicted.gpuBytes - runtimeBytesPredicted) / gpuCount;
      })
      .sort((left, right) => left - right);
    const median = excesses[Math.floor(excesses.length / 2)] ?? 0;
    return Math.min(correctionBytesMax, Math.max(0, Math.round(median)));
  }

  /** Kept at once, written in the background; a disk that refuses costs the record, not the model. */
  add(record: MemoryRecord): void {
    this.#records = [...this.#records, record].slice(-memoryRecordsMax);
    const text = `${JSON.stringify({ version: 1, records: this.#records }, null, 1)}\n`;
    this.#writing = this.#writing.then(() => this.#write(text));
  }

  /** Resolves when all is written. */
  async settled(): Promise<void> {
    await this.#writing;
  }

  async #write(text: string): Promise<void> {
    try {
      await mkdir(dirname(this.#path), { recursive: true });
      await writeFile(`${this.#path}.new`, text);
      await rename(`${this.#path}.new`, this.#path);
    } catch (cause) {
      this.#logger.warn("The record of this load could not be written.", { path: this.#path, cause });
    }
  }
}

function isMissing(cause: unknown): boolean {
  return cause instanceof Error && "code" in cause && cause.code === "ENOENT";
}
