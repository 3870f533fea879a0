/** What the router knows of one engine: its load, its models, and whether it can be trusted right now. */
import type { ErrorCode } from "../core/errors.ts";
import {
  answerMsAssumed,
  engineFailuresMax,
  engineRestMsFirst,
  engineRestMsMax,
  modelListAgeMsMax,
} from "../core/limits.ts";
import type { ChatEngine, EngineHealth, ModelListing } from "../core/ports.ts";

export interface EngineMember {
  name: string;
  engine: ChatEngine;
  /** From the settings, or registered by an administrator. */
  origin: "settings" | "registered";
  /** The name stands in answers and usage rows instead of what the engine calls itself. */
  named: boolean;
  url: string | undefined;
  weight: number;
  draining: boolean;
  /** As last read; undefined before the first time. */
  health: EngineHealth | undefined;
  models: ModelListing[] | undefined;
  readAt: number;
  modelsReadAt: number;
  /** A read is under way since; another request's read is never waited for. */
  readingSince: number;
  /** Requests given to it by this router that have not ended. */
  inFlight: number;
  /** The same at the time of `readAt`. */
  inFlightWhenRead: number;
  /** Typical length of an answer, milliseconds. */
  answerMs: number;
  /** Answers seen by this router. */
  answersSeen: number;
  /** How many times as long answers take as its tokens per second say: prompts, and company on the same GPU. */
  drag: number;
  /** In a row. */
  failures: number;
  restUntil: number;
  /** The one request that tries an engine out after its rest is under way. */
  probing: boolean;
}

export type MemberFacts = Pick<EngineMember, "name" | "engine" | "origin" | "named" | "weight" | "draining"> & {
  url?: string;
};

export function createMember(facts: MemberFacts): EngineMember {
  return {
    url: undefined,
    ...facts,
    health: undefined,
    models: undefined,
    readAt: Number.NEGATIVE_INFINITY,
    modelsReadAt: Number.NEGATIVE_INFINITY,
    readingSince: Number.NEGATIVE_INFINITY,
    inFlight: 0,
    inFlightWhenRead: 0,
    answerMs: answerMsAssumed,
    answersSeen: 0,
    drag: 1,
    failures: 0,
    restUntil: 0,
    probing: false,
  };
}

/** Asks the engine for its state, and for its models where the list is old. Never rejects. */
export async function readMember(member: EngineMember, now: () => number): Promise<void> {
  member.readingSince = now();
  const health = await member.engine.health().catch(
    (thrown): EngineHealth => ({
      state: "stopped",
      reason: thrown instanceof Error ? thrown.message : "The engine does not answer.",
      active: 0,
      queued: 0,
      slots: 0,
    }),
  );
  if (health.state === "ready" && now() - member.modelsReadAt >= modelListAgeMsMax) {
    const models = await member.engine.models().catch(() => undefined);
    if (models !== undefined) {
      member.models = models;
      member.modelsReadAt = now();
    }
  }
  member.health = health;
  member.readAt = now();
  member.inFlightWhenRead = member.inFlight;
  member.readingSince = Number.NEGATIVE_INFINITY;
}

/** May it get a request? Half-open after a rest: one request at a time tries it out. */
export function isAvailable(member: EngineMember, now: number): boolean {
  if (member.draining || member.health?.state === "stopped" || member.health?.state === "failed") return false;
  if (member.failures < engineFailuresMax) return true;
  return now >= member.restUntil && !member.probing;
}

/** An engine whose list is not known yet may have it. */
export function mayHave(member: EngineMember, model: string): boolean {
  return member.models === undefined || member.models.some((listing) => listing.id === model);
}

/** 0 answers at once, 1 must load the model first, 2 is not up yet. */
export function coldness(member: EngineMember, model: string): 0 | 1 | 2 {
  if (member.health !== undefined && member.health.state !== "ready") return 2;
  return member.models?.some((listing) => listing.id === model && listing.loaded) === true ? 0 : 1;
}

/**
 * How well a model that must be loaded would lie there, by what the engine last told of its memory: 0 in free memory of
 * its GPUs, 1 once models of its own have made room, 2 not all of it. An engine that does not tell stands in the middle.
 */
export function roomFor(member: EngineMember, model: string): 0 | 1 | 2 {
  const needed = member.models?.find((listing) => listing.id === model)?.fileBytes;
  const devices = member.health?.devices ?? [];
  if (needed === undefined || devices.length === 0) return 1;
  const gpus = devices.filter((device) => device.kind === "gpu");
  const used = gpus.length > 0 ? gpus : devices;
  let free = 0;
  let own = 0;
  for (const { bytesTotal, bytesUsed, bytesOwn = 0 } of used) {
    if (bytesUsed === undefined) return 1;
    free += Math.max(0, bytesTotal - bytesUsed);
    own += bytesOwn;
  }
  return needed <= free ? 0 : needed <= free + own ? 1 : 2;
}

/** What it was doing when read, and what this router gave it since. */
export function busyCount(member: EngineMember): number {
  const { active = 0, queued = 0 } = member.health ?? {};
  return Math.max(member.inFlight, active + queued + member.inFlight - member.inFlightWhenRead);
}

/** A server that does not tell its slots queues or batches as it sees fit. */
export function hasFreeSlot(member: EngineMember): boolean {
  if (member.health === undefined || member.health.assumed === true) return true;
  return busyCount(member) < member.health.slots;
}

/** What the engine tells of its speed with a model, tokens per second. */
export function toldRate(member: EngineMember, model: string): number | undefined {
  const rate = member.models?.find((listing) => listing.id === model)?.decodeTokensPerSecond;
  return typeof rate === "number" && rate > 0 && Number.isFinite(rate) ? rate : undefined;
}

/**
 * How long an answer of that model takes there, milliseconds. By what the engine tells of its speed where it tells, else
 * by the answers seen; undefined where there was neither.
 *
 * @param answerTokens typical of all engines
 */
export function expectedAnswerMs(member: EngineMember, model: string, answerTokens: number): number | undefined {
  const rate = toldRate(member, model);
  if (rate !== undefined) return (answerTokens / rate) * 1000 * member.drag;
  return member.answersSeen > 0 ? member.answerMs : undefined;
}

/** Expected wait of one more request, milliseconds; a heavier engine counts as a faster one. */
export function expectedWaitMs(member: EngineMember, model: string, answerTokens: number): number {
  if (hasFreeSlot(member)) return 0;
  const slots = Math.max(1, member.health?.slots ?? 1);
  const answerMs = expectedAnswerMs(member, model, answerTokens) ?? member.answerMs;
  return (((busyCount(member) - slots + 1) / slots) * answerMs) / member.weight;
}

/** Failures that are the engine's and not the request's. */
const engineFaults: ReadonlySet<ErrorCode> = new Set([
  "engine_unavailable",
  "engine_timeout",
  "engine_out_of_memory",
  "invalid_configuration",
  "internal",
]);

export function noteFailure(member: EngineMember, code: ErrorCode, now: number): void {
  if (!engineFaults.has(code)) return;
  member.failures++;
  if (member.failures < engineFailuresMax) return;
  const restMs = engineRestMsFirst * 2 ** (member.failures - engineFailuresMax);
  member.restUntil = now + Math.min(engineRestMsMax, restMs);
}

/** Weight of the newest answer in what is typical. */
const newestShare = 0.2;
/** One answer behind a broken connection says little of the next. */
const dragMin = 0.25;
const dragMax = 20;

/** @param completionTokens where the answer told */
export function noteAnswer(member: EngineMember, model: string, ms: number, completionTokens?: number): void {
  member.answerMs = towards(member.answerMs, ms);
  member.answersSeen++;
  const rate = toldRate(member, model);
  if (rate === undefined || !completionTokens) return;
  const drag = (ms * rate) / (completionTokens * 1000);
  member.drag = towards(member.drag, Math.min(dragMax, Math.max(dragMin, drag)));
}

/** The running mean after one more value. */
export function towards(mean: number, value: number): number {
  return mean + (value - mean) * newestShare;
}
