/**
 * One measured answer, and what is predicted from it for other depths and quantizations of the same model: the real llama
 * child on one core, generated weights. Time is the child's CPU time, so that other programs on the machine do not count;
 * wall time stands beside it. Prints a table, writes bench/results/learning.json.
 *
 *     npx tsx bench/learning.ts
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import type { HardwareReading } from "../src/core/ports.ts";
import { readModelHeader } from "../src/engine/check-model.ts";
import { hardwareOf, priceLoad } from "../src/engine/load-plan.ts";
import { createLocalEngine } from "../src/engine/local-engine.ts";
import type { LearnedMachine, LearnedRun } from "../src/fit/learned.ts";
import { specFromGguf } from "../src/fit/model.ts";
import { estimateSpeed } from "../src/fit/speed.ts";
import { tokenWork } from "../src/fit/speed-work.ts";
import type { ModelSpec, RuntimeSettings } from "../src/fit/types.ts";
import type { Shape } from "../test/support/gguf/shapes.ts";
import { writeModel } from "../test/support/gguf/write-model.ts";
import { childProgram } from "../test/support/local-engine.ts";

if (!existsSync("/proc/self/stat")) throw new Error("This bench reads CPU time from /proc, so it needs Linux.");

const shapes: Record<string, Shape> = {
  "205M": {
    layerCount: 16,
    embeddingLength: 1024,
    headCount: 16,
    headCountKv: 8,
    headLength: 64,
    feedForwardLength: 3072,
    contextLengthTrained: 8192,
  },
};
const types = ["Q8_0", "Q4_0", "Q4_K", "F16"] as const;
const depths = [30, 600];
const tokens = 48;
const rounds = 5;
const silent = () => {};
const quiet = { debug: silent, info: silent, warn: silent, error: silent };
const reading: HardwareReading = {
  cpu: { name: cpus()[0]?.model.trim() ?? "CPU", coresPhysical: 1, coresUsable: 1 },
  ramBytesTotal: 2 ** 33,
  ramBytesFree: 2 ** 32,
  gpus: [],
  backend: "cpu",
};

interface Measured {
  shape: string;
  type: string;
  depthTokens: number;
  cpuMsPerToken: number;
  wallMsPerToken: number;
  spec: ModelSpec;
  settings: RuntimeSettings;
}

const folder = mkdtempSync(join(tmpdir(), "snug-learning-"));
const rows: Measured[] = [];
try {
  for (const [name, shape] of Object.entries(shapes)) {
    const models = [];
    for (const type of types) models.push(await open(name, shape, type));
    const answers = models.flatMap((model) => depths.map((depth) => ({ model, depth, times: [] as Answer[] })));
    // The machine is faster in some minutes than in others: all take turns within a round, and the least counts.
    for (let round = 0; round < rounds; round++) {
      for (const { model, depth, times } of answers) times.push(await model.answer(depth));
    }
    for (const { model, times } of answers) {
      const [least] = times.sort((left, right) => left.cpuMsPerToken - right.cpuMsPerToken);
      rows.push({ ...model.facts, ...least! });
    }
    for (const model of models) await model.stop();
  }
} finally {
  rmSync(folder, { recursive: true });
}
report();

type Answer = Pick<Measured, "depthTokens" | "cpuMsPerToken" | "wallMsPerToken">;

/** A model of its own child process. */
async function open(shapeName: string, shape: Shape, type: (typeof types)[number]) {
  const path = writeModel(join(folder, `${type}.gguf`), { shape, type, brain: "endless" }).path;
  const spec = specFromGguf(await readModelHeader(path));
  const load = {
    contextLength: 2048,
    sequenceCount: 1,
    batchSize: 256,
    gpu: false as const,
    gpuLayers: 0,
    flashAttention: true,
    kvCacheTypeK: "F16" as const,
    kvCacheTypeV: "F16" as const,
    threadsMax: 1,
  };
  const engine = createLocalEngine({
    model: { id: "m", path },
    settings: load,
    program: childProgram,
    logger: quiet,
    clock: { now: () => Date.now() },
    times: { pulsesMissedMax: 1000 },
  });
  await engine.start();
  const { settings } = priceLoad(spec, hardwareOf(reading), load);
  const pid = engine.status().childPid!;
  return {
    facts: { shape: shapeName, type, spec, settings },
    answer,
    stop: async () => await engine.stop({ drainMs: 0 }),
  };

  async function answer(depth: number): Promise<Answer> {
    const content = `${depth} ${"a ".repeat(Math.max(1, depth - 20))}`;
    const request = { model: "m", messages: [{ role: "user" as const, content }], temperature: 0, maxTokens: tokens };
    let [count, cpu, wall] = [0, 0, 0];
    for await (const event of engine.chat(request, { signal: new AbortController().signal })) {
      if (event.type === "text") {
        if (count === 0) [cpu, wall] = [cpuMs(pid), performance.now()];
        count += event.tokenCount ?? 1;
      } else if (event.type === "finish") {
        return {
          depthTokens: (event.usage.promptTokens ?? 0) + count / 2,
          cpuMsPerToken: (cpuMs(pid) - cpu) / (count - 1),
          wallMsPerToken: (performance.now() - wall) / (count - 1),
        };
      } else if (event.type === "error") throw new Error(event.error.message);
    }
    throw new Error("The answer had no end.");
  }
}

/** User and system time of a process; the kernel counts in hundredths of a second. */
function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

function runOf({ spec, settings, depthTokens, cpuMsPerToken }: Measured): LearnedRun {
  const work = tokenWork(spec, settings, 0, depthTokens);
  const { architecture } = spec;
  return { architecture, settings, work, depthTokens, decodeTokensPerSecond: 1000 / cpuMsPerToken, cpuCores: 1 };
}

function report(): void {
  const [first] = rows;
  const learned: LearnedMachine = {
    backend: "cpu",
    buildFamily: "node-llama-cpp",
    loads: [],
    runs: [runOf(first!)],
  };
  const predict = ({ spec, settings, depthTokens }: Measured, taught: boolean) => {
    const hardware = hardwareOf(taught ? { ...reading, learned } : reading);
    return 1000 / estimateSpeed({ model: spec, plan: { settings }, hardware, depthTokens }).decodeTokensPerSecond;
  };
  const table = rows.map((row) => {
    const [before, after] = [predict(row, false), predict(row, true)];
    return {
      quantization: row.type,
      depth: Math.round(row.depthTokens),
      "measured CPU ms": round(row.cpuMsPerToken),
      "wall ms": round(row.wallMsPerToken),
      "tables ms": round(before),
      "off %": round((before / row.cpuMsPerToken - 1) * 100),
      "after one run ms": round(after),
      "off after %": round((after / row.cpuMsPerToken - 1) * 100),
    };
  });
  console.log(`Learned from ${first!.type} at ${Math.round(first!.depthTokens)} tokens alone.`);
  console.table(table);
  const errors = table.slice(1).map((row) => Math.abs(row["off after %"]));
  const worst = Math.max(...errors);
  console.log(`Worst prediction of another depth or quantization: ${worst} %`);
  mkdirSync("bench/results", { recursive: true });
  const machine = { cpu: reading.cpu.name, cores: cpus().length, node: process.version };
  const result = { date: new Date().toISOString(), machine, threads: 1, learnedFrom: table[0], rows: table, worst };
  writeFileSync("bench/results/learning.json", `${JSON.stringify(result, null, 2)}\n`);
}

function round(value: number): number {
  return Number(value.toFixed(2));
}
