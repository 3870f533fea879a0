import { describe, expect, test } from "vitest";
import { GIB } from "../core/units.ts";
import { unmetWishes } from "./unmet-wishes.ts";

describe("an administrator is told", () => {
  const onCpu = { gpu: false } as const;

  test("that a GPU asked for was not found", () => {
    expect(unmetWishes({ gpu: "cuda", gpuLayers: 9 }, onCpu, 1024)).toEqual([
      "SNUG_GPU asks for cuda, and no GPU was found for it; the model runs on the CPU.",
    ]);
  });

  test("that layers have no GPU to lie on, and that a limit of its memory limits nothing", () => {
    expect(unmetWishes({ gpu: "auto", gpuLayers: 9, vramLimitBytes: GIB }, onCpu, 1024)).toEqual([
      "SNUG_GPU_LAYERS asks for layers on a GPU, and there is none to use; the model runs on the CPU.",
      "The VRAM limit changes nothing: the model runs on the CPU.",
    ]);
  });

  test("that a model knows less context than it is to have", () => {
    expect(unmetWishes({ contextLength: 4096 }, onCpu, 1024)).toEqual([
      "SNUG_CONTEXT asks for 4096 tokens, and the model was trained for 1024; what it says beyond them may make no sense.",
    ]);
  });

  test("nothing where wishes are met", () => {
    const onGpu = { gpu: "cuda" } as const;
    const wish = { gpu: "cuda", gpuLayers: 9, vramLimitBytes: GIB, contextLength: 1024 } as const;
    expect(unmetWishes(wish, onGpu, 1024)).toEqual([]);
    expect(unmetWishes({ gpu: false }, onCpu, 1024)).toEqual([]);
    expect(unmetWishes({}, onCpu, 1024)).toEqual([]);
  });
});
