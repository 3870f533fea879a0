import { expect, it } from "vitest";
import { deadlinesOf } from "./deadlines.ts";

it("deadlines are seconds in the settings, each on its own", () => {
  expect(deadlinesOf({ firstToken: 30, answer: 600 })).toEqual({ firstTokenMsMax: 30_000, totalMsMax: 600_000 });
  expect(deadlinesOf({ answer: 1 })).toEqual({ totalMsMax: 1000 });
});

it.each([undefined, 0, Number.NaN, -5, 3601, Number("soon")])("%s is no deadline", (seconds) => {
  expect(deadlinesOf({ firstToken: seconds, answer: seconds })).toEqual({});
});
