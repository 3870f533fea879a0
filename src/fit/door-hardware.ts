/** The machine of a fit request as the planner's `Hardware`, with numbers that can only be a mistake of unit refused. */
import { AppError } from "../core/errors.ts";
import { MIB } from "../core/units.ts";
import type { FitsHardware } from "./door-schema.ts";
import { findGpu, type GpuFacts, parseHardwareName, suggestGpus } from "./gpus.ts";
import { parseQuery } from "./query.ts";
import type { Backend, GpuDevice, Hardware } from "./types.ts";

type FitsDevice = FitsHardware["devices"][number];

/** Slower than any memory (a number in GB/s), and faster than any (a number in bits, or worse). */
const bandwidthMin = 1e9;
const bandwidthMax = 1e14;

/** Throws AppError invalid_request with the field at fault. */
export function hardwareOf(hardware: string | FitsHardware): Hardware {
  return typeof hardware === "string" ? namedHardware(hardware) : listedHardware(hardware);
}

function namedHardware(name: string): Hardware {
  const hardware = parseHardwareName(name) ?? askedHardware(name);
  if (hardware !== undefined) return hardware;
  // A size that is none ("0gb") is not a misspelled card.
  const near = /[a-z]{3}|\d{3}/i.test(name) ? suggestGpus(name, 3).map((gpu) => gpu.name) : [];
  const hint =
    near.length === 0 ? 'Give devices with vramBytesTotal, or write "8gb".' : `Did you mean ${near.join(", or ")}?`;
  throw new AppError("invalid_request", `${JSON.stringify(name)} is no machine Snug knows. ${hint}`, {
    param: "hardware",
    ...(near.length === 0 ? {} : { details: { suggestions: near } }),
  });
}

/** A machine without a card, as a question would say it: "raspberry pi 5 8gb", "epyc 512gb", "mac mini 24gb". */
function askedHardware(name: string): Hardware | undefined {
  try {
    const { kind, hardware, notes } = parseQuery(name);
    const unknown = notes.some(({ en }) => /^I (?:do not know|left out|read|took)/.test(en));
    return kind === "models" && !unknown ? hardware : undefined;
  } catch (error) {
    if (error instanceof AppError) return undefined;
    throw error;
  }
}

function listedHardware(hardware: FitsHardware): Hardware {
  const named = hardware.devices.map(({ name }) => (name === undefined ? undefined : deviceNamed(name)));
  const known = named.map((one) => one?.facts);
  const { ramBytesTotal, ramBytesFree, ramBandwidthBytesPerSecond } = hardware;
  checkBytes(ramBytesTotal, "hardware.ramBytesTotal");
  checkBytes(ramBytesFree, "hardware.ramBytesFree");
  checkBandwidth(ramBandwidthBytesPerSecond, "hardware.ramBandwidthBytesPerSecond");
  return {
    ...(hardware.name === undefined ? {} : { name: hardware.name }),
    gpus: hardware.devices.map((device, index) => deviceOf(device, index, named[index])),
    backend: hardware.backend ?? backendOf(known),
    ...(ramBytesTotal === undefined ? {} : { ramBytesTotal }),
    ...(ramBytesFree === undefined ? {} : { ramBytesFree }),
    ...(ramBandwidthBytesPerSecond === undefined ? {} : { ramBandwidthBytesPerSecond }),
    ...(known.some((gpu) => gpu?.unifiedMemory) ? { unifiedMemory: true } : {}),
  };
}

/** What the cards of that name run with; CUDA for unnamed ones, the processor where there are none. */
function backendOf(known: readonly (GpuFacts | undefined)[]): Backend {
  if (known.length === 0) return "cpu";
  return known.find((gpu) => gpu !== undefined)?.backend ?? "cuda";
}

interface NamedDevice {
  facts: GpuFacts;
  /** As the name says, "4060 ti 16gb", or the commonest of that card. */
  vramBytesTotal: number;
}

/** One card by name; its size may stand in the name. */
function deviceNamed(name: string): NamedDevice | undefined {
  const facts = findGpu(name)?.gpu;
  if (facts !== undefined) return { facts, vramBytesTotal: facts.vramBytes[0]! };
  const [gpu, ...more] = parseHardwareName(name)?.gpus ?? [];
  const own = gpu?.name === undefined || more.length > 0 ? undefined : findGpu(gpu.name)?.gpu;
  return own === undefined ? undefined : { facts: own, vramBytesTotal: gpu!.vramBytesTotal };
}

function deviceOf(device: FitsDevice, index: number, named: NamedDevice | undefined): GpuDevice {
  const where = `hardware.devices[${index}]`;
  const { name, vramBytesFree } = device;
  const known = named?.facts;
  const vramBytesTotal = device.vramBytesTotal ?? named?.vramBytesTotal;
  if (vramBytesTotal === undefined) {
    const hint = name === undefined ? "" : ` ${JSON.stringify(name)} is no card Snug knows.`;
    throw mistake(`${where}.vramBytesTotal`, `the size is missing.${hint} Give it in bytes, or text such as "8 GiB".`);
  }
  checkBytes(vramBytesTotal, `${where}.vramBytesTotal`);
  checkBytes(vramBytesFree, `${where}.vramBytesFree`);
  checkBandwidth(device.bandwidthBytesPerSecond, `${where}.bandwidthBytesPerSecond`);
  if (vramBytesFree !== undefined && vramBytesFree > vramBytesTotal) {
    throw mistake(
      `${where}.vramBytesFree`,
      `${vramBytesFree} bytes are free of ${vramBytesTotal}; give both in bytes.`,
    );
  }
  const bandwidth = device.bandwidthBytesPerSecond ?? known?.bandwidthBytesPerSecond;
  return {
    id: `gpu${index}`,
    ...(name === undefined ? {} : { name: known?.name ?? name }),
    vramBytesTotal,
    ...(vramBytesFree === undefined ? {} : { vramBytesFree }),
    ...(bandwidth === undefined ? {} : { bandwidthBytesPerSecond: bandwidth }),
    ...(known?.fp16FlopsPerSecond === undefined ? {} : { fp16FlopsPerSecond: known.fp16FlopsPerSecond }),
    ...(known?.int8OpsPerSecond === undefined ? {} : { int8OpsPerSecond: known.int8OpsPerSecond }),
    ...(known === undefined ? {} : { generation: known.generation, laptop: known.laptop }),
  };
}

/** Nothing at all is possible for a reading; a few thousand bytes are a number of gigabytes or megabytes. */
function checkBytes(bytes: number | undefined, param: string): void {
  if (bytes === undefined || bytes >= MIB || (bytes === 0 && param.endsWith("Free"))) return;
  throw mistake(param, `${bytes} bytes is no size of memory. Give bytes, 8 GiB being 8589934592.`);
}

function checkBandwidth(rate: number | undefined, param: string): void {
  if (rate === undefined || (rate >= bandwidthMin && rate <= bandwidthMax)) return;
  throw mistake(
    param,
    `${rate} bytes per second is no memory's rate. Give bytes per second, 360 GB/s being 360000000000.`,
  );
}

function mistake(param: string, message: string): AppError {
  return new AppError("invalid_request", `${param} is wrong: ${message}`, { param });
}
