/**
 * A process of its own that loads a file with node-llama-cpp and prints what its buffers really take, one JSON line per
 * context; with `estimates` also what node-llama-cpp's own two estimators say. Argument: an OracleJob as JSON, or
 * `--has-vulkan`, which exits with 0 where a Vulkan device is.
 */
import { setTimeout as sleep } from "node:timers/promises";
import {
  GgmlType,
  GgufInsights,
  getLlama,
  type LlamaContext,
  LlamaLogLevel,
  type LlamaModel,
  readGgufFileInfo,
} from "node-llama-cpp";
import type { OracleBytes, OracleCase, OracleJob, OracleResult } from "./oracle.ts";

if (process.argv[2] === "--has-vulkan") {
  const { total } = await (await getLlama({ gpu: "vulkan", build: "never" })).getVramState();
  process.exit(total > 0 ? 0 : 1);
}

const job = JSON.parse(process.argv[2]!) as OracleJob;
const lines: string[] = [];
const llama = await getLlama({
  gpu: job.gpu ? "vulkan" : false,
  build: "never",
  logLevel: LlamaLogLevel.debug,
  logger: (_level, message) => lines.push(...message.split("\n")),
});
const model = await llama.loadModel({ modelPath: job.path, gpuLayers: job.gpuLayers, ignoreMemorySafetyChecks: true });
const insights = job.estimates ? await GgufInsights.from(await readGgufFileInfo(job.path), llama) : undefined;
for (const one of job.cases) {
  console.log(`RESULT ${JSON.stringify(await measure(one))}`);
}
process.exit(0);

interface Breakdown {
  cpuRam: number;
  gpuVram: number;
}

/** The bytes behind an object's buffers; only reachable from inside. */
function breakdownOf(owner: LlamaModel | LlamaContext): OracleBytes {
  const { _model, _ctx } = owner as unknown as Record<"_model" | "_ctx", { getMemoryBreakdown(): Breakdown }>;
  const { cpuRam, gpuVram } = ("tokenizer" in owner ? _model : _ctx).getMemoryBreakdown();
  return { host: cpuRam, gpu: gpuVram };
}

async function measure(one: OracleCase): Promise<OracleResult> {
  lines.length = 0;
  const context = await model.createContext({
    contextSize: one.contextLength,
    sequences: one.sequenceCount,
    batchSize: one.batchSize,
    flashAttention: one.flashAttention,
    experimentalKvCacheKeyType: GgmlType[one.kvCacheTypeK],
    experimentalKvCacheValueType: GgmlType[one.kvCacheTypeV],
    ignoreMemorySafetyChecks: true,
  });
  const total = breakdownOf(context);
  // Log lines come through a queue.
  for (let wait = 0; wait < 300 && !lines.some((line) => /output buffer size/.test(line)); wait++) await sleep(10);
  await sleep(30);
  const cache = logged(/KV buffer size/);
  const state = logged(/RS buffer size/);
  const output = logged(/output buffer size/);
  await context.dispose();
  // The breakdown leaves the output buffer out.
  const compute = { host: total.host - cache.host - state.host, gpu: total.gpu - cache.gpu - state.gpu };
  return { weights: breakdownOf(model), cache, state, output, compute, ...(await estimate(one)) };
}

/** Sums of log lines like "CPU KV buffer size =   448.00 MiB", by whether the device is a GPU. */
function logged(what: RegExp): OracleBytes {
  const sums = { host: 0, gpu: 0 };
  for (const line of lines) {
    if (!what.test(line)) continue;
    const found = /(\S+) +\w+ +buffer size = +([\d.]+) MiB/.exec(line);
    if (found === null) continue;
    sums[/^(CPU|Vulkan_Host)/.test(found[1]!) ? "host" : "gpu"] += Number(found[2]) * 2 ** 20;
  }
  return sums;
}

async function estimate(one: OracleCase): Promise<Pick<OracleResult, "simple" | "simulated">> {
  if (insights === undefined) return {};
  const asked = {
    contextSize: one.contextLength,
    modelGpuLayers: job.gpuLayers,
    batchSize: one.batchSize,
    sequences: one.sequenceCount,
    flashAttention: one.flashAttention,
    kvCacheKeyType: GgmlType[one.kvCacheTypeK],
    kvCacheValueType: GgmlType[one.kvCacheTypeV],
  };
  const simple = insights.estimateContextResourceRequirements(asked);
  const simulated = await insights.estimateContextResourceRequirementsV2(asked);
  return {
    simple: { host: simple.cpuRam, gpu: simple.gpuVram },
    simulated: { host: simulated.cpuRam, gpu: simulated.gpuVram },
  };
}
