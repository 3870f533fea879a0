/** A clock that stands still until a test moves it. */
import type { Timer } from "../../src/core/ports.ts";

interface Waiting {
  dueAt: number;
  resolve: () => void;
}

export class ManualTimer implements Timer {
  #now: number;
  #waiting: Waiting[] = [];

  constructor(now = Date.UTC(2026, 0, 5, 12)) {
    this.#now = now;
  }

  now(): number {
    return this.#now;
  }

  wait(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted === true || ms <= 0) {
        resolve();
        return;
      }
      const waiting: Waiting = { dueAt: this.#now + ms, resolve };
      this.#waiting.push(waiting);
      signal?.addEventListener(
        "abort",
        () => {
          this.#waiting = this.#waiting.filter((one) => one !== waiting);
          resolve();
        },
        { once: true },
      );
    });
  }

  /** Waits that are not over. */
  get waitingCount(): number {
    return this.#waiting.length;
  }

  /** Milliseconds to the next wait that ends; undefined when nobody waits. */
  nextDueMs(): number | undefined {
    const next = Math.min(...this.#waiting.map((one) => one.dueAt));
    return Number.isFinite(next) ? Math.max(0, next - this.#now) : undefined;
  }

  advance(ms: number): void {
    const until = this.#now + ms;
    for (;;) {
      const next = this.#waiting.filter((one) => one.dueAt <= until).sort((a, b) => a.dueAt - b.dueAt)[0];
      if (next === undefined) break;
      this.#waiting = this.#waiting.filter((one) => one !== next);
      this.#now = Math.max(this.#now, next.dueAt);
      next.resolve();
    }
    this.#now = until;
  }
}
