import { describe, expect, it } from "vitest";
import type { HardwareReading } from "../core/ports.ts";
import { GIB } from "../core/units.ts";
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

describe("hardwareOf", () => {
  it("knows a card's bandwidth by the name its driver gives", () => {
    expect(hardwareOf(machine(12)).gpus[0]).toMatchObject({ generation: "ampere", bandwidthBytesPerSecond: 360e9 });
  });
});
