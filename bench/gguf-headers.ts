/**
 * Reading GGUF headers: time and memory for a large model's header, and the worst of 10,000 broken ones.
 * Prints tables, writes bench/results/gguf-headers.json. Run: node --expose-gc --import tsx bench/gguf-headers.ts
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { readGgufFile } from "../src/cli/gguf-file.ts";
import { parseGguf } from "../src/fit/gguf.ts";
import type { ByteSource } from "../src/fit/gguf-source.ts";
import { SHAPES } from "../test/support/gguf/shapes.ts";
import { writeModel } from "../test/support/gguf/write-model.ts";

const folder = mkdtempSync(join(tmpdir(), "gguf-bench-"));
const collect = globalThis.gc ?? (() => undefined);

async function cpuMs(work: () => Promise<unknown>): Promise<number> {
  const start = process.cpuUsage();
  await work();
  const used = process.cpuUsage(start);
  return (used.user + used.system) / 1000;
}

async function large() {
  const path = join(folder, "large.gguf");
  const shape = { ...SHAPES["qwen3-8b"], vocabularySize: 151_936 };
  const { headerBytes, fileBytes } = writeModel(path, { shape, architecture: "qwen3", type: "Q4_K", brain: "zeros" });
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 10; round++) best = Math.min(best, await cpuMs(() => readGgufFile(path)));
  collect();
  const before = process.memoryUsage().heapUsed;
  const headers = [];
  for (let round = 0; round < 8; round++) headers.push(await readGgufFile(path));
  collect();
  const keptBytes = (process.memoryUsage().heapUsed - before) / headers.length;
  return {
    headerBytes,
    fileBytes,
    tensors: headers[0]!.tensors.length,
    cpuMs: round(best),
    keptKiB: Math.round(keptBytes / 1024),
  };
}

/** A source that does not know how the file goes on behind its header. */
function startOfFile(bytes: Uint8Array): ByteSource {
  return { name: "broken.gguf", read: async (offset, length) => bytes.subarray(offset, offset + length) };
}

/** Bit flips, cuts and giant numbers over one small header. */
async function broken() {
  const path = join(folder, "small.gguf");
  const { headerBytes } = writeModel(path, { architecture: "qwen3moe", brain: "zeros" });
  const valid = new Uint8Array(readFileSync(path).subarray(0, headerBytes));
  let [worst, total, refused, heapMax] = [0, 0, 0, 0];
  let state = 1;
  const random = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
  for (let index = 0; index < 10_000; index++) {
    const bytes = valid.slice(0, index % 3 === 0 ? Math.floor(random() * valid.length) : valid.length);
    const at = Math.floor(random() * Math.max(1, bytes.length - 8));
    if (index % 3 === 1) bytes[at]! ^= 1 << Math.floor(random() * 8);
    if (index % 3 === 2) new DataView(bytes.buffer).setBigUint64(at, 2n ** BigInt(Math.floor(random() * 64)), true);
    const ms = await cpuMs(() =>
      parseGguf(startOfFile(bytes)).catch(() => {
        refused++;
      }),
    );
    worst = Math.max(worst, ms);
    total += ms;
    if (index % 100 === 0) heapMax = Math.max(heapMax, process.memoryUsage().heapUsed);
  }
  return {
    headers: 10_000,
    refused,
    meanMs: round(total / 10_000),
    worstMs: round(worst),
    heapMiB: Math.round(heapMax / 2 ** 20),
  };
}

const round = (value: number) => Math.round(value * 100) / 100;

const result = {
  machine: `${cpus()[0]?.model ?? "unknown CPU"}, ${cpus().length} cores, load ${loadavg()[0]?.toFixed(1)}, Node ${process.version}`,
  date: new Date().toISOString().slice(0, 10),
  large: await large(),
  broken: await broken(),
};
rmSync(folder, { recursive: true });
console.table([result.large]);
console.table([result.broken]);
mkdirSync(new URL("results/", import.meta.url), { recursive: true });
writeFileSync(new URL("results/gguf-headers.json", import.meta.url), `${JSON.stringify(result, undefined, 2)}\n`);
