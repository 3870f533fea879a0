/** Who is answered next when a real engine with one sequence is asked by many. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { startEngine, type TestEngine } from "../../test/support/local-engine.ts";
import type { ChatRequest, ServiceTerms } from "../core/chat.ts";

let engineTest: TestEngine;
beforeAll(async () => {
  engineTest = await startEngine({ shape: "tiny", brain: "endless" }, { settings: { sequenceCount: 1 } });
});
afterAll(() => engineTest?.close());

interface Asked {
  name: string;
  userId?: string;
  terms?: ServiceTerms;
  /** Words of the question. */
  words?: number;
}

/** Holds the one sequence until all have come, then lets the line run down. Names in the order of their beginnings. */
async function orderOf(asked: readonly Asked[]): Promise<string[]> {
  const { engine } = engineTest;
  const chat = ({ userId, terms, words = 2 }: Omit<Asked, "name">, maxTokens: number, signal: AbortSignal) => {
    const request: ChatRequest = {
      model: "tiny",
      messages: [{ role: "user", content: "queue ".repeat(words) }],
      maxTokens,
      ...(userId === undefined ? {} : { userId }),
      ...(terms === undefined ? {} : { terms }),
    };
    return engine.chat(request, { signal });
  };
  const holder = new AbortController();
  let held = () => {};
  const holding = new Promise<void>((resolve) => {
    held = resolve;
  });
  const answerHeld = (async () => {
    for await (const event of chat({ userId: "holder", terms: { keyId: "holder" } }, 1500, holder.signal)) {
      if (event.type === "start") held();
    }
  })();
  await holding;
  const started: string[] = [];
  const answers = asked.map(async (one) => {
    for await (const event of chat(one, 1, new AbortController().signal)) {
      if (event.type === "start") started.push(one.name);
      if (event.type === "error") throw new Error(event.error.message);
    }
  });
  // Each stood in line before its first wait.
  expect(engine.status().health.queued).toBe(asked.length);
  holder.abort();
  await Promise.all([answerHeld, ...answers]);
  return started;
}

const repeat = (count: number, one: Asked): Asked[] =>
  Array.from({ length: count }, (_, index) => ({ ...one, name: `${one.name}${index}` }));

it("fifty requests of one user delay another's by one answer at most", async () => {
  const order = await orderOf([...repeat(50, { name: "ann", userId: "ann" }), { name: "bob", userId: "bob" }]);
  expect(order.indexOf("bob")).toBeLessThanOrEqual(1);
  expect(order).toHaveLength(51);
});

it("keys get turns by their weight, and a crowd behind one key is one key", async () => {
  const crowd = repeat(12, { name: "crowd", terms: { keyId: "bot", weight: 1 } }).map((one) => ({
    ...one,
    userId: one.name,
  }));
  const order = await orderOf([...crowd, ...repeat(12, { name: "paid", terms: { keyId: "paid", weight: 3 } })]);
  const paid = order.slice(0, 12).filter((name) => name.startsWith("paid")).length;
  expect(paid).toBeGreaterThanOrEqual(8);
  expect(paid).toBeLessThanOrEqual(10);
});

it("short interactive requests go before batch and before long ones that came earlier, and all are answered", async () => {
  const order = await orderOf([
    ...repeat(3, { name: "batch", userId: "cron", terms: { keyId: "a", priority: "batch" } }),
    { name: "long", userId: "dan", terms: { keyId: "b" }, words: 700 },
    { name: "short", userId: "eve", terms: { keyId: "c" } },
  ]);
  expect(order[0]).toBe("short");
  expect(order[1]).toBe("long");
  expect(order).toHaveLength(5);
});
