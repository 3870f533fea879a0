/** The ledger, over any SQLite. */
import { and, count, desc, eq, gte, isNotNull, isNull, lt, lte, ne, or, type SQL, sql } from "drizzle-orm";
import type { AnySQLiteColumn } from "drizzle-orm/sqlite-core";
import { answerMsMax, usageRowsDefault, usageRowsMax } from "../../core/limits.ts";
import type { Consumption, UsageAdmission, UsageQuery, UsageReceipt, UsageRow, UsageStore } from "../../core/ports.ts";
import { forgetRows, readGroups, rollUpDays } from "./daily.ts";
import { connect, type Database, known, translated } from "./database.ts";
import { usage } from "./schema.ts";
import { readErrorCodes, readSeries } from "./series.ts";

type StoredUsage = typeof usage.$inferSelect;

export function createUsageStore(database: Database): UsageStore {
  const db = connect(database);
  return {
    async admit(admission) {
      await translated(db.insert(usage).values(toStored(admission)));
    },
    async settle(receipt) {
      const open = and(eq(usage.id, receipt.id), ne(usage.status, "settled"));
      await translated(db.update(usage).set(toSettled(receipt)).where(open));
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

function toStored(admission: UsageAdmission): typeof usage.$inferInsert {
  return { ...admission, status: "running" };
}

/** Undefined members leave their columns as they are. */
function toSettled(receipt: UsageReceipt): Partial<typeof usage.$inferInsert> {
  const { id: _, usage: counts, timings, ...facts } = receipt;
  return { ...facts, ...counts, ...timings, status: "settled" };
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
