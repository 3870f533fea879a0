/**
 * The planner against the llama.cpp in node-llama-cpp, on the CPU: files in the shape of published models are loaded in
 * a child process and every buffer is compared. A larger grid is in bench/fit-accuracy.ts.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { MIB } from "../../src/core/units.ts";
import { findCatalogueModel } from "../../src/fit/catalogue.ts";
import { writeCatalogueFile } from "../support/gguf/catalogue-file.ts";
import { askOracle, type OracleCase, planOracleCase } from "../support/oracle.ts";

/** Full attention, sliding windows, a hybrid with state, and experts with windows and sinks. */
const MODELS = ["Qwen3 0.6B", "Gemma 3 1B", "Qwen3.5 0.8B", "gpt-oss 20B"];

const plain: OracleCase = {
  contextLength: 4096,
  sequenceCount: 1,
  batchSize: 512,
  flashAttention: true,
  kvCacheTypeK: "F16",
  kvCacheTypeV: "F16",
};

const CASES: Record<string, OracleCase> = {
  "one sequence": plain,
  "four sequences with a quantized cache": {
    ...plain,
    contextLength: 2000,
    sequenceCount: 4,
    batchSize: 256,
    kvCacheTypeK: "Q8_0",
    kvCacheTypeV: "Q8_0",
  },
  "no flash attention": { ...plain, contextLength: 8192, batchSize: 128, flashAttention: false },
};

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "snug-oracle-"));
});

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

describe.each(MODELS)("%s on the CPU", (name) => {
  test("weights, caches and state are exact, compute buffers within 2 %", { timeout: 180_000 }, async () => {
    const path = join(folder, `${name}.gguf`);
    const model = writeCatalogueFile(path, findCatalogueModel(name)!.model, {
      vocabularySize: 32_768,
      layersMax: 6,
      expertsMax: 8,
      expertsUsedMax: 4,
      type: "F16",
    });
    const job = { path, gpu: false, gpuLayers: 0, cases: Object.values(CASES), estimates: false };
    const { results, failure } = await askOracle(job);
    expect(failure).toBeUndefined();
    Object.entries(CASES).forEach(([title, one], index) => {
      const real = results[index]!;
      const planned = planOracleCase(model, job, one);
      // The log shows hundredths of a MiB.
      const digit = 0.011 * MIB;
      expect.soft(Math.abs(planned.weights.host - real.weights.host), `${title}: weights`).toBeLessThan(digit);
      expect.soft(Math.abs(planned.cache.host - real.cache.host), `${title}: cache`).toBeLessThan(digit);
      expect.soft(Math.abs(planned.state.host - real.state.host), `${title}: state`).toBeLessThan(digit);
      expect.soft(Math.abs(planned.output.host - real.output.host), `${title}: output`).toBeLessThan(digit);
      expect.soft(planned.compute.host / real.compute.host, `${title}: compute`).toBeGreaterThan(0.98);
      expect.soft(planned.compute.host / real.compute.host, `${title}: compute`).toBeLessThan(1.02);
    });
  });
});
