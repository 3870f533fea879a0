/** Everything a machine has taught, per device and build: read by the planner before a load, added to after it. */
import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { HardwareReading, Logger } from "../core/ports.ts";
import type { KnownMachine, LearnedMachine } from "../fit/learned.ts";
import type { Backend } from "../fit/types.ts";
import type { EngineBackend } from "./ipc.ts";
import { cardsOf, deviceKey, learnedLoad, MemoryRecords } from "./memory-records.ts";
import { learnedRun, SpeedRecords } from "./speed-records.ts";

const memoryFile = "engine-memory.json";
const speedFile = "engine-speed.json";

/** Which build's habits are asked for. */
export interface LearningKey {
  reading: HardwareReading;
  buildFamily: EngineBackend;
  /** The family, and behind it its version where that is known. */
  build: string;
}

export class MachineLearning {
  readonly memory: MemoryRecords;
  readonly speed: SpeedRecords;
  /** The last answer, for as long as nothing was added: the planner keeps work with the object. */
  #known: { key: string; loads: unknown; runs: unknown; learned: LearnedMachine | undefined } | undefined;

  constructor(memory: MemoryRecords, speed: SpeedRecords) {
    this.memory = memory;
    this.speed = speed;
  }

  /** Never rejects: a damaged file is begun anew with a warning. */
  static async open(folder: string, logger: Logger): Promise<MachineLearning> {
    const [memory, speed] = await Promise.all([
      MemoryRecords.open(join(folder, memoryFile), logger),
      SpeedRecords.open(join(folder, speedFile), logger),
    ]);
    return new MachineLearning(memory, speed);
  }

  /** Undefined when this machine has taught nothing with that build yet. */
  learned({ reading, buildFamily, build }: LearningKey): LearnedMachine | undefined {
    return this.#learned(deviceKey(reading), buildFamily, build, reading.gpus.length);
  }

  #learned(device: string, buildFamily: EngineBackend, build: string, gpuCount: number): LearnedMachine | undefined {
    const key = `${device}\n${build}`;
    const [loads, runs] = [this.memory.all, this.speed.all];
    const known = this.#known;
    if (known?.key === key && known.loads === loads && known.runs === runs) return known.learned;
    const own = (record: { device: string; build?: string | undefined }) =>
      record.device === device && record.build === build;
    const machine: LearnedMachine = {
      // A device's key begins with its backend.
      backend: device.split(" ")[0] as Backend,
      buildFamily,
      loads: loads.filter(own).map(learnedLoad),
      runs: runs.filter((run) => own(run) && run.work.gpus.length === gpuCount).map(learnedRun),
    };
    const learned = machine.loads.length + machine.runs.length === 0 ? undefined : machine;
    this.#known = { key, loads, runs, learned };
    return learned;
  }

  /**
   * The machine as its latest record has it, without asking any driver: for questions about it. Undefined before the
   * first load.
   */
  latestMachine(): KnownMachine | undefined {
    const records = [...this.memory.all, ...this.speed.all];
    const [last] = records.sort((left, right) => right.at - left.at);
    if (last?.build === undefined) return undefined;
    const { device, build } = last;
    const gpuNames = cardsOf(device);
    const buildFamily = build.startsWith("llama-server") ? "llama-server" : "node-llama-cpp";
    const learned = this.#learned(device, buildFamily, build, gpuNames.length);
    return learned === undefined ? undefined : { gpuNames, learned };
  }

  /** Resolves when all is written. */
  async settled(): Promise<void> {
    await Promise.all([this.memory.settled(), this.speed.settled()]);
  }
}

/**
 * Forgets all; a running engine notices before it adds the next record.
 *
 * @returns the files that were there
 */
export async function resetLearning(folder: string): Promise<string[]> {
  const paths = [memoryFile, speedFile].map((name) => join(folder, name)).filter((path) => existsSync(path));
  for (const path of paths) await rm(path, { force: true });
  return paths;
}
