/** A ledger of a few rows in memory, for tests of whoever shows reports. Quantiles are of the rows themselves. */
import type {
  UsageGroup,
  UsageGroupQuery,
  UsageQuantiles,
  UsageRow,
  UsageStore,
  UsageTotals,
} from "../../src/core/ports.ts";

export interface UsageRows extends Pick<UsageStore, "groups"> {
  rows: UsageRow[];
  /** What was asked, oldest first. */
  queries: UsageGroupQuery[];
}

export function usageOfRows(rows: UsageRow[] = []): UsageRows {
  const ledger: UsageRows = {
    rows,
    queries: [],
    async groups(query) {
      ledger.queries.push(query);
      const found = ledger.rows.filter(
        ({ at, userId }) => at >= (query.since ?? 0) && (query.userId === undefined || userId === query.userId),
      );
      const values = [...new Set(found.map((row) => groupValue(row, query.group)))];
      const groups = values.map((value) =>
        groupOf(
          value,
          found.filter((row) => groupValue(row, query.group) === value),
        ),
      );
      groups.sort((a, b) => b.requests - a.requests);
      return { groups: groups.slice(0, query.limit), groupCount: groups.length, totals: totalsOf(found) };
    },
  };
  return ledger;
}

function groupValue(row: UsageRow, group: UsageGroupQuery["group"]): string {
  if (group === "user") return row.userId ?? "";
  if (group === "model") return row.model;
  if (group === "source") return row.source;
  if (group === "day") return new Date(row.at).toISOString().slice(0, 10);
  throw new Error(`no test groups by ${group}`);
}

function groupOf(value: string, rows: readonly UsageRow[]): UsageGroup {
  const firsts = quantilesOf(rows.map((row) => row.timings.timeToFirstTokenMs));
  const rates = quantilesOf(rows.map((row) => row.timings.completionTokensPerSecond));
  return {
    value,
    ...totalsOf(rows),
    ...(firsts === undefined ? {} : { timeToFirstTokenMs: firsts }),
    ...(rates === undefined ? {} : { completionTokensPerSecond: rates }),
  };
}

function totalsOf(rows: readonly UsageRow[]): UsageTotals {
  const sum = (of: (row: UsageRow) => number | undefined) => rows.reduce((total, row) => total + (of(row) ?? 0), 0);
  return {
    requests: rows.length,
    aborted: rows.filter((row) => row.aborted).length,
    failed: rows.filter((row) => row.errorCode !== undefined).length,
    interrupted: rows.filter((row) => row.interrupted).length,
    promptTokens: sum((row) => row.usage.promptTokens),
    completionTokens: sum((row) => row.usage.completionTokens),
    cachedPromptTokens: sum((row) => row.usage.cachedPromptTokens),
  };
}

function quantilesOf(values: readonly (number | undefined)[]): UsageQuantiles | undefined {
  const sorted = values.filter((value) => value !== undefined).sort((a, b) => a - b);
  if (sorted.length === 0) return undefined;
  const at = (share: number) => sorted[Math.ceil(sorted.length * share) - 1]!;
  return { count: sorted.length, p50: at(0.5), p95: at(0.95), p99: at(0.99) };
}
