/**
 * What a fit question costs on Workers: CPU time of the real workerd, by kind of question, for an isolate that has
 * answered before (warm) and for one that has only been started (cold). The bundle is the one that would be deployed.
 *
 * CPU time is read from the kernel (/proc/PID/task/TID/schedstat), as workerd's own clocks stand still while it computes:
 * `isolate` is the thread that runs JavaScript, `all` adds compiling and collecting on others. The cost of a request that
 * is answered 404 is taken off. Linux only.
 *
 * Prints a table, writes bench/results/fits-worker.json. Run: npx tsx bench/fits-worker.ts
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = fileURLToPath(new URL("..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "fits-worker-"));

/** `{n}` is another number in every request, so that no answer is one that was given before; `{ram}` is a usual size. */
const QUESTIONS: readonly [kind: string, path: string][] = [
  ["fit, partly on the GPU", "/v1/fits?q=13b 6.{n}gb"],
  ["fit, whole", "/v1/fits?q=qwen3-8b q4_k_m 8.{n}gb ctx 16k"],
  ["fit, two cards", "/v1/fits?q=32b 2x16.{n}gb"],
  ["fit, experts", "/v1/fits?q=qwen3-30b-a3b 8.{n}gb + 32gb ram"],
  ["fit, Transformers", "/v1/fits?q=10b nf4 8.{n}gb"],
  ["fit, vLLM", "/v1/fits?q=qwen2.5-32b awq vllm 2x24.{n}gb"],
  ["fits nowhere", "/v1/fits?q=llama 3.1 405b 8.{n}gb + 16gb ram"],
  ["models for a size", "/v1/fits?q=6.{n}gb"],
  ["models for a card", "/v1/fits?q=3060笔记本能跑什么"],
  ["models for a card and RAM", "/v1/fits?q=3060笔记本能跑什么 {ram}GB内存"],
  ["models for a large card", "/v1/fits?q=4090 {ram}gb ram"],
  ["machines for a size", "/v1/fits?q=70b"],
  ["machines, a size not met before", "/v1/fits?q=70.{n}b"],
  ["machines for a model", "/v1/fits?q=qwen3-30b-a3b"],
  ["machines, a context not met before", "/v1/fits?q=qwen3-30b-a3b ctx 1{n}k"],
  ["a word", "/v1/fits?q=what is nf4"],
  ["a riddle", "/v1/fits?q=osmium {n}"],
  ["as Markdown", "/v1/fits?q=13b 6.{n}gb&format=markdown"],
  ["with its picture", "/v1/fits?q=13b 6.{n}gb&format=svg"],
  ["a plan by POST", "POST /v1/fits"],
  ["catalogue", "/v1/models/catalogue"],
  ["cards", "/v1/gpus"],
];

/** What the machine door is sent, for the line with POST. */
const request = (n: number) => ({
  model: "Qwen3 14B",
  quantization: "Q6_K",
  hardware: { devices: [{ vramBytesTotal: 8 * 2 ** 30 + n * 2 ** 20 }] },
});

const nothing = "/v1/none";
const warmRounds = 30;

interface Row {
  kind: string;
  question: string;
  coldIsolateMs: number;
  warmIsolateMs: number;
  warmAllMs: number;
  bytes: number;
}

async function bundle(): Promise<string> {
  const path = join(folder, "worker.js");
  await build({
    entryPoints: [join(root, "src/entries/worker.ts")],
    outfile: path,
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2024",
    conditions: ["workerd", "worker", "browser"],
    external: ["node:*", "cloudflare:*"],
    logLevel: "error",
  });
  return path;
}

function configuration(port: number): string {
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = (
    modules = [(name = "worker.js", esModule = embed "worker.js")],
    compatibilityDate = "2026-04-01",
    compatibilityFlags = ["enable_request_signal"],
  ))],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")],
);
`;
}

interface Worker {
  url: string;
  pid: number;
  stop(): Promise<void>;
}

async function start(): Promise<Worker> {
  const port = await freePort();
  const file = join(folder, `${port}.capnp`);
  writeFileSync(file, configuration(port));
  const process_: ChildProcess = spawn(workerdPath(), ["serve", file], { stdio: ["ignore", "ignore", "inherit"] });
  const exited = new Promise<void>((resolve) => process_.once("exit", () => resolve()));
  const url = `http://127.0.0.1:${port}`;
  for (let tries = 0; ; tries++) {
    try {
      await (await fetch(url + nothing)).arrayBuffer();
      break;
    } catch (error) {
      if (tries > 200) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  return {
    url,
    pid: process_.pid!,
    async stop() {
      process_.kill("SIGKILL");
      await exited;
    },
  };
}

function workerdPath(): string {
  const [platform] = readdirSync(join(root, "node_modules/@cloudflare")).filter((name) => name.startsWith("workerd-"));
  if (platform === undefined) throw new Error("workerd is not installed.");
  return join(root, "node_modules/@cloudflare", platform, "bin/workerd");
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer();
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}

/** CPU milliseconds of every thread so far. */
function threadTimes(pid: number): Map<string, number> {
  const threads = readdirSync(`/proc/${pid}/task`);
  return new Map(
    threads.map((id) => {
      const text = readFileSync(`/proc/${pid}/task/${id}/schedstat`, "utf8");
      return [id, Number(text.split(" ")[0]) / 1e6];
    }),
  );
}

interface Cost {
  isolateMs: number;
  allMs: number;
  bytes: number;
}

const ramSizes = [16, 32, 48, 64, 96, 128];
let asked = 0;

function ask({ url }: Worker, path: string): Promise<Response> {
  const n = 1 + (asked++ % 99);
  if (!path.startsWith("POST "))
    return fetch(url + path.replace("{n}", `${n}`).replace("{ram}", `${ramSizes[n % ramSizes.length]}`));
  const body = JSON.stringify(request(n));
  const headers = { "content-type": "application/json" };
  return fetch(url + path.slice("POST ".length), { method: "POST", headers, body });
}

async function cost(worker: Worker, path: string, rounds: number): Promise<Cost> {
  const before = threadTimes(worker.pid);
  let bytes = 0;
  for (let round = 0; round < rounds; round++) bytes = (await (await ask(worker, path)).arrayBuffer()).byteLength;
  const used = [...threadTimes(worker.pid)].map(([id, ms]) => ms - (before.get(id) ?? 0));
  return { isolateMs: Math.max(...used) / rounds, allMs: used.reduce((sum, ms) => sum + ms, 0) / rounds, bytes };
}

const startCosts: number[] = [];

async function cold(path: string): Promise<number> {
  const costs: number[] = [];
  for (let process_ = 0; process_ < 3; process_++) {
    const worker = await start();
    startCosts.push(Math.max(...threadTimes(worker.pid).values()));
    const base = await cost(worker, nothing, 5);
    costs.push((await cost(worker, path, 1)).isolateMs - base.isolateMs);
    await worker.stop();
  }
  return costs.sort((a, b) => a - b)[1]!;
}

async function warm(worker: Worker, path: string): Promise<Cost> {
  await cost(worker, path, 10);
  const base = await cost(worker, nothing, warmRounds);
  const { isolateMs, allMs, bytes } = await cost(worker, path, warmRounds);
  return { isolateMs: isolateMs - base.isolateMs, allMs: allMs - base.allMs, bytes };
}

const round = (ms: number) => Math.round(Math.max(0, ms) * 100) / 100;

const size = readFileSync(await bundle()).byteLength;
const shared = await start();
const rows: Row[] = [];
for (const [kind, question] of QUESTIONS) {
  const { isolateMs, allMs, bytes } = await warm(shared, question);
  const coldIsolateMs = round(await cold(question));
  rows.push({ kind, question, coldIsolateMs, warmIsolateMs: round(isolateMs), warmAllMs: round(allMs), bytes });
}
await shared.stop();
rmSync(folder, { recursive: true });

console.table(rows);
const startIsolateMs = round(startCosts.sort((a, b) => a - b)[startCosts.length >> 1]!);
console.log(
  `Bundle ${Math.round(size / 1024)} KiB, minified; its start takes ${startIsolateMs} ms, workerd's own included.`,
);
mkdirSync("bench/results", { recursive: true });
const machine = {
  cpu: cpus()[0]?.model,
  cores: cpus().length,
  load: loadavg().map((one) => Math.round(one * 10) / 10),
};
writeFileSync(
  "bench/results/fits-worker.json",
  `${JSON.stringify({ date: new Date().toISOString().slice(0, 10), machine, node: process.version, bundleBytes: size, startIsolateMs, rows }, undefined, 2)}\n`,
);
