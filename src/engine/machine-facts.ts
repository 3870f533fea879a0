/** What this machine is and how it is doing: the facts of `snug doctor` that an engine can read by itself. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { MachineFacts } from "../core/doctor/facts.ts";
import type { HardwareReading } from "../core/ports.ts";
import { type BackendChoice, type BackendWish, chooseBackend, findLlamaServer } from "./backend.ts";
import { type GpuSources, readGpuConditions } from "./gpu-condition.ts";
import { readDiskBytesFree } from "./store-download.ts";

export interface MachineFactsOptions {
  hardware: HardwareReading;
  dataDir: string;
  /** What runs models: "auto" and no path unless settings say otherwise. */
  backend?: { wanted: BackendWish; serverPath: string | undefined };
  /** What runs a model that is loaded: it says more than the settings. */
  running?: BackendChoice | undefined;
  sources?: GpuSources;
}

export async function readMachineFacts(options: MachineFactsOptions): Promise<MachineFacts> {
  const { hardware, dataDir, backend, running, sources } = options;
  const [gpus, program, swap, onBattery, bytesFree] = await Promise.all([
    readGpuConditions(sources),
    running === undefined
      ? readProgram(backend ?? { wanted: "auto", serverPath: undefined }, hardware)
      : { name: running.backend, reason: running.reason },
    readSwap(),
    readOnBattery(),
    readDiskBytesFree(dataDir),
  ]);
  return {
    nodeVersion: process.version,
    hardware,
    gpus,
    ...(program === undefined ? {} : { program }),
    ...(swap === undefined ? {} : { swap }),
    ...(onBattery === undefined ? {} : { onBattery }),
    disk: { path: dataDir, bytesFree },
  };
}

/** Undefined when the settings name a llama-server that is not there: the settings' own check says so. */
async function readProgram(
  { wanted, serverPath: configured }: NonNullable<MachineFactsOptions["backend"]>,
  { gpus }: HardwareReading,
): Promise<MachineFacts["program"]> {
  try {
    const serverPath = await findLlamaServer(configured);
    const { backend: name, reason } = chooseBackend({ wanted, serverPath, needs: [], unequalGpus: areUnequal(gpus) });
    return { name, reason };
  } catch {
    return undefined;
  }
}

/** By more than a program or two on one of them. */
function areUnequal(gpus: HardwareReading["gpus"]): boolean {
  const free = gpus.map(({ vramBytesFree, vramBytesTotal }) => vramBytesFree ?? vramBytesTotal);
  return gpus.length > 1 && Math.min(...free) < 0.85 * Math.max(...free);
}

/** Linux only. */
async function readSwap(): Promise<MachineFacts["swap"]> {
  return parseSwap(await readFile("/proc/meminfo", "utf8").catch(() => ""));
}

export function parseSwap(memInfo: string): MachineFacts["swap"] {
  const kibibytes = (name: string) => new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(memInfo)?.[1];
  const [total, free] = [kibibytes("SwapTotal"), kibibytes("SwapFree")];
  if (total === undefined || free === undefined) return undefined;
  return { bytesTotal: Number(total) * 1024, bytesFree: Number(free) * 1024 };
}

/** True when there is a power supply of the mains kind and none of them is connected. Linux only. */
async function readOnBattery(folder = "/sys/class/power_supply"): Promise<boolean | undefined> {
  const supplies = await readdir(folder).catch(() => []);
  const read = (...path: string[]) => readFile(join(folder, ...path), "utf8").then((text) => text.trim());
  const mains = await Promise.all(
    supplies.map(async (name) => {
      const type = await read(name, "type").catch(() => "");
      return type === "Mains" ? await read(name, "online").catch(() => undefined) : undefined;
    }),
  );
  const known = mains.filter((online) => online !== undefined);
  return known.length === 0 ? undefined : known.every((online) => online === "0");
}
