/** Which models must go so that another one fits: the planner is asked with the memory they would give back. */
import type { HardwareReading } from "../core/ports.ts";
import type { FitPlan } from "../fit/types.ts";

/** What one loaded model holds. */
export interface Holding {
  /** GPUs in the order of the reading. */
  plan: FitPlan;
  hostBytes: number;
}

/** The machine as it would be without these models. */
export function withFreed(reading: HardwareReading, holdings: readonly Holding[]): HardwareReading {
  const freedOf = (index: number) =>
    holdings.reduce((sum, { plan }) => {
      const gpus = plan.devices.filter((device) => device.kind === "gpu");
      return sum + (gpus[index]?.totalBytes ?? 0);
    }, 0);
  const host = holdings.reduce((sum, holding) => sum + holding.hostBytes, 0);
  return {
    ...reading,
    ramBytesFree: Math.min(reading.ramBytesTotal, reading.ramBytesFree + host),
    gpus: reading.gpus.map((gpu, index) =>
      gpu.vramBytesFree === undefined
        ? gpu
        : { ...gpu, vramBytesFree: Math.min(gpu.vramBytesTotal, gpu.vramBytesFree + freedOf(index)) },
    ),
  };
}

/** Sets of more models than this are not tried one by one: only growing ones, in order. */
const exhaustiveMax = 6;

/**
 * The first set that `suffices`, smallest first, and of one size the one whose members come earliest in `items`. Undefined
 * when even all together do not.
 *
 * @param items the one to give up first, first
 */
export async function cheapestSet<T, Result>(
  items: readonly T[],
  suffices: (set: T[]) => Promise<Result | undefined>,
): Promise<{ set: T[]; result: Result } | undefined> {
  for (let size = 0; size <= items.length; size++) {
    const sets = items.length <= exhaustiveMax ? choose(items, size) : [items.slice(0, size)];
    for (const set of sets) {
      const result = await suffices(set);
      if (result !== undefined) return { set, result };
    }
  }
  return undefined;
}

function choose<T>(items: readonly T[], size: number): T[][] {
  if (size === 0) return [[]];
  return items.flatMap((first, index) => choose(items.slice(index + 1), size - 1).map((rest) => [first, ...rest]));
}
