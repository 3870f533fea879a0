/**
 * The loop that computes: one step after the other for all answers of a model together.
 *
 * A step is two kinds of work for Node's thread pool: decoding, then drawing one token for each answer. Where the pool has a
 * single thread it does them in the order in which they were given, so all of a step is given at once and the step costs one
 * trip to the pool instead of two. With more threads the drawing waits for the decoding and is then shared among them.
 */
import type { Token } from "node-llama-cpp";
import type { BatchItem, PlannedItem } from "./batching.ts";
import type { NativeContext, NativeSampler } from "./llama-binding.ts";

/** Where tokens go. */
export interface StepSequence {
  readonly id: number;
  readonly length: number;
  extend(tokens: readonly Token[]): void;
  keepCheckpoint(): Promise<void> | undefined;
}

export interface StepSampler {
  readonly native: NativeSampler;
  /** Also what each candidate's probability was. */
  readonly probabilities: boolean;
  /** Before each draw. */
  prepare(): void;
}

export interface DrawnToken {
  token: Token;
  /** Token, probability, token, probability, …; likeliest first. */
  probabilities?: readonly number[];
}

interface Waiting extends BatchItem {
  sequence: StepSequence;
  tokens: readonly Token[];
  sampler: StepSampler | undefined;
  resolve(drawn: DrawnToken | undefined): void;
  reject(reason: unknown): void;
}

type Planned = PlannedItem<Waiting>;

export interface StepOptions {
  context: NativeContext;
  /** Which of the waiting go into the next step; none while others are on their way. */
  plan(waiting: readonly Waiting[], size: number): Planned[];
  /** Tokens a step can have. */
  size: number;
  /** The pool has one thread. */
  inOrder: boolean;
}

const onlyToken = Uint32Array.of(0);
const noLogits = new Uint32Array(0);

export class TokenSteps {
  readonly #options: StepOptions;
  #waiting: Waiting[] = [];
  #between: (() => Promise<void>)[] = [];
  #running: Promise<void> | undefined;
  #closed = false;

  constructor(options: StepOptions) {
    this.#options = options;
  }

  /** Decodes tokens at the end of a sequence, in one step or several. */
  async evaluate(sequence: StepSequence, tokens: readonly Token[]): Promise<void> {
    await this.#queue(sequence, tokens, undefined);
  }

  /** The same, and draws the token that follows. It is not yet part of the sequence. */
  async draw(sequence: StepSequence, tokens: readonly Token[], sampler: StepSampler): Promise<DrawnToken> {
    const drawn = await this.#queue(sequence, tokens, sampler);
    if (drawn === undefined) throw new Error("a step drew no token");
    return drawn;
  }

  /** Does what needs the context for itself, before the next step. It must not wait for a step. */
  between<Result>(work: () => Promise<Result>): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#between.push(async () => {
        try {
          this.#requireOpen();
          resolve(await work());
        } catch (reason) {
          reject(reason);
        }
      });
      this.#run();
    });
  }

  /** Ends after the step under way; who still waits gets an error. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#running;
  }

  #requireOpen(): void {
    if (this.#closed) throw new Error("the model is being unloaded");
  }

  #queue(
    sequence: StepSequence,
    tokens: readonly Token[],
    sampler: StepSampler | undefined,
  ): Promise<DrawnToken | undefined> {
    return new Promise((resolve, reject) => {
      // It would wait for ever: no step is planned for nothing.
      if (tokens.length === 0) throw new Error("a step needs a token");
      this.#waiting.push({ sequence, tokens, sequenceId: sequence.id, sampler, resolve, reject });
      this.#run();
    });
  }

  #run(): void {
    // In a later turn of the microtasks: whoever comes in this one is in the first step.
    this.#running ??= Promise.resolve().then(() => this.#loop());
  }

  async #loop(): Promise<void> {
    try {
      while (this.#waiting.length > 0 || this.#between.length > 0) {
        for (const work of this.#between.splice(0)) await work();
        this.#requireOpen();
        const planned = this.#options.plan(this.#waiting, this.#options.size);
        // Those on their way are microtasks themselves.
        if (planned.length === 0) await undefined;
        else await this.#step(planned);
      }
    } catch (reason) {
      for (const { reject } of this.#waiting.splice(0)) reject(reason);
    } finally {
      this.#running = undefined;
      // Who came while the last work was done is told too.
      if (this.#between.length > 0) this.#run();
    }
  }

  /** Never throws: what fails is told to those it was for. */
  async #step(planned: readonly Planned[]): Promise<void> {
    try {
      const draws = await this.#compute(planned);
      for (const one of planned) await advance(one);
      this.#waiting = this.#waiting.filter(({ tokens }) => tokens.length > 0);
      for (const [index, { item }] of planned.entries()) if (item.tokens.length === 0) settle(item, draws[index]);
    } catch (reason) {
      const failed = new Set(planned.map(({ item }) => item));
      this.#waiting = this.#waiting.filter((item) => !failed.has(item));
      for (const { reject } of failed) reject(reason);
    }
  }

  /** @returns by planned item what was drawn, or why nothing was; undefined where nothing was to be */
  async #compute(planned: readonly Planned[]): Promise<(Draw | undefined)[]> {
    const { context, inOrder } = this.#options;
    context.initBatch(planned.reduce((sum, { processAmount }) => sum + processAmount, 0));
    const places = planned.map((one) => addToBatch(context, one));
    for (const one of planned) if (isWhole(one)) one.item.sampler?.prepare();
    const decoded = context.decodeBatch();
    if (inOrder) decoded.catch(() => {});
    else await decoded;
    const draws = planned.map(({ item: { sampler } }, index) => {
      const place = places[index];
      return sampler === undefined || place === undefined ? undefined : drawFrom(context, place, sampler);
    });
    // Nothing of this step may be at work when the next one begins: also where decoding failed, all are waited for.
    const drawn = await Promise.all(draws);
    await decoded;
    return drawn;
  }
}

type Draw = { drawn: DrawnToken } | { reason: unknown };

function isWhole({ item, processAmount }: Planned): boolean {
  return processAmount === item.tokens.length;
}

/** @returns place of its logits in the batch, where a token is to be drawn */
function addToBatch(context: NativeContext, one: Planned): number | undefined {
  const { item, processAmount } = one;
  const { sequence, tokens, sampler } = item;
  const added = Uint32Array.from(isWhole(one) ? tokens : tokens.slice(0, processAmount));
  const wanted = sampler === undefined || !isWhole(one) ? noLogits : lastOf(processAmount);
  return context.addToBatch(sequence.id, sequence.length, added, wanted)[0];
}

function lastOf(count: number): Uint32Array {
  return count === 1 ? onlyToken : Uint32Array.of(count - 1);
}

/** The computed tokens are the sequence's from now on; what is left waits for another step. */
function advance(one: Planned): Promise<void> | undefined {
  const { item, processAmount } = one;
  const { sequence, tokens } = item;
  sequence.extend(isWhole(one) ? tokens : tokens.slice(0, processAmount));
  item.tokens = tokens.slice(processAmount);
  return sequence.keepCheckpoint();
}

/** Never rejects. */
async function drawFrom(context: NativeContext, place: number, { native, probabilities }: StepSampler): Promise<Draw> {
  try {
    if (!probabilities) return { drawn: { token: known(await context.sampleToken(place, native)) } };
    const [token, pairs] = await context.sampleToken(place, native, true);
    return { drawn: { token: known(token), probabilities: pairs ?? [] } };
  } catch (reason) {
    return { reason };
  }
}

/** @throws Error when nothing could be drawn */
function known(token: number): Token {
  if (token < 0) throw new Error("no token could be drawn");
  return token as Token;
}

function settle(item: Waiting, draw: Draw | undefined): void {
  if (draw === undefined) item.resolve(undefined);
  else if ("drawn" in draw) item.resolve(draw.drawn);
  else item.reject(draw.reason);
}
