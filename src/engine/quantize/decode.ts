/** Float tensors of a GGUF file as float32 values. Quantized ones are no source: rounding twice adds up. */
import type { TensorType } from "../../fit/quantization.ts";
import { fromBrainFloat, fromHalf } from "./half.ts";

/** `bytes` are little-endian as in the file; `target` has one place per value. */
export type Decoder = (bytes: Uint8Array, target: Float32Array) => void;

const table = (of: (half: number) => number) => {
  let values: Float32Array | undefined;
  return () => {
    values ??= Float32Array.from({ length: 65_536 }, (_, half) => of(half));
    return values;
  };
};
const halves = table(fromHalf);
const brainFloats = table(fromBrainFloat);

const decodeTable =
  (values: () => Float32Array): Decoder =>
  (bytes, target) => {
    const known = values();
    for (let i = 0, at = 0; i < target.length; i++, at += 2) target[i] = known[bytes[at]! | (bytes[at + 1]! << 8)]!;
  };

const decodeF32: Decoder = (bytes, target) => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let i = 0; i < target.length; i++) target[i] = view.getFloat32(i * 4, true);
};

export const decoders: Partial<Record<TensorType, Decoder>> = {
  F32: decodeF32,
  F16: decodeTable(halves),
  BF16: decodeTable(brainFloats),
};
