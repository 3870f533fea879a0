/** The ledger and the API keys, over any SQLite. */
import { and, count, desc, eq, gte, lt, ne, type SQL, sql } from "drizzle-orm";
import type { AnySQLiteColumn } from "drizzle-orm/sqlite-core";
import { toAppError } from "../../core/errors.ts";
import { usageRowsDefault, usageRowsMax } from "../../core/limits.ts";
import type {
  ApiKey,
  KeyStore,
  UsageAdmission,
  UsageQuery,
  UsageReceipt,
  UsageRow,
  UsageStore,
  UsageTotals,
} from "../../core/ports.ts";
import { connect, type Database } from "./database.ts";
import { apiKeys, usage } from "./schema.ts";

type StoredUsage = typeof usage.$inferSelect;
type StoredKey = typeof apiKeys.$inferSelect;

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
    async totals(query) {
      const [totals] = await translated(db.select(totalColumns).from(usage).where(matching(query)));
      return totals as UsageTotals;
    },
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

export function createKeyStore(database: Database): KeyStore {
  const db = connect(database);
  return {
    async findByHash(hash) {
      const [found] = await translated(db.select().from(apiKeys).where(eq(apiKeys.hash, hash)).limit(1));
      return found === undefined ? undefined : toKey(found);
    },
    async insert(key) {
      await translated(db.insert(apiKeys).values(key));
    },
    async count() {
      const [row] = await translated(db.select({ keys: count() }).from(apiKeys));
      return row?.keys ?? 0;
    },
  };
}

const sumOf = (column: AnySQLiteColumn): SQL<number> => sql<number>`coalesce(sum(${column}), 0)`;
const countOf = (condition: SQL): SQL<number> => sql<number>`coalesce(sum(${condition}), 0)`;

const totalColumns = {
  requests: count(),
  aborted: sumOf(usage.aborted),
  failed: countOf(sql`${usage.errorCode} is not null`),
  interrupted: countOf(sql`${usage.status} = 'interrupted'`),
  promptTokens: sumOf(usage.promptTokens),
  completionTokens: sumOf(usage.completionTokens),
  cachedPromptTokens: sumOf(usage.cachedPromptTokens),
};

function matching(query: UsageQuery): SQL | undefined {
  return and(
    query.since === undefined ? undefined : gte(usage.at, query.since),
    query.until === undefined ? undefined : lt(usage.at, query.until),
    query.keyId === undefined ? undefined : eq(usage.keyId, query.keyId),
    query.userId === undefined ? undefined : eq(usage.userId, query.userId),
  );
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

function toKey(stored: StoredKey): ApiKey {
  const { hash: _, ...key } = known(stored);
  return key;
}

type Known<T> = { [K in keyof T as null extends T[K] ? never : undefined extends T[K] ? never : K]: T[K] } & {
  [K in keyof T as null extends T[K] ? K : undefined extends T[K] ? K : never]?: NonNullable<T[K]>;
};

/** NULL in a table is a missing key in our types. */
function known<T extends object>(row: T): Known<T> {
  return Object.fromEntries(Object.entries(row).filter(([, value]) => value != null)) as Known<T>;
}

/** Drizzle wraps what the database port threw; the port's `AppError` is what callers understand. */
async function translated<T>(query: PromiseLike<T>): Promise<T> {
  try {
    return await query;
  } catch (thrown) {
    throw toAppError(thrown instanceof Error && thrown.cause !== undefined ? thrown.cause : thrown);
  }
}
