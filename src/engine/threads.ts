/**
 * Threads of Node's pool in the model process, where decoding and the drawing of tokens run.
 *
 * On the CPU one: it does a step's work in the order in which it was given, without a trip back to JavaScript in between
 * (llama-steps.ts), and more of them would only fight for the cores that decode. With a GPU decoding needs no core, and one
 * after the other would hold it up where the vocabulary is large: every sequence draws on a thread of its own, beside one
 * that decodes and one for files.
 */
export function poolThreads({ onGpu, sequences }: { onGpu: boolean; sequences: number }, cores: number): number {
  return onGpu ? Math.max(4, Math.min(sequences, cores) + 2) : 1;
}

/** In this process work for the pool is done in the order in which it is given. */
export function poolIsInOrder(): boolean {
  return process.env.UV_THREADPOOL_SIZE === "1";
}
