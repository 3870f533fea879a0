/**
 * How long planning takes, in CPU time: one plan warm, with settings never asked before, and first in a process; and a
 * screening of the whole catalogue at every GGUF quantization for one card. Prints a table, writes
 * bench/results/fit-plan-speed.json. Run: npx tsx bench/fit-plan-speed.ts
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { fileURLToPath } from "node:url";
import { GIB } from "../src/core/units.ts";
import { CATALOGUE_MODELS, findCatalogueModel, specFromCatalogue } from "../src/fit/catalogue.ts";
import { planFit, prepareScreening, screenFit } from "../src/fit/plan.ts";
import { QUANTIZATIONS } from "../src/fit/quantization-list.ts";
import type { Hardware, Wish } from "../src/fit/types.ts";

const card = (gib: number): Hardware => ({
  backend: "cuda",
  gpus: [{ id: "gpu0", vramBytesTotal: gib * GIB }],
  ramBytesFree: 64 * GIB,
});

/** CPU time of this process, microseconds. */
function cpuNow(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

function averageMicroseconds(times: number, run: () => void): number {
  const before = cpuNow();
  for (let index = 0; index < times; index++) run();
  return (cpuNow() - before) / times;
}

if (process.argv[2] === "--first") {
  const model = specFromCatalogue(findCatalogueModel(process.argv[3]!)!.model);
  const before = cpuNow();
  planFit(model, card(Number(process.argv[4])), {});
  console.log((cpuNow() - before) / 1000);
  process.exit(0);
}

interface Row {
  what: string;
  microseconds: number;
}

const rows: Row[] = [];
const cases: [string, number, Wish][] = [
  ["Qwen3 8B", 8, {}],
  ["Qwen3 8B", 4, {}],
  ["Llama 3.3 70B", 24, {}],
  ["Qwen3 30B A3B", 12, { buildFamily: "llama-server" }],
  ["Gemma 3 12B", 8, {}],
  ["Qwen3.5 9B", 8, { contextLength: 8192, gpuLayers: 20 }],
];
for (const [name, gib, wish] of cases) {
  const model = specFromCatalogue(findCatalogueModel(name)!.model);
  averageMicroseconds(500, () => planFit(model, card(gib), wish));
  const microseconds = averageMicroseconds(3000, () => planFit(model, card(gib), wish));
  rows.push({ what: `${name} on ${gib} GiB, asked again`, microseconds });
}

const models = CATALOGUE_MODELS.map(specFromCatalogue);
for (const gib of [8, 24]) {
  for (const model of models) planFit(model, card(gib), {});
  let at = 0;
  const again = averageMicroseconds(models.length * 5, () => planFit(models[at++ % models.length]!, card(gib), {}));
  rows.push({ what: `any catalogue model on ${gib} GiB, asked again`, microseconds: again });
  let length = 8192;
  const fresh = averageMicroseconds(models.length * 3, () => {
    length += 256;
    planFit(models[at++ % models.length]!, card(gib), { contextLength: 4096 + (length % 16_384) });
  });
  rows.push({ what: `any catalogue model on ${gib} GiB, a context never asked`, microseconds: fresh });
}

const mixes = QUANTIZATIONS.filter(({ family }) => family === "gguf").map(({ name }) => name);
const screenAll = () => {
  const machine = prepareScreening(card(12));
  let fitting = 0;
  for (const model of models) for (const { fits } of screenFit(model, machine, mixes)) if (fits) fitting++;
  return fitting;
};
const first = averageMicroseconds(1, screenAll);
averageMicroseconds(20, screenAll);
const screened = `${models.length} models x ${mixes.length} quantizations on one card`;
rows.push({ what: `${screened}, first`, microseconds: first });
rows.push({ what: `${screened}, asked again`, microseconds: averageMicroseconds(50, screenAll) });

const program = fileURLToPath(import.meta.url);
for (const [name, gib] of [
  ["Qwen3 8B", 12],
  ["Qwen3 8B", 4],
  ["Gemma 3 12B", 8],
] as const) {
  const { stdout } = spawnSync(process.execPath, ["--import", "tsx", program, "--first", name, `${gib}`]);
  rows.push({ what: `${name} on ${gib} GiB, first plan of a process`, microseconds: Number(stdout) * 1000 });
}

for (const { what, microseconds } of rows) {
  console.log(`${what.padEnd(72)} ${(microseconds / 1000).toFixed(3).padStart(9)} ms`);
}
mkdirSync(new URL("results/", import.meta.url), { recursive: true });
const machine = `${cpus()[0]?.model.trim()} x${cpus().length}`;
writeFileSync(
  new URL("results/fit-plan-speed.json", import.meta.url),
  `${JSON.stringify({ date: new Date().toISOString(), machine, rows }, null, 1)}\n`,
);
