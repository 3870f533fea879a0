/** A model opened by plan: forecast for this machine as it is now, loaded, measured, and walked down when it has no room. */
import { AppError } from "../core/errors.ts";
import { vramReserveBytesDefault } from "../core/limits.ts";
import type { Clock, HardwareReading, Logger } from "../core/ports.ts";
import { formatBytes } from "../core/units.ts";
import type { GgufHeader } from "../fit/gguf.ts";
import { gpuRuntimeBytes } from "../fit/memory.ts";
import { specFromGguf } from "../fit/model.ts";
import { estimateSpeed } from "../fit/speed.ts";
import { tokenWork } from "../fit/speed-work.ts";
import type { FitPlan, ModelSpec } from "../fit/types.ts";
import { type BackendChoice, type BackendWish, backendNeeds, chooseBackend } from "./backend.ts";
import { readModelHeader } from "./check-model.ts";
import { checkGpus, type GpuLoad, gpuSurprises, mostRuntimeBytes } from "./gpu-check.ts";
import { gpusUsed } from "./gpu-plan.ts";
import type { EngineBackend, LoadedModel, LoadSettings, MemoryBytes } from "./ipc.ts";
import { Ladder, type SmallerFile } from "./ladder.ts";
import type { MachineLearning } from "./learning.ts";
import {
  chosenDevices,
  hardwareOf,
  type LoadPlan,
  type LoadWish,
  type MachineReading,
  planLoad,
  predictedMemory,
  priceLoad,
} from "./load-plan.ts";
import {
  createLocalEngine,
  type LocalEngine,
  type LocalEngineOptions,
  type UndisturbedAnswer,
} from "./local-engine.ts";
import { deviceKey } from "./memory-records.ts";
import { learnedRun } from "./speed-records.ts";
import type { ChildProgram } from "./supervisor.ts";
import { unmetWishes } from "./unmet-wishes.ts";
import { taskOf, vectorWish } from "./vector-models.ts";
import type { EngineWarnings } from "./warnings.ts";

export interface PlannedEngineOptions extends Pick<LocalEngineOptions, "program" | "engineId" | "limits" | "times"> {
  model: { id: string; path: string; demo?: boolean };
  /** Taken just now: the plan is for the memory that is free in it. */
  reading: HardwareReading;
  wish: LoadWish;
  /** Smaller quantizations of the model on this disk, largest first. */
  smallerFiles?: readonly SmallerFile[];
  /** A llama-server to run models with, and when to. Left out: node-llama-cpp runs all. */
  server?: {
    wanted: BackendWish;
    program: ChildProgram | undefined;
    path: string | undefined;
    /** Left out where it does not say. */
    seesGpus?: boolean;
  };
  /** What this machine has taught, and where it goes on. */
  learning: MachineLearning;
  /** Versions of what runs models, as each is remembered; default: its name alone. */
  builds?: Partial<Record<EngineBackend, string>>;
  /** Told of answers of models that lie wholly on GPUs. */
  warnings?: Pick<EngineWarnings, "noteAnswer">;
  /** Free bytes of every GPU by its driver, undefined where none tells. */
  readVramFree(): Promise<number[] | undefined>;
  logger: Logger;
  clock: Clock;
}

/** Forecast and measurement of the load that serves. */
export interface LoadReport {
  plan: FitPlan;
  /** Buffers only; the driver's share comes on top. */
  predicted: MemoryBytes;
  measured?: MemoryBytes;
  /** Where there are several GPUs: those with layers, each against its plan, when the load was last looked at. */
  gpus?: readonly GpuLoad[];
  /** What the driver is taken to need of every GPU beyond the usual, because earlier loads took it. */
  correctionBytes: number;
}

export interface PlannedEngine {
  engine: LocalEngine;
  /** What runs it and why. */
  backend: BackendChoice;
  /** The plan of the first try. */
  plan: FitPlan;
  report(): LoadReport;
  /**
   * Tokens per second of one answer alone, half way through a usual one, in two digits: from answers measured with this
   * model as it is loaded, else from what the machine learned, else from its plan. Undefined for a file of the ladder.
   */
  expectedRate(): number | undefined;
}

/** @throws AppError model_not_found, model_file_invalid, model_does_not_fit; nothing is loaded yet when it resolves */
export async function openPlannedEngine(options: PlannedEngineOptions): Promise<PlannedEngine> {
  return planLoadOf(options, await readModelHeader(options.model.path)).open();
}

/**
 * The plan it would be opened with, of a file that need not be here.
 *
 * @throws AppError model_does_not_fit
 */
export function planHeader(
  options: Omit<PlannedEngineOptions, "model"> & { model: { id: string } },
  header: GgufHeader,
): FitPlan {
  return planLoadOf({ ...options, model: { ...options.model, path: "" } }, header).plan;
}

function planLoadOf(options: PlannedEngineOptions, header: GgufHeader): PlannedLoad {
  const spec = specFromGguf(header, { name: options.model.id });
  const { wish } = options;
  const wishFor =
    taskOf(header.metadata) === "chat"
      ? () => wish
      : (backend: EngineBackend) => vectorWish(header.metadata, spec.contextLengthTrained, wish, backend);
  return new PlannedLoad(options, spec, wishFor);
}

/** Shorter answers are over before the clock says anything. */
const learnedTokensMin = 24;
const learnedPromptMin = 64;

class PlannedLoad {
  readonly #options: PlannedEngineOptions;
  readonly #spec: ModelSpec;
  readonly #wishFor: (backend: EngineBackend) => LoadWish;
  readonly #reading: HardwareReading;
  readonly #load: LoadPlan;
  readonly #backend: BackendChoice;
  #gpus: GpuLoad[] | undefined;
  /** The last answer of `#expectedRate`, for as long as nothing was learned and the settings stay. */
  #rate: { of: readonly unknown[]; value: number } | undefined;

  /** @param wishFor what an administrator fixed, and what the model needs of that backend beyond it */
  constructor(options: PlannedEngineOptions, spec: ModelSpec, wishFor: (backend: EngineBackend) => LoadWish) {
    this.#options = options;
    this.#spec = spec;
    this.#wishFor = wishFor;
    const chosen = chosenDevices(options.reading, options.wish.gpu);
    [this.#backend, this.#load] = this.#chooseLoad(chosen);
    this.#reading = this.#load.settings.gpu === false ? chosenDevices(chosen, false) : chosen;
  }

  /** Of the first try. */
  get plan(): FitPlan {
    return this.#load.plan;
  }

  #chooseLoad(reading: HardwareReading): [BackendChoice, LoadPlan] {
    const { server } = this.#options;
    const planFor = (backend: EngineBackend) =>
      planLoad(this.#spec, this.#taught(reading, backend), this.#wishFor(backend), backend);
    const [library, refusal] = attempt(() => planFor("node-llama-cpp"));
    const wanted = server?.wanted ?? "node-llama-cpp";
    const [other] = wanted === "node-llama-cpp" ? [] : attempt(() => planFor("llama-server"));
    const choice = chooseBackend({
      wanted,
      serverPath: server?.program === undefined ? undefined : server.path,
      serverIsBlind: server?.seesGpus === false && reading.gpus.length > 0,
      needs: backendNeeds(other, library),
    });
    if (choice.backend === "llama-server") return [choice, other ?? planFor("llama-server")];
    if (library === undefined) throw refusal;
    return [choice, library];
  }

  /** The reading with what the machine has taught with that backend. */
  #taught(reading: HardwareReading, buildFamily: EngineBackend): MachineReading {
    const learned = this.#options.learning.learned({ reading, buildFamily, build: this.#build(buildFamily) });
    return { ...reading, ...(learned === undefined ? {} : { learned }) };
  }

  #build(backend: EngineBackend): string {
    return this.#options.builds?.[backend] ?? backend;
  }

  open(): PlannedEngine {
    const { model, logger, clock, engineId, limits, times } = this.#options;
    const { backend } = this.#backend;
    const program = (backend === "llama-server" ? this.#options.server?.program : undefined) ?? this.#options.program;
    logger.info("The backend is chosen.", { backend, reason: this.#backend.reason.en });
    const unmet = unmetWishes(this.#options.wish, this.#load.settings, this.#spec.contextLengthTrained);
    for (const sentence of unmet) logger.warn(sentence);
    const engine = createLocalEngine({
      model,
      settings: this.#load.settings,
      program,
      logger,
      clock,
      ladder: this.#ladder(),
      verify: (loaded, settings) => this.#verify(loaded, settings),
      onUndisturbed: (answer) => this.#learnSpeed(answer),
      ...(engineId === undefined ? {} : { engineId }),
      ...(limits === undefined ? {} : { limits }),
      ...(times === undefined ? {} : { times }),
    });
    return {
      engine,
      backend: this.#backend,
      plan: this.#load.plan,
      report: () => this.#report(engine),
      expectedRate: () => this.#expectedRate(engine),
    };
  }

  #ladder(): Ladder {
    const { quantization, layers } = this.#spec;
    return new Ladder({
      fixed: this.#load.fixed,
      smallerFiles: this.#options.smallerFiles ?? [],
      ...(quantization === undefined ? {} : { quantization }),
      layerCount: layers.length + 1,
      expertLayerCount: layers.filter(({ ffn }) => ffn === "moe").length,
      cacheMayBeQuantized: layers.every((layer) => layer.keyLength % 32 === 0 && layer.valueLength % 32 === 0),
      price: (settings) => this.#predict(settings),
    });
  }

  #predict(settings: LoadSettings, plan = this.#planOf(settings)): MemoryBytes {
    const predicted = predictedMemory(plan);
    const other = this.#options.smallerFiles?.find(({ path }) => path === settings.modelPath);
    const share = other === undefined ? 1 : other.fileBytes / (this.#spec.fileBytes ?? other.fileBytes);
    if (share === 1) return predicted;
    // Another file's tensors are not read before it is tried; its size says nearly as much.
    const weights = this.#weightsOf(settings);
    return {
      hostBytes: Math.round(predicted.hostBytes - weights.hostBytes * (1 - share)),
      gpuBytes: Math.round(predicted.gpuBytes - weights.gpuBytes * (1 - share)),
    };
  }

  #weightsOf(settings: LoadSettings): MemoryBytes {
    const weights: MemoryBytes = { hostBytes: 0, gpuBytes: 0 };
    for (const { kind, weightBytes } of this.#planOf(settings).devices) {
      weights[kind === "gpu" ? "gpuBytes" : "hostBytes"] += weightBytes;
    }
    return weights;
  }

  #planOf(settings: LoadSettings): FitPlan {
    const { backend } = this.#backend;
    return priceLoad(this.#spec, hardwareOf(this.#taught(this.#devices(settings), backend), this.#reserve()), settings);
  }

  /** The same by the planner's own figures, which is what learning compares with. */
  #plainPlanOf(settings: LoadSettings): FitPlan {
    return priceLoad(this.#spec, hardwareOf(this.#devices(settings), this.#reserve()), settings);
  }

  #devices(settings: LoadSettings): HardwareReading {
    return settings.gpu === false ? chosenDevices(this.#reading, false) : this.#reading;
  }

  #reserve(): number {
    return this.#options.wish.reserveBytes ?? vramReserveBytesDefault;
  }

  /** Records the load, and refuses it when others have less left than the reserve. */
  async #verify(loaded: LoadedModel, settings: LoadSettings): Promise<AppError | undefined> {
    const driver = this.#reading.gpus.length === 0 ? undefined : await this.#options.readVramFree();
    this.#gpus = this.#lookAtGpus(loaded, settings, driver);
    this.#record(loaded, settings, driver);
    if (loaded.backend === "cpu") return undefined;
    const reserve = this.#reserve();
    const sum = loaded.memory?.vramBytesFree;
    const used = gpusUsed(this.#planOf(settings));
    const seen = settings.gpuEnvironment === undefined ? this.#reading.gpus.length : used.length;
    // Without a driver's word on each, all together must have what each should. A card without layers is not this load's.
    const free = driver?.filter((_, gpu) => used.includes(gpu)) ?? (sum === undefined ? [] : [sum / Math.max(1, seen)]);
    const least = Math.min(...free);
    if (least >= reserve || settings.gpuLayers === 0) return undefined;
    const message = `The load left ${formatBytes(least)} of a GPU free; ${formatBytes(reserve)} are reserved for others.`;
    return new AppError("engine_out_of_memory", message, { details: { freeBytes: least, reserveBytes: reserve } });
  }

  /** Undefined where there is one GPU at most: sums tell all. */
  #lookAtGpus(
    { memory, backend }: LoadedModel,
    settings: LoadSettings,
    after: number[] | undefined,
  ): GpuLoad[] | undefined {
    const devices = this.#devices(settings);
    if (devices.gpus.length < 2 || backend === "cpu") return undefined;
    const before = devices.gpus.map((gpu) => gpu.vramBytesFree);
    const gpus = checkGpus(this.#planOf(settings), { before, after, measured: memory?.gpus });
    for (const surprise of gpuSurprises(gpus)) this.#options.logger.warn(surprise);
    return gpus;
  }

  #record(loaded: LoadedModel, settings: LoadSettings, vramFree: number[] | undefined): void {
    const { memory, quantization, contextLength } = loaded;
    if (memory === undefined) return;
    const devices = this.#devices(settings);
    const plan = this.#plainPlanOf(settings);
    const used = gpusUsed(plan);
    const before = used.map((gpu) => devices.gpus[gpu]?.vramBytesFree);
    const after = vramFree?.length === devices.gpus.length ? used.map((gpu) => vramFree[gpu]) : undefined;
    const known = after !== undefined && before.every((bytes) => bytes !== undefined);
    const runtimeBytesMost = this.#gpus === undefined ? undefined : mostRuntimeBytes(this.#gpus);
    const compute = this.#isWholeModel(settings) ? compareCompute(plan, memory) : undefined;
    this.#options.learning.memory.add({
      at: this.#options.clock.now(),
      device: deviceKey(devices),
      build: this.#build(this.#backend.backend),
      architecture: this.#spec.architecture,
      model: this.#options.model.id,
      ...(quantization === undefined ? {} : { quantization }),
      contextLength,
      sequenceCount: settings.sequenceCount,
      batchSize: settings.batchSize,
      gpuLayers: loaded.gpuLayers,
      kvCacheTypeK: settings.kvCacheTypeK,
      kvCacheTypeV: settings.kvCacheTypeV,
      predicted: this.#predict(settings, plan),
      measured: measuredOf(memory),
      ...(compute === undefined ? {} : { compute }),
      runtimeBytesPredicted: plan.devices.reduce(
        (sum, { kind, runtimeBytes }) => sum + (kind === "gpu" ? runtimeBytes : 0),
        0,
      ),
      ...(known ? { vramBytesTaken: total(before) - total(after) } : {}),
      ...(runtimeBytesMost === undefined ? {} : { runtimeBytesMost }),
      gpuCount: used.length,
    });
  }

  /** The file the spec was read from, and not a smaller one of the ladder. */
  #isWholeModel({ modelPath }: LoadSettings): boolean {
    return modelPath === this.#options.model.path;
  }

  #learnSpeed({ usage, timings, settings }: UndisturbedAnswer): void {
    const { promptTokens = 0, cachedPromptTokens = 0, completionTokens = 0 } = usage;
    const rate = timings.completionTokensPerSecond;
    if (completionTokens < learnedTokensMin || rate === undefined || !this.#isWholeModel(settings)) return;
    const devices = this.#devices(settings);
    const planned = this.#plainPlanOf(settings).settings;
    const depthTokens = Math.round(promptTokens + completionTokens / 2);
    const { cpuCores } = hardwareOf(devices, 0, this.#options.wish);
    this.#watchSpeed(settings, depthTokens, rate);
    const evaluated = promptTokens - cachedPromptTokens;
    const { prefillTokensPerSecond } = timings;
    this.#options.learning.speed.add({
      at: this.#options.clock.now(),
      device: deviceKey(devices),
      build: this.#build(this.#backend.backend),
      architecture: this.#spec.architecture,
      model: this.#options.model.id,
      settings: { ...planned, gpuLayerSplit: [...planned.gpuLayerSplit] },
      depthTokens,
      work: tokenWork(this.#spec, planned, devices.gpus.length, depthTokens),
      ...(cpuCores === undefined ? {} : { cpuCores }),
      decodeTokensPerSecond: rate,
      // Of a prompt that was partly there already the rest is read behind it, which is another measurement.
      ...(prefillTokensPerSecond === undefined || cachedPromptTokens > evaluated || evaluated < learnedPromptMin
        ? {}
        : { prefill: { promptTokens: evaluated, tokensPerSecond: prefillTokensPerSecond } }),
    });
  }

  #expectedRate(engine: LocalEngine): number | undefined {
    const { settings } = engine.status();
    if (!this.#isWholeModel(settings)) return undefined;
    const { learning, model } = this.#options;
    const of = [settings, learning.speed.all];
    if (this.#rate?.of.every((part, index) => part === of[index]) === true) return this.#rate.value;
    const plan = this.#planOf(settings);
    const devices = this.#devices(settings);
    const { backend } = this.#backend;
    const [device, build] = [deviceKey(devices), this.#build(backend)];
    const runs = learning.speed.all.filter(
      (run) =>
        run.device === device &&
        run.build === build &&
        run.model === model.id &&
        run.settings.quantization === plan.settings.quantization &&
        run.settings.gpuLayers === plan.settings.gpuLayers,
    );
    const { decodeTokensPerSecond } = estimateSpeed({
      model: this.#spec,
      plan,
      hardware: hardwareOf(this.#taught(devices, backend), 0, this.#options.wish),
      ...(runs.length === 0 ? {} : { measured: runs.map(learnedRun) }),
    });
    const value = Number(decodeTokensPerSecond.toPrecision(2));
    this.#rate = { of, value };
    return value;
  }

  /** Against the tables, not against what was learned: a machine that always spills has learned to be slow. */
  #watchSpeed(settings: LoadSettings, depthTokens: number, decodeTokensPerSecond: number): void {
    const plan = this.#plainPlanOf(settings);
    const hardware = hardwareOf(this.#devices(settings));
    if (plan.offload !== "full" || hardware.gpus.length === 0) return;
    const { decodeLow: expectedLow } = estimateSpeed({ model: this.#spec, plan, hardware, depthTokens });
    this.#options.warnings?.noteAnswer({ model: this.#options.model.id, decodeTokensPerSecond, expectedLow });
  }

  #report(engine: LocalEngine): LoadReport {
    const { settings, model } = engine.status();
    const plan = this.#planOf(settings);
    const usual = gpuRuntimeBytes(this.#reading.backend);
    const beyond = plan.devices.map(({ kind, runtimeBytes }) => (kind === "gpu" ? runtimeBytes - usual : 0));
    return {
      plan,
      predicted: this.#predict(settings, plan),
      ...(model?.memory === undefined ? {} : { measured: measuredOf(model.memory) }),
      ...(this.#gpus === undefined ? {} : { gpus: this.#gpus }),
      correctionBytes: Math.max(0, ...beyond),
    };
  }
}

/** The result, or the `AppError` in its place. */
function attempt<Result>(work: () => Result): [Result, undefined] | [undefined, AppError] {
  try {
    return [work(), undefined];
  } catch (thrown) {
    if (thrown instanceof AppError) return [undefined, thrown];
    throw thrown;
  }
}

/** Caches are known to the byte, so what a context holds beside them is its compute buffers. */
function compareCompute(
  { devices }: FitPlan,
  { context }: NonNullable<LoadedModel["memory"]>,
): { predicted: MemoryBytes; measured: MemoryBytes } | undefined {
  const predicted: MemoryBytes = { hostBytes: 0, gpuBytes: 0 };
  const measured: MemoryBytes = { hostBytes: context.hostBytes, gpuBytes: context.gpuBytes };
  for (const { kind, computeBufferBytes, kvCacheBytes, recurrentStateBytes } of devices) {
    const where = kind === "gpu" ? "gpuBytes" : "hostBytes";
    predicted[where] += computeBufferBytes;
    measured[where] -= kvCacheBytes + recurrentStateBytes;
  }
  return measured.hostBytes < 0 || measured.gpuBytes < 0 ? undefined : { predicted, measured };
}

function measuredOf({ model, context }: NonNullable<LoadedModel["memory"]>): MemoryBytes {
  return { hostBytes: model.hostBytes + context.hostBytes, gpuBytes: model.gpuBytes + context.gpuBytes };
}

function total(bytes: readonly (number | undefined)[]): number {
  return bytes.reduce<number>((sum, one) => sum + (one ?? 0), 0);
}
