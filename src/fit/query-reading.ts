/** What a question has stated so far: facts are added one by one, in the order they were said. */

import type { Fact, MemoryRole } from "./query-grammar.ts";
import type { HardwareFlags, HardwareMention, NamedGpu } from "./query-hardware.ts";
import type { NamedModel } from "./query-names.ts";
import type { OutsideKind } from "./query-outside.ts";
import type { FileReference } from "./query-references.ts";
import type { Framework, Localized, Purpose } from "./query-types.ts";
import type { Wish } from "./types.ts";

/** A word no rule, name or filler list knows. `order` counts the facts before it. */
export interface UnknownWord {
  text: string;
  start: number;
  order: number;
}

export interface Size {
  count: number;
  activeCount?: number;
  expertCount?: number;
  order: number;
}

export interface Reading {
  text: string;
  /** Facts so far. */
  order: number;
  mentions: HardwareMention[];
  flags: HardwareFlags;
  models: NamedModel[];
  sizes: Size[];
  activeCount?: number;
  wish: Wish;
  quantizations: string[];
  framework?: Framework;
  frameworkSaid?: string;
  purpose?: Purpose;
  vision?: boolean;
  /** Computers the question spreads the model over. */
  machines?: number;
  promptTokens?: number;
  decodeTokensPerSecondMin?: number;
  numbers: { value: number; order: number; version?: boolean }[];
  unknown: UnknownWord[];
  /** "rtx 4900": the words of a card's series that led to no card. */
  series?: string;
  reference?: FileReference;
  /** The first thing asked for that the planner does not plan. */
  outside?: { what: OutsideKind; name: string };
  notes: Localized[];
  /** What the fact before this one was. */
  last?: Fact["kind"] | "gpu" | "model";
  lastRole?: MemoryRole;
  pendingRole?: MemoryRole;
  pendingCount?: number;
}

export function createReading(text: string): Reading {
  return {
    text,
    order: 0,
    mentions: [],
    flags: { laptop: false, apple: false },
    models: [],
    sizes: [],
    wish: {},
    quantizations: [],
    numbers: [],
    unknown: [],
    notes: [],
  };
}

/** Counts of GPUs written as a bare number: "2 4090". */
const bareCountMax = 16;

export function addGpu(reading: Reading, named: NamedGpu): void {
  const before = reading.numbers.at(-1);
  if (
    reading.last === "number" &&
    before !== undefined &&
    Number.isInteger(before.value) &&
    before.value <= bareCountMax
  ) {
    reading.pendingCount ??= before.value;
    reading.numbers.pop();
  }
  reading.mentions.push({ kind: "gpu", named, count: takeCount(reading) });
  delete reading.pendingRole;
  step(reading, "gpu");
}

export function addModel(reading: Reading, named: NamedModel, _start: number): void {
  reading.models.push(named);
  delete reading.pendingRole;
  step(reading, "model");
}

function step(reading: Reading, kind: NonNullable<Reading["last"]>): void {
  reading.last = kind;
  reading.order++;
}

function takeCount(reading: Reading): number {
  const count = reading.pendingCount ?? 1;
  delete reading.pendingCount;
  return count;
}

export function addFact(reading: Reading, fact: Fact): void {
  switch (fact.kind) {
    case "filler":
      return;
    case "memory":
      addMemory(reading, fact.bytes);
      break;
    case "role":
      addRole(reading, fact.role);
      break;
    case "count":
      addCount(reading, fact.count, fact.suffix === true);
      break;
    case "ramSpeed":
      reading.flags.ramSpeed = fact;
      addRole(reading, "ram");
      step(reading, "role");
      return;
    default:
      addWish(reading, fact);
      if (fact.kind !== "plus") delete reading.pendingRole;
  }
  step(reading, fact.kind);
}

function addMemory(reading: Reading, bytes: number): void {
  const mention: HardwareMention = {
    kind: "memory",
    bytes,
    count: takeCount(reading),
    afterPlus: reading.last === "plus",
  };
  if (reading.pendingRole !== undefined) mention.role = reading.pendingRole;
  delete reading.pendingRole;
  reading.mentions.push(mention);
}

/** A role word belongs to the size before it when that has none yet, else to the size behind it. */
function addRole(reading: Reading, role: MemoryRole): void {
  const repeated = reading.last === "role" && (reading.lastRole === role || reading.pendingRole === undefined);
  const mention = reading.mentions.at(-1);
  reading.lastRole = role;
  if (reading.last === "memory" && mention?.kind === "memory") {
    if (mention.role === undefined && role !== "reserve" && role !== "cap") {
      mention.role = role;
      return;
    }
    if (mention.role === "reserve" && role === "free") return;
  }
  if (repeated && reading.pendingRole === undefined) return;
  // "free vram": the first word says more than the second.
  reading.pendingRole ??= role;
}

function addCount(reading: Reading, count: number, suffix: boolean): void {
  const mention = reading.mentions.at(-1);
  const justNamed = reading.last === "gpu" || reading.last === "memory";
  if (suffix && justNamed && mention !== undefined) mention.count = count;
  else reading.pendingCount = count;
}

function addWish(
  reading: Reading,
  fact: Exclude<Fact, { kind: "memory" | "role" | "ramSpeed" | "count" | "filler" }>,
): void {
  const { wish } = reading;
  switch (fact.kind) {
    case "plus":
      return;
    case "parameters":
      reading.sizes.push({ ...fact, order: reading.order });
      return;
    case "activeParameters":
      reading.activeCount = fact.count;
      return;
    case "context":
      if (fact.bare !== true || wish.contextLength === undefined) wish.contextLength = fact.tokens;
      return;
    case "promptTokens":
      reading.promptTokens = fact.tokens;
      return;
    case "sequences":
      wish.sequenceCount = fact.count;
      return;
    case "speed":
      reading.decodeTokensPerSecondMin = fact.tokensPerSecond;
      return;
    case "quantization":
      reading.quantizations.push(fact.name);
      return;
    case "kvCacheType":
      if (fact.part !== "v") wish.kvCacheTypeK = fact.type;
      if (fact.part !== "k") wish.kvCacheTypeV = fact.type;
      return;
    case "flashAttention":
      wish.flashAttention = fact.on;
      return;
    case "gpuLayers":
      if (fact.count !== "all") wish.gpuLayers = fact.count;
      return;
    case "hostExpertLayers":
      wish.hostExpertLayers = fact.count;
      return;
    case "batchSize":
      wish.batchSize = fact.count;
      return;
    case "microBatchSize":
      wish.microBatchSize = fact.count;
      return;
    case "framework":
      addFramework(reading, fact.framework, fact.as);
      return;
    case "backend":
      reading.flags.backend = fact.backend;
      return;
    case "purpose":
      reading.purpose ??= fact.purpose;
      return;
    case "machines":
      if (fact.count > 1) reading.machines = fact.count;
      return;
    case "vision":
      reading.vision = true;
      return;
    case "laptop":
      reading.flags.laptop = true;
      return;
    case "apple":
      reading.flags.apple = true;
      return;
    case "host": {
      // "dual xeon 256gb" is one memory.
      delete reading.pendingCount;
      reading.flags.host ??= fact;
      return;
    }
    case "outside":
      reading.outside ??= fact;
      return;
    case "number":
      reading.numbers.push({
        value: fact.value,
        order: reading.order,
        ...(fact.version === true && { version: true }),
      });
      return;
  }
}

function addFramework(reading: Reading, framework: Framework, as: string | undefined): void {
  // "bitsandbytes" beside "vllm" is a format there, not a second framework.
  if (reading.framework !== undefined) return;
  reading.framework = framework;
  if (as === "SGLang") {
    reading.notes.push({ en: "SGLang's memory is planned as vLLM's.", zh: "SGLang 的内存按 vLLM 规划。" });
  }
}
