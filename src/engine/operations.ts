/** What operators ask of an engine, carried out: the same behind its own routes and behind an API in front of it. */
import { AppError } from "../core/errors.ts";
import { drainMsMax } from "../core/limits.ts";
import type { ChatEngine, EngineOperation } from "../core/ports.ts";
import { parseCompareRequest } from "../fit/compare-report.ts";
import type { CompareDesk } from "./compare/desk.ts";
import type { MachineDesk } from "./machine-desk.ts";
import type { ModelStatus } from "./registry-entry.ts";
import type { LoadForecast } from "./registry-options.ts";
import { reportEngine } from "./status.ts";
import { isPlainName } from "./store-names.ts";

/** The part of the registry that operators drive. */
export interface EngineControl extends ChatEngine {
  readonly draining: boolean;
  /** Absent where nothing can be measured. */
  readonly comparisons?: CompareDesk | undefined;
  /** Absent where nobody looks at the machine. */
  readonly machine?: MachineDesk | undefined;
  status(): ModelStatus[];
  plan(name: string, options?: { anyPlace?: boolean }): Promise<LoadForecast>;
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
    case "compare": {
      const request = parseCompareRequest(operation.request);
      requireModelName(request.model);
      return { ...(await comparisonsOf(control).start(request)) };
    }
    case "comparison":
      return { ...comparisonsOf(control).get(operation.id) };
    case "cancel_comparison":
      return { ...(await comparisonsOf(control).cancel(operation.id)) };
    case "doctor":
      return { ...(await machineOf(control).doctor(operation.locale)) };
    case "monitoring":
      return { ...machineOf(control).monitoring() };
  }
}

function machineOf({ machine }: EngineControl): MachineDesk {
  if (machine !== undefined) return machine;
  throw new AppError("not_found", "This engine does not look at its machine.");
}

function comparisonsOf({ comparisons }: EngineControl): CompareDesk {
  if (comparisons !== undefined) return comparisons;
  throw new AppError("not_found", "This engine makes no comparisons.");
}

/** Over the network models are named: paths and addresses would let the caller look into this machine and its network. */
function requireModelName(model: string): void {
  if (isPlainName(model)) return;
  throw new AppError(
    "invalid_request",
    "model must be the name of a model on the engine's machine, or hf:owner/repo.",
    {
      param: "model",
    },
  );
}
