/** How many threads of a CPU pay for a model: what the engine loads with, and what its speed is predicted by. */
import { MIB } from "../core/units.ts";

/** Work for one thread; measured: 10 and 4 million parameters run fastest on one, 440 million gain from a second. */
const weightBytesPerThread = 64 * MIB;

/**
 * Threads wait for each other many times per token by spinning, so one more than there are free cores makes all of them
 * slow (llama.cpp's default of 4 on 2 cores: 100 times), and a small model is fastest on one.
 *
 * @param cores that do mathematics and may be used
 * @param weightBytes of the model
 */
export function usefulThreads(cores: number, weightBytes: number, threadsMax = Number.POSITIVE_INFINITY): number {
  return Math.max(1, Math.min(cores, threadsMax, Math.ceil(weightBytes / weightBytesPerThread)));
}
