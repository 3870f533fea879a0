/** Local engines for tests: the real child on a tiny generated model. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Logger } from "../../src/core/ports.ts";
import { createLocalEngine, type LocalEngine, type LocalEngineOptions } from "../../src/engine/local-engine.ts";
import type { ChildProgram } from "../../src/engine/supervisor.ts";
import { builtMark } from "./build.ts";
import { type ModelOptions, writeModel } from "./gguf/write-model.ts";

/**
 * A process that holds models. A test run has built dist/, whose children start in a third of the time that TypeScript
 * sources take; benches and the tests of a GPU run those.
 */
export function programOf(entry: "llama-child" | "llama-server-child"): ChildProgram {
  return process.env[builtMark] === "1"
    ? { url: new URL(`../../dist/entries/${entry}.js`, import.meta.url), execArgv: [] }
    : { url: new URL(`../../src/entries/${entry}.ts`, import.meta.url), execArgv: ["--import", "tsx"] };
}

export const childProgram: ChildProgram = programOf("llama-child");

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
