/** GET /v1/usage: the ledger as its readers may see it. */
import * as z from "zod";
import { usageGroupsDefault, usageGroupsMax, usageRowsMax, userIdCharsMax } from "../../core/limits.ts";
import type {
  ApiKey,
  UsageGroup,
  UsageGrouping,
  UsageQuery,
  UsageRow,
  UsageStore,
  UsageTotals,
} from "../../core/ports.ts";
import { hasScope } from "../auth.ts";
import { parseParameters, timeSchema } from "../parameters.ts";

export interface UsageReport {
  /** Newest first; `time` is `at` for people. */
  rows: (UsageRow & { time: string })[];
  /** Over everything that matches, not just the rows shown. */
  totals: UsageTotals;
}

export interface UsageGroups {
  group: UsageGrouping;
  /** Days ascending, others by requests, most first. */
  groups: UsageGroup[];
  /** All there are; the list ends at the limit. */
  groupCount: number;
  totals: UsageTotals;
}

const groupings = ["day", "key", "user", "model", "source", "engine", "status"] as const satisfies UsageGrouping[];

const limit = (max: number) =>
  z.coerce
    .number("must be a whole number")
    .int("must be a whole number")
    .min(1, "must be at least 1")
    .max(max, `must be at most ${max}`)
    .optional();

const filters = {
  since: timeSchema.optional(),
  until: timeSchema.optional(),
  user: z.string().max(userIdCharsMax, `must be at most ${userIdCharsMax} characters`).optional(),
  key: z.string().max(100, "must be the id of a key").optional(),
};

const rowsSchema = z.object({ ...filters, limit: limit(usageRowsMax) });
const groupsSchema = z.object({
  ...filters,
  group: z.enum(groupings, `must be one of ${groupings.join(", ")}`),
  limit: limit(usageGroupsMax),
});
const exportSchema = z.object({
  ...filters,
  format: z.enum(["csv", "json"], "must be csv or json").default("csv"),
});

/**
 * @param reader an admin sees every key's rows, others those of their own key
 * @throws AppError invalid_request naming the parameter at fault
 */
export async function readUsage(
  store: UsageStore,
  reader: ApiKey,
  parameters: Record<string, string>,
): Promise<UsageReport | UsageGroups> {
  if (parameters.group !== undefined) {
    const { group, ...rest } = parseParameters(groupsSchema, parameters);
    const query = { ...toQuery(rest, reader), group, limit: rest.limit ?? usageGroupsDefault };
    return { group, ...(await store.groups(query)) };
  }
  const query = toQuery(parseParameters(rowsSchema, parameters), reader);
  const [rows, totals] = await Promise.all([store.rows(query), store.totals(query)]);
  return { rows: rows.map((row) => ({ ...row, time: new Date(row.at).toISOString() })), totals };
}

function toQuery(
  {
    since,
    until,
    user,
    key,
    limit,
  }: { [Name in keyof typeof filters]?: z.output<(typeof filters)[Name]> } & {
    limit?: number | undefined;
  },
  reader: ApiKey,
): UsageQuery {
  const query: UsageQuery = {};
  if (since !== undefined) query.since = since;
  if (until !== undefined) query.until = until;
  if (user !== undefined) query.userId = user;
  if (limit !== undefined) query.limit = limit;
  const keyId = hasScope(reader, "admin") ? key : reader.id;
  if (keyId !== undefined) query.keyId = keyId;
  return query;
}

/** Columns of an export and where they come from. */
const columns: [string, (row: UsageRow) => unknown][] = [
  ["time", (row) => new Date(row.at).toISOString()],
  ["id", (row) => row.id],
  ["key", (row) => row.keyId],
  ["source", (row) => row.source],
  ["user", (row) => row.userId],
  ["model", (row) => row.model],
  ["quantization", (row) => row.quantization],
  ["engine", (row) => row.engineId],
  ["stream", (row) => row.stream],
  ["finish_reason", (row) => row.finishReason],
  ["error_code", (row) => row.errorCode],
  ["aborted", (row) => row.aborted],
  ["settled", (row) => row.settled],
  ["interrupted", (row) => row.interrupted],
  ["prompt_tokens", (row) => row.usage.promptTokens],
  ["completion_tokens", (row) => row.usage.completionTokens],
  ["cached_prompt_tokens", (row) => row.usage.cachedPromptTokens],
  ["estimated", (row) => row.usage.estimated ?? false],
  ["queue_ms", (row) => row.timings.queueMs],
  ["time_to_first_token_ms", (row) => row.timings.timeToFirstTokenMs],
  ["total_ms", (row) => row.timings.totalMs],
  ["prefill_tokens_per_second", (row) => row.timings.prefillTokensPerSecond],
  ["completion_tokens_per_second", (row) => row.timings.completionTokensPerSecond],
];

/**
 * All rows that match, newest first, as a file that is written while it is read: its size is bounded by the reader.
 *
 * @throws AppError invalid_request naming the parameter at fault
 */
export function exportUsage(store: UsageStore, reader: ApiKey, parameters: Record<string, string>): Response {
  const { format, ...rest } = parseParameters(exportSchema, parameters);
  const query = toQuery(rest, reader);
  const pieces = format === "csv" ? csvPieces(store, query) : jsonPieces(store, query);
  const encoder = new TextEncoder();
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(stream) {
        const { value, done } = await pieces.next();
        if (done === true) stream.close();
        else stream.enqueue(encoder.encode(value));
      },
    },
    { highWaterMark: 0 },
  );
  return new Response(body, {
    headers: {
      "content-type": format === "csv" ? "text/csv; charset=utf-8" : "application/json",
      "content-disposition": `attachment; filename="snug-usage.${format}"`,
      "cache-control": "no-store",
    },
  });
}

async function* csvPieces(store: UsageStore, query: UsageQuery): AsyncGenerator<string, void> {
  yield `${columns.map(([name]) => name).join(",")}\r\n`;
  for await (const rows of pages(store, query)) {
    yield rows.map((row) => `${columns.map(([, read]) => csvCell(read(row))).join(",")}\r\n`).join("");
  }
}

async function* jsonPieces(store: UsageStore, query: UsageQuery): AsyncGenerator<string, void> {
  let before = "[";
  for await (const rows of pages(store, query)) {
    for (const row of rows) {
      const members = columns.map(([name, read]) => [name, read(row)]).filter(([, value]) => value !== undefined);
      yield `${before}\n${JSON.stringify(Object.fromEntries(members))}`;
      before = ",";
    }
  }
  yield before === "[" ? "[]\n" : "\n]\n";
}

async function* pages(store: UsageStore, query: UsageQuery): AsyncGenerator<UsageRow[], void> {
  let after: { at: number; id: string } | undefined;
  for (;;) {
    const rows = await store.rows({ ...query, limit: usageRowsMax, ...(after === undefined ? {} : { after }) });
    if (rows.length > 0) yield rows;
    if (rows.length < usageRowsMax) return;
    after = rows.at(-1)!;
  }
}

/** RFC 4180; a text that a spreadsheet would run as a formula is marked as text. */
function csvCell(value: unknown): string {
  if (value === undefined) return "";
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
