/** What a registry is made of, and what it says of a model that is not loaded. */
import {
  loadFailureRestMs,
  preparationToldAfterMs,
  preparationToldEveryMs,
  swapDrainMsMax,
  swapWaitMsMax,
} from "../core/limits.ts";
import type { Clock, HardwareReading, Logger } from "../core/ports.ts";
import type { FitPlan } from "../fit/types.ts";
import type { CompareDesk } from "./compare/desk.ts";
import type { MachineDesk } from "./machine-desk.ts";
import type { MemoryView } from "./memory-view.ts";
import type { PlannedEngine } from "./planned-engine.ts";
import type { DownloadProgress, PulledModel, RemoteModel } from "./store.ts";

export interface RegistryModel {
  /** As in the settings: a name, a path, a reference, or undefined for the demo model. */
  wanted: string | undefined;
  /** Stays loaded whatever happens, and is loaded at the start. */
  pinned?: boolean;
}

export interface RegistryOptions {
  models: readonly RegistryModel[];
  /** Finds the file, downloads it if need be. */
  resolve(wanted: string | undefined, options: ResolveOptions): Promise<PulledModel>;
  /** What is on this disk under that name, undefined when it would have to be fetched. */
  lookUp(wanted: string | undefined): Promise<PulledModel | undefined>;
  /** What is known of a model that would have to be fetched; left out where only files on this disk are looked into. */
  preview?(wanted: string | undefined, options: { signal: AbortSignal }): Promise<PulledModel | RemoteModel>;
  /** The plan of such a model for the machine as the reading has it. Throws AppError model_does_not_fit. */
  planRemote?(model: RemoteModel, reading: HardwareReading): Promise<FitPlan>;
  /** Measured by downloads of this process; undefined before the first. */
  downloadBytesPerSecond?(): number | undefined;
  /** Plans a model for the machine as the reading has it. Throws AppError model_does_not_fit. */
  open(model: PulledModel, reading: HardwareReading): Promise<PlannedEngine>;
  /** Models measured on this machine at several precisions. */
  comparisons?: CompareDesk;
  /** What is known of the machine it runs on. */
  machine?: MachineDesk;
  /** The machine as it is now. */
  read(): Promise<HardwareReading>;
  /** Its memory for those who look; without it health tells none. */
  memoryView?: MemoryView;
  clock: Clock;
  logger: Logger;
  /** Idle time after which a model that is not pinned is sent out; undefined keeps it. */
  keepAliveMs?: number;
  /** Tests shorten them. */
  times?: Partial<RegistryTimes>;
}

export interface ResolveOptions {
  signal: AbortSignal;
  onProgress(progress: DownloadProgress): void;
}

export interface RegistryTimes {
  /** Longest wait of a request for a busy model to become idle before it is sent out; requests for it are grouped. */
  swapWaitMsMax: number;
  /** Running answers of a model on its way out may go on this long. */
  swapDrainMsMax: number;
  /** A load that failed is not tried again for a request within this time. */
  loadFailureRestMs: number;
  /** When a request that waits for its model is first told so, and how often there may be news. */
  preparationToldAfterMs: number;
  preparationToldEveryMs: number;
}

/** The answer to "will it fit now". */
export interface LoadForecast {
  model: string;
  loaded: boolean;
  fits: boolean;
  /** Models that would be sent out for it. */
  evicts: string[];
  /** Milliseconds until it would answer, as far as can be told; busy models may take longer to leave. */
  estimatedWarmMs?: number;
  /** Its file, or a part of it, would have to be fetched first. */
  downloadNeeded: boolean;
  /** Of that, as far as its server says. */
  download?: DownloadForecast;
  /** Why it does not fit. */
  reason?: string;
  plan?: FitPlan;
}

export interface DownloadForecast {
  fileBytes: number;
  /** Still to come. */
  bytesMissing: number;
  /** On the disk of the models. */
  diskBytesFree: number;
  /** At the rate of the last download; left out while none was measured. */
  estimatedMs?: number;
}

export const registryTimesDefault: RegistryTimes = {
  swapWaitMsMax,
  swapDrainMsMax,
  loadFailureRestMs,
  preparationToldAfterMs,
  preparationToldEveryMs,
};
