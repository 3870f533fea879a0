/**
 * Writes a quantization of an unquantized GGUF file, tensor by tensor, in a few megabytes of memory. Which tensor gets
 * which type follows llama.cpp's rules for the mix (fit/quantization-rules.ts), without an importance matrix.
 */
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { AppError } from "../../core/errors.ts";
import type { GgufHeader } from "../../fit/gguf.ts";
import { specFromGguf } from "../../fit/model.ts";
import { fileTypeNumber } from "../../fit/model-file-type.ts";
import { TENSOR_TYPES, type TensorType, tensorBytes } from "../../fit/quantization.ts";
import { isLlamaMix, quantizationTypes } from "../../fit/quantization-mixes.ts";
import { LLAMA_MIXES, type LlamaMix } from "../../fit/quantization-rules.ts";
import { readModelHeader } from "../check-model.ts";
import { decoders } from "./decode.ts";
import { encoders } from "./encode.ts";
import { rewriteHeader } from "./rewrite-header.ts";

export interface QuantizeOptions {
  signal?: AbortSignal;
  onProgress?(elementsDone: number, elementsTotal: number): void;
}

/** A multiple of every block; about 30 ms of work. */
const elementsPerChunk = 256 * 1024;

const isFloat = (type: TensorType) => type === "F32" || type === "F16" || type === "BF16";

/** Quantizations this file can write of a model whose rows divide into their blocks. */
export const OWN_QUANTIZATIONS: readonly LlamaMix[] = LLAMA_MIXES.filter((mix) =>
  /^(?:BF16|F16|F32|Q8_0|Q6_K|Q5_.*|Q4_.*)$/.test(mix),
);

interface PlannedTensor {
  name: string;
  dims: readonly number[];
  from: TensorType;
  type: TensorType;
  sourceOffset: number;
  elements: number;
}

/**
 * @returns the type of every tensor of the new file
 * @throws AppError invalid_request when the source is quantized already, split, or the mix needs types not written here
 */
export function planQuantization(header: GgufHeader, mix: string): PlannedTensor[] {
  if (!isLlamaMix(mix) || !OWN_QUANTIZATIONS.includes(mix)) {
    throw cannot(`${mix} cannot be made here; llama.cpp's llama-quantize can, and its folder may stand in PATH.`);
  }
  if (header.split !== undefined && header.split.count > 1) throw cannot("The file is one part of a split model.");
  const spec = specFromGguf(header);
  const types = quantizationTypes(spec, mix, { importanceMatrix: false });
  const typeOf = new Map(spec.tensors.map(({ name }, index) => [name, types[index]]));
  return header.tensors.map(({ name, dims, type: from, offset }): PlannedTensor => {
    const wanted = typeOf.get(name) ?? from;
    // What a mix leaves alone stays as the converter wrote it.
    const type = isFloat(wanted) && isFloat(from) && !isFloatMix(mix) ? from : wanted;
    if (type !== from && decoders[from] === undefined) {
      throw cannot(`Tensor ${name} is ${from} already; quantizing twice would lose more. Take the F16 or BF16 file.`);
    }
    if (type !== from && encoders[type] === undefined) throw cannot(`${mix} wants ${type} for ${name}.`);
    const elements = dims.reduce((product, dim) => product * dim, 1);
    return { name, dims, from, type, sourceOffset: header.headerBytes + offset, elements };
  });
}

function isFloatMix(mix: LlamaMix): boolean {
  return mix === "F32" || mix === "F16" || mix === "BF16";
}

/**
 * @param target appears complete or not at all
 * @throws AppError as `planQuantization`; the signal's reason when it aborts
 */
export async function quantizeFile(
  source: string,
  target: string,
  mix: LlamaMix,
  { signal, onProgress }: QuantizeOptions = {},
): Promise<{ fileBytes: number }> {
  const header = await readModelHeader(source);
  const tensors = planQuantization(header, mix);
  const fileType = fileTypeNumber(mix);
  if (fileType === undefined) throw cannot(`${mix} has no number in the file format.`);
  const part = `${target}.part`;
  const input = await open(source, "r");
  try {
    const output = await open(part, "w");
    try {
      const raw = Buffer.alloc(header.headerBytes);
      await readFully(input, raw, 0);
      const written = rewriteHeader(raw, tensors, { fileType, alignment: header.alignment });
      await output.write(written.header, 0, written.header.length, 0);
      const total = tensors.reduce((sum, { elements }) => sum + elements, 0);
      let done = 0;
      for (const [index, tensor] of tensors.entries()) {
        const position = written.header.length + written.offsets[index]!;
        await writeTensor(input, output, tensor, position, (elements) => {
          signal?.throwIfAborted();
          done += elements;
          onProgress?.(done, total);
        });
      }
      await output.truncate(written.header.length + written.dataBytes);
      await output.sync();
      await output.close();
      await rename(part, target);
      return { fileBytes: written.header.length + written.dataBytes };
    } catch (thrown) {
      await output.close().catch(() => {});
      await rm(part, { force: true });
      throw thrown;
    }
  } finally {
    await input.close();
  }
}

async function writeTensor(
  input: FileHandle,
  output: FileHandle,
  { from, type, dims, sourceOffset, elements }: PlannedTensor,
  position: number,
  advance: (elements: number) => void,
): Promise<void> {
  const bytesOf = (kind: TensorType, count: number) =>
    (count / TENSOR_TYPES[kind].blockSize) * TENSOR_TYPES[kind].bytesPerBlock;
  const chunk = Math.min(elementsPerChunk, elements);
  const source = Buffer.alloc(type === from ? Math.min(tensorBytes(from, dims), 1 << 20) : bytesOf(from, chunk));
  if (type === from) {
    const bytes = tensorBytes(from, dims);
    for (let at = 0; at < bytes; at += source.length) {
      const piece = source.subarray(0, Math.min(source.length, bytes - at));
      await readFully(input, piece, sourceOffset + at);
      await output.write(piece, 0, piece.length, position + at);
      advance((elements * piece.length) / bytes);
    }
    return;
  }
  const decode = decoders[from]!;
  const encode = encoders[type]!;
  const values = new Float32Array(chunk);
  const encoded = Buffer.alloc(bytesOf(type, chunk));
  for (let start = 0; start < elements; start += chunk) {
    const count = Math.min(chunk, elements - start);
    const bytes = source.subarray(0, bytesOf(from, count));
    await readFully(input, bytes, sourceOffset + bytesOf(from, start));
    const part = values.subarray(0, count);
    decode(bytes, part);
    const target = encoded.subarray(0, bytesOf(type, count));
    encode(part, target);
    await output.write(target, 0, target.length, position + bytesOf(type, start));
    advance(count);
  }
}

async function readFully(file: FileHandle, target: Buffer, position: number): Promise<void> {
  for (let at = 0; at < target.length; ) {
    const { bytesRead } = await file.read(target, at, target.length - at, position + at);
    if (bytesRead === 0) throw new AppError("model_file_invalid", "The model file ended early; get it again.");
    at += bytesRead;
  }
}

function cannot(message: string): AppError {
  return new AppError("invalid_request", message, { param: "quantizations" });
}
