import { describe, expect, test } from "vitest";
import { Pace } from "./pace.ts";

const rules = { questionsPerUserMax: 2, questionsPerChannelMax: 3, windowMs: 60_000, answersPerUserMax: 2 };

describe("Pace", () => {
  test("names the time until the oldest question leaves the window", () => {
    const pace = new Pace(rules);
    expect(pace.admit("ann", "c", 0)).toEqual({ allowed: true });
    expect(pace.admit("ann", "c", 10_000)).toEqual({ allowed: true });
    expect(pace.admit("ann", "c", 20_000)).toEqual({ allowed: false, scope: "user", retryAfterMs: 40_000 });
    expect(pace.admit("ann", "c", 60_000)).toEqual({ allowed: true });
  });

  test("a refused question does not count", () => {
    const pace = new Pace(rules);
    for (let at = 0; at < 50; at++) pace.admit("ann", "c", at);
    expect(pace.admit("ann", "c", 60_001)).toEqual({ allowed: true });
  });

  test("channels are counted over all their users", () => {
    const pace = new Pace(rules);
    for (const user of ["a", "b", "c"]) pace.admit(user, "general", 0);
    expect(pace.admit("d", "general", 1000)).toEqual({ allowed: false, scope: "channel", retryAfterMs: 59_000 });
    expect(pace.admit("d", "other", 1000)).toEqual({ allowed: true });
  });

  test("answers at the same time are bounded until one ends", () => {
    const pace = new Pace(rules);
    pace.begin("ann");
    pace.begin("ann");
    expect(pace.admit("ann", "c", 0)).toEqual({ allowed: false, scope: "running", running: 2 });
    pace.end("ann");
    expect(pace.admit("ann", "c", 0)).toEqual({ allowed: true });
  });
});
