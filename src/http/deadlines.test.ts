import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { FakeEngine } from "../../test/support/fake-engine.ts";
import type { ChatEvent } from "../core/chat.ts";
import { withDeadlines } from "./deadlines.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
});
afterEach(() => {
  vi.useRealTimers();
});

type Deadlines = Parameters<typeof withDeadlines>[0];

function ask(engine: FakeEngine, deadlines: Deadlines, signal = new AbortController().signal) {
  const request = { model: "fake", messages: [{ role: "user" as const, content: "Say it." }] };
  return withDeadlines(deadlines, signal, (inner) => engine.chat(request, { signal: inner }));
}

async function collect(events: AsyncIterable<ChatEvent>): Promise<ChatEvent[]> {
  const collected: ChatEvent[] = [];
  for await (const event of events) collected.push(event);
  return collected;
}

it("a first word that does not come in time ends the wait with engine_timeout, and the slot is free", async () => {
  const engine = new FakeEngine({ script: () => [{ hold: "prefill" }, { text: "late" }] });
  const answer = collect(ask(engine, { firstTokenMsMax: 5000, totalMsMax: 60_000 }));
  await engine.reached("prefill");
  expect((await engine.health()).active).toBe(1);
  vi.advanceTimersByTime(5000);
  const events = await answer;
  expect(events.at(-1)).toMatchObject({
    type: "error",
    error: { code: "engine_timeout", details: { limitMs: 5000 } },
    usage: { promptTokens: 2, completionTokens: 0 },
  });
  expect(engine.cancelledCount).toBe(1);
  expect((await engine.health()).active).toBe(0);
});

it("once the first word is there only the whole answer's deadline counts, and tells what was produced", async () => {
  const engine = new FakeEngine({ script: () => [{ text: "one" }, { hold: "slow" }, { text: "two" }] });
  const answer = collect(ask(engine, { firstTokenMsMax: 5000, totalMsMax: 60_000 }));
  await engine.reached("slow");
  vi.advanceTimersByTime(59_999);
  expect(engine.cancelledCount).toBe(0);
  vi.advanceTimersByTime(1);
  const events = await answer;
  expect(events.filter(({ type }) => type === "text")).toEqual([{ type: "text", text: "one" }]);
  expect(events.at(-1)).toMatchObject({ type: "error", error: { code: "engine_timeout" } });
  expect(events.at(-1)).toMatchObject({ usage: { completionTokens: 1 } });
});

it("an answer within its deadlines is as it was", async () => {
  const engine = new FakeEngine();
  const events = await collect(ask(engine, { firstTokenMsMax: 5000, totalMsMax: 60_000 }));
  expect(events.map(({ type }) => type)).toEqual([
    ...new Array(1).fill("start"),
    ...new Array(5).fill("text"),
    "finish",
  ]);
  expect(vi.getTimerCount()).toBe(0);
});

it("a caller who leaves gets cancelled, not a timeout", async () => {
  const engine = new FakeEngine({ script: () => [{ hold: "prefill" }] });
  const caller = new AbortController();
  const answer = collect(ask(engine, { totalMsMax: 60_000 }, caller.signal));
  await engine.reached("prefill");
  caller.abort();
  expect((await answer).at(-1)?.type).toBe("cancelled");
});

it("an engine that ignores its signal is left with the timeout all the same", async () => {
  const deaf = {
    chat: async function* (): AsyncGenerator<ChatEvent> {
      yield { type: "start", producer: { model: "deaf" } };
      await new Promise(() => {});
    },
  };
  const answer = collect(withDeadlines({ totalMsMax: 1000 }, new AbortController().signal, () => deaf.chat()));
  await vi.advanceTimersByTimeAsync(1000);
  await vi.advanceTimersByTimeAsync(60_000);
  expect((await answer).at(-1)).toMatchObject({ type: "error", error: { code: "engine_timeout" } });
});
