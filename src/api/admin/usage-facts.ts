/** The ledger's figures for one look at the usage page. */
import * as z from "zod";
import { adminFailuresMax, adminRowsMax, chartGroupsMax } from "../../core/limits.ts";
import type {
  BotStateStore,
  KeyStore,
  UsageFailures,
  UsageGroup,
  UsageSeriesPoint,
  UsageStore,
  UsageTotals,
} from "../../core/ports.ts";

const hourMs = 3_600_000;
const dayMs = 86_400_000;

export const ranges = {
  day: { steps: 24, stepMs: hourMs },
  week: { steps: 7, stepMs: dayMs },
  month: { steps: 30, stepMs: dayMs },
  quarter: { steps: 90, stepMs: dayMs },
} as const;
export type RangeName = keyof typeof ranges;

export const groupings = ["model", "user", "source", "key", "engine", "status"] as const;
export type GroupingName = (typeof groupings)[number];

/** What the address asks for; what it does not say, or says wrongly, is the default. */
const choiceSchema = z.object({
  range: z.enum(["day", "week", "month", "quarter"]).catch("week"),
  by: z.enum(groupings).catch("model"),
  show: z.enum(["requests", "tokens"]).catch("requests"),
});
export type UsageChoice = z.output<typeof choiceSchema>;

export function readChoice(query: Record<string, string>): UsageChoice {
  return choiceSchema.parse(query);
}

export interface UsageFacts {
  since: number;
  until: number;
  /** Most requests first; those beyond the chart's lines included. */
  groups: UsageGroup[];
  groupCount: number;
  totals: UsageTotals;
  /** Starts of the steps, milliseconds since the epoch. */
  steps: number[];
  /** In the order of `groups`, then "others" where there are more: one figure for each step. */
  lines: { value: string; others: boolean; requests: number[]; tokens: number[] }[];
  /** All requests together, by step; undefined where nothing was measured. */
  latencies: { p50: (number | undefined)[]; p95: (number | undefined)[]; p99: (number | undefined)[] };
  failures: UsageFailures;
  feedback: { model: string; up: number; down: number }[];
  keyNames: ReadonlyMap<string, string>;
}

export interface UsageSources {
  usageStore: UsageStore;
  keyStore: KeyStore;
  feedback: Pick<BotStateStore, "feedbackTotals">;
}

export async function readUsageFacts(
  { usageStore, keyStore, feedback }: UsageSources,
  { range, by }: UsageChoice,
  now: number,
): Promise<UsageFacts> {
  const { steps: stepCount, stepMs } = ranges[range];
  const last = Math.floor(now / stepMs);
  const since = (last - stepCount + 1) * stepMs;
  const time = { since, until: (last + 1) * stepMs };
  const { groups, groupCount, totals } = await usageStore.groups({ ...time, group: by, limit: adminRowsMax });
  const drawn = groups.slice(0, chartGroupsMax).map(({ value }) => value);
  const [points, all, failures, votes, keyNames] = await Promise.all([
    usageStore.series({ ...time, stepMs, group: by, values: drawn }),
    usageStore.series({ ...time, stepMs, group: "day", latencies: true }),
    usageStore.failures({ ...time, limit: adminFailuresMax }),
    feedback.feedbackTotals(since),
    readKeyNames(keyStore),
  ]);
  const steps = Array.from({ length: stepCount }, (_, place) => since + place * stepMs);
  const lines = drawn.map((value) => ({
    value,
    others: false,
    ...spread(
      steps,
      points.filter((point) => point.value === value),
    ),
  }));
  if (groupCount > drawn.length) lines.push(othersOf(steps, all, lines));
  return {
    ...time,
    groups,
    groupCount,
    totals,
    steps,
    lines,
    latencies: {
      p50: quantile(steps, all, "p50"),
      p95: quantile(steps, all, "p95"),
      p99: quantile(steps, all, "p99"),
    },
    failures,
    feedback: votes,
    keyNames,
  };
}

export async function readKeyNames(keyStore: KeyStore): Promise<Map<string, string>> {
  return new Map((await keyStore.list()).map(({ id, name }) => [id, name]));
}

/** What the addresses of the export ask for. */
export function exportQuery({ since, until }: UsageFacts, format: "csv" | "json"): string {
  return `/admin/export?format=${format}&since=${since}&until=${until}`;
}

export function tokensOf({ promptTokens, completionTokens }: UsageTotals): number {
  return promptTokens + completionTokens;
}

function spread(steps: readonly number[], points: readonly UsageSeriesPoint[]) {
  const at = new Map(points.map((point) => [point.at, point]));
  const figures = (read: (point: UsageSeriesPoint) => number) =>
    steps.map((step) => {
      const point = at.get(step);
      return point === undefined ? 0 : read(point);
    });
  return { requests: figures(({ requests }) => requests), tokens: figures(tokensOf) };
}

/** What all have and the drawn ones have not. */
function othersOf(
  steps: readonly number[],
  all: readonly UsageSeriesPoint[],
  lines: readonly { requests: number[]; tokens: number[] }[],
) {
  const whole = spread(steps, all);
  const rest = (name: "requests" | "tokens") =>
    whole[name].map((value, place) => lines.reduce((left, line) => left - line[name][place]!, value));
  return { value: "", others: true, requests: rest("requests"), tokens: rest("tokens") };
}

function quantile(steps: readonly number[], all: readonly UsageSeriesPoint[], name: "p50" | "p95" | "p99") {
  const at = new Map(all.map((point) => [point.at, point.timeToFirstTokenMs?.[name]]));
  return steps.map((step) => at.get(step));
}
