/**
 * Float32 values as ggml blocks: the plain types, whose scale follows from the extremes of a block. Layouts and rounding
 * are those of llama.cpp's own reference encoders.
 */
import type { TensorType } from "../../fit/quantization.ts";
import { encodeQ4_K, encodeQ5_K, encodeQ6_K } from "./encode-k.ts";
import { toBrainFloat, toHalf } from "./half.ts";

/** Encodes whole blocks; `target` is exactly as long as the blocks need. */
export type Encoder = (source: Float32Array, target: Buffer) => void;

const { fround } = Math;

/** The value of largest magnitude in `source[from, from + count)`, sign kept. */
function extreme(source: Float32Array, from: number, count: number): number {
  let found = 0;
  for (let i = from; i < from + count; i++) if (Math.abs(source[i]!) > Math.abs(found)) found = source[i]!;
  return found;
}

const encodeF32: Encoder = (source, target) => {
  target.set(new Uint8Array(source.buffer, source.byteOffset, source.byteLength));
};

const encodeF16: Encoder = (source, target) => {
  for (let i = 0; i < source.length; i++) target.writeUInt16LE(toHalf(source[i]!), i * 2);
};

const encodeBF16: Encoder = (source, target) => {
  for (let i = 0; i < source.length; i++) target.writeUInt16LE(toBrainFloat(source[i]!), i * 2);
};

/** Half away from zero, as C's `roundf`. */
function roundAway(value: number): number {
  return value < 0 ? -Math.floor(0.5 - value) : Math.floor(value + 0.5);
}

/** Block of 32: half scale, 32 signed bytes. */
const encodeQ8_0: Encoder = (source, target) => {
  for (let from = 0, at = 0; from < source.length; from += 32, at += 34) {
    const scale = fround(Math.abs(extreme(source, from, 32)) / 127);
    const inverse = scale === 0 ? 0 : fround(1 / scale);
    target.writeUInt16LE(toHalf(scale), at);
    for (let i = 0; i < 32; i++) target[at + 2 + i] = roundAway(fround(source[from + i]! * inverse)) & 0xff;
  }
};

/** Level of a value in units of `inverse`, shifted so that all are positive. */
function level(value: number, inverse: number, shift: number, top: number): number {
  return Math.min(top, Math.max(0, Math.trunc(fround(fround(value * inverse) + shift))));
}

/** Block of 32: half scale, 16 bytes of nibbles, the low nibbles being the first half; value = scale x (q - 8). */
const encodeQ4_0: Encoder = (source, target) => {
  for (let from = 0, at = 0; from < source.length; from += 32, at += 18) {
    const scale = fround(extreme(source, from, 32) / -8);
    const inverse = scale === 0 ? 0 : fround(1 / scale);
    target.writeUInt16LE(toHalf(scale), at);
    for (let i = 0; i < 16; i++) {
      const low = level(source[from + i]!, inverse, 8.5, 15);
      target[at + 2 + i] = low | (level(source[from + 16 + i]!, inverse, 8.5, 15) << 4);
    }
  }
};

/** As Q4_0 with the fifth bits of all 32 values in four bytes between; value = scale x (q - 16). */
const encodeQ5_0: Encoder = (source, target) => {
  for (let from = 0, at = 0; from < source.length; from += 32, at += 22) {
    const scale = fround(extreme(source, from, 32) / -16);
    const inverse = scale === 0 ? 0 : fround(1 / scale);
    target.writeUInt16LE(toHalf(scale), at);
    writeFiveBits(target, at + 2, (i) => level(source[from + i]!, inverse, 16.5, 31));
  }
};

/** Step and minimum of `top + 1` levels over a block of 32. */
function stepOf(source: Float32Array, from: number, top: number) {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (let i = from; i < from + 32; i++) {
    low = Math.min(low, source[i]!);
    high = Math.max(high, source[i]!);
  }
  const step = fround(fround(high - low) / top);
  return { low, step, inverse: step === 0 ? 0 : fround(1 / step) };
}

/** Block of 32: half step, half minimum, 16 bytes of nibbles; value = step x q + minimum. */
const encodeQ4_1: Encoder = (source, target) => {
  for (let from = 0, at = 0; from < source.length; from += 32, at += 20) {
    const { low, step, inverse } = stepOf(source, from, 15);
    target.writeUInt16LE(toHalf(step), at);
    target.writeUInt16LE(toHalf(low), at + 2);
    const nibble = (i: number) => level(fround(source[from + i]! - low), inverse, 0.5, 15);
    for (let i = 0; i < 16; i++) target[at + 4 + i] = nibble(i) | (nibble(16 + i) << 4);
  }
};

/** As Q4_1 with fifth bits; value = step x q + minimum. */
const encodeQ5_1: Encoder = (source, target) => {
  for (let from = 0, at = 0; from < source.length; from += 32, at += 24) {
    const { low, step, inverse } = stepOf(source, from, 31);
    target.writeUInt16LE(toHalf(step), at);
    target.writeUInt16LE(toHalf(low), at + 2);
    writeFiveBits(target, at + 4, (i) => level(fround(source[from + i]! - low), inverse, 0.5, 31));
  }
};

function writeFiveBits(target: Buffer, at: number, levelOf: (index: number) => number): void {
  let fifth = 0;
  for (let i = 0; i < 16; i++) {
    const [low, high] = [levelOf(i), levelOf(16 + i)];
    target[at + 4 + i] = (low & 15) | ((high & 15) << 4);
    fifth |= ((low >> 4) << i) | ((high >> 4) << (i + 16));
  }
  target.writeUInt32LE(fifth >>> 0, at);
}

/** Types without an entry cannot be written here. */
export const encoders: Partial<Record<TensorType, Encoder>> = {
  F32: encodeF32,
  F16: encodeF16,
  BF16: encodeBF16,
  Q8_0: encodeQ8_0,
  Q4_0: encodeQ4_0,
  Q4_1: encodeQ4_1,
  Q5_0: encodeQ5_0,
  Q5_1: encodeQ5_1,
  Q4_K: encodeQ4_K,
  Q5_K: encodeQ5_K,
  Q6_K: encodeQ6_K,
};
