/** Warnings of engines' machines for administrators, each told once. */
import type { Locale } from "../core/errors.ts";
import type { Clock, EventClaims, Logger, UsageSource } from "../core/ports.ts";

export interface BotWarning {
  engine: string;
  id: string;
  /** Milliseconds since the epoch. */
  since: number;
  text: Record<Locale, string>;
}

/** Those nobody was told of yet on this platform; from now on they are told. Never rejects. */
export type WarningTeller = () => Promise<BotWarning[]>;

export interface WarningTellerOptions {
  source: UsageSource;
  read(): Promise<BotWarning[]>;
  /** Remembered over a restart. */
  claims: EventClaims;
  clock: Clock;
  logger: Logger;
}

const dayMs = 86_400_000;

export function createWarningTeller({ source, read, claims, clock, logger }: WarningTellerOptions): WarningTeller {
  return async () => {
    try {
      const untold: BotWarning[] = [];
      for (const warning of await read()) {
        // An engine that restarts begins to count anew; on the same day it is the same matter.
        const day = Math.floor(warning.since / dayMs);
        const key = `warning ${warning.engine} ${warning.id} ${day}`;
        if (await claims.claim(source, [key], clock.now())) untold.push(warning);
      }
      return untold;
    } catch (thrown) {
      logger.warn("warnings could not be read", { error: String(thrown) });
      return [];
    }
  };
}
