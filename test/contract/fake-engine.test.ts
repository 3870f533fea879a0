import { expect, test } from "vitest";
import type { ChatEvent } from "../../src/core/chat.ts";
import { AppError } from "../../src/core/errors.ts";
import { FakeEngine, sayForever, sayWords } from "../support/fake-engine.ts";
import { describeChatEngine } from "./chat-engine.ts";

const text = "The fake engine says eight words in all.";

describeChatEngine("the scripted fake", async (answer) => {
  const contextLength = answer === "finite" ? 64 : 1e9;
  return {
    engine: new FakeEngine({
      models: [{ id: "fake", contextLength, loaded: true }],
      script: answer === "finite" ? sayWords(text) : sayForever,
    }),
    model: "fake",
    text,
    contextLength,
    close: async () => {},
  };
});

test("a hold keeps the answer until it is released", async () => {
  const engine = new FakeEngine({ script: () => [{ text: "one " }, { hold: "middle" }, { text: "two" }] });
  const request = { model: "fake", messages: [{ role: "user" as const, content: "Count." }] };
  const events: ChatEvent[] = [];
  const reading = (async () => {
    for await (const event of engine.chat(request, { signal: new AbortController().signal })) events.push(event);
  })();
  await engine.reached("middle");
  expect(events.map((event) => event.type)).toEqual(["start", "text"]);
  engine.release("middle");
  await reading;
  expect(events.map((event) => event.type)).toEqual(["start", "text", "text", "finish"]);
  expect(engine.requests).toEqual([request]);
});

test("an error step ends the answer with that error", async () => {
  const error = new AppError("engine_unavailable", "The engine went away.");
  const engine = new FakeEngine({ script: () => [{ text: "one " }, { error }] });
  const request = { model: "fake", messages: [{ role: "user" as const, content: "Count." }] };
  const events: ChatEvent[] = [];
  for await (const event of engine.chat(request, { signal: new AbortController().signal })) events.push(event);
  expect(events.at(-1)).toMatchObject({ type: "error", error: error.toFacts(), usage: { completionTokens: 1 } });
});
