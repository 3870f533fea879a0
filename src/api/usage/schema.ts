/** Tables of the ledger, for SQLite and D1 alike. Changes need `npx drizzle-kit generate`; migrations are only added. */
import { index, integer, real, sqliteTable, text } from "drizzle-orm/sqlite-core";
import type { FinishReason } from "../../core/chat.ts";
import type { ErrorCode } from "../../core/errors.ts";
import type { KeyScope, UsageSource } from "../../core/ports.ts";

/** `interrupted`: the process died before the receipt. */
export type UsageStatus = "running" | "settled" | "interrupted";

/** One row per admitted request; unknown is NULL. No prompt and no answer text, ever. */
export const usage = sqliteTable(
  "usage",
  {
    id: text().primaryKey(),
    /** Milliseconds since the epoch. */
    at: integer().notNull(),
    status: text().$type<UsageStatus>().notNull(),
    keyId: text("key_id").notNull(),
    source: text().$type<UsageSource>().notNull(),
    userId: text("user_id"),
    /** As asked for; after the receipt, as answered by. */
    model: text().notNull(),
    quantization: text(),
    engineId: text("engine_id"),
    stream: integer({ mode: "boolean" }).notNull(),
    promptTokens: integer("prompt_tokens"),
    completionTokens: integer("completion_tokens"),
    cachedPromptTokens: integer("cached_prompt_tokens"),
    /** The counts are ours because the engine did not report. */
    estimated: integer({ mode: "boolean" }).notNull().default(false),
    queueMs: real("queue_ms"),
    timeToFirstTokenMs: real("time_to_first_token_ms"),
    totalMs: real("total_ms"),
    prefillTokensPerSecond: real("prefill_tokens_per_second"),
    completionTokensPerSecond: real("completion_tokens_per_second"),
    finishReason: text("finish_reason").$type<FinishReason>(),
    errorCode: text("error_code").$type<ErrorCode>(),
    aborted: integer({ mode: "boolean" }).notNull().default(false),
  },
  // D1 bills every index as a written row, so there are no more than the reports need.
  (table) => [index("usage_at").on(table.at), index("usage_key_at").on(table.keyId, table.at)],
);

/** The secret itself is not here: only its SHA-256, in hex. */
export const apiKeys = sqliteTable("api_keys", {
  id: text().primaryKey(),
  name: text().notNull(),
  hash: text().notNull().unique(),
  fingerprint: text().notNull(),
  scopes: text({ mode: "json" }).$type<KeyScope[]>().notNull(),
  createdAt: integer("created_at").notNull(),
  revokedAt: integer("revoked_at"),
});
