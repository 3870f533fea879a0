/** GET /v1/usage: the ledger as its readers may see it. */
import * as z from "zod";
import { AppError } from "../../core/errors.ts";
import { usageRowsMax, userIdCharsMax } from "../../core/limits.ts";
import type { ApiKey, UsageQuery, UsageRow, UsageStore, UsageTotals } from "../../core/ports.ts";
import { hasScope } from "../auth.ts";

export interface UsageReport {
  /** Newest first; `time` is `at` for people. */
  rows: (UsageRow & { time: string })[];
  /** Over everything that matches, not just the rows shown. */
  totals: UsageTotals;
}

const whenMessage = "must be a time such as 2026-01-31, 2026-01-31T12:00:00Z or milliseconds since 1970";

/** Largest time a Date can hold. */
const timeMsMax = 8.64e15;

const when = z
  .string()
  .transform((text) => (/^\d{9,}$/.test(text) ? Number(text) : Date.parse(text)))
  .refine((ms) => Math.abs(ms) <= timeMsMax, whenMessage)
  .optional();

const querySchema = z.object({
  since: when,
  until: when,
  user: z.string().max(userIdCharsMax, `must be at most ${userIdCharsMax} characters`).optional(),
  key: z.string().max(100, "must be the id of a key").optional(),
  limit: z.coerce
    .number()
    .int("must be a whole number")
    .min(1, "must be at least 1")
    .max(usageRowsMax, `must be at most ${usageRowsMax}`)
    .optional(),
});

/**
 * @param reader an admin sees every key's rows, others those of their own key
 * @throws AppError invalid_request naming the parameter at fault
 */
export async function readUsage(
  store: UsageStore,
  reader: ApiKey,
  parameters: Record<string, string>,
): Promise<UsageReport> {
  const parsed = querySchema.safeParse(parameters);
  if (!parsed.success) {
    const { path, message } = parsed.error.issues[0]!;
    const param = String(path[0]);
    throw new AppError("invalid_request", `${param} ${param === "limit" ? limitMessage(message) : message}.`, {
      param,
    });
  }
  const { since, until, user, key, limit } = parsed.data;
  const query: UsageQuery = {};
  if (since !== undefined) query.since = since;
  if (until !== undefined) query.until = until;
  if (user !== undefined) query.userId = user;
  if (limit !== undefined) query.limit = limit;
  const keyId = hasScope(reader, "admin") ? key : reader.id;
  if (keyId !== undefined) query.keyId = keyId;
  const [rows, totals] = await Promise.all([store.rows(query), store.totals(query)]);
  return { rows: rows.map((row) => ({ ...row, time: new Date(row.at).toISOString() })), totals };
}

/** The library's sentence for a text that is no number speaks of NaN. */
function limitMessage(message: string): string {
  return message.includes("NaN") ? "must be a whole number" : message;
}
