import { describe, expect, test } from "vitest";
import { BatchStrategy } from "./batching.ts";

const decode = { tokens: [1], sequenceId: 0 };
const prompt = (length: number) => ({ tokens: Array(length).fill(1), sequenceId: 0 });

function strategyWith(active: number): BatchStrategy {
  const strategy = new BatchStrategy({ tokens: 128 });
  for (let i = 0; i < active; i++) strategy.enter();
  return strategy;
}

describe("the batch strategy", () => {
  test("a running answer decodes before a prompt that came first", () => {
    const long = prompt(256);
    const planned = strategyWith(2).plan([long, decode], 512);
    expect(planned).toEqual([
      { item: decode, processAmount: 1 },
      { item: long, processAmount: 129 },
    ]);
  });

  test("a prompt alone takes the whole step", () => {
    expect(strategyWith(1).plan([prompt(256)], 512)).toMatchObject([{ processAmount: 256 }]);
    expect(strategyWith(1).plan([prompt(1000)], 512)).toMatchObject([{ processAmount: 512 }]);
  });

  test("prompts share what is left in the order they came", () => {
    const planned = strategyWith(2).plan([prompt(300), prompt(300)], 512);
    expect(planned.map((item) => item.processAmount)).toEqual([300, 192]);
  });

  test("a step never exceeds its size, even with more answers than it holds", () => {
    const planned = strategyWith(6).plan([decode, decode, decode, decode, decode, prompt(9)], 4);
    expect(planned.map((item) => item.processAmount)).toEqual([1, 1, 1, 1]);
  });

  test("a prompt that would get a crumb waits for the next step, and the step stays within its bound", () => {
    const planned = strategyWith(4).plan([decode, prompt(60), prompt(60), prompt(60)], 512);
    expect(planned.map(({ processAmount }) => processAmount)).toEqual([1, 60, 60]);
    const small = strategyWith(3).plan([decode, prompt(60), prompt(60)], 33);
    expect(small.map(({ processAmount }) => processAmount)).toEqual([1, 32]);
  });

  test("a step is in the order of its sequences, so that llama.cpp computes them together", () => {
    const at = (sequenceId: number, length = 1) => ({ tokens: Array(length).fill(1), sequenceId });
    const planned = strategyWith(4).plan([at(3), at(0), at(2, 300), at(1)], 512);
    expect(planned.map(({ item, processAmount }) => [item.sequenceId, processAmount])).toEqual([
      [0, 1],
      [1, 1],
      [2, 129],
      [3, 1],
    ]);
  });

  test("a single tile gets a step of its own, which its first token would not leave a tile in beside answers", () => {
    const tile = prompt(64);
    expect(strategyWith(2).plan([decode, tile], 512)).toEqual([{ item: tile, processAmount: 64 }]);
    expect(strategyWith(2).plan([decode, prompt(65)], 512)).toHaveLength(2);
  });

  test("it tells whether answers are running, which is over when the last one has left", () => {
    const strategy = strategyWith(2);
    expect(strategy.decoding).toBe(false);
    strategy.plan([decode, prompt(100)], 512);
    expect(strategy.decoding).toBe(true);
    strategy.leave();
    strategy.leave();
    expect(strategy.decoding).toBe(false);
  });

  test("it waits for streams on their way, but not for ever", () => {
    const strategy = strategyWith(2);
    let turns = 0;
    while (strategy.plan([decode], 512).length === 0) turns++;
    expect(turns).toBe(40);
    expect(strategy.plan([decode, decode], 512)).toHaveLength(2);
  });

  test("it does not wait for a stream that has left", () => {
    const strategy = strategyWith(2);
    strategy.leave();
    expect(strategy.plan([decode], 512)).toHaveLength(1);
  });
});
