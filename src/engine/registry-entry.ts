/** One model of a registry: what is known of it and what it is doing. */

import { setTimeout as delay } from "node:timers/promises";
import type { ChatEvent, Preparation } from "../core/chat.ts";
import type { AppError } from "../core/errors.ts";
import type { EngineHealth, ModelListing } from "../core/ports.ts";
import type { BackendChoice } from "./backend.ts";
import type { Holding } from "./eviction.ts";
import type { EngineStatus, LocalEngine } from "./local-engine.ts";
import type { LoadReport, PlannedEngine } from "./planned-engine.ts";
import type { RegistryTimes } from "./registry-options.ts";
import type { DownloadProgress, PulledModel } from "./store.ts";
import { modelId } from "./store-scan.ts";
import type { ModelTask } from "./vector-models.ts";

export type ModelState = "unloaded" | "finding" | "loading" | "ready" | "leaving" | "failed";

export interface ModelStatus {
  id: string;
  state: ModelState;
  pinned: boolean;
  demo: boolean;
  /** Why the state is "failed". */
  reason?: string;
  download?: DownloadProgress;
  /** Milliseconds since the epoch; undefined before the first request. */
  lastUsedAt?: number;
  engine?: EngineStatus;
  load?: LoadReport;
  /** What runs it, and why. */
  program?: BackendChoice;
}

export interface Entry {
  readonly wanted: string | undefined;
  pinned: boolean;
  state: ModelState;
  resolved: PulledModel | undefined;
  /** What it is for; undefined before anybody asked, or while it is not on this disk. */
  task: ModelTask | undefined;
  /** When its file was last looked for to learn that. */
  soughtAt: number;
  planned: PlannedEngine | undefined;
  /** Requests between arrival and end, those that wait for a load included. */
  requests: number;
  lastUsedAt: number | undefined;
  loading: Promise<LocalEngine> | undefined;
  failure: { error: AppError; at: number } | undefined;
  download: DownloadProgress | undefined;
  /** How long the last load took, milliseconds. */
  warmMs: number | undefined;
  /** When it began to serve, by the monotonic clock. */
  readyAt: number;
  idleTimer: NodeJS.Timeout | undefined;
}

export function newEntry(wanted: string | undefined, pinned: boolean): Entry {
  return {
    wanted,
    pinned,
    state: "unloaded",
    resolved: undefined,
    task: undefined,
    soughtAt: Number.NEGATIVE_INFINITY,
    planned: undefined,
    requests: 0,
    lastUsedAt: undefined,
    loading: undefined,
    failure: undefined,
    download: undefined,
    warmMs: undefined,
    readyAt: 0,
    idleTimer: undefined,
  };
}

export function statusOf(entry: Entry): ModelStatus {
  return {
    id: nameOf(entry),
    state: stateOf(entry),
    pinned: entry.pinned,
    demo: isDemo(entry),
    ...(entry.failure === undefined ? {} : { reason: entry.failure.error.message }),
    ...(entry.download === undefined ? {} : { download: entry.download }),
    ...(entry.lastUsedAt === undefined ? {} : { lastUsedAt: entry.lastUsedAt }),
    ...(entry.planned === undefined
      ? {}
      : { engine: entry.planned.engine.status(), load: entry.planned.report(), program: entry.planned.backend }),
  };
}

/** The name after the file, or the one in the settings while no file is known. */
export function nameOf({ resolved, wanted }: Entry): string {
  if (resolved !== undefined) return resolved.id;
  if (wanted === undefined) return "demo";
  return /\.gguf$/i.test(wanted) ? modelId(wanted) : wanted;
}

export function isDemo({ resolved, wanted }: Entry): boolean {
  return resolved?.demo ?? (wanted === undefined || wanted === "demo");
}

function stateOf(entry: Entry): ModelState {
  if (entry.state === "ready" && entry.planned?.engine.status().health.state === "failed") return "failed";
  return entry.state;
}

/** What those who ask for it wait for; the share changes by whole percents, so that there is not always news. */
export function preparationOf({ download }: Entry): Preparation {
  if (download === undefined) return { step: "load" };
  const { bytesDone, bytesTotal } = download;
  if (bytesTotal === undefined || bytesTotal === 0) return { step: "download" };
  return { step: "download", share: Math.floor((bytesDone / bytesTotal) * 100) / 100 };
}

/** With how fast a loaded model is expected to answer; a router prefers the faster engine. */
export function withRate(listing: ModelListing, { planned }: Entry): ModelListing {
  const rate = listing.task === undefined ? planned?.expectedRate() : undefined;
  return rate === undefined ? listing : { ...listing, decodeTokensPerSecond: rate };
}

/** What a loaded model would give back. */
export function holdingOf({ planned }: Entry): Holding | undefined {
  if (planned === undefined) return undefined;
  const { plan, measured, predicted } = planned.report();
  return { plan, hostBytes: (measured ?? predicted).hostBytes };
}

/** All models together. */
export function healthOfAll(entries: readonly Entry[], draining: boolean): EngineHealth {
  const healths = entries.flatMap((entry) => entry.planned?.engine.status().health ?? []);
  const waiting = entries.reduce((sum, entry) => sum + (entry.loading === undefined ? 0 : entry.requests), 0);
  const sum = (key: "active" | "queued" | "slots") => healths.reduce((total, health) => total + health[key], 0);
  const reason = entries.find(({ failure }) => failure !== undefined)?.failure?.error.message;
  const failed = healths.find(({ state }) => state === "failed")?.reason ?? reason;
  const state = stateOfAll(entries, healths, draining);
  return {
    state,
    ...(state === "failed" && failed !== undefined ? { reason: failed } : {}),
    active: sum("active"),
    queued: Math.max(sum("queued"), waiting),
    slots: sum("slots"),
  };
}

/** It can answer when any model can, or could be loaded. */
function stateOfAll(
  entries: readonly Entry[],
  healths: readonly EngineHealth[],
  draining: boolean,
): EngineHealth["state"] {
  if (draining) return "stopped";
  const has = (state: EngineHealth["state"]) => healths.some((health) => health.state === state);
  if (has("ready")) return "ready";
  if (has("restarting")) return "restarting";
  if (entries.some((entry) => entry.loading !== undefined)) return "loading";
  if (has("failed") || entries.some((entry) => entry.failure !== undefined)) return "failed";
  // Nothing is loaded and nothing hinders: the next request loads.
  return "ready";
}

/** What comes of the wait, and meanwhile what is waited for, whenever there is news of it. */
export async function* tellUntil<T>(
  waiting: Promise<T>,
  entry: Entry,
  times: Pick<RegistryTimes, "preparationToldAfterMs" | "preparationToldEveryMs">,
): AsyncGenerator<ChatEvent, T> {
  const position = entry.requests;
  let told = "";
  for (let ms = times.preparationToldAfterMs; ; ms = times.preparationToldEveryMs) {
    const pause = new AbortController();
    const settled = await Promise.race([
      waiting.finally(() => pause.abort()).then((value) => ({ value })),
      delay(ms, undefined, { signal: pause.signal }).catch(() => {}),
    ]);
    if (settled !== undefined) return settled.value;
    const preparing = preparationOf(entry);
    const news = JSON.stringify(preparing);
    if (news === told) continue;
    told = news;
    yield { type: "queued", position, preparing };
  }
}
