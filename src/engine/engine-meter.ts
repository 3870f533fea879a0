/** What an engine has done since it started, and how fast it is going. */
import type { Usage } from "../core/chat.ts";

export interface EngineTotals {
  finished: number;
  cancelled: number;
  failed: number;
  /** Of answers that ended in the model process; those it took with it in a crash are not in these. */
  promptTokens: number;
  cachedPromptTokens: number;
  completionTokens: number;
}

/** "Now" is this long: shorter flickers, longer is history. */
const windowMs = 5_000;
const bucketMs = 500;

export class EngineMeter {
  readonly #now: () => number;
  readonly #totals: EngineTotals = {
    finished: 0,
    cancelled: 0,
    failed: 0,
    promptTokens: 0,
    cachedPromptTokens: 0,
    completionTokens: 0,
  };
  /** Tokens by the number of their half second, oldest first. */
  readonly #buckets = new Map<number, number>();

  /** @param now milliseconds of a clock that never steps back */
  constructor(now: () => number) {
    this.#now = now;
  }

  get totals(): EngineTotals {
    return { ...this.#totals };
  }

  /** Completion tokens per second over the last five. */
  get tokensPerSecond(): number {
    this.#forget();
    const sum = [...this.#buckets.values()].reduce((total, count) => total + count, 0);
    return sum / (windowMs / 1000);
  }

  tokens(count: number): void {
    const bucket = Math.floor(this.#now() / bucketMs);
    this.#buckets.set(bucket, (this.#buckets.get(bucket) ?? 0) + count);
    if (this.#buckets.size > windowMs / bucketMs) this.#forget();
  }

  answered(end: "finish" | "cancelled" | "error", usage: Usage): void {
    const totals = this.#totals;
    if (end === "finish") totals.finished++;
    else if (end === "cancelled") totals.cancelled++;
    else totals.failed++;
    totals.promptTokens += usage.promptTokens ?? 0;
    totals.cachedPromptTokens += usage.cachedPromptTokens ?? 0;
    totals.completionTokens += usage.completionTokens ?? 0;
  }

  #forget(): void {
    const oldest = Math.floor((this.#now() - windowMs) / bucketMs) + 1;
    for (const bucket of this.#buckets.keys()) if (bucket < oldest) this.#buckets.delete(bucket);
  }
}
