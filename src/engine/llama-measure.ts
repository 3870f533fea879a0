/** Speed of a loaded model on a path of the same calls an answer takes, but with its lengths fixed. */
import type { LlamaContextSequence, Token } from "node-llama-cpp";
import { prefillChunkTokens } from "../core/limits.ts";
import type { BatchStrategy } from "./batching.ts";
import { placeOf, type SequencePlace } from "./llama-load.ts";
import type { MeasuredSpeed, MeasureTask } from "./task.ts";

export interface TaskHooks {
  signal: AbortSignal;
  progress(done: number, total: number): void;
}

/** Each sequence counts as one stream, so that they are decoded together as answers are. */
export async function measureSpeed(
  { depthTokens, decodeTokens }: MeasureTask,
  sequences: readonly LlamaContextSequence[],
  filler: readonly Token[],
  batch: BatchStrategy,
  { signal, progress }: TaskHooks,
): Promise<MeasuredSpeed> {
  const total = sequences.length * (depthTokens + decodeTokens);
  let done = 0;
  const advance = (tokens: number) => {
    done += tokens;
    progress(done, total);
  };
  for (const _ of sequences) batch.enter();
  try {
    const prefillMs = await timed(() =>
      together(sequences, (one, index) => fill(one, placeOf(index), depthTokens, filler, signal, advance)),
    );
    const cpuBefore = process.cpuUsage();
    const decodeMs = await timed(() =>
      together(sequences, (one, index) => write(one, placeOf(index), decodeTokens, filler, signal, advance)),
    );
    const cpu = process.cpuUsage(cpuBefore);
    return {
      depthTokens,
      sequenceCount: sequences.length,
      prefillTokens: depthTokens * sequences.length,
      prefillMs,
      decodeTokens: decodeTokens * sequences.length,
      decodeMs,
      decodeCpuMs: (cpu.user + cpu.system) / 1000,
    };
  } finally {
    for (const _ of sequences) batch.leave();
  }
}

async function timed(work: () => Promise<void>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return performance.now() - startedAt;
}

/** Waits for all, also when one fails: none may go on after the others' caches are cleared. */
async function together(
  sequences: readonly LlamaContextSequence[],
  work: (sequence: LlamaContextSequence, index: number) => Promise<void>,
): Promise<void> {
  const ended = await Promise.allSettled(sequences.map(work));
  for (const end of ended) if (end.status === "rejected") throw end.reason;
}

async function fill(
  sequence: LlamaContextSequence,
  place: SequencePlace,
  depthTokens: number,
  filler: readonly Token[],
  signal: AbortSignal,
  advance: (tokens: number) => void,
): Promise<void> {
  for (let at = 0; at < depthTokens; at += prefillChunkTokens) {
    signal.throwIfAborted();
    const count = Math.min(prefillChunkTokens, depthTokens - at);
    const tokens = Array.from({ length: count }, (_, index) => filler[(at + index) % filler.length]!);
    await sequence.evaluateWithoutGeneratingNewTokens(tokens, place);
    advance(count);
  }
}

/** An answer that ends is begun again until all tokens are written: the number is fixed, the text is nobody's. */
async function write(
  sequence: LlamaContextSequence,
  place: SequencePlace,
  decodeTokens: number,
  filler: readonly Token[],
  signal: AbortSignal,
  advance: (tokens: number) => void,
): Promise<void> {
  for (let written = 0; written < decodeTokens; ) {
    const start = filler[written % filler.length]!;
    for await (const _ of sequence.evaluate([start], { ...place, temperature: 0, yieldEogToken: true })) {
      signal.throwIfAborted();
      advance(1);
      if (++written >= decodeTokens) return;
    }
  }
}
