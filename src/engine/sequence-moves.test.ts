/** What sequences hold is moved and copied between them: the real child on a tiny random model. */
import { describe, expect, test } from "vitest";
import { startEngine, type TestEngine } from "../../test/support/local-engine.ts";
import type { ChatEvent, ChatMessage } from "../core/chat.ts";

const user = (content: string): ChatMessage => ({ role: "user", content });
const system: ChatMessage = {
  role: "system",
  content: "You know all about slots, caches and batches, and answer in one sentence. ".repeat(8),
};

/** Of a short question after a shared beginning, with what fills up a tile. */
const ownTokensMax = 120;

async function collect(
  { engine }: TestEngine,
  messages: ChatMessage[],
  { maxTokens = 12, signal = new AbortController().signal, userId = "first", onText = () => {} } = {},
) {
  const events: ChatEvent[] = [];
  const request = { model: "tiny", messages, maxTokens, temperature: 0, userId };
  for await (const event of engine.chat(request, { signal })) {
    events.push(event);
    if (event.type === "text") onText();
  }
  const last = events.at(-1);
  if (last?.type !== "finish" && last?.type !== "cancelled") throw new Error(`ended with ${JSON.stringify(last)}`);
  const text = events.map((event) => (event.type === "text" ? event.text : "")).join("");
  return { text, promptTokens: last.usage.promptTokens ?? 0, cached: last.usage.cachedPromptTokens ?? 0 };
}

/** In full precision a text hardly ever depends on what is computed beside it; with the usual F16, one in 150 does. */
const precise = { kvCacheTypeK: "F32", kvCacheTypeV: "F32", flashAttention: false } as const;

async function onStage<Result>(sequenceCount: number, play: (stage: TestEngine) => Promise<Result>): Promise<Result> {
  const settings = { sequenceCount, contextLength: 2048, ...precise };
  const stage = await startEngine({ shape: "tiny", brain: "random" }, { settings });
  try {
    return await play(stage);
  } finally {
    await stage.close();
  }
}

/** What the same model says to it when nothing was asked before. */
async function freshAnswer(messages: ChatMessage[]): Promise<string> {
  return await onStage(1, async (fresh) => (await collect(fresh, messages)).text);
}

describe("a beginning that two users share", () => {
  test("is computed once, and the first one's conversation stays", () =>
    onStage(3, async (stage) => {
      const question = user("What is a slot? ".repeat(12));
      const first = await collect(stage, [system, question]);
      expect(first.cached).toBe(0);
      const messages = [system, user("Why do batches help?")];
      const second = await collect(stage, messages, { userId: "second" });
      expect(second.cached).toBeGreaterThan(second.promptTokens - ownTokensMax);
      expect(second.text).toBe(await freshAnswer(messages));
      const followUp = [system, question, { role: "assistant" as const, content: first.text }, user("More?")];
      expect((await collect(stage, followUp)).cached).toBeGreaterThan(first.promptTokens - ownTokensMax);
    }));

  test("is copied while the first answer is being written, which goes on undisturbed", () =>
    onStage(3, async (stage) => {
      const question = [system, user("Tell me of caches at length.")];
      let begun = () => {};
      const writing = new Promise<void>((resolve) => (begun = resolve));
      const long = collect(stage, question, { maxTokens: 100, onText: () => begun() });
      await writing;
      const messages = [system, user("And what of prefixes?")];
      const beside = await collect(stage, messages, { userId: "second" });
      expect(beside.cached).toBeGreaterThan(beside.promptTokens - ownTokensMax);
      expect(beside.text).toBe(await freshAnswer(messages));
      const alone = await collect(stage, question, { maxTokens: 100 });
      expect((await long).text).toBe(alone.text);
    }));
});

test("a conversation makes room beside a running answer, and is found again where it went", () =>
  onStage(3, async (stage) => {
    const talk = (topic: string) => [user(`${topic}, `.repeat(60))];
    const talks = { running: talk("Batches"), kept: talk("Caches"), old: talk("Slots") };
    for (const messages of Object.values(talks)) await collect(stage, messages);
    const abort = new AbortController();
    let begun = () => {};
    const writing = new Promise<void>((resolve) => (begun = resolve));
    const options = { maxTokens: 1400, signal: abort.signal, onText: () => begun() };
    const running = collect(stage, talks.running, options);
    await writing;
    const kept = await collect(stage, talks.kept);
    // Beside the running answer sits the talk just used; at the other end the oldest, which must go.
    await collect(stage, talk("Prefixes"));
    const found = await collect(stage, talks.kept);
    const gone = await collect(stage, talks.old);
    abort.abort();
    await running;
    expect(found.cached).toBe(kept.cached);
    expect(found.cached).toBeGreaterThan(found.promptTokens / 2);
    expect(found.text).toBe(kept.text);
    expect(gone.cached).toBeLessThan(gone.promptTokens / 2);
  }));
