/**
 * Use over time, in steps of hours or days. What was added up is read from `usage_daily`, the rest from the rows: the
 * hours of whole past days are not kept as sums.
 */
import type { ErrorCode } from "../../core/errors.ts";
import type { UsageSeriesPoint, UsageSeriesQuery } from "../../core/ports.ts";
import { allKeys, groupColumns, type Span, splitTime, wholeDay } from "./daily.ts";
import type { Database } from "./database.ts";
import { addCounts, addPlaces, addSpread, emptySums, readRowFacts, type Sums, summedColumns, toGroup } from "./sums.ts";

/** In the order of the columns of `usage_daily`; of rows the same, counted by the database. */
const dailySums = "requests, aborted, failed, interrupted, prompt_tokens, completion_tokens, cached_prompt_tokens";
const rowSums =
  "count(*), sum(aborted), sum(error_code is not null), sum(status = 'interrupted'), sum(coalesce(prompt_tokens, 0)), sum(coalesce(completion_tokens, 0)), sum(coalesce(cached_prompt_tokens, 0))";

type SumsOf = (step: number, value: string) => Sums;

/** @throws AppError from the database */
export async function readSeries(database: Database, query: UsageSeriesQuery): Promise<UsageSeriesPoint[]> {
  const found = new Map<string, { step: number; value: string; sums: Sums }>();
  const sumsOf: SumsOf = (step, value) => {
    const id = `${step} ${value}`;
    const known = found.get(id) ?? { step, value, sums: emptySums() };
    found.set(id, known);
    return known.sums;
  };
  const { since, until, stepMs } = query;
  // A day's sum tells nothing of its hours.
  const { spans, ranges } = await splitTime(database, since, until, stepMs % wholeDay.ms === 0);
  for (const span of spans) await addSpan(database, query, span, sumsOf);
  for (const range of ranges) await addRange(database, query, range, sumsOf);
  return [...found.values()]
    .sort((a, b) => a.step - b.step || (a.value < b.value ? -1 : 1))
    .map(({ step, value, sums }) => ({ at: step * query.stepMs, ...toGroup(value, sums) }));
}

async function addSpan(database: Database, query: UsageSeriesQuery, { unit, periods }: Span, sumsOf: SumsOf) {
  const chosen = query.values === undefined ? "" : " and value in (select value from json_each(?))";
  const spread = query.latencies === true ? ", spread" : "";
  const sql = `select day, value, ${dailySums}${spread} from usage_daily where dimension = ? and key_id = ? and day >= ? and day <= ?${chosen}`;
  const params = [`${query.group}${unit.suffix}`, allKeys, periods[0]!, periods.at(-1)!, ...valuesOf(query)];
  const [rows] = await database.atomic([{ sql, params }]);
  for (const row of rows!) {
    // A step without requests is marked as done, and is no point.
    if (Number(row[2]) === 0) continue;
    const sums = sumsOf(Math.floor((Number(row[0]) * unit.ms) / query.stepMs), String(row[1]));
    addCountsOf(sums, row.slice(2, 9));
    if (query.latencies === true) addSpread(sums, String(row[9]));
  }
}

async function addRange(
  database: Database,
  query: UsageSeriesQuery,
  [since, until]: [number, number],
  sumsOf: SumsOf,
): Promise<void> {
  const value = query.group === "day" ? "''" : groupColumns[query.group];
  const step = `cast(at / ${query.stepMs} as integer)`;
  const chosen = query.values === undefined ? "" : ` and ${value} in (select value from json_each(?))`;
  const where = `from usage where at >= ? and at < ?${chosen}`;
  const params = [since, until, ...valuesOf(query)];
  if (query.latencies !== true) {
    const [rows] = await database.atomic([
      { sql: `select ${step}, ${value}, ${rowSums} ${where} group by 1, 2`, params },
    ]);
    for (const row of rows!) addCountsOf(sumsOf(Number(row[0]), String(row[1])), row.slice(2));
    return;
  }
  const [rows] = await database.atomic([
    { sql: `select ${step}, ${value}, ${summedColumns.join(", ")} ${where}`, params },
  ]);
  for (const row of rows!) {
    const sums = sumsOf(Number(row[0]), String(row[1]));
    const facts = readRowFacts(row, 2);
    addCounts(sums, facts);
    addPlaces(sums, facts);
  }
}

function valuesOf({ values }: UsageSeriesQuery): unknown[] {
  return values === undefined ? [] : [JSON.stringify(values)];
}

function addCountsOf(sums: Sums, columns: readonly unknown[]): void {
  const [requests, aborted, failed, interrupted, promptTokens, completionTokens, cachedPromptTokens] = columns.map(
    Number,
  ) as [number, number, number, number, number, number, number];
  addCounts(sums, { requests, aborted, failed, interrupted, promptTokens, completionTokens, cachedPromptTokens });
}

/** How often each error came, most frequent first. */
export async function readErrorCodes(
  database: Database,
  { since, until }: { since: number; until: number },
): Promise<{ code: ErrorCode; requests: number }[]> {
  const sql =
    "select error_code, count(*) from usage where error_code is not null and at >= ? and at < ? group by 1 order by 2 desc, 1";
  const [rows] = await database.atomic([{ sql, params: [since, until] }]);
  return rows!.map(([code, requests]) => ({ code: String(code) as ErrorCode, requests: Number(requests) }));
}
