/** From what SNUG_MODEL says (nothing, a path, a name or a URL) to a GGUF file on this disk. */
import { createWriteStream } from "node:fs";
import { mkdir, open, readdir, rename, rm, stat, statfs } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { AppError } from "../core/errors.ts";
import { formatBytes } from "../core/units.ts";

export interface ResolvedModel {
  /** What clients call it. */
  id: string;
  path: string;
  demo: boolean;
}

export interface DownloadProgress {
  bytesDone: number;
  /** undefined when the server does not say. */
  bytesTotal: number | undefined;
}

export interface ResolveOptions {
  dataDir: string;
  demoPath: string;
  signal: AbortSignal;
  onProgress?: (progress: DownloadProgress) => void;
  fetch?: typeof globalThis.fetch;
}

/** Left free beside a download, so that the database and the system keep breathing. */
const diskReserveBytes = 256 * 1024 ** 2;

/**
 * @param wanted undefined or "demo" for the embedded model, a GGUF path, an http(s) URL, or the name of a file in the
 *   data folder's models
 * @throws AppError model_not_found, model_file_invalid, engine_unavailable (download failed)
 */
export async function resolveModel(wanted: string | undefined, options: ResolveOptions): Promise<ResolvedModel> {
  if (wanted === undefined || wanted === "demo") return { id: "demo", path: options.demoPath, demo: true };
  if (/^https?:\/\//i.test(wanted)) return downloadModel(new URL(wanted), options);
  if (/[\\/]|\.gguf$/i.test(wanted)) return fileModel(resolve(wanted), wanted);
  return namedModel(wanted, join(options.dataDir, "models"));
}

async function fileModel(path: string, wanted: string): Promise<ResolvedModel> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "EACCES")
      throw new AppError("model_not_found", `The model file ${wanted} may not be read; check its permissions.`);
    return undefined;
  });
  if (found === undefined) {
    throw new AppError(
      "model_not_found",
      `There is no model file at ${wanted}. Check the path in SNUG_MODEL, or leave it empty for the demo model.`,
    );
  }
  if (!found.isFile()) {
    throw new AppError("model_not_found", `${wanted} is a folder. SNUG_MODEL needs one GGUF file inside it.`);
  }
  return { id: modelId(path), path, demo: false };
}

async function namedModel(name: string, folder: string): Promise<ResolvedModel> {
  const files = (await readdir(folder).catch(() => [])).filter((file) => file.endsWith(".gguf"));
  const match = files.find((file) => modelId(file).toLowerCase() === name.toLowerCase());
  if (match !== undefined) return { id: modelId(match), path: join(folder, match), demo: false };
  const there = files.length === 0 ? "nothing yet" : files.map(modelId).join(", ");
  throw new AppError(
    "model_not_found",
    `There is no model called ${name} in ${folder} (${there}). Give SNUG_MODEL the path or the URL of a GGUF file.`,
  );
}

/** "Qwen3-8B-Q4_K_M" of ".../Qwen3-8B-Q4_K_M.gguf"; the part number of split files goes too. */
export function modelId(path: string): string {
  return basename(path)
    .replace(/\.gguf$/i, "")
    .replace(/-00001-of-\d{5}$/, "");
}

/** Downloads once: the file stays under models/, a broken transfer goes on where it stopped. */
async function downloadModel(url: URL, options: ResolveOptions): Promise<ResolvedModel> {
  const name = decodeURIComponent(basename(url.pathname));
  if (!/^[\w.+ -]+\.gguf$/i.test(name)) {
    throw new AppError("invalid_request", `The URL must end in the name of a GGUF file, not ${JSON.stringify(name)}.`);
  }
  const folder = join(options.dataDir, "models");
  const path = join(folder, name);
  const model = { id: modelId(name), path, demo: false };
  if (await stat(path).catch(() => undefined)) return model;
  await mkdir(folder, { recursive: true });
  const part = `${path}.part`;
  await fetchInto(part, url, options);
  await requireGguf(part, url);
  await rename(part, path);
  return model;
}

async function fetchInto(part: string, url: URL, options: ResolveOptions): Promise<void> {
  const have = (await stat(part).catch(() => undefined))?.size ?? 0;
  const request = options.fetch ?? globalThis.fetch;
  const headers: Record<string, string> = have > 0 ? { Range: `bytes=${have}-` } : {};
  const response = await request(url, { headers, signal: options.signal }).catch((cause) => {
    throw downloadFailed(url, "the server cannot be reached", cause);
  });
  // The part already is the whole file: the last run stopped between the last byte and the rename.
  if (response.status === 416 && have > 0) return void (await response.body?.cancel());
  if (!response.ok || response.body === null) {
    await response.body?.cancel();
    const hint =
      response.status === 401 || response.status === 403 ? "; it may need a login or an accepted licence" : "";
    throw downloadFailed(url, `the server answered ${response.status}${hint}`);
  }
  const start = response.status === 206 ? have : 0;
  const length = Number(response.headers.get("content-length"));
  const bytesTotal = length > 0 ? start + length : undefined;
  await requireDiskSpace(part, length);
  let bytesDone = start;
  const counted = async function* (chunks: AsyncIterable<Uint8Array>) {
    for await (const chunk of chunks) {
      bytesDone += chunk.length;
      options.onProgress?.({ bytesDone, bytesTotal });
      yield chunk;
    }
  };
  const body = Readable.fromWeb(response.body as import("node:stream/web").ReadableStream<Uint8Array>);
  await pipeline(body, counted, createWriteStream(part, { flags: start > 0 ? "a" : "w" }), {
    signal: options.signal,
  }).catch((cause) => {
    throw downloadFailed(url, "the transfer broke off; start again to go on where it stopped", cause);
  });
  if (bytesTotal !== undefined && bytesDone !== bytesTotal) {
    throw downloadFailed(url, `${formatBytes(bytesDone)} of ${formatBytes(bytesTotal)} came; start again to go on`);
  }
}

async function requireDiskSpace(part: string, length: number): Promise<void> {
  if (!(length > 0)) return;
  const disk = await statfs(join(part, ".."));
  const free = disk.bavail * disk.bsize;
  if (free < length + diskReserveBytes) {
    throw new AppError(
      "invalid_configuration",
      `The model needs ${formatBytes(length)} more on disk and ${formatBytes(free)} is free. Free some space or move SNUG_DATA_DIR.`,
    );
  }
}

async function requireGguf(path: string, url: URL): Promise<void> {
  const file = await open(path);
  const magic = Buffer.alloc(4);
  await file.read(magic, 0, 4, 0).finally(() => file.close());
  if (magic.toString("latin1") === "GGUF") return;
  await rm(path);
  throw new AppError(
    "model_file_invalid",
    `What ${url.host} sent is not a GGUF file. Use the download link of the file, not of its page.`,
  );
}

function downloadFailed(url: URL, why: string, cause?: unknown): AppError {
  return new AppError("engine_unavailable", `The model could not be downloaded from ${url.host}: ${why}.`, { cause });
}
