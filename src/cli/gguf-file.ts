/** GGUF headers from local files. */
import { type FileHandle, open } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { AppError } from "../core/errors.ts";
import type { GgufHeader } from "../fit/gguf.ts";
import type { HubOptions } from "../fit/gguf-hub.ts";
import { isRemoteLocation, type LoadedGguf, loadRemoteGguf } from "../fit/gguf-load.ts";
import type { ByteSource } from "../fit/gguf-source.ts";
import { readGgufModel } from "../fit/gguf-split.ts";
import { quantizationOfName } from "../fit/quantization-names.ts";

/** Header of the model at `path`; the other parts of a split model are found beside it. Throws AppError. */
export async function readGgufFile(path: string): Promise<GgufHeader> {
  return await readGgufModel(basename(path), (name) => openFileSource(join(dirname(path), name)));
}

/** A local file as a byte source; close it. Throws AppError model_not_found or permission_denied. */
export async function openFileSource(path: string): Promise<ByteSource> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, "r");
    const stats = await file.stat();
    if (!stats.isFile()) throw new AppError("invalid_request", `${path} is not a file. Give the path of a .gguf file.`);
    return new FileSource(file, basename(path), stats.size);
  } catch (error) {
    await file?.close();
    throw fileError(error, path);
  }
}

class FileSource implements ByteSource {
  readonly name: string;
  readonly size: number;
  readonly #file: FileHandle;

  constructor(file: FileHandle, name: string, size: number) {
    this.#file = file;
    this.name = name;
    this.size = size;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    // No more than there is, so that a small file does not cost a large buffer.
    const wanted = Math.max(0, Math.min(length, this.size - offset));
    const { buffer, bytesRead } = await this.#file.read(new Uint8Array(wanted), 0, wanted, offset);
    return buffer.subarray(0, bytesRead);
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

function fileError(error: unknown, path: string): unknown {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (code === "ENOENT" || code === "ENOTDIR") {
    return new AppError("model_not_found", `There is no file ${path}. Check the path.`, { cause: error });
  }
  if (code === "EACCES" || code === "EPERM") {
    return new AppError("permission_denied", `${path} may not be read. Check its permissions.`, { cause: error });
  }
  return error;
}

/** Reads the header behind a path, a URL or an `hf:` reference. Throws AppError. */
export async function loadGguf(location: string, options: HubOptions): Promise<LoadedGguf> {
  if (isRemoteLocation(location)) return await loadRemoteGguf(location, { ...options, anyHost: true });
  const quantization = quantizationOfName(basename(location));
  return { header: await readGgufFile(location), ...(quantization === undefined ? {} : { quantization }) };
}
