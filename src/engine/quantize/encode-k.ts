/**
 * The K types: blocks of 256 in groups whose scales are themselves quantized. A group's scale is searched: of some scales
 * around the plain one, the least-squares fit with the smallest weighted error is taken, large values counting more.
 * llama.cpp does alike; the bytes are not its bytes, the error is (encode.test.ts).
 */
import { fromHalf, toHalf } from "./half.ts";

/** Scales tried on either side of the plain one. */
const triesPerSide = 9;

interface GroupFit {
  step: number;
  /** Subtracted: not negative. */
  minimum: number;
}

const weights = new Float64Array(32);

/** Step and minimum of a group of 32 values for levels from 0 to `top`: value = step x q - minimum. */
function fitGroup(source: Float32Array, from: number, top: number): GroupFit {
  let low = 0;
  let high = Number.NEGATIVE_INFINITY;
  let squares = 0;
  for (let i = 0; i < 32; i++) {
    const value = source[from + i]!;
    if (value < low) low = value;
    if (value > high) high = value;
    squares += value * value;
  }
  if (!(high > low)) return { step: 0, minimum: -low };
  const typical = Math.sqrt(squares / 32);
  for (let i = 0; i < 32; i++) weights[i] = typical + Math.abs(source[from + i]!);
  let best: GroupFit = { step: (high - low) / top, minimum: -low };
  let bestError = errorOf(source, from, top, best);
  for (let tried = -triesPerSide; tried <= triesPerSide; tried++) {
    const fit = refit(source, from, top, (top + tried * 0.1) / (high - low), low);
    if (fit === undefined) continue;
    const error = errorOf(source, from, top, fit);
    if (error < bestError) {
      bestError = error;
      best = fit;
    }
  }
  return best;
}

/** Weighted least squares of step and minimum for the levels that `inverse` gives. */
function refit(source: Float32Array, from: number, top: number, inverse: number, low: number): GroupFit | undefined {
  let w = 0;
  let wl = 0;
  let wll = 0;
  let wx = 0;
  let wxl = 0;
  for (let i = 0; i < 32; i++) {
    const value = source[from + i]!;
    const scaled = Math.round(inverse * (value - low));
    const q = scaled < 0 ? 0 : scaled > top ? top : scaled;
    const weight = weights[i]!;
    w += weight;
    wl += weight * q;
    wll += weight * q * q;
    wx += weight * value;
    wxl += weight * value * q;
  }
  const determinant = w * wll - wl * wl;
  if (!(determinant > 0)) return undefined;
  let step = (w * wxl - wx * wl) / determinant;
  let minimum = -(wll * wx - wl * wxl) / determinant;
  if (minimum < 0) {
    minimum = 0;
    step = wxl / wll;
  }
  return step > 0 ? { step, minimum } : undefined;
}

function errorOf(source: Float32Array, from: number, top: number, { step, minimum }: GroupFit): number {
  const inverse = 1 / step;
  let error = 0;
  for (let i = 0; i < 32; i++) {
    const value = source[from + i]!;
    const scaled = Math.round((value + minimum) * inverse);
    const off = step * (scaled < 0 ? 0 : scaled > top ? top : scaled) - minimum - value;
    error += weights[i]! * off * off;
  }
  return error;
}

function clamp(value: number, low: number, high: number): number {
  return value < low ? low : value > high ? high : value;
}

/** Half scale, half minimum, 12 bytes of packed 6-bit (scale, minimum) of 8 groups: what Q4_K and Q5_K begin with. */
function writeGroups(source: Float32Array, from: number, top: number, target: Buffer, at: number, quants: Uint8Array) {
  const groups = Array.from({ length: 8 }, (_, group) => fitGroup(source, from + group * 32, top));
  const scale = toHalf(Math.max(...groups.map(({ step }) => step)) / 63);
  const minimum = toHalf(Math.max(...groups.map((group) => group.minimum)) / 63);
  const [scaleValue, minimumValue] = [fromHalf(scale), fromHalf(minimum)];
  const packed = groups.map((group) => ({
    scale: scaleValue === 0 ? 0 : clamp(Math.round(group.step / scaleValue), 0, 63),
    minimum: minimumValue === 0 ? 0 : clamp(Math.round(group.minimum / minimumValue), 0, 63),
  }));
  packed.forEach((group, index) => {
    const step = scaleValue * group.scale;
    const offset = minimumValue * group.minimum;
    for (let i = index * 32; i < index * 32 + 32; i++) {
      quants[i] = step === 0 ? 0 : clamp(Math.round((source[from + i]! + offset) / step), 0, top);
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
}

/** The groups of `writeGroups`, then 128 bytes of nibbles; value = scale x groupScale x q - minimum x groupMinimum. */
export function encodeQ4_K(source: Float32Array, target: Buffer): void {
  const quants = new Uint8Array(256);
  for (let from = 0, at = 0; from < source.length; from += 256, at += 144) {
    writeGroups(source, from, 15, target, at, quants);
    writeNibbles(target, at + 16, quants);
  }
}

/** As Q4_K with the fifth bits in 32 bytes between: bit `2 x pair` for a pair's first group, the next for its second. */
export function encodeQ5_K(source: Float32Array, target: Buffer): void {
  const quants = new Uint8Array(256);
  for (let from = 0, at = 0; from < source.length; from += 256, at += 176) {
    writeGroups(source, from, 31, target, at, quants);
    for (let i = 0; i < 32; i++) {
      let fifth = 0;
      for (let group = 0; group < 8; group++) fifth |= (quants[group * 32 + i]! >> 4) << group;
      target[at + 16 + i] = fifth;
    }
    writeNibbles(target, at + 48, quants);
  }
}

/** Low four bits, pairs of groups of 32 in one run of 32 bytes. */
function writeNibbles(target: Buffer, at: number, quants: Uint8Array): void {
  for (let pair = 0; pair < 4; pair++) {
    for (let i = 0; i < 32; i++) {
      target[at + pair * 32 + i] = (quants[pair * 64 + i]! & 15) | ((quants[pair * 64 + 32 + i]! & 15) << 4);
    }
  }
}

/** Scale of a group of 16 for levels from -32 to 31, by weighted least squares; larger values weigh more. */
function fitSigned(source: Float32Array, from: number): number {
  let extreme = 0;
  for (let i = from; i < from + 16; i++) if (Math.abs(source[i]!) > Math.abs(extreme)) extreme = source[i]!;
  if (Math.abs(extreme) < 1e-15) return 0;
  let best = 0;
  let bestGain = -1;
  for (let tried = -triesPerSide; tried <= triesPerSide; tried++) {
    const inverse = -(32 + tried * 0.1) / extreme;
    let xl = 0;
    let ll = 0;
    for (let i = from; i < from + 16; i++) {
      const value = source[i]!;
      const q = clamp(Math.round(value * inverse), -32, 31);
      const weight = value * value;
      xl += weight * value * q;
      ll += weight * q * q;
    }
    // What the fit explains of the group.
    if (ll > 0 && xl * xl > bestGain * ll) {
      bestGain = (xl * xl) / ll;
      best = xl / ll;
    }
  }
  return best;
}

/** 128 bytes of low nibbles, 64 of high bit pairs, 16 signed group scales, half scale; value = scale x groupScale x (q - 32). */
export function encodeQ6_K(source: Float32Array, target: Buffer): void {
  const quants = new Uint8Array(256);
  for (let from = 0, at = 0; from < source.length; from += 256, at += 210) {
    const steps = Array.from({ length: 16 }, (_, group) => fitSigned(source, from + group * 16));
    const extreme = steps.reduce((most, step) => (Math.abs(step) > Math.abs(most) ? step : most), 0);
    const scale = toHalf(extreme / -128);
    const scaleValue = fromHalf(scale);
    steps.forEach((wanted, group) => {
      const groupScale = scaleValue === 0 ? 0 : clamp(Math.round(wanted / scaleValue), -128, 127);
      const step = scaleValue * groupScale;
      target.writeInt8(groupScale, at + 192 + group);
      for (let i = group * 16; i < group * 16 + 16; i++) {
        quants[i] = step === 0 ? 32 : clamp(Math.round(source[from + i]! / step) + 32, 0, 63);
      }
    });
    target.writeUInt16LE(scale, at + 208);
    writeSixBits(target, at, quants);
  }
}

function writeSixBits(target: Buffer, at: number, quants: Uint8Array): void {
  for (let half = 0; half < 2; half++) {
    for (let i = 0; i < 32; i++) {
      const first = half * 128 + i;
      const [a, b, c, d] = [quants[first]!, quants[first + 32]!, quants[first + 64]!, quants[first + 96]!];
      target[at + half * 64 + i] = (a & 15) | ((c & 15) << 4);
      target[at + half * 64 + 32 + i] = (b & 15) | ((d & 15) << 4);
      target[at + 128 + half * 32 + i] = (a >> 4) | ((b >> 4) << 2) | ((c >> 4) << 4) | ((d >> 4) << 6);
    }
  }
}
