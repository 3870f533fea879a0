/**
 * Fits the speed model's constants to two thirds of the measured rows (every third row is left for bench/fit-speed.ts)
 * and writes src/fit/data/speed.json. Deterministic: `npx tsx bench/fit-speed-constants.ts [--check]`.
 *
 * Method: coordinate descent in the logarithm of every constant. Loss: mean absolute log error over rows, as one bad
 * row in a community table must not bend a card, plus a small pull towards the value of the architecture's neighbours
 * (PRIOR below), which decides where rows are few.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { readConstants, type SharedConstants, type SpeedConstants } from "../src/fit/speed-constants.ts";
import { tokenTime, totalSeconds } from "../src/fit/speed-decode.ts";
import { prefillSeconds } from "../src/fit/speed-prefill.ts";
import { type TokenWork, tokenWork } from "../src/fit/speed-work.ts";
import { type SpeedCase, speedCases } from "./speed-cases.ts";

type Row = [efficiency: number, layerMicroseconds: number, prefillEfficiency: number, halfFactor?: number];

/** Starting points and pull: what kernel counts, data sheets and neighbouring generations suggest. */
const PRIOR: { generations: Record<string, Row>; shared: SharedConstants } = {
  generations: {
    pascal: [0.65, 110, 0.3],
    turing: [0.78, 70, 0.2],
    ampere: [0.85, 45, 0.2],
    "ampere-dc": [0.55, 45, 0.1],
    ada: [0.88, 40, 0.16],
    hopper: [0.65, 45, 0.08],
    blackwell: [0.85, 37, 0.16],
    gcn5: [0.5, 90, 0.3],
    rdna2: [0.6, 65, 0.3],
    rdna3: [0.6, 60, 0.3],
    rdna4: [0.7, 55, 0.2],
    cdna2: [0.5, 70, 0.15],
    alchemist: [0.5, 100, 0.1],
    m1: [0.6, 80, 0.55, 1.3],
    m2: [0.82, 80, 0.55],
    m3: [0.88, 75, 0.55],
    m4: [0.9, 72, 0.55],
    m5: [0.88, 75, 0.3],
  },
  shared: {
    halfFactor: 1.05,
    legacyFactor: 1.05,
    lowBitFactor: 0.8,
    iqFactor: 0.7,
    expertFactor: 0.6,
    kvEfficiency: 0.7,
    kvEfficiencyPlain: 0.27,
    kvEfficiencyPlainApple: 0.12,
    moeUnits: 0.5,
    recurrentUnits: 1,
    mlaUnits: 0.5,
    normUnits: 0.2,
    plainAttentionFactor: 1.3,
    oldBuildFactor: 1.4,
    tokenSeconds: 1e-4,
    deviceSeconds: 2.5e-4,
    crossingSeconds: 1e-4,
    cpuEfficiency: 0.5,
    cpuMixedFactor: 0.85,
    cpuLaptopFactor: 0.6,
    cpuLayerSeconds: 5e-5,
  },
};

/** Weight of the pull: a constant twice its prior costs as much as 0.2 % on every row. */
const pull = 0.004;
/** Generations that no row of the table measures keep their priors. */
const file = new URL("../src/fit/data/speed.json", import.meta.url);

interface Prepared {
  testCase: SpeedCase;
  work: TokenWork;
  weight: number;
}

export interface FitResult {
  generations: Record<string, Row>;
  shared: SharedConstants;
}

/** Fits to `cases`; exported for the leave-one-card-out check of bench/fit-speed.ts. */
export function fitConstants(cases: readonly SpeedCase[]): FitResult {
  const prepared = prepare(cases);
  const result: FitResult = structuredClone(PRIOR);
  const parameters = listParameters(result, prepared);
  let loss = lossOf(prepared, result, parameters);
  let step = 0.25;
  while (step > 0.004) {
    let improved = false;
    for (const parameter of parameters) {
      for (const direction of [step, -step]) {
        const before = parameter.get();
        const next = before * Math.exp(direction);
        if (next > parameter.max) continue;
        parameter.set(next);
        const now = lossOf(prepared, result, parameters);
        if (now < loss - 1e-7) {
          loss = now;
          improved = true;
          break;
        }
        parameter.set(before);
      }
    }
    if (!improved) step /= 1.7;
  }
  fitPrefill(prepared, result);
  return result;
}

export function constantsOf(result: FitResult): SpeedConstants {
  return readConstants({
    generations: result.generations as Record<string, number[]>,
    shared: result.shared,
    spread: { full: 1, partial: 1, unmeasured: 1, measured: 1, prefill: 1 },
    measured: [],
  });
}

/** Rows of one card, model and mix are nearly one measurement: together they weigh as two. */
function prepare(cases: readonly SpeedCase[]): Prepared[] {
  const groups = new Map<string, number>();
  const key = ({ row }: SpeedCase) => [row.gpu, row.count, row.model, row.quantization, row.source].join("|");
  for (const one of cases) groups.set(key(one), (groups.get(key(one)) ?? 0) + 1);
  return cases.map((testCase) => {
    const count = groups.get(key(testCase))!;
    const work = tokenWork(testCase.model, testCase.settings, testCase.hardware.gpus.length, testCase.row.depth);
    return { testCase, work, weight: Math.min(2, count) / count };
  });
}

interface Parameter {
  prior: number;
  max: number;
  get(): number;
  set(value: number): void;
}

function listParameters(result: FitResult, prepared: readonly Prepared[]): Parameter[] {
  const used = new Set(prepared.flatMap(({ testCase }) => testCase.hardware.gpus.map((gpu) => gpu.generation)));
  const parameters: Parameter[] = [];
  for (const [name, row] of Object.entries(result.generations)) {
    if (!used.has(name)) continue;
    for (const at of [0, 1, 3] as const) {
      const prior = PRIOR.generations[name]![at];
      if (prior === undefined) continue;
      parameters.push({
        prior,
        max: at === 0 ? 0.98 : 1e3,
        get: () => row[at]!,
        set: (value) => {
          row[at] = value;
        },
      });
    }
  }
  for (const name of Object.keys(result.shared) as (keyof SharedConstants)[]) {
    parameters.push({
      prior: PRIOR.shared[name],
      max: name === "expertFactor" || name.startsWith("kv") ? 1 : 1e3,
      get: () => result.shared[name],
      set: (value) => {
        result.shared[name] = value;
      },
    });
  }
  return parameters;
}

function lossOf(prepared: readonly Prepared[], result: FitResult, parameters: readonly Parameter[]): number {
  const constants = constantsOf(result);
  let sum = 0;
  let weights = 0;
  for (const { testCase, work, weight } of prepared) {
    const seconds = totalSeconds(tokenTime(work, testCase.settings, testCase.hardware, constants, testCase.row.depth));
    sum += weight * Math.abs(Math.log(seconds * testCase.row.decode));
    weights += weight;
  }
  let penalty = 0;
  for (const { prior, get } of parameters) penalty += (Math.log(get() / prior) / Math.LN2) ** 2;
  return sum / weights + (pull * penalty) / 2;
}

/** The prompt rate of a generation: the share that makes its rows right in the median. */
function fitPrefill(prepared: readonly Prepared[], result: FitResult): void {
  for (const [name, row] of Object.entries(result.generations)) {
    const own = prepared.filter(
      ({ testCase }) => testCase.row.prefill !== undefined && testCase.hardware.gpus[0]?.generation === name,
    );
    if (own.length < 3) continue;
    for (let round = 0; round < 30; round++) {
      const constants = constantsOf(result);
      const ratios = own
        .map(({ testCase, work }) => {
          const { prompt, prefill } = testCase.row;
          const seconds = prefillSeconds(work, testCase.settings, testCase.hardware, prompt!, constants);
          return (seconds * prefill!) / prompt!;
        })
        .sort((a, b) => a - b);
      row[2] *= ratios[Math.floor(ratios.length / 2)]!;
    }
  }
}

function round(value: number): number {
  return Number(value.toPrecision(3));
}

export interface HeldOut {
  one: SpeedCase;
  constants: SpeedConstants;
}

/** Every row with constants fitted without its card: what to expect of a card nobody has measured. */
export function leaveOneCardOut(cases: readonly SpeedCase[]): HeldOut[] {
  const cards = [...new Set(cases.map(({ row }) => row.gpu))].filter(
    (card) => cases.filter(({ row, offload }) => row.gpu === card && offload === "full").length >= 3,
  );
  return cards.flatMap((card) => {
    const constants = constantsOf(fitConstants(cases.filter(({ row }) => row.gpu !== card)));
    return cases.filter(({ row }) => row.gpu === card).map((one) => ({ one, constants }));
  });
}

/** Ratio of measured and predicted time, the larger over the smaller. */
export function missOf({ one, constants }: HeldOut): number {
  const { model, settings, hardware, row } = one;
  const work = tokenWork(model, settings, hardware.gpus.length, row.depth);
  return Math.exp(
    Math.abs(Math.log(totalSeconds(tokenTime(work, settings, hardware, constants, row.depth)) * row.decode)),
  );
}

/** Intervals: nine of ten rows, predicted without their card where cards have several rows. */
function spreadOf(train: readonly SpeedCase[], constants: SpeedConstants): SpeedConstants["spread"] {
  const ninth = (misses: number[]) => {
    const sorted = misses.sort((a, b) => a - b);
    return round(sorted[Math.floor(sorted.length * 0.9)]!);
  };
  const held = leaveOneCardOut(train).filter(({ one }) => one.offload === "full");
  const full = ninth(held.map(missOf));
  const partial = ninth(train.filter(({ offload }) => offload === "partial").map((one) => missOf({ one, constants })));
  // Not measured by any row: twice the distance of a measured generation, on a log scale.
  return { full, partial, unmeasured: round(full ** 2), measured: 1.15, prefill: 1.6 };
}

function fileText(result: FitResult, spread: SpeedConstants["spread"], measured: readonly string[]): string {
  const old = JSON.parse(readFileSync(file, "utf8")) as { about: string };
  const lines = Object.entries(result.generations).map(
    ([name, row]) => `  ${JSON.stringify(name)}: ${JSON.stringify(row.map((one) => round(one ?? 0)))}`,
  );
  const shared = Object.fromEntries(Object.entries(result.shared).map(([name, value]) => [name, round(value)]));
  return `{
"about": ${JSON.stringify(old.about)},
"generations": {
${lines.join(",\n")}
},
"shared": ${JSON.stringify(shared)},
"spread": ${JSON.stringify(spread)},
"measured": ${JSON.stringify(measured)}
}
`;
}

/** Equal within two percent: the rows weigh models with code that is refined elsewhere, a byte here and there. */
function sameConstants(held: unknown, fitted: unknown): boolean {
  if (typeof held === "number" && typeof fitted === "number") return Math.abs(held - fitted) <= 0.02 * Math.abs(fitted);
  if (typeof held !== "object" || typeof fitted !== "object" || !held || !fitted) return held === fitted;
  const entries = Object.entries(fitted);
  return (
    entries.length === Object.keys(held).length &&
    entries.every(([key, value]) => sameConstants((held as Record<string, unknown>)[key], value))
  );
}

function main(): void {
  const train = speedCases().filter(({ test }) => !test);
  const result = fitConstants(train);
  const generations = new Set(train.flatMap(({ hardware }) => hardware.gpus.map((gpu) => gpu.generation)));
  const measured = Object.keys(result.generations).filter((name) => generations.has(name));
  const text = fileText(result, spreadOf(train, constantsOf(result)), measured);
  if (process.argv.includes("--check")) {
    const same = sameConstants(JSON.parse(readFileSync(file, "utf8")), JSON.parse(text));
    console.log(same ? "speed.json is what the rows give." : "speed.json is stale: run without --check.");
    process.exitCode = same ? 0 : 1;
    return;
  }
  writeFileSync(file, text);
  console.log(text);
}

if (process.argv[1] === new URL(import.meta.url).pathname) main();
