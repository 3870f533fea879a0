/**
 * Answers that somebody else gave in this process's stead, for its counters. Their bytes passed unread, so what they were
 * is read from the ledger, and only when somebody asks for the counters.
 */
import { handedOverMax } from "../core/limits.ts";
import type { UsageAdmission, UsageRow, UsageStore } from "../core/ports.ts";

export interface HandedOver {
  /** Its body has ended. Beyond a bound the oldest are forgotten, uncounted. */
  note(admission: UsageAdmission): void;
  /** Rows completed since the last call, each once. Never rejects: those that cannot be read now stay. */
  take(): Promise<UsageRow[]>;
}

export function createHandedOver(store: Pick<UsageStore, "rowsOf">): HandedOver {
  const open = new Set<string>();
  return {
    note({ id }) {
      open.add(id);
      if (open.size > handedOverMax) open.delete(open.values().next().value!);
    },
    async take() {
      if (open.size === 0) return [];
      const rows = await store.rowsOf([...open]).catch(() => []);
      // Two askers at once must not count a row twice.
      return rows.filter((row) => row.settled && open.delete(row.id));
    },
  };
}
