/** Opening llama.cpp, loading a file and making its context: the part of node-llama-cpp that fails for many reasons. */
import {
  getLlama,
  InsufficientMemoryError,
  type Llama,
  type LlamaContext,
  LlamaLogLevel,
  type LlamaModel,
  NoBinaryFoundError,
} from "node-llama-cpp";
import { AppError } from "../core/errors.ts";
import { usefulThreads } from "../fit/host-threads.ts";
import type { Backend } from "../fit/types.ts";
import { readUsableCores } from "./cpu-quota.ts";
import { mayHaveGpu } from "./gpu-presence.ts";
import type { GpuChoice, LlamaDevices, LoadSettings, MeasuredMemory, MemoryBytes } from "./ipc.ts";
import type { LoadHooks } from "./model-runtime.ts";

export async function openLlama(gpu: GpuChoice, hooks: LoadHooks): Promise<Llama> {
  const options = {
    // Never compile: a missing binary must be an error at once, not minutes of compiler.
    build: "never",
    skipDownload: true,
    progressLogs: false,
    logLevel: LlamaLogLevel.warn,
    logger: (level: LlamaLogLevel, message: string) => hooks.log(toLogLevel(level), message.trimEnd()),
  } as const;
  const wanted = gpu === "auto" && !(await mayHaveGpu()) ? false : gpu;
  let llama = await getLlama({ ...options, gpu: wanted });
  if (!(await hasUsableDevice(llama))) {
    hooks.gpuUnusable(backendOf(llama));
    await llama.dispose();
    llama = await getLlama({ ...options, gpu: false });
  }
  return llama;
}

/** @returns threads it will use */
export async function limitThreads(llama: Llama, fileBytes: number, threadsMax?: number): Promise<number> {
  const threads = usefulThreads(Math.min(llama.cpuMathCores, await readUsableCores()), fileBytes, threadsMax);
  llama.maxThreads = threads;
  return threads;
}

/** A Vulkan loader with only a software driver reports itself as a GPU with no device and no memory. */
async function hasUsableDevice(llama: Llama): Promise<boolean> {
  if (llama.gpu === false) return true;
  const names = await llama.getGpuDeviceNames();
  return names.length > 0 && (await llama.getVramState()).total > 0;
}

export function backendOf(llama: Llama): Backend {
  return llama.gpu === false ? "cpu" : llama.gpu;
}

export async function loadModel(llama: Llama, settings: LoadSettings, contextLength: number): Promise<LlamaModel> {
  const { gpuLayers, sequenceCount } = settings;
  return await llama.loadModel({
    modelPath: settings.modelPath,
    gpuLayers: gpuLayers === "auto" ? { fitContext: { contextSize: contextLength * sequenceCount } } : gpuLayers,
    defaultContextFlashAttention: settings.flashAttention,
    experimentalDefaultContextKvCacheKeyType: settings.kvCacheTypeK,
    experimentalDefaultContextKvCacheValueType: settings.kvCacheTypeV,
    ...(settings.checkTensors === undefined ? {} : { checkTensors: settings.checkTensors }),
  });
}

export async function createContext(
  model: LlamaModel,
  settings: LoadSettings,
  { contextLength, threads }: { contextLength: number; threads: number },
): Promise<LlamaContext> {
  return await model.createContext({
    contextSize: contextLength,
    sequences: settings.sequenceCount,
    batchSize: settings.batchSize,
    threads,
    flashAttention: settings.flashAttention,
    // A smaller context than asked for would be a silent change of the plan.
    failedCreationRemedy: false,
  });
}

/** The library compares its own forecast with these before it allocates; what it really took is compared afterwards. */
export async function limitMemory(llama: Llama, { memoryLimit }: Pick<LoadSettings, "memoryLimit">): Promise<void> {
  if (memoryLimit?.gpuBytes !== undefined) await llama.setVramCap(memoryLimit.gpuBytes);
  if (memoryLimit?.hostBytes !== undefined) await llama.setRamCap(memoryLimit.hostBytes);
}

/**
 * Sizes of the buffers llama.cpp holds. The library keeps them on internal objects, so they are looked for, not relied
 * on: undefined when they moved.
 */
export async function measureMemory(
  llama: Llama,
  model: LlamaModel,
  context: object,
): Promise<MeasuredMemory | undefined> {
  const [ofModel, ofContext] = [readBreakdown(model, "_model"), readBreakdown(context, "_ctx")];
  if (ofModel === undefined || ofContext === undefined) return undefined;
  const vram = llama.gpu === false ? undefined : await llama.getVramState();
  return { model: ofModel, context: ofContext, ...(vram === undefined ? {} : { vramBytesFree: vram.free }) };
}

function readBreakdown(owner: object, key: string): MemoryBytes | undefined {
  const inner: unknown = Reflect.get(owner, key);
  if (typeof inner !== "object" || inner === null) return undefined;
  const read: unknown = Reflect.get(inner, "getMemoryBreakdown");
  if (typeof read !== "function") return undefined;
  const sizes: unknown = read.call(inner);
  if (typeof sizes !== "object" || sizes === null) return undefined;
  const [hostBytes, gpuBytes] = [Reflect.get(sizes, "cpuRam"), Reflect.get(sizes, "gpuVram")];
  return typeof hostBytes === "number" && typeof gpuBytes === "number" ? { hostBytes, gpuBytes } : undefined;
}

/** The devices llama.cpp finds, without a model. */
export async function probeDevices(gpu: GpuChoice, hooks: LoadHooks): Promise<LlamaDevices> {
  try {
    const llama = await openLlama(gpu, hooks);
    const vram = llama.gpu === false ? { total: 0, free: 0 } : await llama.getVramState();
    const devices: LlamaDevices = {
      backend: backendOf(llama),
      names: llama.gpu === false ? [] : await llama.getGpuDeviceNames(),
      vramBytesTotal: vram.total,
      vramBytesFree: vram.free,
      mathCores: llama.cpuMathCores,
    };
    await llama.dispose();
    return devices;
  } catch (thrown) {
    throw translateLoadError(thrown);
  }
}

function toLogLevel(level: LlamaLogLevel): "debug" | "info" | "warn" | "error" {
  if (level === LlamaLogLevel.fatal || level === LlamaLogLevel.error) return "error";
  if (level === LlamaLogLevel.warn) return "warn";
  return level === LlamaLogLevel.debug ? "debug" : "info";
}

/** @param complaint what llama.cpp logged, which says more than the library's "Failed to load model" */
export function translateLoadError(cause: unknown, complaint?: string): AppError {
  if (cause instanceof AppError) return cause;
  if (cause instanceof NoBinaryFoundError) {
    const message =
      "llama.cpp has no ready-made binary for this system; run `npm ci` again, or use an engine elsewhere.";
    return new AppError("invalid_configuration", message, { cause });
  }
  if (isMemoryError(cause)) {
    const message =
      "The model and its context need more memory than is free. Take a smaller quantization, a shorter context or fewer parallel answers.";
    return new AppError("engine_out_of_memory", message, { cause });
  }
  const words = complaint ?? (cause instanceof Error ? cause.message : String(cause));
  return new AppError("model_file_invalid", `llama.cpp could not load the model: ${words}. Try another file.`, {
    cause,
  });
}

export function isMemoryError(cause: unknown): boolean {
  if (cause instanceof InsufficientMemoryError) return true;
  return cause instanceof Error && /memory|failed to create context|failed to allocate/i.test(cause.message);
}
