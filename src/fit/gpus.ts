/** "2x3090", "m4 pro 48gb", "4090 + 64gb ram", "3060笔记本": the machine a person means. */
import { GIB, MIB } from "../core/units.ts";
import { plainText } from "./gpu-names.ts";
import { findGpu, type GpuFacts } from "./gpu-table.ts";
import type { Backend, GpuDevice, Hardware } from "./types.ts";

export { findGpu, GPUS, type GpuFacts, type GpuVendor, suggestGpus } from "./gpu-table.ts";

/** Longest hardware text read. */
const hardwareCharsMax = 200;
/** GPUs of one machine; more is a typing error. */
const gpuCountMax = 16;

const SIZE = /(?<![\w.])(\d{1,7}(?:\.\d{1,3})?)\s*(tib|tb|t|gib|gb|g|mib|mb)(?![a-z\d])/;
const UNIT_BYTES: Record<string, number> = { t: 1024 * GIB, g: GIB, m: MIB };

/** DDR generation to bandwidth of a dual-channel desktop at its commonest speed (3200 and 5600 MT/s x 16 bytes). */
const RAM_BANDWIDTH: Record<string, number> = { ddr3: 25.6e9, ddr4: 51.2e9, ddr5: 89.6e9, lpddr5: 102.4e9 };

/** Total bytes a machine's own wording gives the host, and how fast that memory is. */
interface Host {
  ramBytes?: number;
  bandwidth?: number;
}

interface Card {
  facts?: GpuFacts;
  bytes: number;
}

/**
 * Reads a machine as people type it: cards joined by "+", "and" or a comma, with a count ("2x3090", "3090 x2"), a memory
 * size ("4060 ti 16gb"), a bare size for an unnamed card ("6gb", "2x16gb"), system memory ("64gb ram"), or "cpu 32gb".
 * A size that no variant of the card has is taken as system memory when it is larger than the card's, else as the memory
 * to use of it. A unified-memory machine's GPU is given all of its memory; the planner knows what the system keeps. Not understood,
 * or nonsense (zero, over 16 cards): undefined.
 */
export function parseHardwareName(text: string): Hardware | undefined {
  if (text.length > hardwareCharsMax) return undefined;
  const host: Host = {};
  const cards: Card[] = [];
  let cpuOnly = false;
  const plain = plainText(text).replace(
    /\b(?:no|without)(?: a)? (?:dedicated |discrete )?(?:gpu|graphics card)\b/g,
    " cpu ",
  );
  for (const part of plain.split(/\s*(?:\+|[,，、;&]|和|加|\band\b|\bplus\b|\bwith\b)\s*/)) {
    if (part === "") continue;
    const rest = readHost(part, host);
    if (/\bcpu\b/.test(rest.text)) {
      cpuOnly = true;
      if (!readCpu(rest.text, host)) return undefined;
    } else if (rest.text !== "") {
      const found = readCards(rest.text, host);
      if (found === undefined) return undefined;
      cards.push(...found);
    } else if (!rest.read) return undefined;
  }
  if (cards.length > gpuCountMax || (cpuOnly && cards.length > 0)) return undefined;
  if (cards.length === 0) return cpuOnly || host.ramBytes !== undefined ? cpuMachine(host) : undefined;
  return assemble(cards, host);
}

/** Takes "64gb ram", "ram 64gb", "ddr5" out of a part. */
function readHost(part: string, host: Host): { text: string; read: boolean } {
  let read = false;
  const speed = /\b(lpddr5x?|ddr[345])(?:[- ](\d{4,5}))?\b/.exec(part);
  let text = part;
  if (speed) {
    const rated = speed[2] === undefined ? undefined : Number(speed[2]) * 16e6;
    host.bandwidth = rated ?? RAM_BANDWIDTH[speed[1]!.replace(/x$/, "")]!;
    text = text.replace(speed[0], " ram ");
  }
  text = text.replace(/\b(?:system |main |host )?(?:ram|memory)\b/g, "ram").replace(/(?:ram\s+)+ram\b/g, "ram");
  const size = SIZE.source;
  const pattern = new RegExp(`(?:${size}\\s*(?:of )?ram\\b)|(?:\\bram\\s*:?\\s*${size})`);
  const match = pattern.exec(text);
  if (match) {
    const bytes = sizeBytes(match[1] ?? match[3]!, match[2] ?? match[4]!);
    if (bytes !== undefined) host.ramBytes = bytes;
    text = text.replace(match[0], " ");
    read = bytes !== undefined;
  }
  return {
    text: text
      .replace(/\bv?ram\b/g, " ")
      .replace(/\s+/g, " ")
      .trim(),
    read,
  };
}

function readCpu(text: string, host: Host): boolean {
  const size = SIZE.exec(text);
  const bytes = size ? sizeBytes(size[1]!, size[2]!) : undefined;
  if (size && bytes === undefined) return false;
  if (bytes !== undefined) host.ramBytes = bytes;
  const rest = (size ? text.replace(size[0], " ") : text).replace(/\b(?:cpu|only)\b/g, " ").trim();
  return rest === "";
}

/** One part: a count, a name, a size; in any order that people use. */
function readCards(part: string, host: Host): Card[] | undefined {
  const counted = readCount(part);
  if (counted === undefined) return undefined;
  const size = SIZE.exec(counted.text);
  const bytes = size ? sizeBytes(size[1]!, size[2]!) : undefined;
  if (size && bytes === undefined) return undefined;
  const name = (size ? counted.text.replace(size[0], " ") : counted.text).replace(/\s+/g, " ").trim();
  if (/^(?:gpus?|cards?|graphics cards?|nvidia|geforce)?$/.test(name)) {
    return bytes === undefined ? undefined : Array.from({ length: counted.count }, () => ({ bytes }));
  }
  const found = findGpu(name);
  if (!found) return undefined;
  const card = chooseVariant(found, bytes, host);
  return Array.from({ length: counted.count }, () => card);
}

function readCount(part: string): { count: number; text: string } | undefined {
  const words: Record<string, string> = {
    dual: "2x ",
    two: "2x ",
    triple: "3x ",
    three: "3x ",
    quad: "4x ",
    four: "4x ",
  };
  const text = part.replace(/^(dual|two|triple|three|quad|four)\s+/, (_, word: string) => words[word]!);
  const before = /^(\d{1,2})\s*[x×*]\s*(?=\S)/.exec(text);
  const after = /(?:\s+[x×*]\s*|(?<=\d|\d g|\dgb|\bti|\bxtx?|super)[x×*])(\d{1,2})$/.exec(text);
  const match = before ?? after;
  if (!match) return { count: 1, text };
  const count = Number(match[1]);
  if (count < 1 || count > gpuCountMax) return undefined;
  return { count, text: text.replace(match[0], " ").trim() };
}

/** Nominal and reported sizes differ by up to 7 % (ECC, reserved memory): "24gb" is the L4 that reports 23034 MiB. */
const sizeTolerance = 0.07;

function chooseVariant(found: { gpu: GpuFacts; also: GpuFacts[] }, bytes: number | undefined, host: Host): Card {
  const { gpu, also } = found;
  if (bytes === undefined) return { facts: gpu, bytes: gpu.vramBytes[0]! };
  for (const facts of [gpu, ...also]) {
    const variant = facts.vramBytes.find((own) => Math.abs(own / bytes - 1) <= sizeTolerance);
    if (variant !== undefined) return { facts, bytes: variant };
  }
  const largest = Math.max(...gpu.vramBytes);
  if (gpu.unifiedMemory || bytes < largest) return { facts: gpu, bytes };
  host.ramBytes ??= bytes;
  return { facts: gpu, bytes: gpu.vramBytes[0]! };
}

function assemble(cards: readonly Card[], host: Host): Hardware {
  const unified = cards.find((card) => card.facts?.unifiedMemory === true);
  const gpus = cards.map((card, i) => device(card, i));
  const hardware: Hardware = { name: describe(cards), gpus, backend: commonBackend(cards) };
  const ramBytes = unified?.bytes ?? host.ramBytes;
  const bandwidth = unified?.facts?.bandwidthBytesPerSecond ?? host.bandwidth;
  return {
    ...hardware,
    ...(ramBytes !== undefined && { ramBytesTotal: ramBytes }),
    ...(bandwidth !== undefined && { ramBandwidthBytesPerSecond: bandwidth }),
    ...(unified && { unifiedMemory: true }),
  };
}

function device({ facts, bytes }: Card, index: number): GpuDevice {
  const id = `gpu${index}`;
  if (!facts) return { id, vramBytesTotal: bytes };
  // Of unified memory all of it: what the system keeps is for free-memory.ts to know.
  const vramBytesTotal = bytes;
  return {
    id,
    name: facts.name,
    vramBytesTotal,
    generation: facts.generation,
    ...(facts.bandwidthBytesPerSecond !== undefined && { bandwidthBytesPerSecond: facts.bandwidthBytesPerSecond }),
    ...(facts.fp16FlopsPerSecond !== undefined && { fp16FlopsPerSecond: facts.fp16FlopsPerSecond }),
    ...(facts.int8OpsPerSecond !== undefined && { int8OpsPerSecond: facts.int8OpsPerSecond }),
    ...(facts.laptop && { laptop: true }),
  };
}

/** Unnamed cards are taken for NVIDIA, as most are; different vendors meet only in Vulkan. */
function commonBackend(cards: readonly Card[]): Backend {
  const backends = new Set(cards.map((card) => card.facts?.backend ?? "cuda"));
  return backends.size === 1 ? [...backends][0]! : "vulkan";
}

function cpuMachine(host: Host): Hardware {
  return {
    name: "CPU only",
    gpus: [],
    backend: "cpu",
    ...(host.ramBytes !== undefined && { ramBytesTotal: host.ramBytes }),
    ...(host.bandwidth !== undefined && { ramBandwidthBytesPerSecond: host.bandwidth }),
  };
}

function describe(cards: readonly Card[]): string {
  const counts = new Map<string, number>();
  for (const card of cards) {
    const gib = Math.round((card.bytes / GIB) * 10) / 10;
    const several = (card.facts?.vramBytes.length ?? 1) > 1;
    const name = card.facts
      ? `${card.facts.name}${several ? ` ${Math.round(card.bytes / GIB)} GB` : ""}`
      : `${gib} GB GPU`;
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return [...counts].map(([name, count]) => (count > 1 ? `${count}x ${name}` : name)).join(" + ");
}

function sizeBytes(digits: string, unit: string): number | undefined {
  const bytes = Number(digits) * UNIT_BYTES[unit[0]!]!;
  return Number.isFinite(bytes) && bytes > 0 && bytes <= 2 ** 50 ? Math.round(bytes) : undefined;
}
