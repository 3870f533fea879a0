/** Claimed events in memory; keeps the same contract as the stored form. */
import type { EventClaims } from "../../src/core/ports.ts";

export class MemoryEventClaims implements EventClaims {
  readonly #claims = new Map<string, number>();

  async claim(source: string, keys: readonly string[], at: number): Promise<boolean> {
    if (keys.some((key) => this.#claims.has(`${source} ${key}`))) return false;
    for (const key of keys) this.#claims.set(`${source} ${key}`, at);
    return true;
  }

  async isClaimed(source: string, key: string): Promise<boolean> {
    return this.#claims.has(`${source} ${key}`);
  }

  async forgetClaims(before: number): Promise<void> {
    for (const [key, at] of this.#claims) if (at < before) this.#claims.delete(key);
  }
}
