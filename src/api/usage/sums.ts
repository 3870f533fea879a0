/** Ledger rows added up: counts, and latencies as a spread that can be added to others. */
import type { UsageGroup, UsageQuantiles, UsageTotals } from "../../core/ports.ts";

/** As stored, per measure: a bucket, its count, the next bucket, its count … */
export type Spread = Record<string, number[]>;

/** Counts per bucket. Bucket i holds what rounds to 2^(i/16 - 10), so a quantile is off by 2.2 % at most. */
type Buckets = Uint32Array;

export interface Sums extends UsageTotals {
  /** In the order of `measures`; a place without any value stays undefined. */
  buckets: (Buckets | undefined)[];
}

const bucketsPerDoubling = 16;

/** What is at or below 2^-10 is one bucket: nobody cares which part of a microsecond it was. */
const doublingsBelowOne = 10;

/** The last one, from 70 minutes up, takes the rest. */
const bucketCount = 512;

/** Measures of a spread, and the short names they are stored under thousands of times. */
const measures = [
  ["q", "queueMs"],
  ["f", "timeToFirstTokenMs"],
  ["t", "totalMs"],
  ["r", "completionTokensPerSecond"],
] as const;

/** Columns a raw row is read by, in this order, after the value of its group. */
export const summedColumns = [
  "key_id",
  "status",
  "aborted",
  "error_code",
  "prompt_tokens",
  "completion_tokens",
  "cached_prompt_tokens",
  "queue_ms",
  "time_to_first_token_ms",
  "total_ms",
  "completion_tokens_per_second",
] as const;

export function emptySums(): Sums {
  return {
    requests: 0,
    aborted: 0,
    failed: 0,
    interrupted: 0,
    promptTokens: 0,
    completionTokens: 0,
    cachedPromptTokens: 0,
    buckets: [undefined, undefined, undefined, undefined],
  };
}

/** What one row adds, worked out once for all the sums it goes into. */
export interface RowFacts extends UsageTotals {
  /** Bucket of each measure; -1 where there is no value. */
  places: [number, number, number, number];
}

/** @param row values of `summedColumns`, from `offset` on */
export function readRowFacts(row: readonly unknown[], offset: number): RowFacts {
  return {
    requests: 1,
    aborted: Number(row[offset + 2]),
    failed: row[offset + 3] === null ? 0 : 1,
    interrupted: row[offset + 1] === "interrupted" ? 1 : 0,
    promptTokens: Number(row[offset + 4] ?? 0),
    completionTokens: Number(row[offset + 5] ?? 0),
    cachedPromptTokens: Number(row[offset + 6] ?? 0),
    places: [
      bucketOf(row[offset + 7]),
      bucketOf(row[offset + 8]),
      bucketOf(row[offset + 9]),
      bucketOf(row[offset + 10]),
    ],
  };
}

function bucketOf(value: unknown): number {
  if (typeof value !== "number") return -1;
  const place = Math.round((Math.log2(value) + doublingsBelowOne) * bucketsPerDoubling);
  return place > 0 ? Math.min(place, bucketCount - 1) : 0;
}

export function addRow(sums: Sums, facts: RowFacts): void {
  addCounts(sums, facts);
  addPlaces(sums, facts);
}

/** What of a row is spread; the larger part of the work, so reports do it only for the groups they show. */
export function addPlaces(sums: Sums, { places }: RowFacts): void {
  for (let measure = 0; measure < measures.length; measure++) {
    const place = places[measure]!;
    if (place < 0) continue;
    let buckets = sums.buckets[measure];
    if (buckets === undefined) {
      buckets = new Uint32Array(bucketCount);
      sums.buckets[measure] = buckets;
    }
    buckets[place]!++;
  }
}

export function addCounts(sums: UsageTotals, more: UsageTotals): void {
  sums.requests += more.requests;
  sums.aborted += more.aborted;
  sums.failed += more.failed;
  sums.interrupted += more.interrupted;
  sums.promptTokens += more.promptTokens;
  sums.completionTokens += more.completionTokens;
  sums.cachedPromptTokens += more.cachedPromptTokens;
}

export function renderSpread({ buckets }: Sums): string {
  const spread: Spread = {};
  for (const [measure, [short]] of measures.entries()) {
    const counts = buckets[measure];
    if (counts === undefined) continue;
    const found: number[] = [];
    for (const [place, count] of counts.entries()) if (count > 0) found.push(place, count);
    spread[short] = found;
  }
  return JSON.stringify(spread);
}

export function addSpread(sums: Sums, text: string): void {
  const spread: Spread = JSON.parse(text);
  for (const [measure, [short]] of measures.entries()) {
    const counts = spread[short];
    if (counts === undefined) continue;
    sums.buckets[measure] ??= new Uint32Array(bucketCount);
    const buckets = sums.buckets[measure];
    for (let i = 0; i < counts.length; i += 2) buckets[counts[i]!]! += counts[i + 1]!;
  }
}

export function toGroup(value: string, { buckets, ...counts }: Sums): UsageGroup {
  const group: UsageGroup = { value, ...counts };
  for (const [measure, [, name]] of measures.entries()) {
    const found = buckets[measure];
    if (found !== undefined) group[name] = quantiles(found);
  }
  return group;
}

function quantiles(buckets: Buckets): UsageQuantiles {
  const count = buckets.reduce((sum, found) => sum + found, 0);
  const at = (share: number): number => {
    let left = Math.ceil(share * count);
    const place = buckets.findIndex((found) => {
      left -= found;
      return left <= 0;
    });
    return Number((2 ** (place / bucketsPerDoubling - doublingsBelowOne)).toPrecision(3));
  };
  return { count, p50: at(0.5), p95: at(0.95), p99: at(0.99) };
}
