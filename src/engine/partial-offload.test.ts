/** Partial offload on Mesa's software Vulkan device, where the machine has it: right answers, very slowly. */
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { writeModel } from "../../test/support/gguf/write-model.ts";
import { childProgram, listLogger } from "../../test/support/local-engine.ts";
import { GIB } from "../core/units.ts";
import { specFromGguf } from "../fit/model.ts";
import type { Hardware } from "../fit/types.ts";
import { readModelHeader } from "./check-model.ts";
import type { LoadSettings } from "./ipc.ts";
import { Ladder } from "./ladder.ts";
import { predictedMemory, priceLoad } from "./load-plan.ts";
import { createLocalEngine } from "./local-engine.ts";

const drivers = "/usr/share/vulkan/icd.d";
const softwareDevice = existsSync(drivers) && readdirSync(drivers).some((name) => name.startsWith("lvp_icd"));

describe.runIf(softwareDevice)("partial offload on a software Vulkan device", () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "snug-vulkan-"));
    // Without it llama.cpp passes over devices that compute on the CPU.
    process.env.GGML_VK_VISIBLE_DEVICES = "0";
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  test("layers go to main memory one by one until the rest is within the VRAM limit", {
    timeout: 240_000,
  }, async () => {
    const path = writeModel(join(folder, "tiny.gguf"), { shape: "tiny", brain: "script" }).path;
    const spec = specFromGguf(await readModelHeader(path));
    const hardware: Hardware = {
      backend: "vulkan",
      gpus: [{ id: "gpu0", vramBytesTotal: 2 * GIB, vramBytesFree: 2 * GIB }],
      ramBytesTotal: 8 * GIB,
      ramBytesFree: 6 * GIB,
    };
    const settings: Omit<LoadSettings, "modelPath"> = {
      contextLength: 512,
      sequenceCount: 1,
      batchSize: 64,
      gpu: "vulkan",
      gpuLayers: 3,
      flashAttention: true,
      kvCacheTypeK: "F16",
      kvCacheTypeV: "F16",
      threadsMax: 1,
    };
    const predicted = (gpuLayers: number) => predictedMemory(priceLoad(spec, hardware, { ...settings, gpuLayers }));
    const limit = Math.round((predicted(3).gpuBytes + predicted(2).gpuBytes) / 2);
    const log: string[] = [];
    const ladder = new Ladder({
      fixed: new Set(["sequenceCount", "batchSize", "kvCacheType", "contextLength"]),
      layerCount: 3,
    });
    const engine = createLocalEngine({
      model: { id: "tiny", path },
      settings: { ...settings, memoryLimit: { gpuBytes: limit } },
      ladder,
      program: childProgram,
      logger: listLogger(log),
      clock: { now: () => 0 },
      times: { restartDelayMsFirst: 1, pulsesMissedMax: 1000 },
    });
    try {
      const loaded = await engine.start();
      expect(ladder.steps).toMatchObject([{ setting: "gpuLayers", from: "3", to: "2" }]);
      expect(loaded).toMatchObject({ backend: "vulkan", gpuLayers: 2 });
      const taken = loaded.memory!.model.gpuBytes + loaded.memory!.context.gpuBytes;
      expect(taken).toBeGreaterThan(0);
      expect(taken).toBeLessThanOrEqual(limit);
      expect(Math.abs(taken / predicted(2).gpuBytes - 1)).toBeLessThan(0.05);
      let text = "";
      const request = { model: "tiny", messages: [{ role: "user" as const, content: "Say it." }], maxTokens: 3 };
      const signal = new AbortController().signal;
      for await (const event of engine.chat({ ...request, temperature: 0 }, { signal })) {
        if (event.type === "text") text += event.text;
      }
      expect(text.trim()).toBe("Hello from a");
    } finally {
      await engine.stop({ drainMs: 0 });
    }
  });
});
