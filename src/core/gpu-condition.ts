/** How a GPU is doing, as its driver's own tools tell it. Bytes, degrees Celsius, watts; unknown is left out. */
export interface GpuCondition {
  name: string;
  vendor: "nvidia" | "amd" | "intel" | "apple";
  driverVersion?: string;
  /** Newest CUDA the driver can run. */
  cudaVersion?: string;
  vramBytesTotal?: number;
  vramBytesFree?: number;
  /** Programs that hold memory of it, largest first. */
  holders?: GpuHolder[];
  /** Memory the processor can reach at once; all of it with Resizable BAR, usually 256 MiB without. */
  barBytes?: number;
  /** 0 to 1. */
  utilization?: number;
  temperatureCelsius?: number;
  /** Above it the card slows itself down. */
  slowdownCelsius?: number;
  powerWatts?: number;
  powerLimitWatts?: number;
  /** The manufacturer's limit. */
  powerLimitUsualWatts?: number;
  /** "P0" is fastest, "P8" idle. */
  performanceState?: string;
  /** What holds the clock down right now; being idle is none. */
  throttle?: GpuThrottle[];
}

export interface GpuHolder {
  pid: number;
  /** File name of the program, without its arguments. */
  program: string;
  bytes?: number;
}

export type GpuThrottle = "thermal" | "power_cap" | "power_brake";

/** One look at a GPU over time. */
export interface GpuSample
  extends Pick<
    GpuCondition,
    "vramBytesTotal" | "vramBytesFree" | "utilization" | "temperatureCelsius" | "powerWatts" | "throttle"
  > {
  /** Milliseconds since the epoch. */
  at: number;
  /** Place of the GPU among the machine's, from 0. */
  gpu: number;
  name: string;
}
