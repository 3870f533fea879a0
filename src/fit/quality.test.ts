import { describe, expect, it } from "vitest";
import { estimateQuality } from "./quality.ts";

const modern = (parameterCount: number) => ({
  architecture: "qwen3",
  parameterCount,
  vocabularySize: 151936,
  expertCount: 0,
});
const llama2 = { architecture: "llama", parameterCount: 6.74e9, vocabularySize: 32000, expertCount: 0 };

describe("quality by quantization", () => {
  it("gives the published numbers at the published sizes", () => {
    expect(estimateQuality(modern(8.03e9), "Q4_K_M")).toMatchObject({
      perplexityIncreasePercent: 2.82,
      klDivergence: 0.031273,
    });
    expect(estimateQuality(modern(70.6e9), "Q4_K_M").perplexityIncreasePercent).toBe(4.83);
    expect(estimateQuality(llama2, "Q4_K_M")).toMatchObject({
      perplexityIncreasePercent: 1.42,
      klDivergence: 0.012686,
    });
  });

  it("stays between two measured sizes", () => {
    for (const quantization of ["Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K", "IQ2_XS"]) {
      const [small, middle, large] = [8.03e9, 24e9, 70.6e9].map(
        (size) => estimateQuality(modern(size), quantization).perplexityIncreasePercent!,
      ) as [number, number, number];
      expect(middle).toBeGreaterThanOrEqual(Math.min(small, large));
      expect(middle).toBeLessThanOrEqual(Math.max(small, large));
    }
  });

  it("costs more with every step down", () => {
    const ladder = [
      "F16",
      "Q8_0",
      "Q6_K",
      "Q5_K_M",
      "Q4_K_M",
      "Q4_K_S",
      "Q3_K_M",
      "Q3_K_S",
      "Q2_K",
      "IQ2_XXS",
      "IQ1_S",
    ];
    for (const size of [1.7e9, 8e9, 32e9, 120e9]) {
      const costs = ladder.map(
        (quantization) => estimateQuality(modern(size), quantization).perplexityIncreasePercent!,
      );
      expect(costs).toEqual([...costs].sort((a, b) => a - b));
    }
  });

  it("is kinder to files made with an importance matrix", () => {
    const plain = estimateQuality(modern(8e9), "Q3_K_M").perplexityIncreasePercent!;
    const better = estimateQuality(modern(8e9), "Q3_K_M", { importanceMatrix: true }).perplexityIncreasePercent!;
    expect(better).toBeLessThan(plain);
  });

  it("treats a publisher's mix as the plain one it is made from", () => {
    const plain = estimateQuality(modern(8e9), "Q4_K_M").perplexityIncreasePercent;
    expect(estimateQuality(modern(8e9), "UD-Q4_K_XL").perplexityIncreasePercent).toBe(plain);
  });

  it("says nothing is lost where nothing is", () => {
    expect(estimateQuality(modern(8e9), "bf16").perplexityIncreasePercent).toBe(0);
    expect(estimateQuality({ ...modern(21e9), architecture: "gpt-oss" }, "MXFP4").perplexityIncreasePercent).toBe(0);
  });

  it("knows other formats, and gives no number where none was published", () => {
    expect(estimateQuality(modern(8e9), "int8").perplexityIncreasePercent).toBe(0.14);
    expect(estimateQuality(modern(8e9), "fp8").perplexityIncreasePercent).toBe(0.97);
    expect(estimateQuality(modern(8e9), "awq").perplexityIncreasePercent).toBe(4.3);
    const unknown = estimateQuality(modern(8e9), "nf4");
    expect(unknown.perplexityIncreasePercent).toBeUndefined();
    expect(unknown.source).toContain("no published measurement");
  });

  it("names its source and how far it is from the model at hand", () => {
    expect(estimateQuality(modern(8.03e9), "Q4_K_M").source).toContain("measured on Llama 3 8B");
    expect(estimateQuality(modern(24e9), "Q4_K_M").source).toContain("between Llama 3 8B and Llama 3 70B");
    expect(estimateQuality(modern(0.6e9), "Q4_K_M").source).toContain("smaller models lose more");
    expect(estimateQuality({ ...modern(30e9), expertCount: 128 }, "Q4_K_M").source).toContain("experts");
    expect(estimateQuality(modern(70.6e9), "Q4_K_M").klDivergence).toBeUndefined();
  });
});
