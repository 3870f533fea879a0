/** What measuring on this machine needs: the same for a command and for a job of a server. */
import type { Clock } from "../core/ports.ts";
import type { CompareTools } from "../engine/compare/compare.ts";
import { createHardwareProbe, readVramFree } from "../engine/hardware.ts";
import type { MachineLearning } from "../engine/learning.ts";
import type { MachineReading } from "../engine/load-plan.ts";
import { createModelStore } from "./model-store.ts";
import { engineBuilds, llamaChildProgram } from "./package-files.ts";
import type { Settings } from "./settings.ts";

/** llama.cpp as the measurements run it. */
export const measuredBuild = engineBuilds["node-llama-cpp"] ?? "node-llama-cpp";

export function createCompareTools(
  settings: Pick<Settings, "dataDir" | "places" | "load">,
  { learning, clock, isBusy }: { learning: MachineLearning; clock: Clock; isBusy?: () => Promise<boolean> },
): CompareTools {
  return {
    program: llamaChildProgram,
    store: createModelStore(settings),
    read: () => readMachine(learning),
    readVramFree: () => readVramFree(),
    wish: settings.load,
    folder: settings.dataDir,
    clock,
    ...(isBusy === undefined ? {} : { isBusy }),
  };
}

/** The machine as it is now, with what it has taught. */
export async function readMachine(learning: MachineLearning): Promise<MachineReading> {
  const reading = await createHardwareProbe({ program: llamaChildProgram }).read();
  const learned = learning.learned({ reading, buildFamily: "node-llama-cpp", build: measuredBuild });
  return learned === undefined ? reading : { ...reading, learned };
}
