/** What a machine has learned, in the words of those who look at it: per device, build and architecture. */
import { findGpu } from "../fit/gpus.ts";
import { type LearnedEntry, type LearnedMachine, memoryCorrection } from "../fit/learned.ts";
import { gpuRuntimeBytes } from "../fit/memory.ts";
import { constantsFor, deviceRates, ramBandwidthDefault, SPEED_CONSTANTS } from "../fit/speed-constants.ts";
import { coreBytesPerSecond, hostLayerSeconds } from "../fit/speed-host.ts";
import { fitCorrection, machineOf } from "../fit/speed-measured.ts";
import type { Backend, GpuDevice, Hardware } from "../fit/types.ts";
import type { MachineLearning } from "./learning.ts";
import { cardsOf, learnedLoad, type MemoryRecord } from "./memory-records.ts";
import { learnedRun, type SpeedRecord } from "./speed-records.ts";

export function describeLearning({ memory, speed }: Pick<MachineLearning, "memory" | "speed">): LearnedEntry[] {
  const groups = new Map<string, { loads: MemoryRecord[]; runs: SpeedRecord[] }>();
  const group = (device: string, build: string, architecture: string) => {
    const key = JSON.stringify([device, build, architecture]);
    const found = groups.get(key) ?? { loads: [], runs: [] };
    groups.set(key, found);
    return found;
  };
  for (const load of memory.all) group(load.device, load.build ?? "?", load.architecture ?? "?").loads.push(load);
  for (const run of speed.all) group(run.device, run.build, run.architecture).runs.push(run);
  return [...groups].map(([key, { loads, runs }]) => {
    const [device = "", build = "", architecture = ""] = JSON.parse(key) as string[];
    return { device, build, architecture, ...describe(device, architecture, loads, runs) };
  });
}

function describe(
  device: string,
  architecture: string,
  loads: readonly MemoryRecord[],
  runs: readonly SpeedRecord[],
): Omit<LearnedEntry, "device" | "build" | "architecture"> {
  const backend = device.split(" ")[0] as Backend;
  const buildFamily = runs[0]?.settings.buildFamily ?? "node-llama-cpp";
  const learned: LearnedMachine = {
    backend,
    buildFamily,
    loads: loads.map(learnedLoad),
    runs: runs.map(learnedRun),
  };
  const hardware: Hardware = { backend, gpus: gpusOf(device), learned };
  const correction = memoryCorrection(hardware, architecture, { buildFamily }, gpuRuntimeBytes(backend));
  return {
    loads: loads.length,
    runs: runs.length,
    ...(correction?.runtimeBytes === undefined ? {} : { runtimeBytes: correction.runtimeBytes }),
    ...(correction === undefined
      ? {}
      : { computeFactor: { host: correction.computeHost, gpu: correction.computeGpu } }),
    ...speedOf(hardware, learned),
    lastAt: Math.max(...loads.map(({ at }) => at), ...runs.map(({ at }) => at)),
  };
}

/** The cards with what the table knows of them. */
function gpusOf(device: string): GpuDevice[] {
  return cardsOf(device).map((name, index) => {
    const facts = findGpu(name)?.gpu;
    const rate = facts?.bandwidthBytesPerSecond;
    return {
      id: `gpu${index}`,
      name,
      vramBytesTotal: facts?.vramBytes[0] ?? 2 ** 33,
      ...(rate === undefined ? {} : { bandwidthBytesPerSecond: rate }),
      ...(facts === undefined ? {} : { generation: facts.generation }),
    };
  });
}

function speedOf(
  hardware: Hardware,
  { runs }: LearnedMachine,
): Pick<LearnedEntry, "effectiveBandwidthBytesPerSecond" | "layerSeconds"> {
  const usable = runs.filter(({ work }) => work.gpus.length === hardware.gpus.length);
  const correction = fitCorrection(usable, hardware, SPEED_CONSTANTS);
  if (correction === undefined) return {};
  const { shared } = SPEED_CONSTANTS;
  const [gpu] = hardware.gpus;
  const last = usable.at(-1);
  if (correction.host !== undefined && last !== undefined) {
    const { weights } = correction.host;
    const layersSeconds = hostLayerSeconds(last.work, machineOf(last, hardware), shared);
    return {
      effectiveBandwidthBytesPerSecond: coreBytesPerSecond / weights,
      layerSeconds: (layersSeconds / Math.max(1, last.work.host.layers)) * weights,
    };
  }
  if (gpu === undefined) {
    return {
      effectiveBandwidthBytesPerSecond: (ramBandwidthDefault * shared.cpuEfficiency) / correction.cpu,
      layerSeconds: shared.cpuLayerSeconds * correction.cpu,
    };
  }
  const { constants } = constantsFor(SPEED_CONSTANTS, gpu.generation);
  return {
    effectiveBandwidthBytesPerSecond: (deviceRates(gpu).bandwidth * constants.efficiency) / correction.memory,
    layerSeconds: constants.layerSeconds * correction.launch,
  };
}
