/** Memory sizes, counts and card names of a question, put together as one machine; each guess is said. */
import { formatBytes, GIB } from "../core/units.ts";
import { GPUS, type GpuFacts } from "./gpu-table.ts";
import type { MemoryRole } from "./query-grammar.ts";
import { type HostFacts, hostBandwidth, type RamSpeed } from "./query-hosts.ts";
import type { Localized } from "./query-types.ts";
import type { Backend, GpuDevice, Hardware } from "./types.ts";

/** A card named in the question, with the other cards the same words may mean. */
export interface NamedGpu {
  gpu: GpuFacts;
  also: readonly GpuFacts[];
}

/** What the question says of the machine, in the order it was said. */
export type HardwareMention =
  | { kind: "gpu"; named: NamedGpu; count: number }
  | { kind: "memory"; bytes: number; count: number; role?: MemoryRole; afterPlus: boolean };

export interface HardwareFlags {
  backend?: Backend;
  laptop: boolean;
  apple: boolean;
  /** The question, for the line of Macs it names. */
  appleText?: string;
  /** A processor, board or phone was named. */
  host?: HostFacts & { name: string };
  ramSpeed?: RamSpeed;
  /** A count said apart from any card or size: "6gb, two cards". */
  looseCount?: number;
}

export interface HardwareReading {
  hardware?: Hardware;
  reserveBytes?: number;
  vramBytesMax?: number;
  notes: Localized[];
}

/** Nominal and reported sizes differ by up to 7 % (error correction, memory kept by the firmware). */
const sizeTolerance = 0.07;
/** More GPUs than this in one machine is a typing error. */
export const gpusPerMachineMax = 64;

interface Draft {
  gpus: GpuDevice[];
  backends: Backend[];
  unified: boolean;
  /** Said instead of "16 GB GPU". */
  name?: string;
  ramBytes?: number;
  ramBandwidth?: number;
  freeBytes?: number;
  reading: HardwareReading;
}

type MemoryMention = Extract<HardwareMention, { kind: "memory" }>;

/** The machine a question describes; no hardware when it names none. */
export function readHardware(mentions: readonly HardwareMention[], flags: HardwareFlags): HardwareReading {
  const draft: Draft = { gpus: [], backends: [], unified: false, reading: { notes: [] } };
  const bare: MemoryMention[] = [];
  const unified = mentions.some((mention) => mention.kind === "gpu" && mention.named.gpu.unifiedMemory);
  for (const mention of mentions) {
    if (mention.kind !== "memory") continue;
    // "m3 max with 64gb ram": where there is one memory, it is the chip's.
    if (unified && (mention.role === "ram" || mention.role === "unified")) bare.push(mention);
    else if (!readRole(mention, draft)) bare.push(mention);
  }
  const cards = mentions.filter((mention) => mention.kind === "gpu");
  if (cards.length > 0) addNamedCards(mentions, bare, cards.length, flags, draft);
  else if (flags.apple || hasUnified(mentions)) addUnifiedMachine(mentions, flags, draft);
  else if (flags.backend === "cpu" || isHostAlone(bare, flags, draft)) addHostOnly(bare, draft);
  else addUnnamedCards(bare, flags, draft);
  applyLooseCount(flags, draft);
  addHostSpeed(flags, draft);
  return finish(draft, flags);
}

function hasUnified(mentions: readonly HardwareMention[]): boolean {
  return mentions.some((mention) => mention.kind === "memory" && mention.role === "unified");
}

/** Takes the sizes whose owner was said; true when taken. */
function readRole(mention: MemoryMention, draft: Draft): boolean {
  if (mention.role === "ram") draft.ramBytes = mention.bytes * mention.count;
  else if (mention.role === "free") draft.freeBytes = mention.bytes;
  else if (mention.role === "reserve") draft.reading.reserveBytes = mention.bytes;
  else if (mention.role === "cap") draft.reading.vramBytesMax = mention.bytes;
  else return mention.role === "unified";
  return true;
}

function addNamedCards(
  mentions: readonly HardwareMention[],
  bare: readonly MemoryMention[],
  cardCount: number,
  flags: HardwareFlags,
  draft: Draft,
): void {
  const left = new Set(bare);
  mentions.forEach((mention, index) => {
    if (mention.kind !== "gpu") return;
    const named = flags.laptop ? laptopPart(mention.named) : mention.named;
    const size = ownSize(mentions, index, left, named, cardCount);
    if (size !== undefined) left.delete(size);
    const { facts, bytes } = chooseVariant(named, size?.bytes, draft);
    const count = Math.max(mention.count, size?.count ?? 1);
    sayOther(named, facts, size !== undefined, draft);
    for (let copy = 0; copy < count; copy++) addDevice(deviceOf(facts, bytes), facts.backend, draft);
    if (facts.unifiedMemory) {
      draft.unified = true;
      draft.ramBytes = bytes;
      if (facts.bandwidthBytesPerSecond !== undefined) draft.ramBandwidth = facts.bandwidthBytesPerSecond;
    }
  });
  for (const rest of left) takeRest(rest, draft);
}

/** The size that stands beside a card: directly after it, else before it, else the only one there is. */
function ownSize(
  mentions: readonly HardwareMention[],
  index: number,
  left: ReadonlySet<MemoryMention>,
  named: NamedGpu,
  cardCount: number,
): MemoryMention | undefined {
  const free = (mention: HardwareMention | undefined): MemoryMention | undefined =>
    mention?.kind === "memory" && left.has(mention) ? mention : undefined;
  const after = free(mentions[index + 1]);
  if (after !== undefined && (!after.afterPlus || isVariant(named, after.bytes)) && plausible(named, after))
    return after;
  const before = free(mentions[index - 1]);
  if (before !== undefined && plausible(named, before)) return before;
  if (cardCount > 1) return undefined;
  for (const mention of left) if (plausible(named, mention) && !mention.afterPlus) return mention;
  return undefined;
}

function variants(named: NamedGpu): readonly GpuFacts[] {
  return [named.gpu, ...named.also];
}

function isVariant(named: NamedGpu, bytes: number): boolean {
  return variants(named).some((facts) => facts.vramBytes.some((own) => Math.abs(own / bytes - 1) <= sizeTolerance));
}

/** A size can be the card's own when some variant has it, when it is smaller, or when the machine shares its memory. */
function plausible(named: NamedGpu, mention: MemoryMention): boolean {
  if (mention.role === "vram" || named.gpu.unifiedMemory || isVariant(named, mention.bytes)) return true;
  return mention.bytes < Math.max(...named.gpu.vramBytes);
}

function laptopPart(named: NamedGpu): NamedGpu {
  const laptop = variants(named).find((facts) => facts.laptop);
  if (laptop === undefined || named.gpu.laptop) return named;
  return { gpu: laptop, also: variants(named).filter((facts) => facts !== laptop && facts.laptop) };
}

function chooseVariant(named: NamedGpu, bytes: number | undefined, draft: Draft): { facts: GpuFacts; bytes: number } {
  const { gpu } = named;
  if (bytes === undefined) return { facts: gpu, bytes: gpu.vramBytes[0]! };
  for (const facts of variants(named)) {
    const own = facts.vramBytes.find((size) => Math.abs(size / bytes - 1) <= sizeTolerance);
    if (own !== undefined) return { facts, bytes: own };
  }
  if (!gpu.unifiedMemory) {
    draft.reading.notes.push({
      en: `No ${gpu.name} has ${formatBytes(bytes)}; I planned with that size all the same.`,
      zh: `没有 ${formatBytes(bytes)} 的 ${gpu.name}；仍按这个大小规划。`,
    });
  }
  return { facts: gpu, bytes };
}

/** Names the card that was chosen where the same words fit several of different memory. */
function sayOther(named: NamedGpu, facts: GpuFacts, sized: boolean, draft: Draft): void {
  if (sized) return;
  const own = facts.vramBytes[0]!;
  const sizes = new Set(facts.vramBytes.map((bytes) => Math.round(bytes / GIB)));
  // Cards rebuilt with more memory than they were sold with are named by it; nobody means them unsaid.
  const others = variants(named).filter(
    (other) =>
      other !== facts && other.vramBytes[0] !== own && !(other.name.endsWith("GB") && other.vramBytes[0]! > own),
  );
  if (sizes.size < 2 && others.length === 0) return;
  const label = (name: string, gib: number): string => (name.endsWith("GB") ? name : `${name} ${gib} GB`);
  const listed = [
    ...[...sizes].slice(1).map((gib) => label(facts.name, gib)),
    ...others.slice(0, 2).map((other) => label(other.name, Math.round(other.vramBytes[0]! / GIB))),
  ].slice(0, 3);
  const chosen = label(facts.name, Math.round(own / GIB));
  draft.reading.notes.push({
    en: `I took the ${chosen}; there is also ${listed.join(", ")}.`,
    zh: `按 ${chosen} 计算；另有 ${listed.join("、")}。`,
  });
}

function deviceOf(facts: GpuFacts, bytes: number): Omit<GpuDevice, "id"> {
  // Of unified memory the GPU is given all; what the system keeps of it is the planner's to know.
  return {
    name: facts.name,
    vramBytesTotal: bytes,
    generation: facts.generation,
    ...(facts.bandwidthBytesPerSecond !== undefined && { bandwidthBytesPerSecond: facts.bandwidthBytesPerSecond }),
    ...(facts.fp16FlopsPerSecond !== undefined && { fp16FlopsPerSecond: facts.fp16FlopsPerSecond }),
    ...(facts.int8OpsPerSecond !== undefined && { int8OpsPerSecond: facts.int8OpsPerSecond }),
    ...(facts.laptop && { laptop: true }),
  };
}

function addDevice(device: Omit<GpuDevice, "id">, backend: Backend, draft: Draft): void {
  if (draft.gpus.length >= gpusPerMachineMax) return;
  draft.gpus.push({ id: `gpu${draft.gpus.length}`, ...device });
  draft.backends.push(backend);
}

/** A size left over beside named cards: system memory, as nothing else is missing. */
function takeRest(mention: MemoryMention, draft: Draft): void {
  if (draft.ramBytes !== undefined) return;
  draft.ramBytes = mention.bytes * mention.count;
  draft.reading.notes.push({
    en: `I took ${formatBytes(draft.ramBytes)} as system memory.`,
    zh: `把 ${formatBytes(draft.ramBytes)} 当作系统内存。`,
  });
}

function addUnifiedMachine(mentions: readonly HardwareMention[], flags: HardwareFlags, draft: Draft): void {
  const size = mentions.find((mention) => mention.kind === "memory" && (mention.role ?? "unified") !== "reserve");
  if (size?.kind !== "memory") return;
  const apple = flags.apple || flags.backend === "metal";
  draft.unified = true;
  draft.ramBytes = size.bytes;
  if (apple) draft.name = `Mac ${gibLabel(size.bytes)}`;
  if (apple) addUnnamedMac(size.bytes, flags, draft);
  else {
    const rate = 89.6e9;
    addDevice({ vramBytesTotal: size.bytes, bandwidthBytesPerSecond: rate }, "vulkan", draft);
    draft.ramBandwidth = rate;
    draft.reading.notes.push({
      en: "The chip was not named; its memory is taken as 2 x DDR5-5600 (90 GB/s).",
      zh: "没有写明芯片；内存按 2 x DDR5-5600（90 GB/s）计算。",
    });
  }
}

/** Of the newest chips sold with that memory the slowest, so that the speed is beaten rather than missed. */
function addUnnamedMac(bytes: number, { appleText = "" }: HardwareFlags, draft: Draft): void {
  const facts = usualChip(bytes, appleText);
  addDevice(deviceOf(facts, bytes), "metal", draft);
  if (facts.bandwidthBytesPerSecond !== undefined) draft.ramBandwidth = facts.bandwidthBytesPerSecond;
  draft.reading.notes.push({
    en: `The chip was not named; the speed is the ${facts.name}'s.`,
    zh: `没有写明芯片；速度按 ${facts.name} 计算。`,
  });
}

/** Chips that stand in a line of Macs. */
const MAC_LINES: readonly (readonly [line: RegExp, chips: RegExp])[] = [
  [/mac[ -]?studio|mac[ -]?pro\b/, /(?:Max|Ultra)$/],
  [/air|imac/, /M\d$/],
  [/mini/, /(?:M\d|Pro)$/],
  [/macbook/, /(?:M\d|Pro|Max)$/],
];

function usualChip(bytes: number, text: string): GpuFacts {
  const line = MAC_LINES.find(([pattern]) => pattern.test(text))?.[1] ?? /./;
  const chips = GPUS.filter(({ vendor }) => vendor === "apple");
  const inLine = chips.filter(({ name }) => line.test(name));
  const sold = inLine.filter(({ vramBytes }) => vramBytes.includes(bytes));
  const candidates = sold.length > 0 ? sold : inLine;
  const newest = Math.max(...candidates.map(chipNumber));
  const rate = ({ bandwidthBytesPerSecond = 0 }: GpuFacts): number => bandwidthBytesPerSecond;
  return candidates
    .filter((chip) => chipNumber(chip) === newest)
    .reduce((slowest, chip) => (rate(chip) < rate(slowest) ? chip : slowest));
}

/** 4 of "Apple M4 Pro". */
function chipNumber({ name }: GpuFacts): number {
  return Number(/M(\d)/.exec(name)?.[1] ?? 0);
}

/** "epyc 512gb", "raspberry pi 5 8gb": the one size beside a processor is its memory; a second one would be a card's. */
function isHostAlone(bare: readonly MemoryMention[], { host }: HardwareFlags, draft: Draft): boolean {
  if (host === undefined || draft.freeBytes !== undefined) return false;
  if (bare.length === 0) return true;
  return bare.length === 1 && bare[0]!.role === undefined && draft.ramBytes === undefined;
}

/** Main memory's speed as far as it was told; unified memory has its chip's. */
function addHostSpeed(flags: HardwareFlags, draft: Draft): void {
  if (draft.unified) return;
  const rate = hostBandwidth(flags.host ?? {}, flags.ramSpeed);
  if (rate === undefined) return;
  draft.ramBandwidth = rate.bytesPerSecond;
  if (rate.label === undefined) return;
  const rounded = Math.round(rate.bytesPerSecond / 1e9);
  draft.reading.notes.push({
    en: `Main memory is taken as ${rate.label} (${rounded} GB/s).`,
    zh: `内存按 ${rate.label}（${rounded} GB/s）计算。`,
  });
}

function addHostOnly(bare: readonly MemoryMention[], draft: Draft): void {
  const size = bare[0];
  if (size !== undefined && draft.ramBytes === undefined) draft.ramBytes = size.bytes * size.count;
  draft.backends.push("cpu");
}

function addUnnamedCards(bare: readonly MemoryMention[], flags: HardwareFlags, draft: Draft): void {
  const [first, ...others] = bare;
  if (first === undefined) {
    if (draft.freeBytes !== undefined) addDevice({ vramBytesTotal: draft.freeBytes }, "cuda", draft);
    return;
  }
  const cards = [first];
  for (const other of others) {
    const isRam = other.role !== "vram" && draft.ramBytes === undefined && other.bytes > first.bytes;
    if (isRam) takeRest(other, draft);
    else if (
      first.role === undefined &&
      draft.ramBytes === undefined &&
      !other.afterPlus &&
      other.bytes < first.bytes
    ) {
      // "32gb 8gb": the smaller is the card's, whatever the order.
      cards[0] = other;
      takeRest(first, draft);
    } else cards.push(other);
  }
  for (const card of cards) {
    for (let copy = 0; copy < card.count; copy++) {
      addDevice({ vramBytesTotal: card.bytes, ...(flags.laptop && { laptop: true }) }, "cuda", draft);
    }
  }
}

/** "6gb, two cards": the count applies when there is one card to multiply. */
function applyLooseCount(flags: HardwareFlags, draft: Draft): void {
  const device = draft.gpus[0];
  if (flags.looseCount === undefined || device === undefined || draft.gpus.length !== 1) return;
  const { id: _id, ...rest } = device;
  for (let copy = 1; copy < flags.looseCount; copy++) addDevice(rest, draft.backends[0]!, draft);
}

function finish(draft: Draft, flags: HardwareFlags): HardwareReading {
  const { gpus, reading } = draft;
  if (gpus.length === 0 && draft.ramBytes === undefined && draft.backends.length === 0) return reading;
  const backend = flags.backend ?? commonBackend(draft.backends);
  const free = draft.freeBytes;
  const devices =
    free === undefined ? gpus : gpus.map((gpu) => ({ ...gpu, vramBytesFree: Math.min(free, gpu.vramBytesTotal) }));
  const hardware: Hardware = {
    name: draft.name ?? describeHardware(devices, draft.unified ? draft.ramBytes : undefined),
    gpus: backend === "cpu" ? [] : devices,
    backend: devices.length === 0 ? "cpu" : backend,
    ...(draft.ramBytes !== undefined && { ramBytesTotal: draft.ramBytes }),
    ...(draft.ramBandwidth !== undefined && { ramBandwidthBytesPerSecond: draft.ramBandwidth }),
    ...(draft.unified && { unifiedMemory: true }),
  };
  return { ...reading, hardware };
}

/** Unnamed cards are taken for NVIDIA, as most are; different vendors meet only in Vulkan. */
function commonBackend(backends: readonly Backend[]): Backend {
  const distinct = new Set(backends);
  return distinct.size === 1 ? [...distinct][0]! : distinct.size === 0 ? "cpu" : "vulkan";
}

/** "2x RTX 3090 24 GB", "6 GB GPU", "CPU only". */
function describeHardware(gpus: readonly GpuDevice[], unifiedBytes: number | undefined): string {
  if (gpus.length === 0) return "CPU only";
  const counts = new Map<string, number>();
  for (const gpu of gpus) {
    const bytes = unifiedBytes ?? gpu.vramBytesTotal;
    const name =
      gpu.name === undefined
        ? `${gibLabel(bytes)} GPU`
        : /\d ?GB\b/.test(gpu.name)
          ? gpu.name
          : `${gpu.name} ${gibLabel(nominalBytes(bytes))}`;
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return [...counts].map(([name, count]) => (count > 1 ? `${count}x ${name}` : name)).join(" + ");
}

/** Sizes memory is sold in, GiB; drivers report up to 7 % less. */
const SOLD_SIZES = [
  2, 3, 4, 5, 6, 8, 10, 11, 12, 16, 18, 20, 22, 24, 32, 36, 40, 48, 64, 80, 94, 96, 128, 141, 192, 256, 288, 512,
];

function nominalBytes(bytes: number): number {
  const gib = bytes / GIB;
  const sold = SOLD_SIZES.find((size) => size >= gib * 0.999 && size / gib <= 1 + sizeTolerance);
  return sold === undefined ? bytes : sold * GIB;
}

/** "6 GB", "5.2 GB": GiB under the name they are sold by. */
export function gibLabel(bytes: number): string {
  return `${Math.round((bytes / GIB) * 10) / 10} GB`;
}
