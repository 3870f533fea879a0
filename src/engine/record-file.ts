/** A bounded list in one JSON file of the data folder: what an engine remembers of itself over restarts. */
import { existsSync } from "node:fs";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import * as z from "zod";
import type { Logger } from "../core/ports.ts";

export interface RecordFileOptions<Schema extends z.ZodType> {
  path: string;
  schema: Schema;
  recordsMax: number;
  logger: Logger;
}

export class RecordFile<Schema extends z.ZodType> {
  readonly #options: RecordFileOptions<Schema>;
  #records: z.output<Schema>[] = [];
  #writing = Promise.resolve();
  #written = false;
  #waiting = false;

  private constructor(options: RecordFileOptions<Schema>) {
    this.#options = options;
  }

  /** A missing file is an empty one; a damaged one is begun anew with a warning. Never rejects. */
  static async open<Schema extends z.ZodType>(options: RecordFileOptions<Schema>): Promise<RecordFile<Schema>> {
    const { path, schema, recordsMax, logger } = options;
    const file = new RecordFile(options);
    try {
      const { records } = z
        .object({ version: z.literal(1), records: z.array(schema) })
        .parse(JSON.parse(await readFile(path, "utf8")));
      file.#records = records.slice(-recordsMax);
      file.#written = true;
    } catch (cause) {
      if (!isMissing(cause))
        logger.warn("The record of earlier loads cannot be read and is begun anew.", { path, cause });
    }
    return file;
  }

  /** Oldest first; another array after every change. */
  get all(): readonly z.output<Schema>[] {
    return this.#records;
  }

  add(record: z.output<Schema>): void {
    this.update((records) => [...records, record]);
  }

  /**
   * Kept at once, written in the background; a disk that refuses costs the record, not the model. The oldest beyond the
   * bound are dropped.
   */
  update(change: (records: readonly z.output<Schema>[]) => z.output<Schema>[]): void {
    // Whoever deletes the file wants it forgotten, by this process too.
    if (this.#written && !existsSync(this.#options.path)) this.#records = [];
    this.#records = change(this.#records).slice(-this.#options.recordsMax);
    if (this.#waiting) return;
    // What comes while the disk is busy is written with it, once.
    this.#waiting = true;
    this.#writing = this.#writing.then(() => this.#write());
  }

  /** Resolves when all is written. */
  async settled(): Promise<void> {
    await this.#writing;
  }

  async #write(): Promise<void> {
    const { path, logger } = this.#options;
    this.#waiting = false;
    const text = `${JSON.stringify({ version: 1, records: this.#records }, null, 1)}\n`;
    try {
      await mkdir(dirname(path), { recursive: true });
      await writeFile(`${path}.new`, text);
      await rename(`${path}.new`, path);
      this.#written = true;
    } catch (cause) {
      logger.warn("The record of this load could not be written.", { path, cause });
    }
  }
}

function isMissing(cause: unknown): boolean {
  return cause instanceof Error && "code" in cause && cause.code === "ENOENT";
}
