import { describe, expect, it } from "vitest";
import { GIB } from "../core/units.ts";
import { estimateFrameworkSpeed } from "./framework-speed.ts";
import { estimateFrameworkMemory, type FrameworkQuestion } from "./frameworks.ts";
import { parseHardwareName } from "./gpus.ts";
import { specFromMetadata } from "./model.ts";
import type { ModelSpec } from "./types.ts";

function qwen2(name: string, sizes: readonly number[], tied: boolean): ModelSpec {
  const [layers, width, heads, headsKv, head, ffn, vocabulary] = sizes;
  const spec = specFromMetadata(
    {
      "general.architecture": "qwen2",
      "qwen2.block_count": layers,
      "qwen2.embedding_length": width,
      "qwen2.attention.head_count": heads,
      "qwen2.attention.head_count_kv": headsKv,
      "qwen2.attention.key_length": head,
      "qwen2.attention.value_length": head,
      "qwen2.feed_forward_length": ffn,
      "qwen2.vocab_size": vocabulary,
      "qwen2.context_length": 32768,
    },
    { name, parameterCount: tied ? 494e6 : 32.76e9 },
  );
  return spec;
}

const small = qwen2("Qwen2.5 0.5B", [24, 896, 14, 2, 64, 4864, 151936], true);
const large = qwen2("Qwen2.5 32B", [64, 5120, 40, 8, 128, 27648, 152064], false);

const gib = (question: Partial<FrameworkQuestion> & Pick<FrameworkQuestion, "model" | "quantization">) =>
  estimateFrameworkMemory({ framework: "transformers", promptTokens: 1, generatedTokens: 2048, ...question })
    .allocatedBytes / GIB;

describe("memory under Transformers against the published Qwen tables (A100, GiB)", () => {
  it("reads the small test model as tied and the large one as untied", () => {
    expect([small.tiedEmbeddings, large.tiedEmbeddings]).toEqual([true, false]);
  });

  it.each([
    ["bf16, 1 token", { model: large, quantization: "bf16" }, 61.58],
    ["bf16, 6144", { model: large, quantization: "bf16", promptTokens: 6144 }, 63.72],
    ["bf16, 30720", { model: large, quantization: "bf16", promptTokens: 30720 }, 74.47],
    ["gptq-int8, 14336", { model: large, quantization: "gptq-int8", promptTokens: 14336 }, 39.28],
    ["gptq-int4, 1 token", { model: large, quantization: "gptq-int4" }, 18.94],
    ["awq, 30720", { model: large, quantization: "awq", promptTokens: 30720 }, 31.56],
    ["0.5B bf16, 30720", { model: small, quantization: "bf16", promptTokens: 30720 }, 2.34],
    ["0.5B awq, 1 token", { model: small, quantization: "awq" }, 0.68],
  ])("%s is met within 5 %%, and never 3 %% under", (_name, question, measured) => {
    const ratio = gib(question) / measured;
    expect(ratio).toBeGreaterThan(0.97);
    expect(ratio).toBeLessThan(1.05);
  });

  it("knows that old versions turn the whole prompt into float32 logits", () => {
    const old = gib({ model: small, quantization: "bf16", promptTokens: 6144, version: "2024" });
    expect(old / 6.42).toBeGreaterThan(0.97);
    expect(old / 6.42).toBeLessThan(1.06);
    expect(gib({ model: small, quantization: "bf16", promptTokens: 6144 })).toBeLessThan(1.3);
  });
});

describe("how memory moves", () => {
  it("has parts that sum to the total", () => {
    for (const framework of ["transformers", "vllm"] as const) {
      for (const quantization of ["fp32", "bf16", "int8", "nf4", "nf4-double", "gptq-int4", "awq", "fp8"]) {
        const memory = estimateFrameworkMemory({ model: large, framework, quantization, promptTokens: 4096 });
        const parts = memory.weightBytes + memory.kvCacheBytes + memory.activationBytes + memory.workspaceBytes;
        expect(parts).toBe(memory.allocatedBytes);
        expect(parts + memory.runtimeBytes).toBe(memory.totalBytes);
      }
    }
  });

  it("grows with the prompt, the answer, the sequences and the GPUs, and shrinks with the format", () => {
    const at = (changes: Partial<FrameworkQuestion>) => gib({ model: large, quantization: "bf16", ...changes });
    expect(at({ promptTokens: 8192 })).toBeGreaterThan(at({ promptTokens: 4096 }));
    expect(at({ generatedTokens: 8192 })).toBeGreaterThan(at({ generatedTokens: 512 }));
    expect(at({ promptTokens: 4096, sequenceCount: 4 })).toBeGreaterThan(at({ promptTokens: 4096 }));
    expect(at({ promptTokens: 8192, gpuCount: 2 })).toBeGreaterThan(at({ promptTokens: 8192 }));
    expect(at({ promptTokens: 8192, attention: "eager" })).toBeGreaterThan(at({ promptTokens: 8192 }));
    const formats = ["fp32", "bf16", "int8", "nf4", "nf4-double"].map((quantization) => at({ quantization }));
    expect(formats).toEqual([...formats].sort((a, b) => b - a));
  });

  it("refuses a format that neither framework loads", () => {
    expect(() => gib({ model: large, quantization: "Q4_K_M" })).toThrow(/Try bf16/);
  });
});

describe("speed against the published Qwen tables (A100 80 GB)", () => {
  const rate = (
    model: ModelSpec,
    framework: "transformers" | "vllm",
    quantization: string,
    promptTokens = 1,
    gpuCount = 1,
  ) =>
    estimateFrameworkSpeed({
      model,
      framework,
      quantization,
      promptTokens,
      generatedTokens: 2048,
      gpuCount,
      hardware: parseHardwareName(`${gpuCount}x a100 80gb`)!,
    });

  it.each([
    [large, "transformers", "bf16", 1, 17.54],
    [large, "transformers", "bf16", 30720, 5.59],
    [large, "transformers", "gptq-int4", 6144, 13.42],
    [small, "transformers", "awq", 14336, 37.14],
    [large, "vllm", "bf16", 1, 22.13],
    [large, "vllm", "gptq-int8", 30720, 26.88],
    [large, "vllm", "awq", 6144, 46.68],
  ] as const)("%o under %s in %s after %i tokens is met within 25 %%", (model, framework, format, prompt, measured) => {
    const { answerTokensPerSecond } = rate(model, framework, format, prompt);
    expect(answerTokensPerSecond / measured).toBeGreaterThan(0.75);
    expect(answerTokensPerSecond / measured).toBeLessThan(1.25);
  });

  it("names what holds it back", () => {
    expect(rate(small, "transformers", "bf16").bottleneck).toBe("launch overhead");
    expect(rate(large, "vllm", "bf16").bottleneck).toBe("memory bandwidth");
  });

  it("gains from tensor parallel under vLLM, not from a second card under Transformers", () => {
    expect(rate(large, "vllm", "bf16", 1, 2).decodeTokensPerSecond).toBeGreaterThan(
      1.5 * rate(large, "vllm", "bf16").decodeTokensPerSecond,
    );
    expect(rate(large, "transformers", "bf16", 1, 2).decodeTokensPerSecond).toBeCloseTo(
      rate(large, "transformers", "bf16").decodeTokensPerSecond,
    );
  });
});
