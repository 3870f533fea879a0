/**
 * `snug compare` and `snug bench` held to what they promise: what a comparison costs beside its own measuring, and how
 * well one measured run predicts another depth and another quantization.
 *
 * Prints tables, writes bench/results/compare.json. Run after `npm run build`: npx tsx bench/compare.ts
 *
 * Predictions are held against CPU time at one thread, which is wall time on an idle machine and which other programs
 * hardly change; each rate is the best of several.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readModelHeader } from "../src/engine/check-model.ts";
import { compareModel } from "../src/engine/compare/compare.ts";
import { createHardwareProbe } from "../src/engine/hardware.ts";
import { hardwareOf, planLoad } from "../src/engine/load-plan.ts";
import { quantizeFile } from "../src/engine/quantize/quantize-file.ts";
import { ModelStore } from "../src/engine/store.ts";
import { withWorkbench } from "../src/engine/workbench.ts";
import { specFromGguf } from "../src/fit/model.ts";
import type { LlamaMix } from "../src/fit/quantization-rules.ts";
import { estimateSpeed, type MeasuredRun } from "../src/fit/speed.ts";
import type { FitPlan, ModelSpec } from "../src/fit/types.ts";
import type { Shape } from "../test/support/gguf/shapes.ts";
import { writeModel } from "../test/support/gguf/write-model.ts";

const built = new URL("../dist/entries/llama-child.js", import.meta.url);
const source = new URL("../src/entries/llama-child.ts", import.meta.url);
const program = existsSync(built) ? { url: built, execArgv: [] } : { url: source, execArgv: ["--import", "tsx"] };
const demoPath = fileURLToPath(new URL("../models/demo/demo-chat-F16.gguf", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "snug-bench-compare-"));
const signal = new AbortController().signal;
const wish = { gpu: false as const, threadsMax: 1 };
const reading = await createHardwareProbe({ program }).read();
const hardware = hardwareOf({ ...reading, gpus: [], backend: "cpu" }, 0, wish);

/** 30 million parameters: weights count here, in the demo model launches do. */
const shape: Shape = {
  layerCount: 6,
  embeddingLength: 512,
  headCount: 8,
  headCountKv: 4,
  headLength: 64,
  feedForwardLength: 1536,
  contextLengthTrained: 4096,
  vocabularySize: 8_000,
};
const quantizations: readonly LlamaMix[] = ["F16", "Q8_0", "Q4_K_M"];
const depths = [64, 512];
const decodeTokens = 48;
const repetitions = 6;
/** All again, so that a busy minute of the machine does not fall on one quantization alone. */
const rounds = 2;

interface Measured {
  quantization: string;
  depthTokens: number;
  decodeTokensPerSecond: number;
  model: ModelSpec;
  settings: FitPlan["settings"];
}

async function measure(quantization: LlamaMix, exact: string): Promise<Measured[]> {
  const path = join(folder, `${quantization}.gguf`);
  if (quantization !== "F16" && !existsSync(path)) await quantizeFile(exact, path, quantization);
  const file = quantization === "F16" ? exact : path;
  const model = specFromGguf(await readModelHeader(file), { name: quantization });
  const contextLength = Math.max(...depths) + decodeTokens + 64;
  const { plan, settings } = planLoad(
    model,
    { ...reading, gpus: [], backend: "cpu" },
    { ...wish, contextLength, sequenceCount: 1 },
  );
  return await withWorkbench(program, 1, async (bench) => {
    await bench.load({ ...settings, modelPath: file }, signal);
    const rows: Measured[] = [];
    for (const depth of depths) {
      let best = Number.POSITIVE_INFINITY;
      for (let repetition = 0; repetition < repetitions; repetition++) {
        const task = { kind: "measure", depthTokens: depth, decodeTokens, sequenceCount: 1 } as const;
        best = Math.min(best, (await bench.run(task, { signal })).decodeCpuMs);
      }
      rows.push({
        quantization,
        depthTokens: depth + decodeTokens / 2,
        decodeTokensPerSecond: (decodeTokens / best) * 1000,
        model,
        settings: plan.settings,
      });
    }
    return rows;
  });
}

/** From each run alone to every run of another depth and, apart, of another quantization too. */
function predict(rows: readonly Measured[]) {
  return rows.flatMap((known) =>
    rows.flatMap((asked) => {
      if (asked === known) return [];
      const run: MeasuredRun = { ...known };
      const plain = {
        model: asked.model,
        plan: { settings: asked.settings },
        hardware,
        depthTokens: asked.depthTokens,
      };
      const before = estimateSpeed(plain).decodeTokensPerSecond;
      const after = estimateSpeed({ ...plain, measured: [run] }).decodeTokensPerSecond;
      const error = (rate: number) => (rate / asked.decodeTokensPerSecond - 1) * 100;
      return {
        known: `${known.quantization} at ${known.depthTokens}`,
        asked: `${asked.quantization} at ${asked.depthTokens}`,
        sameQuantization: known.quantization === asked.quantization,
        sameDepth: known.depthTokens === asked.depthTokens,
        unknownPercent: error(before),
        onePercent: error(after),
      };
    }),
  );
}

function summary(cases: ReturnType<typeof predict>) {
  const of = (chosen: typeof cases) => {
    const size = (pick: (one: (typeof cases)[number]) => number) =>
      chosen.map((one) => Math.abs(pick(one))).toSorted((left, right) => left - right);
    const [before, after] = [size((one) => one.unknownPercent), size((one) => one.onePercent)];
    const at = (sorted: number[], share: number) =>
      Math.round(sorted[Math.floor((sorted.length - 1) * share)]! * 10) / 10;
    return {
      cases: chosen.length,
      "median error without, %": at(before, 0.5),
      "median error with one run, %": at(after, 0.5),
      "p90, %": at(after, 0.9),
      "worst, %": at(after, 1),
      "within 10 %": chosen.filter((one) => Math.abs(one.onePercent) <= 10).length,
    };
  };
  return {
    "another depth": of(cases.filter((one) => one.sameQuantization)),
    "another quantization": of(cases.filter((one) => one.sameDepth && !one.sameQuantization)),
    "another depth and quantization": of(cases.filter((one) => !one.sameDepth && !one.sameQuantization)),
  };
}

async function overhead() {
  const store = new ModelStore({
    dataDir: folder,
    demoPath,
    hubCacheDir: folder,
    ollamaDirs: [],
    hubUrl: "http://127.0.0.1:9",
  });
  const tools = {
    program,
    store,
    read: async () => reading,
    readVramFree: async () => undefined,
    wish,
    folder,
    clock: { now: () => Date.now() },
  };
  const report = await compareModel({ model: "demo", quantizations: ["F16", "Q8_0", "Q4_K_M"] }, tools, { signal });
  const percent = (report.overheadMs / report.measuredMs) * 100;
  return {
    "measuring, s": Math.round(report.measuredMs / 100) / 10,
    "making files, s": Math.round((report.durationMs - report.measuredMs - report.overheadMs) / 100) / 10,
    "overhead, ms": Math.round(report.overheadMs),
    "overhead, %": Math.round(percent * 100) / 100,
  };
}

try {
  const cost = await overhead();
  console.table({ "comparison of the demo model": cost });
  const exact = join(folder, "F16.gguf");
  writeModel(exact, { architecture: "llama", shape, type: "F16", brain: "random" });
  const rows: Measured[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const quantization of quantizations) {
      for (const row of await measure(quantization, exact)) {
        const known = rows.find((one) => one.quantization === quantization && one.depthTokens === row.depthTokens);
        if (known === undefined) rows.push(row);
        else known.decodeTokensPerSecond = Math.max(known.decodeTokensPerSecond, row.decodeTokensPerSecond);
      }
    }
  }
  const rates = rows.map(({ quantization, depthTokens, decodeTokensPerSecond }) => ({
    quantization,
    depthTokens,
    decodeTokensPerSecond: Math.round(decodeTokensPerSecond * 10) / 10,
  }));
  console.table(rates);
  const cases = predict(rows);
  const predictions = summary(cases);
  console.table(predictions);
  const worst = cases.toSorted((left, right) => Math.abs(right.onePercent) - Math.abs(left.onePercent)).slice(0, 8);
  const result = {
    machine: `${cpus()[0]?.model ?? "unknown"}, ${cpus().length} cores, load ${loadavg()[0]?.toFixed(1)}`,
    node: process.version,
    date: new Date().toISOString().slice(0, 10),
    overhead: cost,
    model: `generated Llama, ${Math.round(rows[0]!.model.parameterCount / 1e6)} million parameters, one thread`,
    rates,
    predictions,
    worst,
  };
  mkdirSync(new URL("./results/", import.meta.url), { recursive: true });
  writeFileSync(new URL("./results/compare.json", import.meta.url), `${JSON.stringify(result, null, 2)}\n`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
