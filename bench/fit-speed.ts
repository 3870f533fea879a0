/**
 * Speed model against measurements: decode error by GPU family on the test third (every third row, unseen by the fit),
 * beside the usual formula bandwidth / bytes x 0.55; 70B from a machine's own 8B runs; the same fit with one card left
 * out at a time. Prints tables, writes bench/results/fit-speed.json. Run: npx tsx bench/fit-speed.ts
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { weightTable } from "../src/fit/memory-weights.ts";
import { estimateSpeed, type MeasuredRun } from "../src/fit/speed.ts";
import { SPEED_CONSTANTS, type SpeedConstants } from "../src/fit/speed-constants.ts";
import { leaveOneCardOut } from "./fit-speed-constants.ts";
import { leftOutCases, SPEED_LEFT_OUT, SPEED_ROWS, type SpeedCase, speedCases } from "./speed-cases.ts";

interface Summary {
  family: string;
  n: number;
  medianPercent: number;
  p90Percent: number;
  biasPercent: number;
  peerMedianPercent: number;
  peerP90Percent: number;
}

const cases = speedCases();
const test = cases.filter((one) => one.test);

function predict(one: SpeedCase, constants: SpeedConstants, measured: readonly MeasuredRun[] = []): number {
  const { model, settings, hardware, row } = one;
  const question = { model, plan: { settings }, hardware, depthTokens: row.depth, measured };
  return estimateSpeed(question, constants).decodeTokensPerSecond;
}

/** Bandwidth of the first device over the bytes of the weights a token uses, times 0.55. */
function peer({ model, settings, hardware }: SpeedCase): number {
  const weights = weightTable(model, settings.quantization);
  const experts = weights.expertBytes.reduce((sum, bytes) => sum + bytes, 0);
  const share = model.expertCount > 0 ? model.expertUsedCount / model.expertCount : 0;
  const bytes = weights.totalBytes - experts * (1 - share);
  const bandwidth = hardware.gpus[0]?.bandwidthBytesPerSecond ?? hardware.ramBandwidthBytesPerSecond ?? 51.2e9;
  return (0.55 * bandwidth) / bytes;
}

function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

const percent = (value: number) => Math.round(value * 1000) / 10;

function summarize(family: string, rows: readonly SpeedCase[]): Summary {
  const errors = rows.map((one) => predict(one, SPEED_CONSTANTS) / one.row.decode - 1);
  return summaryOf(family, rows, errors);
}

function summaryOf(family: string, rows: readonly SpeedCase[], errors: readonly number[]): Summary {
  const peers = rows.map((one) => Math.abs(peer(one) / one.row.decode - 1));
  const absolute = errors.map(Math.abs);
  return {
    family,
    n: rows.length,
    medianPercent: percent(quantile(absolute, 0.5)),
    p90Percent: percent(quantile(absolute, 0.9)),
    biasPercent: percent(quantile(errors, 0.5)),
    peerMedianPercent: percent(quantile(peers, 0.5)),
    peerP90Percent: percent(quantile(peers, 0.9)),
  };
}

function print(title: string, rows: readonly Summary[]): void {
  console.log(`\n${title}`);
  console.log(
    "family                        n   median    p90    bias | peer median    p90   (percent of the measured rate)",
  );
  for (const row of rows) {
    const cells = [row.n, row.medianPercent, row.p90Percent, row.biasPercent].map((value) => String(value).padStart(7));
    const peerCells = [row.peerMedianPercent, row.peerP90Percent].map((value) => String(value).padStart(8));
    console.log(`${row.family.padEnd(24)}${cells.join(" ")} | ${peerCells.join(" ")}`);
  }
}

function byFamily(rows: readonly SpeedCase[]): Summary[] {
  const families = [...new Set(rows.map((one) => one.family))].sort();
  const table = families.map((family) =>
    summarize(
      family,
      rows.filter((one) => one.family === family),
    ),
  );
  const full = rows.filter((one) => one.offload === "full");
  return [
    ...table,
    summarize("all, full offload", full),
    summarize(
      "  current builds",
      full.filter((one) => one.row.build !== "2024"),
    ),
    summarize(
      "  builds of 2024",
      full.filter((one) => one.row.build === "2024"),
    ),
  ];
}

/** Every 70B row of a machine from nothing but that machine's 8B rows. */
function seventyFromEight(): { n: number; medianPercent: number; p90Percent: number } {
  const errors: number[] = [];
  const same = (a: SpeedCase, b: SpeedCase) =>
    a.row.gpu === b.row.gpu && a.row.count === b.row.count && a.row.source === b.row.source;
  for (const one of cases.filter(({ row }) => row.source === "xd" && row.model === "Llama 3 70B")) {
    const runs = cases
      .filter((other) => same(one, other) && other.row.model === "Llama 3 8B")
      .map(({ model, settings, row }) => ({
        model,
        settings,
        depthTokens: row.depth,
        decodeTokensPerSecond: row.decode,
      }));
    if (runs.length === 0) continue;
    errors.push(Math.abs(predict(one, SPEED_CONSTANTS, runs) / one.row.decode - 1));
  }
  return {
    n: errors.length,
    medianPercent: percent(quantile(errors, 0.5)),
    p90Percent: percent(quantile(errors, 0.9)),
  };
}

/** Full-offload rows with constants fitted without their card. */
function unseenCards(): Summary {
  const held = leaveOneCardOut(cases).filter(({ one }) => one.offload === "full");
  const errors = held.map(({ one, constants }) => predict(one, constants) / one.row.decode - 1);
  const cards = new Set(held.map(({ one }) => one.row.gpu)).size;
  return summaryOf(
    `${cards} cards, each unseen`,
    held.map(({ one }) => one),
    errors,
  );
}

function prefillErrors(rows: readonly SpeedCase[]): { n: number; medianPercent: number; p90Percent: number } {
  const errors: number[] = [];
  for (const { model, settings, hardware, row } of rows) {
    if (row.prefill === undefined) continue;
    const estimate = estimateSpeed({ model, plan: { settings }, hardware, promptTokens: row.prompt! });
    errors.push(Math.abs(estimate.prefillTokensPerSecond / row.prefill - 1));
  }
  return {
    n: errors.length,
    medianPercent: percent(quantile(errors, 0.5)),
    p90Percent: percent(quantile(errors, 0.9)),
  };
}

/** Share of test rows inside the stated interval; nine of ten is the aim. */
function coverage(rows: readonly SpeedCase[]): number {
  const inside = rows.filter(({ model, settings, hardware, row }) => {
    const estimate = estimateSpeed({ model, plan: { settings }, hardware, depthTokens: row.depth });
    return row.decode >= estimate.decodeLow && row.decode <= estimate.decodeHigh;
  });
  return percent(inside.length / rows.length);
}

const families = byFamily(test);
const unseen = unseenCards();
const seventy = seventyFromEight();
const prefill = prefillErrors(test);
const inside = coverage(test);
print(`Decode on the test third (${test.length} of ${SPEED_ROWS.length} rows)`, families);
print("All rows of a card, with constants fitted without it", [unseen]);
console.log(
  `\n70B from the same machine's 8B runs: n ${seventy.n}, median ${seventy.medianPercent} %, p90 ${seventy.p90Percent} %`,
);
console.log(
  `Prompt rate on the test third: n ${prefill.n}, median ${prefill.medianPercent} %, p90 ${prefill.p90Percent} %`,
);
console.log(`Test rows inside the stated interval: ${inside} %`);
const leftOut = summarize("left out", leftOutCases());
print("Rows left out although card and model are known", [leftOut]);
console.log("\nRows of the sources that could not be used:");
for (const [reason, count] of Object.entries(SPEED_LEFT_OUT)) console.log(`${String(count).padStart(4)}  ${reason}`);

const result = {
  name: "fit-speed",
  date: new Date().toISOString().slice(0, 10),
  machine: `${cpus()[0]?.model ?? "unknown CPU"}, Node ${process.version}`,
  rows: SPEED_ROWS.length,
  testRows: test.length,
  families,
  leaveOneCardOut: unseen,
  seventyFromEight: seventy,
  leftOut,
  prefill,
  insideIntervalPercent: inside,
};
mkdirSync(new URL("./results/", import.meta.url), { recursive: true });
writeFileSync(new URL("./results/fit-speed.json", import.meta.url), `${JSON.stringify(result, null, 2)}\n`);
