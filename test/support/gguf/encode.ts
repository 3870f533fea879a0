/**
 * Encoders from float32 values to ggml blocks. A plain fit per block, no search: close enough for test models.
 * Types without an encoder can only be written as zeros.
 */
import type { TensorTypeName } from "./container.ts";

/** Encodes whole blocks; `target` is exactly as long as the blocks need. */
type Encoder = (source: Float32Array, target: Buffer) => void;

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

/** IEEE half-precision bits, rounded to nearest even. */
export function toHalf(value: number): number {
  float[0] = value;
  const x = bits[0]!;
  const sign = (x >>> 16) & 0x8000;
  const exponent = ((x >>> 23) & 0xff) - 112;
  const mantissa = x & 0x7fffff;
  if (exponent >= 31) return sign | 0x7c00;
  if (exponent < -10) return sign;
  if (exponent <= 0) {
    const subnormal = (mantissa | 0x800000) >>> (1 - exponent);
    return sign | ((subnormal + 0xfff + ((subnormal >>> 13) & 1)) >>> 13);
  }
  return sign + ((((exponent << 23) | mantissa) + 0xfff + ((mantissa >>> 13) & 1)) >>> 13);
}

function fromHalf(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >>> 10) & 31;
  const mantissa = half & 1023;
  return exponent === 0 ? sign * mantissa * 2 ** -24 : sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
}

function clamp(value: number, low: number, high: number): number {
  return value < low ? low : value > high ? high : value;
}

function reciprocal(half: number): number {
  return half === 0 ? 0 : 1 / fromHalf(half);
}

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
  for (let i = 0; i < source.length; i++) {
    float[0] = source[i]!;
    target.writeUInt16LE(((bits[0]! + 0x7fff + ((bits[0]! >>> 16) & 1)) >>> 16) & 0xffff, i * 2);
  }
};

/** Block of 32: half scale, 32 signed bytes. */
const encodeQ8_0: Encoder = (source, target) => {
  for (let from = 0, at = 0; from < source.length; from += 32, at += 34) {
    const scale = toHalf(Math.abs(extreme(source, from, 32)) / 127);
    const inverse = reciprocal(scale);
    target.writeUInt16LE(scale, at);
    for (let i = 0; i < 32; i++)
      target.writeInt8(clamp(Math.round(source[from + i]! * inverse), -127, 127), at + 2 + i);
  }
};

/** Block of 32: half scale, 16 bytes of nibbles, the low nibbles being the first half; value = scale x (q - 8). */
const encodeQ4_0: Encoder = (source, target) => {
  for (let from = 0, at = 0; from < source.length; from += 32, at += 18) {
    const scale = toHalf(extreme(source, from, 32) / -8);
    const inverse = reciprocal(scale);
    const nibble = (i: number) => clamp(Math.round(source[from + i]! * inverse) + 8, 0, 15);
    target.writeUInt16LE(scale, at);
    for (let i = 0; i < 16; i++) target[at + 2 + i] = nibble(i) | (nibble(16 + i) << 4);
  }
};

/**
 * Block of 256: half scale, half minimum, 12 bytes of packed 6-bit (scale, minimum) of 8 groups of 32, 128 bytes of
 * nibbles; value = scale x groupScale x q - minimum x groupMinimum.
 */
const encodeQ4_K: Encoder = (source, target) => {
  const quants = new Uint8Array(256);
  for (let from = 0, at = 0; from < source.length; from += 256, at += 144) {
    const groups = Array.from({ length: 8 }, (_, group) => range(source, from + group * 32));
    const scale = toHalf(Math.max(...groups.map((group) => group.step)) / 63);
    const minimum = toHalf(Math.max(...groups.map((group) => group.minimum)) / 63);
    const packed = groups.map((group) => ({
      scale: clamp(Math.round(group.step * reciprocal(scale)), 0, 63),
      minimum: clamp(Math.round(group.minimum * reciprocal(minimum)), 0, 63),
    }));
    packed.forEach((group, index) => {
      const step = fromHalf(scale) * group.scale;
      const offset = fromHalf(minimum) * group.minimum;
      for (let i = index * 32; i < index * 32 + 32; i++) {
        quants[i] = step === 0 ? 0 : clamp(Math.round((source[from + i]! + offset) / step), 0, 15);
      }
    });
    target.writeUInt16LE(scale, at);
    target.writeUInt16LE(minimum, at + 2);
    for (let i = 0; i < 4; i++) {
      const [low, high] = [packed[i]!, packed[i + 4]!];
      target[at + 4 + i] = low.scale | ((high.scale >> 4) << 6);
      target[at + 8 + i] = low.minimum | ((high.minimum >> 4) << 6);
      target[at + 12 + i] = (high.scale & 15) | ((high.minimum & 15) << 4);
    }
    for (let pair = 0; pair < 4; pair++) {
      for (let i = 0; i < 32; i++) {
        target[at + 16 + pair * 32 + i] = quants[pair * 64 + i]! | (quants[pair * 64 + 32 + i]! << 4);
      }
    }
  }
};

/** Step and (negated) minimum of a group of 32 values as 4-bit levels. */
function range(source: Float32Array, from: number) {
  let low = 0;
  let high = Number.NEGATIVE_INFINITY;
  for (let i = from; i < from + 32; i++) {
    low = Math.min(low, source[i]!);
    high = Math.max(high, source[i]!);
  }
  return { step: Math.max(0, (high - low) / 15), minimum: -low };
}

/** Block of 256: 128 bytes of low nibbles, 64 bytes of high bit pairs, 16 signed group scales, half scale; value = scale x groupScale x (q - 32). */
const encodeQ6_K: Encoder = (source, target) => {
  const quants = new Uint8Array(256);
  for (let from = 0, at = 0; from < source.length; from += 256, at += 210) {
    const steps = Float32Array.from({ length: 16 }, (_, group) => extreme(source, from + group * 16, 16) / -32);
    const scale = toHalf(extreme(steps, 0, 16) / -128);
    steps.forEach((wanted, group) => {
      const groupScale = clamp(Math.round(wanted * reciprocal(scale)), -128, 127);
      const step = fromHalf(scale) * groupScale;
      target.writeInt8(groupScale, at + 192 + group);
      for (let i = group * 16; i < group * 16 + 16; i++) {
        quants[i] = step === 0 ? 32 : clamp(Math.round(source[from + i]! / step) + 32, 0, 63);
      }
    });
    target.writeUInt16LE(scale, at + 208);
    for (let half = 0; half < 2; half++) {
      for (let i = 0; i < 32; i++) {
        const [a, b, c, d] = [0, 32, 64, 96].map((part) => quants[half * 128 + part + i]!) as [
          number,
          number,
          number,
          number,
        ];
        target[at + half * 64 + i] = (a & 15) | ((c & 15) << 4);
        target[at + half * 64 + 32 + i] = (b & 15) | ((d & 15) << 4);
        target[at + 128 + half * 32 + i] = (a >> 4) | ((b >> 4) << 2) | ((c >> 4) << 4) | ((d >> 4) << 6);
      }
    }
  }
};

export const encoders: Partial<Record<TensorTypeName, Encoder>> = {
  F32: encodeF32,
  F16: encodeF16,
  BF16: encodeBF16,
  Q8_0: encodeQ8_0,
  Q4_0: encodeQ4_0,
  Q4_K: encodeQ4_K,
  Q6_K: encodeQ6_K,
};
