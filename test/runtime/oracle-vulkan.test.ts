/**
 * The planner against the llama.cpp in node-llama-cpp with layers on a GPU. Any Vulkan device will do, a software one
 * included: its buffers are real. Left out where there is none.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { MIB } from "../../src/core/units.ts";
import { findCatalogueModel } from "../../src/fit/catalogue.ts";
import type { ModelSpec } from "../../src/fit/types.ts";
import { writeCatalogueFile } from "../support/gguf/catalogue-file.ts";
import { askOracle, hasVulkan, type OracleCase, planOracleCase } from "../support/oracle.ts";

const MODELS = ["Qwen3 0.6B", "Gemma 3 1B"];
const blocks = 6;
const CASES: OracleCase[] = [
  {
    contextLength: 2048,
    sequenceCount: 1,
    batchSize: 256,
    flashAttention: true,
    kvCacheTypeK: "F16",
    kvCacheTypeV: "F16",
  },
  {
    contextLength: 1024,
    sequenceCount: 2,
    batchSize: 128,
    flashAttention: true,
    kvCacheTypeK: "F16",
    kvCacheTypeV: "F16",
  },
];

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "snug-oracle-"));
});

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

describe.runIf(await hasVulkan()).each(MODELS)("%s on a Vulkan device", (name) => {
  let path: string;
  let model: ModelSpec;

  beforeAll(() => {
    path = join(folder, `${name}.gguf`);
    // Software devices take no tensor above 128 MiB.
    model = writeCatalogueFile(path, findCatalogueModel(name)!.model, {
      vocabularySize: 16_384,
      layersMax: blocks,
      expertsMax: 8,
      expertsUsedMax: 4,
      type: "F16",
    });
  });

  test.each([1, 3, blocks + 1])("with %d layers offloaded", { timeout: 180_000 }, async (gpuLayers) => {
    const job = { path, gpu: true, gpuLayers, cases: CASES, estimates: false };
    const { results, failure } = await askOracle(job);
    expect(failure).toBeUndefined();
    CASES.forEach((one, index) => {
      const real = results[index]!;
      const planned = planOracleCase(model, job, one);
      const digit = 0.011 * MIB;
      expect.soft(Math.abs(planned.weights.gpu - real.weights.gpu), "weights").toBeLessThan(digit);
      expect.soft(Math.abs(planned.cache.gpu - real.cache.gpu), "cache").toBeLessThan(digit);
      expect.soft(Math.abs(planned.cache.host - real.cache.host), "cache in main memory").toBeLessThan(digit);
      expect.soft(Math.abs(planned.compute.gpu / real.compute.gpu - 1), "compute").toBeLessThan(0.02);
      expect.soft(Math.abs(planned.compute.host / real.compute.host - 1), "compute in main memory").toBeLessThan(0.02);
    });
  });
});
