/** Local engines for tests: the real child on a tiny generated model. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Logger } from "../../src/core/ports.ts";
import { createLocalEngine, type LocalEngine, type LocalEngineOptions } from "../../src/engine/local-engine.ts";
import type { ChildProgram } from "../../src/engine/supervisor.ts";
import { type ModelOptions, writeModel } from "./gguf/write-model.ts";

/** The child's TypeScript source, run as it is. */
export const childProgram: ChildProgram = {
  url: new URL("../../src/entries/llama-child.ts", import.meta.url),
  execArgv: ["--import", "tsx"],
};

export interface TestEngine {
  engine: LocalEngine;
  modelPath: string;
  /** Everything logged, as "level message". */
  log: string[];
  /** Stops the engine and removes its files. */
  close(): Promise<void>;
}

/** An engine that is not started yet. */
export function prepareEngine(model: ModelOptions, options: Partial<LocalEngineOptions> = {}): TestEngine {
  const folder = mkdtempSync(join(tmpdir(), "snug-engine-"));
  const modelPath = writeModel(join(folder, "model.gguf"), model).path;
  const log: string[] = [];
  const engine = createLocalEngine({
    model: { id: "tiny", path: modelPath },
    program: childProgram,
    logger: listLogger(log),
    clock: { now: () => Date.now() },
    engineId: "local",
    ...options,
    settings: { gpu: false, gpuLayers: 0, batchSize: 256, threadsMax: 1, ...options.settings },
  });
  return {
    engine,
    modelPath,
    log,
    async close() {
      await engine.stop({ drainMs: 0 });
      rmSync(folder, { recursive: true });
    },
  };
}

/** A started engine. */
export async function startEngine(model: ModelOptions, options: Partial<LocalEngineOptions> = {}): Promise<TestEngine> {
  const prepared = prepareEngine(model, options);
  try {
    await prepared.engine.start();
  } catch (thrown) {
    await prepared.close();
    throw thrown;
  }
  return prepared;
}

export function listLogger(log: string[]): Logger {
  const write = (level: string) => (message: string, facts?: Record<string, unknown>) => {
    log.push(`${level} ${message}${facts === undefined ? "" : ` ${JSON.stringify(facts)}`}`);
  };
  return { debug: write("debug"), info: write("info"), warn: write("warn"), error: write("error") };
}
