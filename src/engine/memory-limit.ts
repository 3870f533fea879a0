/** What a load may take, held against what it took. */
import { AppError } from "../core/errors.ts";
import { formatBytes } from "../core/units.ts";
import type { LoadSettings, MeasuredMemory } from "./ipc.ts";

/** @throws AppError engine_out_of_memory when more was allocated than `memoryLimit` allows */
export function requireWithinLimit(memory: MeasuredMemory | undefined, limit: LoadSettings["memoryLimit"]): void {
  if (memory === undefined || limit === undefined) return;
  for (const [key, where] of [
    ["gpuBytes", "VRAM"],
    ["hostBytes", "main memory"],
  ] as const) {
    const taken = memory.model[key] + memory.context[key];
    if (taken <= (limit[key] ?? Number.POSITIVE_INFINITY)) continue;
    const message = `The model took ${formatBytes(taken)} of ${where}; the limit is ${formatBytes(limit[key] ?? 0)}.`;
    throw new AppError("engine_out_of_memory", message, { details: { takenBytes: taken, limitBytes: limit[key] } });
  }
}
