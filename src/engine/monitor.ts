/** Looks at the GPUs once a minute and keeps a day of it in memory. */
import type { GpuCondition, GpuSample } from "../core/gpu-condition.ts";
import { monitorEveryMs, monitorSamplesMax } from "../core/limits.ts";
import type { GpuHistory, MonitoringReport } from "../core/monitoring.ts";
import type { Clock } from "../core/ports.ts";
import type { EngineWarnings } from "./warnings.ts";

export interface MonitorOptions {
  read(): Promise<GpuCondition[]>;
  warnings: EngineWarnings;
  clock: Clock;
  everyMs?: number;
  /** Looks kept. */
  samplesMax?: number;
}

export class Monitor {
  readonly #options: MonitorOptions;
  readonly #everyMs: number;
  readonly #samplesMax: number;
  /** One entry per look, one sample per GPU in it, oldest first. */
  #looks: GpuSample[][] = [];
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;

  constructor(options: MonitorOptions) {
    this.#options = options;
    this.#everyMs = options.everyMs ?? monitorEveryMs;
    this.#samplesMax = options.samplesMax ?? monitorSamplesMax;
  }

  /** A machine where the first look finds nothing is not looked at again. */
  async start(): Promise<void> {
    await this.look();
    if (this.latest.length === 0 || this.#timer !== undefined) return;
    this.#timer = setInterval(() => void this.look(), this.#everyMs);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Never rejects, and never runs twice at once: a driver that hangs is asked once. */
  look(): Promise<void> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #look(): Promise<void> {
    const conditions = await this.#options.read().catch(() => []);
    if (conditions.length === 0) return;
    const at = this.#options.clock.now();
    const samples = conditions.map((condition, gpu) => sampleOf(condition, gpu, at));
    this.#looks.push(samples);
    if (this.#looks.length > this.#samplesMax) this.#looks.shift();
    this.#options.warnings.noteSamples(samples);
  }

  /** One per GPU; empty before the first look and where nobody tells anything. */
  get latest(): readonly GpuSample[] {
    return this.#looks.at(-1) ?? [];
  }

  report(): MonitoringReport {
    return {
      everyMs: this.#everyMs,
      gpus: this.latest.map(({ gpu }) => this.#history(gpu)),
      warnings: this.#options.warnings.current,
    };
  }

  #history(gpu: number): GpuHistory {
    const samples = this.#looks.flatMap((look) => look[gpu] ?? []);
    const last = samples.at(-1)!;
    const column = (read: (sample: GpuSample) => number | undefined) => samples.map((sample) => read(sample) ?? null);
    return {
      gpu,
      name: last.name,
      ...(last.vramBytesTotal === undefined ? {} : { vramBytesTotal: last.vramBytesTotal }),
      at: samples.map(({ at }) => at),
      vramBytesUsed: column(usedBytes),
      utilization: column(({ utilization }) => utilization),
      temperatureCelsius: column(({ temperatureCelsius }) => temperatureCelsius),
      powerWatts: column(({ powerWatts }) => powerWatts),
      throttle: [...(last.throttle ?? [])],
    };
  }
}

function sampleOf(condition: GpuCondition, gpu: number, at: number): GpuSample {
  const { name, vramBytesTotal, vramBytesFree, utilization, temperatureCelsius, powerWatts, throttle } = condition;
  return {
    at,
    gpu,
    name,
    ...(vramBytesTotal === undefined ? {} : { vramBytesTotal }),
    ...(vramBytesFree === undefined ? {} : { vramBytesFree }),
    ...(utilization === undefined ? {} : { utilization }),
    ...(temperatureCelsius === undefined ? {} : { temperatureCelsius }),
    ...(powerWatts === undefined ? {} : { powerWatts }),
    ...(throttle === undefined ? {} : { throttle }),
  };
}

export function usedBytes({ vramBytesTotal, vramBytesFree }: GpuSample): number | undefined {
  return vramBytesTotal === undefined || vramBytesFree === undefined ? undefined : vramBytesTotal - vramBytesFree;
}
