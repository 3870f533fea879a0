/** Probabilities of tokens, and texts gone on from without a conversation: the real child on tiny models. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startEngine, type TestEngine } from "../../test/support/local-engine.ts";
import type { ChatEvent, ChatRequest } from "../core/chat.ts";

let random: TestEngine;
let endless: TestEngine;
let thinking: TestEngine;
beforeAll(async () => {
  const script = ["<think> Memory use was measured </think> The queue holds requests"];
  [random, endless, thinking] = await Promise.all([
    startEngine({ shape: "tiny", brain: "random" }),
    startEngine({ shape: "tiny", brain: "endless" }),
    startEngine({ shape: "tiny", brain: "script", script }),
  ]);
});
afterAll(async () => {
  await Promise.all([random?.close(), endless?.close(), thinking?.close()]);
});

function ask(more: Partial<ChatRequest> = {}): ChatRequest {
  return { model: "tiny", messages: [{ role: "user", content: "Say it." }], maxTokens: 40, ...more };
}

async function collect({ engine }: TestEngine, request: ChatRequest): Promise<ChatEvent[]> {
  const events: ChatEvent[] = [];
  for await (const event of engine.chat(request, { signal: new AbortController().signal })) events.push(event);
  return events;
}

const logprobsOf = (events: ChatEvent[]) =>
  events.flatMap((event) => (event.type === "text" ? (event.logprobs ?? []) : []));
const textOf = (events: ChatEvent[]) => events.map((event) => (event.type === "text" ? event.text : "")).join("");

function promptTokensOf(events: ChatEvent[]): number | undefined {
  const last = events.at(-1);
  if (last?.type !== "finish") throw new Error(`not finished: ${JSON.stringify(last)}`);
  return last.usage.promptTokens;
}

describe("probabilities", () => {
  test("are told for every token of the text, likeliest first, and add up", async () => {
    const events = await collect(random, ask({ temperature: 0, maxTokens: 8, logprobs: { top: 4 } }));
    const told = logprobsOf(events);
    expect(told).toHaveLength(8);
    for (const { token, logprob, top } of told) {
      expect(top).toHaveLength(4);
      // Greedy: what was chosen is the likeliest.
      expect(top[0]).toMatchObject({ token, logprob });
      expect(logprob).toBeLessThanOrEqual(0);
      const values = top.map((other) => other.logprob);
      expect(values).toEqual(values.toSorted((left, right) => right - left));
      expect(values.reduce((sum, value) => sum + Math.exp(value), 0)).toBeLessThanOrEqual(1.001);
    }
  });

  test("come with bytes that make up the text, also where a token is a part of a character", async () => {
    const events = await collect(random, ask({ temperature: 0.9, seed: 5, maxTokens: 60, logprobs: { top: 0 } }));
    const bytes = logprobsOf(events).flatMap((token) => token.bytes);
    expect(new TextDecoder().decode(new Uint8Array(bytes))).toBe(textOf(events));
    expect(logprobsOf(events).every(({ top }) => top.length === 0)).toBe(true);
  });

  test("are of the candidates that sampling left: one alone is certain", async () => {
    const events = await collect(random, ask({ topK: 1, maxTokens: 3, logprobs: { top: 3 } }));
    for (const { logprob, top } of logprobsOf(events)) {
      expect(logprob).toBeCloseTo(0, 5);
      expect(top).toHaveLength(1);
    }
  });

  test("change no word, and are left out unless asked for", async () => {
    const request = { temperature: 0.7, seed: 11, maxTokens: 20 };
    const plain = await collect(random, ask(request));
    const told = await collect(random, ask({ ...request, logprobs: { top: 2 } }));
    expect(textOf(told)).toBe(textOf(plain));
    expect(logprobsOf(plain)).toEqual([]);
  });

  test("are not told of thoughts", async () => {
    const events = await collect(thinking, ask({ temperature: 0, logprobs: { top: 1 } }));
    expect(logprobsOf(events).map(({ token }) => token.trim())).toEqual(["The", "queue", "holds", "requests"]);
  });
});

describe("a text to go on from", () => {
  const complete = (prompt: string, more: Partial<ChatRequest> = {}): ChatRequest => ({
    ...ask({ temperature: 0, maxTokens: 5, ...more }),
    messages: [],
    prompt,
  });

  test("is gone on from as it is, without a chat template", async () => {
    const events = await collect(endless, complete("The queue holds"));
    expect(textOf(events)).toBe(" requests until one slot becomes");
    // A word is a token of this vocabulary once a space comes before it; the first one is spelled.
    expect(promptTokensOf(events)).toBeLessThan(10);
  });

  test("ends at the caller's texts", async () => {
    expect(textOf(await collect(endless, complete("The queue", { stop: ["until"], maxTokens: 50 })))).toBe(
      " holds requests ",
    );
  });

  test("may name control tokens, which are tokens here", async () => {
    const [named, spelled] = await Promise.all(
      ["<|im_end|>", "<|im_und|>"].map(async (text) => promptTokensOf(await collect(random, complete(text)))),
    );
    expect(named).toBe(1);
    expect(spelled).toBeGreaterThan(5);
  });

  test("that is longer than the context is refused with the counts", async () => {
    const last = (await collect(endless, complete("queue ".repeat(5000)))).at(-1);
    expect(last).toMatchObject({
      type: "error",
      error: {
        code: "context_length_exceeded",
        param: "prompt",
        details: { contextLength: expect.any(Number), promptTokens: expect.any(Number) },
      },
    });
  });
});
