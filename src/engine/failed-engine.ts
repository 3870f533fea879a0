/** The engine of a server whose model could not even be found or planned: it says why, and everything else keeps working. */
import { AppError } from "../core/errors.ts";
import type { ChatEngine } from "../core/ports.ts";

export function createFailedEngine(reason: AppError): ChatEngine {
  const error = new AppError("engine_unavailable", `No model is loaded: ${reason.message}`, {
    details: { reason: reason.code },
  });
  return {
    async *chat() {
      yield { type: "error", error: error.toFacts() };
    },
    models: async () => [],
    health: async () => ({ state: "failed", reason: reason.message, active: 0, queued: 0, slots: 0 }),
  };
}
