/**
 * Does memory stay flat? One engine loads, answers and unloads a model over and over, as with keep-alive; its own
 * resident memory and that of each child at its end are noted, and the slope of the second half is told.
 * Prints a line each tenth, writes bench/results/engine-cycles.json. Run after `npm run build`:
 *
 *   npx tsx --expose-gc bench/engine-cycles.ts [--cycles 500]
 */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { createLocalEngine } from "../src/engine/local-engine.ts";
import { residentBytes } from "./engine/arm.ts";
import { median, rounded } from "./engine/figures.ts";

const { values } = parseArgs({ options: { cycles: { type: "string", default: "500" } } });
const cycles = Number(values.cycles);
const built = new URL("../dist/entries/llama-child.js", import.meta.url);
const source = new URL("../src/entries/llama-child.ts", import.meta.url);
const program = existsSync(built) ? { url: built, execArgv: [] } : { url: source, execArgv: ["--import", "tsx"] };
const quiet = { debug() {}, info() {}, warn() {}, error() {} };
const path = fileURLToPath(new URL("../models/demo/demo-chat-F16.gguf", import.meta.url));

const parent: number[] = [];
const child: number[] = [];
const times: number[] = [];
for (let cycle = 1; cycle <= cycles; cycle++) {
  const startedAt = performance.now();
  const engine = createLocalEngine({
    model: { id: "demo", path },
    settings: { sequenceCount: 2, gpu: false, gpuLayers: 0, threadsMax: 1, contextLength: 512 },
    program,
    logger: quiet,
    clock: { now: () => performance.now() },
  });
  await engine.start();
  const request = { model: "demo", messages: [{ role: "user" as const, content: "Hi." }], maxTokens: 4 };
  for await (const event of engine.chat(request, { signal: new AbortController().signal })) {
    if (event.type === "error") throw new Error(event.error.message);
  }
  child.push(residentBytes(engine.status().childPid!));
  await engine.stop({ drainMs: 0 });
  globalThis.gc?.();
  parent.push(process.memoryUsage.rss());
  times.push(performance.now() - startedAt);
  if (cycle % Math.ceil(cycles / 10) === 0) {
    console.log(`${cycle}: parent ${mib(parent.at(-1)!)} MiB, child ${mib(child.at(-1)!)} MiB`);
  }
}

const half = Math.floor(cycles / 2);
const result = {
  machine: `${cpus()[0]?.model ?? "unknown"}, ${cpus().length} cores`,
  node: process.version,
  date: new Date().toISOString().slice(0, 10),
  cycles,
  parentMib: {
    first: mib(parent[0]!),
    atHalf: mib(parent[half]!),
    last: mib(parent.at(-1)!),
    most: mib(Math.max(...parent)),
  },
  parentKibPerCycleInSecondHalf: rounded(slope(parent.slice(half)) / 1024, 2),
  childMib: { first: mib(child[0]!), median: mib(median(child)), last: mib(child.at(-1)!) },
  childKibPerCycle: rounded(slope(child) / 1024, 2),
  cycleMs: { median: rounded(median(times)), worst: rounded(Math.max(...times)) },
};
console.log(result);
mkdirSync(new URL("./results/", import.meta.url), { recursive: true });
writeFileSync(new URL("./results/engine-cycles.json", import.meta.url), `${JSON.stringify(result, null, 2)}\n`);

function mib(bytes: number): number {
  return rounded(bytes / 1024 ** 2);
}

/** Least squares, per step. */
function slope(values: readonly number[]): number {
  const middle = (values.length - 1) / 2;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  let [above, below] = [0, 0];
  values.forEach((value, index) => {
    above += (index - middle) * (value - mean);
    below += (index - middle) ** 2;
  });
  return below === 0 ? 0 : above / below;
}
