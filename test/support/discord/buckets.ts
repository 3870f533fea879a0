/** Rate limits as Discord keeps them: a bucket per route and major parameter, announced in headers, enforced with 429. */
import type { Clock } from "../../../src/core/ports.ts";

export interface BucketRule {
  /** Requests in a window. */
  limit: number;
  windowMs: number;
}

interface Bucket {
  count: number;
  resetAt: number;
}

export interface BucketVerdict {
  headers: Record<string, string>;
  /** Seconds to wait; absent when the request may pass. */
  retryAfter?: number;
}

export class Buckets {
  readonly #clock: Clock;
  readonly #buckets = new Map<string, Bucket>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  take(key: string, { limit, windowMs }: BucketRule): BucketVerdict {
    const now = this.#clock.now();
    let bucket = this.#buckets.get(key);
    if (bucket === undefined || now >= bucket.resetAt) {
      bucket = { count: 0, resetAt: now + windowMs };
      this.#buckets.set(key, bucket);
    }
    const resetAfter = (bucket.resetAt - now) / 1000;
    const passes = bucket.count < limit;
    if (passes) bucket.count++;
    const headers = {
      "x-ratelimit-limit": String(limit),
      "x-ratelimit-remaining": String(Math.max(0, limit - bucket.count)),
      "x-ratelimit-reset": String(bucket.resetAt / 1000),
      "x-ratelimit-reset-after": String(resetAfter),
      "x-ratelimit-bucket": Buffer.from(key).toString("hex").slice(0, 32),
    };
    return passes ? { headers } : { headers, retryAfter: resetAfter };
  }
}
