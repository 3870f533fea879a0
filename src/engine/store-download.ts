/** One file from a web server to this disk: in one piece or over many broken connections, and checked at the end. */
import { createHash, type Hash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, open, readFile, rename, rm, stat, statfs, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { AppError } from "../core/errors.ts";
import { diskReserveBytes, downloadRetriesMax, downloadRetryMsFirst, downloadSilenceMsMax } from "../core/limits.ts";
import { formatBytes } from "../core/units.ts";

export interface DownloadFile {
  url: string;
  path: string;
  /** As the hub states it; undefined when only the server will tell. */
  bytes?: number;
  sha256?: string;
}

export interface DownloadOptions {
  signal: AbortSignal;
  fetch: typeof globalThis.fetch;
  /** Bearer token, sent to the first host only. */
  token?: string;
  /** Resolves after `ms`, or at once when the signal aborts. */
  wait(ms: number, signal: AbortSignal): Promise<void>;
  /** Bytes of this file so far; the total once it is known. */
  onProgress?(bytesDone: number, bytesTotal: number | undefined): void;
  /** What to do about 401 and 403. */
  accessHint?: string;
}

/** Left beside an unfinished file: a file that changed on the server must not be continued. */
interface PartNote {
  url: string;
  etag?: string;
}

/**
 * Resumes what an earlier call left, retries broken connections, and moves the file to its place when it is whole and
 * its checksum is right. One process at a time may do so.
 *
 * @throws AppError engine_unavailable (server or connection), permission_denied (gated), model_not_found,
 *   model_file_invalid (checksum, no GGUF), invalid_configuration (disk, another download of the same file)
 */
export async function downloadFile(file: DownloadFile, options: DownloadOptions): Promise<void> {
  await mkdir(dirname(file.path), { recursive: true }).catch((cause) => {
    throw diskError(file, cause);
  });
  const unlock = await lock(`${file.path}.lock`);
  try {
    if (await stat(file.path).catch(() => undefined)) return;
    await new Transfer(file, options).run();
  } finally {
    await unlock();
  }
}

/** Bytes still to come for a file, 0 for one that is there; its whole size when it is not known how much is. */
export async function bytesMissing(file: DownloadFile): Promise<number> {
  if (await stat(file.path).catch(() => undefined)) return 0;
  const have = (await stat(`${file.path}.part`).catch(() => undefined))?.size ?? 0;
  return Math.max(0, (file.bytes ?? 0) - have);
}

/** Free on the disk a folder is on, or will be on once it is made. */
export async function readDiskBytesFree(path: string): Promise<number> {
  try {
    const { bavail, bsize } = await statfs(path);
    return bavail * bsize;
  } catch (error) {
    const parent = dirname(path);
    if (parent === path) throw error;
    return readDiskBytesFree(parent);
  }
}

/** @throws AppError invalid_configuration with what is missing */
export async function requireDiskSpace(folder: string, bytes: number): Promise<void> {
  const free = await readDiskBytesFree(folder);
  if (free >= bytes + diskReserveBytes) return;
  throw new AppError(
    "invalid_configuration",
    `The model needs ${formatBytes(bytes)} more on disk and ${formatBytes(free)} is free, of which ${formatBytes(diskReserveBytes)} stay free. Remove a model (snug models rm), free some space, or move SNUG_DATA_DIR.`,
    { details: { missingBytes: bytes + diskReserveBytes - free } },
  );
}

class Transfer {
  readonly #file: DownloadFile;
  readonly #options: DownloadOptions;
  readonly #part: string;
  readonly #note: string;
  readonly #host: string;
  /** Of what is in the part so far; undefined without a checksum to compare with. */
  #hash: Hash | undefined;
  #have = 0;
  #total: number | undefined;

  constructor(file: DownloadFile, options: DownloadOptions) {
    this.#file = file;
    this.#options = options;
    this.#part = `${file.path}.part`;
    this.#note = `${file.path}.part.json`;
    this.#host = new URL(file.url).host;
    this.#total = file.bytes;
  }

  async run(): Promise<void> {
    const { signal, wait } = this.#options;
    await this.#takeUp();
    for (let failures = 0; ; ) {
      const before = this.#have;
      try {
        await this.#fetchRest();
        break;
      } catch (thrown) {
        if (signal.aborted) throw this.#failed("it was stopped; start again to go on where it stopped", thrown);
        if (thrown instanceof AppError) throw thrown;
        if (isDiskProblem(thrown)) throw diskError(this.#file, thrown);
        // A connection that brought something was no failure in a row.
        failures = this.#have > before ? 1 : failures + 1;
        if (failures > downloadRetriesMax) {
          throw this.#failed("the connection broke several times; start again to go on where it stopped", thrown);
        }
        await wait(downloadRetryMsFirst * 2 ** (failures - 1), signal);
      }
    }
    await this.#finish();
  }

  /** What an earlier try left, hashed again. */
  async #takeUp(): Promise<void> {
    const size = (await stat(this.#part).catch(() => undefined))?.size ?? 0;
    const note = await this.#readNote();
    if (size === 0 || note?.url !== this.#file.url || (this.#total !== undefined && size > this.#total)) {
      return await this.#startOver();
    }
    this.#have = size;
    if (this.#file.sha256 === undefined) return;
    this.#hash = createHash("sha256");
    for await (const chunk of createReadStream(this.#part)) this.#hash.update(chunk);
  }

  async #startOver(): Promise<void> {
    await rm(this.#part, { force: true });
    this.#have = 0;
    this.#hash = this.#file.sha256 === undefined ? undefined : createHash("sha256");
  }

  async #readNote(): Promise<PartNote | undefined> {
    try {
      const note: unknown = JSON.parse(await readFile(this.#note, "utf8"));
      if (typeof note !== "object" || note === null) return undefined;
      const { url, etag } = note as Record<string, unknown>;
      if (typeof url !== "string") return undefined;
      return { url, ...(typeof etag === "string" ? { etag } : {}) };
    } catch {
      return undefined;
    }
  }

  async #fetchRest(): Promise<void> {
    if (this.#total !== undefined && this.#have >= this.#total) return;
    const { signal, fetch, token } = this.#options;
    const etag = this.#have > 0 ? (await this.#readNote())?.etag : undefined;
    const silence = new AbortController();
    const response = await fetch(this.#file.url, {
      headers: {
        // Offsets are those of the file, not of a compressed stream.
        "accept-encoding": "identity",
        ...(this.#have > 0 ? { range: `bytes=${this.#have}-${this.#total === undefined ? "" : this.#total - 1}` } : {}),
        ...(etag === undefined ? {} : { "if-range": etag }),
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      },
      signal: AbortSignal.any([signal, silence.signal]),
    });
    const body = await this.#accept(response);
    if (body !== undefined) await this.#write(body, silence);
    if (this.#total !== undefined && this.#have < this.#total) throw new Error("the answer ended early");
  }

  /** Looks at status and headers; the body to append, undefined when everything is there already. */
  async #accept(response: Response): Promise<ReadableStream<Uint8Array> | undefined> {
    const { status, headers, body } = response;
    const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(headers.get("content-range") ?? "");
    if (status === 206 && range !== null && Number(range[1]) === this.#have && body !== null) {
      if (range[2] !== "*") this.#learnTotal(Number(range[2]));
      return body;
    }
    if (status === 200 && body !== null) {
      const length = Number(headers.get("content-length"));
      if (length > 0) this.#learnTotal(length);
      await this.#startOver();
      await this.#leaveNote(headers.get("etag"));
      await requireDiskSpace(dirname(this.#file.path), this.#total ?? 0);
      return body;
    }
    await body?.cancel();
    // The part already is the whole file: the last run stopped between the last byte and the rename.
    if (status === 416 && this.#have > 0 && this.#total === undefined) return undefined;
    if (status === 206 || status === 416) {
      await this.#startOver();
      throw new Error("the server sent another range than was asked for");
    }
    throw this.#refused(status, headers);
  }

  #learnTotal(total: number): void {
    if (this.#file.bytes === undefined || this.#file.bytes === total) this.#total = total;
    else throw this.#failed(`the file has ${formatBytes(total)} where the list says ${formatBytes(this.#file.bytes)}`);
  }

  async #leaveNote(etag: string | null): Promise<void> {
    const note: PartNote = { url: this.#file.url, ...(etag === null || etag.startsWith("W/") ? {} : { etag }) };
    await writeFile(this.#note, JSON.stringify(note));
  }

  async #write(body: ReadableStream<Uint8Array>, silence: AbortController): Promise<void> {
    const { onProgress, signal } = this.#options;
    let timer = setTimeout(() => silence.abort(), downloadSilenceMsMax);
    const count = async function* (this: Transfer, chunks: AsyncIterable<Uint8Array>) {
      for await (const chunk of chunks) {
        clearTimeout(timer);
        timer = setTimeout(() => silence.abort(), downloadSilenceMsMax);
        if (this.#total !== undefined && this.#have + chunk.length > this.#total) {
          throw new Error("the server sent more than the file has");
        }
        this.#hash?.update(chunk);
        this.#have += chunk.length;
        onProgress?.(this.#have, this.#total);
        yield chunk;
      }
    };
    try {
      const source = Readable.fromWeb(body as import("node:stream/web").ReadableStream<Uint8Array>);
      await pipeline(source, count.bind(this), createWriteStream(this.#part, { flags: this.#have > 0 ? "a" : "w" }), {
        signal,
      });
    } catch (thrown) {
      // What was counted may not all have reached the disk.
      await this.#recount();
      throw thrown;
    } finally {
      clearTimeout(timer);
    }
  }

  async #recount(): Promise<void> {
    const size = (await stat(this.#part).catch(() => undefined))?.size ?? 0;
    if (size !== this.#have) {
      this.#have = size;
      if (this.#hash === undefined) return;
      this.#hash = createHash("sha256");
      if (size > 0) for await (const chunk of createReadStream(this.#part)) this.#hash.update(chunk);
    }
  }

  async #finish(): Promise<void> {
    const { sha256, path } = this.#file;
    if (sha256 !== undefined && this.#hash?.digest("hex") !== sha256) {
      await this.#discard();
      throw new AppError(
        "model_file_invalid",
        `The checksum of the file from ${this.#host} is wrong: it was damaged on the way. It was removed; start again.`,
      );
    }
    await this.#requireGguf();
    await rename(this.#part, path);
    await rm(this.#note, { force: true });
  }

  async #requireGguf(): Promise<void> {
    const part = await open(this.#part);
    const magic = Buffer.alloc(4);
    await part.read(magic, 0, 4, 0).finally(() => part.close());
    if (magic.toString("latin1") === "GGUF") return;
    await this.#discard();
    throw new AppError(
      "model_file_invalid",
      `What ${this.#host} sent is not a GGUF file. Use the download link of the file, not of its page.`,
    );
  }

  async #discard(): Promise<void> {
    await rm(this.#part, { force: true });
    await rm(this.#note, { force: true });
  }

  #refused(status: number, headers: Headers): AppError | Error {
    if (status === 401 || status === 403) {
      const hint = this.#options.accessHint ?? "it may need a login or an accepted licence.";
      return new AppError("permission_denied", `${this.#host} refused the file (${status}): ${hint}`);
    }
    if (status === 404 || status === 410) {
      return new AppError("model_not_found", `There is no such file on ${this.#host} (${status}); check the name.`);
    }
    if (status === 429) {
      const seconds = Number(headers.get("retry-after"));
      const message = `${this.#host} asks for fewer requests (429); wait a while, then start again to go on.`;
      return new AppError("rate_limit_exceeded", message, {
        retryAfterMs: (seconds > 0 && seconds <= 3600 ? seconds : 60) * 1000,
      });
    }
    // A fault of the server may pass.
    if (status >= 500) return new Error(`the server answered ${status}`);
    return this.#failed(`the server answered ${status}`);
  }

  #failed(why: string, cause?: unknown): AppError {
    return new AppError("engine_unavailable", `The model could not be downloaded from ${this.#host}: ${why}.`, {
      cause,
    });
  }
}

function isDiskProblem(thrown: unknown): boolean {
  const code = thrown instanceof Error && "code" in thrown ? thrown.code : undefined;
  return typeof code === "string" && /^(ENOSPC|EDQUOT|EACCES|EPERM|EROFS|EIO|EFBIG)$/.test(code);
}

function diskError(file: DownloadFile, cause: unknown): AppError {
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "unknown error";
  const message = `The model cannot be written to ${dirname(file.path)} (${code}). Free some space there, or set SNUG_DATA_DIR to another folder.`;
  return new AppError("invalid_configuration", message, { cause });
}

/** Two processes writing one file would mix it up. A lock whose process is gone is nobody's. */
async function lock(path: string): Promise<() => Promise<void>> {
  for (let tries = 0; ; tries++) {
    try {
      await writeFile(path, String(process.pid), { flag: "wx" });
      return () => rm(path, { force: true });
    } catch (cause) {
      if (!(cause instanceof Error && "code" in cause && cause.code === "EEXIST")) {
        throw diskError({ url: "", path }, cause);
      }
      const owner = Number(await readFile(path, "utf8").catch(() => ""));
      if (tries > 0 || (owner > 0 && isAlive(owner))) {
        const message = "This model is being downloaded already, by this program or another; wait until it is there.";
        throw new AppError("invalid_configuration", message, { cause });
      }
      await rm(path, { force: true });
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (cause) {
    return cause instanceof Error && "code" in cause && cause.code === "EPERM";
  }
}
