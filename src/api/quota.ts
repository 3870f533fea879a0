/**
 * Quotas of keys and of the end users behind them. The ledger is the truth and this memory its cache: a scope is counted
 * from the ledger when first seen, then kept up without another statement. Checking and counting happen in one turn of
 * the event loop, so requests at once cannot all slip through the same gap.
 *
 * A request that was let in is never cut. Tokens count when they are known, at its end, and what goes beyond the limit
 * is carried into the next minute or day.
 */
import { AppError } from "../core/errors.ts";
import { concurrencyRetryMs, quotaMinutesCarried, quotaScopesMax } from "../core/limits.ts";
import type { ApiKey, Clock, QuotaLimits, UsageStore } from "../core/ports.ts";

export interface QuotaOptions {
  usageStore: Pick<UsageStore, "consumption">;
  clock: Clock;
  /** Age at which a scope is counted from the ledger again, where other processes write it too; default never. */
  recountMs?: number;
  /** Default `quotaScopesMax`. */
  scopesMax?: number;
}

export interface QuotaBook {
  /**
   * Lets a request in or refuses it.
   *
   * @param promptTokens an estimate, held against the limits until the answer ends
   * @throws QuotaRefusal rate_limit_exceeded for minutes and concurrency, quota_exceeded for days
   */
  admit(key: ApiKey, userId: string | undefined, promptTokens: number): Promise<Admission>;
}

export interface Admission {
  /** OpenAI's `x-ratelimit-…`, for the tightest of the limits; empty without any. */
  headers: Record<string, string>;
  /** For who else may settle it. */
  ticket?: { keyId: string; ticket: string };
  /** Once, when the answer ended or never began; later calls do nothing. Where others count, resolves once they have. */
  settle(tokens: number): void | Promise<void>;
}

/** Carries the headers that tell where the client stands. */
export class QuotaRefusal extends AppError {
  readonly headers: Record<string, string>;

  constructor(error: AppError, headers: Record<string, string>) {
    super(error.code, error.message, error);
    this.headers = headers;
  }
}

type Unit = "requests" | "tokens";

interface Window {
  name: "minute" | "day";
  ms: number;
  /** Number of this window since the epoch. */
  index: number;
  used: Record<Unit, number>;
  /** Tokens of earlier windows beyond their limit. */
  carried: number;
  limits: { [Key in Unit]: number | undefined };
}

interface Scope {
  /** "This API key" or "This user". */
  subject: string;
  windows: [minute: Window, day: Window];
  running: number;
  runningMax: number | undefined;
  /** Estimated tokens of running requests. */
  reserved: number;
  countedAt: number;
}

const minuteMs = 60_000;
const dayMs = 24 * 60 * minuteMs;

export function createQuotaBook(options: QuotaOptions): QuotaBook {
  const { clock, scopesMax = quotaScopesMax } = options;
  const scopes = new Map<string, Promise<Scope>>();

  const count = async (subject: string, limits: QuotaLimits, keyId: string, user: string | null | undefined) => {
    const now = clock.now();
    const scope: Scope = {
      subject,
      windows: [
        newWindow("minute", minuteMs, now, limits.requestsPerMinute, limits.tokensPerMinute),
        newWindow("day", dayMs, now, limits.requestsPerDay, limits.tokensPerDay),
      ],
      running: 0,
      runningMax: limits.concurrentRequests,
      reserved: 0,
      countedAt: now,
    };
    for (const [window, past] of [
      [scope.windows[0], quotaMinutesCarried],
      [scope.windows[1], 1],
    ] as const) {
      if (window.limits.requests === undefined && window.limits.tokens === undefined) continue;
      const since = (window.index - past) * window.ms;
      const seen = await options.usageStore.consumption({
        keyId,
        ...(user === undefined ? {} : { user }),
        since,
        windowMs: window.ms,
      });
      const first = window.index - past;
      const target = window.index;
      window.index = first;
      for (let index = first; index <= target; index++) {
        advance(window, index * window.ms);
        const found = seen.get(index);
        window.used = { requests: found?.requests ?? 0, tokens: found?.tokens ?? 0 };
      }
    }
    return scope;
  };

  const open = async (id: string, counted: () => Promise<Scope>): Promise<Scope> => {
    const known = scopes.get(id);
    const scope = await (known ?? remember(id, counted()));
    if (options.recountMs === undefined || clock.now() - scope.countedAt < options.recountMs) return scope;
    scope.countedAt = clock.now();
    merge(scope, await counted(), clock.now());
    return scope;
  };

  const remember = (id: string, counting: Promise<Scope>): Promise<Scope> => {
    scopes.set(id, counting);
    counting.catch(() => scopes.delete(id));
    if (scopes.size > scopesMax) void forgetOldest();
    return counting;
  };

  /** Scopes with running requests stay: only memory knows of those. */
  const forgetOldest = async () => {
    for (const [id, counting] of scopes) {
      const scope = await counting.catch(() => undefined);
      if (scope !== undefined && scope.running > 0) continue;
      scopes.delete(id);
      if (scopes.size <= scopesMax) return;
    }
  };

  const scopesOf = (key: ApiKey, userId: string | undefined): Promise<Scope>[] => {
    const found: Promise<Scope>[] = [];
    const { limits, userLimits } = key;
    if (limits !== undefined) found.push(open(key.id, () => count("This API key", limits, key.id, undefined)));
    // Who names no user shares one quota with all who do not, or leaving the name out would lift the limit.
    if (userLimits !== undefined) {
      const user = userId ?? null;
      const id = `${key.id} ${JSON.stringify(user)}`;
      found.push(open(id, () => count("This user", userLimits, key.id, user)));
    }
    return found;
  };

  return {
    async admit(key, userId, promptTokens) {
      if (key.limits === undefined && key.userLimits === undefined) return { headers: {}, settle: () => {} };
      const found = await Promise.all(scopesOf(key, userId));
      // No await from here to the end of the counting.
      const now = clock.now();
      for (const scope of found) for (const window of scope.windows) advance(window, now);
      const refusal = refusalOf(found, now);
      if (refusal !== undefined) throw new QuotaRefusal(refusal, headersOf(found, now));
      for (const scope of found) take(scope, promptTokens);
      let settled = false;
      return {
        headers: headersOf(found, now),
        settle(tokens) {
          if (settled) return;
          settled = true;
          for (const scope of found) giveBack(scope, promptTokens, tokens, clock.now());
        },
      };
    },
  };
}

function newWindow(
  name: Window["name"],
  ms: number,
  now: number,
  requests: number | undefined,
  tokens: number | undefined,
): Window {
  return {
    name,
    ms,
    index: Math.floor(now / ms),
    used: { requests: 0, tokens: 0 },
    carried: 0,
    limits: { requests, tokens },
  };
}

/** A clock that goes backwards stays in its window. */
function advance(window: Window, now: number): void {
  const passed = Math.floor(now / window.ms) - window.index;
  if (passed <= 0) return;
  const limit = window.limits.tokens;
  const debt = limit === undefined ? 0 : window.used.tokens + window.carried - limit * passed;
  window.carried = Math.max(0, debt);
  window.used = { requests: 0, tokens: 0 };
  window.index += passed;
}

function take(scope: Scope, promptTokens: number): void {
  scope.running++;
  scope.reserved += promptTokens;
  for (const window of scope.windows) window.used.requests++;
}

function giveBack(scope: Scope, promptTokens: number, tokens: number, now: number): void {
  scope.running--;
  scope.reserved -= promptTokens;
  for (const window of scope.windows) {
    advance(window, now);
    window.used.tokens += tokens;
  }
}

/** What other processes wrote is added; what this one counted and has not written yet is kept. */
function merge(scope: Scope, counted: Scope, now: number): void {
  for (const [place, window] of scope.windows.entries()) {
    const other = counted.windows[place]!;
    advance(window, now);
    advance(other, now);
    if (window.index !== other.index) continue;
    window.used.requests = Math.max(window.used.requests, other.used.requests);
    window.used.tokens = Math.max(window.used.tokens, other.used.tokens);
    window.carried = Math.max(window.carried, other.carried);
  }
}

function leftOf(scope: Scope, window: Window, unit: Unit): number | undefined {
  const limit = window.limits[unit];
  if (limit === undefined) return undefined;
  const held = unit === "tokens" ? window.carried + scope.reserved : 0;
  return limit - window.used[unit] - held;
}

/** The violated limit that takes longest to pass. */
function refusalOf(scopes: readonly Scope[], now: number): AppError | undefined {
  let worst: { error: AppError; waitMs: number } | undefined;
  const note = (waitMs: number, error: AppError) => {
    if (worst === undefined || waitMs > worst.waitMs) worst = { error, waitMs };
  };
  for (const scope of scopes) {
    if (scope.runningMax !== undefined && scope.running >= scope.runningMax) {
      const message = `${scope.subject} may have ${scope.runningMax} requests answered at once; wait for one to end.`;
      note(concurrencyRetryMs, new AppError("rate_limit_exceeded", message, { retryAfterMs: concurrencyRetryMs }));
    }
    for (const window of scope.windows) {
      for (const unit of ["requests", "tokens"] as const) {
        const left = leftOf(scope, window, unit);
        if (left === undefined || left > 0) continue;
        const waitMs = msToFree(scope, window, unit, now);
        const code = window.name === "day" ? "quota_exceeded" : "rate_limit_exceeded";
        const message = `${scope.subject} has used its ${window.limits[unit]} ${unit} of this ${window.name}; try again later.`;
        note(waitMs, new AppError(code, message, { retryAfterMs: waitMs, details: { limit: window.limits[unit] } }));
      }
    }
  }
  return worst?.error;
}

/** To the first window in which something is left; tokens carried over fill whole windows. */
function msToFree(scope: Scope, window: Window, unit: Unit, now: number): number {
  const toNext = (window.index + 1) * window.ms - now;
  if (unit === "requests") return toNext;
  const limit = window.limits.tokens!;
  const debt = window.used.tokens + window.carried + scope.reserved - limit;
  return toNext + Math.floor(Math.max(0, debt) / limit) * window.ms;
}

function headersOf(scopes: readonly Scope[], now: number): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const unit of ["requests", "tokens"] as const) {
    let tightest: { limit: number; left: number; resetMs: number } | undefined;
    for (const scope of scopes) {
      for (const window of scope.windows) {
        const left = leftOf(scope, window, unit);
        if (left === undefined || (tightest !== undefined && left >= tightest.left)) continue;
        tightest = { limit: window.limits[unit]!, left, resetMs: msToFree(scope, window, unit, now) };
      }
    }
    if (tightest === undefined) continue;
    headers[`x-ratelimit-limit-${unit}`] = String(tightest.limit);
    headers[`x-ratelimit-remaining-${unit}`] = String(Math.max(0, Math.floor(tightest.left)));
    headers[`x-ratelimit-reset-${unit}`] = renderDuration(tightest.resetMs);
  }
  return headers;
}

/** OpenAI's form: "120ms", "6.5s", "6m0s", "1h2m3s". */
export function renderDuration(ms: number): string {
  if (ms < 1000) return `${Math.max(0, Math.ceil(ms))}ms`;
  if (ms < 60_000) return `${Number((ms / 1000).toFixed(3))}s`;
  const seconds = Math.ceil(ms / 1000);
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor((seconds % 3600) / 60);
  return `${hours > 0 ? `${hours}h` : ""}${minutes}m${seconds % 60}s`;
}
