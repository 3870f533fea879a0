/**
 * Sizes of published GGUF files against ours, by kind of mix, beside the usual formula parameters x nominal bits per
 * weight; and what that costs in time. Prints tables, writes bench/results/quantization-sizes.json.
 * Run: npx tsx bench/quantization-sizes.ts
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { CATALOGUE_MODELS, findCatalogueModel, specFromCatalogue } from "../src/fit/catalogue.ts";
import { estimateFileBytes, quantizationTotalBytes } from "../src/fit/quantization-bytes.ts";
import { findQuantization, QUANTIZATIONS } from "../src/fit/quantization-list.ts";
import { isLlamaMix } from "../src/fit/quantization-mixes.ts";
import { isDynamicMix } from "../src/fit/quantization-variants.ts";

interface PublishedSizes {
  model: string;
  repository: string;
  bytes: Record<string, number>;
}

/** Publishers known to give single tensors types of their own under a plain mix's name. */
const ownTypes = new Set([
  "unsloth/gemma-4-12b-it-GGUF",
  "unsloth/gemma-4-26B-A4B-it-GGUF",
  "unsloth/GLM-4.7-Flash-GGUF",
  "unsloth/Qwen-AgentWorld-35B-A3B-GGUF",
  "unsloth/Qwen3.5-0.8B-GGUF",
  "unsloth/Qwen3.5-2B-GGUF",
]);

const fixture = new URL("../test/fixtures/gguf-file-sizes.jsonl", import.meta.url);
const published = readFileSync(fixture, "utf8")
  .trim()
  .split("\n")
  .slice(1)
  .map((line): PublishedSizes => JSON.parse(line));

const files = published.flatMap(({ model, repository, bytes }) => {
  const spec = specFromCatalogue(findCatalogueModel(model)!.model);
  return Object.entries(bytes).map(([quantization, real]) => ({
    kind: kindOf(quantization, repository),
    error: estimateFileBytes(spec, quantization) / real - 1,
    peer: (spec.parameterCount * findQuantization(quantization)!.bitsPerWeight) / 8 / real - 1,
  }));
});

function kindOf(quantization: string, repository: string): string {
  if (isDynamicMix(quantization)) return "Unsloth Dynamic, by ratio";
  if (!isLlamaMix(quantization)) return "embeddings in Q8_0 (_L)";
  return ownTypes.has(repository) ? "plain name, own types" : "plain mixes";
}

const percent = (value: number) => Math.round(value * 100_000) / 1000;

function quantile(values: readonly number[], share: number): number {
  const sorted = values.map(Math.abs).sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

const accuracy = [...new Set(files.map(({ kind }) => kind))].map((kind) => {
  const rows = files.filter((file) => file.kind === kind);
  const errors = rows.map(({ error }) => error);
  return {
    kind,
    n: rows.length,
    medianPercent: percent(quantile(errors, 0.5)),
    p95Percent: percent(quantile(errors, 0.95)),
    worstPercent: percent(quantile(errors, 1)),
    underByOnePercent: errors.filter((error) => error < -0.01).length,
    peerMedianPercent: percent(
      quantile(
        rows.map(({ peer }) => peer),
        0.5,
      ),
    ),
    peerWorstPercent: percent(
      quantile(
        rows.map(({ peer }) => peer),
        1,
      ),
    ),
  };
});
console.table(accuracy);

const specs = CATALOGUE_MODELS.map(specFromCatalogue);
const gguf = QUANTIZATIONS.filter(({ family }) => family === "gguf");

/** CPU milliseconds, the quietest of several rounds: the machine may be busy. */
function cpuMs(rounds: number, work: () => void): number {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < rounds; round++) {
    const start = process.cpuUsage();
    work();
    const used = process.cpuUsage(start);
    best = Math.min(best, (used.user + used.system) / 1000);
  }
  return best;
}

const everything = () => {
  for (const spec of specs) for (const { name } of gguf) quantizationTotalBytes(spec, name);
};
const time = {
  models: specs.length,
  quantizations: gguf.length,
  firstMs: Math.round(cpuMs(1, everything)),
  againMs: Math.round(cpuMs(8, everything) * 100) / 100,
};
console.log(
  `\nbytes of ${time.models} models x ${time.quantizations} mixes: first ${time.firstMs} ms, again ${time.againMs} ms of CPU`,
);

const result = {
  machine: `${cpus()[0]?.model ?? "unknown CPU"}, ${cpus().length} cores, load ${loadavg()[0]?.toFixed(1)}, Node ${process.version}`,
  date: new Date().toISOString().slice(0, 10),
  accuracy,
  time,
};
mkdirSync(new URL("results/", import.meta.url), { recursive: true });
writeFileSync(new URL("results/quantization-sizes.json", import.meta.url), `${JSON.stringify(result, undefined, 2)}\n`);
