import { describe, expect, it } from "vitest";
import { anonymised, type BenchProfile, parseBenchProfile } from "./bench-profile.ts";
import { findGpu } from "./gpus.ts";
import { measuredRuns, parseMeasuredRows } from "./measured.ts";
import { specFromParameterCount } from "./model.ts";
import { planFit } from "./plan.ts";
import { estimateSpeed } from "./speed.ts";
import { countRun } from "./speed-measured.ts";
import type { Hardware } from "./types.ts";

const model = specFromParameterCount(8e9);
const card = findGpu("rtx 3060")!.gpu;
const hardware: Hardware = {
  backend: "cuda",
  gpus: [
    {
      id: "gpu0",
      name: card.name,
      vramBytesTotal: 12 * 2 ** 30,
      bandwidthBytesPerSecond: card.bandwidthBytesPerSecond!,
      generation: card.generation!,
    },
  ],
};
const plan = planFit(model, hardware, { quantization: "Q4_K_M", contextLength: 4096 });
if (plan.kind !== "plan") throw new Error("the test's model must fit");
const settings = plan.settings;
const run = countRun({ model, settings, depthTokens: 512, decodeTokensPerSecond: 30 }, 1);

const profile: BenchProfile = {
  snugBench: 1,
  date: "2026-03-14",
  machine: {
    gpus: ["NVIDIA GeForce RTX 3060"],
    driver: "550.1",
    cpu: "Some CPU @ 3.00GHz /home/ann\n",
    cores: 8,
    backend: "cuda",
    ramBytesTotal: 33_567_891_234,
    build: "node-llama-cpp 3",
  },
  model: { name: "anns-secret-model", architecture: "llama", parameterCount: 8e9, fileBytes: 5e9 },
  load: { ms: 1234.5678, threads: 4, predicted: { hostBytes: 1, gpuBytes: 2 } },
  rows: [{ contextTokens: 512, sequenceCount: 1, prefillTokensPerSecond: 900, decodeTokensPerSecond: 30 }],
  runs: [run],
};
const dependencies = {
  loadGguf: async () => {
    throw new Error("no file is read");
  },
};

describe("a bench profile", () => {
  it("comes back from its file and takes the place of the constants", async () => {
    const rows = parseMeasuredRows(JSON.stringify(profile));
    const measured = await measuredRuns(rows, hardware, dependencies);
    const question = { model, plan: { settings }, hardware, depthTokens: 512 };
    expect(estimateSpeed(question).decodeTokensPerSecond).not.toBeCloseTo(30, 0);
    expect(estimateSpeed({ ...question, measured }).decodeTokensPerSecond).toBeCloseTo(30, 6);
  });

  it("is refused for a machine it was not measured on", async () => {
    const rows = parseMeasuredRows(JSON.stringify(profile));
    const other = { ...hardware, gpus: [{ ...hardware.gpus[0]!, name: "GeForce RTX 4090" }] };
    await expect(measuredRuns(rows, other, dependencies)).rejects.toMatchObject({ param: "measured[0].machine" });
    const none: Hardware = { backend: "cpu", gpus: [] };
    await expect(measuredRuns(rows, none, dependencies)).rejects.toMatchObject({ code: "invalid_request" });
  });

  it("shared says which product it was, and nothing of whose", () => {
    const shared = anonymised(profile, (name) => name === "qwen3-8b");
    const text = JSON.stringify(shared);
    for (const own of ["ann", "secret", "/home", "33567891234", "2026-03-14"]) expect(text).not.toContain(own);
    expect(shared).toMatchObject({
      date: "2026-03-01",
      machine: { gpus: [card.name], ramBytesTotal: 32 * 2 ** 30 },
      rows: profile.rows,
    });
    expect(shared.model.name).toBeUndefined();
    expect(anonymised({ ...profile, model: { ...profile.model, name: "qwen3-8b" } }, () => true).model.name).toBe(
      "qwen3-8b",
    );
    expect(parseBenchProfile(JSON.parse(text)).runs).toEqual(profile.runs);
  });

  it.each([
    ["another version", { ...profile, snugBench: 2 }],
    ["a rate of nothing", { ...profile, runs: [{ ...run, decodeTokensPerSecond: 0 }] }],
    ["work that is no number", { ...profile, runs: [{ ...run, work: { ...run.work, crossings: "many" } }] }],
    [
      "a cache type llama.cpp dies of",
      { ...profile, runs: [{ ...run, settings: { ...settings, kvCacheTypeK: "F64" } }] },
    ],
    ["a book as a card's name", { ...profile, machine: { ...profile.machine, gpus: ["x".repeat(1e5)] } }],
    ["too many runs", { ...profile, runs: Array(1001).fill(run) }],
    ["nothing in it", { snugBench: 1 }],
  ])("is refused with %s", (_, value) => {
    expect(() => parseMeasuredRows(JSON.stringify(value))).toThrow(
      expect.objectContaining({ code: "invalid_request" }),
    );
  });
});
