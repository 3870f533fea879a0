/** Registries for tests: tiny generated models, the real child, a machine whose memory the test decides. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { HardwareReading } from "../../src/core/ports.ts";
import { GIB } from "../../src/core/units.ts";
import { MachineLearning } from "../../src/engine/learning.ts";
import { openPlannedEngine, planHeader } from "../../src/engine/planned-engine.ts";
import { ModelRegistry } from "../../src/engine/registry.ts";
import type { RegistryOptions } from "../../src/engine/registry-options.ts";
import type { ModelStore } from "../../src/engine/store.ts";
import { modelId } from "../../src/engine/store-scan.ts";
import { type ModelOptions, writeModel } from "./gguf/write-model.ts";
import { childProgram, listLogger } from "./local-engine.ts";

export const machine: HardwareReading = {
  cpu: { name: "CPU", coresPhysical: 2, coresUsable: 2 },
  ramBytesTotal: 8 * GIB,
  ramBytesFree: 6 * GIB,
  gpus: [],
  backend: "cpu",
};

export interface TestRegistry {
  registry: ModelRegistry;
  log: string[];
  /** From now on readings tell of so much main memory, less what the registry's models hold. */
  limitTo(bytes: number): void;
  close(): Promise<void>;
}

/** @param models by name; "missing" options stand for a file that is not there */
export async function prepareRegistry(
  models: Record<string, ModelOptions | "missing">,
  options: Partial<RegistryOptions> & { contextLength?: number; pinned?: string[]; store?: ModelStore } = {},
): Promise<TestRegistry> {
  const folder = mkdtempSync(join(tmpdir(), "snug-registry-"));
  const log: string[] = [];
  const logger = listLogger(log);
  const clock = { now: () => Date.now() };
  let limit = machine.ramBytesFree;
  const paths = new Map<string, { path: string; fileBytes: number }>();
  for (const [name, model] of Object.entries(models)) {
    const path = join(folder, `${name}.gguf`);
    paths.set(name, { path, fileBytes: model === "missing" ? 0 : writeModel(path, model).fileBytes });
  }
  const resolve = async (wanted: string | undefined) => {
    const { path, fileBytes } = paths.get(wanted ?? "") ?? { path: "", fileBytes: 0 };
    return { id: modelId(path), path, fileBytes, demo: false, already: true };
  };
  const learning = await MachineLearning.open(folder, logger);
  const { contextLength = 2048, pinned = [], store, ...rest } = options;
  const planning = <Model>(model: Model, reading: HardwareReading) => ({
    model,
    reading,
    wish: {
      threadsMax: 1,
      sequenceCount: 2,
      contextLength,
      batchSize: 256,
      kvCacheTypeK: "F16" as const,
      kvCacheTypeV: "F16" as const,
    },
    learning,
    readVramFree: async () => undefined,
    program: childProgram,
    logger,
    clock,
    engineId: "local",
  });
  const registry: ModelRegistry = new ModelRegistry({
    models: Object.keys(models).map((wanted) => ({ wanted, pinned: pinned.includes(wanted) })),
    resolve,
    lookUp: resolve,
    ...(store === undefined ? {} : fromStore(store, planning)),
    open: (model, reading) => openPlannedEngine(planning(model, reading)),
    read: async () => {
      const held = registry.status().map(({ load }) => (load?.measured ?? load?.predicted)?.hostBytes ?? 0);
      return {
        ...machine,
        ramBytesFree: Math.max(
          0,
          held.reduce((free, bytes) => free - bytes, limit),
        ),
      };
    },
    clock,
    logger,
    ...rest,
  });
  return {
    registry,
    log,
    limitTo(bytes) {
      limit = bytes;
    },
    async close() {
      await registry.stop({ drainMs: 0 });
      await learning.settled();
      rmSync(folder, { recursive: true });
    },
  };
}

/** Names mean what they mean to a store, and what is not on its disk is looked into where it lies. */
function fromStore(
  store: ModelStore,
  planning: (model: { id: string }, reading: HardwareReading) => Parameters<typeof planHeader>[0],
): Pick<RegistryOptions, "resolve" | "lookUp" | "preview" | "planRemote" | "downloadBytesPerSecond"> {
  const reading = async () => machine;
  return {
    resolve: (wanted, options) => store.get(wanted, { ...options, reading }),
    lookUp: (wanted) => store.lookUp(wanted),
    preview: (wanted, { signal }) => store.preview(wanted, { signal, reading }),
    planRemote: async ({ id, header }, now) => planHeader(planning({ id }, now), header),
    downloadBytesPerSecond: () => store.downloadBytesPerSecond,
  };
}
