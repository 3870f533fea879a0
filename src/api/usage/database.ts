/** The one thing the ledger asks of a SQLite, wherever it runs. */
import { drizzle, type SqliteRemoteDatabase } from "drizzle-orm/sqlite-proxy";
import { toAppError } from "../../core/errors.ts";

export interface SqlStatement {
  sql: string;
  /** At most `boundParametersMax`. */
  params: unknown[];
}

export interface Database {
  /**
   * Runs the statements in order as one transaction: all of them or none.
   *
   * @returns the rows of each statement, each row an array in the order of its columns
   * @throws AppError when the database cannot be used
   */
  atomic(statements: SqlStatement[]): Promise<unknown[][][]>;
}

/** Drizzle's query builder over the port. D1 and better-sqlite3 then run the same code down to the statement. */
export function connect(database: Database): SqliteRemoteDatabase {
  return drizzle(
    async (sql, params, method) => {
      const rows = (await database.atomic([{ sql, params }]))[0] ?? [];
      return { rows: method === "get" ? (rows[0] as unknown[]) : rows };
    },
    async (queries) => (await database.atomic(queries)).map((rows) => ({ rows })),
  );
}

type Known<T> = { [K in keyof T as null extends T[K] ? never : undefined extends T[K] ? never : K]: T[K] } & {
  [K in keyof T as null extends T[K] ? K : undefined extends T[K] ? K : never]?: NonNullable<T[K]>;
};

/** NULL in a table is a missing key in our types. */
export function known<T extends object>(row: T): Known<T> {
  return Object.fromEntries(Object.entries(row).filter(([, value]) => value != null)) as Known<T>;
}

/** Drizzle wraps what the database port threw; the port's `AppError` is what callers understand. */
export async function translated<T>(query: PromiseLike<T>): Promise<T> {
  try {
    return await query;
  } catch (thrown) {
    throw toAppError(thrown instanceof Error && thrown.cause !== undefined ? thrown.cause : thrown);
  }
}
