import { describe, expect, test } from "vitest";
import { GIB, MIB } from "../core/units.ts";
import { fitProbabilityMin, gpuFreeMemory, roomProbability, usableBytes } from "./free-memory.ts";
import type { Backend, GpuDevice, Hardware } from "./types.ts";

function one(backend: Backend, totalMib: number, freeMib?: number, unifiedMemory = false) {
  const gpu: GpuDevice = { id: "gpu0", vramBytesTotal: totalMib * MIB };
  if (freeMib !== undefined) gpu.vramBytesFree = freeMib * MIB;
  const hardware: Hardware = { backend, gpus: [gpu], unifiedMemory };
  return gpuFreeMemory(gpu, hardware);
}

describe("free memory", () => {
  test.each([
    one("cuda", 8192),
    one("cuda", 24_576, 23_000),
    one("vulkan", 8192),
    one("vulkan", 8273, 6898),
    one("vulkan", 12_084, 11_312),
    one("metal", 16_384, undefined, true),
    one("rocm", 24_576, 22_000),
  ])("what may be used has room with 95 % probability (%#)", (free) => {
    const usable = usableBytes(free);
    expect(usable).toBeLessThan(free.bytes);
    expect(roomProbability(free, usable)).toBeCloseTo(fitProbabilityMin, 4);
    expect(roomProbability(free, usable + 200 * MIB)).toBeLessThan(fitProbabilityMin);
    expect(roomProbability(free, 0)).toBeGreaterThan(0.99);
    expect(roomProbability(free, 2 * free.bytes)).toBeLessThan(0.001);
  });

  test("a reading of 768 MiB below the size is a budget on Windows and says little", () => {
    const budget = one("vulkan", 12_084, 11_312);
    const live = one("vulkan", 12_084, 11_000);
    // 9.2 GiB asked for, 2.5 GiB of it ended in main memory.
    expect(roomProbability(budget, 9257 * MIB)).toBeLessThan(fitProbabilityMin);
    expect(usableBytes(live)).toBeGreaterThan(usableBytes(budget));
  });

  test("Metal gives a process two thirds of a small machine, 0.78 of a large one", () => {
    expect(one("metal", 16_384, undefined, true).bytes / (16 * GIB)).toBeCloseTo(2 / 3, 5);
    expect(one("metal", 131_072, undefined, true).bytes / (128 * GIB)).toBeCloseTo(0.78, 5);
  });

  test("a card known by its size alone is taken to draw a desktop, unless the machine is set aside", () => {
    const gpu: GpuDevice = { id: "gpu0", vramBytesTotal: 6144 * MIB };
    const hardware: Hardware = { backend: "cuda", gpus: [gpu] };
    // An RTX 3060 Laptop had 5173 MiB left for buffers when llama.cpp looked; 280 MiB of runtime come on top of them.
    expect(usableBytes(gpuFreeMemory(gpu, hardware))).toBeLessThan((5173 + 280) * MIB);
    expect(usableBytes(gpuFreeMemory(gpu, hardware, true))).toBeGreaterThan((5173 + 280) * MIB);
    const rack: GpuDevice = { id: "gpu0", vramBytesTotal: 80 * GIB };
    expect(gpuFreeMemory(rack, { backend: "cuda", gpus: [rack] })).toEqual(
      gpuFreeMemory(rack, { backend: "cuda", gpus: [rack] }, true),
    );
  });

  test("only the first card of several carries a desktop", () => {
    const gpus = [0, 1].map((index) => ({ id: `gpu${index}`, vramBytesTotal: 24 * GIB }));
    const [first, second] = gpus.map((gpu) => gpuFreeMemory(gpu, { backend: "cuda", gpus }));
    expect(usableBytes(second!)).toBeGreaterThan(usableBytes(first!));
  });
});
