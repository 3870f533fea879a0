/** The planner's numbers and verdict for each claim. Nothing here is typed by hand but the questions asked. */
import { formatBytes, formatTokens, GB, GIB } from "../src/core/units.ts";
import { answerQuery, type FitsAnswer } from "../src/fit/answer.ts";
import { planFramework } from "../src/fit/answer-frameworks.ts";
import { type PlannedFit, planWithFigures } from "../src/fit/answer-plan.ts";
import { formatPercent, formatRate } from "../src/fit/answer-sentences.ts";
import { findCatalogueModel, specFromCatalogue } from "../src/fit/catalogue.ts";
import { estimateFrameworkSpeed } from "../src/fit/framework-speed.ts";
import { estimateFrameworkMemory } from "../src/fit/frameworks.ts";
import { launchRecipes } from "../src/fit/launch.ts";
import { specFromParameterCount } from "../src/fit/model.ts";
import { estimateQuality } from "../src/fit/quality.ts";
import { quantizationTotalBytes } from "../src/fit/quantization-bytes.ts";
import { quantizationTypes } from "../src/fit/quantization-mixes.ts";
import { parseQuery } from "../src/fit/query.ts";
import { FRAMEWORK_NAMES } from "../src/fit/query-echo.ts";
import { findTerm } from "../src/fit/query-terms.ts";
import { deviceRates } from "../src/fit/speed-constants.ts";
import type { FitPlan, FitRefusal, Hardware, ModelSpec, Wish } from "../src/fit/types.ts";

export type ClaimVerdict = "holds" | "holds with conditions" | "does not hold";

export interface Evidence {
  verdict: ClaimVerdict;
  /** The planner's numbers, one sentence or two. */
  numbers: string;
  /** Why the verdict is what it is. */
  reason: string;
}

function model(name: string): ModelSpec {
  const found = findCatalogueModel(name);
  if (found === undefined) throw new Error(`The catalogue has no ${name}.`);
  return specFromCatalogue(found.model);
}

function machine(text: string): Hardware {
  return parseQuery(text).hardware!;
}

function ask(text: string): FitsAnswer {
  return answerQuery(parseQuery(text));
}

function plan(spec: ModelSpec, hardware: Hardware, wish: Wish = {}): PlannedFit | FitRefusal {
  return planWithFigures(spec, hardware, wish);
}

function isFull(planned: PlannedFit | FitRefusal): planned is PlannedFit {
  return planned.kind === "plan" && planned.offload === "full";
}

function rate(planned: PlannedFit): string {
  return `${formatRate(planned.speed.decodeTokensPerSecond)} tokens/s`;
}

/** Decimal gigabytes, as articles count. */
function gb(bytes: number): string {
  return `${(bytes / GB).toFixed(1)} GB`;
}

function gpuBytes(planned: FitPlan): number {
  return planned.devices.reduce((sum, { kind, totalBytes }) => sum + (kind === "gpu" ? totalBytes : 0), 0);
}

function bits(spec: ModelSpec, quantization: string): number {
  return (quantizationTotalBytes(spec, quantization) * 8) / spec.parameterCount;
}

const LAPTOP = "3060 laptop + 16gb ram";

function a1(): Evidence {
  const spec = specFromParameterCount(1e9);
  const single = quantizationTotalBytes(spec, "F32");
  const half = quantizationTotalBytes(spec, "F16");
  const close = Math.abs(single / spec.parameterCount - 4) < 0.05 && Math.abs(half / spec.parameterCount - 2) < 0.05;
  const perBillion = (bytes: number): string =>
    `${gb((bytes * 1e9) / spec.parameterCount)} (${((bytes * 1e9) / spec.parameterCount / GIB).toFixed(2)} GiB)`;
  return {
    verdict: close ? "holds" : "does not hold",
    numbers: `Per billion parameters: FP32 ${perBillion(single)}, FP16 ${perBillion(half)}.`,
    reason:
      "Bytes are parameters times bits divided by 8; a GB is 10^9 bytes, while cards and tools count GiB, 7 % more.",
  };
}

const QWEN25 = ["0.5B", "1.5B", "3B", "7B", "14B", "32B", "72B"];

function a2(): Evidence {
  const hardware = machine(LAPTOP);
  const largest = (quantization: string): string => {
    const whole = QWEN25.filter((size) => isFull(plan(model(`Qwen2.5 ${size}`), hardware, { quantization })));
    return whole.at(-1) ?? "none";
  };
  const three = plan(model("Qwen2.5 3B"), hardware, { quantization: "F16" });
  const better = plan(model("Qwen2.5 7B"), hardware);
  const today = ask(LAPTOP).models[0]!;
  return {
    verdict: isFull(better) ? "holds with conditions" : "holds",
    numbers: `Largest Qwen2.5 that lies on the card whole: ${largest("F32")} in FP32, ${largest("F16")} in FP16, ${largest("Q8_0")} in 8 bits, ${largest("Q4_K_M")} in 4 bits. 3B in FP16: ${three.kind === "plan" ? `${three.offload} offload, ${rate(three)}` : "does not fit"}.`,
    reason: `${isFull(better) ? `7B at ${better.model.quantization} fits whole at ${rate(better)}` : "7B does not fit whole"}, and of today's models ${today.model} at ${today.plan.model.quantization} does at ${rate(today.plan)}: 3B was the start for FP16, not for the card.`,
  };
}

function a3(): Evidence {
  const hardware = machine(LAPTOP);
  const spec = model("Qwen2.5 3B");
  const single = plan(spec, hardware, { quantization: "F32", contextLength: 2048 });
  const half = plan(spec, hardware, { quantization: "F16", contextLength: 2048 });
  if (single.kind !== "plan" || half.kind !== "plan")
    throw new Error("A 3B model runs on this laptop in any precision.");
  const ratio = half.speed.decodeTokensPerSecond / single.speed.decodeTokensPerSecond;
  const weights = quantizationTotalBytes(spec, "F32");
  return {
    verdict: ratio > 2.2 ? "holds with conditions" : "does not hold",
    numbers: `FP32 weights take ${formatBytes(weights)} of a 6 GiB card: ${single.settings.gpuLayers} of ${spec.layers.length + 1} layers fit, ${rate(single)}; FP16: ${half.settings.gpuLayers} layers, ${rate(half)}: ${ratio.toFixed(1)} times.`,
    reason:
      "Twice the bytes explain a factor of 2; the rest is spill to main memory, not arithmetic. On a card that holds both, FP16 is about twice as fast.",
  };
}

function a4(): Evidence {
  const planned = plan(model("Qwen2.5 3B"), machine(LAPTOP), { quantization: "Q8_0", contextLength: 8192 });
  if (planned.kind !== "plan") throw new Error("A 3B model at 8 bits fits.");
  const [gpu] = planned.devices;
  const besides = gpu!.totalBytes - gpu!.weightBytes;
  return {
    verdict: "holds",
    numbers: `Qwen2.5 3B Q8_0 with 8k context: weights ${formatBytes(gpu!.weightBytes)}, KV cache ${formatBytes(gpu!.kvCacheBytes)}, compute buffers ${formatBytes(gpu!.computeBufferBytes)}, runtime ${formatBytes(gpu!.runtimeBytes)}; ${formatBytes(gpu!.freeBytesAfter)} left free.`,
    reason: `${Math.round((100 * besides) / gpu!.totalBytes)} % of what it takes is not weights, and a plan keeps a reserve besides.`,
  };
}

function a5(): Evidence {
  const { perplexityIncreasePercent: loss } = estimateQuality(model("Llama 3.1 8B"), "Q4_K_M");
  return {
    verdict: "holds",
    numbers: `PTQ at 4 bits (Q4_K_M, 8B) costs ${formatPercent(loss ?? 0)} % of perplexity.`,
    reason: `${findTerm("ptq")!.line.en} ${findTerm("qat")!.line.en}`,
  };
}

function b1(): Evidence {
  const spec = model("Llama 3.1 8B");
  const names = ["int8", "nf4", "nf4-double", "gptq-int4", "awq", "Q4_K_M", "Q8_0"];
  const shown = names.map((name) => `${name} ${bits(spec, name).toFixed(2)}`);
  const int8 = bits(spec, "int8") / 16;
  const nf4 = bits(spec, "nf4-double") / 16;
  return {
    verdict: Math.abs(int8 - 0.5) < 0.1 && Math.abs(nf4 - 0.25) < 0.05 ? "holds" : "holds with conditions",
    numbers: `Bits per weight of a whole Llama 3.1 8B: ${shown.join(", ")}. INT8 is ${Math.round(int8 * 100)} % and NF4 ${Math.round(nf4 * 100)} % of FP16.`,
    reason:
      "Scales come on top of the weights, and embedding and output matrix stay at 16 bits; the larger the model, the smaller their share.",
  };
}

function b2(): Evidence {
  const spec = specFromParameterCount(10e9);
  const rows = [
    { format: "fp16", card: "24gb" },
    { format: "int8", card: "16gb" },
    { format: "nf4", card: "8gb" },
  ].map(({ format, card }) => {
    const planned = planFramework(spec, machine(card), { quantization: format, contextLength: 4096 }, "transformers");
    const shown = planned.kind === "plan" ? planned : planned.nearest!;
    return {
      fits: planned.kind === "plan",
      text: `${format}: weights ${gb(quantizationTotalBytes(spec, format))}, ${formatBytes(gpuBytes(shown))} in all on a card of ${card.replace("gb", " GB")} (${planned.kind === "plan" ? "fits" : "does not fit"})`,
    };
  });
  const gguf = plan(spec, machine("8gb"), { quantization: "Q4_K_M" });
  return {
    verdict: rows.every(({ fits }) => fits) ? "holds" : "holds with conditions",
    numbers: `In Transformers with 4k context: ${rows.map(({ text }) => text).join("; ")}.`,
    reason: `The figures are weights alone; embeddings stay at 16 bits, and cache, activations and the CUDA context come on top. On 8 GB a GGUF at Q4_K_M ${isFull(gguf) ? `fits whole (${formatBytes(gpuBytes(gguf))}, ${rate(gguf)})` : "does not fit whole either"}.`,
  };
}

function b3(): Evidence {
  const hardware = machine("24gb");
  const spec = model("Qwen3 8B");
  const planned = plan(spec, hardware, { quantization: "Q8_0" });
  if (planned.kind !== "plan") throw new Error("8B at 8 bits fits on 24 GB.");
  const recipes = launchRecipes({ plan: planned, model: spec, hardware, files: {} });
  return {
    verdict: "holds",
    numbers: `One plan is written for ${recipes.map(({ framework }) => FRAMEWORK_NAMES[framework]).join(", ")}.`,
    reason:
      "8 bits are Q8_0 in llama.cpp and Ollama, load_in_8bit in Transformers, --quantization fp8 in vLLM, --qformat int8_wo in TensorRT-LLM; each answer ends with the settings to copy.",
  };
}

function b4(): Evidence {
  const spec = model("Llama 3.1 8B");
  const types = quantizationTypes(spec, "Q4_K_M");
  const counts = new Map<string, number>();
  spec.tensors.forEach(({ dims }, index) => {
    const elements = dims.reduce((product, one) => product * one, 1);
    const type = types[index]!;
    counts.set(type, (counts.get(type) ?? 0) + elements);
  });
  const shares = [...counts]
    .sort((a, b) => b[1] - a[1])
    .map(([type, elements]) => `${type} ${((100 * elements) / spec.parameterCount).toFixed(type === "F32" ? 2 : 0)} %`);
  const output = spec.tensors.findIndex(({ name }) => name === "output.weight");
  return {
    verdict: "holds",
    numbers: `Q4_K_M of Llama 3.1 8B, share of weights by type: ${shares.join(", ")}; the output matrix is ${types[output]}.`,
    reason:
      "A mix keeps what loses most at more bits: output matrix, half of the value and down projections; norms stay in 32 bits. Arithmetic runs in 16 or 32 bits either way.",
  };
}

function b5(): Evidence {
  const spec = specFromParameterCount(13e9);
  const hardware = machine("8gb");
  const nf4 = planFramework(spec, hardware, { quantization: "nf4", contextLength: 2048 }, "transformers");
  const gguf = plan(spec, hardware, { quantization: "Q4_K_M" });
  const gqa = plan(model("Qwen3 14B"), hardware, { quantization: "Q4_K_M" });
  return {
    verdict: nf4.kind === "plan" ? "holds" : "does not hold",
    numbers: `13B in NF4 with 2k context needs ${formatBytes(gpuBytes(nf4.kind === "plan" ? nf4 : nf4.nearest!))}. As GGUF at Q4_K_M ${gguf.kind === "plan" ? `${gguf.settings.gpuLayers} of ${spec.layers.length + 1} layers fit: ${rate(gguf)}` : "it does not fit"}; Qwen3 14B: ${gqa.kind === "plan" ? `${gqa.settings.gpuLayers} of 41 layers, ${rate(gqa)}` : "does not fit"}.`,
    reason:
      "4 bits of 13 billion weights leave no room for cache and runtime on 8 GB; with layers in main memory it runs, slowly.",
  };
}

function c1(): Evidence {
  const hardware = machine("2060 + 32gb ram");
  const spec = specFromParameterCount(13e9);
  const planned = plan(spec, hardware, { quantization: "Q8_0", contextLength: 2048, reserveBytes: 500 * 1024 * 1024 });
  const better = plan(spec, hardware, { quantization: "Q4_K_M", contextLength: 2048 });
  const other = ask("2060 + 32gb ram").models[0]!;
  if (planned.kind !== "plan" || better.kind !== "plan") throw new Error("13B runs with layers in main memory.");
  return {
    verdict: "holds with conditions",
    numbers: `13B at 8 bits is ${formatBytes(quantizationTotalBytes(spec, "Q8_0"))}: ${planned.settings.gpuLayers} of ${spec.layers.length + 1} layers on the GPU, ${rate(planned)}; at Q4_K_M ${better.settings.gpuLayers} layers, ${rate(better)}.`,
    reason: `It runs, at the pace of main memory; ${other.model} at ${other.plan.model.quantization} answers at ${rate(other.plan)} on the same card.`,
  };
}

function c2(): Evidence {
  const spec = model("Qwen3 8B");
  const counts = ["8gb", "12gb", "16gb", "24gb"].map((card) => {
    const planned = plan(spec, machine(card), {
      quantization: "Q4_K_M",
      contextLength: 4096,
      kvCacheTypeK: "F16",
      kvCacheTypeV: "F16",
      sequenceCount: 32,
      sequenceCountMin: 1,
    });
    return `${card.replace("gb", " GB")}: ${planned.kind === "plan" ? planned.settings.sequenceCount : 0}`;
  });
  return {
    verdict: "holds",
    numbers: `Parallel conversations of 4k tokens with Qwen3 8B Q4_K_M, by card: ${counts.join(", ")}.`,
    reason:
      "The planner gives up slots first when memory is short, and maps the file so that layers in main memory load as they are read.",
  };
}

function c3(): Evidence {
  const hardware = machine("3090");
  const spec = model("Qwen2.5 7B");
  const half = plan(spec, hardware, { quantization: "F16" });
  const four = plan(spec, hardware, { quantization: "Q4_K_M" });
  if (half.kind !== "plan" || four.kind !== "plan") throw new Error("7B fits on 24 GB.");
  const python = (quantization: string) =>
    estimateFrameworkSpeed({ model: spec, framework: "transformers", quantization, hardware, promptTokens: 512 })
      .decodeTokensPerSecond;
  const gain = four.speed.decodeTokensPerSecond / half.speed.decodeTokensPerSecond;
  const int8 = python("int8") / python("bf16");
  return {
    verdict: gain > 1 && int8 < 1 ? "holds with conditions" : "does not hold",
    numbers: `Qwen2.5 7B on an RTX 3090: llama.cpp F16 ${rate(half)}, Q4_K_M ${rate(four)} (${gain.toFixed(1)} times); Transformers int8 at ${Math.round(int8 * 100)} % of bf16's speed.`,
    reason:
      "Generation is bound by the bytes read, so fewer bits are faster; only kernels that unpack through Python, such as bitsandbytes int8, cost time.",
  };
}

function c4(): Evidence {
  const text = "8gb + 32gb ram";
  const { alternatives, plan: own } = ask(`qwen3-30b-a3b ${text}`);
  const experts = alternatives.find(({ kind }) => kind === "experts")?.plan ?? own!;
  const dense = plan(model("Qwen3 32B"), machine(text));
  if (dense.kind !== "plan") throw new Error("32B runs with layers in main memory.");
  return {
    verdict:
      experts.speed.decodeTokensPerSecond > 3 * dense.speed.decodeTokensPerSecond
        ? "does not hold"
        : "holds with conditions",
    numbers: `On 8 GB with 32 GB RAM: Qwen3 30B A3B ${rate(experts)} with the experts of ${experts.settings.hostExpertLayers} layers in main memory; the dense Qwen3 32B ${rate(dense)}.`,
    reason:
      "Only the active experts are read for a token, so a mixture of experts is what a small card with much main memory runs best.",
  };
}

function d1(): Evidence {
  const spec = specFromParameterCount(13e9);
  const sizes = [7, 14].map((billions) =>
    isFull(plan(specFromParameterCount(billions * 1e9), machine("16gb"), { quantization: "Q4_K_M" })),
  );
  const cards = ["4060 ti 16gb", "4080"].map((card) => {
    const hardware = machine(card);
    const times = [64, 256, 1024].map((promptTokens) => {
      const planned = planWithFigures(spec, hardware, { quantization: "Q4_K_M" }, { promptTokens });
      return {
        promptTokens,
        ms: planned.kind === "plan" ? planned.speed.timeToFirstTokenMs : Number.POSITIVE_INFINITY,
      };
    });
    return {
      text: `${hardware.name}: ${times.map(({ promptTokens, ms }) => `${Math.round(ms)} ms for ${formatTokens(promptTokens)}`).join(", ")}`,
      times,
    };
  });
  const short = cards.every(({ times }) => times[0]!.ms < 300);
  const long = cards.every(({ times }) => times.at(-1)!.ms < 300);
  return {
    verdict: !sizes.every(Boolean) || !short ? "does not hold" : long ? "holds" : "holds with conditions",
    numbers: `First token of 13B at Q4_K_M after a prompt of so many tokens: ${cards.map(({ text }) => text).join("; ")}.`,
    reason:
      "The time to the first token grows with the prompt; 300 ms is a short prompt on a fast card, and no card's time without naming its prompt.",
  };
}

function d2(): Evidence {
  const spec = specFromParameterCount(32e9);
  const hardware = machine("2x16gb");
  const half = plan(spec, hardware, { quantization: "F16" });
  const rows = ["Q8_0", "Q4_K_M"].map((quantization) => {
    const planned = plan(spec, hardware, { quantization });
    if (planned.kind !== "plan") return `${quantization} does not fit`;
    const split = planned.devices.filter(({ kind }) => kind === "gpu").map(({ totalBytes }) => formatBytes(totalBytes));
    return `${quantization}: ${planned.offload} offload, ${split.join(" + ")}, ${rate(planned)}`;
  });
  return {
    verdict: isFull(half) ? "holds" : "does not hold",
    numbers: `FP16 weights of 32B are ${formatBytes(quantizationTotalBytes(spec, "F16"))}. On two 16 GB cards: ${rows.join("; ")}.`,
    reason:
      "The two statements contradict each other: what needs 64 GB does not lie in 32. What runs in real time on such a pair is 4 to 6 bits.",
  };
}

function d3(): Evidence {
  const spec = specFromParameterCount(32e9);
  const [gpu] = machine("2x16gb").gpus;
  const { bandwidth } = deviceRates(gpu!);
  const half = quantizationTotalBytes(spec, "F16");
  const names = ["F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K"];
  const nearest = (bytes: number): string =>
    names.reduce((best, name) =>
      Math.abs(quantizationTotalBytes(spec, name) - bytes) < Math.abs(quantizationTotalBytes(spec, best) - bytes)
        ? name
        : best,
    );
  const tensorParallel = (2 * bandwidth) / half;
  return {
    verdict: "does not hold",
    numbers: `28 GB is ${((28 * GB * 8) / spec.parameterCount).toFixed(1)} bits per weight (nearest: ${nearest(28 * GB)}), 14 GB is ${((14 * GB * 8) / spec.parameterCount).toFixed(1)} (nearest: ${nearest(14 * GB)}). 18 tokens/s in FP16 would read ${Math.round((18 * half) / GB)} GB/s; two cards of ${Math.round(bandwidth / 1e9)} GB/s allow ${formatRate(tensorParallel)} at best.`,
    reason:
      "Neither memory figure is the precision it is printed beside: the pair measured 6-bit and 3-bit weights, or not this model.",
  };
}

function d4(): Evidence {
  const { machines } = ask("70b");
  const offloaded = plan(specFromParameterCount(70e9), machine("4090 + 64gb ram"));
  return {
    verdict: machines.length > 0 ? "does not hold" : "holds",
    numbers: `70B at Q4_K_M in one machine: ${machines.map(({ label, plan: planned }) => `${label} ${rate(planned)}`).join("; ")}; RTX 4090 with 64 GB RAM ${offloaded.kind === "plan" ? rate(offloaded) : "does not fit"}.`,
    reason:
      "Two 24 GB cards hold it. Beyond what one machine holds, vLLM on Ray or llama.cpp over RPC stands behind one engine address.",
  };
}

function d5(): Evidence {
  const spec = model("Qwen3 8B");
  const [slow, fast] = ["3060 12gb", "4090"].map((card) => {
    const hardware = machine(card);
    const planned = plan(spec, hardware, { quantization: "Q4_K_M" });
    if (planned.kind !== "plan") throw new Error("8B fits.");
    return { planned, rates: deviceRates(hardware.gpus[0]!) };
  });
  const ratio = (pick: (one: NonNullable<typeof slow>) => number): string => (pick(fast!) / pick(slow!)).toFixed(1);
  const bottleneck = slow!.planned.speed.bottleneck;
  return {
    verdict: bottleneck === "memory bandwidth" ? "holds" : "holds with conditions",
    numbers: `Qwen3 8B Q4_K_M, RTX 4090 against RTX 3060: bandwidth ${ratio(({ rates }) => rates.bandwidth)} times, generation ${ratio(({ planned }) => planned.speed.decodeTokensPerSecond)} times; matrix rate ${ratio(({ rates }) => rates.int8Ops)} times, prompts ${ratio(({ planned }) => planned.speed.prefillTokensPerSecond)} times.`,
    reason: `Each answer names what binds it: here ${bottleneck}.`,
  };
}

function d6(): Evidence {
  return {
    verdict: "holds with conditions",
    numbers: "`snug doctor` judges both where the driver's tool tells them.",
    reason: findTerm("resizable bar")!.line.en,
  };
}

function d7(): Evidence {
  const text = "qwen3 8b q4_k_m 8gb";
  const length = (cache: string): number => {
    for (let context = 131_072; context >= 2048; context -= 2048) {
      if (
        isFull(
          plan(model("Qwen3 8B"), machine("8gb"), {
            quantization: "Q4_K_M",
            contextLength: context,
            kvCacheTypeK: cache === "f16" ? "F16" : "Q8_0",
            kvCacheTypeV: cache === "f16" ? "F16" : "Q8_0",
          }),
        )
      )
        return context;
    }
    return 0;
  };
  const half = length("f16");
  const eight = length("q8_0");
  return {
    verdict: "holds",
    numbers: `Longest context of ${text.replace(" 8gb", "")} whole on 8 GB: ${formatTokens(half)} with the cache at 16 bits, ${formatTokens(eight)} at 8.`,
    reason:
      "Sampling and length are request parameters; queue, restarts, usage and memory are the engine's and the API's own work.",
  };
}

function e1(): Evidence {
  const spec = model("Qwen 7B");
  const question = {
    model: spec,
    framework: "transformers",
    promptTokens: 1,
    generatedTokens: 2048,
    version: "2023",
  } as const;
  const int4 = estimateFrameworkMemory({ ...question, quantization: "gptq-int4" });
  const error = int4.allocatedBytes / GIB / 8.2 - 1;
  return {
    verdict: Math.abs(error) < 0.08 ? "holds" : "holds with conditions",
    numbers: `FP32 weights ${gb(quantizationTotalBytes(spec, "fp32"))}. int4 after 2048 tokens: weights ${formatBytes(int4.weightBytes)} + cache ${formatBytes(int4.kvCacheBytes)} + the rest ${formatBytes(int4.activationBytes + int4.workspaceBytes)} = ${formatBytes(int4.allocatedBytes)}, ${error >= 0 ? "+" : ""}${(error * 100).toFixed(0)} % against 8.2 GiB.`,
    reason:
      "int4 weights are not 3.5 GB: embedding and output matrix stay at 16 bits, and the cache of a model without grouped heads is large.",
  };
}

function e2(): Evidence {
  const spec = model("Qwen 7B");
  const share = quantizationTotalBytes(spec, "gptq-int4") / quantizationTotalBytes(spec, "fp32");
  const inner = 4.25 / 32;
  return {
    verdict: "holds with conditions",
    numbers: `Qwen-7B as GPTQ int4 is ${(share * 100).toFixed(0)} % of FP32, 1/${(1 / share).toFixed(1)}; a quantized matrix alone is ${(inner * 100).toFixed(1)} %.`,
    reason:
      "Scales and zero points add a quarter bit, and embedding and output matrix are not quantized; small models with large vocabularies gain least.",
  };
}

export const EVIDENCE: Readonly<Record<string, () => Evidence>> = {
  A1: a1,
  A2: a2,
  A3: a3,
  A4: a4,
  A5: a5,
  B1: b1,
  B2: b2,
  B3: b3,
  B4: b4,
  B5: b5,
  C1: c1,
  C2: c2,
  C3: c3,
  C4: c4,
  D1: d1,
  D2: d2,
  D3: d3,
  D4: d4,
  D5: d5,
  D6: d6,
  D7: d7,
  E1: e1,
  E2: e2,
};
