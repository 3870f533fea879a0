/** The real child under injected limits: what is forecast, what is measured, and every step down. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { SCRIPT_LINES } from "../../test/support/gguf/vocabulary.ts";
import { type ModelOptions, writeModel } from "../../test/support/gguf/write-model.ts";
import { childProgram, listLogger } from "../../test/support/local-engine.ts";
import type { HardwareReading } from "../core/ports.ts";
import { GIB, MIB } from "../core/units.ts";
import type { LoadSettings } from "./ipc.ts";
import { Ladder } from "./ladder.ts";
import { MachineLearning } from "./learning.ts";
import { createLocalEngine, type LocalEngine } from "./local-engine.ts";
import { openPlannedEngine, type PlannedEngineOptions } from "./planned-engine.ts";

const clock = { now: () => 1_700_000_000_000 };
const cpu: HardwareReading = {
  cpu: { name: "CPU", coresPhysical: 2, coresUsable: 2 },
  ramBytesTotal: 8 * GIB,
  ramBytesFree: 6 * GIB,
  gpus: [],
  backend: "cpu",
};

let folder: string;
let log: string[];
const engines: LocalEngine[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "snug-planned-"));
  log = [];
});
afterEach(async () => {
  for (const engine of engines.splice(0)) await engine.stop({ drainMs: 0 });
  rmSync(folder, { recursive: true });
});

function model(name: string, options: ModelOptions): string {
  const contextLength = { key: "qwen3.context_length", type: "u32", value: 8192 } as const;
  return writeModel(join(folder, name), { shape: "small", brain: "script", metadata: [contextLength], ...options })
    .path;
}

async function open(options: Partial<PlannedEngineOptions> & { path: string }) {
  const learning = options.learning ?? (await MachineLearning.open(folder, listLogger(log)));
  const opened = await openPlannedEngine({
    model: { id: "tiny", path: options.path },
    reading: cpu,
    wish: { threadsMax: 1 },
    readVramFree: async () => undefined,
    program: childProgram,
    logger: listLogger(log),
    clock,
    ...options,
    learning,
  });
  engines.push(opened.engine);
  return { ...opened, learning };
}

async function answer(engine: LocalEngine): Promise<string> {
  let text = "";
  const request = { model: "tiny", messages: [{ role: "user" as const, content: "Say it." }], temperature: 0 };
  for await (const event of engine.chat(request, { signal: new AbortController().signal })) {
    if (event.type === "text") text += event.text;
  }
  return text.trim();
}

describe("a model loaded by plan", () => {
  test("takes what was forecast to the last buffer, and the record of it is kept on disk", async () => {
    const { engine, report, learning } = await open({ path: model("a.gguf", { type: "F16" }) });
    await engine.start();
    const { predicted, measured } = report();
    expect(measured!.gpuBytes).toBe(0);
    expect(Math.abs(measured!.hostBytes / predicted.hostBytes - 1)).toBeLessThan(0.01);
    await learning.settled();
    const kept = await MachineLearning.open(folder, listLogger(log));
    expect(kept.memory.all).toMatchObject([{ device: "cpu CPU", model: "tiny", predicted, measured }]);
  });

  test("with a sliding window is given one token less than a power of two, which saves a page of cache", async () => {
    const path = writeModel(join(folder, "g.gguf"), { architecture: "gemma3", shape: "tiny", brain: "script" }).path;
    const { engine, report } = await open({ path });
    await engine.start();
    expect(engine.status().settings.batchSize).toBe(511);
    const { predicted, measured } = report();
    expect(Math.abs(measured!.hostBytes / predicted.hostBytes - 1)).toBeLessThan(0.02);
  });

  test("that asks for a GPU where there is none is said to run without", async () => {
    await open({ path: model("a.gguf", { shape: "tiny" }), wish: { gpu: "cuda", contextLength: 8192 } });
    expect(log.filter((line) => line.startsWith("warn"))).toEqual([
      "warn SNUG_GPU asks for cuda, and no GPU was found for it; the model runs on the CPU.",
    ]);
  });

  test("never takes more main memory than its limit, down the ladder if need be", async () => {
    const path = model("a.gguf", { type: "Q8_0" });
    const ramLimitBytes = 32 * MIB;
    const { engine, report } = await open({ path, wish: { threadsMax: 1, ramLimitBytes } });
    await engine.start();
    expect(report().measured!.hostBytes).toBeLessThanOrEqual(ramLimitBytes);
    expect(await answer(engine)).toBe(SCRIPT_LINES[0]);
  });
});

describe("an engine that gave up on a model it had loaded", () => {
  test("tries again after a rest", async () => {
    // Lives as long as a file is there: what kills it passes.
    const healthy = join(folder, "healthy");
    writeFileSync(healthy, "");
    const source = `import { existsSync } from "node:fs";
      process.on("message", ({ type }) => {
        if (type === "stop") process.exit(0);
        if (type !== "load") return;
        if (!existsSync(${JSON.stringify(healthy)})) process.exit(3);
        process.send({ type: "ready", model: { contextLength: 100 } });
      });`;
    writeFileSync(join(folder, "child.mjs"), source);
    const engine = createLocalEngine({
      model: { id: "tiny", path: "/none" },
      program: { url: pathToFileURL(join(folder, "child.mjs")), execArgv: [] },
      logger: listLogger(log),
      clock,
      times: { restartDelayMsFirst: 1, restartDelayMsMax: 1, restAfterCrashesMs: 200 },
    });
    engines.push(engine);
    await engine.start();
    rmSync(healthy);
    process.kill(engine.status().childPid!, "SIGKILL");
    await expect.poll(async () => (await engine.health()).state, { timeout: 10_000 }).toBe("failed");
    writeFileSync(healthy, "");
    await expect.poll(async () => (await engine.health()).state, { timeout: 10_000 }).toBe("ready");
  });
});

describe("a reserve on a card", () => {
  /** No card here: this child says what one with a card would, after settings that the test sees. */
  const pretender = `process.on("message", ({ type, settings }) => {
    if (type === "stop") process.exit(0);
    if (type !== "load") return;
    const { gpuLayers, contextLength } = settings;
    const memory = { model: { hostBytes: 0, gpuBytes: 2 ** 20 }, context: { hostBytes: 0, gpuBytes: 2 ** 20 } };
    process.send({ type: "ready", model: { backend: "cuda", gpuLayers, contextLength, memory } });
  });`;
  const card: HardwareReading = {
    ...cpu,
    gpus: [
      { name: "NVIDIA GeForce RTX 3060", vramBytesTotal: 12 * GIB, vramBytesFree: 11 * GIB, driverVersion: "550" },
    ],
    backend: "cuda",
  };

  function pretending(...freeAfterLoad: number[]) {
    writeFileSync(join(folder, "child.mjs"), pretender);
    let loads = 0;
    return {
      path: model("a.gguf", { type: "F16" }),
      reading: card,
      program: { url: pathToFileURL(join(folder, "child.mjs")), execArgv: [] },
      times: { restartDelayMsFirst: 1 },
      readVramFree: async () => [freeAfterLoad[Math.min(loads++, freeAfterLoad.length - 1)]!],
    };
  }

  test("that a load would eat is given back: the load is taken down and the next one is smaller", async () => {
    const { engine } = await open({ ...pretending(200 * MIB, 450 * MIB, 700 * MIB), wish: {} });
    await engine.start();
    expect(engine.status().ladderSteps).toMatchObject([
      { setting: "sequenceCount", from: "4", to: "2", reason: expect.stringMatching(/200 MiB.*500 MiB are reserved/) },
      { setting: "sequenceCount", from: "2", to: "1", reason: expect.stringMatching(/450 MiB/) },
    ]);
    expect(engine.status().ladderSteps.every(({ savedBytes }) => savedBytes! > 0)).toBe(true);
  });

  test("that cannot be kept with anything on the card leaves the card alone", async () => {
    const { engine } = await open({
      ...pretending(10 * MIB),
      wish: { sequenceCount: 1, batchSize: 128, contextLength: 2048 },
    });
    await engine.start();
    expect(engine.status().settings).toMatchObject({ gpu: false, gpuLayers: 0 });
  });

  test("is not looked for on a card that the load does not use, which its process does not see", async () => {
    const other = { name: "NVIDIA GeForce RTX 3060", vramBytesTotal: 12 * GIB, vramBytesFree: 600 * MIB };
    const gpus = [
      { ...other, uuid: "GPU-full" },
      { ...card.gpus[0]!, uuid: "GPU-free" },
    ];
    const seen = pretender.replace(
      "contextLength, memory",
      "contextLength, memory, name: process.env.CUDA_VISIBLE_DEVICES",
    );
    const tools = { ...pretending(), reading: { ...card, gpus }, readVramFree: async () => [100 * MIB, 10 * GIB] };
    writeFileSync(join(folder, "child.mjs"), seen);
    const { engine, report, learning } = await open({ ...tools, wish: {} });
    expect(await engine.start()).toMatchObject({ name: "GPU-free" });
    expect(engine.status().ladderSteps).toEqual([]);
    expect(report().gpus).toMatchObject([{ gpu: 1, takenBytes: GIB }]);
    // The other card's neighbours are no part of what was taken.
    expect(learning.memory.all[0]).toMatchObject({ gpuCount: 1, vramBytesTaken: GIB });
    expect(log.filter((line) => line.startsWith("warn"))).toEqual([
      expect.stringMatching(/^warn GPU 1 \(NVIDIA GeForce RTX 3060\) holds 1 GiB/),
    ]);
  });

  test("is larger for the next load when one took more than its forecast", async () => {
    const free = 11 * GIB - 3 * GIB;
    const { engine, learning, plan } = await open({ ...pretending(free), wish: {} });
    await engine.start();
    // 3 GiB are gone, 2 MiB of them buffers; no driver is believed to take more than 2 GiB.
    expect(learning.memory.all[0]).toMatchObject({ vramBytesTaken: 3 * GIB, measured: { gpuBytes: 2 * MIB } });
    const next = await open({ ...pretending(free), wish: {}, learning });
    expect(plan.devices[0]!.runtimeBytes).toBe(280 * MIB);
    expect(next.plan.devices[0]!.runtimeBytes).toBe(2 * GIB);
    expect(next.report().correctionBytes).toBe(2 * GIB - 280 * MIB);
  });
});

describe("the ladder under a limit the plan did not know of", () => {
  test("is walked rung by rung, each with its reason in the log, until the model has room", {
    timeout: 90_000,
  }, async () => {
    const large = model("tiny-F16.gguf", { type: "F16" });
    const small = model("tiny-Q8_0.gguf", { type: "Q8_0" });
    const settings: Omit<LoadSettings, "modelPath"> = {
      contextLength: 8192,
      sequenceCount: 4,
      batchSize: 512,
      gpu: false,
      gpuLayers: 0,
      flashAttention: true,
      kvCacheTypeK: "F16",
      kvCacheTypeV: "F16",
      threadsMax: 1,
      memoryLimit: { hostBytes: 17 * MIB },
    };
    const ladder = new Ladder({
      quantization: "F16",
      smallerFiles: [{ path: small, quantization: "Q8_0", fileBytes: 11e6 }],
    });
    const engine = createLocalEngine({
      model: { id: "tiny", path: large },
      settings,
      ladder,
      program: childProgram,
      logger: listLogger(log),
      clock,
      times: { restartDelayMsFirst: 1 },
    });
    engines.push(engine);
    const loaded = await engine.start();
    const { ladderSteps, health } = engine.status();
    expect(ladderSteps.map(({ setting, from, to }) => `${setting} ${from} to ${to}`)).toEqual([
      "sequenceCount 4 to 2",
      "sequenceCount 2 to 1",
      "batchSize 512 to 256",
      "batchSize 256 to 128",
      "kvCacheType F16 to Q8_0",
      "contextLength 8k to 4k",
      "contextLength 4k to 2k",
      "quantization F16 to Q8_0",
    ]);
    for (const { reason, setting, to } of ladderSteps) {
      expect(reason).toMatch(/memory/);
      expect(
        log.some((line) => /smaller settings/.test(line) && line.includes(`"${setting}"`) && line.includes(`"${to}"`)),
      ).toBe(true);
    }
    expect(loaded.memory!.model.hostBytes + loaded.memory!.context.hostBytes).toBeLessThanOrEqual(17 * MIB);
    expect(loaded).toMatchObject({ quantization: "Q8_0", contextLength: 2048, sequenceCount: 1 });
    expect(health).toMatchObject({ state: "ready", slots: 1 });
    expect(await answer(engine)).toBe(SCRIPT_LINES[0]);
  });

  test("that fits at no rung ends in failed with the reason, not in a loop", async () => {
    const ladder = new Ladder({ fixed: new Set(["contextLength", "batchSize", "kvCacheType"]) });
    const engine = createLocalEngine({
      model: { id: "tiny", path: model("a.gguf", { type: "F16" }) },
      settings: { gpu: false, gpuLayers: 0, threadsMax: 1, contextLength: 2048, memoryLimit: { hostBytes: MIB } },
      ladder,
      program: childProgram,
      logger: listLogger(log),
      clock,
      times: { restartDelayMsFirst: 1 },
    });
    engines.push(engine);
    await expect(engine.start()).rejects.toMatchObject({ code: "engine_out_of_memory" });
    expect(ladder.steps).toHaveLength(1);
    expect((await engine.health()).state).toBe("failed");
  });

  test("is walked too when the child keeps dying while it loads", async () => {
    // An odd number of rotated dimensions trips an assertion: smaller settings do not help, and it ends all the same.
    const path = writeModel(join(folder, "dies.gguf"), {
      metadata: [{ key: "qwen3.rope.dimension_count", type: "u32", value: 7 }],
    }).path;
    const ladder = new Ladder({ fixed: new Set(["contextLength", "kvCacheType"]) });
    const engine = createLocalEngine({
      model: { id: "tiny", path },
      settings: { gpu: false, gpuLayers: 0, threadsMax: 1, contextLength: 2048, sequenceCount: 2, batchSize: 256 },
      ladder,
      program: childProgram,
      logger: listLogger(log),
      clock,
      times: { restartDelayMsFirst: 1, restartDelayMsMax: 1 },
    });
    engines.push(engine);
    await expect(engine.start()).rejects.toMatchObject({ code: "engine_unavailable" });
    expect(ladder.steps.map(({ setting, to }) => `${setting} ${to}`)).toEqual(["sequenceCount 1", "batchSize 128"]);
    expect(ladder.steps[0]!.reason).toMatch(/SIGABRT/);
  });
});
