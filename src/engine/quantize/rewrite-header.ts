/** The header of a GGUF file written anew for other tensor types; metadata is copied byte for byte, vocabularies and all. */
import { AppError } from "../../core/errors.ts";
import { roundUp } from "../../core/units.ts";
import { TENSOR_TYPES, type TensorType, tensorBytes } from "../../fit/quantization.ts";

export interface WrittenTensor {
  name: string;
  /** ggml order, row length first. */
  dims: readonly number[];
  type: TensorType;
}

const stringType = 8;
const listType = 9;
const u32Type = 4;
/** Bytes of the scalar value types by their number in the file. */
const scalarBytes: Readonly<Record<number, number>> = {
  0: 1,
  1: 1,
  2: 2,
  3: 2,
  4: 4,
  5: 4,
  6: 4,
  7: 1,
  10: 8,
  11: 8,
  12: 8,
};
/** Replaced by ours, or about parts that are no more. */
const droppedKeys = /^(?:general\.(?:file_type|quantization_version)|split\..*)$/;
/** ggml's version of the block formats; it has been 2 since 2023. */
const quantizationVersion = 2;

/**
 * @param raw the header of a file that `parseGguf` accepted
 * @param fileType number of the mix in `general.file_type`
 * @returns the new header, padded, and where each tensor's data starts behind it
 */
export function rewriteHeader(
  raw: Buffer,
  tensors: readonly WrittenTensor[],
  { fileType, alignment }: { fileType: number; alignment: number },
): { header: Buffer; offsets: number[]; dataBytes: number } {
  const kept = keptPairs(raw);
  const added = [pairU32("general.file_type", fileType), pairU32("general.quantization_version", quantizationVersion)];
  const offsets: number[] = [];
  let dataBytes = 0;
  const table = tensors.map(({ name, dims, type }) => {
    offsets.push(dataBytes);
    const entry = tensorEntry(name, dims, TENSOR_TYPES[type].id, dataBytes);
    dataBytes = roundUp(dataBytes + tensorBytes(type, dims), alignment);
    return entry;
  });
  const start = Buffer.alloc(24);
  start.write("GGUF", "latin1");
  start.writeUInt32LE(3, 4);
  start.writeBigUInt64LE(BigInt(tensors.length), 8);
  start.writeBigUInt64LE(BigInt(kept.length + added.length), 16);
  const parts = [start, ...kept, ...added, ...table];
  const bytes = parts.reduce((sum, part) => sum + part.length, 0);
  return { header: Buffer.concat(parts, roundUp(bytes, alignment)), offsets, dataBytes };
}

/** The key-value pairs to keep, as they stand. */
function keptPairs(raw: Buffer): Buffer[] {
  const count = Number(raw.readBigUInt64LE(16));
  const pairs: Buffer[] = [];
  let at = 24;
  for (let index = 0; index < count; index++) {
    const start = at;
    const keyEnd = at + 8 + length64(raw, at);
    const key = raw.toString("utf8", at + 8, keyEnd);
    at = valueEnd(raw, raw.readUInt32LE(keyEnd), keyEnd + 4);
    if (!droppedKeys.test(key)) pairs.push(raw.subarray(start, at));
  }
  return pairs;
}

function valueEnd(raw: Buffer, type: number, at: number): number {
  if (type === stringType) return at + 8 + length64(raw, at);
  if (type !== listType) return at + sizeOf(type);
  const of = raw.readUInt32LE(at);
  const count = length64(raw, at + 4);
  let end = at + 12;
  if (of !== stringType && of !== listType) return end + count * sizeOf(of);
  for (let item = 0; item < count; item++) end = valueEnd(raw, of, end);
  return end;
}

function length64(raw: Buffer, at: number): number {
  return Number(raw.readBigUInt64LE(at));
}

function sizeOf(type: number): number {
  const bytes = scalarBytes[type];
  if (bytes === undefined) throw new AppError("model_file_invalid", `Metadata has the unknown value type ${type}.`);
  return bytes;
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, "utf8");
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(bytes.length));
  return Buffer.concat([length, bytes]);
}

function pairU32(key: string, value: number): Buffer {
  const rest = Buffer.alloc(8);
  rest.writeUInt32LE(u32Type);
  rest.writeUInt32LE(value, 4);
  return Buffer.concat([text(key), rest]);
}

function tensorEntry(name: string, dims: readonly number[], typeId: number, offset: number): Buffer {
  const rest = Buffer.alloc(4 + dims.length * 8 + 12);
  rest.writeUInt32LE(dims.length);
  for (const [index, dim] of dims.entries()) rest.writeBigUInt64LE(BigInt(dim), 4 + index * 8);
  rest.writeUInt32LE(typeId, 4 + dims.length * 8);
  rest.writeBigUInt64LE(BigInt(offset), 8 + dims.length * 8);
  return Buffer.concat([text(name), rest]);
}
