/** GET /health: 200 as long as the API itself answers; what stands behind it is told in the body. */
import { toAppError } from "../core/errors.ts";
import type { ChatEngine, EngineHealth, UsageStore } from "../core/ports.ts";

export interface HealthReport {
  /** "degraded" when the engine does not answer or the ledger cannot be read. */
  status: "ok" | "degraded";
  version: string;
  engine: EngineHealth;
  store: { state: "ready" } | { state: "failed"; reason: string };
}

export async function readHealth(engine: ChatEngine, store: UsageStore, version: string): Promise<HealthReport> {
  const [engineHealth, storeHealth] = await Promise.all([readEngine(engine), readStore(store)]);
  const ok = engineHealth.state === "ready" && storeHealth.state === "ready";
  return { status: ok ? "ok" : "degraded", version, engine: engineHealth, store: storeHealth };
}

async function readEngine(engine: ChatEngine): Promise<EngineHealth> {
  try {
    // The machine's memory is for administrators; this is open to everybody.
    const { devices: _, ...health } = await engine.health();
    return health;
  } catch (thrown) {
    return { state: "failed", reason: toAppError(thrown).message, active: 0, queued: 0, slots: 0 };
  }
}

async function readStore(store: UsageStore): Promise<HealthReport["store"]> {
  try {
    await store.check();
    return { state: "ready" };
  } catch (thrown) {
    return { state: "failed", reason: toAppError(thrown).message };
  }
}
