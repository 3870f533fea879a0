import { describe, expect, test } from "vitest";
import { AppError } from "../core/errors.ts";
import { GIB, MIB } from "../core/units.ts";
import { specFromMetadata } from "./model.ts";
import { planFit } from "./plan.ts";
import type { Hardware } from "./types.ts";

const llama = specFromMetadata({
  "general.architecture": "llama",
  "general.name": "Llama 3.1 8B",
  "llama.block_count": 32,
  "llama.embedding_length": 4096,
  "llama.attention.head_count": 32,
  "llama.attention.head_count_kv": 8,
  "llama.feed_forward_length": 14336,
  "llama.vocab_size": 128256,
  "llama.context_length": 131072,
});

function card(gib: number): Hardware {
  return { backend: "cuda", gpus: [{ id: "gpu0", vramBytesTotal: gib * GIB }], ramBytesFree: 32 * GIB };
}

describe("planFit", () => {
  test("an 8B model is wholly on a 12 GiB card", () => {
    const plan = planFit(llama, card(12));
    expect(plan).toMatchObject({ kind: "plan", fits: true, offload: "full", steps: [] });
  });

  test("a small card costs concessions before layers", () => {
    const plan = planFit(llama, card(4));
    expect(plan).toMatchObject({ kind: "plan", fits: true, offload: "partial" });
    if (plan.kind !== "plan") return;
    expect(plan.steps.map((step) => step.setting)).toEqual([
      "microBatchSize",
      "microBatchSize",
      "kvCacheType",
      "contextLength",
      "gpuLayers",
    ]);
    for (const step of plan.steps) expect(step.savedBytes).toBeGreaterThan(0);
  });

  test("a fixed load that has no room is still a plan, with its bytes and fits false", () => {
    const plan = planFit(llama, card(4), { quantization: "Q8_0", gpuLayers: 33, contextLength: 8192 });
    expect(plan).toMatchObject({ kind: "plan", fits: false, offload: "full" });
    if (plan.kind !== "plan") return;
    expect(plan.devices[0]!.kvCacheBytes).toBe(1024 * MIB);
    expect(plan.probability).toBeLessThan(0.01);
  });

  test("shares decide how many layers each GPU gets, and one without a share stays empty", () => {
    const gpus = ["gpu0", "gpu1"].map((id) => ({ id, vramBytesTotal: 12 * GIB }));
    const two: Hardware = { backend: "cuda", gpus, ramBytesFree: 32 * GIB };
    const splitOf = (...tensorSplit: number[]) => {
      const plan = planFit(llama, two, { contextLength: 4096, quantization: "Q4_K_M", tensorSplit });
      if (plan.kind !== "plan") throw new Error(plan.reason);
      return { split: plan.settings.gpuLayerSplit, devices: plan.devices };
    };
    expect(splitOf(2, 1).split).toEqual([22, 11]);
    const { split, devices } = splitOf(0, 7);
    expect(split).toEqual([0, 33]);
    expect(devices[0]!.totalBytes).toBe(0);
    // With one GPU in use no micro-batches are in flight on two of them.
    const alone = planFit(llama, card(12), { contextLength: 4096, quantization: "Q4_K_M" });
    expect(alone).toMatchObject({ devices: [{ computeBufferBytes: devices[1]!.computeBufferBytes }, {}] });
    expect(() => splitOf(1, -1)).toThrow(expect.objectContaining({ code: "invalid_request", param: "tensorSplit" }));
  });

  test("llama.cpp's cut goes by what its loader finds free, not by what a plan may use", () => {
    const gpus = [
      { id: "gpu0", vramBytesTotal: 24 * GIB, vramBytesFree: 19 * GIB, loaderBytesFree: 23 * GIB },
      { id: "gpu1", vramBytesTotal: 12 * GIB, vramBytesFree: 7 * GIB, loaderBytesFree: 11 * GIB },
    ];
    const plan = planFit(llama, { backend: "cuda", gpus, ramBytesFree: 32 * GIB }, { contextLength: 4096 });
    expect(plan).toMatchObject({ kind: "plan", settings: { gpuLayerSplit: [23, 10] } });
  });

  test("a question that no settings answer is a refusal with the nearest plan", () => {
    const refusal = planFit(llama, card(4), { quantization: "Q8_0", gpuLayers: 33 });
    expect(refusal.kind).toBe("refusal");
    if (refusal.kind !== "refusal") return;
    expect(refusal.shortfallBytes).toBeGreaterThan(2 * GIB);
    expect(refusal.nearest).toMatchObject({ fits: true, offload: "partial" });
  });

  test.each([0, -1, 1e9 * 1e9, Number.NaN, Number.POSITIVE_INFINITY, 6])("a card of %d bytes is refused", (bytes) => {
    const hardware: Hardware = { backend: "cuda", gpus: [{ id: "gpu0", vramBytesTotal: bytes }] };
    expect(() => planFit(llama, hardware)).toThrow(AppError);
    expect(() => planFit(llama, hardware)).toThrow(/vramBytesTotal/);
  });
});
