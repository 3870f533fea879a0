import { describe, expect, test } from "vitest";
import { MIB } from "../core/units.ts";
import { findCatalogueModel, specFromCatalogue } from "./catalogue.ts";
import { type CacheSettings, cacheCells, kvCacheBytesByLayer, recurrentBytesByLayer } from "./memory-cache.ts";

const spec = (name: string) => specFromCatalogue(findCatalogueModel(name)!.model);
const base: CacheSettings = {
  buildFamily: "node-llama-cpp",
  contextLength: 4096,
  sequenceCount: 1,
  microBatchSize: 512,
  flashAttention: true,
  kvCacheTypeK: "F16",
  kvCacheTypeV: "F16",
};
const mib = (bytes: Float64Array) => bytes.reduce((sum, one) => sum + one, 0) / MIB;

describe("cells", () => {
  test("are padded to 256, and each sequence has its own", () => {
    const settings = { ...base, contextLength: 1000, sequenceCount: 4 };
    expect(cacheCells(spec("Qwen3 8B"), settings)).toMatchObject({ perStream: 1024, streams: 4 });
  });

  test("are shared by the slots of a server", () => {
    const settings: CacheSettings = { ...base, buildFamily: "llama-server", contextLength: 8192, sequenceCount: 4 };
    expect(cacheCells(spec("Qwen3 8B"), settings)).toMatchObject({ perStream: 8192, streams: 1 });
  });

  test("are one for each slot where a server is told how many slots to have", () => {
    const settings: CacheSettings = { ...base, buildFamily: "llama-server", contextLength: 8192, sequenceCount: 4 };
    expect(cacheCells(spec("Qwen3 8B"), { ...settings, slotCaches: true })).toMatchObject({
      perStream: 8192,
      streams: 4,
    });
  });

  test("of sliding windows hold the window and one micro-batch, which the binding makes one larger", () => {
    const gemma = spec("Gemma 3 12B");
    const at = (settings: Partial<CacheSettings>) =>
      cacheCells(gemma, { ...base, contextLength: 32_768, ...settings }).slidingPerStream;
    expect(at({ microBatchSize: 512 })).toBe(1792);
    expect(at({ microBatchSize: 511 })).toBe(1536);
    expect(at({ microBatchSize: 2048, buildFamily: "llama-server", sequenceCount: 4 })).toBe(6144);
    expect(at({ buildFamily: "llama.cpp-2024" })).toBe(32_768);
  });
});

describe("KV cache", () => {
  test.each([
    ["Qwen3 8B", 576],
    ["Qwen3.5 9B", 128],
    ["Qwen3 30B A3B", 384],
    ["Llama 3.1 8B", 512],
  ])("%s at 4096 tokens takes %d MiB", (name, expected) => {
    expect(mib(kvCacheBytesByLayer(spec(name), base))).toBe(expected);
  });

  test("types are priced by their blocks, keys and values apart", () => {
    const qwen = spec("Qwen3 8B");
    const at = (kvCacheTypeK: CacheSettings["kvCacheTypeK"], kvCacheTypeV: CacheSettings["kvCacheTypeV"]) =>
      mib(kvCacheBytesByLayer(qwen, { ...base, kvCacheTypeK, kvCacheTypeV }));
    expect(at("Q8_0", "Q8_0")).toBe(306);
    expect(at("Q4_0", "Q4_0")).toBe(162);
    expect(at("Q8_0", "F16")).toBe((306 + 576) / 2);
    expect(at("F32", "F16")).toBe(576 * 1.5);
  });

  test("latent attention keeps one compressed row", () => {
    expect(mib(kvCacheBytesByLayer(spec("DeepSeek V3 671B"), { ...base, contextLength: 8192 }))).toBe(549);
  });

  test("Gemma 4's last layers read earlier caches and keep none", () => {
    const settings: CacheSettings = {
      ...base,
      buildFamily: "llama-server",
      contextLength: 8192,
      microBatchSize: 2048,
    };
    expect(mib(kvCacheBytesByLayer(spec("Gemma 4 E4B"), settings))).toBe(228);
  });
});

describe("recurrent state", () => {
  test("is one per sequence, and one more per drafted token", () => {
    const qwen = spec("Qwen3.8 27B");
    expect(mib(recurrentBytesByLayer(qwen, base))).toBeCloseTo(149.62, 1);
    expect(mib(recurrentBytesByLayer(qwen, { ...base, draftTokensMax: 2 }))).toBeCloseTo(448.88, 1);
    expect(mib(recurrentBytesByLayer(qwen, { ...base, draftTokensMax: 2, sequenceCount: 4 }))).toBeCloseTo(1795.5, 1);
  });
});
