/** What operators ask of an engine, carried out: the same behind its own routes and behind an API in front of it. */
import { drainMsMax } from "../core/limits.ts";
import type { ChatEngine, EngineOperation } from "../core/ports.ts";
import type { LoadForecast } from "./registry.ts";
import type { ModelStatus } from "./registry-entry.ts";
import { reportEngine } from "./status.ts";

/** The part of the registry that operators drive. */
export interface EngineControl extends ChatEngine {
  readonly draining: boolean;
  status(): ModelStatus[];
  plan(name: string): Promise<LoadForecast>;
  load(name: string, options: { pinned?: boolean }): Promise<ModelStatus>;
  unload(name: string, options: { drainMs?: number }): Promise<void>;
  setDraining(draining: boolean): void;
}

/** @throws AppError model_not_found, model_does_not_fit and what loading throws */
export async function carryOut(control: EngineControl, operation: EngineOperation): Promise<Record<string, unknown>> {
  switch (operation.verb) {
    case "status":
      return { ...reportEngine(await control.health(), control.draining, control.status()) };
    case "plan":
      return { ...(await control.plan(operation.model)) };
    case "load": {
      const { model, pinned } = operation;
      const loaded = await control.load(model, pinned === undefined ? {} : { pinned });
      return { ...reportEngine(await control.health(), control.draining, [loaded]).models[0] };
    }
    case "unload": {
      const { model, drainMs = drainMsMax } = operation;
      await control.unload(model, { drainMs });
      return { model, unloaded: true };
    }
    case "drain": {
      const { draining } = operation;
      control.setDraining(draining);
      const { active, queued } = await control.health();
      return { draining, active, queued };
    }
  }
}
