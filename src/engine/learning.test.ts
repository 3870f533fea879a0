/** Learning with the real child on the CPU, and the files it is kept in. */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { writeModel } from "../../test/support/gguf/write-model.ts";
import { childProgram, listLogger } from "../../test/support/local-engine.ts";
import { speedSamplesMax } from "../core/limits.ts";
import type { HardwareReading } from "../core/ports.ts";
import { GIB } from "../core/units.ts";
import { specFromGguf } from "../fit/model.ts";
import { estimateSpeed } from "../fit/speed.ts";
import { readModelHeader } from "./check-model.ts";
import { MachineLearning, resetLearning } from "./learning.ts";
import { describeLearning } from "./learning-profile.ts";
import { hardwareOf } from "./load-plan.ts";
import type { LocalEngine } from "./local-engine.ts";
import { openPlannedEngine } from "./planned-engine.ts";
import type { SpeedSample } from "./speed-records.ts";

const reading: HardwareReading = {
  cpu: { name: "CPU", coresPhysical: 2, coresUsable: 2 },
  ramBytesTotal: 8 * GIB,
  ramBytesFree: 6 * GIB,
  gpus: [],
  backend: "cpu",
};
const key = { reading, buildFamily: "node-llama-cpp", build: "node-llama-cpp 1" } as const;

let folder: string;
const log: string[] = [];
const engines: LocalEngine[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "snug-learning-"));
  log.length = 0;
});
afterEach(async () => {
  for (const engine of engines.splice(0)) await engine.stop({ drainMs: 0 });
  rmSync(folder, { recursive: true });
});

async function load(path: string, learning: MachineLearning) {
  const planned = await openPlannedEngine({
    model: { id: "tiny", path },
    reading,
    wish: { threadsMax: 1, contextLength: 2048, sequenceCount: 2 },
    learning,
    builds: { "node-llama-cpp": key.build },
    readVramFree: async () => undefined,
    program: childProgram,
    logger: listLogger(log),
    clock: { now: () => 1 },
  });
  engines.push(planned.engine);
  await planned.engine.start();
  return planned;
}

async function answer(engine: LocalEngine, maxTokens: number): Promise<void> {
  const request = { model: "tiny", messages: [{ role: "user" as const, content: "Say it." }], maxTokens };
  for await (const event of engine.chat(request, { signal: new AbortController().signal })) {
    if (event.type === "error") throw new Error(event.error.message);
  }
}

describe("a machine that has answered once", () => {
  test("predicts the same model's next answer, at another depth and in another quantization, from it", async () => {
    const learning = await MachineLearning.open(folder, listLogger(log));
    const first = writeModel(join(folder, "tiny-F16.gguf"), { shape: "small", brain: "endless", type: "F16" }).path;
    const { engine, report } = await load(first, learning);
    expect(learning.learned(key)?.runs).toEqual([]);
    // Too short to tell anything, then one that tells.
    await answer(engine, 5);
    expect(learning.speed.all).toEqual([]);
    await answer(engine, 64);
    const [run] = learning.speed.all;
    expect(run).toMatchObject({ architecture: "qwen3", model: "tiny", build: key.build });
    const spec = specFromGguf(await readModelHeader(first));
    const learned = learning.learned(key)!;
    const ask = (taught: boolean, depthTokens: number, quantization = "F16") =>
      estimateSpeed({
        model: spec,
        plan: { settings: { ...report().plan.settings, quantization } },
        hardware: hardwareOf(taught ? { ...reading, learned } : reading),
        depthTokens,
      }).decodeTokensPerSecond;
    const measured = run!.decodeTokensPerSecond[0]!;
    expect(ask(true, run!.depthTokens)).toBeCloseTo(measured, 3);
    // Before, the tables were off by a factor; whatever it was, elsewhere it is off by about the same now put right.
    const factor = measured / ask(false, run!.depthTokens);
    for (const [depth, quantization] of [
      [1500, "F16"],
      [60, "Q8_0"],
    ] as const) {
      const moved = ask(true, depth, quantization) / ask(false, depth, quantization);
      expect(moved / factor).toBeGreaterThan(0.5);
      expect(moved / factor).toBeLessThan(2);
    }
    expect(ask(true, 1500)).toBeLessThan(ask(true, 60));
    expect(ask(true, 60, "Q8_0")).toBeGreaterThan(ask(true, 60, "F16"));
  });

  test("tells a router how fast it is: by its plan, then by what other files taught, then by answers measured", async () => {
    const learning = await MachineLearning.open(folder, listLogger(log));
    const path = writeModel(join(folder, "tiny-F16.gguf"), { shape: "small", brain: "endless", type: "F16" }).path;
    const { engine, expectedRate, report } = await load(path, learning);
    const spec = specFromGguf(await readModelHeader(path));
    const plain = estimateSpeed({ model: spec, plan: report().plan, hardware: hardwareOf(reading) });
    expect(expectedRate()).toBe(Number(plain.decodeTokensPerSecond.toPrecision(2)));
    await answer(engine, 64);
    const [run] = learning.speed.all;
    const measured = run!.decodeTokensPerSecond[0]!;
    // The same but for its depth, which costs little in so small a model.
    expect(expectedRate()! / measured).toBeGreaterThan(0.5);
    expect(expectedRate()! / measured).toBeLessThan(1.1);
    learning.speed.add({ ...run!, model: "other", decodeTokensPerSecond: measured / 10, prefill: undefined });
    const own = expectedRate()!;
    expect(own / measured).toBeGreaterThan(0.5);
    const another = writeModel(join(folder, "b.gguf"), { shape: "small", brain: "endless", type: "Q8_0" }).path;
    const unmeasured = await load(another, learning);
    expect(unmeasured.expectedRate()).toBeLessThan(2 * own);
    expect(await engine.models()).toMatchObject([{ loaded: true }]);
  });

  test("answers that ran beside each other teach nothing", async () => {
    const learning = await MachineLearning.open(folder, listLogger(log));
    const path = writeModel(join(folder, "tiny.gguf"), { shape: "tiny", brain: "endless" }).path;
    const { engine } = await load(path, learning);
    // Both enter before the model process has heard of either.
    await Promise.all([answer(engine, 64), answer(engine, 64)]);
    expect(learning.speed.all).toEqual([]);
  });

  test("remembers over a restart what its loads took, and another build begins anew", async () => {
    const learning = await MachineLearning.open(folder, listLogger(log));
    await load(writeModel(join(folder, "tiny.gguf"), { shape: "tiny", brain: "script" }).path, learning);
    await learning.settled();
    const again = await MachineLearning.open(folder, listLogger(log));
    const [taught] = again.learned(key)!.loads;
    expect(taught).toMatchObject({ architecture: "qwen3", gpuCount: 0 });
    const { predicted, measured } = taught!.compute!;
    expect(Math.abs(measured.hostBytes / predicted.hostBytes - 1)).toBeLessThan(0.02);
    expect(again.learned(key)).toBe(again.learned(key));
    expect(again.learned({ ...key, build: "node-llama-cpp 2" })).toBeUndefined();
    expect(await resetLearning(folder)).toHaveLength(1);
    expect(existsSync(join(folder, "engine-memory.json"))).toBe(false);
    expect((await MachineLearning.open(folder, listLogger(log))).learned(key)).toBeUndefined();
  });
});

describe("samples of answers alike", () => {
  const work = {
    layers: 2,
    moeLayers: 0,
    recurrentLayers: 0,
    mlaLayers: 0,
    extraNorms: 0,
    denseBytes: 1e6,
    expertBytes: 0,
    kvBytes: 1e3,
    residentBytes: 1e6,
    activeParameters: 5e5,
    expertParameters: 0,
    expertShare: 0,
    attentionWidth: 256,
    slidingWidth: 0,
  };
  const sample = (decodeTokensPerSecond: number, depthTokens = 100, promptTokens = 90): SpeedSample => ({
    at: 1,
    device: "cpu CPU",
    build: key.build,
    architecture: "qwen3",
    model: "tiny",
    settings: {
      buildFamily: "node-llama-cpp",
      quantization: "Q8_0",
      contextLength: 2048,
      sequenceCount: 1,
      batchSize: 512,
      microBatchSize: 512,
      flashAttention: true,
      kvCacheTypeK: "F16",
      kvCacheTypeV: "F16",
      gpuLayers: 0,
      hostExpertLayers: 0,
      gpuLayerSplit: [],
    },
    depthTokens,
    work: { gpus: [], host: work, crossings: 0, slidingWindow: 0 },
    decodeTokensPerSecond,
    prefill: { promptTokens, tokensPerSecond: decodeTokensPerSecond * 10 },
  });

  test("count by their median, so that a disturbed one is outvoted", async () => {
    const learning = await MachineLearning.open(folder, listLogger(log));
    for (const rate of [50, 5, 51]) learning.speed.add(sample(rate));
    expect(learning.learned(key)!.runs).toMatchObject([{ decodeTokensPerSecond: 50, prefillTokensPerSecond: 500 }]);
    learning.speed.add(sample(40, 1000, 1000));
    expect(learning.learned(key)!.runs).toHaveLength(2);
    await learning.settled();
    const again = await MachineLearning.open(folder, listLogger(log));
    expect(again.learned(key)).toEqual(learning.learned(key));
    expect(log).toEqual([]);
  });

  test("of the machine that answers questions are found without asking a driver which machine it is", async () => {
    const learning = await MachineLearning.open(folder, listLogger(log));
    expect(learning.latestMachine()).toBeUndefined();
    const cards = "cuda NVIDIA GeForce RTX 3060 550.54.14 + AMD Radeon RX 7600";
    learning.speed.add({ ...sample(40), at: 1 });
    learning.speed.add({ ...sample(50), at: 2, device: cards, work: { ...sample(1).work, gpus: [work, work] } });
    expect(learning.latestMachine()).toMatchObject({
      gpuNames: ["NVIDIA GeForce RTX 3060", "AMD Radeon RX 7600"],
      learned: { backend: "cuda", buildFamily: "node-llama-cpp", runs: [{ decodeTokensPerSecond: 50 }] },
    });
    expect(describeLearning(learning)).toMatchObject([
      { device: "cpu CPU", runs: 1 },
      { device: cards, build: key.build, runs: 1, loads: 0 },
    ]);
    await learning.settled();
  });

  test("are bounded, the newest kept", async () => {
    const learning = await MachineLearning.open(folder, listLogger(log));
    for (let rate = 1; rate <= 3 * speedSamplesMax; rate++) learning.speed.add(sample(rate));
    expect(learning.speed.all).toHaveLength(1);
    expect(learning.speed.all[0]!.decodeTokensPerSecond).toHaveLength(speedSamplesMax);
    expect(learning.speed.all[0]!.decodeTokensPerSecond.at(-1)).toBe(3 * speedSamplesMax);
    await learning.settled();
  });
});
