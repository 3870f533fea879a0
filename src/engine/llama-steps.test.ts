/** Order and failures of steps, over a context that computes nothing; that it computes right is for local-engine.test.ts. */
import type { Token } from "node-llama-cpp";
import { describe, expect, test } from "vitest";
import { BatchStrategy } from "./batching.ts";
import type { NativeContext, NativeSampler } from "./llama-binding.ts";
import { type StepSampler, type StepSequence, TokenSteps } from "./llama-steps.ts";

type Work = { name: string; done(): void; fail(reason: Error): void };

/** Decodes and draws when told to; a drawn token is 100 more than its place in the batch. */
class HandContext implements NativeContext {
  /** Under way, in the order in which it was given. */
  readonly work: Work[] = [];
  readonly steps: string[] = [];
  #size = 0;

  initBatch(tokens: number): void {
    if (this.work.length > 0) throw new Error("a batch was begun while another is computed");
    this.#size = 0;
    this.steps.push(`${tokens}:`);
  }

  addToBatch(sequence: number, first: number, tokens: Uint32Array, withLogits: Uint32Array): Uint32Array {
    const before = this.#size;
    this.#size += tokens.length;
    this.steps.push(`${this.steps.pop()} ${sequence}@${first}[${tokens.join()}]`);
    return withLogits.map((index) => before + index);
  }

  decodeBatch(): Promise<void> {
    return this.#begin("decode", undefined);
  }

  sampleToken(place: number, sampler: NativeSampler): Promise<number>;
  sampleToken(place: number, sampler: NativeSampler, all: true): Promise<[number, number[]?]>;
  sampleToken(place: number, _: NativeSampler, all?: true): Promise<number> | Promise<[number, number[]?]> {
    const token = place + 100;
    if (all === undefined) return this.#begin(`draw ${place}`, token);
    return this.#begin<[number, number[]?]>(`draw ${place}`, [token, [token, 0.75, 7, 0.25]]);
  }

  #begin<Result>(name: string, result: Result): Promise<Result> {
    return new Promise((resolve, reject) => {
      const over = () => void this.work.splice(this.work.indexOf(work), 1);
      const work = {
        name,
        done: () => [over(), resolve(result)],
        fail: (reason: Error) => [over(), reject(reason)],
      };
      this.work.push(work);
    });
  }

  get names(): string[] {
    return this.work.map(({ name }) => name);
  }

  /** Does what is under way and what follows from it, until nothing more comes. */
  async finish(): Promise<void> {
    for (let turn = 0; turn < 100; turn++) {
      await settled();
      if (this.work.length === 0) return;
      this.work[0]!.done();
    }
    throw new Error("the steps never end");
  }
}

const settled = () => new Promise(setImmediate);
const tokens = (...ids: number[]) => ids as Token[];

class HandSequence implements StepSequence {
  readonly held: Token[] = [];
  checkpoint: Promise<void> | undefined;
  readonly id: number;

  constructor(id: number) {
    this.id = id;
  }

  get length(): number {
    return this.held.length;
  }

  extend(more: readonly Token[]): void {
    this.held.push(...more);
  }

  keepCheckpoint(): Promise<void> | undefined {
    return this.checkpoint;
  }
}

const sampler = (more: Partial<StepSampler> = {}): StepSampler => ({
  native: { applyConfig() {}, dispose() {} },
  probabilities: false,
  prepare() {},
  ...more,
});

function stage({ inOrder = true, size = 512, active = 0 } = {}) {
  const context = new HandContext();
  const batch = new BatchStrategy({ tokens: 128 });
  for (let one = 0; one < active; one++) batch.enter();
  const steps = new TokenSteps({ context, plan: (waiting, room) => batch.plan(waiting, room), size, inOrder });
  return { context, batch, steps, first: new HandSequence(0), second: new HandSequence(1) };
}

describe("a step", () => {
  test("is given whole to a pool of one thread, and one after the other to more", async () => {
    const one = stage();
    const drawn = one.steps.draw(one.first, tokens(5, 6), sampler());
    await settled();
    expect(one.context.names).toEqual(["decode", "draw 1"]);
    await one.context.finish();
    expect(await drawn).toEqual({ token: 101 });

    const many = stage({ inOrder: false });
    const later = many.steps.draw(many.first, tokens(5, 6), sampler());
    await settled();
    expect(many.context.names).toEqual(["decode"]);
    await many.context.finish();
    expect(await later).toEqual({ token: 101 });
  });

  test("holds what all ask for, in the order of their sequences, and each gets its own token", async () => {
    const { context, steps, first, second } = stage({ active: 2 });
    const drawn = [steps.draw(second, tokens(8), sampler()), steps.draw(first, tokens(9), sampler())];
    await context.finish();
    expect(context.steps).toEqual(["2: 0@0[9] 1@0[8]"]);
    expect(await Promise.all(drawn)).toEqual([{ token: 101 }, { token: 100 }]);
  });

  test("waits for an answer that is on its way", async () => {
    const { context, steps, first, second } = stage({ active: 2 });
    const early = steps.draw(first, tokens(1), sampler());
    const late = Promise.resolve().then(() => steps.draw(second, tokens(2), sampler()));
    await context.finish();
    await Promise.all([early, late]);
    expect(context.steps).toEqual(["2: 0@0[1] 1@0[2]"]);
  });

  test("takes of a long prompt what fits; the rest follows behind it, and only the last token is drawn after", async () => {
    const { context, steps, first } = stage({ size: 64, active: 1 });
    const prompt = Array.from({ length: 192 }, (_, at) => at as Token);
    const drawn = steps.draw(first, prompt, sampler());
    await context.finish();
    expect(await drawn).toEqual({ token: 163 });
    expect(context.steps.map((step) => step.split("[")[0])).toEqual(["64: 0@0", "64: 0@64", "64: 0@128"]);
    expect(first.held).toEqual(prompt);
  });

  test("tells the candidates' probabilities to whom they matter", async () => {
    const { context, steps, first } = stage();
    const drawn = steps.draw(first, tokens(5), sampler({ probabilities: true }));
    await context.finish();
    expect(await drawn).toEqual({ token: 100, probabilities: [100, 0.75, 7, 0.25] });
  });

  test("makes the next one wait for a checkpoint", async () => {
    const { context, steps, first } = stage();
    let keep = () => {};
    first.checkpoint = new Promise((resolve) => (keep = resolve));
    const read = steps.evaluate(first, tokens(5));
    await context.finish();
    void steps.evaluate(first, tokens(6));
    await settled();
    expect(context.steps).toHaveLength(1);
    keep();
    await read;
    await context.finish();
    expect(context.steps).toHaveLength(2);
  });
});

describe("what fails", () => {
  test.each([true, false])("to decode fails for all of its step and nobody else (in order: %s)", async (inOrder) => {
    const { context, steps, first, second } = stage({ inOrder, active: 2 });
    const both = [steps.draw(first, tokens(1), sampler()), steps.draw(second, tokens(2), sampler())];
    const told = Promise.allSettled(both);
    await settled();
    context.work[0]!.fail(new Error("Eval has failed"));
    await context.finish();
    expect((await told).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    expect(first.held).toEqual([]);
    const next = steps.evaluate(first, tokens(3));
    await context.finish();
    await next;
    expect(first.held).toEqual([3]);
  });

  test("to be drawn fails for that answer alone, after the step is over", async () => {
    const { context, steps, first, second } = stage({ active: 2 });
    const bad = steps.draw(first, tokens(1), sampler());
    const good = steps.draw(second, tokens(2), sampler());
    await settled();
    context.work.find(({ name }) => name === "draw 0")!.fail(new Error("the grammar has no way on"));
    await Promise.all([expect(bad).rejects.toThrow("no way on"), context.finish()]);
    expect(await good).toEqual({ token: 101 });
  });

  test("for having no token fails at once: no step would ever be planned for it", async () => {
    const { context, steps, first } = stage();
    await expect(steps.draw(first, tokens(), sampler())).rejects.toThrow("needs a token");
    const next = steps.evaluate(first, tokens(2));
    await context.finish();
    await next;
  });

  test("before it is computed leaves nothing waiting", async () => {
    const { context, steps, first } = stage();
    const refused = sampler({
      prepare() {
        throw new Error("no such setting");
      },
    });
    await expect(steps.draw(first, tokens(1), refused)).rejects.toThrow("no such setting");
    const next = steps.evaluate(first, tokens(2));
    await context.finish();
    await next;
  });
});

describe("work between steps", () => {
  test("waits for the step under way and holds up the next", async () => {
    const { context, steps, first } = stage();
    const read = steps.evaluate(first, tokens(1));
    await settled();
    let letGo = () => {};
    let begun = false;
    const work = steps.between(async () => {
      begun = true;
      await new Promise<void>((resolve) => (letGo = resolve));
    });
    const next = steps.evaluate(first, tokens(2));
    await settled();
    expect(begun).toBe(false);
    context.work[0]!.done();
    await settled();
    expect(begun).toBe(true);
    expect(context.work).toEqual([]);
    letGo();
    await context.finish();
    await Promise.all([read, work, next]);
  });

  test("gives back what it found, or why it failed, and steps go on", async () => {
    const { context, steps, first } = stage();
    expect(await steps.between(async () => 7)).toBe(7);
    await expect(steps.between(() => Promise.reject(new Error("no room")))).rejects.toThrow("no room");
    const read = steps.evaluate(first, tokens(1));
    await context.finish();
    await read;
  });
});

test("closing lets the step under way end; who waits, and who comes later, is told", async () => {
  const { context, steps, first, second } = stage();
  const running = steps.evaluate(first, tokens(1));
  await settled();
  const waiting = steps.evaluate(second, tokens(2));
  const told = expect(waiting).rejects.toThrow("being unloaded");
  let closed = false;
  const closing = steps.close().then(() => (closed = true));
  await settled();
  expect(closed).toBe(false);
  context.work[0]!.done();
  await Promise.all([running, closing, told]);
  await expect(steps.evaluate(first, tokens(3))).rejects.toThrow("being unloaded");
  await expect(steps.between(async () => {})).rejects.toThrow("being unloaded");
  expect(context.steps).toHaveLength(1);
});

test("closing during work between steps tells who came for more of it meanwhile", async () => {
  const { steps } = stage();
  let letGo = () => {};
  const work = steps.between(() => new Promise<void>((resolve) => (letGo = resolve)));
  await settled();
  const told = expect(steps.between(async () => {})).rejects.toThrow("being unloaded");
  const closing = steps.close();
  letGo();
  await Promise.all([work, closing, told]);
});
