import { describe, expect, it } from "vitest";
import { parseHardwareName } from "./gpus.ts";
import { specFromMetadata } from "./model.ts";
import { offloadableLayers, splitByFreeMemory } from "./placement.ts";
import { estimateSpeed, type MeasuredRun, type SpeedQuestion } from "./speed.ts";
import type { ModelSpec, RuntimeSettings } from "./types.ts";

function llama(name: string, layers: number, width: number, heads: number, ffn: number, vocab = 128256): ModelSpec {
  return specFromMetadata(
    {
      "general.architecture": "llama",
      "llama.block_count": layers,
      "llama.embedding_length": width,
      "llama.attention.head_count": heads,
      "llama.attention.head_count_kv": 8,
      "llama.feed_forward_length": ffn,
      "llama.vocab_size": vocab,
      "llama.context_length": 8192,
    },
    { name },
  );
}

const llama8b = llama("Llama 3 8B", 32, 4096, 32, 14336);
const llama70b = llama("Llama 3 70B", 80, 8192, 64, 28672);
const tiny = llama("tiny", 16, 512, 8, 1536, 32000);
const moe30b = specFromMetadata(
  {
    "general.architecture": "qwen3moe",
    "qwen3moe.block_count": 48,
    "qwen3moe.embedding_length": 2048,
    "qwen3moe.attention.head_count": 32,
    "qwen3moe.attention.head_count_kv": 4,
    "qwen3moe.attention.key_length": 128,
    "qwen3moe.attention.value_length": 128,
    "qwen3moe.feed_forward_length": 6144,
    "qwen3moe.expert_count": 128,
    "qwen3moe.expert_used_count": 8,
    "qwen3moe.expert_feed_forward_length": 768,
    "qwen3moe.vocab_size": 151936,
    "qwen3moe.context_length": 40960,
  },
  { name: "Qwen3 30B-A3B" },
);

function ask(model: ModelSpec, machine: string, changes: Partial<RuntimeSettings> & Partial<SpeedQuestion> = {}) {
  const hardware = parseHardwareName(machine)!;
  const free = hardware.gpus.map((gpu) => gpu.vramBytesTotal);
  const gpuLayers = changes.gpuLayers ?? (hardware.gpus.length > 0 ? offloadableLayers(model) : 0);
  const settings: RuntimeSettings = {
    buildFamily: changes.buildFamily ?? "node-llama-cpp",
    quantization: changes.quantization ?? "Q4_K_M",
    contextLength: 8192,
    sequenceCount: 1,
    batchSize: 512,
    microBatchSize: 512,
    flashAttention: changes.flashAttention ?? true,
    kvCacheTypeK: changes.kvCacheTypeK ?? "F16",
    kvCacheTypeV: changes.kvCacheTypeV ?? "F16",
    gpuLayers,
    hostExpertLayers: changes.hostExpertLayers ?? 0,
    gpuLayerSplit: splitByFreeMemory(gpuLayers, free),
  };
  const { promptTokens, depthTokens, measured } = changes;
  return estimateSpeed({
    model,
    plan: { settings },
    hardware,
    ...(promptTokens !== undefined && { promptTokens }),
    ...(depthTokens !== undefined && { depthTokens }),
    ...(measured !== undefined && { measured }),
  });
}

const old = { buildFamily: "llama.cpp-2024", flashAttention: false, depthTokens: 256 } as const;

describe("decode speed against published runs", () => {
  // XiongjieDai/GPU-Benchmarks-on-LLM-Inference (tg512, May 2024) and llmfit community runs (2026).
  it.each([
    ["RTX 3090, 8B Q4_K_M", llama8b, "rtx 3090", old, 115.4],
    ["RTX 3090, 8B F16", llama8b, "rtx 3090", { ...old, quantization: "F16" }, 47.4],
    ["RTX 4090, 8B Q4_K_M", llama8b, "rtx 4090", old, 130.6],
    ["RTX A6000, 70B Q4_K_M", llama70b, "rtx a6000", old, 14.7],
    ["two RTX 3090, 70B Q4_K_M", llama70b, "2x3090", old, 16.6],
    ["four RTX 6000 Ada, 70B F16", llama70b, "4x rtx 6000 ada", { ...old, quantization: "F16" }, 6.1],
    ["M2 Ultra, 70B Q4_K_M", llama70b, "m2 ultra 192gb", old, 12.5],
    ["RTX 5070, 8B Q4_K_M", llama8b, "rtx 5070", { depthTokens: 150 }, 105.3],
    ["M4 Pro, 8B Q4_K_M", llama8b, "m4 pro 24gb", { depthTokens: 150 }, 47.2],
    ["M4 Pro, Qwen3 30B-A3B Q4_K_M", moe30b, "m4 pro 48gb", { depthTokens: 150 }, 70.6],
  ])("%s is met within 15 %%", (_name, model, machine, changes, measured) => {
    const { decodeTokensPerSecond, decodeLow, decodeHigh } = ask(model, machine, changes);
    expect(decodeTokensPerSecond / measured).toBeGreaterThan(0.85);
    expect(decodeTokensPerSecond / measured).toBeLessThan(1.15);
    expect(decodeLow).toBeLessThan(measured);
    expect(decodeHigh).toBeGreaterThan(measured);
  });

  it("predicts a machine's 70B from its own 8B runs within 10 %", () => {
    const machines = [
      { machine: "rtx a6000", q4: 105.39, f16: 40.71, q4of70: 14.71 },
      { machine: "rtx 6000 ada", q4: 133.44, f16: 52.32, q4of70: 18.52 },
      { machine: "h100 pcie", q4: 145.55, f16: 68.03, q4of70: 25.03 },
      { machine: "m2 ultra 192gb", q4: 78.81, f16: 36.9, q4of70: 12.48 },
    ];
    for (const { machine, q4, f16, q4of70 } of machines) {
      const run = (quantization: string, rate: number): MeasuredRun => ({
        model: llama8b,
        settings: settingsOf(llama8b, machine, quantization),
        depthTokens: 256,
        decodeTokensPerSecond: rate,
      });
      const measured = [run("Q4_K_M", q4), run("F16", f16)];
      const rate = ask(llama70b, machine, { ...old, measured }).decodeTokensPerSecond;
      expect(Math.abs(rate / q4of70 - 1), machine).toBeLessThan(0.1);
    }
  });
});

function settingsOf(model: ModelSpec, machine: string, quantization: string): RuntimeSettings {
  const layers = offloadableLayers(model);
  const hardware = parseHardwareName(machine)!;
  return {
    buildFamily: "llama.cpp-2024",
    quantization,
    contextLength: 8192,
    sequenceCount: 1,
    batchSize: 2048,
    microBatchSize: 512,
    flashAttention: false,
    kvCacheTypeK: "F16",
    kvCacheTypeV: "F16",
    gpuLayers: layers,
    hostExpertLayers: 0,
    gpuLayerSplit: [layers, ...hardware.gpus.slice(1).map(() => 0)],
  };
}

describe("how speed moves", () => {
  const rate = (...question: Parameters<typeof ask>) => ask(...question).decodeTokensPerSecond;

  it("falls with the tokens in the context, less with a quantized cache and most without flash attention", () => {
    const at = (depthTokens: number, changes = {}) => rate(llama8b, "rtx 3090", { depthTokens, ...changes });
    expect(at(8000)).toBeLessThan(at(1000));
    expect(at(1000)).toBeLessThan(at(0));
    expect(at(8000, { kvCacheTypeK: "Q8_0", kvCacheTypeV: "Q8_0" })).toBeGreaterThan(at(8000));
    expect(at(8000, { flashAttention: false })).toBeLessThan(at(8000));
  });

  it("rises with every layer that moves to the GPU", () => {
    let before = 0;
    for (const gpuLayers of [0, 8, 16, 24, 32, 33]) {
      const now = rate(llama8b, "rtx 3060 + 32gb ram", { gpuLayers });
      expect(now).toBeGreaterThan(before);
      before = now;
    }
  });

  it("falls as quantizations grow", () => {
    const rates = ["Q4_K_M", "Q6_K", "Q8_0", "F16"].map((quantization) => rate(llama8b, "rtx 3090", { quantization }));
    expect(rates).toEqual([...rates].sort((a, b) => b - a));
  });

  it("gains nothing from a second card of the same kind", () => {
    expect(rate(llama8b, "2x3090")).toBeLessThan(rate(llama8b, "rtx 3090"));
  });

  it("reads only the experts a token uses", () => {
    expect(rate(moe30b, "rtx 3090")).toBeGreaterThan(rate(llama8b, "rtx 3090"));
    expect(rate(moe30b, "rtx 3090 + 64gb ram", { hostExpertLayers: 20 })).toBeLessThan(rate(moe30b, "rtx 3090"));
  });

  it("uses the RAM's speed for layers on the CPU", () => {
    const ddr4 = rate(llama8b, "cpu 32gb ddr4 ram");
    expect(rate(llama8b, "cpu 32gb ddr5 ram") / ddr4).toBeGreaterThan(1.5);
    expect(ddr4).toBeGreaterThan(3);
    expect(ddr4).toBeLessThan(12);
  });

  it("reads a long prompt in more time and a prompt on the CPU far slower", () => {
    const short = ask(llama8b, "rtx 4090", { promptTokens: 512 });
    const long = ask(llama8b, "rtx 4090", { promptTokens: 8192 });
    expect(long.timeToFirstTokenMs).toBeGreaterThan(10 * short.timeToFirstTokenMs);
    expect(long.prefillTokensPerSecond).toBeLessThan(short.prefillTokensPerSecond);
    expect(ask(llama8b, "cpu 32gb ram").prefillTokensPerSecond).toBeLessThan(0.05 * short.prefillTokensPerSecond);
    expect(long.atPromptTokens).toBe(8192);
  });
});

describe("what is said beside the number", () => {
  it.each([
    ["memory bandwidth", llama8b, "rtx 4090", {}],
    ["memory bandwidth", llama8b, "cpu 32gb ram", {}],
    ["launch overhead", tiny, "rtx 5090", {}],
    ["CPU layers", llama70b, "rtx 4090 + 64gb ram", { gpuLayers: 40 }],
  ])("names %s", (bottleneck, model, machine, changes) => {
    expect(ask(model, machine, changes).bottleneck).toBe(bottleneck);
  });

  it("widens the interval for partial offload and cards nobody measured, and narrows it for measured machines", () => {
    const width = (...question: Parameters<typeof ask>) => {
      const { decodeLow, decodeHigh } = ask(...question);
      return decodeHigh / decodeLow;
    };
    const known = width(llama8b, "rtx 4090");
    expect(width(llama8b, "arc a770")).toBeGreaterThan(known);
    expect(width(llama8b, "24gb")).toBeGreaterThan(known);
    expect(width(llama8b, "rtx 4090 + 64gb ram", { gpuLayers: 20 })).toBeGreaterThan(known);
    const measured = [
      {
        model: llama8b,
        settings: settingsOf(llama8b, "rtx 4090", "Q4_K_M"),
        depthTokens: 256,
        decodeTokensPerSecond: 120,
      },
    ];
    expect(width(llama8b, "rtx 4090", { measured })).toBeLessThan(known);
  });

  it("says what an unnamed card and unnamed RAM are taken for", () => {
    expect(ask(llama8b, "12gb").assumptions.join(" ")).toMatch(/360 GB\/s|GB\/s; name the card/);
    expect(ask(llama8b, "rtx 3060 + 32gb ram", { gpuLayers: 20 }).assumptions.join(" ")).toContain("DDR4-3200");
    expect(ask(llama8b, "rtx 3060").assumptions).toEqual([]);
  });
});

describe("a machine's own runs", () => {
  const settings = settingsOf(llama8b, "rtx 3090", "Q4_K_M");
  const run = (rate: number): MeasuredRun => ({
    model: llama8b,
    settings,
    depthTokens: 256,
    decodeTokensPerSecond: rate,
  });

  it("are reproduced", () => {
    for (const rate of [4.2, 60, 115, 180]) {
      const estimate = ask(llama8b, "rtx 3090", { ...old, measured: [run(rate)] });
      expect(estimate.decodeTokensPerSecond / rate).toBeCloseTo(1, 6);
    }
  });

  it("scale the prompt rate too when they carry one", () => {
    const measured = [{ ...run(115), prefillTokensPerSecond: 2000, promptTokens: 512 }];
    expect(ask(llama8b, "rtx 3090", { ...old, measured, promptTokens: 512 }).prefillTokensPerSecond).toBeCloseTo(
      2000,
      3,
    );
  });

  it("that make no sense are passed over", () => {
    const plain = ask(llama8b, "rtx 3090", old);
    for (const rate of [0, -1, Number.NaN, 1e9, 0.001]) {
      expect(ask(llama8b, "rtx 3090", { ...old, measured: [run(rate)] })).toEqual(plain);
    }
  });
});
