/**
 * What the API costs in front of an engine: npm run build && npx tsx bench/api.ts [rounds] [paced] [scattered] [burst] [ledger] [many]
 *
 * Side by side in one run: a bare node:http proxy, Snug (`snug start` with a ledger on disk) and @portkey-ai/gateway where
 * the package registry gives it; it goes into a temporary folder. All stand before the same scripted server. Each round
 * runs all of them after another, so that a busy machine is busy for all.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type LoadOptions, runLoad, type Target } from "./api-load.ts";
import { type ServerProcess, startServer } from "./api-processes.ts";

const rounds = Number(process.argv[2] ?? 7);
/** Parts to run; the results file is written when all do. */
const parts = process.argv.slice(3);
const wanted = (part: string) => parts.length === 0 || parts.includes(part);
const folder = mkdtempSync(join(tmpdir(), "snug-bench-api-"));
const key = "bench-admin-key-0123456789";
const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const server = (name: string) => here(`servers/${name}.mjs`);

interface Contender extends Target {
  server: ServerProcess;
}

const upstream = await startServer("upstream", [server("upstream")]);
const contenders: Record<string, Contender> = {};

function enter(name: string, process: ServerProcess, headers: Record<string, string>) {
  contenders[name] = { server: process, port: process.port, headers };
}

const bearer = { authorization: `Bearer ${key}` };
enter("raw node:http", await startServer("raw", [server("raw-proxy"), String(upstream.port)]), bearer);
const start = { PORT: "0", SNUG_ADMIN_KEY: key, SNUG_ENGINE_URL: `http://127.0.0.1:${upstream.port}` };
enter(
  "snug start",
  await startServer("snug", [here("../dist/entries/cli.js"), "start"], {
    env: { ...start, SNUG_DATA_DIR: join(folder, "snug"), NO_COLOR: "1" },
    ready: /Address\s+http:\S+:(\d+)/,
  }),
  bearer,
);
for (const ledger of ["on", "off"]) {
  const args = [server("snug"), String(upstream.port), ledger, join(folder, `ledger-${ledger}`)];
  enter(`ledger ${ledger}`, await startServer(`ledger ${ledger}`, args, { env: { SNUG_ADMIN_KEY: key } }), bearer);
}
const portkeyVersion = await startPortkey();

/** Undefined where it cannot be installed. */
async function startPortkey(): Promise<string | undefined> {
  const home = join(folder, "portkey");
  const gateway = join(home, "node_modules/@portkey-ai/gateway");
  try {
    mkdirSync(home);
    writeFileSync(join(home, "package.json"), "{}");
    const install = ["install", "@portkey-ai/gateway@1.15.2", "--ignore-scripts", "--no-audit", "--no-fund"];
    execFileSync("npm", install, { cwd: home, stdio: "ignore", timeout: 120_000 });
  } catch {
    return undefined;
  }
  const port = 20_000 + (process.pid % 20_000);
  const process_ = await startServer(
    "portkey",
    ["--import", server("portkey-preload"), join(gateway, "build/start-server.js"), `--port=${port}`, "--headless"],
    {
      env: { NODE_ENV: "production", TRUSTED_CUSTOM_HOSTS: "127.0.0.1,localhost" },
      ready: new RegExp(`(${port})`),
    },
  );
  enter(
    "portkey",
    { ...process_, port },
    {
      ...bearer,
      "x-portkey-provider": "openai",
      "x-portkey-custom-host": `http://127.0.0.1:${upstream.port}/v1`,
    },
  );
  return "1.15.2";
}

interface Sample {
  firstTokenMs: number[];
  cpuMsPerStream: number;
  streamsPerSecond: number;
}

type Load = Pick<LoadOptions, "model" | "tokens" | "streams" | "pauseMsMax">;

async function sample(name: string, load: Load): Promise<Sample> {
  const contender = contenders[name]!;
  const { streams } = load;
  const cpuBefore = contender.server.cpuMs();
  const times = await runLoad({ ...load, target: contender, connections: 16 });
  if (times.broken > 0) throw new Error(`${name}: ${times.broken} of ${streams} streams broke.`);
  return {
    firstTokenMs: times.firstTokenMs,
    cpuMsPerStream: (contender.server.cpuMs() - cpuBefore) / streams,
    streamsPerSecond: (streams / times.elapsedMs) * 1000,
  };
}

/** All contenders in turn, `rounds` times, after one round that does not count. */
async function compare(names: string[], load: Load) {
  const samples = new Map<string, Sample[]>(names.map((name) => [name, []]));
  for (let round = 0; round <= rounds; round++) {
    for (const name of round % 2 === 0 ? names : [...names].reverse()) {
      const taken = await sample(name, load);
      if (round > 0) samples.get(name)!.push(taken);
    }
  }
  return Object.fromEntries(names.map((name) => [name, summarize(samples.get(name)!)]));
}

const quantile = (values: number[], share: number) => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!;
};
const median = (values: number[]) => quantile(values, 0.5);

function summarize(samples: Sample[]) {
  const firstTokens = samples.flatMap((taken) => taken.firstTokenMs);
  return {
    firstTokenMsP50: quantile(firstTokens, 0.5),
    firstTokenMsP99: quantile(firstTokens, 0.99),
    cpuMsPerStream: median(samples.map((taken) => taken.cpuMsPerStream)),
    streamsPerSecond: median(samples.map((taken) => taken.streamsPerSecond)),
  };
}

/** 500 streams at once, twice: a process that has never had so many grows once and keeps what it took. */
async function measureMany(name: string, count: number) {
  const { server: process, port, headers } = contenders[name]!;
  const target = { port, headers };
  const all = { target, model: "stream-60-100", tokens: 60, streams: count, connections: count };
  await runLoad(all);
  await new Promise((resolve) => setTimeout(resolve, 5_000));
  const idleBytes = process.residentBytes();
  let begun = 0;
  let peakBytes = 0;
  const look = setInterval(() => {
    if (begun === count) peakBytes = Math.max(peakBytes, process.residentBytes());
  }, 100);
  const times = await runLoad({ ...all, onFirstToken: () => begun++ });
  clearInterval(look);
  return { streams: count, whole: times.whole, idleBytes, peakBytes, bytesPerStream: (peakBytes - idleBytes) / count };
}

process.once("exit", () => {
  for (const { kill } of [upstream, ...Object.values(contenders).map((one) => one.server)]) kill();
  rmSync(folder, { recursive: true, force: true });
});

const gateways = ["raw node:http", "snug start", ...(portkeyVersion === undefined ? [] : ["portkey"])];
const slow: Load = { model: "stream-32-10", tokens: 32, streams: 320 };
const fast: Load = { model: "stream-20-0", tokens: 20, streams: 1600 };
const paced = wanted("paced") ? await compare(gateways, slow) : undefined;
const scattered = wanted("scattered") ? await compare(gateways, { ...slow, pauseMsMax: 330 }) : undefined;
const burst = wanted("burst") ? await compare(gateways, fast) : undefined;
const ledger = wanted("ledger") ? await compare(["ledger on", "ledger off"], fast) : undefined;
const many = wanted("many")
  ? { raw: await measureMany("raw node:http", 500), snug: await measureMany("snug start", 500) }
  : undefined;

const show = (title: string, measured: Awaited<ReturnType<typeof compare>> | undefined) => {
  if (measured === undefined) return;
  console.log(title);
  console.table(
    Object.entries(measured).map(([name, { firstTokenMsP50, firstTokenMsP99, cpuMsPerStream, streamsPerSecond }]) => ({
      "": name,
      "first token p50 ms": firstTokenMsP50.toFixed(2),
      "p99 ms": firstTokenMsP99.toFixed(2),
      "CPU µs/stream": Math.round(cpuMsPerStream * 1000),
      "streams/s": Math.round(streamsPerSecond),
    })),
  );
};
show("32 tokens, 10 ms apart, 16 connections in step", paced);
show("the same, each connection asking when it likes", scattered);
show("20 tokens at once, 16 connections", burst);
show("the same, with and without the ledger", ledger);
if (many !== undefined) console.table(many);

if (parts.length === 0) {
  // Figures of a machine that is busy with other things say little beyond their ratios.
  const machine = { cpu: cpus()[0]?.model, cores: cpus().length, node: process.version, loadAverage: loadavg() };
  const measured = { paced, scattered, burst, ledger, many };
  const result = { measuredAt: new Date().toISOString(), machine, portkeyVersion, rounds, ...measured };
  mkdirSync(new URL("results/", import.meta.url), { recursive: true });
  writeFileSync(new URL("results/api.json", import.meta.url), `${JSON.stringify(result, null, 2)}\n`);
}
process.exit(0);
