import { existsSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { AppError } from "../core/errors.ts";
import { findCatalogueModel, specFromCatalogue } from "./catalogue.ts";
import { specFromMetadata } from "./model.ts";
import {
  estimateFileBytes,
  quantizationTensorBytes,
  quantizationTotalBytes,
  quantizationWeightBytes,
  quantizationWeightSummary,
} from "./quantization-bytes.ts";
import { FORMAT_NAMES } from "./quantization-formats.ts";
import { findQuantization, QUANTIZATIONS } from "./quantization-list.ts";
import { fileWeightBytes, isLlamaMix } from "./quantization-mixes.ts";
import { quantizationOfName } from "./quantization-names.ts";
import { LLAMA_MIXES } from "./quantization-rules.ts";
import { DYNAMIC_MIXES, isDynamicMix, LARGE_MIXES } from "./quantization-variants.ts";
import type { ModelSpec } from "./types.ts";

function catalogueSpec(name: string): ModelSpec {
  const found = findCatalogueModel(name);
  if (found?.model.name !== name) throw new Error(`${name} is not in the catalogue`);
  return specFromCatalogue(found.model);
}

interface PublishedSizes {
  model: string;
  repository: string;
  bytes: Record<string, number>;
}

const fixture = new URL("../../test/fixtures/gguf-file-sizes.jsonl", import.meta.url);
const published = readFileSync(fixture, "utf8")
  .trim()
  .split("\n")
  .slice(1)
  .map((line): PublishedSizes => JSON.parse(line));

/** Publishers that gave single tensors types of their own under a plain mix's name; how far that moves the file. */
const OWN_TYPES: Record<string, number> = {
  "unsloth/gemma-4-12b-it-GGUF": 0.08,
  "unsloth/gemma-4-26B-A4B-it-GGUF": 0.12,
  "unsloth/GLM-4.7-Flash-GGUF": 0.03,
  "unsloth/Qwen-AgentWorld-35B-A3B-GGUF": 0.09,
  // Small hybrids: state matrices in more bits.
  "unsloth/Qwen3.5-0.8B-GGUF": 0.02,
  // The 3- and 4-bit codebooks without an importance matrix.
  "microsoft/phi-4-gguf": 0.04,
};

describe("published files", () => {
  const files = published.flatMap(({ model, repository, bytes }) =>
    Object.entries(bytes).map(([quantization, real]) => ({ model, repository, quantization, real })),
  );
  const errorOf = ({ model, quantization, real }: (typeof files)[number]) =>
    estimateFileBytes(catalogueSpec(model), quantization) / real - 1;

  it.each(published.map(({ repository, model, bytes }) => [repository, model, bytes] as const))(
    "%s (%s) weighs what we say",
    (repository, model, bytes) => {
      for (const [quantization, real] of Object.entries(bytes)) {
        const tolerance = isDynamicMix(quantization)
          ? DYNAMIC_MIXES[quantization].tolerance
          : (OWN_TYPES[repository] ?? 0.01);
        expect(Math.abs(errorOf({ model, repository, quantization, real })), quantization).toBeLessThan(tolerance);
      }
    },
  );

  it("half of the plain mixes are within 0.02 %, and 95 % within 1 %", () => {
    const errors = files
      .filter(({ quantization }) => isLlamaMix(quantization))
      .map((file) => Math.abs(errorOf(file)))
      .sort((a, b) => a - b);
    expect(errors.length).toBeGreaterThan(250);
    expect(errors[Math.floor(errors.length * 0.5)]).toBeLessThan(0.0002);
    expect(errors[Math.floor(errors.length * 0.9)]).toBeLessThan(0.01);
  });
});

interface MeasuredSize {
  kind: string;
  model: string;
  quant: string;
  bpw?: number;
  size?: number;
  unit?: string;
}

const measurements = new URL("../../../shared/truth/llamacpp_quant_sizes.json", import.meta.url);

describe.runIf(existsSync(measurements))("llama.cpp's own size tables", () => {
  const names: Record<string, string> = {
    "Llama-3.1-8B": "Llama 3.1 8B",
    "Llama-3-8B": "Llama 3 8B",
    "Llama-3-70B": "Llama 3 70B",
    "Llama-3.1-70B": "Llama 3.1 70B",
    "Llama-3.1-405B": "Llama 3.1 405B",
  };
  const records = existsSync(measurements)
    ? (JSON.parse(readFileSync(measurements, "utf8")).records as MeasuredSize[])
    : [];
  // The Llama 3 8B table gives Q2_K_S the size of Q2_K.
  const misprinted = ({ model, quant }: MeasuredSize) => model === "Llama-3-8B" && quant === "Q2_K_S";
  const rows = records.filter(
    (row) => row.model in names && isLlamaMix(row.quant) && !row.kind.includes("old") && !misprinted(row),
  );

  it("bits per weight agree within 0.2 %", () => {
    const measured = rows.filter(({ bpw }) => bpw !== undefined);
    expect(measured.length).toBeGreaterThan(20);
    for (const { model, quant, bpw } of measured) {
      if (!isLlamaMix(quant)) continue;
      const spec = catalogueSpec(names[model]!);
      const elements = spec.tensors.reduce((sum, { dims }) => sum + dims.reduce((product, dim) => product * dim, 1), 0);
      // The table was made without an importance matrix where a mix works without one.
      const ours = (fileWeightBytes(spec, quant, { importanceMatrix: !quant.startsWith("IQ4") }) * 8) / elements;
      expect(Math.abs(ours / bpw! - 1), `${model} ${quant}`).toBeLessThan(0.002);
    }
  });

  it("sizes agree within 1 %", () => {
    const measured = rows.filter(({ size, unit }) => size !== undefined && unit?.startsWith("GiB"));
    expect(measured.length).toBeGreaterThan(60);
    for (const { model, quant, size } of measured) {
      const ours = estimateFileBytes(catalogueSpec(names[model]!), quant) / 1024 ** 3;
      // Two decimals are printed, so the smallest carry half a per cent of rounding.
      expect(Math.abs(ours / size! - 1), `${model} ${quant} ${ours}`).toBeLessThan(0.01);
    }
  });
});

describe("parts as llama.cpp loads them", () => {
  // Buffers of fully offloaded models in load logs of llama.cpp b9849, MiB: GPU, and host for the token
  // embedding. Source: HilbertraumAI/HilbertRaum, eval/results/hardware.
  it.each([
    ["Qwen3 8B", "Q4_K_M", 4455.34, 333.84],
    ["Ministral 3 8B", "Q4_K_M", 4662.05, 288],
    ["Gemma 4 12B", "Q4_0", 6637.63, 787.5],
    ["Gemma 4 E4B", "Q4_0", 2696.04, 2730],
  ])("%s in %s: %d on the GPU, %d on the host", (name, quantization, gpu, host) => {
    const { total, input, tiedOutput } = quantizationWeightSummary(catalogueSpec(name), quantization);
    expect((total - input + tiedOutput) / 1024 ** 2).toBeCloseTo(gpu, 0);
    expect(input / 1024 ** 2).toBeCloseTo(host, 1);
  });

  it.each([
    ["Qwen3.5 4B", "UD-Q4_K_XL", 2766.74, 497.31],
    ["Qwen3.5 9B", "UD-Q4_K_XL", 5133.63, 545.62],
  ])("%s in %s: %d within 2 %% on the GPU, %d on the host", (name, quantization, gpu, host) => {
    const { total, input, tiedOutput } = quantizationWeightSummary(catalogueSpec(name), quantization);
    expect(Math.abs((total - input + tiedOutput) / 1024 ** 2 / gpu - 1)).toBeLessThan(0.02);
    expect(input / 1024 ** 2).toBeCloseTo(host, 1);
  });
});

describe("formats other than GGUF", () => {
  const qwen = catalogueSpec("Qwen2.5 7B");

  // Peak memory of Transformers in 16 bits less the same in the format, GiB: what the format saves is weights alone.
  // Source: speed benchmark of QwenLM/Qwen3, docs/source/benchmark @2abc0f3243e2 (batch 1, one prompt token).
  it.each([
    ["Qwen2.5 32B", "gptq-int8", 61.58 - 33.56],
    ["Qwen2.5 32B", "gptq-int4", 61.58 - 18.94],
    ["Qwen2.5 32B", "awq", 61.58 - 18.67],
    ["Qwen2.5 72B", "gptq-int8", 136.2 - 72.61],
    ["Qwen2.5 72B", "gptq-int4", 136.2 - 39.91],
    ["Qwen2.5 72B", "awq", 136.2 - 39.44],
    ["Qwen2 7B", "gptq-int8", 14.92 - 8.97],
    ["Qwen2 7B", "gptq-int4", 14.92 - 6.06],
    ["Qwen2 7B", "awq", 14.92 - 5.93],
    ["Qwen3 8B", "fp8", (15_947 - 9323) / 1024],
    ["Qwen3 8B", "awq", (15_947 - 6177) / 1024],
  ])("%s saves what was measured with %s: %d GiB", (name, format, measured) => {
    const model = catalogueSpec(name);
    const saved = (quantizationTotalBytes(model, "bf16") - quantizationTotalBytes(model, format)) / 1024 ** 3;
    expect(Math.abs(saved / measured - 1)).toBeLessThan(0.016);
  });

  it("gpt-oss 20B in MXFP4 has its experts in 4 bits and the rest in 16", () => {
    const bytes = quantizationTotalBytes(catalogueSpec("gpt-oss 20B"), "mxfp4");
    // total_size in model.safetensors.index.json of openai/gpt-oss-20b.
    expect(Math.abs(bytes / 13_761_264_768 - 1)).toBeLessThan(0.01);
  });

  it("double quantization saves 0.37 bits per quantized weight", () => {
    const saved = quantizationTotalBytes(qwen, "nf4") - quantizationTotalBytes(qwen, "nf4-double");
    const quantized = (quantizationTotalBytes(qwen, "bf16") - quantizationTotalBytes(qwen, "fp8")) * 1;
    expect((saved * 8) / quantized).toBeCloseTo(0.373, 2);
  });

  it("MLX quantizes embeddings too, the others leave them in 16 bits", () => {
    const table = qwen.vocabularySize * qwen.embeddingLength;
    expect(quantizationWeightBytes(qwen, "mlx-4bit").input).toBe((table * 4.5) / 8);
    for (const format of ["nf4", "awq", "int8", "fp8"])
      expect(quantizationWeightBytes(qwen, format).input, format).toBe(table * 2);
  });
});

describe("every quantization", () => {
  const models = [
    "Llama 3.1 8B",
    "Qwen3 30B A3B",
    "Gemma 3 4B",
    "gpt-oss 20B",
    "Qwen3.5 9B",
    "Falcon 7B",
    "Gemma 4 E4B",
  ].map(catalogueSpec);

  it("is in the list once, largest first", () => {
    const names = QUANTIZATIONS.map(({ name }) => name).sort();
    expect(names).toEqual(
      [...LLAMA_MIXES, ...Object.keys(LARGE_MIXES), ...Object.keys(DYNAMIC_MIXES), ...FORMAT_NAMES].sort(),
    );
    const bits = QUANTIZATIONS.map(({ bitsPerWeight }) => bitsPerWeight);
    expect(bits).toEqual(bits.toSorted((a, b) => b - a));
  });

  it("has the listed bits per weight on the shape the list is for", () => {
    const [llama] = models;
    for (const { name, bitsPerWeight } of QUANTIZATIONS) {
      expect((quantizationTotalBytes(llama!, name) * 8) / 8_030_261_312, name).toBeCloseTo(bitsPerWeight, 1);
    }
  });

  it.each(models.map((model) => [model.name, model] as const))(
    "splits %s into parts that sum to its total",
    (_, model) => {
      for (const { name } of QUANTIZATIONS) {
        const bytes = quantizationWeightBytes(model, name);
        expect(
          bytes.layers.reduce((sum, layer) => sum + layer, bytes.input + bytes.output),
          name,
        ).toBeCloseTo(bytes.total, 3);
        expect(bytes.total, name).toBeCloseTo(quantizationTotalBytes(model, name), 3);
        const summary = quantizationWeightSummary(model, name);
        expect(Math.abs(summary.total - bytes.total), name).toBeLessThan(1);
        expect(Math.abs(summary.input + summary.output + summary.blocks - summary.total), name).toBeLessThan(1);
        expect(Math.abs(summary.experts - bytes.experts.reduce((sum, one) => sum + one, 0)), name).toBeLessThan(100);
        expect(
          bytes.layers.every((layer, index) => layer > 0 && bytes.experts[index]! <= layer),
          name,
        ).toBe(true);
      }
    },
  );

  it.each(models.map((model) => [model.name, model] as const))("gives single tensors of %s their share", (_, model) => {
    for (const { name } of QUANTIZATIONS) {
      const bytesAt = quantizationTensorBytes(model, name);
      const sum = model.tensors.reduce((total, _tensor, index) => total + bytesAt(index), 0);
      expect(Math.abs(sum - quantizationTotalBytes(model, name)), name).toBeLessThan(1);
    }
  });

  it("is found in the spellings of file names and people", () => {
    expect(findQuantization("q4_k_m")?.name).toBe("Q4_K_M");
    expect(findQuantization("NF4")?.name).toBe("nf4");
    expect(findQuantization("ud-q4_k_xl")?.name).toBe("UD-Q4_K_XL");
    expect(findQuantization("MXFP4")?.name).toBe("MXFP4_MOE");
    expect(findQuantization("mxfp4")?.name).toBe("mxfp4");
    expect(findQuantization("Q4_K_X")).toBeUndefined();
  });

  it("that is unknown is refused", () => {
    expect(() => quantizationTotalBytes(models[0]!, "Q9_Z")).toThrow(AppError);
    expect(() => quantizationWeightBytes(models[0]!, "constructor")).toThrow(/no quantization Snug knows/);
  });
});

describe("names of files", () => {
  it.each([
    ["Qwen3-8B-Q4_K_M.gguf", "Q4_K_M"],
    ["llama-2-13b-chat.Q5_0.gguf", "Q5_0"],
    ["GLM-4.5-UD-Q2_K_XL-00001-of-00003.gguf", "UD-Q2_K_XL"],
    ["gemma-3-4b-it-BF16.gguf", "BF16"],
    ["qwen2.5-7b-instruct-fp16.gguf", "F16"],
    ["gpt-oss-20b-mxfp4.gguf", "MXFP4_MOE"],
    ["IQ4_XS/x-IQ4_XS-00001-of-00002.gguf", "IQ4_XS"],
    ["Meta-Llama-3-70B.gguf", undefined],
    ["model.gguf", undefined],
  ])("%s is %s", (file, quantization) => {
    expect(quantizationOfName(file)).toBe(quantization);
  });
});

describe("a shape from metadata", () => {
  it("whose rows do not divide into blocks of 256 falls back as llama.cpp does", () => {
    const metadata = {
      "general.architecture": "llama",
      "llama.block_count": 2,
      "llama.embedding_length": 288,
      "llama.attention.head_count": 9,
      "llama.feed_forward_length": 768,
      "llama.context_length": 512,
      "llama.vocab_size": 512,
    };
    const spec = specFromMetadata(metadata);
    expect(quantizationTotalBytes(spec, "Q4_K_M")).toBeGreaterThan(quantizationTotalBytes(spec, "Q4_0"));
  });
});
