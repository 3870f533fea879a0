/** Vercel's AI SDK on the API, as its users write it: only address, key and model are ours. */
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, jsonSchema, streamText, tool } from "ai";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type ClientApi, callToken, spoken, startClientApi, thought } from "../support/client-api.ts";

let api: ClientApi;
let model: ReturnType<ReturnType<typeof createOpenAICompatible>["chatModel"]>;

beforeAll(async () => {
  api = await startClientApi();
  const { baseUrl: baseURL, apiKey } = api;
  model = createOpenAICompatible({
    name: "snug",
    baseURL,
    apiKey,
    includeUsage: true,
    supportsStructuredOutputs: true,
  })("tiny");
});
afterAll(() => api.close());

/** The model's lines are fixed: without this it calls. */
const providerOptions = { snug: { logit_bias: { [callToken]: -100 } } };

const weather = tool({
  description: "The weather of a city.",
  inputSchema: jsonSchema<{ city: string }>({
    type: "object",
    properties: { city: { type: "string", enum: ["Paris", "Rome"] } },
    required: ["city"],
    additionalProperties: false,
  }),
  execute: async ({ city }) => ({ city, celsius: 21 }),
});

test("streamText brings text, thoughts, the finish reason and usage", async () => {
  const result = streamText({ model, prompt: "Hello", temperature: 0, maxRetries: 0, providerOptions });
  let text = "";
  for await (const piece of result.textStream) text += piece;
  expect(text.trim()).toBe(spoken);
  expect((await result.reasoningText)?.trim()).toBe(thought);
  expect(await result.finishReason).toBe("stop");
  const usage = await result.usage;
  expect(usage.outputTokens).toBe(11);
  expect(usage.reasoningTokens).toBe(6);
  expect((await api.rows())[0]).toMatchObject({ stream: true, usage: { completionTokens: 11 }, finishReason: "stop" });
});

test("streamText goes through its tool loop", async () => {
  const asking = { model, temperature: 0, maxRetries: 0, tools: { weather } } as const;
  const first = streamText({ ...asking, prompt: "How is Rome?" });
  await first.consumeStream();
  expect(await first.finishReason).toBe("tool-calls");
  const results = await first.toolResults;
  expect(results.length).toBeGreaterThan(0);
  for (const { toolName, output } of results) {
    expect(toolName).toBe("weather");
    expect(output).toMatchObject({ celsius: 21 });
  }
  const messages = [{ role: "user" as const, content: "How is Rome?" }, ...(await first.response).messages];
  const second = streamText({ ...asking, messages, providerOptions });
  await second.consumeStream();
  expect((await second.text).trim()).toBe(spoken);
});

test("generateText answers whole", async () => {
  const { text, usage } = await generateText({
    model,
    prompt: "Hello",
    temperature: 0,
    maxRetries: 0,
    providerOptions,
  });
  expect(text.trim()).toBe(spoken);
  expect(usage.totalTokens).toBe((usage.inputTokens ?? 0) + (usage.outputTokens ?? 0));
});

test("generateObject gets an object of its schema", async () => {
  const schema = jsonSchema<{ ok: boolean }>({
    type: "object",
    properties: { ok: { type: "boolean" } },
    required: ["ok"],
    additionalProperties: false,
  });
  const { object } = await generateObject({ model, prompt: "Is it so?", schema, maxRetries: 0 });
  expect(object).toEqual({ ok: expect.any(Boolean) });
});

test("an unknown model is an error with our sentence", async () => {
  const { baseUrl: baseURL, apiKey } = api;
  const other = createOpenAICompatible({ name: "snug", baseURL, apiKey })("absent");
  await expect(generateText({ model: other, prompt: "Hello", maxRetries: 0 })).rejects.toMatchObject({
    statusCode: 404,
    message: expect.stringContaining("absent"),
    isRetryable: false,
  });
});

test("an aborted stream ends, and its row says so", async () => {
  const leave = new AbortController();
  const result = streamText({ model, prompt: "Hello", abortSignal: leave.signal, maxRetries: 0, onError: () => {} });
  for await (const part of result.fullStream) if (part.type.endsWith("-delta")) leave.abort();
  await expect.poll(async () => (await api.rows())[0]?.settled, { timeout: 10_000 }).toBe(true);
});
