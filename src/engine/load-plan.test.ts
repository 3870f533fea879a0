import { describe, expect, it } from "vitest";
import type { HardwareReading } from "../core/ports.ts";
import { GIB } from "../core/units.ts";
import type { LearnedMachine } from "../fit/learned.ts";
import { specFromParameterCount } from "../fit/model.ts";
import { hardwareOf, planLoad } from "./load-plan.ts";

const machine = (vramGib: number | undefined, ramGib = 32): HardwareReading => ({
  cpu: { name: "Ryzen 7", coresPhysical: 8, coresUsable: 8 },
  ramBytesTotal: ramGib * GIB,
  ramBytesFree: ramGib * GIB * 0.8,
  gpus:
    vramGib === undefined
      ? []
      : [{ name: "NVIDIA GeForce RTX 3060", vramBytesTotal: vramGib * GIB, vramBytesFree: (vramGib - 0.5) * GIB }],
  backend: vramGib === undefined ? "cpu" : "cuda",
});

describe("planLoad", () => {
  it("loads a small model whole onto a large card, for several users", () => {
    const { settings, plan } = planLoad(specFromParameterCount(3e9), machine(24));
    expect(plan.offload).toBe("full");
    expect(settings).toMatchObject({ gpu: "auto", sequenceCount: 4 });
  });

  it("keeps what does not fit on the card in main memory", () => {
    const { settings, plan } = planLoad(specFromParameterCount(13e9), machine(6));
    expect(plan.offload).toBe("partial");
    expect(settings.gpuLayers).toBeGreaterThan(0);
  });

  it("does not look for a GPU where there is none", () => {
    expect(planLoad(specFromParameterCount(3e9), machine(undefined)).settings).toMatchObject({
      gpu: false,
      gpuLayers: 0,
    });
  });

  it("keeps the context and slots that an administrator fixed", () => {
    const { settings } = planLoad(specFromParameterCount(3e9), machine(24), { contextLength: 3000, sequenceCount: 2 });
    expect(settings).toMatchObject({ contextLength: 3000, sequenceCount: 2 });
  });

  it("refuses what fits nowhere, with what is missing", () => {
    expect(() => planLoad(specFromParameterCount(70e9), machine(6, 16))).toThrow(
      expect.objectContaining({
        code: "model_does_not_fit",
        message: expect.stringContaining("short"),
        details: expect.objectContaining({ shortfallBytes: expect.any(Number) }),
      }),
    );
  });
});

describe("planLoad under an administrator's hand", () => {
  const model = specFromParameterCount(8e9);

  it("keeps the reserve free on top of the planner's margin", () => {
    const free = machine(24).gpus[0]!.vramBytesFree!;
    for (const reserveBytes of [0, 2 * GIB, 12 * GIB]) {
      const { plan } = planLoad(model, machine(24), { reserveBytes });
      expect(plan.devices[0]!.totalBytes).toBeLessThan(free - reserveBytes);
    }
    const layers = (reserveBytes: number) => planLoad(model, machine(8), { reserveBytes }).settings.gpuLayers;
    expect(layers(4 * GIB)).toBeLessThan(layers(0) as number);
  });

  it("keeps a card's VRAM limit, and hands it to the loader less the driver's share", () => {
    const { plan, settings } = planLoad(model, machine(24), { vramLimitBytes: 4 * GIB });
    const gpu = plan.devices[0]!;
    expect(gpu.totalBytes).toBeLessThanOrEqual(4 * GIB);
    expect(settings.memoryLimit).toEqual({ gpuBytes: 4 * GIB - gpu.runtimeBytes });
  });

  it("takes what earlier loads took too much off what is free", () => {
    const before = planLoad(specFromParameterCount(13e9), machine(8)).settings.gpuLayers as number;
    const learned: LearnedMachine = {
      backend: "cuda",
      buildFamily: "node-llama-cpp",
      loads: [{ architecture: "llama", gpuCount: 1, runtimeBytes: 2 * GIB }],
      runs: [],
    };
    const after = planLoad(specFromParameterCount(13e9), { ...machine(8), learned }).settings.gpuLayers;
    expect(after).toBeLessThan(before);
  });

  it("passes every fixed setting on, and tells the ladder to leave it alone", () => {
    const wish = {
      contextLength: 4096,
      sequenceCount: 3,
      batchSize: 200,
      gpuLayers: 5,
      flashAttention: true,
      kvCacheTypeK: "Q8_0",
      kvCacheTypeV: "Q5_1",
      threadsMax: 3,
      checkTensors: true,
      gpu: "vulkan",
    } as const;
    const { settings, fixed } = planLoad(model, machine(24), wish);
    expect(settings).toMatchObject(wish);
    expect([...fixed].sort()).toEqual(["batchSize", "contextLength", "gpuLayers", "kvCacheType", "sequenceCount"]);
  });

  it("keeps as many layers' experts in main memory as was fixed, with llama-server, of models that have them", () => {
    const experts = { ...model, layers: model.layers.map((layer) => ({ ...layer, ffn: "moe" as const })) };
    const wish = { hostExpertLayers: 9 };
    const { settings, fixed } = planLoad(experts, machine(24), wish, "llama-server");
    expect(settings.hostExpertLayers).toBe(9);
    expect([...fixed]).toEqual(["hostExpertLayers"]);
    const all = planLoad(experts, machine(24), { hostExpertLayers: 9999 }, "llama-server");
    expect(all.settings.hostExpertLayers).toBe(model.layers.length);
    expect(planLoad(model, machine(24), wish, "llama-server").settings.hostExpertLayers).toBe(0);
    expect(planLoad(experts, machine(24), wish).settings.hostExpertLayers).toBeUndefined();
  });

  it("loads into main memory when the card has no room at all, unless the card is insisted on", () => {
    const full = machine(8);
    full.gpus[0]!.vramBytesFree = 100 * 1024 ** 2;
    expect(planLoad(specFromParameterCount(3e9), full).settings).toMatchObject({ gpu: false, gpuLayers: 0 });
    expect(() => planLoad(specFromParameterCount(3e9), full, { gpu: "cuda" })).toThrow(
      expect.objectContaining({ code: "model_does_not_fit" }),
    );
  });

  it("leaves the GPU alone where it is told to", () => {
    expect(planLoad(specFromParameterCount(3e9), machine(24), { gpu: false })).toMatchObject({
      settings: { gpu: false, gpuLayers: 0 },
      plan: { offload: "none" },
    });
  });
});

describe("hardwareOf", () => {
  it("knows a card's bandwidth by the name its driver gives", () => {
    expect(hardwareOf(machine(12)).gpus[0]).toMatchObject({ generation: "ampere", bandwidthBytesPerSecond: 360e9 });
  });
});
