/** Ledger rows as the few figures people ask for. */
import type { UsageRow, UsageTotals } from "../core/ports.ts";

export interface UsageShare {
  name: string;
  requests: number;
  tokens: number;
}

export interface UsageReport {
  totals: UsageTotals;
  byModel: UsageShare[];
  byUser: UsageShare[];
  bySource: UsageShare[];
  /** Of the rows' answers; absent without any. */
  firstTokenMs?: { p50: number; p95: number; count: number };
  tokensPerSecond?: number;
  /** Rows looked at; fewer than `totals.requests` when the period holds more than one page. */
  rowCount: number;
}

/** Largest first; more would not be read in a chat. */
const sharesShownMax = 10;

export function reportUsage(totals: UsageTotals, rows: readonly UsageRow[]): UsageReport {
  const firstTokens = numbers(rows.map((row) => row.timings.timeToFirstTokenMs)).sort((a, b) => a - b);
  const rates = numbers(rows.map((row) => row.timings.completionTokensPerSecond));
  return {
    totals,
    byModel: shares(rows, (row) => row.model),
    byUser: shares(rows, (row) => row.userId ?? "-"),
    bySource: shares(rows, (row) => row.source),
    rowCount: rows.length,
    ...(firstTokens.length === 0
      ? {}
      : {
          firstTokenMs: {
            p50: quantile(firstTokens, 0.5),
            p95: quantile(firstTokens, 0.95),
            count: firstTokens.length,
          },
        }),
    ...(rates.length === 0 ? {} : { tokensPerSecond: rates.reduce((sum, rate) => sum + rate, 0) / rates.length }),
  };
}

function shares(rows: readonly UsageRow[], nameOf: (row: UsageRow) => string): UsageShare[] {
  const byName = new Map<string, UsageShare>();
  for (const row of rows) {
    const name = nameOf(row);
    const share = byName.get(name) ?? { name, requests: 0, tokens: 0 };
    share.requests++;
    share.tokens += (row.usage.promptTokens ?? 0) + (row.usage.completionTokens ?? 0);
    byName.set(name, share);
  }
  return [...byName.values()].sort((a, b) => b.requests - a.requests).slice(0, sharesShownMax);
}

function numbers(values: readonly (number | undefined)[]): number[] {
  return values.filter((value) => value !== undefined);
}

/** The value that this share of the sorted numbers does not exceed. */
function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
}
