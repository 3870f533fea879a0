/** What the ledger needs now and then: whole days added up, and rows forgotten that are older than wanted. */
import type { Clock, Logger, UsageStore } from "../core/ports.ts";

const dayMs = 86_400_000;

/** @param keepDays rows older than this are deleted; undefined keeps them for good */
export async function tidyLedger(
  store: UsageStore,
  keepDays: number | undefined,
  { clock, logger, signal }: { clock: Clock; logger: Logger; signal?: AbortSignal },
): Promise<void> {
  try {
    const days = await store.rollUp(clock.now(), signal);
    const rows = keepDays === undefined ? 0 : await store.forget(clock.now() - keepDays * dayMs, signal);
    if (days > 0 || rows > 0) logger.info("Tidied the usage ledger.", { daysAddedUp: days, rowsDeleted: rows });
  } catch (cause) {
    logger.error("The usage ledger could not be tidied; it will be tried again.", { cause });
  }
}
