/** The engine in this process tree: finds the models, plans them for this machine, supervises the llama children. */
import type { AppError } from "../core/errors.ts";
import { toAppError } from "../core/errors.ts";
import type { Clock, EngineHealth, HardwareReading, Logger } from "../core/ports.ts";
import { findLlamaServer } from "../engine/backend.ts";
import { compareModel } from "../engine/compare/compare.ts";
import { CompareDesk } from "../engine/compare/desk.ts";
import { readGpuConditions } from "../engine/gpu-condition.ts";
import { createHardwareProbe, readRamFree, readVramFree } from "../engine/hardware.ts";
import { MachineLearning } from "../engine/learning.ts";
import { createServerDeviceList } from "../engine/llama-server-devices.ts";
import { createMachineDesk } from "../engine/machine-desk.ts";
import { readMachineFacts } from "../engine/machine-facts.ts";
import { createMemoryView } from "../engine/memory-view.ts";
import { Monitor } from "../engine/monitor.ts";
import { openPlannedEngine, type PlannedEngineOptions, planHeader } from "../engine/planned-engine.ts";
import { ModelRegistry } from "../engine/registry.ts";
import type { DownloadProgress } from "../engine/store.ts";
import { EngineWarnings } from "../engine/warnings.ts";
import type { KnownMachine } from "../fit/learned.ts";
import { createCompareTools } from "./compare-tools.ts";
import type { BackendSettings } from "./load-settings.ts";
import { createModelStore } from "./model-store.ts";
import { engineBuilds, llamaChildProgram, llamaServerProgram } from "./package-files.ts";
import type { Settings } from "./settings.ts";

export interface EmbeddedEngine {
  engine: ModelRegistry;
  /** Resolves when the first model answers, or with the reason why it does not. */
  ready: Promise<AppError | undefined>;
  /** This machine with what it has learned, for questions about it; undefined before the first load. */
  machine(): KnownMachine | undefined;
  stop(options?: { drainMs?: number }): Promise<void>;
}

export interface EmbeddedEngineOptions {
  settings: Pick<Settings, "model" | "dataDir" | "load" | "backend" | "places" | "keepAliveMs" | "pinned">;
  /** Taken at the start; the first model is planned for it. */
  hardware: HardwareReading;
  clock: Clock;
  logger: Logger;
  signal: AbortSignal;
  onProgress?: (progress: DownloadProgress) => void;
}

/** Never rejects: what keeps the model from loading is told by `ready`, `health` and every chat. */
export async function startEmbeddedEngine(options: EmbeddedEngineOptions): Promise<EmbeddedEngine> {
  const { settings, clock, logger, signal, onProgress } = options;
  const store = createModelStore(settings);
  const learning = await MachineLearning.open(settings.dataDir, logger);
  const read = readings(options.hardware);
  const vramFree = () => readVramFree(options.hardware.gpus.length);
  const warnings = new EngineWarnings(() => clock.now());
  const monitor = new Monitor({ read: () => readGpuConditions(), warnings, clock });
  void monitor.start();
  const machine = createMachineDesk({
    monitor,
    readFacts: async () => {
      const { dataDir, backend } = settings;
      const running = engine.status().find(({ state, program }) => state === "ready" && program !== undefined)?.program;
      return await readMachineFacts({ hardware: await read(), dataDir, backend, running });
    },
  });
  const comparisons = new CompareDesk({
    compare: (request, compareOptions) => {
      const isBusy = async () => isAnswering(await engine.health());
      return compareModel(request, createCompareTools(settings, { learning, clock, isBusy }), compareOptions);
    },
    health: () => engine.health(),
    clock,
    logger,
  });
  const planning = async <Model extends { id: string }>(model: Model, reading: HardwareReading) =>
    ({
      model,
      reading,
      wish: settings.load,
      learning,
      builds: engineBuilds,
      warnings,
      readVramFree: vramFree,
      program: llamaChildProgram,
      server: await serverOf(settings.backend, reading.gpus.length),
      logger,
      clock,
      engineId: "local",
    }) satisfies Omit<PlannedEngineOptions, "model"> & { model: Model };
  const engine: ModelRegistry = new ModelRegistry({
    comparisons,
    machine,
    models: modelNames(settings.model).map((wanted) => ({ wanted, pinned: isPinned(wanted, settings.pinned) })),
    resolve: (wanted, { signal: stopped, onProgress: tell }) =>
      store.get(wanted, {
        signal: AbortSignal.any([signal, stopped]),
        reading: read,
        wish: settings.load,
        onProgress(progress) {
          tell(progress);
          onProgress?.(progress);
        },
      }),
    lookUp: (wanted) => store.lookUp(wanted),
    preview: (wanted, { signal: stopped }) =>
      store.preview(wanted, { signal: AbortSignal.any([signal, stopped]), reading: read, wish: settings.load }),
    planRemote: async ({ id, header }, reading) => planHeader(await planning({ id }, reading), header),
    downloadBytesPerSecond: () => store.downloadBytesPerSecond,
    open: async (model, reading) =>
      await openPlannedEngine({
        ...(await planning(model, reading)),
        smallerFiles: await store.smallerFiles(model.path),
      }),
    read,
    memoryView: createMemoryView({ hardware: options.hardware, readVramFree: vramFree, readRamFree, clock }),
    clock,
    logger,
    ...(settings.keepAliveMs === undefined ? {} : { keepAliveMs: settings.keepAliveMs }),
  });
  const stop = async (stopOptions?: { drainMs?: number }) => {
    monitor.stop();
    await engine.stop(stopOptions);
    await learning.settled();
  };
  return { engine, ready: started(engine), machine: () => learning.latestMachine(), stop };
}

/** Looked for at each load: one that was just installed is found. Throws AppError for a configured one that is not there. */
async function serverOf({ wanted, serverPath }: BackendSettings, gpuCount: number) {
  const path = wanted === "node-llama-cpp" ? undefined : await findLlamaServer(serverPath);
  if (path === undefined) return { wanted, path, program: undefined };
  const listed = gpuCount === 0 ? undefined : await serverDevices(path);
  const sees = listed === undefined ? {} : { seesGpus: listed.length > 0 };
  return { wanted, path, program: llamaServerProgram(path), ...sees };
}

const serverDevices = createServerDeviceList();

function isAnswering({ active, queued }: EngineHealth): boolean {
  return active + queued > 0;
}

/** The reading of the start serves the first load; afterwards memory has moved. */
function readings(first: HardwareReading): () => Promise<HardwareReading> {
  const probe = createHardwareProbe({ program: llamaChildProgram });
  const startedAt = performance.now();
  return async () => (performance.now() - startedAt < firstReadingMsMax ? first : await probe.read());
}

const firstReadingMsMax = 3000;

/** SNUG_MODEL may name several, separated by commas; the first is loaded at the start. */
function modelNames(text: string | undefined): (string | undefined)[] {
  const names = (text ?? "").split(",").map((name) => name.trim());
  const given = names.filter((name) => name !== "");
  return given.length === 0 ? [undefined] : given;
}

function isPinned(wanted: string | undefined, pinned: readonly string[]): boolean {
  return pinned.some((name) => name.toLowerCase() === (wanted ?? "demo").toLowerCase());
}

async function started(engine: ModelRegistry): Promise<AppError | undefined> {
  try {
    await engine.start();
    return undefined;
  } catch (thrown) {
    return toAppError(thrown);
  }
}
