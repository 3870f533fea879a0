/**
 * What every `ChatEngine` must keep, whatever is behind it. An implementation is tested by calling
 * `describeChatEngine` with a maker of engines that have two slots.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ChatDelta, ChatEvent, ChatRequest, TerminalChatEvent } from "../../src/core/chat.ts";
import { isDelta, isTerminal } from "../../src/core/chat.ts";
import type { ChatEngine } from "../../src/core/ports.ts";

/** "finite": a short answer that is always the same. "endless": only a limit or an abort ends the answer. */
export type AnswerLength = "finite" | "endless";

export interface ChatEngineHarness {
  engine: ChatEngine;
  /** A model it has. */
  model: string;
  /** What the finite engine answers to anything at temperature 0, outer spaces aside. At least six words. */
  text: string;
  /** Tokens a sequence may hold. */
  contextLength: number;
  close(): Promise<void>;
}

/** An abort must give the slot back this soon. A machine busy with other things may need a second try to show it. */
const slotFreeMsMax = 300;
const timed = { retry: 2 };

export function describeChatEngine(
  name: string,
  makeEngine: (answer: AnswerLength) => Promise<ChatEngineHarness>,
): void {
  describe(`${name} keeps the chat engine contract`, () => {
    let finite: ChatEngineHarness;
    let endless: ChatEngineHarness;
    beforeAll(async () => {
      [finite, endless] = await Promise.all([makeEngine("finite"), makeEngine("endless")]);
    });
    afterAll(async () => {
      await Promise.all([finite?.close(), endless?.close()]);
    });
    describeAnswers(() => finite);
    describeLimits(() => endless);
    describeRefusals(() => finite);
    describeAborts(() => endless);
  });
}

function describeAnswers(harness: () => ChatEngineHarness): void {
  test("an answer is start, texts, then finish, with usage that adds up", async () => {
    const { engine, text } = harness();
    const events = await collect(engine, question(harness()));
    const start = only(events, "start");
    const finish = only(events, "finish");
    expect(events.filter((event) => event.type !== "queued")[0]).toBe(start);
    expect(events.at(-1)).toBe(finish);
    expect(textOf(events).trim()).toBe(text);
    // How many depends on the reader: text it has not taken yet is joined.
    expect(events.some((event) => event.type === "text")).toBe(true);
    expect(start.producer.model).toBe(harness().model);
    expect(finish.finishReason).toBe("stop");
    expect(finish.usage.promptTokens).toBeGreaterThan(0);
    expect(finish.usage.completionTokens).toBeGreaterThanOrEqual(text.split(" ").length);
    expect(finish.usage.cachedPromptTokens ?? 0).toBeLessThanOrEqual(finish.usage.promptTokens!);
    expect(finish.timings.timeToFirstTokenMs).toBeLessThanOrEqual(finish.timings.totalMs!);
  });

  test("a longer conversation has more prompt tokens and the same answer", async () => {
    const { engine, text } = harness();
    const short = await collect(engine, question(harness()));
    const messages: ChatRequest["messages"] = [
      { role: "system", content: "Be brief." },
      { role: "user", content: "Who are you?" },
      { role: "assistant", content: text },
      { role: "user", content: "And again?" },
    ];
    const long = await collect(engine, { ...question(harness()), messages });
    expect(textOf(long).trim()).toBe(text);
    expect(only(long, "finish").usage.promptTokens).toBeGreaterThan(only(short, "finish").usage.promptTokens!);
  });

  test("two questions at once are both answered whole", async () => {
    const { engine, text } = harness();
    const answers = await Promise.all([
      collect(engine, question(harness(), { userId: "ann" })),
      collect(engine, question(harness(), { userId: "bob" })),
    ]);
    expect(answers.map((events) => textOf(events).trim())).toEqual([text, text]);
  });

  test("more questions than slots are all answered", async () => {
    const { engine, text } = harness();
    const answers = await Promise.all(Array.from({ length: 5 }, () => collect(engine, question(harness()))));
    expect(answers.map((events) => textOf(events).trim())).toEqual(Array(5).fill(text));
  });

  test("deltas that a relay takes and those that are yielded make one answer in its order", async () => {
    const { engine, text } = harness();
    const { signal } = new AbortController();
    const events: ChatEvent[] = [];
    let offered = 0;
    const relay = {
      take(deltas: readonly ChatDelta[]) {
        expect(events.some(isDelta)).toBe(true);
        // Every other time the client is behind.
        if (offered++ % 2 === 1) return false;
        events.push(...deltas);
        return true;
      },
    };
    for await (const event of engine.chat(question(harness()), { signal, relay })) events.push(event);
    expect(textOf(events).trim()).toBe(text);
    expect(events.at(-1)).toBe(only(events, "finish"));
    expect(only(events, "finish").usage.completionTokens).toBeGreaterThanOrEqual(text.split(" ").length);
  });

  test("a stop text ends the answer and is not part of it", async () => {
    const { engine, text } = harness();
    const words = text.split(" ");
    const stop = `${words[3]} ${words[4]}`;
    const events = await collect(engine, question(harness(), { stop: ["never said", stop] }));
    expect(only(events, "finish").finishReason).toBe("stop");
    expect(textOf(events).trim()).toBe(words.slice(0, 3).join(" "));
  });

  test("models and health describe an idle engine", async () => {
    const { engine, model, contextLength } = harness();
    expect(await engine.models()).toContainEqual(expect.objectContaining({ id: model, loaded: true, contextLength }));
    expect(await engine.health()).toMatchObject({ state: "ready", active: 0, queued: 0, slots: 2 });
  });
}

function describeLimits(harness: () => ChatEngineHarness): void {
  test("maxTokens ends the answer with length and is counted exactly", async () => {
    const events = await collect(harness().engine, question(harness(), { maxTokens: 7 }));
    const finish = only(events, "finish");
    expect(finish.finishReason).toBe("length");
    expect(finish.usage.completionTokens).toBe(7);
  });
}

function describeRefusals(harness: () => ChatEngineHarness): void {
  test("a prompt longer than the context is an error that names both lengths", async () => {
    const { engine, contextLength } = harness();
    const content = "word ".repeat(contextLength + 1);
    const events = await collect(engine, { ...question(harness()), messages: [{ role: "user", content }] });
    const { error } = only(events, "error");
    expect(error.code).toBe("context_length_exceeded");
    expect(error.details).toMatchObject({ contextLength });
    expect(error.details?.promptTokens).toBeGreaterThan(contextLength);
    expect(events.filter((event) => event.type !== "queued")).toHaveLength(1);
  });

  test("an unknown model is an error before start", async () => {
    const events = await collect(harness().engine, { ...question(harness()), model: "no-such-model" });
    expect(only(events, "error").error.code).toBe("model_not_found");
    expect(events.some((event) => event.type === "start")).toBe(false);
  });
}

function describeAborts(harness: () => ChatEngineHarness): void {
  test("an abort mid-stream ends with cancelled and frees the slot", timed, async () => {
    const { engine } = harness();
    const abort = new AbortController();
    const events: ChatEvent[] = [];
    let abortedAt = 0;
    for await (const event of engine.chat(question(harness()), { signal: abort.signal })) {
      events.push(event);
      if (event.type === "text" && abortedAt === 0) {
        abortedAt = performance.now();
        abort.abort();
      }
    }
    await slotsFree(engine, abortedAt);
    const cancelled = only(events, "cancelled");
    expect(events.at(-1)).toBe(cancelled);
    expect(cancelled.usage.completionTokens).toBeGreaterThan(0);
  });

  test("a request aborted before it is made is cancelled without an answer", timed, async () => {
    const { engine } = harness();
    const events: ChatEvent[] = [];
    for await (const event of engine.chat(question(harness()), { signal: AbortSignal.abort() })) events.push(event);
    expect(only(events, "cancelled").usage.completionTokens ?? 0).toBe(0);
    expect(textOf(events)).toBe("");
    await slotsFree(engine, performance.now());
  });

  test("an endless answer comes in pieces while it is written", timed, async () => {
    const { engine } = harness();
    let pieces = 0;
    for await (const event of engine.chat(question(harness()), { signal: new AbortController().signal })) {
      if (event.type === "text" && ++pieces === 3) break;
    }
    await slotsFree(engine, performance.now());
  });

  test("two at once both stream, neither waiting for the other's end", timed, async () => {
    const { engine } = harness();
    await using busy = await occupySlots(harness());
    expect(await engine.health()).toMatchObject({ active: 2, queued: 0 });
    const abortedAt = performance.now();
    await busy.abort();
    await slotsFree(engine, abortedAt);
  });

  test("an abort while waiting for a slot leaves the line and disturbs nobody", timed, async () => {
    const { engine } = harness();
    await using busy = await occupySlots(harness());
    const abort = new AbortController();
    const waiting = collect(engine, question(harness(), { userId: "cas" }), abort.signal);
    await until(async () => (await engine.health()).queued === 1);
    abort.abort();
    expect((await waiting).at(-1)?.type).toBe("cancelled");
    // An engine elsewhere hears of it when its socket closes.
    await expect.poll(() => engine.health(), { interval: 2 }).toMatchObject({ active: 2, queued: 0 });
    const abortedAt = performance.now();
    await busy.abort();
    await slotsFree(engine, abortedAt);
  });

  test("leaving the iteration early frees the slot", timed, async () => {
    const { engine } = harness();
    const never = new AbortController().signal;
    for await (const event of engine.chat(question(harness()), { signal: never })) {
      if (event.type === "text") break;
    }
    await slotsFree(engine, performance.now());
  });

  test("the next question is answered after aborts", async () => {
    const events = await collect(harness().engine, question(harness(), { maxTokens: 3 }));
    expect(only(events, "finish").usage.completionTokens).toBe(3);
  });
}

function question(harness: ChatEngineHarness, more: Partial<ChatRequest> = {}): ChatRequest {
  return { model: harness.model, messages: [{ role: "user", content: "Say it." }], temperature: 0, ...more };
}

async function collect(
  engine: ChatEngine,
  request: ChatRequest,
  signal = new AbortController().signal,
): Promise<ChatEvent[]> {
  const events: ChatEvent[] = [];
  for await (const event of engine.chat(request, { signal })) events.push(event);
  expect(events.filter(isTerminal), "exactly one event ends an answer").toHaveLength(1);
  return events;
}

/** Two endless answers that have both begun to speak. */
async function occupySlots(harness: ChatEngineHarness) {
  const abort = new AbortController();
  const answers = ["ann", "bob"].map((userId) => speak(harness, userId, abort.signal));
  await Promise.all(answers.map((answer) => answer.speaking));
  const ends = async () => (await Promise.all(answers.map((answer) => answer.end))).map((end) => end.type);
  return {
    async abort() {
      abort.abort();
      expect(await ends()).toEqual(["cancelled", "cancelled"]);
    },
    /** A failed test must not leave the slots taken for the next one. */
    async [Symbol.asyncDispose]() {
      abort.abort();
      await ends();
    },
  };
}

function speak(harness: ChatEngineHarness, userId: string, signal: AbortSignal) {
  let heard: () => void = () => {};
  const speaking = new Promise<void>((resolve) => {
    heard = resolve;
  });
  const end = (async () => {
    let last: TerminalChatEvent | undefined;
    for await (const event of harness.engine.chat(question(harness, { userId }), { signal })) {
      if (event.type === "text") heard();
      if (isTerminal(event)) last = event;
    }
    return last!;
  })();
  return { speaking, end };
}

async function slotsFree(engine: ChatEngine, since: number): Promise<void> {
  await until(async () => (await engine.health()).active === 0);
  expect(performance.now() - since).toBeLessThan(slotFreeMsMax);
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  await expect.poll(condition, { interval: 5, timeout: 5000 }).toBe(true);
}

function only<Type extends ChatEvent["type"]>(
  events: readonly ChatEvent[],
  type: Type,
): Extract<ChatEvent, { type: Type }> {
  const found = events.filter((event): event is Extract<ChatEvent, { type: Type }> => event.type === type);
  expect(found, `one ${type} among ${JSON.stringify(events.slice(-3))}`).toHaveLength(1);
  return found[0]!;
}

function textOf(events: readonly ChatEvent[]): string {
  return events.map((event) => (event.type === "text" ? event.text : "")).join("");
}
