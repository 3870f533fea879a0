/** LangChain.js on the API, as its users write it: only address, key and model are ours. */
import { AIMessageChunk, HumanMessage, type ToolMessage } from "@langchain/core/messages";
import { tool } from "@langchain/core/tools";
import { ChatOpenAI } from "@langchain/openai";
import { afterAll, beforeAll, expect, test } from "vitest";
import * as z from "zod";
import { type ClientApi, callToken, spoken, startClientApi } from "../support/client-api.ts";

let api: ClientApi;
let model: ChatOpenAI;

beforeAll(async () => {
  api = await startClientApi();
  // The model's lines are fixed: without this it calls.
  model = connect({ modelKwargs: { logit_bias: { [callToken]: -100 } } });
});
afterAll(() => api.close());

function connect(more: object = {}): ChatOpenAI {
  const { baseUrl: baseURL, apiKey } = api;
  return new ChatOpenAI({ model: "tiny", apiKey, temperature: 0, maxRetries: 0, ...more, configuration: { baseURL } });
}

test("invoke answers whole, with usage", async () => {
  const answer = await model.invoke("Hello");
  expect(answer.text.trim()).toBe(spoken);
  expect(answer.usage_metadata).toMatchObject({ output_tokens: 11 });
  expect(answer.response_metadata).toMatchObject({ finish_reason: "stop" });
});

test("stream brings pieces that add up", async () => {
  let whole: AIMessageChunk | undefined;
  let pieces = 0;
  for await (const piece of await model.stream("Hello")) {
    pieces++;
    whole = whole === undefined ? piece : whole.concat(piece);
  }
  expect(pieces).toBeGreaterThan(3);
  expect(whole).toBeInstanceOf(AIMessageChunk);
  expect(whole?.text.trim()).toBe(spoken);
  expect(whole?.usage_metadata).toMatchObject({ output_tokens: 11 });
});

test("bound tools are called, and their results taken back", async () => {
  const weather = tool(async ({ city }) => `21 degrees in ${city}`, {
    name: "weather",
    description: "The weather of a city.",
    schema: z.object({ city: z.enum(["Paris", "Rome"]) }),
  });
  const question = new HumanMessage("How is Rome?");
  const asked = await connect().bindTools([weather]).invoke([question]);
  expect(asked.tool_calls?.length).toBeGreaterThan(0);
  const results: ToolMessage[] = [];
  for (const call of asked.tool_calls ?? []) results.push(await weather.invoke({ ...call, type: "tool_call" }));
  expect(results[0]!.text).toMatch(/^21 degrees in (Paris|Rome)$/);
  // The model would call again: its lines are fixed.
  const bias = { modelKwargs: { logit_bias: { [callToken]: -100 } } };
  const answer = await connect(bias)
    .bindTools([weather])
    .invoke([question, asked, ...results]);
  expect(answer.text.trim()).toBe(spoken);
});

test.each(["jsonSchema", "functionCalling"] as const)("withStructuredOutput by %s gets an object", async (method) => {
  const schema = z.object({ ok: z.boolean() });
  const asked = connect().withStructuredOutput(schema, { name: "answer", method });
  expect(await asked.invoke("Is it so?")).toEqual({ ok: expect.any(Boolean) });
});

test("tools are called by the Responses form too", async () => {
  const schema = z.object({ city: z.enum(["Paris", "Rome"]) });
  const weather = tool(async () => "21 degrees", { name: "weather", description: "The weather of a city.", schema });
  const asked = await connect({ useResponsesApi: true }).bindTools([weather]).invoke("How is Rome?");
  expect(asked.tool_calls?.[0]).toMatchObject({
    name: "weather",
    args: { city: expect.stringMatching(/^(Paris|Rome)$/) },
  });
});

test("a wrong key is an error with its status", async () => {
  const { baseUrl: baseURL } = api;
  const stranger = new ChatOpenAI({ model: "tiny", apiKey: "sk-wrong", maxRetries: 0, configuration: { baseURL } });
  await expect(stranger.invoke("Hello")).rejects.toMatchObject({ status: 401 });
});
