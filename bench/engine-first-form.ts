/**
 * What the engine promises on the demo model: time from fork to ready, time to the first token, whole answers, an abort
 * to the slot being free, a killed child to the next answer, memory of both processes. Prints a table, writes
 * bench/results/engine-first-form.json. Run after `npm run build`: npx tsx bench/engine-first-form.ts
 */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { fileURLToPath } from "node:url";
import { createLocalEngine } from "../src/engine/local-engine.ts";

const built = new URL("../dist/entries/llama-child.js", import.meta.url);
const source = new URL("../src/entries/llama-child.ts", import.meta.url);
const program = existsSync(built) ? { url: built, execArgv: [] } : { url: source, execArgv: ["--import", "tsx"] };
const quiet = { debug() {}, info() {}, warn() {}, error() {} };
const rounds = 5;
const questions = ["What is the KV cache?", "Can my 8 GB card run a 13B model at Q4_K_M?", "KV 缓存是什么？"];

function createDemo() {
  return createLocalEngine({
    model: { id: "demo", path: fileURLToPath(new URL("../models/demo/demo-chat-F16.gguf", import.meta.url)) },
    settings: { sequenceCount: 4 },
    program,
    logger: quiet,
    clock: { now: () => performance.timeOrigin + performance.now() },
  });
}

type Demo = ReturnType<typeof createDemo>;

async function answer(engine: Demo, content: string) {
  const abort = new AbortController();
  const startedAt = performance.now();
  let firstAt: number | undefined;
  let tokens = 0;
  const request = { model: "demo", messages: [{ role: "user" as const, content }], temperature: 0, maxTokens: 160 };
  for await (const event of engine.chat(request, { signal: abort.signal })) {
    if (event.type === "text") firstAt ??= performance.now();
    if (event.type === "finish") tokens = event.usage.completionTokens ?? 0;
  }
  const totalMs = performance.now() - startedAt;
  return { timeToFirstTokenMs: (firstAt ?? Number.NaN) - startedAt, totalMs, tokens };
}

/** An abort at the first text, until the slot is free. */
async function abortMs(engine: Demo): Promise<number> {
  const abort = new AbortController();
  let abortedAt = 0;
  const request = { model: "demo", messages: [{ role: "user" as const, content: "What is GGUF?" }], temperature: 0 };
  for await (const event of engine.chat(request, { signal: abort.signal })) {
    if (event.type !== "text" || abortedAt > 0) continue;
    abortedAt = performance.now();
    abort.abort();
  }
  while ((await engine.health()).active > 0) await new Promise(setImmediate);
  return performance.now() - abortedAt;
}

/** Readers who each ask three questions one after the other; all tokens over the time from first to last. */
async function tokensPerSecond(engine: Demo, readers: number): Promise<number> {
  const startedAt = performance.now();
  const counts = await Promise.all(
    Array.from({ length: readers }, async () => {
      let tokens = 0;
      for (const question of questions) tokens += (await answer(engine, question)).tokens;
      return tokens;
    }),
  );
  return (counts.reduce((sum, tokens) => sum + tokens, 0) / (performance.now() - startedAt)) * 1000;
}

const samples: Record<string, number[]> = {};
const note = (name: string, value: number) => {
  samples[name] ??= [];
  samples[name].push(value);
};
for (let round = 0; round < rounds; round++) {
  const engine = createDemo();
  const startedAt = performance.now();
  const model = await engine.start();
  note("fork to ready, ms", performance.now() - startedAt);
  note("of it loading, ms", model.loadMs);
  for (const question of questions) {
    const { timeToFirstTokenMs, totalMs } = await answer(engine, question);
    note("time to first token, ms", timeToFirstTokenMs);
    note("whole answer, ms", totalMs);
  }
  note("1 reader, tokens/s", await tokensPerSecond(engine, 1));
  note("4 readers at once, tokens/s", await tokensPerSecond(engine, 4));
  note("abort to slot free, ms", await abortMs(engine));
  await new Promise((resolve) => setTimeout(resolve, 1100));
  note("child RSS, MB", (engine.status().memory?.rssBytes ?? Number.NaN) / 1e6);
  const killedAt = performance.now();
  process.kill(engine.status().childPid!, "SIGKILL");
  await answer(engine, "hello");
  note("child killed to next answer, ms", performance.now() - killedAt);
  const stoppedAt = performance.now();
  await engine.stop();
  note("stop, ms", performance.now() - stoppedAt);
}

const rounded = (value: number) => Math.round(value * 10) / 10;
const table = Object.fromEntries(
  Object.entries(samples).map(([name, values]) => {
    const sorted = values.toSorted((first, second) => first - second);
    return [
      name,
      { median: rounded(sorted[sorted.length >> 1]!), best: rounded(sorted[0]!), worst: rounded(sorted.at(-1)!) },
    ];
  }),
);
console.table(table);
const result = {
  machine: `${cpus()[0]?.model ?? "unknown"}, ${cpus().length} cores, load ${loadavg()[0]?.toFixed(1)}`,
  node: process.version,
  date: new Date().toISOString().slice(0, 10),
  child: existsSync(built) ? "dist" : "source",
  table,
};
mkdirSync(new URL("./results/", import.meta.url), { recursive: true });
writeFileSync(new URL("./results/engine-first-form.json", import.meta.url), `${JSON.stringify(result, null, 2)}\n`);
