/**
 * The catalogue's shapes against the engine: for one model of every architecture a file of its tensors is written
 * (holes instead of weights, few blocks and experts, the real widths) and loaded with node-llama-cpp on the CPU. It loads
 * only when every tensor's name and size is as llama.cpp expects and none is missing or left over; the KV cache and the
 * recurrent state it then allocates are compared with ours. Prints a table, writes bench/results/model-shapes.json.
 * npx tsx bench/model-shapes.ts [model name …]
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";
import { MIB } from "../src/core/units.ts";
import { CATALOGUE_MODELS, type CatalogueModel } from "../src/fit/catalogue.ts";
import { kvCacheBytesByLayer, recurrentBytesByLayer } from "../src/fit/memory-cache.ts";
import { writeCatalogueFile } from "../test/support/gguf/catalogue-file.ts";

const fileOptions = { vocabularySize: 512, layersMax: 12, expertsMax: 8, expertsUsedMax: 2, type: "Q4_0" } as const;
/** Mixtures of experts are large even so. */
const layersOfExperts = 6;
const settings = {
  buildFamily: "node-llama-cpp",
  contextLength: 1024,
  sequenceCount: 2,
  batchSize: 64,
  microBatchSize: 64,
  flashAttention: true,
  kvCacheTypeK: "F16",
  kvCacheTypeV: "F16",
} as const;

interface Row {
  model: string;
  architecture: string;
  tensors: number;
  loaded: boolean;
  kvMiB: number;
  kvMeasuredMiB: number;
  recurrentMiB: number;
  recurrentMeasuredMiB: number;
  problem?: string;
}

async function compare(model: CatalogueModel, folder: string): Promise<Row> {
  const path = join(folder, "shape.gguf");
  const layersMax = model.shape.experts === undefined ? fileOptions.layersMax : layersOfExperts;
  const spec = writeCatalogueFile(path, model, { ...fileOptions, layersMax });
  const sum = (bytes: Float64Array) => bytes.reduce((left, right) => left + right, 0) / MIB;
  const row: Row = {
    model: model.name,
    architecture: spec.architecture,
    tensors: spec.tensors.length,
    loaded: false,
    kvMiB: sum(kvCacheBytesByLayer(spec, settings)),
    kvMeasuredMiB: 0,
    recurrentMiB: sum(recurrentBytesByLayer(spec, settings)),
    recurrentMeasuredMiB: 0,
  };
  const lines: string[] = [];
  const llama = await getLlama({
    gpu: false,
    build: "never",
    logLevel: LlamaLogLevel.debug,
    logger: (_level, message) => lines.push(...message.split("\n")),
  });
  try {
    const loaded = await llama.loadModel({ modelPath: path, gpuLayers: 0, ignoreMemorySafetyChecks: true });
    row.loaded = true;
    await loaded.createContext({
      contextSize: settings.contextLength,
      sequences: settings.sequenceCount,
      batchSize: settings.batchSize,
      flashAttention: true,
      ignoreMemorySafetyChecks: true,
    });
    // Log lines come through a queue; the compute buffer's is the last of those that matter.
    for (let wait = 0; wait < 200 && !lines.some((line) => line.includes("compute buffer size")); wait++)
      await sleep(10);
    const measured = (pattern: RegExp) =>
      lines.reduce((total, line) => total + Number(pattern.exec(line)?.[1] ?? 0), 0);
    row.kvMeasuredMiB = measured(/KV buffer size =\s*([\d.]+) MiB/);
    row.recurrentMeasuredMiB = measured(/RS buffer size =\s*([\d.]+) MiB/);
  } catch (error) {
    row.problem = lines.findLast((line) => /error loading|missing|wrong/.test(line)) ?? String(error);
  }
  return row;
}

/** One process per model: a wrong shape may abort the whole process. */
function compareApart(model: CatalogueModel): Row {
  const folder = mkdtempSync(join(tmpdir(), "snug-shapes-"));
  try {
    const program = fileURLToPath(import.meta.url);
    const output = execFileSync(process.execPath, ["--import", "tsx", program, "--one", model.name, folder], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
    return JSON.parse(output.slice(output.lastIndexOf('{"model"'))) as Row;
  } catch (error) {
    const blank = { tensors: 0, loaded: false, kvMiB: 0, kvMeasuredMiB: 0, recurrentMiB: 0, recurrentMeasuredMiB: 0 };
    return { model: model.name, architecture: model.architecture, ...blank, problem: String(error).slice(0, 200) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The smallest model of each architecture. */
function representatives(): CatalogueModel[] {
  const smallest = new Map<string, CatalogueModel>();
  for (const model of CATALOGUE_MODELS) {
    const known = smallest.get(model.architecture);
    if (known === undefined || model.parameterCount < known.parameterCount) smallest.set(model.architecture, model);
  }
  return [...smallest.values()].sort((left, right) => left.architecture.localeCompare(right.architecture));
}

function isExact(row: Row): boolean {
  // The log shows hundredths of a MiB.
  const near = (left: number, right: number) => Math.abs(left - right) < 0.011;
  return row.loaded && near(row.kvMiB, row.kvMeasuredMiB) && near(row.recurrentMiB, row.recurrentMeasuredMiB);
}

const [flag, ...names] = process.argv.slice(2);
if (flag === "--one") {
  const model = CATALOGUE_MODELS.find(({ name }) => name === names[0])!;
  console.log(JSON.stringify(await compare(model, names[1]!)));
  process.exit(0);
}

const wanted =
  flag === undefined ? representatives() : CATALOGUE_MODELS.filter(({ name }) => [flag, ...names].includes(name));
const rows: Row[] = [];
for (const model of wanted) {
  const row = compareApart(model);
  rows.push(row);
  const sizes = `KV ${row.kvMiB.toFixed(2)} / ${row.kvMeasuredMiB.toFixed(2)}, state ${row.recurrentMiB.toFixed(2)} / ${row.recurrentMeasuredMiB.toFixed(2)} MiB`;
  const verdict = isExact(row) ? "exact" : (row.problem ?? "differs");
  console.log(
    `${row.architecture.padEnd(16)} ${row.model.padEnd(30)} ${String(row.tensors).padStart(5)}  ${sizes}  ${verdict}`,
  );
}
console.log(`${rows.filter(isExact).length} of ${rows.length} exact`);
if (flag === undefined) {
  mkdirSync(new URL("results/", import.meta.url), { recursive: true });
  const machine = `${cpus()[0]?.model ?? "unknown"} x${cpus().length}`;
  const result = { date: new Date().toISOString(), machine, settings, exact: rows.filter(isExact).length, rows };
  writeFileSync(new URL("results/model-shapes.json", import.meta.url), `${JSON.stringify(result, undefined, 1)}\n`);
}
