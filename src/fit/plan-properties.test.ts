/** Laws that hold for every plan, tried over whole grids. */
import { describe, expect, test } from "vitest";
import { expectPartsOfTotal } from "../../test/support/plan-sums.ts";
import { GIB, MIB } from "../core/units.ts";
import { findCatalogueModel, specFromCatalogue } from "./catalogue.ts";
import { offloadableLayers } from "./placement.ts";
import { planFit } from "./plan.ts";
import type { BuildFamily, FitPlan, FitRefusal, Hardware, ModelSpec, Wish } from "./types.ts";

const NAMES = ["Qwen3 0.6B", "Llama 3.1 8B", "Gemma 3 12B", "Qwen3.5 9B", "Qwen3 30B A3B", "DeepSeek V2 Lite 16B"];
const MODELS = NAMES.map((name): [string, ModelSpec] => [name, specFromCatalogue(findCatalogueModel(name)!.model)]);
const FAMILIES: BuildFamily[] = ["node-llama-cpp", "llama-server", "llama.cpp-2024"];

function card(bytes: number, count = 1, backend: Hardware["backend"] = "cuda"): Hardware {
  const gpus = Array.from({ length: count }, (_, index) => ({ id: `gpu${index}`, vramBytesTotal: bytes }));
  return { backend, gpus, ramBytesFree: 64 * GIB };
}

const bytesOf = (plan: FitPlan) => plan.devices.reduce((sum, { totalBytes }) => sum + totalBytes, 0);

function expectSums(plan: FitPlan): void {
  for (const device of plan.devices) {
    expectPartsOfTotal(device);
    expect(device.freeBytesAfter).toBe(device.freeBytesBefore - device.totalBytes);
    for (const value of Object.values(device)) {
      if (typeof value === "number") expect(Number.isFinite(value)).toBe(true);
    }
  }
  const layers = plan.devices.reduce((sum, device) => sum + (device.kind === "gpu" ? device.layers : 0), 0);
  expect(layers).toBe(plan.settings.gpuLayers);
  expect(plan.settings.gpuLayerSplit.reduce((sum, count) => sum + count, 0)).toBe(plan.settings.gpuLayers);
  expect(plan.probability).toBeGreaterThanOrEqual(0);
  expect(plan.probability).toBeLessThanOrEqual(1);
}

describe.each(MODELS)("%s", (_name, model) => {
  test("more context never needs less, whoever allocates", () => {
    for (const buildFamily of FAMILIES) {
      for (const flashAttention of [true, false]) {
        for (const gpuLayers of [0, offloadableLayers(model)]) {
          let before = 0;
          for (let contextLength = 1024; contextLength <= 65_536; contextLength *= 2) {
            const wish: Wish = { buildFamily, flashAttention, gpuLayers, contextLength, quantization: "Q4_K_M" };
            const bytes = bytesOf(planFit(model, card(512 * GIB), wish) as FitPlan);
            expect(bytes).toBeGreaterThanOrEqual(before);
            before = bytes;
          }
        }
      }
    }
  });

  test("more sequences never need less", () => {
    for (const buildFamily of FAMILIES) {
      let before = 0;
      for (const sequenceCount of [1, 2, 4, 8, 16]) {
        const wish: Wish = { buildFamily, sequenceCount, contextLength: 4096, gpuLayers: 99, quantization: "Q4_K_M" };
        const bytes = bytesOf(planFit(model, card(512 * GIB), wish) as FitPlan);
        expect(bytes).toBeGreaterThanOrEqual(before);
        before = bytes;
      }
    }
  });

  test("parts add up to the whole on every device", () => {
    for (const gib of [2, 6, 12, 24, 80]) {
      for (const count of [1, 2, 3]) {
        for (const backend of ["cuda", "vulkan"] as const) {
          const answer = planFit(model, card(gib * GIB, count, backend), { buildFamily: "llama-server" });
          const plan = answer.kind === "plan" ? answer : answer.nearest!;
          expectSums(plan);
        }
      }
    }
  });

  test("a plan planned again is itself", () => {
    for (const gib of [3, 6, 8, 12, 24]) {
      for (const buildFamily of FAMILIES) {
        const first = planFit(model, card(gib * GIB), { buildFamily });
        if (first.kind === "refusal") continue;
        const { gpuLayerSplit: _split, draftTokensMax: _drafts, ...settings } = first.settings;
        const second = planFit(model, card(gib * GIB), settings) as FitPlan;
        expect(second.settings).toEqual(first.settings);
        expect(second.devices).toEqual(first.devices);
        expect(second.fits).toBe(true);
      }
    }
  });

  test("more video memory never makes the plan worse", () => {
    for (const buildFamily of ["node-llama-cpp", "llama-server"] as const) {
      let before = rank(planFit(model, card(GIB), { buildFamily }));
      for (let mib = 1024 + 256; mib <= 32 * 1024; mib += mib < 8192 ? 256 : 2048) {
        const now = rank(planFit(model, card(mib * MIB), { buildFamily }));
        expect(now, `${buildFamily} at ${mib} MiB`).toBeGreaterThanOrEqual(before);
        before = now;
      }
    }
  });
});

/** Higher is better: everything on the card, then fewer concessions, then layers, then experts on the card. */
function rank(answer: FitPlan | FitRefusal): number {
  if (answer.kind === "refusal") return 0;
  const { offload, settings, steps } = answer;
  if (offload === "full") return 1e9 - steps.length;
  return 1 + settings.gpuLayers * 1000 - settings.hostExpertLayers;
}

describe("numbers", () => {
  const [, model] = MODELS[1]!;

  test("GB and GiB are different cards", () => {
    const decimal = planFit(model, card(8e9), {}) as FitPlan;
    const binary = planFit(model, card(8 * GIB), {}) as FitPlan;
    expect(binary.devices[0]!.freeBytesBefore - decimal.devices[0]!.freeBytesBefore).toBe(8 * GIB - 8e9);
  });

  test("the same question has the same answer", () => {
    expect(planFit(model, card(6 * GIB), {})).toEqual(planFit(model, card(6 * GIB), {}));
  });

  test("a live reading is believed over the size, less what others may still take", () => {
    const busy: Hardware = {
      backend: "cuda",
      gpus: [{ id: "gpu0", vramBytesTotal: 8 * GIB, vramBytesFree: 3 * GIB }],
      ramBytesFree: 32 * GIB,
    };
    const plan = planFit(model, busy, {}) as FitPlan;
    expect(plan.offload).toBe("partial");
    expect(plan.devices[0]!.totalBytes).toBeLessThan(2.6 * GIB);
  });

  test("a reserve and a cap are kept", () => {
    const wish: Wish = { quantization: "Q4_K_M", contextLength: 8192 };
    const free = planFit(model, card(12 * GIB), wish) as FitPlan;
    expect(free.offload).toBe("full");
    const reserved = planFit(model, card(12 * GIB), { ...wish, reserveBytes: 8 * GIB }) as FitPlan;
    expect(reserved.devices[0]!.totalBytes).toBeLessThan(4 * GIB);
    const capped = planFit(model, card(12 * GIB), { ...wish, vramBytesMax: 3 * GIB }) as FitPlan;
    expect(capped.devices[0]!.totalBytes).toBeLessThanOrEqual(3 * GIB);
  });

  test("every step of a search says what it bought", () => {
    const plan = planFit(model, card(4 * GIB), { sequenceCount: 4, sequenceCountMin: 1 }) as FitPlan;
    const order = ["sequenceCount", "microBatchSize", "kvCacheType", "contextLength", "gpuLayers"];
    const positions = plan.steps.map(({ setting }) => order.indexOf(setting));
    expect(positions).toEqual([...positions].sort((left, right) => left - right));
    for (const { savedBytes } of plan.steps) expect(savedBytes).toBeGreaterThan(0);
  });
});
