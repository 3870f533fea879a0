/**
 * How soon the admin page is there: first paint of each section in a real Chromium, with an empty cache and with a warm
 * one, over a month of made-up use; server and browser share this machine's cores. Times count from the start of the
 * navigation, as the browser tells them. Prints a table, writes bench/results/admin-page.json.
 * Run: npx tsx bench/admin-page.ts
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import type { Browser, Page } from "playwright-core";
import { openAdminStage } from "../test/support/admin-stage.ts";
import { findChromium, openAdmin, signIn, startChromium } from "../test/support/browser.ts";

const rounds = 9;
const rowsPerDay = 400;
const sections = { now: "/admin", usage: "/admin/usage?range=month", keys: "/admin/keys", engines: "/admin/engines" };

interface Load {
  firstByteMs: number;
  firstPaintMs: number;
  /** Everything there, scripts run, charts drawn. */
  loadMs: number;
  transferredBytes: number;
}

const chromiumPath = findChromium();
if (chromiumPath === undefined) throw new Error("No Chromium found; install one or set SNUG_CHROMIUM.");
const stage = await openAdminStage({ rowsPerDay });
const browser = await startChromium(chromiumPath);

const rows: Record<string, unknown>[] = [];
for (const [section, path] of Object.entries(sections)) {
  for (const cache of ["empty", "warm"] as const) {
    const loads: Load[] = [];
    for (let round = 0; round < rounds; round++) loads.push(await measure(browser, path, cache));
    rows.push({
      section,
      cache,
      firstByteMs: median(loads.map(({ firstByteMs }) => firstByteMs)),
      firstPaintMs: median(loads.map(({ firstPaintMs }) => firstPaintMs)),
      firstPaintMsMax: Math.round(Math.max(...loads.map(({ firstPaintMs }) => firstPaintMs))),
      loadMs: median(loads.map(({ loadMs }) => loadMs)),
      transferredKB: Math.round(median(loads.map(({ transferredBytes }) => transferredBytes)) / 100) / 10,
    });
  }
}
const version = browser.version();
await browser.close();
await stage.close();

const result = {
  machine: `${cpus()[0]?.model ?? "unknown"}, ${cpus().length} cores`,
  node: process.version,
  chromium: version,
  date: new Date().toISOString().slice(0, 10),
  ledgerRows: stage.rows,
  rounds,
  pages: rows,
};
console.log(`${result.machine}, Chromium ${version}, ${stage.rows} rows in the ledger`);
console.table(rows);
mkdirSync(new URL("./results/", import.meta.url), { recursive: true });
writeFileSync(new URL("./results/admin-page.json", import.meta.url), `${JSON.stringify(result, null, 2)}\n`);
process.exit();

async function measure(within: Browser, path: string, cache: "empty" | "warm"): Promise<Load> {
  const { page } = await openAdmin(within, stage.url);
  await signIn(page, stage.api.admin.secret);
  await page.locator("#live").waitFor();
  if (cache === "empty") {
    const session = await page.context().newCDPSession(page);
    await session.send("Network.clearBrowserCache");
  } else {
    await page.goto(`${stage.url}${path}`);
  }
  await page.goto(`${stage.url}${path}`, { waitUntil: "load" });
  const load = await readTimes(page);
  await page.context().close();
  return load;
}

async function readTimes(page: Page): Promise<Load> {
  // A text, because the browser's names are not known to Node's types.
  return (await page.evaluate(`new Promise((resolve) => {
    const look = () => {
      const [navigation] = performance.getEntriesByType("navigation");
      const paint = performance.getEntriesByName("first-contentful-paint")[0];
      if (paint === undefined || navigation.loadEventEnd === 0) return setTimeout(look, 20);
      const all = [navigation, ...performance.getEntriesByType("resource")];
      resolve({
        firstByteMs: navigation.responseStart,
        firstPaintMs: paint.startTime,
        loadMs: navigation.loadEventEnd,
        transferredBytes: all.reduce((sum, entry) => sum + entry.transferSize, 0),
      });
    };
    look();
  })`)) as Load;
}

function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return Math.round(sorted[Math.floor(sorted.length / 2)]!);
}
