/**
 * Tensor types: how many bytes a tensor takes, exactly. The leaf of the quantization family:
 * file mixes ("Q4_K_M" as types per tensor) are in quantization-mixes.ts, formats other than GGUF in
 * quantization-formats.ts, the list of all of them with bytes per model in quantization-list.ts.
 */
import { AppError } from "../core/errors.ts";

/** Storage of one tensor type: rows are cut into blocks of `blockSize` elements, each `bytesPerBlock` long. */
export interface TensorTypeFacts {
  /** Number written in a GGUF file (`enum ggml_type`). */
  id: number;
  /** Elements per block; a row's length must be a multiple of it. */
  blockSize: number;
  bytesPerBlock: number;
}

/**
 * Every type a GGUF file may hold, by ggml's name. Sizes follow from ggml's block structures (scales, minima and
 * packed bits added up). Ids 4, 5, 31 to 33 and 36 to 38 were withdrawn and are no longer readable by llama.cpp.
 */
export const TENSOR_TYPES = {
  F32: { id: 0, blockSize: 1, bytesPerBlock: 4 },
  F16: { id: 1, blockSize: 1, bytesPerBlock: 2 },
  Q4_0: { id: 2, blockSize: 32, bytesPerBlock: 18 },
  Q4_1: { id: 3, blockSize: 32, bytesPerBlock: 20 },
  Q5_0: { id: 6, blockSize: 32, bytesPerBlock: 22 },
  Q5_1: { id: 7, blockSize: 32, bytesPerBlock: 24 },
  Q8_0: { id: 8, blockSize: 32, bytesPerBlock: 34 },
  Q8_1: { id: 9, blockSize: 32, bytesPerBlock: 36 },
  Q2_K: { id: 10, blockSize: 256, bytesPerBlock: 84 },
  Q3_K: { id: 11, blockSize: 256, bytesPerBlock: 110 },
  Q4_K: { id: 12, blockSize: 256, bytesPerBlock: 144 },
  Q5_K: { id: 13, blockSize: 256, bytesPerBlock: 176 },
  Q6_K: { id: 14, blockSize: 256, bytesPerBlock: 210 },
  Q8_K: { id: 15, blockSize: 256, bytesPerBlock: 292 },
  IQ2_XXS: { id: 16, blockSize: 256, bytesPerBlock: 66 },
  IQ2_XS: { id: 17, blockSize: 256, bytesPerBlock: 74 },
  IQ3_XXS: { id: 18, blockSize: 256, bytesPerBlock: 98 },
  IQ1_S: { id: 19, blockSize: 256, bytesPerBlock: 50 },
  IQ4_NL: { id: 20, blockSize: 32, bytesPerBlock: 18 },
  IQ3_S: { id: 21, blockSize: 256, bytesPerBlock: 110 },
  IQ2_S: { id: 22, blockSize: 256, bytesPerBlock: 82 },
  IQ4_XS: { id: 23, blockSize: 256, bytesPerBlock: 136 },
  I8: { id: 24, blockSize: 1, bytesPerBlock: 1 },
  I16: { id: 25, blockSize: 1, bytesPerBlock: 2 },
  I32: { id: 26, blockSize: 1, bytesPerBlock: 4 },
  I64: { id: 27, blockSize: 1, bytesPerBlock: 8 },
  F64: { id: 28, blockSize: 1, bytesPerBlock: 8 },
  IQ1_M: { id: 29, blockSize: 256, bytesPerBlock: 56 },
  BF16: { id: 30, blockSize: 1, bytesPerBlock: 2 },
  TQ1_0: { id: 34, blockSize: 256, bytesPerBlock: 54 },
  TQ2_0: { id: 35, blockSize: 256, bytesPerBlock: 66 },
  MXFP4: { id: 39, blockSize: 32, bytesPerBlock: 17 },
  NVFP4: { id: 40, blockSize: 64, bytesPerBlock: 36 },
  Q1_0: { id: 41, blockSize: 128, bytesPerBlock: 18 },
  Q2_0: { id: 42, blockSize: 64, bytesPerBlock: 18 },
} as const satisfies Record<string, TensorTypeFacts>;

/** One tensor's format, by ggml's name. Not a file's mix: that is a quantization ("Q4_K_M"). */
export type TensorType = keyof typeof TENSOR_TYPES;

export const TENSOR_TYPE_NAMES = Object.keys(TENSOR_TYPES) as TensorType[];

const nameById = new Map<number, TensorType>(TENSOR_TYPE_NAMES.map((name) => [TENSOR_TYPES[name].id, name]));

/** The type with this number in a GGUF file; undefined for withdrawn and unknown numbers. */
export function tensorTypeById(id: number): TensorType | undefined {
  return nameById.get(id);
}

export function isTensorType(name: string): name is TensorType {
  return Object.hasOwn(TENSOR_TYPES, name);
}

/** Bits one weight takes, scales included: 4.5 for Q4_0. */
export function bitsPerWeight(type: TensorType): number {
  const { blockSize, bytesPerBlock } = TENSOR_TYPES[type];
  return (bytesPerBlock * 8) / blockSize;
}

/**
 * Bytes of a tensor's data.
 *
 * @param dims in ggml order, row length first; `[]` is one scalar.
 * @throws AppError model_file_invalid when rows are no whole number of blocks, or the size is not a safe integer.
 */
export function tensorBytes(type: TensorType, dims: readonly number[]): number {
  const { blockSize, bytesPerBlock } = TENSOR_TYPES[type];
  const rowLength = dims[0] ?? 1;
  if (rowLength % blockSize !== 0) {
    throw new AppError(
      "model_file_invalid",
      `A ${type} tensor needs rows that are a multiple of ${blockSize} elements, and this one has rows of ${rowLength}. Use another quantization or file.`,
      { details: { tensorType: type, rowLength, blockSize } },
    );
  }
  let bytes = (rowLength / blockSize) * bytesPerBlock;
  for (let index = 1; index < dims.length; index++) bytes *= dims[index]!;
  if (!Number.isSafeInteger(bytes) || bytes < 0) {
    throw new AppError(
      "model_file_invalid",
      `A tensor of dimensions ${dims.join(" x ")} in ${type} is larger than any machine can hold.`,
      { details: { tensorType: type, dims: [...dims] } },
    );
  }
  return bytes;
}
