/** From a file on disk and a reading of this machine to the settings the llama child loads with. */
import { AppError } from "../core/errors.ts";
import { vramReserveBytesDefault } from "../core/limits.ts";
import type { HardwareReading } from "../core/ports.ts";
import { formatBytes, MIB } from "../core/units.ts";
import { findGpu } from "../fit/gpus.ts";
import type { LearnedMachine } from "../fit/learned.ts";
import { gpuRuntimeBytes } from "../fit/memory.ts";
import { planFit } from "../fit/plan.ts";
import type { FitPlan, GpuDevice, Hardware, KvCacheType, ModelSpec, Wish } from "../fit/types.ts";
import { gpusUsed, hasOwnSplit, loaderBytesFree, planOnGpus } from "./gpu-plan.ts";
import { gpuEnvironment, gpuNamesOf } from "./gpu-selection.ts";
import type { EngineBackend, GpuChoice, LoadSettings, MemoryBytes } from "./ipc.ts";
import type { LadderStep } from "./ladder.ts";

/** A machine as read now, with what it has taught so far. */
export interface MachineReading extends HardwareReading {
  learned?: LearnedMachine;
}

/** What an administrator may fix; the planner chooses the rest. */
export interface LoadWish {
  contextLength?: number;
  sequenceCount?: number;
  batchSize?: number;
  gpu?: GpuChoice;
  gpuLayers?: number;
  /** Layers whose experts stay in main memory; llama-server only, the other backend cannot part them. */
  hostExpertLayers?: number;
  flashAttention?: boolean;
  kvCacheTypeK?: KvCacheType;
  kvCacheTypeV?: KvCacheType;
  threadsMax?: number;
  checkTensors?: boolean;
  /** Bytes of every GPU that stay free for others, on top of the planner's own margin. */
  reserveBytes?: number;
  /** Most bytes to take of every GPU. */
  vramLimitBytes?: number;
  /** Most bytes to take of main memory. */
  ramLimitBytes?: number;
}

export interface LoadPlan {
  plan: FitPlan;
  settings: Omit<LoadSettings, "modelPath">;
  /** The layers are parted as the library could not be told to. */
  hasOwnSplit: boolean;
  /** What the ladder must leave alone. */
  fixed: ReadonlySet<LadderStep["setting"]>;
}

/** Answers at once when nothing was asked for; the planner goes down to one when memory is short. */
const sequenceCountDefault = 4;

/** llama.cpp's own micro-batch. */
const serverBatchSize = 512;

/** Smaller devices the planner takes for mistakes; a reserve larger than the card leaves this. */
const deviceBytesMin = 16 * MIB;

/**
 * @throws AppError model_does_not_fit, naming what is missing and the nearest plan that has room
 */
export function planLoad(
  model: ModelSpec,
  reading: MachineReading,
  wish: LoadWish = {},
  backend: EngineBackend = "node-llama-cpp",
): LoadPlan {
  const { answer, machine, hardware } = planOn(model, reading, wish, { backend });
  let plan = answer.kind === "plan" ? answer : undefined;
  if (plan?.fits !== true) throw refusal(model, answer);
  const settings = settingsOf(plan, machine, wish, backend);
  if (backend === "node-llama-cpp" && model.slidingWindow > 0 && wish.batchSize === undefined) {
    // The binding adds 1 to the batch, and a window's cache is padded to 256 cells: 512 would cost a page more than 511.
    settings.batchSize -= 1;
    plan = priceLoad(model, hardware, settings);
  }
  const memoryLimit = limitOf(plan, wish);
  return {
    plan,
    settings: { ...settings, ...(memoryLimit === undefined ? {} : { memoryLimit }) },
    hasOwnSplit: hasOwnSplit(plan, hardware, gpuNamesOf(machine) !== undefined),
    fixed: fixedBy(wish),
  };
}

/**
 * The planner's answer for this machine. A card without any room left does not keep a model out of main memory.
 *
 * @param options.quantization for a shape whose types are open
 */
export function planOn(
  model: ModelSpec,
  reading: MachineReading,
  wish: LoadWish,
  { quantization, backend = "node-llama-cpp" }: { quantization?: string; backend?: EngineBackend } = {},
): { answer: ReturnType<typeof planFit>; machine: HardwareReading; hardware: Hardware } {
  const question = { ...planWish(wish, backend), ...(quantization === undefined ? {} : { quantization }) };
  // Asked for once for several models, of which some have fewer or none.
  if (question.hostExpertLayers !== undefined) {
    question.hostExpertLayers = Math.min(question.hostExpertLayers, countExpertLayers(model));
  }
  const kept = wish.reserveBytes ?? vramReserveBytesDefault;
  const machine = chosenDevices(reading, wish.gpu);
  const hardware = hardwareOf(machine, kept, wish);
  const selectable = backend === "llama-server" || gpuNamesOf(machine) !== undefined;
  const answer = planOnGpus(model, hardware, question, selectable);
  const mayDoWithout = machine.gpus.length > 0 && (wish.gpu ?? "auto") === "auto" && wish.gpuLayers === undefined;
  if ((answer.kind === "plan" && answer.fits) || !mayDoWithout) return { answer, machine, hardware };
  const bare = chosenDevices(reading, false);
  const host = hardwareOf(bare, 0, wish);
  const second = planFit(model, host, question);
  return second.kind === "plan" && second.fits
    ? { answer: second, machine: bare, hardware: host }
    : { answer, machine, hardware };
}

function countExpertLayers({ layers }: ModelSpec): number {
  return layers.filter(({ ffn }) => ffn === "moe").length;
}

/** The plan that says what `settings` take on this machine, whether they fit or not. */
export function priceLoad(model: ModelSpec, hardware: Hardware, settings: Omit<LoadSettings, "modelPath">): FitPlan {
  const { contextLength, sequenceCount, batchSize, gpuLayers, flashAttention, kvCacheTypeK, kvCacheTypeV } = settings;
  const answer = planFit(model, hardware, {
    buildFamily: settings.backend ?? "node-llama-cpp",
    hostExpertLayers: settings.hostExpertLayers ?? 0,
    ...(settings.backend === "llama-server" ? { slotCaches: true } : {}),
    contextLength: contextLength ?? model.contextLengthTrained,
    sequenceCount,
    batchSize,
    microBatchSize: batchSize,
    gpuLayers: gpuLayers === "auto" ? model.layers.length + 1 : gpuLayers,
    flashAttention: flashAttention !== false,
    kvCacheTypeK,
    kvCacheTypeV,
    ...sharesOf(settings, hardware),
  });
  // With layers and context given, the planner describes and never refuses.
  if (answer.kind === "refusal") throw new Error("the planner refused to price settings");
  return answer;
}

/** llama-server keeps to the planned shares; the library cuts by what is free on the GPUs it sees. */
function sharesOf(
  { backend, gpuLayerSplit }: Omit<LoadSettings, "modelPath">,
  { gpus }: Hardware,
): Pick<Wish, "tensorSplit"> {
  if (gpuLayerSplit === undefined || gpuLayerSplit.length !== gpus.length || !gpuLayerSplit.some(Boolean)) return {};
  if (backend === "llama-server") return { tensorSplit: gpuLayerSplit };
  return { tensorSplit: gpus.map((gpu, index) => (gpuLayerSplit[index]! > 0 ? loaderBytesFree(gpu) : 0)) };
}

/** What the plan says llama.cpp's own buffers will be: without the driver's share, which it does not count. */
export function predictedMemory(plan: FitPlan): MemoryBytes {
  const predicted: MemoryBytes = { hostBytes: 0, gpuBytes: 0 };
  for (const device of plan.devices) {
    const { weightBytes, kvCacheBytes, recurrentStateBytes, computeBufferBytes } = device;
    const bytes = weightBytes + kvCacheBytes + recurrentStateBytes + computeBufferBytes;
    if (device.kind === "gpu") predicted.gpuBytes += bytes;
    else predicted.hostBytes += bytes;
  }
  return predicted;
}

function settingsOf(
  { settings }: FitPlan,
  machine: HardwareReading,
  wish: LoadWish,
  backend: EngineBackend,
): Omit<LoadSettings, "modelPath"> {
  const { hostExpertLayers, gpuLayerSplit } = settings;
  const environment = gpuEnvironment(machine, gpuLayerSplit);
  return {
    ...(backend === "llama-server" ? { backend, hostExpertLayers } : {}),
    ...(machine.gpus.length > 1 ? { gpuLayerSplit, gpuNames: machine.gpus.map(({ name }) => name) } : {}),
    ...(Object.keys(environment).length === 0 ? {} : { gpuEnvironment: environment }),
    contextLength: settings.contextLength,
    sequenceCount: settings.sequenceCount,
    batchSize: settings.batchSize,
    gpu: machine.gpus.length === 0 ? false : (wish.gpu ?? "auto"),
    gpuLayers: settings.gpuLayers,
    flashAttention: settings.flashAttention,
    kvCacheTypeK: settings.kvCacheTypeK,
    kvCacheTypeV: settings.kvCacheTypeV,
    ...(wish.threadsMax === undefined ? {} : { threadsMax: wish.threadsMax }),
    ...(wish.checkTensors === undefined ? {} : { checkTensors: wish.checkTensors }),
  };
}

/** For llama.cpp's buffers: the driver's share of a GPU counts against the limit too, but not among them. */
function limitOf(plan: FitPlan, { vramLimitBytes, ramLimitBytes }: LoadWish): Partial<MemoryBytes> | undefined {
  const all = plan.devices.filter((device) => device.kind === "gpu");
  const used = gpusUsed(plan);
  const gpus = used.length === 0 ? all : used.map((gpu) => all[gpu]!);
  if ((vramLimitBytes === undefined || gpus.length === 0) && ramLimitBytes === undefined) return undefined;
  const buffers = (runtimeBytes: number) => Math.max(0, (vramLimitBytes ?? 0) - runtimeBytes);
  return {
    ...(vramLimitBytes === undefined || gpus.length === 0
      ? {}
      : { gpuBytes: gpus.reduce((sum, gpu) => sum + buffers(gpu.runtimeBytes), 0) }),
    ...(ramLimitBytes === undefined ? {} : { hostBytes: ramLimitBytes }),
  };
}

function fixedBy(wish: LoadWish): Set<LadderStep["setting"]> {
  const fixed = new Set<LadderStep["setting"]>();
  for (const setting of ["contextLength", "sequenceCount", "batchSize", "gpuLayers", "hostExpertLayers"] as const) {
    if (wish[setting] !== undefined) fixed.add(setting);
  }
  if (wish.kvCacheTypeK !== undefined || wish.kvCacheTypeV !== undefined) fixed.add("kvCacheType");
  return fixed;
}

/** The same wish in the planner's words. */
export function planWish(wish: LoadWish, backend: EngineBackend = "node-llama-cpp"): Wish {
  const { contextLength, sequenceCount, batchSize, gpuLayers, flashAttention, kvCacheTypeK, kvCacheTypeV } = wish;
  const server = backend === "llama-server";
  const hostExperts = wish.hostExpertLayers === undefined ? {} : { hostExpertLayers: wish.hostExpertLayers };
  return {
    buildFamily: backend,
    // node-llama-cpp cannot keep experts on the host while their layer is on the GPU.
    ...(server ? { slotCaches: true, ...hostExperts } : { hostExpertLayers: 0 }),
    ...(contextLength === undefined ? {} : { contextLength }),
    ...(sequenceCount === undefined ? { sequenceCount: sequenceCountDefault, sequenceCountMin: 1 } : { sequenceCount }),
    ...batchWish(batchSize, server),
    ...(gpuLayers === undefined ? {} : { gpuLayers }),
    ...(flashAttention === undefined ? {} : { flashAttention }),
    ...(kvCacheTypeK === undefined ? {} : { kvCacheTypeK }),
    ...(kvCacheTypeV === undefined ? {} : { kvCacheTypeV }),
    ...(wish.vramLimitBytes === undefined ? {} : { vramBytesMax: wish.vramLimitBytes }),
  };
}

/** A server looks at running answers and at clients that left between two batches: a batch is one step, not four. */
function batchWish(batchSize: number | undefined, server: boolean): Pick<Wish, "batchSize" | "microBatchSize"> {
  if (server) return { batchSize: batchSize ?? serverBatchSize, microBatchSize: batchSize ?? serverBatchSize };
  return batchSize === undefined ? {} : { batchSize };
}

/** Without the devices the administrator does not want used. */
export function chosenDevices(reading: MachineReading, gpu: GpuChoice | undefined): MachineReading {
  if (gpu === false) return { ...reading, gpus: [], backend: "cpu" };
  return gpu === undefined || gpu === "auto" || reading.gpus.length === 0 ? reading : { ...reading, backend: gpu };
}

/**
 * The planner's view of this machine; bandwidth and generation come from the card's name.
 *
 * @param keptBytes taken off every GPU as if somebody else held them
 */
export function hardwareOf(
  reading: MachineReading,
  keptBytes = 0,
  { ramLimitBytes, threadsMax }: Pick<LoadWish, "ramLimitBytes" | "threadsMax"> = {},
): Hardware {
  const kept = (bytes: number, least: number) => Math.max(least, bytes - keptBytes);
  return {
    name: "this machine",
    ...(reading.learned === undefined ? {} : { learned: reading.learned }),
    backend: reading.backend,
    ramBytesTotal: reading.ramBytesTotal,
    ramBytesFree: Math.min(reading.ramBytesFree, ramLimitBytes ?? Number.POSITIVE_INFINITY),
    cpuCores: Math.max(1, Math.min(reading.cpu.coresUsable, threadsMax ?? Number.POSITIVE_INFINITY)),
    gpus: reading.gpus.map((gpu, index): GpuDevice => {
      const facts = findGpu(gpu.name)?.gpu;
      return {
        id: `gpu${index}`,
        name: gpu.name,
        vramBytesTotal: kept(gpu.vramBytesTotal, deviceBytesMin),
        ...(gpu.vramBytesFree === undefined ? {} : { vramBytesFree: kept(gpu.vramBytesFree, 0) }),
        // The loader knows of no reserve, but has started the driver by then.
        loaderBytesFree: Math.max(0, (gpu.vramBytesFree ?? gpu.vramBytesTotal) - gpuRuntimeBytes(reading.backend)),
        ...(facts?.bandwidthBytesPerSecond === undefined
          ? {}
          : { bandwidthBytesPerSecond: facts.bandwidthBytesPerSecond }),
        ...(facts?.generation === undefined ? {} : { generation: facts.generation }),
      };
    }),
  };
}

function refusal(model: ModelSpec, answer: ReturnType<typeof planFit>): AppError {
  if (answer.kind === "plan") {
    const percent = Math.round(answer.probability * 100);
    const message = `${model.name} with these settings would fit this machine with a probability of ${percent} % only; ask for less context or fewer slots.`;
    return new AppError("model_does_not_fit", message, { details: { probability: answer.probability } });
  }
  const { nearest, reason, shortfallBytes } = answer;
  const settings = nearest?.settings;
  const hint = nearest?.fits
    ? ` Nearest that fits: context ${settings?.contextLength}, ${settings?.sequenceCount} at once, ${settings?.gpuLayers} layers on the GPU.`
    : ` Free ${formatBytes(shortfallBytes)}, or take a smaller quantization: snug fits ${JSON.stringify(model.name)}`;
  return new AppError("model_does_not_fit", reason + hint, {
    details: { shortfallBytes, ...(settings === undefined ? {} : { nearest: settings }) },
  });
}
