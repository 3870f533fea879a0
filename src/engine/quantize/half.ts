/** 16-bit floats of both kinds as bits. */

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

export function fromHalf(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >>> 10) & 31;
  const mantissa = half & 1023;
  if (exponent === 31) return mantissa === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return exponent === 0 ? sign * mantissa * 2 ** -24 : sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
}

/** bfloat16 bits, rounded to nearest even. */
export function toBrainFloat(value: number): number {
  float[0] = value;
  const x = bits[0]!;
  return ((x + 0x7fff + ((x >>> 16) & 1)) >>> 16) & 0xffff;
}

export function fromBrainFloat(half: number): number {
  bits[0] = (half & 0xffff) << 16;
  return float[0]!;
}
