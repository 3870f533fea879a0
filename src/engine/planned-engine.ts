/** A model opened by plan: forecast for this machine as it is now, loaded, measured, and walked down when it has no room. */
import { AppError } from "../core/errors.ts";
import { vramReserveBytesDefault } from "../core/limits.ts";
import type { Clock, HardwareReading, Logger } from "../core/ports.ts";
import { formatBytes } from "../core/units.ts";
import { specFromGguf } from "../fit/model.ts";
import type { FitPlan, ModelSpec } from "../fit/types.ts";
import { type BackendChoice, type BackendWish, backendNeeds, chooseBackend } from "./backend.ts";
import { readModelHeader } from "./check-model.ts";
import type { EngineBackend, LoadedModel, LoadSettings, MemoryBytes } from "./ipc.ts";
import { Ladder, type SmallerFile } from "./ladder.ts";
import {
  chosenDevices,
  hardwareOf,
  type LoadPlan,
  type LoadWish,
  planLoad,
  predictedMemory,
  priceLoad,
} from "./load-plan.ts";
import { createLocalEngine, type LocalEngine, type LocalEngineOptions } from "./local-engine.ts";
import { deviceKey, type MemoryRecords } from "./memory-records.ts";
import type { ChildProgram } from "./supervisor.ts";

export interface PlannedEngineOptions extends Pick<LocalEngineOptions, "program" | "engineId" | "limits" | "times"> {
  model: { id: string; path: string; demo?: boolean };
  /** Taken just now: the plan is for the memory that is free in it. */
  reading: HardwareReading;
  wish: LoadWish;
  /** Smaller quantizations of the model on this disk, largest first. */
  smallerFiles?: readonly SmallerFile[];
  /** A llama-server to run models with, and when to. Left out: node-llama-cpp runs all. */
  server?: { wanted: BackendWish; program: ChildProgram | undefined; path: string | undefined };
  records: MemoryRecords;
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
  /** Kept off every GPU in planning because earlier loads took more than forecast. */
  correctionBytes: number;
}

export interface PlannedEngine {
  engine: LocalEngine;
  /** What runs it and why. */
  backend: BackendChoice;
  /** The plan of the first try. */
  plan: FitPlan;
  report(): LoadReport;
}

/** @throws AppError model_not_found, model_file_invalid, model_does_not_fit; nothing is loaded yet when it resolves */
export async function openPlannedEngine(options: PlannedEngineOptions): Promise<PlannedEngine> {
  const spec = specFromGguf(await readModelHeader(options.model.path), { name: options.model.id });
  return new PlannedLoad(options, spec).open();
}

class PlannedLoad {
  readonly #options: PlannedEngineOptions;
  readonly #spec: ModelSpec;
  readonly #reading: HardwareReading;
  readonly #correctionBytes: number;
  readonly #load: LoadPlan;
  readonly #backend: BackendChoice;

  constructor(options: PlannedEngineOptions, spec: ModelSpec) {
    this.#options = options;
    this.#spec = spec;
    const chosen = chosenDevices(options.reading, options.wish.gpu);
    this.#correctionBytes = options.records.correctionBytes(deviceKey(chosen));
    [this.#backend, this.#load] = this.#chooseLoad();
    this.#reading = this.#load.settings.gpu === false ? chosenDevices(chosen, false) : chosen;
  }

  #chooseLoad(): [BackendChoice, LoadPlan] {
    const { server, reading, wish } = this.#options;
    const planFor = (backend: EngineBackend) => planLoad(this.#spec, reading, wish, this.#correctionBytes, backend);
    const [library, refusal] = attempt(() => planFor("node-llama-cpp"));
    const wanted = server?.wanted ?? "node-llama-cpp";
    const [other] = wanted === "node-llama-cpp" ? [] : attempt(() => planFor("llama-server"));
    const choice = chooseBackend({
      wanted,
      serverPath: server?.program === undefined ? undefined : server.path,
      needs: backendNeeds(other?.plan, library?.plan),
    });
    if (choice.backend === "llama-server") return [choice, other ?? planFor("llama-server")];
    if (library === undefined) throw refusal;
    return [choice, library];
  }

  open(): PlannedEngine {
    const { model, logger, clock, engineId, limits, times } = this.#options;
    const { backend } = this.#backend;
    const program = (backend === "llama-server" ? this.#options.server?.program : undefined) ?? this.#options.program;
    logger.info("The backend is chosen.", { backend, reason: this.#backend.reason.en });
    const engine = createLocalEngine({
      model,
      settings: this.#load.settings,
      program,
      logger,
      clock,
      ladder: this.#ladder(),
      verify: (loaded, settings) => this.#verify(loaded, settings),
      ...(engineId === undefined ? {} : { engineId }),
      ...(limits === undefined ? {} : { limits }),
      ...(times === undefined ? {} : { times }),
    });
    return { engine, backend: this.#backend, plan: this.#load.plan, report: () => this.#report(engine) };
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

  #predict(settings: LoadSettings): MemoryBytes {
    const predicted = predictedMemory(this.#planOf(settings));
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
    const reading = settings.gpu === false ? chosenDevices(this.#reading, false) : this.#reading;
    return priceLoad(this.#spec, hardwareOf(reading, this.#reserve() + this.#correctionBytes), settings);
  }

  #reserve(): number {
    return this.#options.wish.reserveBytes ?? vramReserveBytesDefault;
  }

  /** Records the load, and refuses it when others have less left than the reserve. */
  async #verify(loaded: LoadedModel, settings: LoadSettings): Promise<AppError | undefined> {
    const driver = this.#reading.gpus.length === 0 ? undefined : await this.#options.readVramFree();
    this.#record(loaded, settings, driver);
    if (loaded.backend === "cpu") return undefined;
    const reserve = this.#reserve();
    const sum = loaded.memory?.vramBytesFree;
    // Without a driver's word on each, all together must have what each should.
    const free = driver ?? (sum === undefined ? [] : [sum / Math.max(1, this.#reading.gpus.length)]);
    const least = Math.min(...free);
    if (least >= reserve || settings.gpuLayers === 0) return undefined;
    const message = `The load left ${formatBytes(least)} of a GPU free; ${formatBytes(reserve)} are reserved for others.`;
    return new AppError("engine_out_of_memory", message, { details: { freeBytes: least, reserveBytes: reserve } });
  }

  #record(loaded: LoadedModel, settings: LoadSettings, vramFree: number[] | undefined): void {
    const { memory, quantization, contextLength } = loaded;
    if (memory === undefined) return;
    const before = this.#reading.gpus.map((gpu) => gpu.vramBytesFree);
    const known = vramFree?.length === before.length && before.every((bytes) => bytes !== undefined);
    const plan = this.#planOf(settings);
    this.#options.records.add({
      at: this.#options.clock.now(),
      device: deviceKey(this.#reading),
      model: this.#options.model.id,
      ...(quantization === undefined ? {} : { quantization }),
      contextLength,
      sequenceCount: settings.sequenceCount,
      batchSize: settings.batchSize,
      gpuLayers: loaded.gpuLayers,
      kvCacheTypeK: settings.kvCacheTypeK,
      kvCacheTypeV: settings.kvCacheTypeV,
      predicted: this.#predict(settings),
      measured: measuredOf(memory),
      runtimeBytesPredicted: plan.devices.reduce(
        (sum, { kind, runtimeBytes }) => sum + (kind === "gpu" ? runtimeBytes : 0),
        0,
      ),
      ...(known ? { vramBytesTaken: total(before) - total(vramFree) } : {}),
      gpuCount: before.length,
    });
  }

  #report(engine: LocalEngine): LoadReport {
    const { settings, model } = engine.status();
    return {
      plan: this.#planOf(settings),
      predicted: this.#predict(settings),
      ...(model?.memory === undefined ? {} : { measured: measuredOf(model.memory) }),
      correctionBytes: this.#correctionBytes,
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

function measuredOf({ model, context }: NonNullable<LoadedModel["memory"]>): MemoryBytes {
  return { hostBytes: model.hostBytes + context.hostBytes, gpuBytes: model.gpuBytes + context.gpuBytes };
}

function total(bytes: readonly (number | undefined)[]): number {
  return bytes.reduce<number>((sum, one) => sum + (one ?? 0), 0);
}
