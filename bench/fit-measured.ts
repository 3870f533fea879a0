/**
 * Plans the loads that others measured (bench/data/fit-measured.json) and compares term by term. Every third row is
 * kept for testing: it was not looked at when constants were chosen.
 */
import { GIB, MIB } from "../src/core/units.ts";
import { textOnly } from "../src/fit/answer-text-only.ts";
import { findCatalogueModel, specFromCatalogue } from "../src/fit/catalogue.ts";
import { specFromMetadata } from "../src/fit/model.ts";
import { planFit } from "../src/fit/plan.ts";
import type { Backend, BuildFamily, DeviceBreakdown, FitPlan, Hardware, ModelSpec, Wish } from "../src/fit/types.ts";
import data from "./data/fit-measured.json" with { type: "json" };

interface Measured {
  gpuWeights?: number[];
  hostWeights?: number;
  gpuCache?: number[];
  hostCache?: number;
  cacheTotal?: number;
  publishedCacheGib?: number;
  gpuState?: number[];
  hostState?: number;
  gpuCompute?: number[];
  hostCompute?: number;
  hostOutput?: number;
  /** Weights, cache, state and compute per GPU. */
  gpuSum?: number[];
  /** The same by layers offloaded. */
  sumByLayers?: Record<string, number>;
  /** What the driver reported for the process. */
  process?: number;
  /** Layers llama.cpp's own fit chose, with the MiB it kept free. */
  layers?: number;
  reserveMib?: number;
  /** Part of it went to main memory without a word. */
  spilled?: boolean;
}

export interface MeasuredRow {
  name: string;
  source: string;
  engine?: string;
  buildFamily: BuildFamily;
  model: { catalogue?: string; metadata?: Record<string, unknown> };
  quantization?: string;
  fileBytes?: number;
  backend: Backend;
  gpus: { totalMib: number; freeMib?: number }[];
  settings: Wish;
  measured: Measured;
}

export const MEASURED_ROWS = data.rows as unknown as MeasuredRow[];

/** One number of a row, in MiB unless the term says otherwise. */
export interface Comparison {
  row: string;
  term: string;
  architecture: string;
  /** In the third that is kept for testing. */
  held: boolean;
  measured: number;
  predicted: number;
}

/** The row's model as the planner would know it before download. */
export function modelOf(row: MeasuredRow): ModelSpec {
  if (row.model.metadata !== undefined) {
    return specFromMetadata(row.model.metadata, row.fileBytes === undefined ? {} : { fileBytes: row.fileBytes });
  }
  const found = findCatalogueModel(row.model.catalogue!);
  if (found === undefined) throw new Error(`${row.name}: no model ${row.model.catalogue}`);
  const spec = textOnly(specFromCatalogue(found.model));
  if (row.fileBytes === undefined) return spec;
  return { ...spec, tensors: spec.tensors, quantization: row.quantization!, fileBytes: row.fileBytes };
}

export function hardwareOf({ backend, gpus }: MeasuredRow): Hardware {
  return {
    backend,
    gpus: gpus.map(({ totalMib, freeMib }, index) => ({
      id: `gpu${index}`,
      vramBytesTotal: totalMib * MIB,
      ...(freeMib !== undefined && { vramBytesFree: freeMib * MIB }),
    })),
    ramBytesFree: 2048 * GIB,
  };
}

function wishOf(row: MeasuredRow): Wish {
  return {
    ...row.settings,
    buildFamily: row.buildFamily,
    ...(row.quantization !== undefined && { quantization: row.quantization }),
  };
}

/** Every comparison a row allows. */
export function compareRow(row: MeasuredRow, index: number): Comparison[] {
  const model = modelOf(row);
  const plan = planFit(model, hardwareOf(row), wishOf(row)) as FitPlan;
  const gpus = plan.devices.filter(({ kind }) => kind === "gpu");
  const host = plan.devices.find(({ kind }) => kind === "host")!;
  const list: Comparison[] = [];
  const push = (term: string, measured: number | undefined, bytes: number, unit = MIB) => {
    if (measured === undefined) return;
    const { architecture } = model;
    list.push({ row: row.name, term, architecture, held: index % 3 === 2, measured, predicted: bytes / unit });
  };
  const { measured } = row;
  const each = (term: string, values: number[] | undefined, bytes: (gpu: DeviceBreakdown) => number) => {
    values?.forEach((value, at) => {
      push(term, value, bytes(gpus[at]!));
    });
  };
  each("GPU weights", measured.gpuWeights, (gpu) => gpu.weightBytes);
  each("KV cache", measured.gpuCache, (gpu) => gpu.kvCacheBytes);
  each("recurrent state", measured.gpuState, (gpu) => gpu.recurrentStateBytes);
  each("GPU compute", measured.gpuCompute, (gpu) => gpu.computeBufferBytes);
  each("GPU sum", measured.gpuSum, buffersOf);
  push("host weights", measured.hostWeights, host.weightBytes);
  push("KV cache", measured.hostCache, host.kvCacheBytes);
  push("recurrent state", measured.hostState, host.recurrentStateBytes);
  push("host compute", measured.hostCompute, host.computeBufferBytes);
  push("host output", measured.hostOutput, host.outputBufferBytes);
  push("process", measured.process, gpus[0]?.totalBytes ?? 0);
  const cache = plan.devices.reduce((sum, device) => sum + device.kvCacheBytes, 0);
  push("KV cache", measured.cacheTotal, cache);
  push("published KV", measured.publishedCacheGib, cache, GIB);
  for (const [layers, sum] of Object.entries(measured.sumByLayers ?? {})) {
    const other = planFit(model, hardwareOf(row), { ...wishOf(row), gpuLayers: Number(layers) }) as FitPlan;
    push("GPU sum", sum, buffersOf(other.devices[0]!));
  }
  return list;
}

/** What llama.cpp's own breakdown adds up. */
function buffersOf(gpu: DeviceBreakdown): number {
  return gpu.totalBytes - gpu.runtimeBytes;
}

export interface StartOutcome {
  row: string;
  held: boolean;
  layers: number;
  planned: number;
  /** Measured: everything was really on the card. */
  resident: boolean;
  /** What the planner says of the load as it was. */
  fits: boolean;
  probability: number;
}

/** Layers the planner would choose where llama.cpp chose, and its verdict on that load. */
export function compareStart(row: MeasuredRow, index: number): StartOutcome | undefined {
  const { layers, spilled } = row.measured;
  if (layers === undefined) return undefined;
  const model = modelOf(row);
  const { gpuLayers: _chosen, ...open } = wishOf(row);
  const free = planFit(model, hardwareOf(row), open);
  const asLoaded = planFit(model, hardwareOf(row), wishOf(row)) as FitPlan;
  const plan = free.kind === "plan" ? free : free.nearest;
  return {
    row: row.name,
    held: index % 3 === 2,
    layers,
    planned: plan?.settings.gpuLayers ?? 0,
    resident: spilled !== true,
    fits: asLoaded.fits,
    probability: asLoaded.probability,
  };
}
