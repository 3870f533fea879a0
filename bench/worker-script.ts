/**
 * CPU time of our own JavaScript in a streamed answer of an engine that dialled in: the Worker's and the object's, without
 * sockets, kernel and the runtime around it. V8's sampling profiler says in which function the isolate is, every 50 us; on
 * a busy machine it samples less often, so between the answers the script does a piece of work whose cost is known, and
 * the samples of that are the measure. Calls of the runtime's own functions (writing to a stream, parsing JSON) and the
 * collector count as JavaScript; the profiler's own cost is in the figures. Linux only.
 *
 * Prints a table, writes bench/results/worker-script.json. Run: npx tsx bench/worker-script.ts
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { WebSocket } from "ws";
import { systemTimer } from "../src/entries/timer.ts";
import { dialEngine } from "../test/support/dialled-engine.ts";
import { startWorker } from "../test/support/workerd.ts";
import { ask, closeIdle, cpuMs, round, speaker, speeds, spent } from "./worker-speaker.ts";

const inspectorPort = 19_231;
const tokens = 500;

const worker = await startWorker({}, "bench/worker-link-entry.ts", { inspectorPort, minify: false });
const door = { url: worker.url, token: worker.adminKey };
const dials = await Promise.all(speeds.map(([, name, gapMs]) => dialEngine(speaker(name, gapMs), { ...door, name })));

interface Profile {
  nodes: { id: number; callFrame: { functionName: string } }[];
  samples: number[];
}

/** V8's inspector, as far as it is needed. */
async function openProfiler() {
  const targets = (await (await fetch(`http://127.0.0.1:${inspectorPort}/json`)).json()) as { id: string }[];
  const target = targets.find(({ id }) => id.endsWith(":snug"))!.id;
  const socket = new WebSocket(`ws://127.0.0.1:${inspectorPort}/${target}`);
  await new Promise((resolve) => socket.once("open", resolve));
  const waiting = new Map<number, (result: unknown) => void>();
  socket.on("message", (message) => {
    const { id, result } = JSON.parse(String(message)) as { id: number; result: unknown };
    waiting.get(id)?.(result);
  });
  let asked = 0;
  const send = (method: string, params: object = {}) =>
    new Promise((resolve) => {
      waiting.set(++asked, resolve);
      socket.send(JSON.stringify({ id: asked, method, params }));
    });
  await send("Profiler.enable");
  await send("Profiler.setSamplingInterval", { interval: 50 });
  return {
    start: () => send("Profiler.start"),
    stop: async () => ((await send("Profiler.stop")) as { profile: Profile }).profile,
  };
}

const spin = async () => void (await (await fetch(`${worker.url}/bench/spin`)).arrayBuffer());

/** CPU milliseconds of one piece of the known work, the way to it taken off. */
async function spinMs(): Promise<number> {
  const cost = async (path: string) => {
    const before = cpuMs(worker.pid);
    for (let turn = 0; turn < 50; turn++) await (await fetch(`${worker.url}${path}`)).arrayBuffer();
    return spent(before, cpuMs(worker.pid)).isolate / 50;
  };
  await cost("/bench/spin");
  return (await cost("/bench/spin")) - (await cost("/bench/counts"));
}

const profiler = await openProfiler();
const spinCost = await spinMs();

/** @returns milliseconds of JavaScript for each chat */
async function measure(model: string, length: number, chats: number) {
  closeIdle();
  for (let warm = 0; warm < 10; warm++) await ask(worker.url, worker.adminKey, model, 20);
  let left = chats;
  let spins = 0;
  const done = new AbortController();
  const spinning = (async () => {
    while (!done.signal.aborted || spins === 0) {
      await spin();
      spins++;
      await systemTimer.wait(100, done.signal);
    }
  })();
  await profiler.start();
  spins = 0;
  const before = cpuMs(worker.pid);
  const run = async () => {
    while (left-- > 0) await ask(worker.url, worker.adminKey, model, length);
  };
  await Promise.all(Array.from({ length: Math.min(16, chats) }, run));
  done.abort();
  await spinning;
  const { isolate } = spent(before, cpuMs(worker.pid));
  const { nodes, samples } = await profiler.stop();
  const names = new Map(nodes.map(({ id, callFrame }) => [id, callFrame.functionName]));
  const counts = { script: 0, spin: 0, collector: 0, runtime: 0 };
  for (const sample of samples) {
    const name = names.get(sample)!;
    if (name === "spin") counts.spin++;
    else if (/^\((program|idle|root)\)$/.test(name)) counts.runtime++;
    else counts.script++;
    if (name === "(garbage collector)") counts.collector++;
  }
  const msPerSample = (spins * spinCost) / counts.spin;
  const perChat = (count: number) => (count * msPerSample) / chats;
  return {
    scriptMs: perChat(counts.script),
    collectorMs: perChat(counts.collector),
    threadMs: (isolate - spins * spinCost) / chats,
    samplesPerMs: 1 / msPerSample,
  };
}

const rows = [];
for (const [speed, model] of speeds) {
  const short = await measure(model, 1, 400);
  const long = await measure(model, tokens, model === "fast" ? 160 : 16);
  rows.push({
    speed,
    script1TokenMs: round(short.scriptMs),
    script500TokensMs: round(long.scriptMs),
    ofThatCollectorMs: round(long.collectorMs),
    scriptPerTokenUs: round(((long.scriptMs - short.scriptMs) / (tokens - 1)) * 1000, 1),
    wholeThreadMs: round(long.threadMs),
    samplesPerMs: round(long.samplesPerMs, 1),
  });
}
console.table(rows);

await Promise.all(dials.map((dial) => dial.stop()));
await worker.stop();
mkdirSync("bench/results", { recursive: true });
const machine = {
  cpu: cpus()[0]?.model,
  cores: cpus().length,
  load: loadavg().map((one) => Math.round(one * 10) / 10),
};
const result = { date: new Date().toISOString().slice(0, 10), machine, node: process.version, tokens, rows };
writeFileSync("bench/results/worker-script.json", `${JSON.stringify(result, undefined, 2)}\n`);
process.exit(0);
