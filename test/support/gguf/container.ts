/**
 * GGUF version 3 container: typed metadata, a tensor table, aligned tensor data.
 *
 * Tensor values are produced lazily and streamed, so a file of one gigabyte needs a few megabytes of memory, and a
 * tensor without values is a hole in a sparse file.
 */
import { closeSync, ftruncateSync, openSync, writeSync } from "node:fs";
import { encoders } from "../../../src/engine/quantize/encode.ts";

/** Value types of the container, by the number written in the file. */
const VALUE_TYPES = {
  u8: 0,
  i8: 1,
  u16: 2,
  i16: 3,
  u32: 4,
  i32: 5,
  f32: 6,
  bool: 7,
  str: 8,
  arr: 9,
  u64: 10,
  i64: 11,
  f64: 12,
} as const;

export type ScalarType = Exclude<keyof typeof VALUE_TYPES, "arr">;
export type ScalarValue = number | bigint | boolean | string;

export type MetadataEntry =
  | { key: string; type: ScalarType; value: ScalarValue }
  | { key: string; type: "arr"; of: ScalarType; value: readonly ScalarValue[] };

/** ggml tensor types: number in the file, elements per block, bytes per block. */
export const TENSOR_TYPES = {
  F32: { id: 0, block: 1, bytes: 4 },
  F16: { id: 1, block: 1, bytes: 2 },
  Q4_0: { id: 2, block: 32, bytes: 18 },
  Q4_1: { id: 3, block: 32, bytes: 20 },
  Q5_0: { id: 6, block: 32, bytes: 22 },
  Q5_1: { id: 7, block: 32, bytes: 24 },
  Q8_0: { id: 8, block: 32, bytes: 34 },
  Q2_K: { id: 10, block: 256, bytes: 84 },
  Q3_K: { id: 11, block: 256, bytes: 110 },
  Q4_K: { id: 12, block: 256, bytes: 144 },
  Q5_K: { id: 13, block: 256, bytes: 176 },
  Q6_K: { id: 14, block: 256, bytes: 210 },
  IQ4_NL: { id: 20, block: 32, bytes: 18 },
  IQ4_XS: { id: 23, block: 256, bytes: 136 },
  BF16: { id: 30, block: 1, bytes: 2 },
  MXFP4: { id: 39, block: 32, bytes: 17 },
} as const;

export type TensorTypeName = keyof typeof TENSOR_TYPES;

/** Writes the values of the elements `[start, start + out.length)` into `out`. */
export type Fill = (out: Float32Array, start: number) => void;

export interface TensorEntry {
  name: string;
  /** ggml order: `dims[0]` is the row length. */
  dims: readonly number[];
  type: TensorTypeName;
  /** Absent: zeros, as a hole in the file. */
  fill?: Fill;
}

const alignment = 32;
const elementsPerWrite = 256 * 1024;

export function elementCount(tensor: TensorEntry): number {
  return tensor.dims.reduce((product, dim) => product * dim, 1);
}

export function tensorBytes(tensor: TensorEntry): number {
  const { block, bytes } = TENSOR_TYPES[tensor.type];
  if (tensor.dims[0]! % block !== 0) {
    throw new Error(
      `${tensor.name}: rows of ${tensor.dims[0]} elements do not divide into ${tensor.type} blocks of ${block}`,
    );
  }
  return (elementCount(tensor) / block) * bytes;
}

/** The bytes before the tensor data, where each tensor starts behind them, and how long the data is. */
export function encodeHeader(metadata: readonly MetadataEntry[], tensors: readonly TensorEntry[]) {
  const out = new ByteList();
  out.push(Buffer.from("GGUF"));
  out.scalar("u32", 3);
  out.scalar("u64", tensors.length);
  out.scalar("u64", metadata.length);
  for (const entry of metadata) out.entry(entry);
  const offsets: number[] = [];
  let dataBytes = 0;
  for (const tensor of tensors) {
    out.scalar("str", tensor.name);
    out.scalar("u32", tensor.dims.length);
    for (const dim of tensor.dims) out.scalar("u64", dim);
    out.scalar("u32", TENSOR_TYPES[tensor.type].id);
    out.scalar("u64", dataBytes);
    offsets.push(dataBytes);
    dataBytes += align(tensorBytes(tensor));
  }
  out.push(Buffer.alloc(align(out.length) - out.length));
  return { header: out.concat(), offsets, dataBytes };
}

export function writeGguf(path: string, metadata: readonly MetadataEntry[], tensors: readonly TensorEntry[]) {
  const { header, offsets, dataBytes } = encodeHeader(metadata, tensors);
  const file = openSync(path, "w");
  try {
    writeSync(file, header, 0, header.length, 0);
    // Whatever is not written below stays a hole of zeros.
    ftruncateSync(file, header.length + dataBytes);
    tensors.forEach((tensor, index) => {
      if (tensor.fill !== undefined) writeTensor(file, header.length + offsets[index]!, tensor, tensor.fill);
    });
  } finally {
    closeSync(file);
  }
  return { fileBytes: header.length + dataBytes, headerBytes: header.length };
}

function writeTensor(file: number, position: number, tensor: TensorEntry, fill: Fill): void {
  const encode = encoders[tensor.type];
  if (encode === undefined) throw new Error(`${tensor.name}: no encoder for ${tensor.type}; use the brain "zeros"`);
  const { block, bytes } = TENSOR_TYPES[tensor.type];
  const total = elementCount(tensor);
  const values = new Float32Array(Math.min(elementsPerWrite, total));
  const encoded = Buffer.alloc((values.length / block) * bytes);
  for (let start = 0; start < total; start += elementsPerWrite) {
    const count = Math.min(elementsPerWrite, total - start);
    const source = values.subarray(0, count);
    const target = encoded.subarray(0, (count / block) * bytes);
    fill(source, start);
    encode(source, target);
    writeSync(file, target, 0, target.length, position + (start / block) * bytes);
  }
}

function align(length: number): number {
  return Math.ceil(length / alignment) * alignment;
}

class ByteList {
  readonly #parts: Buffer[] = [];
  length = 0;

  push(bytes: Buffer): void {
    this.#parts.push(bytes);
    this.length += bytes.length;
  }

  entry(entry: MetadataEntry): void {
    this.scalar("str", entry.key);
    this.scalar("u32", VALUE_TYPES[entry.type]);
    if (entry.type !== "arr") {
      this.scalar(entry.type, entry.value);
      return;
    }
    this.scalar("u32", VALUE_TYPES[entry.of]);
    this.scalar("u64", entry.value.length);
    for (const value of entry.value) this.scalar(entry.of, value);
  }

  scalar(type: ScalarType, value: ScalarValue): void {
    this.push(encodeScalar(type, value));
  }

  concat(): Buffer {
    return Buffer.concat(this.#parts, this.length);
  }
}

function encodeScalar(type: ScalarType, value: ScalarValue): Buffer {
  if (type === "str") {
    const text = Buffer.from(String(value), "utf8");
    return Buffer.concat([encodeScalar("u64", text.length), text]);
  }
  const bytes = Buffer.alloc(
    { u8: 1, i8: 1, bool: 1, u16: 2, i16: 2, u32: 4, i32: 4, f32: 4, u64: 8, i64: 8, f64: 8 }[type],
  );
  const write: Record<Exclude<ScalarType, "str">, () => number> = {
    u8: () => bytes.writeUInt8(Number(value)),
    i8: () => bytes.writeInt8(Number(value)),
    bool: () => bytes.writeUInt8(value ? 1 : 0),
    u16: () => bytes.writeUInt16LE(Number(value)),
    i16: () => bytes.writeInt16LE(Number(value)),
    u32: () => bytes.writeUInt32LE(Number(value)),
    i32: () => bytes.writeInt32LE(Number(value)),
    f32: () => bytes.writeFloatLE(Number(value)),
    u64: () => bytes.writeBigUInt64LE(BigInt(value)),
    i64: () => bytes.writeBigInt64LE(BigInt(value)),
    f64: () => bytes.writeDoubleLE(Number(value)),
  };
  write[type]();
  return bytes;
}
