/** Layers on two GPUs, Mesa's software Vulkan device seen twice where the machine has it: what is planned is what comes. */
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { SCRIPT_LINES } from "../../test/support/gguf/vocabulary.ts";
import { writeModel } from "../../test/support/gguf/write-model.ts";
import { findTestServer, serverProgram } from "../../test/support/llama-server.ts";
import { childProgram, listLogger } from "../../test/support/local-engine.ts";
import type { HardwareReading } from "../core/ports.ts";
import { GIB, MIB } from "../core/units.ts";
import { MachineLearning } from "./learning.ts";
import { listServerDevices } from "./llama-server-devices.ts";
import type { LocalEngine } from "./local-engine.ts";
import { openPlannedEngine, type PlannedEngineOptions } from "./planned-engine.ts";

const drivers = "/usr/share/vulkan/icd.d";
const softwareDevice = existsSync(drivers) && readdirSync(drivers).some((name) => name.startsWith("lvp_icd"));

// Without it llama.cpp passes over devices that compute on the CPU; named twice, it is two.
process.env.GGML_VK_VISIBLE_DEVICES = "0,0";
const server = softwareDevice ? await findTestServer() : undefined;
const seenByServer = await withVulkanPart(async () =>
  server === undefined ? [] : ((await listServerDevices(server)) ?? []),
);

/** A llama-server built with `--binding-kernels` loads the library's own Vulkan part, where it is named. */
async function withVulkanPart<Result>(work: () => Promise<Result>): Promise<Result> {
  const part = "../../node_modules/@node-llama-cpp/linux-x64-vulkan/bins/linux-x64-vulkan/libggml-vulkan.so";
  process.env.GGML_BACKEND_PATH = fileURLToPath(new URL(part, import.meta.url));
  try {
    return await work();
  } finally {
    delete process.env.GGML_BACKEND_PATH;
  }
}

const name = seenByServer[0]?.name ?? "llvmpipe";
const gpu = { name, vramBytesTotal: 2 * GIB, vramBytesFree: 2 * GIB };
const reading: HardwareReading = {
  cpu: { name: "CPU", coresPhysical: 2, coresUsable: 2 },
  ramBytesTotal: 8 * GIB,
  ramBytesFree: 6 * GIB,
  gpus: [gpu, gpu],
  backend: "vulkan",
};

describe.runIf(softwareDevice)("a model on two GPUs", { timeout: 120_000 }, () => {
  let folder: string;
  let path: string;
  let log: string[];
  const engines: LocalEngine[] = [];
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "snug-gpus-"));
    path = writeModel(join(folder, "small.gguf"), { shape: "small", brain: "script" }).path;
  });
  afterEach(async () => {
    for (const engine of engines.splice(0)) await engine.stop({ drainMs: 0 });
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  async function load(options: Partial<PlannedEngineOptions>) {
    log = [];
    const opened = await openPlannedEngine({
      model: { id: "small", path },
      reading,
      readVramFree: async () => undefined,
      program: childProgram,
      logger: listLogger(log),
      clock: { now: () => 0 },
      times: { pulsesMissedMax: 1000 },
      learning: await MachineLearning.open(folder, listLogger([])),
      ...options,
      wish: {
        gpu: "vulkan",
        threadsMax: 1,
        contextLength: 512,
        sequenceCount: 1,
        batchSize: 64,
        reserveBytes: 0,
        ...options.wish,
      },
    });
    engines.push(opened.engine);
    const model = await opened.engine.start();
    return { ...opened, model, settings: opened.engine.status().settings };
  }

  async function answer(engine: LocalEngine): Promise<string> {
    let text = "";
    const request = { model: "small", messages: [{ role: "user" as const, content: "Say it." }], maxTokens: 1 };
    for await (const event of engine.chat({ ...request, temperature: 0 }, { signal: new AbortController().signal })) {
      if (event.type === "text") text += event.text;
    }
    return text.trim();
  }

  test("is on one of them when it fits there, and its process sees no other", async () => {
    const { model, settings, report } = await load({});
    expect(settings).toMatchObject({ gpuLayerSplit: [11, 0], gpuEnvironment: { GGML_VK_VISIBLE_DEVICES: "0" } });
    // The software device says that all of it is free, always: 2 GiB are one device.
    expect(model.memory!.vramBytesFree).toBe(2 * GIB);
    expect(report().gpus).toMatchObject([{ gpu: 0, layers: 11 }]);
  });

  test("is cut by the library as was forecast, when one has no room for it", async () => {
    const { engine, model, settings, report } = await load({ wish: { vramLimitBytes: 45 * MIB } });
    expect(settings).toMatchObject({ gpuLayerSplit: [6, 5], gpuEnvironment: { GGML_VK_VISIBLE_DEVICES: "0,0" } });
    expect(model.memory!.vramBytesFree).toBe(4 * GIB);
    const { predicted, measured } = report();
    expect(Math.abs(measured!.gpuBytes / predicted.gpuBytes - 1)).toBeLessThan(0.02);
    expect(SCRIPT_LINES[0]).toContain(await answer(engine));
  });

  test.runIf(seenByServer.length === 2)(
    "has the layers of the plan on each with llama-server, to the byte",
    async () => {
      const filled = { ...gpu, vramBytesFree: 1.3 * GIB };
      const options: Partial<PlannedEngineOptions> = {
        reading: { ...reading, gpus: [gpu, filled] },
        wish: { vramLimitBytes: 45 * MIB },
        server: { wanted: "llama-server", program: serverProgram(server!), path: server },
      };
      const { engine, settings, report } = await withVulkanPart(() => load(options));
      expect(settings.gpuLayerSplit).toEqual([7, 4]);
      const { gpus } = report();
      expect(gpus).toHaveLength(2);
      for (const { measuredBytes, bufferBytes } of gpus!) {
        expect(Math.abs(measuredBytes! / bufferBytes - 1)).toBeLessThan(0.03);
      }
      expect(gpus![0]!.measuredBytes! / gpus![1]!.measuredBytes!).toBeGreaterThan(1.2);
      expect(log.filter((line) => line.includes("were planned for it"))).toEqual([]);
      expect(SCRIPT_LINES[0]).toContain(await answer(engine));
    },
  );
});
