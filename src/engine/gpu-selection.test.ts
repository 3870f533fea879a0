import { describe, expect, test } from "vitest";
import type { GpuReading } from "../core/ports.ts";
import { GIB } from "../core/units.ts";
import { gpuEnvironment, gpuNamesOf, gpuSets, visibleCards } from "./gpu-selection.ts";

const card = (uuid?: string): GpuReading => ({
  name: "RTX 4060 Ti",
  vramBytesTotal: 16 * GIB,
  ...(uuid === undefined ? {} : { uuid }),
});
const [a, b, c] = [card("GPU-aa1"), card("GPU-bb2"), card("GPU-cc3")];

describe("CUDA_VISIBLE_DEVICES", () => {
  test.each([
    [undefined, [a, b, c]],
    ["", []],
    ["-1", []],
    ["1", [b]],
    ["2,0", [c, a]],
    [" 1 , 2 ", [b, c]],
    ["GPU-bb", [b]],
    ["GPU-cc3,0", [c, a]],
    // CUDA stops at the first it does not know.
    ["0,7,1", [a]],
    ["MIG-1,0", []],
    ["aa1", []],
  ])("of %j leaves the cards it names, in its order", (wanted, expected) => {
    expect(visibleCards([a, b, c], wanted)).toEqual(expected);
  });

  test("counts a card that tells no memory, which cannot be planned with", () => {
    expect(visibleCards([undefined, b], "1")).toEqual([b]);
    expect(visibleCards([undefined, b], undefined)).toEqual([b]);
  });
});

describe("a model process", () => {
  const cuda = { gpus: [a, b, c], backend: "cuda" as const };

  test("sees the cards with layers, by their ids and in the plan's order", () => {
    expect(gpuEnvironment(cuda, [10, 0, 23])).toEqual({ CUDA_VISIBLE_DEVICES: "GPU-aa1,GPU-cc3" });
    expect(gpuEnvironment(cuda, [11, 11, 11])).toEqual({ CUDA_VISIBLE_DEVICES: "GPU-aa1,GPU-bb2,GPU-cc3" });
  });

  test("is told nothing where there is one card, none is used, or not every id is known", () => {
    expect(gpuEnvironment({ gpus: [a], backend: "cuda" }, [33])).toEqual({});
    expect(gpuEnvironment(cuda, [0, 0, 0])).toEqual({});
    expect(gpuEnvironment({ gpus: [a, card()], backend: "cuda" }, [20, 13])).toEqual({});
    expect(gpuEnvironment({ gpus: [a, b], backend: "rocm" }, [33, 0])).toEqual({});
  });

  test("with Vulkan is told numbers only where the settings have them: others count devices it never sees", () => {
    const vulkan = { gpus: [card(), card()], backend: "vulkan" as const };
    expect(gpuEnvironment(vulkan, [0, 33], {})).toEqual({});
    expect(gpuEnvironment(vulkan, [0, 33], { GGML_VK_VISIBLE_DEVICES: "0,2" })).toEqual({
      GGML_VK_VISIBLE_DEVICES: "2",
    });
    expect(gpuNamesOf(vulkan, { GGML_VK_VISIBLE_DEVICES: "0" })).toBeUndefined();
  });
});

describe("sets of GPUs", () => {
  test("are all there are of up to three, the largest first", () => {
    expect(gpuSets([8, 8])).toEqual([
      [true, true],
      [true, false],
      [false, true],
    ]);
    expect(gpuSets([8, 8, 8])).toHaveLength(7);
  });

  test("of more leave out the fullest first", () => {
    expect(gpuSets([4, 9, 1, 8]).map((set) => set.map(Number).join(""))).toEqual(["1111", "1101", "0101", "0100"]);
  });
});
