/** The ledger on Cloudflare D1. */
import type { Database } from "../api/usage/database.ts";
import { AppError, toAppError } from "../core/errors.ts";

/** The part of a D1 binding that is used. */
export interface D1Binding {
  prepare(sql: string): D1Statement;
  batch(statements: D1Statement[]): Promise<{ results: Record<string, unknown>[] }[]>;
}

export interface D1Statement {
  bind(...params: unknown[]): D1Statement;
  raw(): Promise<unknown[][]>;
}

export function createD1Database(binding: D1Binding): Database {
  return {
    async atomic(statements) {
      const bound = statements.map(({ sql, params }) => binding.prepare(sql).bind(...params));
      try {
        if (bound.length === 1) return [await bound[0]!.raw()];
        // A batch is D1's transaction. It gives rows as objects, whose keys stand in column order.
        return (await binding.batch(bound)).map(({ results }) => results.map((row) => Object.values(row)));
      } catch (thrown) {
        throw d1Error(thrown);
      }
    },
  };
}

function d1Error(cause: unknown): AppError {
  if (cause instanceof Error && /no such (table|column)/.test(cause.message)) {
    return new AppError(
      "invalid_configuration",
      "The ledger's tables are not up to date; run `wrangler d1 migrations apply`.",
      { cause },
    );
  }
  return toAppError(cause);
}
