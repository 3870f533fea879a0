/** The planner against buffers, layers and outcomes that others measured; sources stand in bench/data. */
import { describe, expect, test } from "vitest";
import { compareLabels } from "../../bench/fit-labels.ts";
import { compareRow, compareStart, MEASURED_ROWS } from "../../bench/fit-measured.ts";

const comparisons = MEASURED_ROWS.flatMap(compareRow);
const starts = MEASURED_ROWS.flatMap((row, index) => compareStart(row, index) ?? []);

describe("measured buffers", () => {
  test("every KV cache is within 1 %", () => {
    const caches = comparisons.filter(({ term }) => term === "KV cache");
    expect(caches.length).toBeGreaterThan(90);
    for (const { row, measured, predicted } of caches)
      expect.soft(Math.abs(predicted / measured - 1), row).toBeLessThan(0.01);
  });

  test("what a GPU holds after a full start is within 3 %, and never more than 1 % under", () => {
    const full = new Set(starts.filter(({ row }) => /RTX|GTX/.test(row)).map(({ row }) => row));
    const sums = comparisons.filter(
      ({ term, row, measured }) => term === "GPU sum" && full.has(row) && measured > 1000,
    );
    expect(sums.length).toBeGreaterThan(15);
    for (const { row, measured, predicted } of sums) {
      expect.soft(predicted / measured, row).toBeGreaterThan(0.99);
      expect.soft(predicted / measured, row).toBeLessThan(1.03);
    }
  });

  test("compute buffers are within 10 %, half of them to 0.1 %", () => {
    const compute = comparisons.filter(({ term }) => term === "GPU compute");
    const errors = compute.map(({ measured, predicted }) => Math.abs(predicted / measured - 1)).sort((a, b) => a - b);
    expect(errors.length).toBeGreaterThan(40);
    expect(errors[Math.floor(errors.length / 2)]).toBeLessThan(0.001);
    expect(errors.at(-1)).toBeLessThan(0.1);
  });
});

describe("measured starts", () => {
  test("layers are within one of what llama.cpp chose, where it chose well", () => {
    for (const { row, layers, planned, resident } of starts) {
      if (resident) expect.soft(Math.abs(planned - layers), row).toBeLessThanOrEqual(1);
    }
  });

  test("a start that ran from main memory without a word is not called a fit", () => {
    const spilled = starts.filter(({ resident }) => !resident);
    expect(spilled.length).toBeGreaterThan(0);
    for (const { row, fits } of spilled) expect.soft(fits, row).toBe(false);
  });

  test("loads that ran out of memory are never called a fit, and those that ran are, up to 3 % of the capacity", () => {
    const loads = compareLabels();
    expect(loads.length).toBeGreaterThan(250);
    for (const { load, ran, fits, ofCapacity } of loads) {
      if (!ran) expect.soft(fits, load).toBe(false);
      else if (Math.abs(ofCapacity - 1) > 0.03) expect.soft(fits, load).toBe(true);
    }
  });
});
