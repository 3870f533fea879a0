/**
 * How long a question takes to read: every phrasing of the test table, warm, in microseconds. Prints a table, writes
 * bench/results/fit-query.json. Run: npx tsx bench/fit-query.ts
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { parseQuery } from "../src/fit/query.ts";

const source = readFileSync(new URL("../src/fit/query.phrasings.test.ts", import.meta.url), "utf8");
const phrasings = [...source.matchAll(/^ {2}\[("(?:[^"\\]|\\.)*"),/gm)].map((match) => JSON.parse(match[1]!) as string);
/** The machine may be busy: each phrasing gets several batches, and the quietest counts. */
const batches = 12;
const rounds = 25;

const firstStart = performance.now();
parseQuery("llama 3.1 70b on 4090 + 64gb ram");
const firstMs = performance.now() - firstStart;
for (let warm = 0; warm < 20; warm++) for (const text of phrasings) parseQuery(text);

const times = phrasings.map((text) => {
  let best = Number.POSITIVE_INFINITY;
  for (let batch = 0; batch < batches; batch++) {
    const start = performance.now();
    for (let round = 0; round < rounds; round++) parseQuery(text);
    best = Math.min(best, ((performance.now() - start) * 1000) / rounds);
  }
  return { text, microseconds: Math.round(best * 10) / 10 };
});
const sorted = times.map(({ microseconds }) => microseconds).sort((a, b) => a - b);
const quantile = (share: number): number =>
  Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]! * 10) / 10;

const result = {
  machine: cpus()[0]?.model ?? "unknown",
  node: process.version,
  date: new Date().toISOString().slice(0, 10),
  phrasings: phrasings.length,
  medianMicroseconds: quantile(0.5),
  p90Microseconds: quantile(0.9),
  worstMicroseconds: quantile(1),
  firstCallMs: Math.round(firstMs * 10) / 10,
};
console.table(result);
console.table(times.sort((a, b) => b.microseconds - a.microseconds).slice(0, 8));
mkdirSync(new URL("./results/", import.meta.url), { recursive: true });
writeFileSync(new URL("./results/fit-query.json", import.meta.url), `${JSON.stringify(result, null, 2)}\n`);
