/**
 * Looks at a model file before llama.cpp does. What is checked here are the mistakes that make llama.cpp abort the whole
 * process, and those it answers with a sentence nobody understands.
 */
import { type FileHandle, open, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { AppError } from "../core/errors.ts";
import type { GgufHeader } from "../fit/gguf.ts";
import type { ByteSource } from "../fit/gguf-source.ts";
import { readGgufModel } from "../fit/gguf-split.ts";
import { fileTypeName } from "../fit/model-file-type.ts";

export interface CheckedModel {
  architecture: string;
  name?: string;
  /** The file's mix, when its header says so. */
  quantization?: string;
  parameterCount: number;
  /** All parts together. */
  fileBytes: number;
  contextLengthTrained: number;
}

/** @throws AppError model_not_found (missing, a folder, unreadable) or model_file_invalid, with what to do */
export async function checkModelFile(path: string): Promise<CheckedModel> {
  await requireFile(path);
  const header = await readGgufModel(basename(path), (name) => openSource(join(dirname(path), name)));
  const { metadata, tensors } = header;
  const architecture = metadata["general.architecture"];
  if (typeof architecture !== "string" || architecture === "") {
    throw invalid("The file does not say which architecture it is (general.architecture).");
  }
  if (tensors.length === 0) throw invalid("The file has no tensors: it holds a vocabulary only.");
  requireKeys(header, architecture);
  requireConsistency(header, architecture);
  const name = metadata["general.name"];
  const quantization = fileTypeName(metadata["general.file_type"]);
  return {
    architecture,
    ...(typeof name === "string" && name !== "" ? { name } : {}),
    ...(quantization === undefined ? {} : { quantization }),
    parameterCount: tensors.reduce((sum, tensor) => sum + tensor.dims.reduce((product, dim) => product * dim, 1), 0),
    fileBytes: header.fileBytes,
    contextLengthTrained: Number(metadata[`${architecture}.context_length`]),
  };
}

/**
 * Numbers llama.cpp divides by or allocates with. Found by leaving each key out of working files in turn: without the
 * head count, the FFN width or an expert count the process aborts, without the others the load fails.
 */
function requireKeys(header: GgufHeader, architecture: string): void {
  const has = (pattern: RegExp) => header.tensors.some((tensor) => pattern.test(tensor.name));
  const required = ["context_length", "embedding_length", "block_count"];
  if (has(/\.attn_(q|qkv)\.weight$/)) required.push("attention.head_count");
  const experts = has(/\.ffn_(up|down|gate|gate_up)_exps\.weight$/);
  if (experts) required.push("expert_count", "expert_used_count");
  const widthOfExperts = header.metadata[`${architecture}.expert_feed_forward_length`];
  if (has(/\.ffn_(up|down)\.weight$/) || (experts && widthOfExperts === undefined))
    required.push("feed_forward_length");
  for (const key of required.map((name) => `${architecture}.${name}`)) {
    const value = header.metadata[key];
    if (value === undefined) throw invalid(`The file lacks ${key}, which llama.cpp needs.`);
    const numbers = Array.isArray(value) ? value : [value];
    if (!numbers.some((number) => typeof number === "number" && number > 0)) {
      throw invalid(`The file's ${key} is not a number above 0.`);
    }
  }
}

/** Counts that contradict the tensors make llama.cpp abort too. */
function requireConsistency({ metadata, tensors }: GgufHeader, architecture: string): void {
  const number = (key: string) => Number(metadata[`${architecture}.${key}`]);
  const blocks = tensors.map((tensor) => Number(/^blk\.(\d+)\./.exec(tensor.name)?.[1] ?? -1));
  const blockCount = blocks.reduce((most, block) => Math.max(most, block + 1), 0);
  if (blockCount > 0 && number("block_count") > blockCount) {
    throw invalid(`The file claims ${number("block_count")} blocks and holds ${blockCount}.`);
  }
  const experts = tensors.find((tensor) => /\.ffn_(up|down|gate|gate_up)_exps\.weight$/.test(tensor.name))?.dims[2];
  if (experts !== undefined && number("expert_count") !== experts) {
    throw invalid(`The file claims ${number("expert_count")} experts and holds ${experts}.`);
  }
  if (experts !== undefined && number("expert_used_count") > experts) {
    throw invalid(`The file uses ${number("expert_used_count")} of ${experts} experts.`);
  }
  const kvHeads = metadata[`${architecture}.attention.head_count_kv`];
  if (kvHeads === 0) throw invalid("The file's attention has no key and value heads.");
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
