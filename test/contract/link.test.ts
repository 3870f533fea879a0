import { FakeEngine, sayForever, sayWords } from "../support/fake-engine.ts";
import { linkInMemory } from "../support/link.ts";
import { type AnswerLength, describeChatEngine } from "./chat-engine.ts";

const text = "The fake engine says eight words in all.";

async function fakeOverLink(answer: AnswerLength) {
  const contextLength = answer === "finite" ? 64 : 1e9;
  const engine = new FakeEngine({
    models: [{ id: "fake", contextLength, loaded: true }],
    script: answer === "finite" ? sayWords(text) : sayForever,
  });
  const { session, cut } = await linkInMemory(engine);
  return { engine: session, model: "fake", text, contextLength, close: async () => cut() };
}

describeChatEngine("a scripted engine behind a link", fakeOverLink);
