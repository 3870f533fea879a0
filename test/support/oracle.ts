/** What llama.cpp inside node-llama-cpp really allocates, asked of a child process, and what the planner says to it. */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { planFit } from "../../src/fit/plan.ts";
import type { DeviceBreakdown, FitPlan, KvCacheType, ModelSpec } from "../../src/fit/types.ts";

export interface OracleCase {
  contextLength: number;
  sequenceCount: number;
  batchSize: number;
  flashAttention: boolean;
  kvCacheTypeK: KvCacheType;
  kvCacheTypeV: KvCacheType;
}

export interface OracleJob {
  path: string;
  /** Vulkan; the host alone otherwise. */
  gpu: boolean;
  gpuLayers: number;
  cases: readonly OracleCase[];
  /** Also ask node-llama-cpp's estimators. */
  estimates: boolean;
}

export interface OracleBytes {
  host: number;
  gpu: number;
}

export interface OracleResult {
  weights: OracleBytes;
  cache: OracleBytes;
  state: OracleBytes;
  output: OracleBytes;
  compute: OracleBytes;
  /** node-llama-cpp's older estimator, by formulas: cache, state and compute together. */
  simple?: OracleBytes;
  /** Its newer one, which lays the graph out without memory. */
  simulated?: OracleBytes;
}

const program = fileURLToPath(new URL("oracle-child.ts", import.meta.url));

/** The first device only, and that even if it is a software one, which ggml leaves out unless it is named. */
const env = { ...process.env, GGML_VK_VISIBLE_DEVICES: "0" };

/** Whether this machine has a Vulkan device that node-llama-cpp can use; a software one will do. */
export async function hasVulkan(): Promise<boolean> {
  const child = spawn(process.execPath, ["--import", "tsx", program, "--has-vulkan"], { stdio: "ignore", env });
  return (await new Promise<number | null>((resolve) => child.on("close", resolve))) === 0;
}

/** One result per case; fewer, with the child's last words, when it died on the way. */
export async function askOracle(job: OracleJob): Promise<{ results: OracleResult[]; failure?: string }> {
  const child = spawn(process.execPath, ["--import", "tsx", program, JSON.stringify(job)], {
    stdio: ["ignore", "pipe", "pipe"],
    env,
  });
  let [printed, complained] = ["", ""];
  child.stdout.on("data", (chunk) => {
    printed += chunk;
  });
  child.stderr.on("data", (chunk) => {
    complained = (complained + chunk).slice(-2000);
  });
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  const results = printed
    .split("\n")
    .filter((line) => line.startsWith("RESULT "))
    .map((line) => JSON.parse(line.slice("RESULT ".length)) as OracleResult);
  if (code === 0) return { results };
  return { results, failure: `exit ${code}: ${complained.trim().split("\n").slice(-3).join(" ")}` };
}

/** The planner's bytes for the same load; GPU bytes are those of the first GPU. */
export function planOracleCase(model: ModelSpec, job: Pick<OracleJob, "gpu" | "gpuLayers">, one: OracleCase) {
  const gpus = job.gpu ? [{ id: "gpu0", vramBytesTotal: 2 ** 40 }] : [];
  const hardware = { backend: job.gpu ? ("vulkan" as const) : ("cpu" as const), gpus, ramBytesFree: 2 ** 40 };
  const plan = planFit(model, hardware, {
    ...one,
    microBatchSize: one.batchSize,
    gpuLayers: job.gpuLayers,
    buildFamily: "node-llama-cpp",
  }) as FitPlan;
  const host = plan.devices.find(({ kind }) => kind === "host")!;
  const gpu = plan.devices.find(({ kind }) => kind === "gpu");
  const both = (bytes: (device: DeviceBreakdown) => number): OracleBytes => ({
    host: bytes(host),
    gpu: gpu === undefined ? 0 : bytes(gpu),
  });
  return {
    weights: both((device) => device.weightBytes),
    cache: both((device) => device.kvCacheBytes),
    state: both((device) => device.recurrentStateBytes),
    output: both((device) => device.outputBufferBytes),
    compute: both((device) => device.computeBufferBytes),
  };
}
