/** How a request gets in: who asks, on what terms, whether key and quota allow it, and its row in the ledger. */
import type { Context } from "hono";
import type { ServiceTerms } from "../core/chat.ts";
import { AppError } from "../core/errors.ts";
import { userIdCharsMax } from "../core/limits.ts";
import type { ApiKey, Clock, UsageAdmission, UsageSource, UsageStore } from "../core/ports.ts";
import { lowerPriority, soonerMs } from "../core/service-terms.ts";
import { readAskedTerms } from "../http/service-terms.ts";
import type { AuthVariables } from "./auth.ts";
import type { Metrics } from "./metrics.ts";
import { type Admission, type QuotaBook, QuotaRefusal } from "./quota.ts";
import type { RequestVariables } from "./requests.ts";

export type KeyedContext = Context<{ Variables: RequestVariables & AuthVariables }>;

/** Milliseconds from acceptance; what a caller asks for can only be sooner. */
export interface Deadlines {
  firstTokenMsMax?: number;
  totalMsMax?: number;
}

export interface AdmissionDependencies {
  usageStore: UsageStore;
  quotas: QuotaBook;
  metrics: Metrics;
  clock: Clock;
  randomId: () => string;
  deadlines?: Deadlines;
}

export interface Caller {
  key: ApiKey;
  userId?: string;
  source: UsageSource;
  terms: ServiceTerms;
}

/**
 * @param bodyUser the `user` of the body
 * @throws AppError invalid_request naming the header at fault
 */
export function callerOf(context: KeyedContext, bodyUser: string | undefined, deadlines: Deadlines = {}): Caller {
  const key = context.get("key");
  const header = (name: string) => context.req.header(name);
  const userId = userOf(header("x-snug-user")) ?? bodyUser;
  const asked = readAskedTerms(header);
  const firstTokenMsMax = soonerMs(deadlines.firstTokenMsMax, asked.firstTokenMsMax);
  const totalMsMax = soonerMs(deadlines.totalMsMax, asked.totalMsMax);
  return {
    key,
    source: sourceOf(header("x-snug-source")),
    ...(userId === undefined ? {} : { userId }),
    // Share and order are the key's: a caller may only take less.
    terms: {
      keyId: key.id,
      ...(key.weight === undefined ? {} : { weight: key.weight }),
      priority: lowerPriority(key.priority ?? "interactive", asked.priority),
      ...(firstTokenMsMax === undefined ? {} : { firstTokenMsMax }),
      ...(totalMsMax === undefined ? {} : { totalMsMax }),
    },
  };
}

export interface Admitted {
  admission: UsageAdmission;
  quota: Admission;
  /** The client's trace, as its header tells. */
  traceparent: string | undefined;
}

/**
 * Model, quota, admission row: even a process that dies before the engine answers leaves a trace of the request.
 *
 * @param facts.chars of all the model has to read
 * @throws AppError permission_denied, rate_limit_exceeded, quota_exceeded
 */
export async function admitRequest(
  context: KeyedContext,
  dependencies: AdmissionDependencies,
  caller: Caller,
  facts: { idPrefix: string; model: string; stream: boolean; chars: number },
): Promise<Admitted> {
  const { usageStore, clock, randomId } = dependencies;
  const { idPrefix, model, stream, chars } = facts;
  checkModel(caller.key, model);
  const quota = await takeQuota(context, dependencies, caller, estimateTokens(chars));
  const admission: UsageAdmission = {
    id: `${idPrefix}${randomId()}`,
    at: clock.now(),
    keyId: caller.key.id,
    source: caller.source,
    model,
    stream,
    ...(caller.userId === undefined ? {} : { userId: caller.userId }),
  };
  await usageStore.admit(admission).catch(async (thrown) => {
    await quota.settle(0);
    throw thrown;
  });
  return { admission, quota, traceparent: context.req.header("traceparent") };
}

async function takeQuota(
  context: KeyedContext,
  { quotas, metrics }: AdmissionDependencies,
  { key, userId }: Caller,
  promptTokens: number,
): Promise<Admission> {
  try {
    const admission = await quotas.admit(key, userId, promptTokens);
    context.set("replyHeaders", admission.headers);
    return admission;
  } catch (thrown) {
    if (thrown instanceof QuotaRefusal) {
      metrics.countRefusal(thrown.code);
      context.set("replyHeaders", thrown.headers);
    }
    throw thrown;
  }
}

/** English has about four characters a token; the true number replaces this one at the end. */
function estimateTokens(chars: number): number {
  return Math.ceil(chars / 4);
}

/** @throws AppError permission_denied */
export function checkModel(key: ApiKey, model: string): void {
  if (key.models === undefined || key.models.includes(model)) return;
  throw new AppError("permission_denied", `This API key may not ask this model; it may ask ${key.models.join(", ")}.`, {
    param: "model",
  });
}

/** Bots name the person they ask for in a header, so that clients' own `user` field need not be touched. */
function userOf(header: string | undefined): string | undefined {
  if (header === undefined || header === "") return undefined;
  if (header.length > userIdCharsMax) {
    throw new AppError("invalid_request", `x-snug-user must be at most ${userIdCharsMax} characters.`, {
      param: "x-snug-user",
    });
  }
  return header;
}

const sources: readonly UsageSource[] = ["api", "cli", "discord", "slack"];

/** Our own programs say where a request came from. */
export function sourceOf(header: string | undefined): UsageSource {
  return sources.find((source) => source === header) ?? "api";
}
