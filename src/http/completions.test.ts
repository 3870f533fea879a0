import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openApi, type TestApi } from "../../test/support/api.ts";
import { type Listening, serveEngine } from "../../test/support/engine-server.ts";
import { FakeEngine, sayWords } from "../../test/support/fake-engine.ts";
import type { ChatEvent, TokenLogprob } from "../core/chat.ts";
import { AppError } from "../core/errors.ts";
import { createHttpEngine } from "./client.ts";
import { parseCompletionCall } from "./completions.ts";

const token = (text: string, logprob: number): TokenLogprob => ({
  token: text,
  logprob,
  bytes: [...new TextEncoder().encode(text)],
  top: [
    { token: text, logprob, bytes: [...new TextEncoder().encode(text)] },
    { token: "é", logprob: -3.5, bytes: [195, 169] },
  ],
});
const script = () => [
  { text: "Hel", logprobs: [token("Hel", -0.25)] },
  { text: "lo", logprobs: [token("lo", 0)] },
];

describe("the body of a completion", () => {
  const read = (more: object) => parseCompletionCall({ model: "m", prompt: "Once", ...more });

  it("is a prompt with OpenAI's defaults", () => {
    expect(read({})).toEqual({
      request: { model: "m", messages: [], prompt: "Once", maxTokens: 16 },
      stream: false,
      includeUsage: false,
      echo: false,
    });
    expect(read({ prompt: ["Once"] }).request.prompt).toBe("Once");
    expect(read({ max_tokens: 3, stop: "\n", seed: 7, logprobs: 2, user: "ann" }).request).toMatchObject({
      maxTokens: 3,
      stop: ["\n"],
      seed: 7,
      logprobs: { top: 2 },
      userId: "ann",
    });
  });

  it.each([
    [{ prompt: undefined }, "prompt"],
    [{ prompt: "" }, "prompt"],
    [{ prompt: ["a", "b"] }, "prompt"],
    [{ prompt: [1, 2, 3] }, "prompt"],
    [{ prompt: 5 }, "prompt"],
    [{ model: 5 }, "model"],
    [{ suffix: "the end" }, "suffix"],
    [{ n: 2 }, "n"],
    [{ best_of: 3 }, "best_of"],
    [{ logprobs: 6 }, "logprobs"],
    [{ logprobs: -1 }, "logprobs"],
    [{ logprobs: true }, "logprobs"],
    [{ echo: "yes" }, "echo"],
    [{ echo: true, logprobs: 0 }, "logprobs"],
    [{ max_tokens: 0 }, "max_tokens"],
    [{ max_tokens: 1.5 }, "max_tokens"],
    [{ temperature: 3 }, "temperature"],
    [{ top_p: 0 }, "top_p"],
    [{ presence_penalty: 3 }, "presence_penalty"],
    [{ frequency_penalty: "a" }, "frequency_penalty"],
    [{ logit_bias: { word: 1 } }, "logit_bias.word"],
    [{ stop: [""] }, "stop[0]"],
    [{ stream: 1 }, "stream"],
    [{ stream_options: "usage" }, "stream_options"],
    [{ user: 7 }, "user"],
    [{ seed: 0.5 }, "seed"],
  ])("with %j is refused, naming the field", (wrong, param) => {
    expect(() => read(wrong)).toThrowError(expect.objectContaining({ code: "invalid_request", param }));
  });
});

describe("a completion", () => {
  let api: TestApi;
  beforeEach(async () => {
    api = await openApi({ engine: { script } });
  });
  afterEach(() => api.close());

  const complete = (more: object) =>
    api.request("/v1/completions", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model: "fake", prompt: "Say ", ...more }),
    });

  it("is one text, has its row, and echoes the prompt if asked", async () => {
    const whole = (await (await complete({ echo: true })).json()) as Record<string, unknown>;
    expect(whole).toMatchObject({
      id: expect.stringMatching(/^cmpl-/),
      object: "text_completion",
      choices: [{ index: 0, text: "Say Hello", logprobs: null, finish_reason: "stop" }],
      usage: { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 },
    });
    expect(await api.rows()).toMatchObject([{ id: whole.id, finishReason: "stop", usage: { completionTokens: 2 } }]);
  });

  it("tells logprobs as lists side by side, with each token's place", async () => {
    const { choices } = (await (await complete({ logprobs: 2 })).json()) as { choices: { logprobs: unknown }[] };
    expect(choices[0]!.logprobs).toEqual({
      tokens: ["Hel", "lo"],
      token_logprobs: [-0.25, 0],
      top_logprobs: [
        { Hel: -0.25, é: -3.5 },
        { lo: 0, é: -3.5 },
      ],
      text_offset: [0, 3],
    });
  });

  it("streams", async () => {
    const text = await (await complete({ stream: true, logprobs: 0, stream_options: { include_usage: true } })).text();
    const chunks = [...text.matchAll(/^data: (\{.*\})$/gm)].map((match) => JSON.parse(match[1]!));
    expect(chunks.map(({ choices }) => choices[0]?.text)).toEqual(["", "Hel", "lo", "", undefined]);
    expect(chunks[2].choices[0].logprobs.text_offset).toEqual([3]);
    expect(chunks.at(-2).choices[0].finish_reason).toBe("stop");
    expect(chunks.at(-1).usage).toMatchObject({ completion_tokens: 2 });
    expect(text.trimEnd().endsWith("data: [DONE]")).toBe(true);
  });

  it("that breaks off ends without [DONE]", async () => {
    api.engine.script = function* () {
      yield { text: "Hel" };
      yield { error: new AppError("engine_unavailable", "Gone.") };
    };
    const text = await (await complete({ stream: true })).text();
    expect(text).toContain('"code":"engine_unavailable"');
    expect(text).not.toContain("[DONE]");
  });
});

describe("probabilities over the wire", () => {
  let listening: Listening;
  let engine: FakeEngine;
  beforeEach(async () => {
    engine = new FakeEngine({ script });
    listening = await serveEngine(engine);
  });
  afterEach(() => listening.close());

  async function ask(request: object) {
    const client = createHttpEngine({ baseUrl: listening.url, clock: { now: () => Date.now() } });
    const events: ChatEvent[] = [];
    const whole = { model: "fake", messages: [], ...request };
    for await (const event of client.chat(whole, { signal: new AbortController().signal })) events.push(event);
    return events;
  }

  it.each([
    ["a chat", { messages: [{ role: "user", content: "Say it." }], logprobs: { top: 2 } }],
    ["a completion", { prompt: "Say it.", logprobs: { top: 2 } }],
  ])("come back from %s as they were told", async (_form, request) => {
    const events = await ask(request);
    expect(engine.requests[0]).toMatchObject(request);
    const told = events.flatMap((event) => (event.type === "text" ? (event.logprobs ?? []) : []));
    expect(told).toEqual([token("Hel", -0.25), token("lo", 0)]);
    expect(events.at(-1)?.type).toBe("finish");
  });

  it("a text to go on from is asked for as such", async () => {
    engine.script = sayWords("and so on");
    const events = await ask({ prompt: "First, <|im_start|>second" });
    expect(engine.requests[0]).toMatchObject({ prompt: "First, <|im_start|>second", messages: [] });
    expect(events.map((event) => (event.type === "text" ? event.text : "")).join("")).toBe("and so on");
  });
});
