/** The engine of a server whose model could not even be found or planned: it says why, and everything else keeps working. */
import type { AppError } from "../core/errors.ts";
import type { ChatEngine } from "../core/ports.ts";
import { unavailableBecause } from "./client-reason.ts";

export function createFailedEngine(reason: AppError): ChatEngine {
  const error = unavailableBecause(reason);
  return {
    async *chat() {
      yield { type: "error", error: error.toFacts() };
    },
    models: async () => [],
    health: async () => ({ state: "failed", reason: reason.message, active: 0, queued: 0, slots: 0 }),
  };
}
