import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { HardwareReading } from "../core/ports.ts";
import { GIB } from "../core/units.ts";
import { findCatalogueModel, specFromCatalogue } from "../fit/catalogue.ts";
import { backendNeeds, chooseBackend, findLlamaServer } from "./backend.ts";
import { planLoad } from "./load-plan.ts";

const machine = (...vramGib: number[]): HardwareReading => ({
  cpu: { name: "Ryzen 7", coresPhysical: 8, coresUsable: 8 },
  ramBytesTotal: 64 * GIB,
  ramBytesFree: 56 * GIB,
  gpus: vramGib.map((gib) => ({
    name: "NVIDIA GeForce RTX 3060",
    vramBytesTotal: gib * GIB,
    vramBytesFree: (gib - 0.5) * GIB,
  })),
  backend: vramGib.length === 0 ? "cpu" : "cuda",
});

function needsOf(model: string, reading: HardwareReading) {
  const spec = specFromCatalogue(findCatalogueModel(model)!.model);
  const server = planLoad(spec, reading, {}, "llama-server");
  const library = planLoad(spec, reading);
  return { server, library, needs: backendNeeds(server, library) };
}

describe("the backend", () => {
  test("is node-llama-cpp for a plan it can express, whether or not there is a llama-server", () => {
    const { needs } = needsOf("qwen3-8b", machine(24));
    expect(needs).toEqual([]);
    for (const serverPath of [undefined, "/opt/llama-server"]) {
      expect(chooseBackend({ wanted: "auto", serverPath, needs }).backend).toBe("node-llama-cpp");
    }
  });

  test("is llama-server where the plan keeps experts in main memory", () => {
    const { needs, server, library } = needsOf("qwen3-30b-a3b", machine(12));
    expect(needs).toContain("host_experts");
    expect(server.settings).toMatchObject({ backend: "llama-server" });
    expect(server.settings.hostExpertLayers).toBeGreaterThan(0);
    expect(library.settings.hostExpertLayers).toBeUndefined();
    const choice = chooseBackend({ wanted: "auto", serverPath: "/opt/llama-server", needs });
    expect(choice.backend).toBe("llama-server");
    expect(choice.reason.en).toMatch(/experts in main memory/);
    expect(choice.reason.zh).not.toBe("");
  });

  test("is llama-server where layers are parted otherwise than llama.cpp parts them by itself", () => {
    const { needs, server } = needsOf("gemma-3-27b", machine(12, 10));
    expect(needs).toEqual(["gpu_split"]);
    const split = server.settings.gpuLayerSplit!;
    expect(split).toHaveLength(2);
    expect(split.reduce((sum, layers) => sum + layers, 0)).toBe(server.settings.gpuLayers);
    const question = { wanted: "auto", needs, serverPath: "/opt/llama-server" } as const;
    expect(chooseBackend(question).backend).toBe("llama-server");
    const blind = chooseBackend({ ...question, serverIsBlind: true });
    expect(blind.backend).toBe("node-llama-cpp");
    expect(blind.reason.en).toMatch(/parts the layers.*sees no GPU/);
    expect(blind.reason.zh).toMatch(/看不到显卡/);
  });

  test("is the library on several cards that llama.cpp parts as planned", () => {
    expect(needsOf("llama-3.3-70b", machine(24, 12, 24)).needs).toEqual([]);
  });

  test("is the library where a plan would gain from llama-server and there is none, and the reason says so", () => {
    const choice = chooseBackend({ wanted: "auto", serverPath: undefined, needs: ["host_experts"] });
    expect(choice.backend).toBe("node-llama-cpp");
    expect(choice.reason.en).toMatch(/SNUG_LLAMA_SERVER/);
  });

  test("of GPUs with unequal room says what a llama-server would be for", () => {
    const question = { wanted: "auto", serverPath: undefined, needs: [] } as const;
    expect(chooseBackend(question).reason.en).toMatch(/none is needed/);
    const unequal = chooseBackend({ ...question, unequalGpus: true });
    expect(unequal.backend).toBe("node-llama-cpp");
    expect(unequal.reason.en).toMatch(/free memory.*SNUG_LLAMA_SERVER/);
    expect(unequal.reason.zh).toMatch(/空闲显存/);
  });

  test("is what the settings ask for; without a llama-server, asking for it is an error that says what to do", () => {
    const serverPath = "/opt/llama-server";
    expect(chooseBackend({ wanted: "llama-server", serverPath, needs: [] }).backend).toBe("llama-server");
    expect(chooseBackend({ wanted: "node-llama-cpp", serverPath, needs: ["memory"] }).backend).toBe("node-llama-cpp");
    expect(() => chooseBackend({ wanted: "llama-server", serverPath: undefined, needs: [] })).toThrow(
      expect.objectContaining({ code: "invalid_configuration", message: expect.stringMatching(/PATH/) }),
    );
  });
});

describe.runIf(process.platform !== "win32")("a llama-server", () => {
  const folder = mkdtempSync(join(tmpdir(), "snug-path-"));
  afterAll(() => rmSync(folder, { recursive: true }));
  const program = join(folder, "bin", "llama-server");
  mkdirSync(join(folder, "bin"));
  mkdirSync(join(folder, "other", "llama-server"), { recursive: true });
  writeFileSync(program, "#!/bin/sh\n");

  test("is found on PATH where it may be run; folders of that name are passed over", async () => {
    const path = [join(folder, "other"), join(folder, "bin"), ""].join(delimiter);
    expect(await findLlamaServer(undefined, path)).toBeUndefined();
    chmodSync(program, 0o755);
    expect(await findLlamaServer(undefined, path)).toBe(program);
  });

  test("that is configured and not there is an error that names the setting", async () => {
    await expect(findLlamaServer(join(folder, "none"))).rejects.toMatchObject({
      code: "invalid_configuration",
      message: expect.stringMatching(/SNUG_LLAMA_SERVER/),
    });
  });
});
