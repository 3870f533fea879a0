/**
 * Groups of the ledger. Whole past days, and hours of the days that are not over, are read from `usage_daily`, where each
 * was added up once; the rest from the rows themselves. A month of a million rows is then a few thousand sums and an
 * hour's rows.
 */
import type { UsageGroup, UsageGrouping, UsageGroupQuery, UsageTotals } from "../../core/ports.ts";
import type { Database, SqlStatement } from "./database.ts";
import {
  addCounts,
  addPlaces,
  addRow,
  addSpread,
  emptySums,
  type RowFacts,
  readRowFacts,
  renderSpread,
  type Sums,
  summedColumns,
  toGroup,
} from "./sums.ts";

export const dayMs = 86_400_000;

/** What sums are made of. Hours are marked in the name of the dimension and go when their day is added up. */
export interface Unit {
  ms: number;
  suffix: "" | "/hour";
}

export const wholeDay: Unit = { ms: dayMs, suffix: "" };
const wholeHour: Unit = { ms: 3_600_000, suffix: "/hour" };

/** Rows worked on at a time: requests wait for some ten milliseconds at most. */
const pageRows = 1_000;

/** Lets waiting requests in; a database that answers at once would keep them out. */
const breathe = () => new Promise<void>((resolve) => setTimeout(resolve));

/** Sums written with one statement; D1 takes values of up to 2 MB. */
const writtenSums = 400;

/** How a row's group is told from its columns. */
export const groupColumns: Record<UsageGrouping, string> = {
  day: `cast(at / ${dayMs} as integer)`,
  key: "key_id",
  user: "coalesce(user_id, '')",
  model: "model",
  source: "source",
  engine: "coalesce(engine_id, '')",
  status:
    "case when status <> 'settled' then status when aborted then 'aborted' when error_code is not null then 'failed' else 'completed' end",
};

const groupings = Object.keys(groupColumns) as UsageGrouping[];

/** Sums over all keys stand under this one. */
export const allKeys = "";

/** Sums of one unit that follow each other. */
export interface Span {
  unit: Unit;
  periods: number[];
}

/** @throws AppError from the database */
export async function readGroups(
  database: Database,
  query: UsageGroupQuery,
): Promise<{ groups: UsageGroup[]; groupCount: number; totals: UsageTotals }> {
  const { since = 0, until = Number.MAX_SAFE_INTEGER } = query;
  const { spans, ranges } = await splitPeriod(database, since, until, query.userId === undefined);
  const found = new Map<string, Sums>();
  const sumsOf = (value: string): Sums => {
    const known = found.get(value) ?? emptySums();
    found.set(value, known);
    return known;
  };
  for (const span of spans) await addSpan(database, query, span, sumsOf);
  const rows = (await Promise.all(ranges.map((range) => readRows(database, query, range)))).flat();
  for (const { value, facts } of rows) addCounts(sumsOf(value), facts);
  const totals = emptySums();
  for (const sums of found.values()) addCounts(totals, sums);
  const { buckets: _, ...counts } = totals;
  const kept = [...found].sort(query.group === "day" ? byDay : byRequests).slice(0, query.limit);
  const shown = new Map(kept);
  for (const span of spans) await addSpanSpread(database, query, span, shown);
  for (const { value, facts } of rows) {
    const sums = shown.get(value);
    if (sums !== undefined) addPlaces(sums, facts);
  }
  const groups = kept.map(([value, sums]) => toGroup(query.group === "day" ? dateOf(Number(value)) : value, sums));
  return { groups, groupCount: found.size, totals: counts };
}

/** Sums know no users behind other groups. */
async function splitPeriod(database: Database, since: number, until: number, summed: boolean) {
  if (!summed) return { spans: [], ranges: [[since, until] as [number, number]] };
  return await splitTime(database, since, until, true);
}

/** Days where they will do, in what is left hours, and in what is left rows. */
export async function splitTime(database: Database, since: number, until: number, byDays: boolean) {
  const days = byDays ? await periodsDone(database, wholeDay, since, until) : [];
  const spans: Span[] = days.length === 0 ? [] : [{ unit: wholeDay, periods: days }];
  const ranges: [number, number][] = [];
  for (const [from, to] of rangesBetween(days, wholeDay, since, until)) {
    const hours = await periodsDone(database, wholeHour, from, to);
    if (hours.length > 0) spans.push({ unit: wholeHour, periods: hours });
    ranges.push(...rangesBetween(hours, wholeHour, from, to));
  }
  return { spans, ranges };
}

const byDay = (a: [string, Sums], b: [string, Sums]) => Number(a[0]) - Number(b[0]);
const byRequests = (a: [string, Sums], b: [string, Sums]) => b[1].requests - a[1].requests || (a[0] < b[0] ? -1 : 1);

function dateOf(day: number): string {
  return new Date(day * dayMs).toISOString().slice(0, 10);
}

/** Those added up that lie wholly in the time, ascending. */
async function periodsDone(database: Database, unit: Unit, since: number, until: number): Promise<number[]> {
  const sql = "select day from usage_daily where dimension = ? and key_id = ? and day >= ? and day < ? order by day";
  const params = [`day${unit.suffix}`, allKeys, Math.ceil(since / unit.ms), Math.floor(until / unit.ms)];
  const [rows] = await database.atomic([{ sql, params }]);
  return rows!.map(([period]) => Number(period));
}

/** The time without those periods. */
function rangesBetween(periods: readonly number[], { ms }: Unit, since: number, until: number): [number, number][] {
  const ranges: [number, number][] = [];
  let from = since;
  for (const period of periods) {
    if (period * ms > from) ranges.push([from, period * ms]);
    from = (period + 1) * ms;
  }
  if (until > from) ranges.push([from, until]);
  return ranges;
}

/** The columns of a span, and how a group is told in them. */
function placeOf(query: UsageGroupQuery, { unit, periods }: Span) {
  const days = `cast(day / ${dayMs / unit.ms} as integer)`;
  // A key looks at itself alone, so its group by key is its sum by day.
  const alone = query.group === "key" && query.keyId !== undefined;
  const dimension = `${alone ? "day" : query.group}${unit.suffix}`;
  return {
    value: query.group === "day" ? `cast(${days} as text)` : "value",
    where: "from usage_daily where dimension = ? and key_id = ? and day >= ? and day <= ?",
    params: [dimension, query.keyId ?? allKeys, periods[0]!, periods.at(-1)!],
    /** All rows of the span belong to this one group. */
    alone: alone ? query.keyId : undefined,
    named: query.group !== "day" && !alone,
  };
}

async function addSpan(
  database: Database,
  query: UsageGroupQuery,
  span: Span,
  sumsOf: (value: string) => Sums,
): Promise<void> {
  const { value, where, params, alone } = placeOf(query, span);
  const sums =
    "sum(requests), sum(aborted), sum(failed), sum(interrupted), sum(prompt_tokens), sum(completion_tokens), sum(cached_prompt_tokens)";
  const [rows] = await database.atomic([{ sql: `select ${value}, ${sums} ${where} group by 1`, params }]);
  for (const row of rows!) {
    const [requests, aborted, failed, interrupted, promptTokens, completionTokens, cachedPromptTokens] = row
      .slice(1)
      .map(Number) as [number, number, number, number, number, number, number];
    // A day without requests is marked as done, and is no group.
    if (requests === 0) continue;
    addCounts(sumsOf(alone ?? String(row[0])), {
      requests,
      aborted,
      failed,
      interrupted,
      promptTokens,
      completionTokens,
      cachedPromptTokens,
    });
  }
}

/** Only of the groups that are shown: spreads are the larger part of the table. */
async function addSpanSpread(
  database: Database,
  query: UsageGroupQuery,
  span: Span,
  kept: ReadonlyMap<string, Sums>,
): Promise<void> {
  if (kept.size === 0) return;
  const { value, where, params, alone, named } = placeOf(query, span);
  const chosen = named ? " and value in (select value from json_each(?))" : "";
  const sql = `select ${value}, spread ${where}${chosen}`;
  const all = named ? [...params, JSON.stringify([...kept.keys()])] : params;
  const [rows] = await database.atomic([{ sql, params: all }]);
  for (const [group, spread] of rows!) {
    const sums = kept.get(alone ?? String(group));
    if (sums !== undefined) addSpread(sums, String(spread));
  }
}

async function readRows(
  database: Database,
  query: UsageGroupQuery,
  [since, until]: [number, number],
): Promise<{ value: string; facts: RowFacts }[]> {
  const conditions = ["at >= ?", "at < ?"];
  const params: unknown[] = [since, until];
  if (query.keyId !== undefined) {
    conditions.push("key_id = ?");
    params.push(query.keyId);
  }
  if (query.userId !== undefined) {
    conditions.push("user_id = ?");
    params.push(query.userId);
  }
  const columns = `${groupColumns[query.group]}, ${summedColumns.join(", ")}`;
  const [rows] = await database.atomic([
    { sql: `select ${columns} from usage where ${conditions.join(" and ")}`, params },
  ]);
  return rows!.map((row) => ({ value: String(row[0]), facts: readRowFacts(row, 1) }));
}

/**
 * Adds up the whole days before `before`, and the hours of the day after them, oldest first, up to the first that still
 * has a running request.
 *
 * @param signal ends the work early, between two pieces of it
 * @returns how many days were added up
 */
export async function rollUpDays(database: Database, before: number, signal?: AbortSignal): Promise<number> {
  const [[first]] = (await database.atomic([{ sql: "select min(at) from usage", params: [] }])) as [unknown[][]];
  if (first?.[0] == null) return 0;
  const days = await rollUp(database, wholeDay, Number(first[0]), before, signal);
  const last = await lastDone(database, wholeDay);
  await rollUp(database, wholeHour, last === undefined ? Number(first[0]) : (last + 1) * dayMs, before, signal);
  return days;
}

async function lastDone(database: Database, { suffix }: Unit): Promise<number | undefined> {
  const sql = "select max(day) from usage_daily where dimension = ? and key_id = ?";
  const [rows] = await database.atomic([{ sql, params: [`day${suffix}`, allKeys] }]);
  const last = rows![0]?.[0];
  return last == null ? undefined : Number(last);
}

async function rollUp(
  database: Database,
  unit: Unit,
  since: number,
  before: number,
  signal: AbortSignal | undefined,
): Promise<number> {
  const last = (await lastDone(database, unit)) ?? Number.NEGATIVE_INFINITY;
  let done = 0;
  for (let period = Math.max(last + 1, Math.floor(since / unit.ms)); (period + 1) * unit.ms <= before; period++) {
    const running = "select 1 from usage where at >= ? and at < ? and status = 'running' limit 1";
    const bounds = [period * unit.ms, (period + 1) * unit.ms];
    const [open] = await database.atomic([{ sql: running, params: bounds }]);
    if (open!.length > 0) break;
    const sums = await sumPeriod(database, unit, period, signal);
    if (sums === undefined) break;
    await writeSums(database, unit, period, sums);
    done++;
  }
  return done;
}

type PeriodSums = Map<string, { grouping: UsageGrouping; keyId: string; value: string; sums: Sums }>;

/** Undefined when the signal ended it. */
async function sumPeriod(
  database: Database,
  { ms }: Unit,
  period: number,
  signal: AbortSignal | undefined,
): Promise<PeriodSums | undefined> {
  const found: PeriodSums = new Map();
  const sumsOf = (grouping: UsageGrouping, keyId: string, value: string): Sums => {
    const id = `${grouping}\0${keyId}\0${value}`;
    const known = found.get(id) ?? { grouping, keyId, value, sums: emptySums() };
    found.set(id, known);
    return known.sums;
  };
  // A day without any row is done, too.
  sumsOf("day", allKeys, "");
  const values = groupings.map((grouping) => (grouping === "day" ? "''" : groupColumns[grouping]));
  const firstSummed = 2 + groupings.length;
  const columns = ["at", "id", ...values, ...summedColumns].join(", ");
  const page = `select ${columns} from usage where at >= ? and at < ? and (at > ? or id > ?) order by at, id limit ${pageRows}`;
  let cursor: [number, string] = [period * ms, ""];
  for (;;) {
    const [rows] = await database.atomic([{ sql: page, params: [cursor[0], (period + 1) * ms, ...cursor] }]);
    for (const row of rows!) {
      const facts = readRowFacts(row, firstSummed);
      for (let place = 0; place < groupings.length; place++) {
        const grouping = groupings[place]!;
        const value = String(row[2 + place]);
        addRow(sumsOf(grouping, allKeys, value), facts);
        if (grouping !== "key") addRow(sumsOf(grouping, String(row[firstSummed]), value), facts);
      }
    }
    if (rows!.length < pageRows) return found;
    const last = rows!.at(-1)!;
    cursor = [Number(last[0]), String(last[1])];
    await breathe();
    if (signal?.aborted === true) return undefined;
  }
}

/** All or nothing, so that nothing is ever half done. */
async function writeSums(database: Database, unit: Unit, period: number, found: PeriodSums): Promise<void> {
  const rows = [...found.values()].map(({ grouping, keyId, value, sums }) => [
    `${grouping}${unit.suffix}`,
    period,
    keyId,
    value,
    sums.requests,
    sums.aborted,
    sums.failed,
    sums.interrupted,
    sums.promptTokens,
    sums.completionTokens,
    sums.cachedPromptTokens,
    renderSpread(sums),
  ]);
  const members = Array.from({ length: 12 }, (_, place) => `json_extract(value, '$[${place}]')`).join(", ");
  const sql = `insert or replace into usage_daily (dimension, day, key_id, value, requests, aborted, failed, interrupted, prompt_tokens, completion_tokens, cached_prompt_tokens, spread) select ${members} from json_each(?)`;
  const statements: SqlStatement[] = [];
  for (let from = 0; from < rows.length; from += writtenSums) {
    statements.push({ sql, params: [JSON.stringify(rows.slice(from, from + writtenSums))] });
  }
  if (unit === wholeDay) {
    const hours = "delete from usage_daily where dimension = ? and day >= ? and day < ?";
    const [from, to] = [period, period + 1].map((day) => (day * dayMs) / wholeHour.ms) as [number, number];
    for (const grouping of groupings) {
      statements.push({ sql: hours, params: [`${grouping}${wholeHour.suffix}`, from, to] });
    }
  }
  await database.atomic(statements);
}

/**
 * Deletes the rows of days that are added up and lie wholly before `before`.
 *
 * @returns how many rows were deleted
 */
export async function forgetRows(database: Database, before: number, signal?: AbortSignal): Promise<number> {
  const days = await periodsDone(database, wholeDay, 0, before);
  if (days.length === 0) return 0;
  const until = (days.at(-1)! + 1) * dayMs;
  // In pieces: one large transaction would hold up the requests that write their rows meanwhile.
  const sql = `delete from usage where id in (select id from usage where at < ? and status <> 'running' limit ${pageRows}) returning 1`;
  for (let forgotten = 0; ; ) {
    const [rows] = await database.atomic([{ sql, params: [until] }]);
    forgotten += rows!.length;
    if (rows!.length < pageRows) return forgotten;
    await breathe();
    if (signal?.aborted === true) return forgotten;
  }
}
