import { describe, expect, it } from "vitest";
import { createGaussian } from "../../../test/support/gguf/brain.ts";
import { TENSOR_TYPES, type TensorType } from "../../fit/quantization.ts";
import { decoders } from "./decode.ts";
import { encoders } from "./encode.ts";
import { fromHalf, toBrainFloat, toHalf } from "./half.ts";

const normal = createGaussian(7);
const noise = Float32Array.from({ length: 256 * 64 }, () => normal());

function encode(type: TensorType, values: Float32Array): Buffer {
  const { blockSize, bytesPerBlock } = TENSOR_TYPES[type];
  const target = Buffer.alloc((values.length / blockSize) * bytesPerBlock);
  encoders[type]!(values, target);
  return target;
}

/** Read back by the published layout of each block, value by value: an independent reading of what was written. */
const read: Partial<Record<TensorType, (block: Buffer, index: number) => number>> = {
  Q8_0: (block, i) => half(block, 0) * block.readInt8(2 + i),
  Q4_0: (block, i) => half(block, 0) * (nibble(block, 2, i, 16) - 8),
  Q4_1: (block, i) => half(block, 0) * nibble(block, 4, i, 16) + half(block, 2),
  Q5_0: (block, i) => half(block, 0) * ((nibble(block, 6, i, 16) | (bit(block, 2, i) << 4)) - 16),
  Q5_1: (block, i) => half(block, 0) * (nibble(block, 8, i, 16) | (bit(block, 4, i) << 4)) + half(block, 2),
  Q4_K: (block, i) => groupValue(block, i, nibble(block, 16 + 32 * (i >> 6), i & 63, 32)),
  Q5_K: (block, i) => {
    const fifth = (block[16 + (i & 31)]! >> (i >> 5)) & 1;
    return groupValue(block, i, nibble(block, 48 + 32 * (i >> 6), i & 63, 32) | (fifth << 4));
  },
  Q6_K: (block, i) => {
    const [half128, place] = [i >> 7, i & 127];
    const low = block[half128 * 64 + (place & 63)]! >> (place < 64 ? 0 : 4);
    const high = block[128 + half128 * 32 + (place & 31)]! >> (2 * (place >> 5));
    const q = (low & 15) | ((high & 3) << 4);
    return half(block, 208) * block.readInt8(192 + (i >> 4)) * (q - 32);
  },
};

function half(block: Buffer, at: number): number {
  return fromHalf(block.readUInt16LE(at));
}
function nibble(block: Buffer, at: number, i: number, run: number): number {
  return i < run ? block[at + i]! & 15 : block[at + i - run]! >> 4;
}
function bit(block: Buffer, at: number, i: number): number {
  return (block[at + (i >> 3)]! >> (i & 7)) & 1;
}
/** Group scale and minimum of Q4_K and Q5_K: 6 bits each in 12 bytes. */
function groupValue(block: Buffer, i: number, q: number): number {
  const group = i >> 5;
  const byte = (at: number) => block[4 + at]!;
  const scale = group < 4 ? byte(group) & 63 : (byte(group + 4) & 15) | ((byte(group - 4) >> 6) << 4);
  const minimum = group < 4 ? byte(group + 4) & 63 : (byte(group + 4) >> 4) | ((byte(group) >> 6) << 4);
  return half(block, 0) * scale * q - half(block, 2) * minimum;
}

/** Relative root mean square error. */
function errorOf(type: TensorType, values: Float32Array): number {
  const { blockSize, bytesPerBlock } = TENSOR_TYPES[type];
  const bytes = encode(type, values);
  let off = 0;
  let all = 0;
  values.forEach((value, index) => {
    const start = Math.floor(index / blockSize) * bytesPerBlock;
    const got = read[type]!(bytes.subarray(start, start + bytesPerBlock), index % blockSize);
    off += (got - value) ** 2;
    all += value ** 2;
  });
  return Math.sqrt(off / all);
}

describe("block encoders", () => {
  // What llama.cpp's own encoders leave on normal noise, within a few percent.
  it.each([
    ["Q8_0", 0.0055],
    ["Q6_K", 0.019],
    ["Q5_K", 0.037],
    ["Q5_1", 0.041],
    ["Q5_0", 0.046],
    ["Q4_K", 0.076],
    ["Q4_1", 0.083],
    ["Q4_0", 0.09],
  ] as const)("%s keeps normal noise within a relative error of %f", (type, most) => {
    const error = errorOf(type, noise);
    expect(error).toBeLessThan(most);
    expect(error).toBeGreaterThan(most / 2);
  });

  it.each(Object.keys(read) as TensorType[])("%s writes zeros as zeros and a constant nearly as it is", (type) => {
    const zeros = new Float32Array(256);
    const constant = new Float32Array(256).fill(0.75);
    const { blockSize, bytesPerBlock } = TENSOR_TYPES[type];
    const of = (values: Float32Array, i: number) =>
      read[type]!(encode(type, values).subarray(Math.floor(i / blockSize) * bytesPerBlock), i % blockSize);
    for (const i of [0, 17, 255]) {
      expect(of(zeros, i)).toBeCloseTo(0, 10);
      expect(of(constant, i)).toBeCloseTo(0.75, 2);
    }
  });

  it("rounds to half precision and bfloat16 to the nearest, ties to even", () => {
    expect([1, -2, 65504, 1e6, 2 ** -24, 1 + 2 ** -11].map(toHalf)).toEqual([
      0x3c00, 0xc000, 0x7bff, 0x7c00, 1, 0x3c00,
    ]);
    expect([1, -1, 1 + 2 ** -8, 1 + 3 * 2 ** -8].map(toBrainFloat)).toEqual([0x3f80, 0xbf80, 0x3f80, 0x3f82]);
  });

  it.each(["F32", "F16", "BF16"] as const)("%s comes back as it was written", (type) => {
    const values = Float32Array.from([0, 1, -0.5, 1024, -3.25]);
    const back = new Float32Array(values.length);
    decoders[type]!(encode(type, values), back);
    expect([...back]).toEqual([...values]);
  });
});
