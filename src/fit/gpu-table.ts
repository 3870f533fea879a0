/** The cards and unified-memory machines people own, and the names they type for them. */
import { MIB } from "../core/units.ts";
import data from "./data/gpus.json" with { type: "json" };
import { editDistance, nameKeys, nameTokens } from "./gpu-names.ts";
import type { Backend } from "./types.ts";

export type GpuVendor = "nvidia" | "amd" | "intel" | "apple";

/** What the data sheets say of one card or machine; a figure without a source is absent. */
export interface GpuFacts {
  name: string;
  vendor: GpuVendor;
  /** Speed-model key: "ampere", "ada", "ampere-dc", "rdna3", "m4" … */
  generation: string;
  /** What our engine runs it with unless told otherwise. */
  backend: Backend;
  /** CUDA compute capability, NVIDIA only. */
  computeCapability?: number;
  /** Total memory as the driver reports it, one entry per variant, the most common first; the machine's memory when `unifiedMemory`. */
  vramBytes: readonly number[];
  bandwidthBytesPerSecond?: number;
  fp32FlopsPerSecond?: number;
  /** Dense FP16 matrix rate with FP32 accumulation. */
  fp16FlopsPerSecond?: number;
  /** Dense INT8 matrix (or dot-product) rate. */
  int8OpsPerSecond?: number;
  laptop: boolean;
  unifiedMemory: boolean;
  /** Where the figures come from. */
  source: string;
}

/** A row of data/gpus.json. */
interface GpuRow {
  name: string;
  aliases?: readonly string[];
  class: string;
  vramMiB: readonly number[];
  bandwidthGBs?: number;
  fp32Tflops?: number;
  fp16Tflops?: number;
  int8Tops?: number;
  cc?: number;
  laptop?: boolean;
  unifiedMemory?: boolean;
  source: string;
}

type ClassRow = readonly [
  generation: string,
  vendor: string,
  backend: string,
  computeCapability: number | null,
  fp16PerFp32: number | null,
  int8PerFp32: number | null,
];

const VENDORS: readonly GpuVendor[] = ["nvidia", "amd", "intel", "apple"];
const BACKENDS: readonly Backend[] = ["cuda", "vulkan", "rocm", "metal", "cpu"];
const ROWS: readonly GpuRow[] = data.gpus;
const SOURCES: Record<string, string> = data.sources;
const CLASSES: Record<string, readonly unknown[]> = data.classes;

export const GPUS: readonly GpuFacts[] = ROWS.map(readRow);

/** Words that part variants of one card: leaving them out means any of them. */
const VARIANT_WORD = /^(?:laptop|ada|\d+gb)$/;

/** Lowest-case key to rows, the first being the best answer. */
const INDEX: ReadonlyMap<string, readonly GpuFacts[]> = buildIndex();

function readRow(row: GpuRow): GpuFacts {
  const [generation, vendorName, backendName, classCapability, fp16PerFp32, int8PerFp32] = CLASSES[
    row.class
  ] as unknown as ClassRow;
  const tera = 1e12;
  const rate = (own: number | undefined, ratio: number | null): number | undefined => {
    if (own !== undefined) return own * tera;
    return row.fp32Tflops === undefined || ratio === null ? undefined : row.fp32Tflops * ratio * tera;
  };
  const capability = row.cc ?? classCapability ?? undefined;
  const fp16 = rate(row.fp16Tflops, fp16PerFp32);
  const int8 = rate(row.int8Tops, int8PerFp32);
  return {
    name: row.name,
    vendor: VENDORS.find((vendor) => vendor === vendorName) ?? "nvidia",
    generation,
    backend: BACKENDS.find((backend) => backend === backendName) ?? "vulkan",
    vramBytes: row.vramMiB.map((mib) => mib * MIB),
    laptop: row.laptop === true,
    unifiedMemory: row.unifiedMemory === true,
    source: [...row.source].map((letter) => SOURCES[letter] ?? letter).join("; "),
    ...(capability !== undefined && { computeCapability: capability }),
    ...(row.bandwidthGBs !== undefined && { bandwidthBytesPerSecond: row.bandwidthGBs * 1e9 }),
    ...(row.fp32Tflops !== undefined && { fp32FlopsPerSecond: row.fp32Tflops * tera }),
    ...(fp16 !== undefined && { fp16FlopsPerSecond: fp16 }),
    ...(int8 !== undefined && { int8OpsPerSecond: int8 }),
  };
}

function buildIndex(): Map<string, GpuFacts[]> {
  const index = new Map<string, GpuFacts[]>();
  const add = (key: string, gpu: GpuFacts, own: boolean): void => {
    const rows = index.get(key) ?? [];
    if (rows.includes(gpu)) return;
    if (own) rows.unshift(gpu);
    else rows.push(gpu);
    index.set(key, rows);
  };
  const named = ROWS.map((row, i) => ({ gpu: GPUS[i]!, names: [row.name, ...(row.aliases ?? [])] }));
  for (const { gpu, names } of named) {
    for (const key of names.flatMap(nameKeys)) {
      const tokens = key.split(" ");
      const base = tokens.filter((token) => !VARIANT_WORD.test(token)).join(" ");
      if (base !== key && base !== "") add(base, gpu, false);
    }
  }
  // Own names go in last and in reverse, so that the table's order decides between equals and beats a variant.
  for (const { gpu, names } of named.toReversed()) {
    for (const key of names.flatMap(nameKeys)) add(key, gpu, true);
  }
  return index;
}

/** "4070s" and "3060m" as sellers write them. */
function spellings(tokens: readonly string[]): string[] {
  const last = tokens.at(-1);
  const stem = tokens.slice(0, -1);
  const out = [tokens.join(" ")];
  if (last === "s") out.push([...stem, "super"].join(" "));
  if (last === "m") out.push([...stem, "laptop"].join(" "));
  if (tokens.includes("laptop") && last !== "laptop") {
    out.push([...tokens.filter((token) => token !== "laptop"), "laptop"].join(" "));
  }
  return out;
}

/**
 * The card a text names, whatever brand words, spacing or case it uses: "3060 laptop", "RTX4060Ti", "7900xtx", "m4 pro".
 * `also` holds the other cards the same words may mean (another memory size, the laptop part). Sizes, counts and RAM
 * do not belong in `text`; `parseHardwareName` reads those. Unknown: undefined.
 */
export function findGpu(text: string): { gpu: GpuFacts; also: GpuFacts[] } | undefined {
  if (text.length > 100) return undefined;
  for (const key of nameKeys(text)) {
    for (const spelling of spellings(key.split(" "))) {
      const rows = INDEX.get(spelling);
      if (rows?.[0]) return { gpu: rows[0], also: rows.slice(1) };
    }
  }
  return undefined;
}

/** The `count` cards whose names are nearest to what was typed, nearest first; for "did you mean". */
export function suggestGpus(text: string, count: number): GpuFacts[] {
  const typed = nameTokens(text.slice(0, 100)).join(" ");
  if (typed === "") return [];
  const scored = GPUS.map((gpu) => {
    const distances = nameKeys(gpu.name).map((key) => editDistance(typed, key) / Math.max(typed.length, key.length));
    return { gpu, distance: Math.min(...distances) };
  });
  scored.sort((a, b) => a.distance - b.distance);
  return scored
    .filter(({ distance }) => distance < 0.67)
    .slice(0, count)
    .map(({ gpu }) => gpu);
}
