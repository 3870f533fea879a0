/** The ledger, over any SQLite. */
import {
  and,
  count,
  desc,
  eq,
  gte,
  inArray,
  is,
  isNotNull,
  isNull,
  lt,
  lte,
  ne,
  or,
  Param,
  Placeholder,
  type SQL,
  sql,
} from "drizzle-orm";
import type { AnySQLiteColumn } from "drizzle-orm/sqlite-core";
import { answerMsMax, usageRowsDefault, usageRowsMax } from "../../core/limits.ts";
import type { Consumption, UsageQuery, UsageReceipt, UsageRow, UsageStore } from "../../core/ports.ts";
import { forgetRows, readGroups, rollUpDays } from "./daily.ts";
import { connect, type Database, known, type SqlStatement, translated } from "./database.ts";
import { usage } from "./schema.ts";
import { readErrorCodes, readSeries } from "./series.ts";

/** D1 takes 100 parameters a statement. */
const idsMax = 90;

type StoredUsage = typeof usage.$inferSelect;

export function createUsageStore(database: Database): UsageStore {
  const db = connect(database);
  const admit = prepareAdmission(db);
  const note = prepareNote(db);
  const settle = prepareReceipt(db);
  return {
    async admit(admission) {
      await database.atomic([admit({ userId: null, ...admission })]);
    },
    async note(progress) {
      await database.atomic([note(toSettled(progress))]);
    },
    async settle(receipt) {
      await database.atomic([settle(toSettled(receipt))]);
    },
    async rows(query) {
      const limit = Math.min(query.limit ?? usageRowsDefault, usageRowsMax);
      const newest = [desc(usage.at), desc(usage.id)];
      const found = await translated(
        db
          .select()
          .from(usage)
          .where(matching(query))
          .orderBy(...newest)
          .limit(limit),
      );
      return found.map(toRow);
    },
    async rowsOf(ids) {
      const rows: UsageRow[] = [];
      for (let from = 0; from < ids.length; from += idsMax) {
        const some = ids.slice(from, from + idsMax);
        rows.push(...(await translated(db.select().from(usage).where(inArray(usage.id, some)))).map(toRow));
      }
      return rows;
    },
    async consumption({ keyId, user, since, windowMs }) {
      const ofUser = user === undefined ? undefined : user === null ? isNull(usage.userId) : eq(usage.userId, user);
      const endedAt = sql`${usage.at} + coalesce(${usage.totalMs}, 0)`;
      const window = (at: SQL | AnySQLiteColumn) => sql<number>`cast((${at}) / ${windowMs} as integer)`.as("window");
      const tokens = sql<number>`sum(coalesce(${usage.promptTokens}, 0) + coalesce(${usage.completionTokens}, 0))`;
      const [admitted, ended] = await Promise.all([
        translated(
          db
            .select({ window: window(usage.at), requests: count() })
            .from(usage)
            .where(and(eq(usage.keyId, keyId), ofUser, gte(usage.at, since)))
            .groupBy(sql`1`),
        ),
        translated(
          db
            .select({ window: window(endedAt), tokens })
            .from(usage)
            .where(and(eq(usage.keyId, keyId), ofUser, gte(usage.at, since - answerMsMax), gte(endedAt, since)))
            .groupBy(sql`1`),
        ),
      ]);
      const found = new Map<number, Consumption>();
      for (const row of admitted) found.set(row.window, { requests: row.requests, tokens: 0 });
      for (const row of ended)
        found.set(row.window, { requests: found.get(row.window)?.requests ?? 0, tokens: row.tokens });
      return found;
    },
    async totals(query) {
      return (await readGroups(database, { ...query, group: "day", limit: 0 })).totals;
    },
    groups: (query) => readGroups(database, query),
    series: (query) => readSeries(database, query),
    async failures({ since, until, limit }) {
      const failed = and(isNotNull(usage.errorCode), gte(usage.at, since), lt(usage.at, until));
      const [codes, found] = await Promise.all([
        readErrorCodes(database, { since, until }),
        translated(db.select().from(usage).where(failed).orderBy(desc(usage.at)).limit(limit)),
      ]);
      return { codes, rows: found.map(toRow) };
    },
    rollUp: (before, signal) => rollUpDays(database, before, signal),
    forget: (before, signal) => forgetRows(database, before, signal),
    async markInterrupted(before) {
      const open = and(eq(usage.status, "running"), lt(usage.at, before));
      const marked = await translated(
        db.update(usage).set({ status: "interrupted" }).where(open).returning({ id: usage.id }),
      );
      return marked.length;
    },
    async check() {
      await translated(db.select({ id: usage.id }).from(usage).limit(1));
    },
  };
}

function matching(query: UsageQuery): SQL | undefined {
  return and(
    query.since === undefined ? undefined : gte(usage.at, query.since),
    query.until === undefined ? undefined : lt(usage.at, query.until),
    query.keyId === undefined ? undefined : eq(usage.keyId, query.keyId),
    query.userId === undefined ? undefined : eq(usage.userId, query.userId),
    query.after === undefined ? undefined : olderThan(query.after),
  );
}

/** In the order of the rows: newest first, then by id. */
function olderThan({ at, id }: { at: number; id: string }): SQL | undefined {
  return and(lte(usage.at, at), or(lt(usage.at, at), lt(usage.id, id)));
}

/** A statement made once; what changes from request to request is filled in. */
type Prepared = (values: Record<string, unknown>) => SqlStatement;

function prepare({ sql: text, params }: { sql: string; params: unknown[] }): Prepared {
  // What each parameter is is found out once: asking drizzle for it with every request costs more than SQLite does.
  const fills = params.map((param) => {
    const encoder = is(param, Param) ? param.encoder : undefined;
    const held = is(param, Param) ? param.value : param;
    if (!is(held, Placeholder)) return () => held;
    const { name } = held;
    return (values: Record<string, unknown>) => {
      const value = values[name];
      return encoder === undefined || value === null ? value : encoder.mapToDriverValue(value);
    };
  });
  return (values) => ({ sql: text, params: fills.map((fill) => fill(values)) });
}

/** Both are run for every request, and building them costs several times what SQLite does. */
function prepareAdmission(db: ReturnType<typeof connect>): Prepared {
  const { placeholder } = sql;
  const row = {
    id: placeholder("id"),
    at: placeholder("at"),
    keyId: placeholder("keyId"),
    source: placeholder("source"),
    userId: placeholder("userId"),
    model: placeholder("model"),
    stream: placeholder("stream"),
  };
  return prepare(
    db
      .insert(usage)
      .values({ ...row, status: "running" })
      .toSQL(),
  );
}

/** What is known of an answer before its end. */
const notedColumns = {
  model: usage.model,
  quantization: usage.quantization,
  engineId: usage.engineId,
  promptTokens: usage.promptTokens,
  completionTokens: usage.completionTokens,
  cachedPromptTokens: usage.cachedPromptTokens,
  estimated: usage.estimated,
};

const receiptColumns = {
  ...notedColumns,
  queueMs: usage.queueMs,
  timeToFirstTokenMs: usage.timeToFirstTokenMs,
  totalMs: usage.totalMs,
  prefillTokensPerSecond: usage.prefillTokensPerSecond,
  completionTokensPerSecond: usage.completionTokensPerSecond,
  finishReason: usage.finishReason,
  errorCode: usage.errorCode,
  aborted: usage.aborted,
};

/** What a receipt does not tell leaves its column as it is. */
function changesOf(columns: Record<string, AnySQLiteColumn>): Record<string, SQL> {
  const kept = ([name, column]: [string, AnySQLiteColumn]) => [
    name,
    sql`coalesce(${sql.placeholder(name)}, ${column})`,
  ];
  return Object.fromEntries(Object.entries(columns).map(kept));
}

function prepareNote(db: ReturnType<typeof connect>): Prepared {
  const running = and(eq(usage.id, sql.placeholder("id")), eq(usage.status, "running"));
  return prepare(db.update(usage).set(changesOf(notedColumns)).where(running).toSQL());
}

function prepareReceipt(db: ReturnType<typeof connect>): Prepared {
  const open = and(eq(usage.id, sql.placeholder("id")), ne(usage.status, "settled"));
  return prepare(
    db
      .update(usage)
      .set({ ...changesOf(receiptColumns), status: "settled" })
      .where(open)
      .toSQL(),
  );
}

/** Column by column: copying whatever a receipt holds costs more than SQLite's own work. */
function toSettled(receipt: UsageReceipt): Record<keyof typeof receiptColumns | "id", string | number | null> {
  const { usage: counts, timings } = receipt;
  return {
    id: receipt.id,
    model: receipt.model ?? null,
    quantization: receipt.quantization ?? null,
    engineId: receipt.engineId ?? null,
    promptTokens: counts.promptTokens ?? null,
    completionTokens: counts.completionTokens ?? null,
    cachedPromptTokens: counts.cachedPromptTokens ?? null,
    estimated: counts.estimated === undefined ? null : Number(counts.estimated),
    queueMs: timings.queueMs ?? null,
    timeToFirstTokenMs: timings.timeToFirstTokenMs ?? null,
    totalMs: timings.totalMs ?? null,
    prefillTokensPerSecond: timings.prefillTokensPerSecond ?? null,
    completionTokensPerSecond: timings.completionTokensPerSecond ?? null,
    finishReason: receipt.finishReason ?? null,
    errorCode: receipt.errorCode ?? null,
    aborted: Number(receipt.aborted),
  };
}

function toRow(stored: StoredUsage): UsageRow {
  const { promptTokens, completionTokens, cachedPromptTokens, estimated, status, ...rest } = known(stored);
  const { queueMs, timeToFirstTokenMs, totalMs, prefillTokensPerSecond, completionTokensPerSecond, ...facts } = rest;
  return {
    ...facts,
    usage: known({ promptTokens, completionTokens, cachedPromptTokens, estimated: estimated === true ? true : null }),
    timings: known({ queueMs, timeToFirstTokenMs, totalMs, prefillTokensPerSecond, completionTokensPerSecond }),
    settled: status === "settled",
    interrupted: status === "interrupted",
  };
}
