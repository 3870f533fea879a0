/**
 * The planner and the engine on a real GPU: run by `npm run test:gpu` where there is one. What was measured is kept in
 * results/, with the machine and the date.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { GIB, MIB } from "../../src/core/units.ts";
import { readModelHeader } from "../../src/engine/check-model.ts";
import { readVramFree } from "../../src/engine/hardware.ts";
import type { LoadedModel, LoadSettings } from "../../src/engine/ipc.ts";
import { MachineLearning } from "../../src/engine/learning.ts";
import { hardwareOf, predictedMemory, priceLoad } from "../../src/engine/load-plan.ts";
import { createLocalEngine, type LocalEngine } from "../../src/engine/local-engine.ts";
import { openPlannedEngine } from "../../src/engine/planned-engine.ts";
import { findCatalogueModel } from "../../src/fit/catalogue.ts";
import { specFromGguf } from "../../src/fit/model.ts";
import { planFit } from "../../src/fit/plan.ts";
import { estimateSpeed } from "../../src/fit/speed.ts";
import type { ModelSpec } from "../../src/fit/types.ts";
import { writeCatalogueFile } from "../support/gguf/catalogue-file.ts";
import { SCRIPT_LINES } from "../support/gguf/vocabulary.ts";
import { writeModel } from "../support/gguf/write-model.ts";
import { childProgram, listLogger } from "../support/local-engine.ts";
import { createResults, findDevice, type TestDevice } from "./device.ts";

const found = await findDevice();
if (typeof found === "string") console.log(`GPU tests are skipped. ${found}`);
const minutes = 60_000;

describe.skipIf(typeof found === "string")("on this GPU", () => {
  const device = found as TestDevice;
  const keep = typeof found === "string" ? () => {} : createResults(found);
  const engines: LocalEngine[] = [];
  const log: string[] = [];
  let folder: string;

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "snug-gpu-"));
  });
  afterEach(async () => {
    for (const engine of engines.splice(0)) await engine.stop({ drainMs: 0 });
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const base: Omit<LoadSettings, "modelPath"> = {
    sequenceCount: 1,
    batchSize: 256,
    gpu: device?.gpu ?? "auto",
    gpuLayers: "auto",
    flashAttention: true,
    kvCacheTypeK: "F16",
    kvCacheTypeV: "F16",
  };

  /** A software device may think for minutes before its first token. */
  const patient = { times: { pulsesMissedMax: 1000 }, limits: { tokenSilenceMsMax: 20 * minutes } };

  async function load(
    path: string,
    settings: Partial<LoadSettings>,
  ): Promise<{ engine: LocalEngine; loaded: LoadedModel }> {
    const engine = createLocalEngine({
      model: { id: "model", path },
      settings: { ...base, ...settings },
      program: childProgram,
      logger: listLogger(log),
      clock: { now: () => Date.now() },
      ...patient,
    });
    engines.push(engine);
    return { engine, loaded: await engine.start() };
  }

  /** In the shape of a published model, holes instead of weights; a software device gets a few blocks of it. */
  function hollow(name: string): { path: string; model: ModelSpec } {
    const path = join(folder, `${name}.gguf`);
    const whole = { vocabularySize: 32_768, layersMax: 100, expertsMax: 64, expertsUsedMax: 8, type: "F16" } as const;
    const small = { ...whole, vocabularySize: 16_384, layersMax: 6, expertsMax: 8, expertsUsedMax: 4 };
    const model = writeCatalogueFile(path, findCatalogueModel(name)!.model, device.software ? small : whole);
    return { path, model };
  }

  const gpuBytes = ({ memory }: LoadedModel) => memory!.model.gpuBytes + memory!.context.gpuBytes;
  const free = async () => (await readVramFree())?.reduce((sum, bytes) => sum + bytes, 0);

  async function say(engine: LocalEngine, content: string, maxTokens: number) {
    const request = { model: "model", messages: [{ role: "user" as const, content }], temperature: 0, maxTokens };
    let text = "";
    for await (const event of engine.chat(request, { signal: new AbortController().signal })) {
      if (event.type === "text") text += event.text;
      if (event.type === "finish") return { text: text.trim(), usage: event.usage, timings: event.timings };
      if (event.type === "error") throw new Error(event.error.message);
    }
    throw new Error("The answer had no end.");
  }

  test("buffers and the drop of free memory are what was forecast", { timeout: 15 * minutes }, async () => {
    const rows: object[] = [];
    for (const name of ["Qwen3 0.6B", "Gemma 3 1B"]) {
      const { path, model } = hollow(name);
      for (const part of [1, 0.5]) {
        const gpuLayers = Math.ceil((model.layerCount + 1) * part);
        const settings = { ...base, contextLength: 2048, gpuLayers };
        const before = await free();
        const { engine, loaded } = await load(path, settings);
        const after = await free();
        const predicted = predictedMemory(priceLoad(model, hardwareOf(device.reading), settings)).gpuBytes;
        const measured = gpuBytes(loaded);
        const taken = before === undefined || after === undefined ? undefined : before - after;
        rows.push({ name, gpuLayers, predicted, measured, taken, beside: taken && taken - measured });
        expect.soft(Math.abs(predicted / measured - 1), `${name} with ${gpuLayers} layers`).toBeLessThan(0.02);
        if (taken !== undefined) {
          expect.soft(taken, "taken of the card").toBeGreaterThan(0.95 * measured);
          expect.soft(taken - measured, "beside the buffers").toBeLessThan(1.5 * GIB);
        }
        await engine.stop({ drainMs: 0 });
      }
    }
    keep("buffers", rows);
  });

  /** Memory somebody else holds: another model's cache, in a process of its own. Software devices have no end to reach. */
  async function fill(leaveBytes: number): Promise<LocalEngine | undefined> {
    const bytes = ((await free()) ?? device.devices.vramBytesFree) - leaveBytes;
    if (device.software || bytes < GIB) return undefined;
    const { path, model } = hollow("Qwen3 0.6B");
    const rowBytes = model.layers.reduce(
      (sum, one) => sum + 2 * one.headCountKv * (one.keyLength + one.valueLength),
      0,
    );
    const tokens = Math.floor((bytes - GIB) / rowBytes / 256) * 256;
    return (await load(path, { contextLength: tokens, gpuLayers: model.layerCount + 1 })).engine;
  }

  test("the largest context the planner allows does load, and how far the card itself would go", {
    timeout: 20 * minutes,
  }, async () => {
    await fill(4 * GIB);
    const { path, model } = hollow("Gemma 3 1B");
    const vramBytesFree = (await free()) ?? device.devices.vramBytesFree;
    const [first] = device.reading.gpus;
    const reading = { ...device.reading, gpus: [{ ...first!, vramBytesFree }] };
    const gpuLayers = model.layerCount + 1;
    const fits = (contextLength: number) => {
      const wish = { contextLength, gpuLayers, sequenceCount: 1, batchSize: 256 } as const;
      const answer = planFit(model, hardwareOf(reading), {
        ...wish,
        buildFamily: "node-llama-cpp",
        hostExpertLayers: 0,
      });
      return answer.kind === "plan" && answer.fits;
    };
    const planned = largest(fits, device.software ? 16_384 : 4_194_304);
    const { loaded, engine } = await load(path, { contextLength: planned, gpuLayers });
    expect(loaded.contextLength).toBe(planned);
    await engine.stop({ drainMs: 0 });
    const tried: { contextLength: number; loads: boolean }[] = [];
    for (let contextLength = planned; tried.length < (device.software ? 0 : 4); ) {
      contextLength = Math.ceil((contextLength * 1.25) / 256) * 256;
      const attempt = await load(path, { contextLength, gpuLayers }).catch(() => undefined);
      tried.push({ contextLength, loads: attempt !== undefined });
      await attempt?.engine.stop({ drainMs: 0 });
      if (attempt === undefined) break;
    }
    keep("largest context", { vramBytesFree, planned, tried });
  });

  test("a card that filled up after the plan is met by steps down, and the model answers", {
    timeout: 20 * minutes,
  }, async () => {
    const path = writeModel(join(folder, "script.gguf"), {
      shape: device.software ? "tiny" : "small",
      brain: "script",
    }).path;
    const spec = specFromGguf(await readModelHeader(path));
    // Read before the filler comes; a software device is cut short by a limit instead.
    const reading = device.reading;
    await fill(600 * MIB);
    const wish = {
      gpu: device.gpu,
      sequenceCount: 1,
      contextLength: 2048,
      batchSize: 256,
      kvCacheTypeK: "F16",
      kvCacheTypeV: "F16",
    } as const;
    const whole = predictedMemory(
      priceLoad(spec, hardwareOf(reading), { ...base, contextLength: 2048, gpuLayers: spec.layerCount + 1 }),
    ).gpuBytes;
    const limited = device.software ? { vramLimitBytes: Math.round(0.8 * whole) + 30 * MIB } : {};
    const { engine, report } = await openPlannedEngine({
      model: { id: "model", path },
      reading,
      wish: { ...wish, ...limited, reserveBytes: device.software ? 0 : 500 * MIB },
      learning: await MachineLearning.open(folder, listLogger(log)),
      readVramFree: () => readVramFree(),
      program: childProgram,
      logger: listLogger(log),
      clock: { now: () => Date.now() },
      ...patient,
    });
    engines.push(engine);
    await engine.start();
    const { ladderSteps, settings } = engine.status();
    keep("filled card", {
      steps: ladderSteps.map(({ setting, from, to, reason }) => ({ setting, from, to, reason })),
      gpuLayers: settings.gpuLayers,
      predicted: report().predicted,
      measured: report().measured,
    });
    // Software devices are slow: three tokens tell as much.
    const { text } = await say(engine, "Say it.", device.software ? 3 : 200);
    expect(SCRIPT_LINES[0]!.startsWith(text)).toBe(true);
    expect(text.length).toBeGreaterThan(0);
    if (!device.software) expect(ladderSteps.length).toBeGreaterThan(0);
  });

  test("answers side by side are the same as alone", { timeout: 10 * minutes }, async () => {
    const path = writeModel(join(folder, "parallel.gguf"), { shape: "tiny", brain: "script" }).path;
    const { engine } = await load(path, { contextLength: 512, sequenceCount: 4, gpuLayers: 3 });
    const tokens = device.software ? 3 : 200;
    const alone = await say(engine, "Say it.", tokens);
    const startedAt = performance.now();
    const together = await Promise.all([1, 2, 3, 4].map((one) => say(engine, `Say it ${one} times.`, tokens)));
    const seconds = (performance.now() - startedAt) / 1000;
    expect(together.map(({ text }) => text)).toEqual([1, 2, 3, 4].map(() => alone.text));
    const completionTokens = together.reduce((sum, { usage }) => sum + (usage.completionTokens ?? 0), 0);
    keep("parallel", { sequences: 4, completionTokens, tokensPerSecond: completionTokens / seconds });
  });

  test("speed is measured beside its forecast, and learned from", { timeout: 20 * minutes }, async () => {
    const shape = device.software ? "tiny" : "medium";
    const rows: object[] = [];
    const learning = await MachineLearning.open(join(folder, "learned"), listLogger(log));
    for (const type of ["Q8_0", "Q4_0"] as const) {
      const path = writeModel(join(folder, `speed-${type}.gguf`), { shape, brain: "endless", type }).path;
      const spec = specFromGguf(await readModelHeader(path));
      const { engine, report } = await openPlannedEngine({
        model: { id: "model", path },
        reading: device.reading,
        wish: { gpu: device.gpu, sequenceCount: 1, contextLength: 2048, reserveBytes: 0 },
        learning,
        readVramFree: async () => undefined,
        program: childProgram,
        logger: listLogger(log),
        clock: { now: () => Date.now() },
        ...patient,
      });
      engines.push(engine);
      await engine.start();
      const plan = report().plan;
      for (const words of device.software ? [4] : [4, 1000]) {
        const taught = learning.learned({
          reading: device.reading,
          buildFamily: "node-llama-cpp",
          build: "node-llama-cpp",
        });
        const depthTokens = words + 32;
        const ask = (learned?: typeof taught) =>
          estimateSpeed({
            model: spec,
            plan,
            hardware: hardwareOf({ ...device.reading, ...(learned === undefined ? {} : { learned }) }),
            depthTokens,
          }).decodeTokensPerSecond;
        const [byTables, byLearning] = [ask(), ask(taught)];
        const { usage, timings } = await say(engine, `${type} ${"a ".repeat(words)}`, device.software ? 24 : 128);
        expect(timings.completionTokensPerSecond).toBeGreaterThan(0);
        rows.push({
          type,
          promptTokens: usage.promptTokens,
          byTables,
          byLearning,
          measured: timings.completionTokensPerSecond,
          prefill: timings.prefillTokensPerSecond,
        });
      }
      await engine.stop({ drainMs: 0 });
    }
    expect(learning.speed.all.length).toBeGreaterThan(0);
    keep("speed", rows);
  });
});

/** The largest multiple of 256 up to `most` that `fits`, which only ever turns from true to false. */
function largest(fits: (value: number) => boolean, most: number): number {
  let [low, high] = [1, most / 256];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (fits(middle * 256)) low = middle;
    else high = middle - 1;
  }
  return low * 256;
}
