/**
 * Usage reports over a large ledger: npx tsx bench/usage.ts [rows] [days]
 *
 * A ledger of 1,000,000 rows over 30 days, its whole days added up as the server does it, then every grouping of the last
 * 30 days, with the current day and the beginning of the first one read from the rows; and what the admin page reads.
 */
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import SqliteFile from "better-sqlite3";
import { groupings as pageGroupings, type RangeName, readUsageFacts } from "../src/api/admin/usage-facts.ts";
import { createBotStateStore } from "../src/api/bot-state.ts";
import { createKeyStore } from "../src/api/key-store.ts";
import { createUsageStore } from "../src/api/usage/store.ts";
import type { UsageGrouping } from "../src/core/ports.ts";
import { openSqlite } from "../src/entries/sqlite.ts";

const rowCount = Number(process.argv[2] ?? 1_000_000);
const dayMs = 86_400_000;
const days = Number(process.argv[3] ?? 30);
const repeats = 9;
const now = Date.UTC(2026, 5, 30, 14, 30);
const begin = now - days * dayMs;

const folder = mkdtempSync(join(tmpdir(), "snug-bench-usage-"));

/** Same numbers every run. */
let seed = 12345;
function random(): number {
  seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
  return seed / 0x7fffffff;
}

/** Few users ask much, many ask little. */
const skewed = (count: number) => Math.floor(count * random() ** 2.5);

function fill(path: string): void {
  const file = new SqliteFile(path);
  const insert = file.prepare(
    "insert into usage (id, at, status, key_id, source, user_id, model, quantization, engine_id, stream, prompt_tokens, completion_tokens, cached_prompt_tokens, estimated, queue_ms, time_to_first_token_ms, total_ms, prefill_tokens_per_second, completion_tokens_per_second, finish_reason, error_code, aborted) values (?, ?, ?, ?, ?, ?, ?, 'Q4_K_M', ?, 1, ?, ?, ?, 0, ?, ?, ?, 900.5, ?, ?, ?, ?)",
  );
  const sources = ["discord", "slack", "api", "cli"];
  file.exec("begin");
  for (let i = 0; i < rowCount; i++) {
    const fate = random();
    const tokens = 20 + Math.floor(500 * random());
    insert.run(
      `chatcmpl-${i.toString(16).padStart(12, "0")}`,
      Math.floor(begin + (i / rowCount) * (now - begin)),
      fate > 0.999 ? "interrupted" : "settled",
      `key-${skewed(20)}`,
      sources[skewed(4)],
      `user-${skewed(1000)}`,
      `model-${skewed(6)}`,
      `engine-${skewed(3)}`,
      100 + Math.floor(3000 * random()),
      tokens,
      Math.floor(100 * random()),
      random() < 0.5 ? 0.4 : 3000 * random() ** 3,
      50 + 2000 * random() ** 2,
      500 + tokens * 25,
      10 + 60 * random(),
      fate < 0.93 ? "stop" : null,
      fate >= 0.97 ? "engine_unavailable" : null,
      fate >= 0.93 && fate < 0.97 ? 1 : 0,
    );
  }
  file.exec("commit");
  file.close();
}

openSqlite(folder).close();
fill(join(folder, "snug.db"));
const database = openSqlite(folder);
const store = createUsageStore(database);

const rollUpAt = performance.now();
const daysAddedUp = await store.rollUp(now);
const rollUpMs = performance.now() - rollUpAt;

interface Measured {
  report: string;
  medianMs: number;
  /** CPU time of the process a report, for machines that are busy with other things. */
  cpuMs: number;
  worstMs: number;
  groups: number;
}

async function measure(report: string, read: () => Promise<number>): Promise<Measured> {
  const times: number[] = [];
  let groups = 0;
  const cpuBefore = process.cpuUsage();
  for (let i = 0; i < repeats; i++) {
    const at = performance.now();
    groups = await read();
    times.push(performance.now() - at);
  }
  const { user, system } = process.cpuUsage(cpuBefore);
  const cpuMs = (user + system) / 1000 / repeats;
  times.sort((a, b) => a - b);
  return { report, medianMs: times[Math.floor(repeats / 2)]!, cpuMs, worstMs: times.at(-1)!, groups };
}

const period = { since: begin, until: now };
const measured: Measured[] = [];
for (const group of ["day", "key", "user", "model", "source", "engine", "status"] satisfies UsageGrouping[]) {
  const read = async (more: object) => (await store.groups({ group, limit: 50, ...period, ...more })).groups.length;
  measured.push(await measure(`by ${group}`, () => read({})));
  measured.push(await measure(`by ${group}, one key`, () => read({ keyId: "key-0" })));
}
const oneUser = { group: "model", limit: 50, ...period, userId: "user-500" } as const;
measured.push(await measure("by model, one user", async () => (await store.groups(oneUser)).groups.length));
measured.push(await measure("totals", async () => (await store.totals(period)).requests));
measured.push(await measure("newest 50 rows", async () => (await store.rows({ limit: 50 })).length));

// All that the usage page reads for one look: groups, two charts, failures, thumbs and names.
const sources = { usageStore: store, keyStore: createKeyStore(database), feedback: createBotStateStore(database) };
for (const range of ["day", "week", "month", "quarter"] satisfies RangeName[]) {
  for (const by of range === "month" ? pageGroupings : (["model", "user"] as const)) {
    const look = async () => (await readUsageFacts(sources, { range, by, show: "requests" }, now)).groupCount;
    measured.push(await measure(`page, a ${range} by ${by}`, look));
  }
}
database.close();

const result = {
  measuredAt: new Date().toISOString(),
  machine: { cpu: cpus()[0]?.model, cores: cpus().length, node: process.version },
  rows: rowCount,
  days,
  fileBytes: statSync(join(folder, "snug.db")).size,
  rollUp: { days: daysAddedUp, ms: rollUpMs, msPerDay: rollUpMs / daysAddedUp },
  reports: measured,
};
rmSync(folder, { recursive: true });
console.table(
  measured.map(({ report, medianMs, cpuMs, worstMs, groups }) => ({
    report,
    "median ms": medianMs.toFixed(1),
    "CPU ms": cpuMs.toFixed(1),
    "worst ms": worstMs.toFixed(1),
    groups,
  })),
);
console.log(`${rowCount} rows, ${daysAddedUp} days added up in ${rollUpMs.toFixed(0)} ms.`);
mkdirSync(new URL("results/", import.meta.url), { recursive: true });
writeFileSync(new URL("results/usage.json", import.meta.url), `${JSON.stringify(result, null, 2)}\n`);
