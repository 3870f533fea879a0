/** What the first section shows: what runs, and the last day in figures. */
import type { KeyStore, UsageStore } from "../../core/ports.ts";
import type { EngineDesk } from "../engines.ts";
import type { LiveRequests } from "../live-requests.ts";
import type { DayFacts, LiveFacts } from "./now.tsx";
import { readKeyNames } from "./usage-facts.ts";

const hourMs = 3_600_000;
/** One step for everything. */
const allTimeMs = 1_000_000 * 24 * hourMs;

interface LiveSources {
  keyStore: KeyStore;
  live: LiveRequests;
  desk: EngineDesk;
  waiting: () => number;
}

export async function readLive({ keyStore, live, desk, waiting }: LiveSources): Promise<LiveFacts> {
  const requests = live.list();
  const [engines, keyNames] = await Promise.all([
    desk.list(),
    requests.length === 0 ? new Map<string, string>() : readKeyNames(keyStore),
  ]);
  return { engines, requests, waiting: waiting(), keyNames };
}

export async function readDay(usageStore: UsageStore, now: number): Promise<DayFacts> {
  const last = Math.floor(now / hourMs);
  const time = { since: (last - 23) * hourMs, until: (last + 1) * hourMs };
  const [hours, [all]] = await Promise.all([
    usageStore.series({ ...time, group: "day", stepMs: hourMs }),
    usageStore.series({ ...time, group: "day", stepMs: allTimeMs, latencies: true }),
  ]);
  const { requests = 0, failed = 0, promptTokens = 0, completionTokens = 0, timeToFirstTokenMs } = all ?? {};
  return {
    hours,
    requests,
    failed,
    promptTokens,
    completionTokens,
    ...(timeToFirstTokenMs === undefined ? {} : { firstTokenMs: timeToFirstTokenMs }),
  };
}
