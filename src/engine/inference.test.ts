/** What a request can ask of the model beside text: the real child on tiny models. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startEngine, type TestEngine } from "../../test/support/local-engine.ts";
import type { ChatEvent, ChatRequest } from "../core/chat.ts";

let random: TestEngine;
let endless: TestEngine;
beforeAll(async () => {
  [random, endless] = await Promise.all([
    startEngine({ shape: "tiny", brain: "random" }),
    startEngine({ shape: "tiny", brain: "endless" }),
  ]);
});
afterAll(async () => {
  await Promise.all([random?.close(), endless?.close()]);
});

function ask(more: Partial<ChatRequest> = {}): ChatRequest {
  return { model: "tiny", messages: [{ role: "user", content: "Say it." }], maxTokens: 40, ...more };
}

async function collect({ engine }: TestEngine, request: ChatRequest): Promise<ChatEvent[]> {
  const events: ChatEvent[] = [];
  for await (const event of engine.chat(request, { signal: new AbortController().signal })) events.push(event);
  return events;
}

async function say(engine: TestEngine, more: Partial<ChatRequest>): Promise<string> {
  const events = await collect(engine, ask(more));
  return events.map((event) => (event.type === "text" ? event.text : "")).join("");
}

function refusalOf(events: ChatEvent[]) {
  const last = events.at(-1);
  if (last?.type !== "error") throw new Error(`not refused: ${JSON.stringify(last)}`);
  return last.error;
}

/** Tokens 0 to 255 of the test vocabulary are the bytes. */
const letterA = 65;

describe("sampling", () => {
  test("with one candidate is greedy, whatever the temperature", async () => {
    const greedy = await say(random, { temperature: 0 });
    expect(await say(random, { temperature: 2, topK: 1, topP: 1, minP: 0, seed: 1 })).toBe(greedy);
    expect(await say(random, { temperature: 2, topK: 0, topP: 1, minP: 1, seed: 1 })).toBe(greedy);
    expect(await say(random, { temperature: 2, topK: 0, topP: 1, minP: 0, seed: 1 })).not.toBe(greedy);
  });

  test("penalises repetition when asked, and not otherwise", async () => {
    const greedy = { temperature: 0, maxTokens: 60 };
    const plain = await say(endless, greedy);
    const off = { repeatPenalty: 1, presencePenalty: 0, frequencyPenalty: 0 };
    expect(await say(endless, { ...greedy, ...off })).toBe(plain);
    const words = (text: string) => text.trim().split(" ");
    // The endless line has 16 words and begins again.
    expect(new Set(words(plain)).size).toBe(16);
    for (const penalty of [{ repeatPenalty: 10 }, { presencePenalty: 2 }, { frequencyPenalty: 2 }]) {
      const sampling = { temperature: 0.5, seed: 3, maxTokens: 120 };
      expect(await say(random, { ...sampling, ...penalty }), JSON.stringify(penalty)).not.toBe(
        await say(random, sampling),
      );
    }
    expect(await say(endless, { ...greedy, repeatPenalty: 10 })).not.toBe(plain);
  });

  test("leans to the tokens that logitBias names, and away from them", async () => {
    const five = { temperature: 0, maxTokens: 5 };
    expect(await say(random, { ...five, logitBias: { [letterA]: 100, [letterA + 1]: 50 } })).toBe("AAAAA");
    expect(await say(random, { ...five, logitBias: { [letterA]: -100, [letterA + 1]: 50 } })).toBe("BBBBB");
  });

  test("refuses a bias for a token that the model does not have", async () => {
    const error = refusalOf(await collect(random, ask({ logitBias: { 99999999: 1 } })));
    expect(error).toMatchObject({ code: "invalid_request", param: "logit_bias.99999999" });
    expect(error.message).toContain("its tokens are 0 to ");
  });
});
