/** The tensor table of a GGUF header, and whether its data can lie where the table says. */
import { AppError } from "../core/errors.ts";
import { ggufDimensionsMax, ggufFileBytesMax, ggufTensorNameBytesMax, ggufTensorsMax } from "../core/limits.ts";
import { roundUp } from "../core/units.ts";
import { shown } from "./gguf-metadata.ts";
import { type HeaderCursor, invalidFile } from "./gguf-source.ts";
import { type TensorType, tensorBytes, tensorTypeById } from "./quantization.ts";
import type { TensorSpec } from "./types.ts";

export interface GgufTensor extends TensorSpec {
  readonly type: TensorType;
  /** From the start of the data section. */
  readonly offset: number;
  readonly bytes: number;
}

/** Reads `count` descriptors. Throws `model_file_invalid`. */
export async function readTensors(cursor: HeaderCursor, count: number): Promise<GgufTensor[]> {
  if (count > ggufTensorsMax) {
    throw invalidFile(
      `The header claims ${count} tensors; more than ${ggufTensorsMax} is no model. Get the file again.`,
      { tensors: count, tensorsMax: ggufTensorsMax },
    );
  }
  // The smallest descriptor: name length, rank, type, offset.
  cursor.expect(count * 24, "the tensor table");
  const tensors: GgufTensor[] = [];
  const names = new Set<string>();
  for (let index = 0; index < count; index++) {
    const tensor = await readTensor(cursor, index);
    if (names.has(tensor.name)) throw invalidFile(`Tensor ${shown(tensor.name)} is there twice. Get the file again.`);
    names.add(tensor.name);
    tensors.push(tensor);
  }
  return tensors;
}

const decoder = new TextDecoder();

async function readTensor(cursor: HeaderCursor, index: number): Promise<GgufTensor> {
  const what = `tensor ${index}`;
  await cursor.need(8, what);
  const nameLength = cursor.count64();
  if (nameLength > ggufTensorNameBytesMax) {
    throw invalidFile(
      `The name of ${what} claims ${nameLength} bytes; ggml allows ${ggufTensorNameBytesMax}. Get the file again.`,
    );
  }
  await cursor.need(nameLength + 4, what);
  const name = decoder.decode(cursor.bytes(nameLength));
  const rank = cursor.u32();
  if (rank > ggufDimensionsMax) {
    throw invalidFile(
      `Tensor ${shown(name)} claims ${rank} dimensions; ggml allows ${ggufDimensionsMax}. Get the file again.`,
    );
  }
  await cursor.need(rank * 8 + 12, what);
  const dims: number[] = [];
  for (let dim = 0; dim < rank; dim++) dims.push(readDimension(cursor, name, dim));
  const typeId = cursor.u32();
  const offset = cursor.count64();
  const type = tensorTypeById(typeId);
  if (type === undefined) {
    throw invalidFile(
      `Tensor ${shown(name)} has type ${typeId}, which llama.cpp does not know or no longer reads. Get a file in another quantization.`,
      { tensorTypeId: typeId },
    );
  }
  return { name, dims, type, offset, bytes: bytesOf(name, type, dims) };
}

function readDimension(cursor: HeaderCursor, name: string, dim: number): number {
  const size = cursor.count64();
  if (size === 0 || size > ggufFileBytesMax) {
    throw invalidFile(
      `Dimension ${dim} of tensor ${shown(name)} is ${size}; expected 1 to ${ggufFileBytesMax}. Get the file again.`,
      { dimension: size },
    );
  }
  return size;
}

function bytesOf(name: string, type: TensorType, dims: readonly number[]): number {
  try {
    return tensorBytes(type, dims);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    throw new AppError(error.code, `Tensor ${shown(name)}: ${error.message}`, error);
  }
}

/**
 * Checks that tensors follow one another without gap or overlap, each at its alignment, as llama.cpp demands.
 * Returns the length of the data section. Throws `model_file_invalid`.
 */
export function checkLayout(tensors: readonly GgufTensor[], alignment: number): number {
  let expected = 0;
  for (const { name, offset, bytes } of tensors) {
    if (offset !== expected) {
      throw invalidFile(
        `The data of tensor ${shown(name)} is said to start at ${offset}; ${verdict(offset, expected, alignment)} Get the file again.`,
        { offset, expectedOffset: expected },
      );
    }
    expected = roundUp(offset + bytes, alignment);
    if (!(expected <= ggufFileBytesMax)) {
      throw invalidFile(
        `The tensors take ${expected} bytes up to ${shown(name)}; the limit is ${ggufFileBytesMax}. Get the file again.`,
      );
    }
  }
  return expected;
}

function verdict(offset: number, expected: number, alignment: number): string {
  if (offset % alignment !== 0) return `that is not aligned to ${alignment}.`;
  return offset < expected ? `the one before it ends at ${expected}, so they overlap.` : `${expected} was expected.`;
}
