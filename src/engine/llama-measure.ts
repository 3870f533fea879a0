/** Speed of a loaded model on a path of the same calls an answer takes, but with its lengths fixed. */
import type { Token } from "node-llama-cpp";
import { prefillChunkTokens } from "../core/limits.ts";
import type { BatchStrategy } from "./batching.ts";
import type { BoundSequence } from "./llama-binding.ts";
import { TokenSampler } from "./llama-sampling.ts";
import type { TokenSteps } from "./llama-steps.ts";
import type { MeasuredSpeed, MeasureTask } from "./task.ts";

export interface TaskHooks {
  signal: AbortSignal;
  progress(done: number, total: number): void;
}

/** What a measurement takes up. */
export interface Measured {
  steps: TokenSteps;
  batch: BatchStrategy;
  /** Empty ones. */
  sequences: readonly BoundSequence[];
  /** What prompts are made of. */
  filler: readonly Token[];
}

/** Each sequence counts as one stream, so that they are decoded together as answers are. */
export async function measureSpeed(
  { depthTokens, decodeTokens }: MeasureTask,
  measured: Measured,
  { signal, progress }: TaskHooks,
): Promise<MeasuredSpeed> {
  const { sequences, batch } = measured;
  const total = sequences.length * (depthTokens + decodeTokens);
  let done = 0;
  const advance = (tokens: number) => {
    done += tokens;
    progress(done, total);
  };
  for (const _ of sequences) batch.enter();
  try {
    const prefillMs = await timed(() =>
      together(sequences, (one) => fill(one, depthTokens, measured, signal, advance)),
    );
    const cpuBefore = process.cpuUsage();
    const decodeMs = await timed(() =>
      together(sequences, (one) => write(one, decodeTokens, measured, signal, advance)),
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
  sequences: readonly BoundSequence[],
  work: (sequence: BoundSequence) => Promise<void>,
): Promise<void> {
  const ended = await Promise.allSettled(sequences.map(work));
  for (const end of ended) if (end.status === "rejected") throw end.reason;
}

async function fill(
  sequence: BoundSequence,
  depthTokens: number,
  { steps, filler }: Measured,
  signal: AbortSignal,
  advance: (tokens: number) => void,
): Promise<void> {
  for (let at = 0; at < depthTokens; at += prefillChunkTokens) {
    signal.throwIfAborted();
    const count = Math.min(prefillChunkTokens, depthTokens - at);
    const tokens = Array.from({ length: count }, (_, index) => filler[(at + index) % filler.length]!);
    await steps.evaluate(sequence, tokens);
    advance(count);
  }
}

/** Goes on behind tokens that would end an answer: the number is fixed, the text is nobody's. */
async function write(
  sequence: BoundSequence,
  decodeTokens: number,
  { steps, filler }: Measured,
  signal: AbortSignal,
  advance: (tokens: number) => void,
): Promise<void> {
  const sampler = new TokenSampler(sequence, { temperature: 0 });
  try {
    let token = filler[0]!;
    for (let written = 0; written < decodeTokens; written++) {
      signal.throwIfAborted();
      ({ token } = await steps.draw(sequence, [token], sampler));
      advance(1);
    }
  } finally {
    sampler.dispose();
  }
}
