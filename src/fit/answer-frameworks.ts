/**
 * Plans for Transformers and vLLM: one format, everything on the GPUs. Their memory is estimated as a whole
 * (frameworks.ts) and spread evenly, as tensor parallelism and `device_map="auto"` do nearly enough.
 */
import { formatBytes } from "../core/units.ts";
import type { PlannedFit, PlanQuestion } from "./answer-plan.ts";
import { estimateFrameworkSpeed } from "./framework-speed.ts";
import { estimateFrameworkMemory, type FrameworkMemory, type PythonFramework, readFormat } from "./frameworks.ts";
import { fitProbabilityMin, gpuFreeMemory, roomProbability, usableBytes } from "./free-memory.ts";
import { tensorParallelSize } from "./launch-python.ts";
import { contextLengthDefault, contextLengthMinDefault } from "./plan-settings.ts";
import { estimateQuality } from "./quality.ts";
import { isFormatName } from "./quantization-formats.ts";
import type { Framework } from "./query-types.ts";
import { promptTokensDefault } from "./speed.ts";
import type { DeviceBreakdown, FitRefusal, Hardware, ModelSpec, RuntimeSettings, Wish } from "./types.ts";

/** The library whose estimate stands for a framework; undefined for those that read GGUF. */
export function pythonFrameworkOf(framework: Framework | undefined): PythonFramework | undefined {
  if (framework === "transformers") return "transformers";
  return framework === "vllm" || framework === "tensorrt-llm" ? "vllm" : undefined;
}

/** Formats tried when none is asked for, best first. */
const FORMATS: Record<PythonFramework, readonly string[]> = {
  transformers: ["bf16", "int8", "nf4"],
  vllm: ["bf16", "fp8", "awq"],
};

/** Generated tokens a context has room for beside its prompt. */
const generatedTokens = 512;

/** One framework, one format. Throws AppError invalid_request for a format that is none of its own. */
export function planFramework(
  model: ModelSpec,
  hardware: Hardware,
  wish: Wish,
  framework: PythonFramework,
  question: PlanQuestion = {},
): PlannedFit | FitRefusal {
  const names = wish.quantization === undefined ? FORMATS[framework] : [wish.quantization];
  let refusal: FitRefusal | undefined;
  for (const quantization of names) {
    for (const contextLength of contextsOf(model, wish)) {
      const planned = planFormat(
        model,
        hardware,
        { ...wish, contextLength },
        framework,
        readFormat(quantization),
        question,
      );
      if (planned.kind === "plan") return planned;
      refusal ??= planned;
    }
  }
  return refusal!;
}

/** True for a name only these frameworks load. */
export function isPythonFormat(quantization: string | undefined): boolean {
  return (
    quantization !== undefined &&
    isFormatName(quantization.toLowerCase()) &&
    quantization === quantization.toLowerCase()
  );
}

/** The context asked for; left open, the default and then half of it. */
function contextsOf(model: ModelSpec, wish: Wish): number[] {
  if (wish.contextLength !== undefined) return [wish.contextLength];
  const most = Math.min(contextLengthDefault, model.contextLengthTrained);
  const least = Math.min(wish.contextLengthMin ?? contextLengthMinDefault, most);
  return most > least ? [most, least] : [most];
}

function planFormat(
  model: ModelSpec,
  hardware: Hardware,
  wish: Wish & { contextLength: number },
  framework: PythonFramework,
  quantization: string,
  question: PlanQuestion,
): PlannedFit | FitRefusal {
  const { contextLength } = wish;
  const sequenceCount = wish.sequenceCount ?? 1;
  const gpuCount = Math.max(1, hardware.gpus.length);
  const generated = Math.min(question.generatedTokens ?? generatedTokens, contextLength);
  const version = question.frameworkVersion !== undefined && { version: question.frameworkVersion };
  const memory = estimateFrameworkMemory({
    model,
    framework,
    quantization,
    promptTokens: Math.max(1, contextLength - generated),
    generatedTokens: generated,
    sequenceCount,
    gpuCount,
    ...version,
  });
  const settings = settingsOf(model, wish, contextLength, sequenceCount, quantization, gpuCount);
  const plan: PlannedFit = {
    kind: "plan",
    framework,
    model: { name: model.name, quantization, parameterCount: model.parameterCount, provenance: model.provenance },
    fits: false,
    probability: 0,
    offload: "full",
    settings,
    devices: devicesOf(memory, hardware, settings, gpuCount),
    steps: [],
    assumptions: [
      ...model.assumptions,
      ...backendDoubts(hardware, framework),
      ...parallelDoubts(model, gpuCount, framework),
    ],
    speed: estimateFrameworkSpeed({
      model,
      framework,
      quantization,
      hardware,
      // Cards that stand one behind the other take turns.
      gpuCount: framework === "vllm" ? tensorParallelSize(gpuCount, model) : gpuCount,
      sequenceCount: 1,
      promptTokens: question.promptTokens ?? promptTokensDefault,
      ...(question.generatedTokens !== undefined && { generatedTokens: question.generatedTokens }),
      ...version,
    }),
    quality: estimateQuality(model, quantization),
  };
  const room = roomOf(plan.devices, hardware, wish);
  plan.probability = room.probability;
  plan.fits = room.shortfallBytes <= 0;
  return plan.fits ? plan : refusalOf(model, hardware, plan, room.shortfallBytes);
}

/** Both libraries are at home on NVIDIA cards. */
function backendDoubts(hardware: Hardware, framework: PythonFramework): string[] {
  if (hardware.backend === "cuda") return [];
  const name = framework === "vllm" ? "vLLM" : "Transformers with bitsandbytes";
  return [`${name} is made for NVIDIA cards; on others check first that it runs at all.`];
}

/** Tensor parallelism needs the heads to divide evenly. */
function parallelDoubts(model: ModelSpec, gpuCount: number, framework: PythonFramework): string[] {
  if (framework !== "vllm") return [];
  const together = tensorParallelSize(gpuCount, model);
  if (together === gpuCount) return [];
  const groups = gpuCount / together;
  return [
    `${gpuCount} GPUs do not share this model's attention heads evenly: vLLM would run ${groups} groups of ${together} one behind the other, which holds more but is no faster.`,
  ];
}

function settingsOf(
  model: ModelSpec,
  wish: Wish,
  contextLength: number,
  sequenceCount: number,
  quantization: string,
  gpuCount: number,
): RuntimeSettings {
  const layers = model.layers.length + 1;
  const split = Array.from(
    { length: gpuCount },
    (_, index) => Math.floor(layers / gpuCount) + (index < layers % gpuCount ? 1 : 0),
  );
  return {
    // These libraries have no llama.cpp build; the field keeps its default.
    buildFamily: wish.buildFamily ?? "node-llama-cpp",
    quantization,
    contextLength,
    sequenceCount,
    batchSize: contextLength,
    microBatchSize: contextLength,
    flashAttention: true,
    kvCacheTypeK: "F16",
    kvCacheTypeV: "F16",
    gpuLayers: layers,
    hostExpertLayers: 0,
    gpuLayerSplit: split,
  };
}

function devicesOf(
  memory: FrameworkMemory,
  hardware: Hardware,
  settings: RuntimeSettings,
  gpuCount: number,
): DeviceBreakdown[] {
  const share = (bytes: number): number => Math.ceil(bytes / gpuCount);
  return hardware.gpus.map((gpu, index) => {
    const parts = {
      weightBytes: share(memory.weightBytes),
      kvCacheBytes: share(memory.kvCacheBytes),
      recurrentStateBytes: 0,
      computeBufferBytes: share(memory.activationBytes),
      outputBufferBytes: 0,
      runtimeBytes: share(memory.workspaceBytes + memory.runtimeBytes),
    };
    const totalBytes = parts.weightBytes + parts.kvCacheBytes + parts.computeBufferBytes + parts.runtimeBytes;
    const freeBytesBefore = gpuFreeMemory(gpu, hardware).bytes;
    const device: DeviceBreakdown = {
      id: gpu.id,
      kind: "gpu",
      layers: settings.gpuLayerSplit[index] ?? 0,
      ...parts,
      totalBytes,
      freeBytesBefore,
      freeBytesAfter: freeBytesBefore - totalBytes,
    };
    return gpu.name === undefined ? device : { ...device, name: gpu.name };
  });
}

function roomOf(
  devices: readonly DeviceBreakdown[],
  hardware: Hardware,
  wish: Wish,
): { probability: number; shortfallBytes: number } {
  const reserve = wish.reserveBytes ?? 0;
  if (devices.length === 0) return { probability: 0, shortfallBytes: Number.POSITIVE_INFINITY };
  let probability = 1;
  let shortfallBytes = Number.NEGATIVE_INFINITY;
  devices.forEach(({ totalBytes }, index) => {
    const free = gpuFreeMemory(hardware.gpus[index]!, hardware);
    probability = Math.min(probability, roomProbability(free, totalBytes + reserve));
    shortfallBytes = Math.max(
      shortfallBytes,
      totalBytes - Math.min(usableBytes(free) - reserve, wish.vramBytesMax ?? Number.POSITIVE_INFINITY),
    );
  });
  return {
    probability,
    shortfallBytes: probability >= fitProbabilityMin ? Math.min(0, shortfallBytes) : Math.max(1, shortfallBytes),
  };
}

function refusalOf(model: ModelSpec, hardware: Hardware, plan: PlannedFit, shortfallBytes: number): FitRefusal {
  const total = plan.devices.reduce((sum, { totalBytes }) => sum + totalBytes, 0);
  const name = hardware.name ?? "this machine";
  const missing = Number.isFinite(shortfallBytes) ? shortfallBytes : total;
  return {
    kind: "refusal",
    model: plan.model,
    reason:
      hardware.gpus.length === 0
        ? `${model.name} at ${plan.model.quantization} needs a GPU here; ${name} has none.`
        : `${model.name} at ${plan.model.quantization} needs ${formatBytes(total)} of GPU memory; ${name} is ${formatBytes(missing)} short.`,
    shortfallBytes: missing,
    // Without a GPU nothing is near.
    ...(hardware.gpus.length > 0 && { nearest: plan }),
    assumptions: plan.assumptions,
  };
}
