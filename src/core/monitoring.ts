/** What an engine tells of its machine over time, for charts and for warnings in chat. */
import type { Locale } from "./errors.ts";
import type { GpuThrottle } from "./gpu-condition.ts";

export interface MonitoringReport {
  /** Milliseconds between two looks. */
  everyMs: number;
  /** In the order of the machine's; empty where nobody tells anything. */
  gpus: GpuHistory[];
  /** What is going on now; gone when it is over. */
  warnings: EngineWarning[];
}

/** Columns of the same length, oldest first; null where a look told nothing. */
export interface GpuHistory {
  gpu: number;
  name: string;
  vramBytesTotal?: number;
  /** Milliseconds since the epoch. */
  at: number[];
  vramBytesUsed: (number | null)[];
  /** 0 to 1. */
  utilization: (number | null)[];
  temperatureCelsius: (number | null)[];
  powerWatts: (number | null)[];
  /** What held the clock down at the last look. */
  throttle: GpuThrottle[];
}

export interface EngineWarning {
  /** The same for as long as it is about the same thing. */
  id: string;
  kind: "spill_suspected" | "thermal_throttle";
  /** Milliseconds since the epoch. */
  since: number;
  /** One sentence with what to do. */
  text: Record<Locale, string>;
}
