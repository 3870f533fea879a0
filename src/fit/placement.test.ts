import { describe, expect, test } from "vitest";
import { specFromMetadata } from "./model.ts";
import { createPlacement, HOST, offloadableLayers, splitByFreeMemory } from "./placement.ts";
import type { BuildFamily, RuntimeSettings } from "./types.ts";

const model = specFromMetadata({
  "general.architecture": "qwen3moe",
  "qwen3moe.block_count": 6,
  "qwen3moe.embedding_length": 256,
  "qwen3moe.attention.head_count": 4,
  "qwen3moe.feed_forward_length": 512,
  "qwen3moe.expert_count": 8,
  "qwen3moe.expert_used_count": 2,
  "qwen3moe.expert_feed_forward_length": 128,
  "qwen3moe.vocab_size": 1024,
  "qwen3moe.context_length": 4096,
});

function place(gpuLayers: number, split: number[], buildFamily: BuildFamily = "node-llama-cpp", hostExpertLayers = 0) {
  const settings: Pick<RuntimeSettings, "buildFamily" | "gpuLayers" | "gpuLayerSplit" | "hostExpertLayers"> = {
    buildFamily,
    gpuLayers,
    gpuLayerSplit: split,
    hostExpertLayers,
  };
  return createPlacement(model, settings, split.length);
}

describe("createPlacement", () => {
  test("the head is offloaded first, then blocks from the back", () => {
    expect(offloadableLayers(model)).toBe(7);
    expect(place(1, [1])).toMatchObject({ output: 0, blocks: new Int16Array(6).fill(HOST) });
    expect([...place(3, [3]).blocks]).toEqual([HOST, HOST, HOST, HOST, 0, 0]);
  });

  test("builds of 2024 offloaded the head last", () => {
    const partial = place(3, [3], "llama.cpp-2024");
    expect(partial.output).toBe(HOST);
    expect([...partial.blocks]).toEqual([HOST, HOST, HOST, 0, 0, 0]);
    expect(place(7, [7], "llama.cpp-2024").output).toBe(0);
  });

  test("several GPUs get runs of blocks in device order, the last one the head", () => {
    const { blocks, output } = place(7, [4, 3]);
    expect([...blocks]).toEqual([0, 0, 0, 0, 1, 1]);
    expect(output).toBe(1);
  });

  test("experts leave the GPU from the last block on", () => {
    expect([...place(7, [7], "llama-server", 2).hostExperts]).toEqual([0, 0, 0, 0, 1, 1]);
  });

  test("without a GPU everything is on the host", () => {
    expect(place(7, [])).toMatchObject({ output: HOST, blocks: new Int16Array(6).fill(HOST) });
  });
});

describe("splitByFreeMemory", () => {
  test.each([
    [33, [1, 1], [17, 16]],
    [33, [1, 1, 1, 1], [9, 8, 8, 8]],
    [41, [12, 24], [14, 27]],
    [5, [0, 8], [0, 5]],
    [0, [8, 8], [0, 0]],
  ])("%d layers over %j", (layers, free, expected) => {
    expect(splitByFreeMemory(layers, free)).toEqual(expected);
  });

  test("all layers are placed, however uneven the cards", () => {
    for (let layers = 1; layers < 130; layers++) {
      for (const free of [[1], [3, 5], [24, 12, 8], [7, 0, 1], [0, 0]]) {
        expect(splitByFreeMemory(layers, free).reduce((sum, count) => sum + count, 0)).toBe(layers);
      }
    }
  });
});
