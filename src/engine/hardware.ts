/** What this machine has: CPU, memory and GPUs, as the planner and `snug doctor` need it. */
import { fork } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { cpus, totalmem } from "node:os";
import { join } from "node:path";
import { deviceProbeMsMax } from "../core/limits.ts";
import type { GpuReading, HardwareProbe, HardwareReading } from "../core/ports.ts";
import { MIB } from "../core/units.ts";
import { findGpu } from "../fit/gpus.ts";
import { type ReadText, readUsableCores } from "./cpu-quota.ts";
import { mayHaveGpu } from "./gpu-presence.ts";
import { visibleCards } from "./gpu-selection.ts";
import type { ChildMessage, LlamaDevices, ParentMessage } from "./ipc.ts";
import { runCommandQuietly } from "./run-command.ts";
import type { ChildProgram } from "./supervisor.ts";

export interface HardwareProbeOptions {
  /** The llama child; it is asked for what llama.cpp itself would use, where a GPU may be. */
  program: ChildProgram;
  /** Standard output of a command, undefined when it is not there or fails. */
  runCommand?: (command: string, parameters: readonly string[]) => Promise<string | undefined>;
  /** Devices llama.cpp sees; undefined when it cannot say. */
  askLlama?: () => Promise<LlamaDevices | undefined>;
  mayHaveGpu?: () => Promise<boolean>;
}

export function createHardwareProbe(options: HardwareProbeOptions): HardwareProbe {
  const {
    runCommand = runCommandQuietly,
    askLlama = () => askLlamaChild(options.program),
    mayHaveGpu: look = mayHaveGpu,
  } = options;
  return {
    async read(): Promise<HardwareReading> {
      const [cpu, gpus] = await Promise.all([
        readCpu(),
        look().then((may) => (may ? readGpus(runCommand, askLlama) : none)),
      ]);
      return { cpu, ...readMemory(), ...gpus };
    },
  };
}

interface GpuFindings {
  gpus: GpuReading[];
  backend: HardwareReading["backend"];
}

const none: GpuFindings = { gpus: [], backend: "cpu" };

/**
 * Per-device figures come from the driver's own tool; llama.cpp adds up what it finds. It is asked second, because a
 * process that opens a GPU takes some of the memory that is to be counted.
 */
async function readGpus(
  runCommand: NonNullable<HardwareProbeOptions["runCommand"]>,
  askLlama: NonNullable<HardwareProbeOptions["askLlama"]>,
): Promise<GpuFindings> {
  const nvidia = await readNvidia(runCommand);
  const amd = nvidia.length > 0 ? [] : await readAmdMemory(readTextFile, listFolder);
  const llama = await askLlama();
  if (llama === undefined) return { gpus: nvidia, backend: nvidia.length > 0 ? "cuda" : "cpu" };
  if (nvidia.length > 0) return { gpus: nvidia, backend: llama.backend };
  return { gpus: spreadMemory(llama, amd), backend: llama.backend };
}

/** The cards CUDA's processes may use. */
async function readNvidia(runCommand: NonNullable<HardwareProbeOptions["runCommand"]>): Promise<GpuReading[]> {
  const query = ["--query-gpu=name,memory.total,memory.free,driver_version,uuid", "--format=csv,noheader,nounits"];
  const cards = parseNvidiaSmi((await runCommand("nvidia-smi", query)) ?? "");
  return visibleCards(cards, process.env.CUDA_VISIBLE_DEVICES);
}

/**
 * Free bytes of every GPU by its driver's own tool, in the order of the reading; undefined where there is none.
 *
 * @param gpuCount GPUs of the reading, where it leaves out integrated ones
 */
export async function readVramFree(
  gpuCount?: number,
  runCommand: NonNullable<HardwareProbeOptions["runCommand"]> = runCommandQuietly,
): Promise<number[] | undefined> {
  if (!(await mayHaveGpu())) return undefined;
  const nvidia = await readNvidia(runCommand);
  if (nvidia.length > 0) {
    const free = nvidia.flatMap(({ vramBytesFree }) => vramBytesFree ?? []);
    return free.length === nvidia.length ? free : undefined;
  }
  const amd = await readAmdMemory(readTextFile, listFolder);
  return amd.length === 0 ? undefined : largest(amd, gpuCount ?? amd.length).map((device) => device.vramBytesFree);
}

/** Lines of "name, total MiB, free MiB, driver, id"; undefined for devices that do not tell their memory. */
export function parseNvidiaSmi(text: string): (GpuReading | undefined)[] {
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  return lines.map((line): GpuReading | undefined => {
    const [name, total, free, driverVersion, uuid] = line.split(",").map((field) => field.trim());
    const totalMib = Number(total);
    if (name === undefined || name === "" || !(totalMib > 0)) return undefined;
    const freeMib = Number(free);
    return {
      name,
      vramBytesTotal: totalMib * MIB,
      ...(freeMib >= 0 ? { vramBytesFree: freeMib * MIB } : {}),
      ...(driverVersion === undefined || driverVersion === "" ? {} : { driverVersion }),
      ...(uuid?.startsWith("GPU-") === true ? { uuid } : {}),
    };
  });
}

interface DeviceMemory {
  vramBytesTotal: number;
  vramBytesFree: number;
}

/** What the amdgpu driver says of each of its cards. */
export async function readAmdMemory(
  readText: ReadText,
  list: (path: string) => Promise<string[]>,
): Promise<DeviceMemory[]> {
  const folder = "/sys/class/drm";
  const cards = (await list(folder)).filter((name) => /^card\d+$/.test(name)).sort();
  const readings = await Promise.all(
    cards.map(async (card) => {
      const number = async (file: string) => Number(await readText(join(folder, card, "device", file)));
      const [total, used] = [await number("mem_info_vram_total"), await number("mem_info_vram_used")];
      return total > 0 && used >= 0 ? [{ vramBytesTotal: total, vramBytesFree: total - used }] : [];
    }),
  );
  return readings.flat();
}

/**
 * llama.cpp's device names with the driver's figures where they match in number, else equal shares of its own sum.
 * Integrated GPUs are left out beside others, as llama.cpp leaves them.
 */
export function spreadMemory(llama: LlamaDevices, known: readonly DeviceMemory[]): GpuReading[] {
  const { names: all, vramBytesTotal, vramBytesFree } = llama;
  const cards = all.filter((name) => !isIntegrated(name));
  const names = cards.length === 0 ? all : cards;
  const own = largest(known, names.length);
  if (own.length === names.length) return names.map((name, index) => ({ name, ...own[index]! }));
  return names.map((name) => ({
    name,
    vramBytesTotal: Math.floor(vramBytesTotal / all.length),
    vramBytesFree: Math.floor(vramBytesFree / all.length),
  }));
}

/** The `count` with the most memory, in their own order: what an integrated GPU has set aside is the least. */
function largest(devices: readonly DeviceMemory[], count: number): readonly DeviceMemory[] {
  if (devices.length <= count) return devices;
  const kept = new Set(devices.toSorted((left, right) => right.vramBytesTotal - left.vramBytesTotal).slice(0, count));
  return devices.filter((device) => kept.has(device));
}

/** By what drivers call them: "AMD Radeon Graphics", "Intel(R) UHD Graphics 770", or after the processor they are part of. */
function isIntegrated(name: string): boolean {
  if (findGpu(name)?.gpu.unifiedMemory === true) return true;
  return /^AMD Radeon(?:\(TM\))? (?:Vega \d+ )?Graphics|Intel.*\b(?:UHD|HD|Iris)\b|\d-Core Processor/i.test(name);
}

/** Asks a fresh child, which ends with its answer: a driver that crashes takes only the child with it. */
export async function askLlamaChild(program: ChildProgram): Promise<LlamaDevices | undefined> {
  const child = fork(program.url, { execArgv: [...program.execArgv], stdio: ["ignore", "ignore", "ignore", "ipc"] });
  const patience = setTimeout(() => child.kill("SIGKILL"), deviceProbeMsMax);
  try {
    return await new Promise<LlamaDevices | undefined>((resolve) => {
      child.on("message", (message: ChildMessage) => {
        if (message.type === "devices") resolve(message.devices);
        if (message.type === "load_failed") resolve(undefined);
      });
      child.once("error", () => resolve(undefined));
      child.once("exit", () => resolve(undefined));
      const question: ParentMessage = { type: "probe", gpu: "auto" };
      child.send(question, () => {});
    });
  } finally {
    clearTimeout(patience);
    child.kill("SIGKILL");
  }
}

async function readCpu(): Promise<HardwareReading["cpu"]> {
  const processors = cpus();
  const cpuInfo = await readTextFile("/proc/cpuinfo");
  return {
    name: processors[0]?.model.trim() || "unknown CPU",
    coresPhysical: countPhysicalCores(cpuInfo ?? "") ?? Math.max(1, processors.length),
    coresUsable: await readUsableCores(),
  };
}

/** Distinct cores in Linux's /proc/cpuinfo, hyper-threads counted once; undefined when it does not tell. */
export function countPhysicalCores(cpuInfo: string): number | undefined {
  const cores = new Set<string>();
  for (const processor of cpuInfo.split(/\n\s*\n/)) {
    const field = (name: string) => new RegExp(`^${name}\\s*:\\s*(\\d+)`, "m").exec(processor)?.[1];
    const core = field("core id");
    if (core !== undefined) cores.add(`${field("physical id") ?? "0"}:${core}`);
  }
  return cores.size === 0 ? undefined : cores.size;
}

/** A container's limit counts as the machine. */
function readMemory(): Pick<HardwareReading, "ramBytesTotal" | "ramBytesFree"> {
  const limit = process.constrainedMemory();
  const total = totalmem();
  return {
    ramBytesTotal: limit !== undefined && limit > 0 ? Math.min(total, limit) : total,
    ramBytesFree: readRamFree(),
  };
}

/** Main memory that programs may still take, bytes. */
export function readRamFree(): number {
  return process.availableMemory();
}

async function readTextFile(path: string): Promise<string | undefined> {
  return await readFile(path, "utf8").catch(() => undefined);
}

async function listFolder(path: string): Promise<string[]> {
  return await readdir(path).catch(() => []);
}
