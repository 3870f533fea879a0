import { describe, expect, it } from "vitest";
import { AppError } from "../core/errors.ts";
import {
  bitsPerWeight,
  isTensorType,
  TENSOR_TYPE_NAMES,
  TENSOR_TYPES,
  tensorBytes,
  tensorTypeById,
} from "./quantization.ts";

describe("tensor types", () => {
  it("every type number is used once and leads back to its name", () => {
    for (const name of TENSOR_TYPE_NAMES) expect(tensorTypeById(TENSOR_TYPES[name].id)).toBe(name);
    expect(new Set(TENSOR_TYPE_NAMES.map((name) => TENSOR_TYPES[name].id)).size).toBe(TENSOR_TYPE_NAMES.length);
  });

  it("withdrawn and unknown numbers have no type", () => {
    for (const id of [4, 5, 31, 32, 33, 36, 37, 38, 43, 999, -1]) expect(tensorTypeById(id)).toBeUndefined();
  });

  it.each([
    ["F32", 32],
    ["BF16", 16],
    ["Q8_0", 8.5],
    ["Q6_K", 6.5625],
    ["Q5_K", 5.5],
    ["Q4_K", 4.5],
    ["IQ4_XS", 4.25],
    ["IQ3_S", 3.4375],
    ["Q3_K", 3.4375],
    ["IQ3_XXS", 3.0625],
    ["Q2_K", 2.625],
    ["IQ2_S", 2.5625],
    ["IQ2_XS", 2.3125],
    ["IQ2_XXS", 2.0625],
    ["TQ2_0", 2.0625],
    ["IQ1_M", 1.75],
    ["TQ1_0", 1.6875],
    ["IQ1_S", 1.5625],
    ["MXFP4", 4.25],
    ["NVFP4", 4.5],
  ] as const)("%s takes %d bits per weight", (type, bits) => {
    expect(bitsPerWeight(type)).toBe(bits);
  });

  it("a name that only Object knows is not a type", () => {
    expect(isTensorType("Q4_K")).toBe(true);
    expect(isTensorType("toString")).toBe(false);
    expect(isTensorType("Q4_K_M")).toBe(false);
  });
});

describe("tensorBytes", () => {
  it("counts blocks per row times rows and matrices", () => {
    expect(tensorBytes("Q4_K", [4096, 14336])).toBe((4096 / 256) * 144 * 14336);
    expect(tensorBytes("MXFP4", [2880, 2880, 32])).toBe((2880 / 32) * 17 * 2880 * 32);
    expect(tensorBytes("F32", [])).toBe(4);
    expect(tensorBytes("F32", [0])).toBe(0);
  });

  it("rows that are no whole number of blocks are refused with model_file_invalid", () => {
    expect(() => tensorBytes("Q4_K", [896, 10])).toThrow(AppError);
    expect(() => tensorBytes("Q4_K", [896, 10])).toThrow(/multiple of 256 .* 896/);
  });

  it("a size beyond the safe integers is refused, not rounded", () => {
    expect(() => tensorBytes("F32", [2 ** 30, 2 ** 30])).toThrow(/larger than any machine/);
    expect(() => tensorBytes("F32", [-1])).toThrow(AppError);
  });
});
