/** How often people and channels may ask, counted over a sliding window. */

export interface PaceRules {
  questionsPerUserMax: number;
  questionsPerChannelMax: number;
  windowMs: number;
  /** Answers of one user at the same time. */
  answersPerUserMax: number;
}

export const DEFAULT_PACE: PaceRules = {
  questionsPerUserMax: 10,
  questionsPerChannelMax: 30,
  windowMs: 60_000,
  answersPerUserMax: 2,
};

export type PaceVerdict =
  | { allowed: true }
  | { allowed: false; scope: "user" | "channel"; retryAfterMs: number }
  | { allowed: false; scope: "running"; running: number };

/** Keeps times only; a user or channel that was silent for a window takes no memory. */
export class Pace {
  readonly #rules: PaceRules;
  readonly #asked = new Map<string, number[]>();
  readonly #running = new Map<string, number>();

  constructor(rules: PaceRules) {
    this.#rules = rules;
  }

  /** Counts the question when it is allowed. */
  admit(userId: string, channelId: string, now: number): PaceVerdict {
    const running = this.#running.get(userId) ?? 0;
    if (running >= this.#rules.answersPerUserMax) return { allowed: false, scope: "running", running };
    this.#dropOld(now);
    const scopes = [
      { scope: "user", key: `user ${userId}`, countMax: this.#rules.questionsPerUserMax },
      { scope: "channel", key: `channel ${channelId}`, countMax: this.#rules.questionsPerChannelMax },
    ] as const;
    for (const { scope, key, countMax } of scopes) {
      const times = this.#asked.get(key) ?? [];
      if (times.length < countMax) continue;
      return { allowed: false, scope, retryAfterMs: times.at(-countMax)! + this.#rules.windowMs - now };
    }
    for (const { key } of scopes) this.#asked.set(key, [...(this.#asked.get(key) ?? []), now]);
    return { allowed: true };
  }

  begin(userId: string): void {
    this.#running.set(userId, (this.#running.get(userId) ?? 0) + 1);
  }

  end(userId: string): void {
    const running = (this.#running.get(userId) ?? 1) - 1;
    if (running <= 0) this.#running.delete(userId);
    else this.#running.set(userId, running);
  }

  #dropOld(now: number): void {
    const since = now - this.#rules.windowMs;
    for (const [key, times] of this.#asked) {
      const kept = times.filter((time) => time > since);
      if (kept.length === 0) this.#asked.delete(key);
      else if (kept.length < times.length) this.#asked.set(key, kept);
    }
  }
}
