/**
 * Looks at a model file before llama.cpp does. What is checked here are the mistakes that make llama.cpp abort the whole
 * process, and those it answers with a sentence nobody understands.
 */
import { type FileHandle, open, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { AppError } from "../core/errors.ts";
import type { GgufHeader } from "../fit/gguf.ts";
import { requireLoadable } from "../fit/gguf-required.ts";
import type { ByteSource } from "../fit/gguf-source.ts";
import { parsePartName, partName, readGgufModel } from "../fit/gguf-split.ts";
import { fileTypeName } from "../fit/model-file-type.ts";
import { taskOf } from "./vector-models.ts";

export interface CheckedModel {
  /** What llama.cpp wants to be given: of a split model the first part. */
  path: string;
  architecture: string;
  name?: string;
  /** The file's mix, when its header says so. */
  quantization?: string;
  parameterCount: number;
  /** All parts together. */
  fileBytes: number;
  contextLengthTrained: number;
  /** What it is for; left out: chat. */
  task?: "embedding" | "rerank";
}

/** @throws AppError model_not_found (missing, a folder, unreadable) or model_file_invalid, with what to do */
export async function checkModelFile(path: string): Promise<CheckedModel> {
  const header = await readModelHeader(path);
  const { metadata, tensors } = header;
  const architecture = metadata["general.architecture"];
  if (typeof architecture !== "string" || architecture === "") {
    throw invalid("The file does not say which architecture it is (general.architecture).");
  }
  if (architecture === "clip") {
    throw new AppError(
      "model_file_invalid",
      "The file is a projector (mmproj): the eyes of a vision model, and no model itself. Name the model's own file; its pictures are read by a llama-server of your own with --mmproj, not here.",
    );
  }
  if (tensors.length === 0) throw invalid("The file has no tensors: it holds a vocabulary only.");
  requireLoadable(header);
  if (metadata[`${architecture}.attention.head_count_kv`] === 0) {
    throw invalid("The file's attention has no key and value heads, by which llama.cpp would divide.");
  }
  const contextLengthTrained = metadata[`${architecture}.context_length`];
  if (typeof contextLengthTrained !== "number" || !(contextLengthTrained > 0)) {
    throw invalid(`The file's ${architecture}.context_length is not a number above 0.`);
  }
  const task = taskOf(metadata);
  const name = metadata["general.name"];
  const quantization = fileTypeName(metadata["general.file_type"]);
  return {
    path: firstPart(path),
    architecture,
    ...(typeof name === "string" && name !== "" ? { name } : {}),
    ...(quantization === undefined ? {} : { quantization }),
    parameterCount: tensors.reduce((sum, tensor) => sum + tensor.dims.reduce((product, dim) => product * dim, 1), 0),
    fileBytes: header.fileBytes,
    contextLengthTrained,
    ...(task === "chat" ? {} : { task }),
  };
}

/** The header of a model on this disk, all parts of a split one together. Throws as `checkModelFile`. */
export async function readModelHeader(path: string): Promise<GgufHeader> {
  await requireFile(path);
  return await readGgufModel(basename(path), (name) => openSource(join(dirname(path), name)));
}

function firstPart(path: string): string {
  const part = parsePartName(basename(path));
  return part === undefined ? path : join(dirname(path), partName(part.prefix, 0, part.count));
}

async function requireFile(path: string): Promise<void> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    throw fileError(path, error);
  });
  if (found.isDirectory()) {
    throw new AppError("model_not_found", `${path} is a folder. Give the path of one GGUF file inside it.`);
  }
  if (!found.isFile()) throw new AppError("model_not_found", `${path} is not a file. Give the path of a GGUF file.`);
}

async function openSource(path: string): Promise<ByteSource> {
  const file = await open(path).catch((error: NodeJS.ErrnoException) => {
    throw fileError(path, error);
  });
  const { size } = await file.stat();
  return {
    name: basename(path),
    size,
    read: (offset, length) => readAt(file, offset, length),
    close: () => file.close(),
  };
}

async function readAt(file: FileHandle, offset: number, length: number): Promise<Uint8Array> {
  const { buffer, bytesRead } = await file.read(new Uint8Array(length), 0, length, offset);
  return buffer.subarray(0, bytesRead);
}

/** What the operating system says about a path, as a sentence with a remedy. */
export function fileError(path: string, error: NodeJS.ErrnoException): AppError {
  if (error.code === "EACCES" || error.code === "EPERM") {
    return new AppError("model_not_found", `The model file ${path} may not be read; check its permissions.`);
  }
  if (error.code === "ENOENT" || error.code === "ENOTDIR") {
    return new AppError("model_not_found", `There is no model file at ${path}; check the path.`);
  }
  const message = `The model file ${path} cannot be read (${error.code ?? "unknown error"}); check the disk.`;
  return new AppError("model_not_found", message, { cause: error });
}

function invalid(finding: string): AppError {
  return new AppError("model_file_invalid", `${finding} It is damaged or no chat model; get the file again.`);
}
