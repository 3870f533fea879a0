/**
 * Transformers and vLLM against the published Qwen tables: memory (median error, worst under-estimate) and speed by
 * series, framework and format. Prints a table, writes bench/results/fit-frameworks.json.
 * Run: npx tsx bench/fit-frameworks.ts
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { MIB } from "../src/core/units.ts";
import { estimateFrameworkSpeed } from "../src/fit/framework-speed.ts";
import { estimateFrameworkMemory, type FrameworkVersion, type PythonFramework } from "../src/fit/frameworks.ts";
import { parseHardwareName } from "../src/fit/gpus.ts";
import { specFromKeys } from "../src/fit/model.ts";
import { metadataOfFacts, type ShapeFacts } from "../src/fit/shape-facts.ts";
import type { ModelSpec } from "../src/fit/types.ts";
import data from "./data/framework-rows.json" with { type: "json" };

interface Row {
  model: string;
  framework: PythonFramework;
  quantization: string;
  version: FrameworkVersion;
  gpu: string;
  gpuCount: number;
  promptTokens: number;
  generatedTokens: number;
  tokensPerSecond: number | null;
  memoryMiB: number | null;
  series: string;
}

const rows = data.rows.map(
  (values) => Object.fromEntries(data.columns.map((column, at) => [column, values[at]])) as unknown as Row,
);
const shapes = data.models as unknown as Record<string, ShapeFacts>;
const specs = new Map<string, ModelSpec>();

function specOf(name: string): ModelSpec {
  let spec = specs.get(name);
  if (!spec) {
    const { metadata, hints } = metadataOfFacts(shapes[name]!);
    spec = specFromKeys(metadata, "catalogue", { name }, hints);
    specs.set(name, spec);
  }
  return spec;
}

function question(row: Row) {
  const { framework, quantization, promptTokens, generatedTokens, gpuCount, version } = row;
  return { model: specOf(row.model), framework, quantization, promptTokens, generatedTokens, gpuCount, version };
}

/** Predicted over measured, less one; the Qwen3 script reports what is left after the run, the others the peak. */
function memoryError(row: Row): number {
  const memory = estimateFrameworkMemory(question(row));
  const bytes = row.series === "Qwen3" ? memory.residentBytes : memory.allocatedBytes;
  return bytes / MIB / row.memoryMiB! - 1;
}

function speedError(row: Row): number {
  const hardware = parseHardwareName(`${row.gpuCount}x ${row.gpu}`)!;
  const speed = estimateFrameworkSpeed({ ...question(row), hardware });
  const { promptTokens, generatedTokens } = row;
  const rate =
    row.series === "Qwen3"
      ? (speed.answerTokensPerSecond * (promptTokens + generatedTokens)) / generatedTokens
      : speed.answerTokensPerSecond;
  return rate / row.tokensPerSecond! - 1;
}

const percent = (value: number) => Math.round(value * 1000) / 10;

function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

interface Summary {
  group: string;
  n: number;
  medianPercent: number;
  p90Percent: number;
  biasPercent: number;
  lowestPercent: number;
  under3: number;
}

function summarize(group: string, errors: readonly number[]): Summary {
  const absolute = errors.map(Math.abs);
  return {
    group,
    n: errors.length,
    medianPercent: percent(quantile(absolute, 0.5)),
    p90Percent: percent(quantile(absolute, 0.9)),
    biasPercent: percent(quantile(errors, 0.5)),
    lowestPercent: percent(Math.min(...errors)),
    under3: errors.filter((error) => error < -0.03).length,
  };
}

function table(title: string, used: readonly Row[], error: (row: Row) => number): Summary[] {
  const groups = [...new Set(used.map((row) => `${row.series} ${row.framework} ${row.quantization}`))];
  const all = groups.map((group) =>
    summarize(group, used.filter((row) => `${row.series} ${row.framework} ${row.quantization}` === group).map(error)),
  );
  for (const framework of ["transformers", "vllm"]) {
    const errors = used.filter((row) => row.framework === framework).map(error);
    if (errors.length > 0) all.push(summarize(`all ${framework}`, errors));
  }
  console.log(`\n${title}`);
  console.log("group                               n  median    p90    bias  lowest  under 3 %");
  for (const row of all) {
    const cells = [row.n, row.medianPercent, row.p90Percent, row.biasPercent, row.lowestPercent, row.under3];
    console.log(`${row.group.padEnd(32)}${cells.map((value) => String(value).padStart(7)).join(" ")}`);
  }
  return all;
}

const memory = table(
  "Memory, percent of the measured",
  rows.filter((row) => row.memoryMiB !== null),
  memoryError,
);
const speed = table(
  "Speed, percent of the measured",
  rows.filter((row) => row.tokensPerSecond !== null),
  speedError,
);

if (process.argv.includes("--rows")) {
  for (const row of rows) {
    const parts = [row.model, row.framework, row.quantization, row.gpuCount, row.promptTokens];
    const memoryText = row.memoryMiB === null ? "" : `memory ${percent(memoryError(row))} %`;
    const speedText = row.tokensPerSecond === null ? "" : `speed ${percent(speedError(row))} %`;
    console.log(parts.join(" "), memoryText, speedText);
  }
}

mkdirSync(new URL("./results/", import.meta.url), { recursive: true });
writeFileSync(
  new URL("./results/fit-frameworks.json", import.meta.url),
  `${JSON.stringify(
    {
      name: "fit-frameworks",
      date: new Date().toISOString().slice(0, 10),
      machine: `${cpus()[0]?.model ?? "unknown CPU"}, Node ${process.version}`,
      memory,
      speed,
    },
    null,
    2,
  )}\n`,
);
