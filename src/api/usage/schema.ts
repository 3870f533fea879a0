/** Tables of the ledger, for SQLite and D1 alike. Changes need `npx drizzle-kit generate`; migrations are only added. */
import { isNotNull } from "drizzle-orm";
import { index, integer, primaryKey, real, sqliteTable, text } from "drizzle-orm/sqlite-core";
import type { FinishReason, RequestPriority } from "../../core/chat.ts";
import type { ErrorCode } from "../../core/errors.ts";
import type { FeedbackVote, KeyScope, QuotaLimits, UsageSource } from "../../core/ports.ts";
import type { Spread } from "./sums.ts";

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
  (table) => [
    index("usage_at").on(table.at),
    index("usage_key_at").on(table.keyId, table.at),
    index("usage_user_at").on(table.userId, table.at),
    // Holds failed requests alone, so that the others pay nothing for it.
    index("usage_failed_at").on(table.at).where(isNotNull(table.errorCode)),
  ],
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
  expiresAt: integer("expires_at"),
  models: text({ mode: "json" }).$type<string[]>(),
  limits: text({ mode: "json" }).$type<QuotaLimits>(),
  userLimits: text("user_limits", { mode: "json" }).$type<QuotaLimits>(),
  weight: real(),
  priority: text().$type<RequestPriority>(),
});

/** Signed in at the admin page. The browser's secret is not here: only its SHA-256, in hex. */
export const adminSessions = sqliteTable("admin_sessions", {
  hash: text().primaryKey(),
  keyId: text("key_id").notNull(),
  expiresAt: integer("expires_at").notNull(),
});

/** Engines registered by administrators. The token must be sent on, so it is stored as it is. */
export const engines = sqliteTable("engines", {
  name: text().primaryKey(),
  url: text().notNull(),
  token: text(),
  weight: real().notNull(),
  draining: integer({ mode: "boolean" }).notNull(),
  createdAt: integer("created_at").notNull(),
});

/**
 * Whole past days of the ledger, added up once per grouping, so that a report of a month reads thousands of rows instead
 * of a million. A row of dimension "day" and key "" marks a day that is done.
 */
export const usageDaily = sqliteTable(
  "usage_daily",
  {
    dimension: text().notNull(),
    /** Days since the epoch, UTC; hours where the dimension ends in "/hour", for the days that are not over. */
    day: integer().notNull(),
    keyId: text("key_id").notNull(),
    /** The user, model … of the group; "" where there is none. */
    value: text().notNull(),
    requests: integer().notNull(),
    aborted: integer().notNull(),
    failed: integer().notNull(),
    interrupted: integer().notNull(),
    promptTokens: integer("prompt_tokens").notNull(),
    completionTokens: integer("completion_tokens").notNull(),
    cachedPromptTokens: integer("cached_prompt_tokens").notNull(),
    /** Latencies and rates as counts per logarithmic bucket. */
    spread: text({ mode: "json" }).$type<Spread>().notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.dimension, table.day, table.keyId, table.value] }),
    // Holds all that sums are made of, so that they are added up without touching the spreads beside them.
    index("usage_daily_sums").on(
      table.dimension,
      table.keyId,
      table.day,
      table.value,
      table.requests,
      table.aborted,
      table.failed,
      table.interrupted,
      table.promptTokens,
      table.completionTokens,
      table.cachedPromptTokens,
    ),
  ],
);

/** What a chat channel chose: its model and what the model is told about its role. */
export const botChannels = sqliteTable(
  "bot_channels",
  {
    source: text().$type<UsageSource>().notNull(),
    channelId: text("channel_id").notNull(),
    model: text(),
    persona: text(),
  },
  (table) => [primaryKey({ columns: [table.source, table.channelId] })],
);

/** Thumbs under answers, with what was known of the answer. `answerId` is the bots' request id. */
export const botFeedback = sqliteTable(
  "bot_feedback",
  {
    answerId: text("answer_id").notNull(),
    source: text().$type<UsageSource>().notNull(),
    userId: text("user_id").notNull(),
    vote: text().$type<FeedbackVote>().notNull(),
    /** Milliseconds since the epoch. */
    at: integer().notNull(),
    model: text(),
    quantization: text(),
    timeToFirstTokenMs: real("time_to_first_token_ms"),
    completionTokensPerSecond: real("completion_tokens_per_second"),
  },
  (table) => [
    primaryKey({ columns: [table.answerId, table.source, table.userId] }),
    index("bot_feedback_at").on(table.at),
  ],
);

/** From when on a user's words in a channel may be used: nothing before `at`. */
export const botForgotten = sqliteTable(
  "bot_forgotten",
  {
    source: text().$type<UsageSource>().notNull(),
    channelId: text("channel_id").notNull(),
    userId: text("user_id").notNull(),
    at: integer().notNull(),
  },
  (table) => [primaryKey({ columns: [table.source, table.channelId, table.userId] })],
);

/** Chat events the bots have acted on, so that a repeat is not answered twice, over a restart either. */
export const botClaims = sqliteTable(
  "bot_claims",
  {
    source: text().$type<UsageSource>().notNull(),
    key: text().notNull(),
    /** Milliseconds since the epoch. */
    at: integer().notNull(),
  },
  (table) => [primaryKey({ columns: [table.source, table.key] }), index("bot_claims_at").on(table.at)],
);

/** Slack workspaces that installed the bot, with what is needed to write there, encrypted. */
export const slackInstallations = sqliteTable("slack_installations", {
  teamId: text("team_id").primaryKey(),
  sealed: text().notNull(),
  /** Milliseconds since the epoch. */
  at: integer().notNull(),
});
