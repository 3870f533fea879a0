import { describe, expect, it } from "vitest";
import { type Claim, FairOrder, type Standing } from "./fair-order.ts";

interface Named extends Standing {
  name: string;
}

/** One server that is always busy: requests by name ("ann1" is ann's first) and the order in which they are served. */
function line() {
  const fair = new FairOrder();
  const waiting: Named[] = [];
  const served: string[] = [];
  return {
    fair,
    served,
    enter(name: string, claim: Claim = {}) {
      waiting.push({ name, place: fair.arrive({ userId: name.replace(/\d+$/, ""), ...claim }) });
    },
    leave(name: string) {
      const [gone] = waiting.splice(
        waiting.findIndex((one) => one.name === name),
        1,
      );
      fair.leave(gone!.place);
    },
    order: () => fair.order(waiting).map(({ name }) => name),
    serve(count = 1) {
      for (let i = 0; i < count; i++) {
        const [first] = fair.order(waiting);
        waiting.splice(waiting.indexOf(first!), 1);
        fair.serve(first!.place);
        served.push(first!.name);
      }
    },
  };
}

const count = (names: readonly string[], beginning: string) =>
  names.filter((name) => name.startsWith(beginning)).length;

describe("the fair order", () => {
  it("is what then happens, if nobody else comes", () => {
    const { enter, order, serve, served } = line();
    for (const name of ["ann1", "ann2", "bob1", "cas1", "bob2", "ann3"]) enter(name, { keyId: name.slice(0, 1) });
    const foretold = order();
    serve(6);
    expect(served).toEqual(foretold);
  });

  it("gives each key its share, however many users one of them has", () => {
    const { enter, serve, served } = line();
    for (let i = 0; i < 40; i++) enter(`crowd${i}x1`, { keyId: "bot", userId: `user ${i}` });
    for (let i = 0; i < 10; i++) enter(`lone${i}`, { keyId: "program", userId: "me" });
    serve(20);
    expect(count(served, "crowd")).toBe(10);
    expect(count(served, "lone")).toBe(10);
  });

  it("gives a key of weight 3 three turns to another's one", () => {
    const { enter, serve, served } = line();
    for (let i = 0; i < 60; i++) {
      enter(`heavy${i}`, { keyId: "heavy", weight: 3 });
      enter(`light${i}`, { keyId: "light" });
    }
    serve(40);
    expect(count(served, "heavy")).toBeGreaterThanOrEqual(28);
    expect(count(served, "heavy")).toBeLessThanOrEqual(32);
  });

  it("is fair among the users of one key", () => {
    const { enter, serve, served } = line();
    for (let i = 1; i <= 50; i++) enter(`ann${i}`, { keyId: "bot" });
    for (const name of ["bob1", "cas1"]) enter(name, { keyId: "bot" });
    serve(3);
    expect(served.toSorted()).toEqual(["ann1", "bob1", "cas1"]);
  });

  it("fifty requests of one key delay another key's by one answer at most", () => {
    const { enter, serve, served } = line();
    for (let i = 1; i <= 50; i++) enter(`ann${i}`, { keyId: "a" });
    serve(20);
    enter("bob1", { keyId: "b" });
    serve(2);
    expect(served.slice(20)).toContain("bob1");
  });

  it("a lead passes those a little ahead, and no more than sixteen later ones pass anybody for each unit of it", () => {
    const { enter, serve, served } = line();
    enter("long1", { keyId: "a" });
    enter("short1", { keyId: "b", lead: 1 });
    serve(1);
    expect(served).toEqual(["short1"]);
    // Every newcomer is short and of a key of its own: nothing but ageing speaks for the long one.
    for (let i = 2; i < 60 && !served.includes("long1"); i++) {
      enter(`short${"x".repeat(i)}1`, { keyId: `key ${i}`, lead: 1 });
      serve(1);
    }
    expect(served).toContain("long1");
    expect(served.length).toBeLessThanOrEqual(18);
  });

  it("batch requests step back and are served all the same", () => {
    const { enter, serve, served } = line();
    enter("batch1", { keyId: "a", lead: -2 });
    for (let i = 0; i < 80 && !served.includes("batch1"); i++) {
      enter(`new${"x".repeat(i)}1`, { keyId: `key ${i}` });
      serve(1);
    }
    expect(served.indexOf("batch1")).toBeGreaterThan(3);
    expect(served.length).toBeLessThanOrEqual(34);
  });

  it("a user's short question goes before the same user's batch", () => {
    const { enter, serve, served } = line();
    for (let i = 1; i <= 5; i++) enter(`ann${i}`, { keyId: "a", lead: -2 });
    enter("ann9", { keyId: "a", lead: 1 });
    serve(1);
    expect(served).toEqual(["ann9"]);
  });

  it("who leaves the line costs the key nothing", () => {
    const { enter, leave, serve, served } = line();
    for (const name of ["ann1", "ann2", "ann3"]) enter(name, { keyId: "a" });
    enter("bob1", { keyId: "b" });
    leave("ann1");
    leave("ann2");
    serve(1);
    expect(served).toEqual(["ann3"]);
  });
});
