/** What other planners got wrong in public, by the thread it was reported in, with what was measured there. */
import { describe, expect, test } from "vitest";
import { GIB, MIB } from "../core/units.ts";
import { textOnly } from "./answer-text-only.ts";
import { findCatalogueModel, specFromCatalogue } from "./catalogue.ts";
import { gpuFreeMemory, usableBytes } from "./free-memory.ts";
import { specFromMetadata } from "./model.ts";
import { planFit } from "./plan.ts";
import type { Backend, DeviceBreakdown, FitPlan, Hardware, ModelSpec, Wish } from "./types.ts";

function model(name: string): ModelSpec {
  return textOnly(specFromCatalogue(findCatalogueModel(name)!.model));
}

function machine(gib: number, count = 1, backend: Backend = "cuda"): Hardware {
  const gpus = Array.from({ length: count }, (_, index) => ({ id: `gpu${index}`, vramBytesTotal: gib * GIB }));
  return { backend, gpus, ramBytesFree: 1024 * GIB };
}

function load(spec: ModelSpec, hardware: Hardware, wish: Wish): FitPlan {
  return planFit(spec, hardware, wish) as FitPlan;
}

const sum = (plan: FitPlan, bytes: (device: DeviceBreakdown) => number) =>
  plan.devices.reduce((total, device) => total + bytes(device), 0);
const gpuBytes = (plan: FitPlan) => sum(plan, ({ kind, totalBytes }) => (kind === "gpu" ? totalBytes : 0));
const cacheMib = (plan: FitPlan) => sum(plan, ({ kvCacheBytes }) => kvCacheBytes) / MIB;
const stateMib = (plan: FitPlan) => sum(plan, ({ recurrentStateBytes }) => recurrentStateBytes) / MIB;

/** DeepSeek V2 Lite as converted in 2024: full heads in the cache. */
const deepseekLite = specFromMetadata({
  "general.architecture": "deepseek2",
  "deepseek2.block_count": 27,
  "deepseek2.embedding_length": 2048,
  "deepseek2.attention.head_count": 16,
  "deepseek2.attention.head_count_kv": 16,
  "deepseek2.attention.key_length": 192,
  "deepseek2.attention.value_length": 128,
  "deepseek2.attention.kv_lora_rank": 512,
  "deepseek2.rope.dimension_count": 64,
  "deepseek2.feed_forward_length": 10_944,
  "deepseek2.vocab_size": 102_400,
  "deepseek2.context_length": 163_840,
  "deepseek2.expert_count": 64,
  "deepseek2.expert_used_count": 6,
  "deepseek2.expert_feed_forward_length": 1408,
  "deepseek2.expert_shared_count": 2,
  "deepseek2.leading_dense_block_count": 1,
});

describe("published misses", () => {
  test("ollama#5136: DeepSeek V2 Lite at 32k takes 19392 MiB, not 15405", () => {
    const plan = load(deepseekLite, machine(24), {
      quantization: "Q4_0",
      contextLength: 32_768,
      gpuLayers: 28,
      flashAttention: false,
      batchSize: 512,
      buildFamily: "llama.cpp-2024",
    });
    expect(gpuBytes(plan) / MIB).toBeGreaterThan(0.94 * 19_392);
    expect(gpuBytes(plan) / MIB).toBeLessThan(1.05 * 19_392);
  });

  test("ollama#10128: Qwen2.5 7B at 256k with a q8_0 cache is no 52 GB", () => {
    const plan = load(model("Qwen2.5 7B"), machine(24, 2), {
      quantization: "Q4_K_M",
      contextLength: 262_144,
      gpuLayers: 29,
      kvCacheTypeK: "Q8_0",
      kvCacheTypeV: "Q8_0",
      batchSize: 512,
      buildFamily: "llama.cpp-2024",
    });
    expect(cacheMib(plan)).toBe(7616);
    expect(gpuBytes(plan) / GIB).toBeLessThan(18);
  });

  test("gpustack#2412: a BGE M3 reranker takes 926 MiB, not 13.8 GiB", () => {
    const plan = load(model("BGE M3"), machine(24), { quantization: "F16", contextLength: 8192, gpuLayers: 25 });
    expect(cacheMib(plan)).toBe(0);
    expect(gpuBytes(plan) / MIB).toBeGreaterThan(0.9 * 926);
    expect(gpuBytes(plan) / MIB).toBeLessThan(1.1 * 926);
  });

  test("gpustack#2101: Gemma 3 27B at 128k with a q8_0 key cache is no 139 GB", () => {
    const wish: Wish = { quantization: "Q4_K_M", kvCacheTypeK: "Q8_0", gpuLayers: 63, buildFamily: "llama-server" };
    const plan = load(model("Gemma 3 27B"), machine(48), { ...wish, contextLength: 128_000 });
    expect(gpuBytes(plan) / GIB).toBeLessThan(32);
  });

  test("gguf-parser-go#28: a hybrid caches only its full-attention layers", () => {
    const plan = load(model("Qwen3.5 9B"), machine(24), {
      quantization: "Q4_K_M",
      contextLength: 8192,
      gpuLayers: 33,
    });
    expect(cacheMib(plan)).toBe(256);
    expect(stateMib(plan)).toBeCloseTo(50.25, 2);
  });

  test("lmstudio#1862: Qwen3.6 27B at 256k has 16384 MiB of cache and 598.5 MiB of state, about 47 GB in all", () => {
    const plan = load(model("Qwen3.6 27B"), machine(128, 1, "metal"), {
      quantization: "Q8_0",
      contextLength: 262_144,
      sequenceCount: 4,
      gpuLayers: 66,
      buildFamily: "llama-server",
    });
    expect(cacheMib(plan)).toBe(16_384);
    expect(stateMib(plan)).toBeCloseTo(598.5, 1);
    const total = sum(plan, ({ totalBytes }) => totalBytes);
    expect(total / 1e9).toBeGreaterThan(45);
    expect(total / 1e9).toBeLessThan(50);
  });

  test("lmstudio#2133: 30.16 GiB on a Vulkan card of 31.86 GiB is not called a fit", () => {
    const hardware = machine(31.86, 1, "vulkan");
    expect(usableBytes(gpuFreeMemory(hardware.gpus[0]!, hardware))).toBeLessThan(30.16 * GIB);
  });

  test("unsloth#4757: caches at the trained context, where one formula for all was off by up to eight times", () => {
    const at = (name: string, contextLength: number) =>
      cacheMib(load(model(name), machine(512), { quantization: "Q4_K_M", contextLength, gpuLayers: 0 })) / 1024;
    // The reporter counts windows without the micro-batch beside them.
    expect(at("Gemma 3 27B", 131_072)).toBeCloseTo(10.41, 0);
    expect(at("DeepSeek V3.1 671B", 163_840)).toBeCloseTo(10.72, 1);
    expect(at("Kimi K2.5 1T", 262_144)).toBeCloseTo(17.16, 1);
  });

  test("llama.cpp#15009: Vulkan hands out no 4.4 GiB in one piece, however large the card", () => {
    const wish: Wish = { quantization: "Q8_0", contextLength: 70_016, flashAttention: false };
    const spec = model("Qwen3 30B A3B");
    const plan = load(spec, machine(96, 1, "vulkan"), { ...wish, gpuLayers: 49, buildFamily: "llama.cpp-2024" });
    expect(plan).toMatchObject({ fits: false, probability: 0 });
    expect(plan.devices[0]!.computeBufferBytes / 4_757_131_264).toBeCloseTo(1, 2);
    expect(cacheMib(plan)).toBeCloseTo(6564, 0);
    // A smaller micro-batch makes smaller pieces.
    expect(planFit(spec, machine(96, 1, "vulkan"), wish)).toMatchObject({ fits: true });
  });

  test("llama.cpp#4249: 13B at 512 tokens caches 400 MiB beside its weights", () => {
    const plan = load(model("Llama 2 13B"), machine(24), {
      quantization: "Q5_K_M",
      contextLength: 512,
      gpuLayers: 41,
      flashAttention: false,
      buildFamily: "llama.cpp-2024",
    });
    expect(cacheMib(plan)).toBe(400);
    expect(plan.devices[0]!.weightBytes / MIB).toBeCloseTo(8694.21, -1);
  });

  test("lilbee#721: Qwen3.6 27B at 64k with a q8_0 cache takes 17.6 GiB, not 24.8", () => {
    const plan = load(model("Qwen3.6 27B"), machine(48), {
      quantization: "Q4_K_M",
      contextLength: 65_536,
      kvCacheTypeK: "Q8_0",
      kvCacheTypeV: "Q8_0",
      gpuLayers: 66,
      buildFamily: "llama-server",
    });
    expect(gpuBytes(plan) / GIB).toBeGreaterThan(0.99 * 17.6);
    expect(gpuBytes(plan) / GIB).toBeLessThan(1.06 * 17.6);
  });
});
