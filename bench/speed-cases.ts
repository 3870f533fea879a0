/** Measured speed rows as questions to the speed model: model, settings and machine of each. */
import { findGpu, parseHardwareName } from "../src/fit/gpus.ts";
import { specFromKeys } from "../src/fit/model.ts";
import { offloadableLayers, splitByFreeMemory } from "../src/fit/placement.ts";
import { quantizationTotalBytes } from "../src/fit/quantization-bytes.ts";
import { canonicalQuantization } from "../src/fit/quantization-names.ts";
import { metadataOfFacts, type ShapeFacts } from "../src/fit/shape-facts.ts";
import type { Hardware, ModelSpec, RuntimeSettings } from "../src/fit/types.ts";
import models from "./data/speed-models.json" with { type: "json" };
import rows from "./data/speed-rows.json" with { type: "json" };

export interface SpeedRow {
  gpu: string;
  model: string;
  quantization: string;
  decode: number;
  depth: number;
  source: string;
  count?: number;
  prefill?: number;
  prompt?: number;
  build?: string;
  engine?: string;
  /** Layers on the GPU and MoE layers with experts on the host, where not all are on the GPU. */
  layers?: number;
  hostExperts?: number;
  /** The two above are our planner's choice, as the source does not say. */
  placed?: boolean;
  ram?: string;
  /** GB of a unified-memory machine. */
  memory?: number;
  backend?: string;
  /** Why the row takes no part in fit and test; predicted all the same. */
  leftOut?: string;
  /** Context allocated, where it is large enough to matter. */
  context?: number;
}

export interface SpeedCase {
  row: SpeedRow;
  /** Position among all rows; every third is kept for testing. */
  index: number;
  test: boolean;
  model: ModelSpec;
  settings: RuntimeSettings;
  hardware: Hardware;
  /** Line of the table. */
  family: string;
  offload: "full" | "partial" | "none";
}

const shapes = models.models as unknown as Record<string, ShapeFacts>;
const specs = new Map<string, ModelSpec>();

export function specOf(name: string): ModelSpec {
  let spec = specs.get(name);
  if (!spec) {
    const facts = shapes[name];
    if (!facts) throw new Error(`No shape for ${name} in speed-models.json.`);
    const { metadata, hints } = metadataOfFacts(facts);
    spec = specFromKeys(metadata, "catalogue", { name }, hints);
    specs.set(name, spec);
  }
  return spec;
}

/** The planner's name of a row's mix: "Q4_K_M" for "UD-Q4_K_M" where no recipe of that name is known. */
function mixOf(model: ModelSpec, quantization: string): string {
  const name = canonicalQuantization(quantization);
  for (const known of [name, name.replace(/_XL$/, "_L"), name.replace(/^UD-/, ""), name.replace(/_M$/, "")]) {
    try {
      quantizationTotalBytes(model, known);
      return known;
    } catch {
      // Not a name of the planner's: the next spelling.
    }
  }
  throw new Error(`No mix for ${quantization}.`);
}

const ALL_ROWS = rows.rows as readonly SpeedRow[];
/** Rows that take part. */
export const SPEED_ROWS: readonly SpeedRow[] = ALL_ROWS.filter((row) => row.leftOut === undefined);
export const SPEED_SOURCES: Record<string, string> = rows.sources;
export const SPEED_LEFT_OUT: Record<string, number> = rows["left out"];

export function speedCases(): SpeedCase[] {
  return SPEED_ROWS.map(toCase);
}

/** Rows with a known card and model that the tables leave out, to show what that hides. */
export function leftOutCases(): SpeedCase[] {
  return ALL_ROWS.filter((row) => row.leftOut !== undefined).map(toCase);
}

function toCase(row: SpeedRow, index: number): SpeedCase {
  const model = specOf(row.model);
  const hardware = hardwareOf(row);
  const quantization = mixOf(model, row.quantization);
  const settings = settingsOf(row, model, hardware, quantization);
  const offload =
    settings.gpuLayers === 0
      ? "none"
      : settings.gpuLayers >= offloadableLayers(model) && settings.hostExpertLayers === 0
        ? "full"
        : "partial";
  return { row, index, test: index % 3 === 2, model, settings, hardware, family: familyOf(row, offload), offload };
}

function hardwareOf(row: SpeedRow): Hardware {
  const memory = row.memory === undefined ? "" : ` ${row.memory}gb`;
  const text =
    row.gpu === "CPU"
      ? `cpu 64gb ${row.ram ?? ""} ram`
      : `${row.count ?? 1}x ${row.gpu}${memory}${row.gpu.includes(" ram") ? "" : " + 64gb ram"}`;
  const hardware = parseHardwareName(text);
  if (!hardware) throw new Error(`Cannot read the machine "${text}".`);
  return row.backend === "vulkan" ? { ...hardware, backend: "vulkan" } : hardware;
}

function settingsOf(row: SpeedRow, model: ModelSpec, hardware: Hardware, quantization: string): RuntimeSettings {
  const old = row.build === "2024";
  const all = offloadableLayers(model);
  const settings: RuntimeSettings = {
    buildFamily: old ? "llama.cpp-2024" : "llama-server",
    quantization,
    contextLength: row.context ?? 4096,
    sequenceCount: 1,
    batchSize: 2048,
    microBatchSize: 512,
    flashAttention: !old,
    kvCacheTypeK: row.placed ? "Q8_0" : "F16",
    kvCacheTypeV: row.placed ? "Q8_0" : "F16",
    gpuLayers: hardware.gpus.length === 0 ? 0 : Math.min(row.layers ?? all, all),
    hostExpertLayers: row.hostExperts ?? 0,
    gpuLayerSplit: [],
  };
  const free = hardware.gpus.map((gpu) => gpu.vramBytesTotal);
  return { ...settings, gpuLayerSplit: splitByFreeMemory(settings.gpuLayers, free) };
}

function familyOf(row: SpeedRow, offload: SpeedCase["offload"]): string {
  if (row.gpu === "CPU") return "CPU";
  if (offload === "partial") return "partial offload";
  const facts = findGpu(row.gpu.split(" + ")[0]!)!.gpu;
  const vendor = facts.vendor === "apple" ? "Apple" : facts.vendor === "amd" ? "AMD" : "NVIDIA";
  const generation = vendor === "Apple" ? facts.generation.toUpperCase() : facts.generation;
  return `${vendor} ${generation}${(row.count ?? 1) > 1 ? ", several" : ""}`;
}
