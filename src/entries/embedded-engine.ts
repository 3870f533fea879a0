/** The engine in this process tree: finds the model, plans it for this machine, supervises the llama child. */
import { readGgufFile } from "../cli/gguf-file.ts";
import type { AppError } from "../core/errors.ts";
import { toAppError } from "../core/errors.ts";
import type { ChatEngine, Clock, HardwareReading, Logger } from "../core/ports.ts";
import { createFailedEngine } from "../engine/failed-engine.ts";
import { planLoad } from "../engine/load-plan.ts";
import { createLocalEngine, type LocalEngine } from "../engine/local-engine.ts";
import { type DownloadProgress, resolveModel } from "../engine/models.ts";
import { specFromGguf } from "../fit/model.ts";
import type { FitPlan } from "../fit/types.ts";
import { demoModelPath, llamaChildProgram } from "./package-files.ts";
import type { Settings } from "./settings.ts";

export interface EmbeddedEngine {
  engine: ChatEngine;
  /** Set when the model could be found and planned. */
  plan?: FitPlan;
  /** Resolves when the model answers, or with the reason why it does not. */
  ready: Promise<AppError | undefined>;
  stop(options?: { drainMs?: number }): Promise<void>;
}

export interface EmbeddedEngineOptions {
  settings: Pick<Settings, "model" | "dataDir" | "contextLength" | "sequenceCount">;
  hardware: HardwareReading;
  clock: Clock;
  logger: Logger;
  signal: AbortSignal;
  onProgress?: (progress: DownloadProgress) => void;
}

/** Never throws: what keeps the model from loading becomes an engine that says so. */
export async function startEmbeddedEngine(options: EmbeddedEngineOptions): Promise<EmbeddedEngine> {
  try {
    const { settings, hardware, signal, onProgress } = options;
    const model = await resolveModel(settings.model, {
      dataDir: settings.dataDir,
      demoPath: demoModelPath,
      signal,
      ...(onProgress === undefined ? {} : { onProgress }),
    });
    const spec = specFromGguf(await readGgufFile(model.path), { name: model.id });
    const { plan, settings: loadSettings } = planLoad(spec, hardware, wishOf(settings));
    const engine = createLocalEngine({
      model,
      settings: loadSettings,
      program: llamaChildProgram,
      logger: options.logger,
      clock: options.clock,
      engineId: "local",
    });
    return { engine, plan, ready: started(engine), stop: (stopOptions) => engine.stop(stopOptions) };
  } catch (thrown) {
    const reason = toAppError(thrown);
    if (reason.code === "internal") options.logger.error("The model could not be prepared.", { cause: thrown });
    return { engine: createFailedEngine(reason), ready: Promise.resolve(reason), stop: async () => {} };
  }
}

function wishOf({ contextLength, sequenceCount }: EmbeddedEngineOptions["settings"]) {
  return {
    ...(contextLength === undefined ? {} : { contextLength }),
    ...(sequenceCount === undefined ? {} : { sequenceCount }),
  };
}

async function started(engine: LocalEngine): Promise<AppError | undefined> {
  try {
    await engine.start();
    return undefined;
  } catch (thrown) {
    return toAppError(thrown);
  }
}
