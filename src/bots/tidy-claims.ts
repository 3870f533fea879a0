/** Claims that are forgotten in time, however long the program runs. */
import { claimsKeptMs } from "../core/limits.ts";
import type { Clock, EventClaims, Logger } from "../core/ports.ts";

const tidyEveryMs = 24 * 3_600_000;

/** Forgets what is old with the first claim of a day. */
export function tidyClaims(claims: EventClaims, clock: Clock, logger: Logger): EventClaims {
  let tidiedAt = Number.NEGATIVE_INFINITY;
  const tidy = (now: number) => {
    if (now - tidiedAt < tidyEveryMs) return;
    tidiedAt = now;
    claims.forgetClaims(now - claimsKeptMs).catch((thrown) => {
      logger.warn("old claims could not be forgotten", { error: String(thrown) });
    });
  };
  return {
    claim: async (source, keys, at) => {
      tidy(clock.now());
      return await claims.claim(source, keys, at);
    },
    isClaimed: (source, key) => claims.isClaimed(source, key),
    forgetClaims: (before) => claims.forgetClaims(before),
  };
}
