import { describe, expect, it } from "vitest";
import { drawComparison } from "./compare-picture.ts";
import {
  compareStepLabel,
  compareTable,
  compareVerdict,
  renderCompareChat,
  renderCompareMarkdown,
} from "./compare-render.ts";
import { type ComparisonReport, parseCompareRequest, type VariantResult } from "./compare-report.ts";

function variant(quantization: string, decode: number, bytes: number, divergence?: number): VariantResult {
  return {
    quantization,
    origin: "disk",
    fileBytes: bytes,
    bitsPerWeight: 8,
    load: { ms: 900, threads: 4, gpuLayers: 0, contextLength: 512, backend: "cpu" },
    memory: { predicted: { hostBytes: bytes, gpuBytes: 0 }, measured: { hostBytes: bytes, gpuBytes: 0 } },
    speeds: [
      {
        contextTokens: 256,
        prefillTokensPerSecond: 500,
        decodeTokensPerSecond: decode,
        predicted: { prefillTokensPerSecond: 400, decodeTokensPerSecond: decode * 1.1 },
      },
    ],
    answers: [
      {
        prompt: 0,
        text: "A `line`\nand <b>another</b> | one",
        finishReason: "stop",
        promptTokens: 12,
        completionTokens: 9,
        timeToFirstTokenMs: 120,
      },
    ],
    quality: {
      tokens: 1000,
      perplexity: 8.123,
      perplexityError: 0.2,
      texts: [],
      ...(divergence === undefined
        ? {}
        : { divergence: { mean: divergence, standardError: 0.001, percentile99: 0.2, max: 1, sameTopShare: 0.953 } }),
    },
  };
}

function report(variants: VariantResult[], over: Partial<ComparisonReport> = {}): ComparisonReport {
  return {
    version: 1,
    model: { name: "some-3b", architecture: "qwen2", parameterCount: 3e9, demo: false },
    machine: { cpu: "a processor", gpus: [], backend: "cpu", ramBytesTotal: 16e9 },
    startedAt: Date.UTC(2026, 0, 2),
    durationMs: 60_000,
    measuredMs: 58_000,
    overheadMs: 2000,
    prompts: ["Why <is> it so?"],
    contexts: [256],
    maxTokens: 32,
    text: { version: 1, windowTokens: 512 },
    reference: "F16",
    variants,
    disturbed: false,
    ...over,
  };
}

const usual = report([variant("F16", 10, 6e9), variant("Q8_0", 17, 3.2e9, 0.002), variant("Q4_K_M", 25, 2e9, 0.04)]);

describe("the verdict of a comparison", () => {
  it("names the fastest precision whose predictions hold, with what it costs", () => {
    expect(compareVerdict(usual, "en")).toBe(
      "Take Q4_K_M: it answers 2.50 times as fast as F16, in 33 % of its memory, and its predictions differ a little (KL divergence 0.040).",
    );
    expect(compareVerdict(usual, "zh")).toContain("建议用 Q4_K_M：生成速度是 F16 的 2.50 倍");
    // Chinese sentences follow each other without a space.
    expect(compareVerdict(usual, "zh")).not.toContain("。 ");
  });

  it("passes over a precision that answers fast and wrong", () => {
    const broken = report([variant("F16", 10, 6e9), variant("Q8_0", 17, 3.2e9, 0.002), variant("Q2_K", 40, 1e9, 0.9)]);
    expect(compareVerdict(broken, "en")).toMatch(/^Take Q8_0:/);
  });

  it("says so where fewer bits are no faster, and what they save", () => {
    const slower = report([variant("F16", 30, 6e9), variant("Q8_0", 28, 3e9, 0.002)]);
    expect(compareVerdict(slower, "en")).toBe(
      "F16 is the fastest here; the others gain nothing in speed. Q8_0 needs 50 % of its memory (KL divergence 0.0020).",
    );
  });

  it("tells failures, disturbance and the demo model", () => {
    const failed: VariantResult = {
      quantization: "F32",
      failure: { code: "model_does_not_fit", message: "No room." },
      speeds: [],
      answers: [],
    };
    const said = compareVerdict(
      report([failed, ...usual.variants], { disturbed: true, model: { ...usual.model, demo: true } }),
      "en",
    );
    expect(said).toContain("F32: No room.");
    expect(said).toContain("Others used the machine");
    expect(said).toContain("demo model is tiny");
    expect(compareVerdict(report([failed]), "en")).toContain("None of the precisions ran here.");
    expect(
      compareTable(report([failed]), "zh")
        .rows[0]!.slice(1)
        .every((cell) => cell === "–"),
    ).toBe(true);
  });
});

describe("a comparison as text and picture", () => {
  it("is Markdown whose tables no answer can break", () => {
    const text = renderCompareMarkdown(usual, "en");
    expect(text).toContain("| Q4_K_M | 1.86 GiB |");
    expect(text).toContain("- **F16**: A 'line' and <b>another</b> | one");
    const widths = text.split("\n").flatMap((line) => (line.startsWith("| ") ? [line.split(" | ").length] : []));
    expect(new Set(widths)).toEqual(new Set([10, 7, 6]));
    expect(renderCompareMarkdown(usual, "zh")).toContain("困惑度在随附文本");
  });

  it("fits a chat message, figures first", () => {
    const long = report(
      usual.variants.map((one) => ({ ...one, answers: [{ ...one.answers[0]!, text: "x".repeat(900) }] })),
    );
    const text = renderCompareChat(long, "en", 2000);
    expect(text.length).toBeLessThanOrEqual(2000);
    expect(text).toContain("```\nprecision");
    expect(text).not.toContain("xxx");
    expect(renderCompareChat(usual, "zh", 2000)).toContain("精度");
    expect(renderCompareChat(usual, "en", 100).length).toBe(100);
  });

  it("is a picture with every figure as text", () => {
    for (const locale of ["en", "zh"] as const) {
      const svg = drawComparison(usual, locale);
      expect(svg).toMatch(/^<svg [^>]+>.*<\/svg>$/);
      for (const shown of ["Q4_K_M", "25.0", "1.86 GiB", "8.12", "120 ms"]) expect(svg).toContain(shown);
      expect(svg).not.toMatch(/NaN|undefined|Infinity/);
    }
    const hostile = report([{ ...variant("F16", Number.NaN, 6e9), quantization: '"><script>' }], {
      model: { ...usual.model, name: "<svg onload=1>" },
    });
    const svg = drawComparison(hostile, "en", "dark");
    expect(svg).not.toMatch(/<script|<svg onload|NaN/);
  });

  it("says what a job is doing", () => {
    expect(compareStepLabel({ step: "speed", quantization: "Q8_0", share: 0.5 }, "en")).toBe("Q8_0: measuring speed");
    expect(compareStepLabel({ step: "quality", quantization: "F16", share: 0.5 }, "zh")).toBe("F16：测质量");
  });
});

describe("a request for a comparison", () => {
  it("is read with its quantizations in one spelling", () => {
    const request = { model: " qwen3-4b ", quantizations: ["q4_k_m", "FP16"], contexts: [512], maxTokens: 64 };
    expect(parseCompareRequest(request)).toEqual({
      model: "qwen3-4b",
      quantizations: ["Q4_K_M", "F16"],
      contexts: [512],
      maxTokens: 64,
    });
  });

  it.each([
    ["no object", [], "body"],
    ["no model", {}, "model"],
    ["an endless name", { model: "x".repeat(10_000) }, "model"],
    ["an unknown field", { model: "m", colour: "red" }, "colour"],
    ["a path as quantization", { model: "m", quantizations: ["../../etc/passwd"] }, "quantizations.0"],
    ["too many quantizations", { model: "m", quantizations: Array(99).fill("Q8_0") }, "quantizations"],
    ["an empty prompt", { model: "m", prompts: [" "] }, "prompts.0"],
    ["a book as prompt", { model: "m", prompts: ["x".repeat(100_000)] }, "prompts.0"],
    ["a context without tokens", { model: "m", contexts: [0] }, "contexts.0"],
    ["a context of text", { model: "m", contexts: ["512"] }, "contexts.0"],
    ["endless answers", { model: "m", maxTokens: 1e9 }, "maxTokens"],
  ])("is refused with %s", (_, body, param) => {
    expect(() => parseCompareRequest(body)).toThrow(expect.objectContaining({ code: "invalid_request", param }));
  });
});
