import { describe, expect, test } from "vitest";
import type { HardwareReading } from "../core/ports.ts";
import { GIB } from "../core/units.ts";
import { findCatalogueModel, specFromCatalogue } from "../fit/catalogue.ts";
import type { ModelSpec } from "../fit/types.ts";
import { backendNeeds } from "./backend.ts";
import type { EngineBackend } from "./ipc.ts";
import { hardwareOf, planLoad, priceLoad } from "./load-plan.ts";

interface Card {
  free: number;
  name?: string;
  uuid?: string;
}

function machine(cards: readonly Card[], backend: HardwareReading["backend"] = "cuda"): HardwareReading {
  return {
    cpu: { name: "Ryzen 7", coresPhysical: 8, coresUsable: 8 },
    ramBytesTotal: 64 * GIB,
    ramBytesFree: 56 * GIB,
    backend,
    gpus: cards.map(({ free, name = "NVIDIA GeForce RTX 4060 Ti", uuid }) => ({
      name,
      vramBytesTotal: 16 * GIB,
      vramBytesFree: free * GIB,
      ...(uuid === undefined ? {} : { uuid }),
    })),
  };
}

const spec = (name: string): ModelSpec => specFromCatalogue(findCatalogueModel(name)!.model);
const pair = (first: number, second: number) =>
  machine([
    { free: first, uuid: "GPU-a" },
    { free: second, uuid: "GPU-b" },
  ]);

function loadOf(name: string, reading: HardwareReading, backend: EngineBackend = "node-llama-cpp") {
  return planLoad(spec(name), reading, {}, backend);
}

describe("a model on two cards of 16 GB", () => {
  test("is spread over both when one has no room for it", () => {
    const { plan, settings, hasOwnSplit } = loadOf("qwen3-32b", pair(15.5, 15.5));
    expect(plan.offload).toBe("full");
    const { gpuLayerSplit = [] } = settings;
    expect(gpuLayerSplit.every((layers) => layers >= 32)).toBe(true);
    expect(plan.devices.map(({ layers }) => layers).slice(0, 2)).toEqual(gpuLayerSplit);
    expect(settings.gpuEnvironment).toEqual({ CUDA_VISIBLE_DEVICES: "GPU-a,GPU-b" });
    expect(hasOwnSplit).toBe(false);
  });

  test("that fits on one is put there, on the freer one, and its process sees no other", () => {
    const { plan, settings } = loadOf("qwen3-8b", pair(14, 15.5));
    expect(settings.gpuLayerSplit).toEqual([0, 37]);
    expect(settings.gpuEnvironment).toEqual({ CUDA_VISIBLE_DEVICES: "GPU-b" });
    expect(plan.devices[0]).toMatchObject({ totalBytes: 0, freeBytesAfter: plan.devices[0]!.freeBytesBefore });
  });

  test("leaves a card alone that another program has filled", () => {
    const { plan, settings } = loadOf("qwen3-14b", pair(15.5, 1.5));
    expect(plan.offload).toBe("full");
    expect(settings.gpuLayerSplit).toEqual([41, 0]);
    expect(settings.gpuEnvironment).toEqual({ CUDA_VISIBLE_DEVICES: "GPU-a" });
  });

  test("has its limit counted over the cards it uses", () => {
    const wish = { vramLimitBytes: 14 * GIB };
    const { plan, settings } = planLoad(spec("qwen3-8b"), pair(15.5, 15.5), wish);
    const used = plan.devices.find(({ kind, totalBytes }) => kind === "gpu" && totalBytes > 0)!;
    expect(settings.memoryLimit).toEqual({ gpuBytes: 14 * GIB - used.runtimeBytes });
  });

  test("whose process cannot be told which to see needs llama-server where one is filled", () => {
    const amd = machine([{ free: 15.5 }, { free: 1.5 }], "vulkan");
    const server = loadOf("qwen3-14b", amd, "llama-server");
    const library = loadOf("qwen3-14b", amd);
    expect(server.settings).toMatchObject({ gpuLayerSplit: [41, 0] });
    expect(server.settings.gpuEnvironment).toBeUndefined();
    expect(library.settings.gpuLayers).toBeLessThan(41);
    expect(backendNeeds(server, library)).toContain("gpu_split");
  });
});

describe("cards of two kinds", () => {
  const cards: Card[] = [
    { free: 15.5, name: "NVIDIA GeForce GTX 1060 6GB", uuid: "GPU-slow" },
    { free: 15.5, name: "NVIDIA GeForce RTX 3090", uuid: "GPU-fast" },
  ];

  test("give a model that fits on either to the faster one", () => {
    expect(loadOf("qwen3-8b", machine(cards)).settings.gpuEnvironment).toEqual({ CUDA_VISIBLE_DEVICES: "GPU-fast" });
  });

  test("are parted as llama.cpp parts them, whatever reserve an administrator keeps", () => {
    const reading = pair(15.5, 10);
    const splits = [0, 2 * GIB].map(
      (reserveBytes) => planLoad(spec("gemma-3-27b"), reading, { reserveBytes, gpuLayers: 40 }).settings.gpuLayerSplit,
    );
    // Of 15.23 and 9.73 GiB: the driver is started by then.
    expect(splits).toEqual([
      [25, 15],
      [25, 15],
    ]);
  });
});

test("a load is priced with the cards and shares of its plan, also with fewer layers", () => {
  const reading = pair(15.5, 9.5);
  const [whole, hardware] = [loadOf("gemma-3-27b", reading, "llama-server"), hardwareOf(reading)];
  const { settings } = whole;
  const again = priceLoad(spec("gemma-3-27b"), hardware, settings);
  expect(again.settings.gpuLayerSplit).toEqual(settings.gpuLayerSplit);
  const fewer = priceLoad(spec("gemma-3-27b"), hardware, { ...settings, gpuLayers: 40, gpuLayerSplit: [30, 10] });
  expect(fewer.settings.gpuLayerSplit).toEqual([30, 10]);
  const alone = priceLoad(spec("qwen3-8b"), hardware, { ...loadOf("qwen3-8b", reading).settings, gpuLayers: 20 });
  expect(alone.settings.gpuLayerSplit).toEqual([20, 0]);
});
