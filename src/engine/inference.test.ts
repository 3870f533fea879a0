/** What a request can ask of the model beside text: the real child on tiny models. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import * as z from "zod";
import { createToolTemplate } from "../../test/support/gguf/tool-template.ts";
import { createBpeVocabulary } from "../../test/support/gguf/vocabulary.ts";
import type { ModelOptions } from "../../test/support/gguf/write-model.ts";
import { startEngine, type TestEngine } from "../../test/support/local-engine.ts";
import { type ChatEvent, type ChatRequest, isDelta } from "../core/chat.ts";

let random: TestEngine;
let endless: TestEngine;
beforeAll(async () => {
  [random, endless] = await Promise.all([
    startEngine({ shape: "tiny", brain: "random" }, { settings: { sequenceCount: 4 } }),
    startEngine({ shape: "tiny", brain: "endless" }),
  ]);
});
afterAll(async () => {
  await Promise.all([random?.close(), endless?.close()]);
});

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
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

test("a prompt of no token at all is refused; others are answered meanwhile", async () => {
  const other = say(random, { seed: 1 });
  const error = refusalOf(await collect(random, ask({ messages: [], prompt: "" })));
  expect(error).toMatchObject({ code: "invalid_request", param: "prompt" });
  expect(error.message).toBe("prompt is empty; this model needs at least one word.");
  expect(await other).not.toBe("");
});

/** A model that says these words. */
async function scripted(...script: string[]): Promise<TestEngine> {
  const engine = await startEngine({ shape: "tiny", brain: "script", script });
  closers.push(engine.close);
  return engine;
}

function partsOf(events: ChatEvent[]) {
  const of = (type: "text" | "reasoning") => events.map((event) => (event.type === type ? event.text : "")).join("");
  const calls: { id: string | undefined; name: string | undefined; arguments: string }[] = [];
  for (const event of events) {
    if (event.type !== "tool_call") continue;
    calls[event.index] ??= { id: event.id, name: event.name, arguments: "" };
    calls[event.index]!.arguments += event.arguments;
  }
  const finish = events.at(-1);
  if (finish?.type !== "finish") throw new Error(`not finished: ${JSON.stringify(finish)}`);
  return { text: of("text"), reasoning: of("reasoning"), calls, ...finish };
}

describe("a model that thinks", () => {
  test("has its thoughts told apart from its answer, and counted", async () => {
    const engine = await scripted("<think> Memory use was measured </think> The queue holds requests");
    const events = await collect(engine, ask({ temperature: 0 }));
    const { text, reasoning, usage, finishReason } = partsOf(events);
    expect({ text, reasoning, finishReason }).toEqual({
      reasoning: "Memory use was measured",
      text: "The queue holds requests",
      finishReason: "stop",
    });
    // Both tags and the four words; then four words and the end of the turn.
    expect(usage).toMatchObject({ reasoningTokens: 6, completionTokens: 11 });
    const told = events.reduce((sum, event) => sum + (isDelta(event) ? (event.tokenCount ?? 1) : 0), 0);
    expect(told).toBeGreaterThanOrEqual(10);
  });

  test("may be told to by its template: a form and a call come after the thought", async () => {
    const engine = await startEngine({
      shape: "tiny",
      brain: "script",
      // The newline of the template's opening is what leads to the first word.
      script: ["Memory use was measured </think>"],
      metadata: [createToolTemplate("<think>\\n")],
    });
    closers.push(engine.close);
    const form: Partial<ChatRequest> = {
      responseFormat: {
        type: "json_schema",
        name: "x",
        schema: { type: "object", properties: { ok: { type: "boolean" } }, required: ["ok"] },
        strict: true,
      },
    };
    const formed = partsOf(await collect(engine, ask({ ...form, maxTokens: 200, seed: 2 })));
    expect(formed.reasoning).toBe("Memory use was measured");
    expect(JSON.parse(formed.text)).toEqual({ ok: expect.any(Boolean) });
    const forced: Partial<ChatRequest> = { tools: [{ name: "now" }], toolChoice: "required", parallelToolCalls: false };
    const called = partsOf(await collect(engine, ask({ ...forced, maxTokens: 200, seed: 2 })));
    expect(called).toMatchObject({
      reasoning: "Memory use was measured",
      text: "",
      calls: [{ name: "now", arguments: "{}" }],
      finishReason: "tool_calls",
    });
  });

  test("is penalised in its form for what it thought", async () => {
    const engine = await startEngine({ shape: "tiny", brain: "zeros", metadata: [createToolTemplate("<think>\\n")] });
    closers.push(engine.close);
    const endOfThought = createBpeVocabulary({ template: "chatml", pre: "qwen2", size: 0 }).tokens.indexOf("</think>");
    const request: Partial<ChatRequest> = {
      temperature: 0,
      // All else is equally likely: an A, once it is penalised the thought's end, and after it the B.
      logitBias: { [letterA]: 50, [endOfThought]: 49.5, [letterA + 1]: 49 },
      responseFormat: { type: "json_schema", name: "x", schema: { enum: ["A", "B"] }, strict: true },
    };
    const { reasoning, text } = partsOf(await collect(engine, ask({ ...request, presencePenalty: 2 })));
    expect({ reasoning, text }).toEqual({ reasoning: "A", text: '"B"' });
  });

  test("keeps to its limit while it thinks", async () => {
    const engine = await scripted("<think> Memory use was measured </think> The queue holds requests");
    const { text, reasoning, usage, finishReason } = partsOf(
      await collect(engine, ask({ temperature: 0, maxTokens: 4 })),
    );
    expect({ text, reasoning, finishReason }).toEqual({
      reasoning: "Memory use was",
      text: "",
      finishReason: "length",
    });
    expect(usage).toMatchObject({ reasoningTokens: 4, completionTokens: 4 });
  });
});

describe("tools", () => {
  const weather = {
    name: "weather",
    description: "The weather of a city.",
    parameters: {
      type: "object",
      properties: { city: { enum: ["Paris", "Rome"] }, days: { type: "integer", minimum: 1, maximum: 3 } },
      required: ["city", "days"],
    },
    strict: true,
  };
  const now = { name: "now" };

  async function withTools(model: ModelOptions): Promise<TestEngine> {
    const engine = await startEngine({ shape: "tiny", ...model, metadata: [createToolTemplate()] });
    closers.push(engine.close);
    return engine;
  }

  test("that must be called are called, with arguments of their schema", async () => {
    for (const seed of [1, 2, 3, 4, 5]) {
      const events = await collect(
        random,
        ask({ tools: [weather], toolChoice: "required", parallelToolCalls: false, seed, maxTokens: 400 }),
      );
      const { text, calls, finishReason } = partsOf(events);
      expect(finishReason).toBe("tool_calls");
      expect(text).toBe("");
      expect(calls).toHaveLength(1);
      expect(calls[0]).toMatchObject({ name: "weather", id: expect.stringMatching(/^call_/) });
      const { city, days } = JSON.parse(calls[0]!.arguments);
      expect(["Paris", "Rome"]).toContain(city);
      expect([1, 2, 3]).toContain(days);
    }
  });
  test("are called in the form of the model's template, of its own accord", async () => {
    const engine = await withTools({ brain: "script", script: ["The queue holds requests <tool_call>"] });
    expect(engine.engine.status().model?.chatTemplate).toBe("JinjaTemplate");
    for (const seed of [1, 2, 3]) {
      const events = await collect(engine, ask({ tools: [weather], parallelToolCalls: false, seed, maxTokens: 400 }));
      const { text, calls, finishReason, usage } = partsOf(events);
      expect({ text, finishReason }).toEqual({ text: " The queue holds requests", finishReason: "tool_calls" });
      expect(calls.map(({ name }) => name)).toEqual(["weather"]);
      expect(JSON.parse(calls[0]!.arguments)).toMatchObject({ city: expect.any(String), days: expect.any(Number) });
      expect(usage.completionTokens).toBeGreaterThan(10);
    }
  });

  test("are not called when the caller forbids it, and the mark of a call is no text", async () => {
    const engine = await withTools({ brain: "script", script: ["The queue holds requests <tool_call>"] });
    const { text, calls, finishReason } = partsOf(
      await collect(engine, ask({ tools: [weather], toolChoice: "none", temperature: 0, maxTokens: 6 })),
    );
    expect({ text, calls, finishReason }).toMatchObject({ text: " The queue holds requests", calls: [] });
  });

  test("of a random model are always the named one, with arguments that parse", async () => {
    const engine = await withTools({ brain: "random" });
    const several: number[] = [];
    for (let seed = 0; seed < 20; seed++) {
      const request = ask({ tools: [weather, now], toolChoice: "required", seed, temperature: 1.5, maxTokens: 400 });
      const { calls, finishReason } = partsOf(await collect(engine, request));
      if (finishReason === "length") continue;
      expect(finishReason).toBe("tool_calls");
      several.push(calls.length);
      for (const call of calls) {
        expect(["weather", "now"]).toContain(call.name);
        expect(Object.keys(JSON.parse(call.arguments))).toEqual(call.name === "now" ? [] : ["city", "days"]);
      }
      expect(new Set(calls.map(({ id }) => id)).size).toBe(calls.length);
    }
    expect(several.length).toBeGreaterThan(0);
    const named = ask({
      tools: [weather, now],
      toolChoice: { name: "now" },
      parallelToolCalls: false,
      seed: 1,
      maxTokens: 200,
    });
    expect(partsOf(await collect(engine, named)).calls).toEqual([
      { id: expect.stringMatching(/^call_/), name: "now", arguments: "{}" },
    ]);
  });

  test("and their results are part of the conversation, counted before it is answered", async () => {
    const engine = await withTools({ brain: "script" });
    const call = { id: "call_1", name: "weather", arguments: '{"city":"Rome","days":1}' };
    const messages: ChatRequest["messages"] = [
      { role: "user", content: "How is Rome?" },
      { role: "assistant", content: "", toolCalls: [call] },
      { role: "tool", toolCallId: "call_1", content: '{"celsius":21}' },
    ];
    const short = partsOf(await collect(engine, ask({ messages, tools: [weather], temperature: 0 })));
    expect(short.text.trim()).toBe(
      "Hello from a tiny random model built to check streaming, batching and cancel on this node.",
    );
    const long = "sunny ".repeat(100);
    const longer = partsOf(
      await collect(
        engine,
        ask({
          messages: [...messages.slice(0, 2), { ...messages[2]!, content: long }],
          tools: [weather],
          temperature: 0,
        }),
      ),
    );
    expect(longer.usage.promptTokens! - short.usage.promptTokens!).toBeGreaterThan(400);
    const error = refusalOf(
      await collect(engine, ask({ messages, tools: [{ ...weather, description: "word ".repeat(3000) }] })),
    );
    expect(error.code).toBe("context_length_exceeded");
  });

  test("with arguments that cannot be held to their schema are refused when strict", async () => {
    const parameters = { type: "object", properties: { code: { type: "string", pattern: "^a$" } } };
    const error = refusalOf(await collect(random, ask({ tools: [now, { name: "f", parameters, strict: true }] })));
    expect(error).toMatchObject({
      code: "invalid_request",
      param: "tools[1].function.parameters.properties.code.pattern",
    });
  });
});

describe("a form of the answer", () => {
  const order = z.object({
    kind: z.enum(["pizza", 'a "quoted" dish', "面条"]),
    count: z.int().min(1).max(12),
    price: z.number().min(0),
    note: z.string().max(12).optional(),
    tags: z.array(z.enum(["hot", "cold"])).max(3),
    eaten: z.boolean(),
    parent: z.union([z.null(), z.object({ id: z.uuid(), at: z.iso.date() })]),
    pair: z.tuple([z.boolean(), z.null()]),
  });
  const form = (schema: z.ZodType, strict = true): Partial<ChatRequest> => {
    const { $schema: _, ...jsonSchema } = z.toJSONSchema(schema, {
      override: ({ jsonSchema: part }) => void delete part.pattern,
    });
    return { responseFormat: { type: "json_schema", name: "form", schema: jsonSchema, strict } };
  };

  test("is kept over 200 seeds", { timeout: 120_000 }, async () => {
    let length = 0;
    const run = async (seed: number) => {
      const events = await collect(random, ask({ ...form(order), seed, temperature: 1.5, topP: 1, maxTokens: 600 }));
      const { text, finishReason } = partsOf(events);
      if (finishReason === "length") length++;
      else expect(() => order.parse(JSON.parse(text)), `seed ${seed}: ${text}`).not.toThrow();
    };
    for (let seed = 0; seed < 200; seed += 4) {
      await Promise.all([run(seed), run(seed + 1), run(seed + 2), run(seed + 3)]);
    }
    // Cut ones are told by their finish reason, and are few.
    expect(length).toBeLessThan(10);
  });

  test("may be any object, over 200 seeds", { timeout: 120_000 }, async () => {
    const cut: number[] = [];
    const run = async (seed: number) => {
      const events = await collect(
        random,
        ask({ responseFormat: { type: "json_object" }, seed, temperature: 1, maxTokens: 300 }),
      );
      const { text, finishReason } = partsOf(events);
      if (finishReason === "length") cut.push(seed);
      else expect(JSON.parse(text), `seed ${seed}`).toEqual(expect.any(Object));
      expect(text.trimStart()).toMatch(/^\{/);
    };
    for (let seed = 0; seed < 200; seed += 4) {
      await Promise.all([run(seed), run(seed + 1), run(seed + 2), run(seed + 3)]);
    }
    expect(cut.length).toBeLessThan(190);
  });

  test("may refer to itself, and ends", async () => {
    const tree: z.ZodType = z.object({
      leaf: z.boolean(),
      get branches() {
        return z.array(tree).max(2);
      },
    });
    const whole: boolean[] = [];
    for (let seed = 0; seed < 20; seed++) {
      const { text, finishReason } = partsOf(await collect(random, ask({ ...form(tree), seed, maxTokens: 400 })));
      whole.push(finishReason === "stop");
      if (finishReason === "stop") tree.parse(JSON.parse(text));
    }
    expect(whole).toContain(true);
  });

  test("leaves no room for thoughts that the template did not begin", async () => {
    const engine = await scripted("<think> Memory use was measured </think> The queue holds requests");
    const { text, reasoning } = partsOf(
      await collect(engine, ask({ ...form(z.object({ ok: z.boolean() })), maxTokens: 200 })),
    );
    expect(reasoning).toBe("");
    expect(JSON.parse(text), JSON.stringify(text)).toEqual({ ok: expect.any(Boolean) });
  });

  test.each([
    ["a pattern", { type: "string", pattern: "^a+$" }, "response_format.json_schema.schema.pattern"],
    [
      "a bound of a number within",
      { type: "object", properties: { x: { type: "number", maximum: 3 } } },
      "response_format.json_schema.schema.properties.x.maximum",
    ],
    ["a type that is none", { type: "text" }, "response_format.json_schema.schema.type"],
    ["a reference to nothing", { $ref: "#/$defs/a" }, "response_format.json_schema.schema"],
    ["a reference to elsewhere", { $ref: "https://example.com/a" }, "response_format.json_schema.schema.$ref"],
    [
      "a reference that never ends",
      { $ref: "#/$defs/a", $defs: { a: { anyOf: [{ $ref: "#/$defs/a" }] } } },
      "response_format.json_schema.schema.$defs.a.anyOf[0].$ref",
    ],
    ["no alternatives", { anyOf: [] }, "response_format.json_schema.schema.anyOf"],
    [
      "an unknown required member",
      { type: "object", properties: {}, required: ["a"] },
      "response_format.json_schema.schema.required",
    ],
    ["a text too long to count", { type: "string", maxLength: 5000 }, "response_format.json_schema.schema.maxLength"],
    ["crossed bounds", { type: "integer", minimum: 3, maximum: 1 }, "response_format.json_schema.schema"],
  ])("with %s is refused when it is strict", async (_name, schema, param) => {
    const strict = refusalOf(
      await collect(random, ask({ responseFormat: { type: "json_schema", name: "x", schema, strict: true } })),
    );
    expect(strict).toMatchObject({ code: "invalid_request", param });
  });

  test("that is not strict keeps what can be kept", async () => {
    const schema = {
      type: "object",
      properties: { code: { type: "string", pattern: "^[A-Z]$", maxLength: 4 } },
      required: ["code"],
      not: {},
    };
    const { text } = partsOf(
      await collect(
        random,
        ask({ responseFormat: { type: "json_schema", name: "x", schema, strict: false }, seed: 1 }),
      ),
    );
    expect([...JSON.parse(text).code].length, text).toBeLessThanOrEqual(4);
  });
});

describe("a conversation longer than the context", () => {
  const turns = Array.from({ length: 60 }, (_, index): ChatRequest["messages"] => [
    { role: "user", content: `Question ${index} about batching, slots and caches.` },
    { role: "assistant", content: "The queue holds requests until one slot becomes free again." },
  ]).flat();
  const messages: ChatRequest["messages"] = [
    { role: "system", content: "Be brief." },
    ...turns,
    { role: "user", content: "Say it." },
  ];

  test("is refused, and answered without its beginning only when asked", async () => {
    expect(refusalOf(await collect(random, ask({ messages }))).code).toBe("context_length_exceeded");
    const { usage } = partsOf(await collect(random, ask({ messages, truncation: "auto", maxTokens: 20, seed: 1 })));
    expect(usage.promptTokens! + 20).toBeLessThanOrEqual(2048);
    expect(usage.promptTokens).toBeGreaterThan(1900);
    const tooMuch: ChatRequest["messages"] = [{ role: "user", content: "word ".repeat(3000) }];
    const error = refusalOf(await collect(random, ask({ messages: tooMuch, truncation: "auto" })));
    expect(error.code).toBe("context_length_exceeded");
  });
});
