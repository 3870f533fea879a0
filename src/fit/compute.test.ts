import { describe, expect, test } from "vitest";
import { MIB } from "../core/units.ts";
import { CATALOGUE_MODELS, findCatalogueModel, specFromCatalogue } from "./catalogue.ts";
import { computeBytes, layOut } from "./compute.ts";
import { chooseBlocks } from "./compute-blocks.ts";
import { roughComputeBytes } from "./compute-rough.ts";
import { weightTable } from "./memory-weights.ts";
import { createPlacement, offloadableLayers, splitByFreeMemory } from "./placement.ts";
import type { Backend, BuildFamily, ModelSpec, RuntimeSettings } from "./types.ts";

const spec = (name: string) => specFromCatalogue(findCatalogueModel(name)!.model);

function settingsOf(changes: Partial<RuntimeSettings>): RuntimeSettings {
  return {
    buildFamily: "node-llama-cpp",
    contextLength: 8192,
    sequenceCount: 1,
    batchSize: 512,
    microBatchSize: 512,
    flashAttention: true,
    kvCacheTypeK: "F16",
    kvCacheTypeV: "F16",
    gpuLayers: 0,
    hostExpertLayers: 0,
    gpuLayerSplit: [],
    ...changes,
  };
}

function prepare(model: ModelSpec, changes: Partial<RuntimeSettings>, gpuCount: number) {
  const gpuLayers = changes.gpuLayers ?? offloadableLayers(model);
  const gpuLayerSplit = splitByFreeMemory(
    gpuLayers,
    Array.from({ length: gpuCount }, () => 1),
  );
  const settings = settingsOf({ ...changes, gpuLayers, gpuLayerSplit });
  const placement = createPlacement(model, settings, gpuCount);
  return { settings, placement, weights: weightTable(model, "Q4_K_M") };
}

describe("compute buffers", () => {
  /** Printed by llama.cpp: model, build, context, micro-batch, flash attention, backend, MiB on the GPU. */
  test.each<[string, BuildFamily, number, number, boolean, Backend, number]>([
    ["Qwen3 8B", "llama-server", 8192, 2048, true, "vulkan", 384.04],
    ["Ministral 3 8B", "llama-server", 8192, 2048, true, "vulkan", 432.05],
    ["Qwen3.5 9B", "llama-server", 8192, 2048, true, "vulkan", 416.16],
    ["Llama 3 8B", "llama.cpp-2024", 8192, 512, false, "cuda", 560],
    ["Llama 3 8B", "llama.cpp-2024", 512, 512, false, "metal", 258.5],
    ["Qwen3 1.7B", "llama.cpp-2024", 40_960, 512, true, "cuda", 300.75],
  ])("%s under %s at %d tokens", (name, buildFamily, contextLength, microBatchSize, flashAttention, backend, mib) => {
    const model = spec(name);
    const changes = { buildFamily, contextLength, batchSize: 2048, microBatchSize, flashAttention };
    const { settings, placement, weights } = prepare(model, changes, 1);
    const { gpus } = computeBytes(model, settings, placement, backend, weights);
    expect(Math.abs(gpus[0]! / MIB - mib)).toBeLessThan(0.2);
  });

  test("several GPUs keep four copies of what travels between them", () => {
    const model = spec("Llama 3 8B");
    const changes = { buildFamily: "llama.cpp-2024", batchSize: 2048, flashAttention: false } as const;
    const { settings, placement, weights } = prepare(model, changes, 4);
    const { gpus, host } = computeBytes(model, settings, placement, "cuda", weights);
    for (const gpu of gpus) expect(gpu / MIB).toBeCloseTo(640.01, 1);
    expect(host / MIB).toBeCloseTo(72.02, 1);
  });

  test("a few blocks stand for all of them", { timeout: 60_000 }, () => {
    for (const name of ["Qwen3 8B", "Gemma 3 12B", "Qwen3.5 9B", "gpt-oss 20B", "Llama 4 Scout 17B 16E"]) {
      const model = spec(name);
      for (const backend of ["cuda", "vulkan"] as const) {
        for (const gpuLayers of [0, 10, offloadableLayers(model)]) {
          const { settings, placement, weights } = prepare(model, { gpuLayers }, 1);
          const some = computeBytes(model, settings, placement, backend, weights);
          const all = layOut(model, [...Array(model.layerCount).keys()], settings, placement, backend, weights);
          expect(some.gpus[0]! / all.gpus[0]!, `${name} ${backend} ${gpuLayers}`).toBeCloseTo(1, 2);
          expect(some.host / all.host, `${name} ${backend} ${gpuLayers}, host`).toBeCloseTo(1, 2);
        }
      }
    }
  });

  test("the rough price is within a third of the exact one, and in nine of ten cases within a fifth", () => {
    let near = 0;
    let count = 0;
    for (const row of CATALOGUE_MODELS.filter((_, index) => index % 5 === 0)) {
      if (row.uses.includes("embedding")) continue;
      const model = specFromCatalogue(row);
      const { settings, placement, weights } = prepare(model, { buildFamily: "llama-server" }, 1);
      const exact = computeBytes(model, settings, placement, "cuda", weights).gpus[0]!;
      const ratio = roughComputeBytes(model, settings, placement, weights).gpus[0]! / exact;
      expect(ratio, row.name).toBeGreaterThan(0.66);
      expect(ratio, row.name).toBeLessThan(1.34);
      count++;
      if (Math.abs(ratio - 1) < 0.2) near++;
    }
    expect(near / count).toBeGreaterThan(0.9);
  });
});

describe("chooseBlocks", () => {
  test("keeps two rounds of what repeats, and always the last block", () => {
    const { blocks, settled } = chooseBlocks(Array(40).fill(0), 1);
    expect(blocks.at(-1)).toBe(39);
    expect(blocks.length).toBeLessThan(10);
    expect(settled.length).toBeGreaterThan(0);
  });

  test("keeps every passage between kinds", () => {
    const sequence = Array.from({ length: 60 }, (_, index) => (index % 6 === 5 ? 1 : 0));
    const { blocks } = chooseBlocks(sequence, 1);
    const kinds = blocks.map((block) => sequence[block]).join("");
    expect(kinds).toContain("0100");
    expect(blocks.length).toBeLessThan(30);
  });

  test("keeps everything where nothing repeats", () => {
    expect(chooseBlocks([0, 1, 2, 3, 4], 1).blocks).toEqual([0, 1, 2, 3, 4]);
  });
});
