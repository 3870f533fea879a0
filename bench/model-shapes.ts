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
import { specFromKeys } from "../src/fit/model.ts";
import { metadataOfFacts, type ShapeFacts } from "../src/fit/shape-facts.ts";
import type { ModelSpec } from "../src/fit/types.ts";
import { type MetadataEntry, type TensorEntry, writeGguf } from "../test/support/gguf/container.ts";
import { createBpeVocabulary } from "../test/support/gguf/vocabulary.ts";

/** Blocks to keep where a few do not show the pattern, or where llama.cpp tells models apart by their number. */
const BLOCKS: Readonly<Record<string, number>> = {
  gemma3n: 35,
  gemma4: 42,
  deepseek2: 27,
  exaone4: 64,
  lfm2: 16,
  nemotron_h: 42,
  deci: 24,
};
const blocksUsual = 12;
const blocksOfExperts = 6;
const expertsKept = 8;
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

/** The same shape with few blocks, few experts and a vocabulary of `vocab` tokens. */
function shrink(facts: ShapeFacts, vocab: number): ShapeFacts {
  const wanted = BLOCKS[facts.arch] ?? (facts.experts === undefined ? blocksUsual : blocksOfExperts);
  const layers = Math.min(facts.layers, facts.arch === "gemma3n" ? facts.layers : wanted);
  const cut = <T>(value: T): T => (Array.isArray(value) ? (value.slice(0, layers) as T) : value);
  const small: ShapeFacts = { ...facts, layers, vocab };
  if (facts.heads !== undefined) small.heads = cut(facts.heads);
  if (facts.headsKv !== undefined) small.headsKv = cut(facts.headsKv);
  if (facts.ffn !== undefined) small.ffn = cut(facts.ffn);
  if (facts.experts !== undefined) {
    small.experts = [Math.min(facts.experts[0], expertsKept), Math.min(facts.experts[1], 2), facts.experts[2]];
  }
  if (facts.sharedKv !== undefined) small.sharedKv = Math.max(0, layers - (facts.layers - facts.sharedKv));
  if (typeof facts.pattern === "string") small.pattern = facts.pattern.slice(0, layers);
  else if (facts.arch === "gemma4") small.pattern = "sssssf".repeat(layers).slice(0, layers);
  return small;
}

/** Keys the loader insists on that say nothing about sizes. */
function fillers(architecture: string, layers: number): MetadataEntry[] {
  const key = (name: string) => `${architecture}.${name}`;
  const half = Array.from({ length: layers }, () => 0.5);
  return [
    ...["attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"].map(
      (name): MetadataEntry => ({ key: key(name), type: "f32", value: 1e-5 }),
    ),
    ...["logit_scale", "residual_scale", "embedding_scale", "attention.scale", "expert_weights_scale"].map(
      (name): MetadataEntry => ({ key: key(name), type: "f32", value: 1 }),
    ),
    { key: key("rope.dimension_sections"), type: "arr", of: "i32", value: [11, 11, 10, 0] },
    { key: key("expert_gating_func"), type: "u32", value: 2 },
    { key: key("attention.clamp_kqv"), type: "f32", value: 8 },
    { key: key("attention.indexer.top_k"), type: "u32", value: 2048 },
    { key: key("embedding_length_per_layer_input"), type: "u32", value: 0 },
    { key: key("attention.head_count"), type: "u32", value: 0 },
    { key: key("feed_forward_length"), type: "u32", value: 0 },
    { key: key("attention.causal"), type: "bool", value: !/bert|embedding/.test(architecture) },
    { key: key("pooling_type"), type: "u32", value: 1 },
    { key: "tokenizer.ggml.token_type_count", type: "u32", value: 2 },
    ...["alpha_n", "alpha_p", "beta", "eps"].map(
      (name): MetadataEntry => ({ key: `xielu.${name}`, type: "arr", of: "f32", value: half }),
    ),
  ];
}

function entriesOf(metadata: Readonly<Record<string, unknown>>): MetadataEntry[] {
  return Object.entries(metadata)
    .filter(([key]) => !key.endsWith(".vocab_size"))
    .map(([key, value]): MetadataEntry => {
      const plain = key.includes(".tokenizer.") ? key.slice(key.indexOf("tokenizer.")) : key;
      if (typeof value === "string") return { key: plain, type: "str", value };
      if (!Array.isArray(value)) return { key: plain, type: "u32", value: Number(value) };
      return typeof value[0] === "boolean"
        ? { key: plain, type: "arr", of: "bool", value: value as boolean[] }
        : { key: plain, type: "arr", of: "i32", value: value as number[] };
    });
}

/** Tensors llama.cpp computes with in float32 only. */
const kept =
  /norm|bias|ssm_a|ssm_d$|conv|gate_inp|rope_|altup|scale|sinks|token_types|position|per_layer_(?:model|proj)/;

function tensorsOf(spec: ModelSpec): TensorEntry[] {
  return spec.tensors.map(({ name, dims }) => {
    const quantized = dims.length > 1 && dims[0]! % 32 === 0 && !kept.test(name);
    return { name, dims, type: quantized ? "Q4_0" : "F32" };
  });
}

async function compare(model: CatalogueModel, folder: string): Promise<Row> {
  const vocabulary = createBpeVocabulary({ template: "chatml", pre: "qwen2", size: 512 });
  const facts = shrink(model.shape, vocabulary.tokens.length);
  const { metadata, hints } = metadataOfFacts(facts);
  const spec = specFromKeys(metadata, "catalogue", { name: model.name }, hints);
  const entries = new Map<string, MetadataEntry>();
  for (const entry of [...fillers(facts.arch, facts.layers), ...entriesOf(metadata), ...vocabulary.metadata]) {
    entries.set(entry.key, entry);
  }
  const path = join(folder, "shape.gguf");
  writeGguf(path, [...entries.values()], tensorsOf(spec));
  const sum = (bytes: Float64Array) => bytes.reduce((left, right) => left + right, 0) / MIB;
  const row: Row = {
    model: model.name,
    architecture: facts.arch,
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
