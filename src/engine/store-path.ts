/** Models named by where they lie: a file on this disk, or an address. */
import { stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { AppError } from "../core/errors.ts";
import { checkModelFile, fileError } from "./check-model.ts";
import type { PulledModel } from "./store.ts";
import { shown, siblings } from "./store-names.ts";
import { modelId, type StoredModel } from "./store-scan.ts";

export function isPath(wanted: string): boolean {
  return /\.gguf$/i.test(wanted) || wanted.startsWith(".") || resolve(wanted) === wanted;
}

/** @throws AppError model_not_found */
export async function fromPath(wanted: string): Promise<PulledModel> {
  const path = resolve(wanted);
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    throw fileError(wanted, error);
  });
  if (!found.isFile()) {
    throw new AppError("model_not_found", `${wanted} is a folder; name one GGUF file inside it.`);
  }
  return { id: modelId(path), path, demo: false, fileBytes: found.size, already: true };
}

/** The file as a list would show it. Throws as `checkModelFile`. */
export async function describeFile(wanted: string): Promise<StoredModel> {
  const { id, path } = await fromPath(wanted);
  const { fileBytes, quantization } = await checkModelFile(path);
  return {
    id,
    source: "file",
    path,
    files: siblings(basename(path)).map((part) => join(dirname(path), part)),
    fileBytes,
    ...(quantization === undefined ? {} : { quantization }),
    complete: true,
  };
}

/** @throws AppError invalid_request for what is no address of a GGUF file */
export function parseFileUrl(address: string): { url: URL; name: string } {
  const wrong = new AppError("invalid_request", `The URL must end in the name of a GGUF file, not ${shown(address)}.`);
  try {
    const url = new URL(address);
    const name = decodeURIComponent(basename(url.pathname));
    if (/^[\w.+ -]+\.gguf$/i.test(name)) return { url, name };
  } catch {
    throw wrong;
  }
  throw wrong;
}
