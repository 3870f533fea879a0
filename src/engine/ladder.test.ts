import { describe, expect, test } from "vitest";
import type { LoadSettings } from "./ipc.ts";
import { Ladder, type LadderOptions } from "./ladder.ts";

const start: LoadSettings = {
  modelPath: "/m/Qwen3-8B-Q6_K.gguf",
  contextLength: 8192,
  sequenceCount: 4,
  batchSize: 512,
  gpu: "auto",
  gpuLayers: 37,
  flashAttention: true,
  kvCacheTypeK: "F16",
  kvCacheTypeV: "F16",
};

function walk(options: LadderOptions, settings = start): string[] {
  const ladder = new Ladder(options);
  for (let next: LoadSettings | undefined = settings; next !== undefined; ) next = ladder.next(next, "no room", 1);
  return ladder.steps.map(({ setting, from, to }) => `${setting} ${from} to ${to}`);
}

describe("the ladder", () => {
  test("gives up one thing at a time in the planner's order, layers last", () => {
    const smallerFiles = [
      { path: "/m/Qwen3-8B-Q4_K_M.gguf", quantization: "Q4_K_M", fileBytes: 5e9 },
      { path: "/m/Qwen3-8B-Q2_K.gguf", quantization: "Q2_K", fileBytes: 3e9 },
    ];
    expect(walk({ smallerFiles, quantization: "Q6_K", layerCount: 37 })).toEqual([
      "sequenceCount 4 to 2",
      "sequenceCount 2 to 1",
      "batchSize 512 to 256",
      "batchSize 256 to 128",
      "kvCacheType F16 to Q8_0",
      "contextLength 8k to 4k",
      "contextLength 4k to 2k",
      "quantization Q6_K to Q4_K_M",
      "quantization Q4_K_M to Q2_K",
      "gpuLayers 37 to 27",
      "gpuLayers 27 to 17",
      "gpuLayers 17 to 7",
      "gpuLayers 7 to 0",
    ]);
  });

  test("keeps what an administrator fixed, and says so by ending when nothing else is left", () => {
    expect(walk({ fixed: new Set(["sequenceCount", "batchSize", "gpuLayers", "contextLength"]) })).toEqual([
      "kvCacheType F16 to Q8_0",
    ]);
  });

  test("stays one below powers of two where the start was, as sliding-window models want it", () => {
    expect(walk({}, { ...start, batchSize: 511, gpu: false }).filter((step) => step.startsWith("batch"))).toEqual([
      "batchSize 511 to 255",
      "batchSize 255 to 127",
    ]);
  });

  test("has no 8-bit cache for heads that do not divide, nor without flash attention, nor a second time", () => {
    const cacheSteps = (options: LadderOptions, settings: Partial<LoadSettings>) =>
      walk(options, { ...start, ...settings }).filter((step) => step.startsWith("kv"));
    expect(cacheSteps({ cacheMayBeQuantized: false }, {})).toEqual([]);
    expect(cacheSteps({}, { flashAttention: false })).toEqual([]);
    expect(cacheSteps({}, { kvCacheTypeK: "Q8_0", kvCacheTypeV: "Q8_0" })).toEqual([]);
  });

  test("passes over steps that save nothing, and tells what the others save", () => {
    const price = ({ contextLength, sequenceCount }: LoadSettings) => {
      return { hostBytes: 7, gpuBytes: contextLength! * sequenceCount };
    };
    const ladder = new Ladder({ price });
    const next = ladder.next({ ...start, sequenceCount: 1 }, "no room", 7);
    expect(next).toMatchObject({ batchSize: 512, contextLength: 4096 });
    expect(ladder.steps).toEqual([
      { at: 7, setting: "contextLength", from: "8k", to: "4k", savedBytes: 4096, reason: "no room" },
    ]);
  });

  test("moves no layers on a machine without a GPU", () => {
    expect(walk({}, { ...start, gpu: false }).some((step) => step.startsWith("gpuLayers"))).toBe(false);
  });
});
