/** Reads how the machine's GPUs are doing: nvidia-smi, the amdgpu driver or rocm-smi, other drivers' sensors, macOS. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { GpuCondition, GpuHolder, GpuThrottle } from "../core/gpu-condition.ts";
import { MIB } from "../core/units.ts";
import { mayHaveGpu } from "./gpu-presence.ts";
import { runCommandQuietly } from "./run-command.ts";

export interface GpuSources {
  /** Standard output of a command, undefined when it is not there or fails. */
  runCommand(command: string, parameters: readonly string[]): Promise<string | undefined>;
  readText(path: string): Promise<string | undefined>;
  /** Empty when the folder is not there. */
  listFolder(path: string): Promise<string[]>;
  mayHaveGpu(): Promise<boolean>;
  platform: NodeJS.Platform;
}

export const machineSources: GpuSources = {
  runCommand: runCommandQuietly,
  readText: (path) => readFile(path, "utf8").catch(() => undefined),
  listFolder: (path) => readdir(path).catch(() => []),
  mayHaveGpu: () => mayHaveGpu(),
  platform: process.platform,
};

/** Every GPU somebody tells something of; empty without one. Never rejects. */
export async function readGpuConditions(sources: GpuSources = machineSources): Promise<GpuCondition[]> {
  if (!(await sources.mayHaveGpu())) return [];
  if (sources.platform === "darwin") return parseIoreg((await sources.runCommand("ioreg", ioregQuestion)) ?? "");
  const nvidia = parseNvidiaXml((await sources.runCommand("nvidia-smi", ["-q", "-x"])) ?? "");
  const others = await readDrm(sources);
  if (others.some(({ vendor }) => vendor === "amd")) return [...nvidia, ...others];
  const rocm = parseRocmJson((await sources.runCommand("rocm-smi", ["--showall", "--json"])) ?? "");
  return [...nvidia, ...rocm, ...others];
}

/** Fields whose value is not known hold "N/A" or a sentence. */
function field(xml: string, name: string): string | undefined {
  return new RegExp(`<${name}>\\s*([^<]*?)\\s*</${name}>`).exec(xml)?.[1];
}

function section(xml: string, name: string): string {
  return new RegExp(`<${name}>([\\s\\S]*?)</${name}>`).exec(xml)?.[1] ?? "";
}

/** "22.78 W", "31 C", "1128 MiB", "37 %": the number. */
function quantity(text: string | undefined): number | undefined {
  const number = /^(-?\d+(?:\.\d+)?)(?:\s|$)/.exec(text ?? "")?.[1];
  return number === undefined ? undefined : Number(number);
}

function mebibytes(text: string | undefined): number | undefined {
  const number = quantity(text);
  return number === undefined ? undefined : number * MIB;
}

/** `nvidia-smi -q -x`, layouts of drivers 418 to 590. */
export function parseNvidiaXml(xml: string): GpuCondition[] {
  const driverVersion = field(xml, "driver_version");
  const cudaVersion = field(xml, "cuda_version");
  return [...xml.matchAll(/<gpu id="[^"]*">([\s\S]*?)<\/gpu>/g)].map(([, gpu = ""]) => {
    const memory = section(gpu, "fb_memory_usage");
    const temperature = section(gpu, "temperature");
    const power = section(gpu, "gpu_power_readings") || section(gpu, "power_readings");
    const limit = quantity(field(power, "current_power_limit") ?? field(power, "enforced_power_limit"));
    return known<GpuCondition>({
      name: field(gpu, "product_name") ?? "NVIDIA GPU",
      vendor: "nvidia",
      driverVersion,
      cudaVersion: /^\d/.test(cudaVersion ?? "") ? cudaVersion : undefined,
      vramBytesTotal: mebibytes(field(memory, "total")),
      vramBytesFree: mebibytes(field(memory, "free")),
      holders: nvidiaHolders(section(gpu, "processes")),
      barBytes: mebibytes(field(section(gpu, "bar1_memory_usage"), "total")),
      utilization: share(quantity(field(section(gpu, "utilization"), "gpu_util"))),
      temperatureCelsius: quantity(field(temperature, "gpu_temp")),
      slowdownCelsius: quantity(field(temperature, "gpu_temp_slow_threshold")),
      powerWatts: quantity(field(power, "instant_power_draw") ?? field(power, "power_draw")),
      powerLimitWatts: limit,
      powerLimitUsualWatts: quantity(field(power, "default_power_limit")),
      performanceState: field(gpu, "performance_state"),
      throttle: nvidiaThrottle(gpu),
    });
  });
}

function nvidiaHolders(xml: string): GpuHolder[] {
  const holders = [...xml.matchAll(/<process_info>([\s\S]*?)<\/process_info>/g)].flatMap(
    ([, one = ""]): GpuHolder[] => {
      const pid = Number(field(one, "pid"));
      const command = field(one, "process_name");
      if (!Number.isInteger(pid) || command === undefined) return [];
      return [known<GpuHolder>({ pid, program: programOf(command), bytes: mebibytes(field(one, "used_memory")) })];
    },
  );
  return holders.sort((left, right) => (right.bytes ?? 0) - (left.bytes ?? 0));
}

/** The file's name: paths and arguments may hold what is nobody's business. */
function programOf(command: string): string {
  const path = command.replaceAll("&quot;", '"').split(/ -|"/)[0] ?? "";
  return path.split(/[\\/]/).at(-1)?.trim().slice(0, 60) || "unknown";
}

const nvidiaReasons: readonly (readonly [GpuThrottle, RegExp])[] = [
  ["thermal", /_reason_(?:sw|hw)_thermal_slowdown>Active</],
  ["power_brake", /_reason_hw_power_brake_slowdown>Active</],
  ["power_cap", /_reason_sw_power_cap>Active</],
];

/** Reasons are called "throttle" or "event" reasons by the driver's age. */
function nvidiaThrottle(gpu: string): GpuThrottle[] {
  const reasons = nvidiaReasons.filter(([, pattern]) => pattern.test(gpu)).map(([reason]) => reason);
  // An idle card that saves power by its cap is not held back.
  return field(gpu, "performance_state") === "P8" ? reasons.filter((reason) => reason !== "power_cap") : reasons;
}

/** `rocm-smi --showall --json`, ROCm 4 to 6. */
export function parseRocmJson(text: string): GpuCondition[] {
  const told = parseObject(text);
  const system = asRecord(told.system);
  return Object.entries(told)
    .filter(([key]) => /^card\d+$/.test(key))
    .map(([key, value]) => {
      const card = asRecord(value);
      const number = (...names: string[]) => quantity(names.map((name) => card[name]).find((one) => one !== undefined));
      const total = number("VRAM Total Memory (B)");
      const used = number("VRAM Total Used Memory (B)");
      return known<GpuCondition>({
        name: card["Device Name"] ?? card["Card Series"] ?? card["Card series"] ?? `AMD ${key}`,
        vendor: "amd",
        driverVersion: system["Driver version"],
        vramBytesTotal: total,
        vramBytesFree: total === undefined || used === undefined ? undefined : total - used,
        barBytes: number("VIS_VRAM Total Memory (B)"),
        utilization: share(number("GPU use (%)")),
        temperatureCelsius: number("Temperature (Sensor junction) (C)", "Temperature (Sensor edge) (C)"),
        powerWatts: number("Average Graphics Package Power (W)", "Current Socket Graphics Package Power (W)"),
        powerLimitWatts: number("Max Graphics Package Power (W)"),
      });
    });
}

function parseObject(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? { ...value } : {};
  } catch {
    return {};
  }
}

function asRecord(value: unknown): Record<string, string | undefined> {
  return typeof value === "object" && value !== null
    ? Object.fromEntries(Object.entries(value).map(([key, one]) => [key, typeof one === "string" ? one : undefined]))
    : {};
}

const vendors: Record<string, GpuCondition["vendor"]> = { "0x1002": "amd", "0x8086": "intel" };

/** Linux' own files of AMD and Intel cards; NVIDIA's driver keeps none. Temperatures in 1/1000 degree, power in microwatts. */
async function readDrm({ readText, listFolder }: GpuSources): Promise<GpuCondition[]> {
  const folder = "/sys/class/drm";
  const cards = (await listFolder(folder)).filter((name) => /^card\d+$/.test(name)).sort();
  const found = await Promise.all(
    cards.map(async (card): Promise<GpuCondition[]> => {
      const device = join(folder, card, "device");
      const text = async (...path: string[]) => (await readText(join(device, ...path)))?.trim();
      const number = async (...path: string[]) => quantity(await text(...path));
      const vendor = vendors[(await text("vendor")) ?? ""];
      const [monitor = ""] = await listFolder(join(device, "hwmon"));
      const sensor = async (name: string, unit: number) => {
        const value = monitor === "" ? undefined : await number("hwmon", monitor, name);
        return value === undefined ? undefined : value / unit;
      };
      const total = await number("mem_info_vram_total");
      const used = await number("mem_info_vram_used");
      const temperatureCelsius = await sensor("temp1_input", 1000);
      // Graphics built into a processor tells neither and is nobody's GPU.
      if (vendor === undefined || (total === undefined && temperatureCelsius === undefined)) return [];
      return [
        known<GpuCondition>({
          name: (await text("product_name")) || `${vendor === "amd" ? "AMD" : "Intel"} ${card}`,
          vendor,
          vramBytesTotal: total,
          vramBytesFree: total === undefined || used === undefined ? undefined : total - used,
          barBytes: await number("mem_info_vis_vram_total"),
          utilization: share(await number("gpu_busy_percent")),
          temperatureCelsius,
          slowdownCelsius: await sensor("temp1_crit", 1000),
          powerWatts: (await sensor("power1_average", 1e6)) ?? (await sensor("power1_input", 1e6)),
          powerLimitWatts: await sensor("power1_cap", 1e6),
          powerLimitUsualWatts: await sensor("power1_cap_default", 1e6),
        }),
      ];
    }),
  );
  return found.flat();
}

const ioregQuestion = ["-r", "-d", "1", "-w", "0", "-c", "IOAccelerator"];

/** macOS tells how busy its GPU is; power and temperature are for root only. */
export function parseIoreg(text: string): GpuCondition[] {
  const busy = /"Device Utilization %"\s*=\s*(\d+)/.exec(text)?.[1];
  if (busy === undefined) return [];
  const name = /"model"\s*=\s*"([^"]+)"/.exec(text)?.[1];
  return [known<GpuCondition>({ name: name ?? "Apple GPU", vendor: "apple", utilization: share(Number(busy)) })];
}

function share(percent: number | undefined): number | undefined {
  return percent === undefined || percent < 0 || percent > 100 ? undefined : percent / 100;
}

/** Without the members that are undefined. */
function known<T>(facts: { [Key in keyof T]: T[Key] | undefined }): T {
  return Object.fromEntries(Object.entries(facts).filter(([, value]) => value !== undefined)) as T;
}
