/**
 * What the engine costs beside node-llama-cpp alone, and how it stands to llama-server of the same release: decode speed
 * at 1 to 16 streams, time to the first token, gaps while a long prompt arrives, shared prefixes, cancels, waiting.
 * Programs take turns within each round, so that what else the machine does falls on all alike; figures are medians of
 * rounds. Prints tables, writes bench/results/engine.json. Run after `npm run build`:
 *
 *   npx tsx bench/engine.ts [--models tiny,small,medium] [--rounds 3] [--parts speed,gap,prefix,cancel,line,kill]
 *
 * llama-server is compared where one is found (scripts/build-llama-server.mjs builds it).
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { parseArgs } from "node:util";
import { findTestServer, noServerReason } from "../test/support/llama-server.ts";
import { measureGap } from "./engine/gap.ts";
import { type BenchModel, benchModel } from "./engine/models.ts";
import { measureCancel, measureKill, measureLine, measurePrefix } from "./engine/promises.ts";
import { measureSpeed } from "./engine/speed.ts";

const { values } = parseArgs({
  options: {
    models: { type: "string", default: "tiny,small,medium" },
    rounds: { type: "string", default: "3" },
    parts: { type: "string", default: "speed,gap,prefix,cancel,line,kill" },
  },
});
const rounds = Number(values.rounds);
const parts = new Set(values.parts.split(","));
const server = await findTestServer();
if (server === undefined) console.log(`The comparison with llama-server is ${noServerReason}.`);

const file = new URL("./results/engine.json", import.meta.url);
const results = readResults();
const note = (part: string, result: unknown) => {
  const machine = `${cpus()[0]?.model ?? "unknown"}, ${cpus().length} cores, load ${loadavg()[0]?.toFixed(1)}`;
  results[part] = { machine, node: process.version, date: new Date().toISOString().slice(0, 10), result };
  mkdirSync(new URL("./results/", import.meta.url), { recursive: true });
  writeFileSync(file, `${JSON.stringify(results, null, 2)}\n`);
};

if (parts.has("speed")) {
  for (const name of values.models.split(",") as BenchModel[]) {
    note(`speed, ${name} model`, await measureSpeed(name, benchModel(name), server, rounds));
  }
}
if (parts.has("gap")) note("gap while a long prompt arrives", await measureGap(benchModel("small"), server, rounds));
if (parts.has("prefix")) note("shared prefix", await measurePrefix(benchModel("small"), rounds));
if (parts.has("cancel")) note("cancel", await measureCancel(benchModel("small"), rounds));
if (parts.has("line")) note("line", await measureLine(benchModel("small"), rounds));
if (parts.has("kill")) note("kill", await measureKill(rounds));

function readResults(): Record<string, unknown> {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch {
    return {};
  }
}
