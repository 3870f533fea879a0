import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Scheduler, type SchedulerOptions, type Ticket } from "./scheduler.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** Enters requests by name ("ann1" is ann's first) and writes down what happens to them. */
function line(options: Partial<SchedulerOptions> = {}) {
  const scheduler = new Scheduler({
    slots: 1,
    queueMax: 100,
    waitMsMax: 60_000,
    clock: { now: () => Date.now() },
    ...options,
  });
  const log: string[] = [];
  const tickets = new Map<string, Ticket>();
  return {
    scheduler,
    log,
    enter(name: string) {
      const ticket = scheduler.enter({
        userId: name.replace(/\d+$/, ""),
        started: () => log.push(`${name} starts`),
        moved: (position, waitMs) => log.push(`${name} at ${position}${waitMs === undefined ? "" : ` in ${waitMs}`}`),
        expired: () => log.push(`${name} expired`),
      });
      tickets.set(name, ticket);
    },
    leave: (name: string) => tickets.get(name)!.leave(),
    started: () => log.filter((entry) => entry.endsWith("starts")).map((entry) => entry.split(" ")[0]),
  };
}

describe("the scheduler", () => {
  test("a free slot is given at once, without a place in line", () => {
    const { enter, log, scheduler } = line();
    enter("ann1");
    expect(log).toEqual(["ann1 starts"]);
    expect([scheduler.active, scheduler.queued]).toEqual([1, 0]);
  });

  test("no more run than there are slots, and places move up", () => {
    const { enter, leave, log } = line({ slots: 2 });
    for (const name of ["ann1", "bob1", "cas1", "dan1"]) enter(name);
    expect(log).toEqual(["ann1 starts", "bob1 starts", "cas1 at 1", "dan1 at 2"]);
    leave("ann1");
    expect(log.slice(4)).toEqual(["cas1 starts", "dan1 at 1 in 0"]);
  });

  test("fifty requests of one user delay another's by one answer only", () => {
    const { enter, leave, started } = line();
    for (let i = 1; i <= 50; i++) enter(`ann${i}`);
    enter("bob1");
    leave("ann1");
    expect(started()).toEqual(["ann1", "bob1"]);
  });

  test("users take turns, each in the order of its own requests", () => {
    const { enter, leave, started } = line();
    for (const name of ["ann1", "ann2", "ann3", "bob1", "bob2", "cas1"]) enter(name);
    for (const name of ["ann1", "bob1", "cas1", "ann2", "bob2"]) leave(name);
    expect(started()).toEqual(["ann1", "bob1", "cas1", "ann2", "bob2", "ann3"]);
  });

  test("a stream of newcomers does not starve a second request", () => {
    const { enter, leave, started } = line();
    for (const name of ["ann1", "ann2", "bob1"]) enter(name);
    leave("ann1");
    // At any time one newcomer is being answered and the next one waits.
    for (let last = "bob1", i = 1; i <= 40; i++) {
      const next = `new${"x".repeat(i)}1`;
      enter(next);
      leave(last);
      last = started().at(-1) ?? last;
    }
    expect(started().indexOf("ann2")).toBeGreaterThan(1);
    expect(started().indexOf("ann2")).toBeLessThan(20);
  });

  test("requests that left the line cost their user nothing", () => {
    const { enter, leave, started } = line();
    for (const name of ["ann1", "bob1", "bob2", "bob3", "cas1", "cas2"]) enter(name);
    leave("bob1");
    leave("bob2");
    for (const name of ["ann1", "bob3", "cas1"]) leave(name);
    expect(started()).toEqual(["ann1", "bob3", "cas1", "cas2"]);
  });

  test("a newcomer may take a place before those who have an answer running", () => {
    const { enter, log } = line({ slots: 2 });
    for (const name of ["ann1", "ann2", "ann3", "ann4", "bob1"]) enter(name);
    expect(log.slice(-3)).toEqual(["bob1 at 1", "ann3 at 2", "ann4 at 3"]);
  });

  test("leaving the line moves the others up, and twice does nothing", () => {
    const { enter, leave, log, scheduler } = line();
    for (const name of ["ann1", "bob1", "cas1"]) enter(name);
    leave("bob1");
    leave("bob1");
    expect(log.at(-1)).toBe("cas1 at 1");
    expect([scheduler.active, scheduler.queued]).toEqual([1, 1]);
    leave("ann1");
    leave("ann1");
    expect([scheduler.active, scheduler.queued]).toEqual([1, 0]);
  });

  test("a full line refuses, and says when to come back", () => {
    const { enter, leave } = line({ queueMax: 2 });
    enter("ann1");
    vi.advanceTimersByTime(4000);
    leave("ann1");
    for (const name of ["ann2", "bob1", "cas1"]) enter(name);
    expect(() => enter("dan1")).toThrowError(
      expect.objectContaining({ code: "engine_overloaded", retryAfterMs: 8000 }),
    );
    leave("ann2");
    expect(() => enter("dan1")).not.toThrow();
  });

  test("a queue of none still serves free slots", () => {
    const { enter, started } = line({ queueMax: 0 });
    enter("ann1");
    expect(() => enter("bob1")).toThrow();
    expect(started()).toEqual(["ann1"]);
  });

  test("waiting too long ends the wait, and only the wait", () => {
    const { enter, leave, log, scheduler } = line({ waitMsMax: 1000 });
    enter("ann1");
    enter("bob1");
    vi.advanceTimersByTime(999);
    expect(log.at(-1)).toBe("bob1 at 1");
    vi.advanceTimersByTime(1);
    expect(log.at(-1)).toBe("bob1 expired");
    vi.advanceTimersByTime(60_000);
    expect([scheduler.active, scheduler.queued]).toEqual([1, 0]);
    leave("ann1");
    expect(log.at(-1)).toBe("bob1 expired");
  });

  test("the expected wait follows the duration of answers", () => {
    const { enter, leave, log } = line({ slots: 2 });
    enter("ann1");
    vi.advanceTimersByTime(2000);
    leave("ann1");
    for (const name of ["ann2", "bob1", "cas1", "dan1"]) enter(name);
    expect(log.slice(-2)).toEqual(["cas1 at 1 in 1000", "dan1 at 2 in 2000"]);
  });

  test("closed, it lets people wait; open again, it serves them", () => {
    const { enter, scheduler, started } = line({ slots: 2 });
    scheduler.setOpen(false);
    enter("ann1");
    enter("bob1");
    expect([scheduler.active, scheduler.queued]).toEqual([0, 2]);
    scheduler.setOpen(true);
    expect(started()).toEqual(["ann1", "bob1"]);
  });
});
