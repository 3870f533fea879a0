/**
 * How true the planner is. Four parts:
 * 1. the engine in the box: for the smallest catalogue model of every architecture a file of its shape is loaded with
 *    node-llama-cpp on the CPU over a grid of settings, beside node-llama-cpp's own two estimators;
 * 2. buffers others measured, by term and architecture, the held-out third apart;
 * 3. starts of llama-server with its own fit: layers chosen, verdicts;
 * 4. loads that ran or ran out of memory.
 * Prints tables, writes bench/results/fit-accuracy.json. Part 1 takes some ten minutes; architectures after `--engine`
 * narrow it, `--no-engine` leaves it out and keeps what the results file says of it.
 * Run: npx tsx bench/fit-accuracy.ts [--no-engine | --engine architecture …]
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { CATALOGUE_MODELS, type CatalogueModel } from "../src/fit/catalogue.ts";
import { writeCatalogueFile } from "../test/support/gguf/catalogue-file.ts";
import { askOracle, type OracleBytes, type OracleCase, planOracleCase } from "../test/support/oracle.ts";
import { compareLabels } from "./fit-labels.ts";
import { type Comparison, compareRow, compareStart, MEASURED_ROWS } from "./fit-measured.ts";
import { type ErrorRow, errorTable, type Pair, printTable } from "./fit-table.ts";

const base: OracleCase = {
  contextLength: 4096,
  sequenceCount: 1,
  batchSize: 512,
  flashAttention: true,
  kvCacheTypeK: "F16",
  kvCacheTypeV: "F16",
};

const GRID: OracleCase[] = [
  base,
  { ...base, contextLength: 16_384 },
  { ...base, batchSize: 64 },
  { ...base, batchSize: 2048 },
  { ...base, flashAttention: false },
  { ...base, contextLength: 2000, sequenceCount: 4, batchSize: 256 },
  { ...base, kvCacheTypeK: "Q8_0", kvCacheTypeV: "Q8_0" },
  { ...base, contextLength: 1000, sequenceCount: 8, batchSize: 128, kvCacheTypeK: "Q4_0", kvCacheTypeV: "Q4_0" },
];

/** The smallest model of each architecture that llama.cpp generates with. */
function representatives(): CatalogueModel[] {
  const smallest = new Map<string, CatalogueModel>();
  for (const model of CATALOGUE_MODELS) {
    // Encoders have no cache and another pass.
    if (model.uses.includes("embedding")) continue;
    const known = smallest.get(model.architecture);
    if (known === undefined || model.parameterCount < known.parameterCount) smallest.set(model.architecture, model);
  }
  return [...smallest.values()].sort((left, right) => left.architecture.localeCompare(right.architecture));
}

interface EngineResult {
  planner: Pair[];
  /** The context as a whole (cache, state, compute), by whom it was estimated. */
  whole: Pair[];
  problems: string[];
}

async function askEngine(models: readonly CatalogueModel[]): Promise<EngineResult> {
  const result: EngineResult = { planner: [], whole: [], problems: [] };
  const folder = mkdtempSync(join(tmpdir(), "snug-accuracy-"));
  try {
    for (const model of models) await askForModel(model, join(folder, "shape.gguf"), result);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return result;
}

async function askForModel(model: CatalogueModel, path: string, result: EngineResult): Promise<void> {
  const spec = writeCatalogueFile(path, model, {
    vocabularySize: 65_536,
    layersMax: model.shape.experts === undefined ? 8 : 4,
    expertsMax: 32,
    expertsUsedMax: 32,
    type: "F16",
  });
  const divides = spec.layers.every(({ keyLength, valueLength }) => keyLength % 32 === 0 && valueLength % 32 === 0);
  const cases = GRID.filter(({ kvCacheTypeK }) => divides || kvCacheTypeK === "F16");
  const { results, failure } = await askOracle({ path, gpu: false, gpuLayers: 0, cases, estimates: true });
  if (failure !== undefined) result.problems.push(`${model.architecture}: ${failure.slice(0, 200)}`);
  const group = model.architecture;
  results.forEach((real, index) => {
    const planned = planOracleCase(spec, { gpu: false, gpuLayers: 0 }, cases[index]!);
    for (const term of ["weights", "cache", "state", "compute", "output"] as const) {
      if (real[term].host === 0) continue;
      result.planner.push({ term, group, measured: real[term].host, predicted: planned[term].host });
    }
    const sum = (of: Record<"cache" | "state" | "compute", OracleBytes>) =>
      of.cache.host + of.state.host + of.compute.host;
    const measured = sum(real);
    result.whole.push({ term: "ours", group, measured, predicted: sum(planned) });
    result.whole.push({ term: "node-llama-cpp V2", group, measured, predicted: real.simulated!.host });
    result.whole.push({ term: "node-llama-cpp V1", group, measured, predicted: real.simple!.host });
  });
  console.log(`${model.architecture.padEnd(16)} ${model.name.padEnd(32)} ${results.length} of ${cases.length} loads`);
}

function labelVerdicts() {
  const rows = compareLabels();
  const wrong = rows.filter(({ ran, fits }) => ran !== fits);
  return {
    loads: rows.length,
    wrong,
    /** Wrong beyond 3 % of the capacity. */
    wrongByFar: wrong.filter(({ ofCapacity }) => Math.abs(ofCapacity - 1) > 0.03).length,
    fitsThatDidNot: wrong.filter(({ ran }) => !ran).length,
    heldLoads: rows.filter(({ held }) => held).length,
    heldWrong: wrong.filter(({ held }) => held).length,
  };
}

const pairsOf = (comparisons: readonly Comparison[]): Pair[] =>
  comparisons.map(({ architecture, ...rest }) => ({ ...rest, group: architecture }));

const file = new URL("results/fit-accuracy.json", import.meta.url);
const before = existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as { engine?: unknown }) : {};
const [flag, ...architectures] = process.argv.slice(2);
let engine = before.engine as { planner: ErrorRow[]; whole: ErrorRow[]; problems: string[] } | undefined;
if (flag !== "--no-engine") {
  const models = representatives().filter(
    (one) => architectures.length === 0 || architectures.includes(one.architecture),
  );
  const { planner, whole, problems } = await askEngine(models);
  engine = { planner: errorTable(planner), whole: errorTable(whole), problems };
  printTable("Against the engine in the box, buffer by buffer", engine.planner);
  printTable(
    "The context as a whole against node-llama-cpp's estimators",
    engine.whole.filter(({ group }) => group === "all"),
  );
  for (const problem of problems) console.log(`not loaded: ${problem}`);
}

const comparisons = MEASURED_ROWS.flatMap(compareRow);
const tables = {
  calibration: errorTable(pairsOf(comparisons.filter(({ held }) => !held))),
  test: errorTable(pairsOf(comparisons.filter(({ held }) => held))),
};
printTable("Buffers others measured: rows constants were chosen on", tables.calibration);
printTable("Buffers others measured: the third kept for testing", tables.test);

const starts = MEASURED_ROWS.flatMap((row, index) => compareStart(row, index) ?? []);
console.log("\nStarts with llama.cpp's own fit: layers there, layers here, verdict on the load as it was");
for (const { row, layers, planned, resident, fits, probability } of starts) {
  const truth = resident ? "resident" : "spilled";
  console.log(
    `${row.padEnd(66)} ${String(layers).padStart(3)} ${String(planned).padStart(3)}  ${truth}, ${fits ? "fits" : "does not fit"} (${(100 * probability).toFixed(1)} %)`,
  );
}

const verdicts = labelVerdicts();
console.log(
  `\nLoads that ran or ran out of memory: ${verdicts.loads - verdicts.wrong.length} of ${verdicts.loads} right, ` +
    `${verdicts.wrongByFar} wrong beyond 3 % of the capacity, ${verdicts.fitsThatDidNot} "fits" that did not; ` +
    `held out: ${verdicts.heldLoads - verdicts.heldWrong} of ${verdicts.heldLoads}`,
);
for (const { load, ran, probability } of verdicts.wrong) {
  console.log(`  ${load}: ${ran ? "ran" : "out of memory"}, here ${(100 * probability).toFixed(1)} %`);
}

mkdirSync(new URL("results/", import.meta.url), { recursive: true });
const machine = `${cpus()[0]?.model.trim()} x${cpus().length}`;
const results = { date: new Date().toISOString(), machine, engine, measured: tables, starts, labels: verdicts };
writeFileSync(file, `${JSON.stringify(results, null, 1)}\n`);
