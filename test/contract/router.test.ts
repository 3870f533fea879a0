import { createRouter } from "../../src/api/router.ts";
import { systemTimer } from "../../src/entries/timer.ts";
import { FakeEngine, sayForever, sayWords } from "../support/fake-engine.ts";
import { type ChatEngineHarness, describeChatEngine } from "./chat-engine.ts";

const text = "The fake engine says eight words in all.";

function route(engines: FakeEngine[]): ChatEngineHarness {
  const router = createRouter({
    engines: engines.map((engine, place) => ({
      name: `engine-${place}`,
      engine,
      origin: "settings",
      named: true,
      weight: 1,
      draining: false,
    })),
    timer: systemTimer,
  });
  return { engine: router, model: "fake", text, contextLength: 64, close: async () => {} };
}

/** An endless answer must still go on while the suite looks at the line behind it. */
const models = (answer: string) => [{ id: "fake", contextLength: answer === "finite" ? 64 : 1_000_000, loaded: true }];

describeChatEngine("a router before one engine", async (answer) =>
  route([new FakeEngine({ models: models(answer), script: answer === "finite" ? sayWords(text) : sayForever })]),
);

describeChatEngine("a router before two engines", async (answer) =>
  route(
    [1, 2].map(
      () =>
        new FakeEngine({ models: models(answer), slots: 1, script: answer === "finite" ? sayWords(text) : sayForever }),
    ),
  ),
);
