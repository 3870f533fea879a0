/** OpenAI's own client on an engine: tools, thoughts and forms as it expects them, and as our client reads them back. */
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { serve } from "@hono/node-server";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ChatEvent } from "../../src/core/chat.ts";
import { createEngineApp } from "../../src/engine/app.ts";
import { createHttpEngine } from "../../src/http/client.ts";
import { RECIPES } from "../support/gguf/architectures.ts";
import { createToolTemplate } from "../support/gguf/tool-template.ts";
import { startEngine, type TestEngine } from "../support/local-engine.ts";

const clock = { now: () => Date.now() };
const logger = { debug() {}, info() {}, warn() {}, error: console.error };

/** Calls if it may, else thinks and speaks. */
const script = ["<tool_call>", "<think> Memory use was measured </think> The queue holds requests"];
const callToken = RECIPES.qwen3.vocabulary(0).tokens.indexOf("<tool_call>");

const tools: OpenAI.ChatCompletionTool[] = [
  {
    type: "function",
    function: {
      name: "weather",
      description: "The weather of a city.",
      parameters: {
        type: "object",
        properties: { city: { type: "string", enum: ["Paris", "Rome"] } },
        required: ["city"],
        additionalProperties: false,
      },
      strict: true,
    },
  },
];

let test_: TestEngine;
let server: Server;
let baseUrl: string;
let client: OpenAI;

beforeAll(async () => {
  test_ = await startEngine({ shape: "tiny", brain: "script", script, metadata: [createToolTemplate()] });
  const app = createEngineApp({ engine: test_.engine, token: "secret", clock, logger });
  server = await new Promise<Server>((resolve) => {
    const starting = serve({ fetch: app.fetch, hostname: "127.0.0.1", port: 0 }, () => resolve(starting as Server));
  });
  baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  client = new OpenAI({ baseURL: `${baseUrl}/v1`, apiKey: "secret", maxRetries: 0 });
});
afterAll(async () => {
  server?.closeAllConnections();
  server?.close();
  await test_?.close();
});

const asked = {
  model: "tiny",
  tools,
  temperature: 0,
  max_tokens: 200,
} satisfies Partial<OpenAI.ChatCompletionCreateParams>;

/** Runs the loop of a program with tools until the model has answered. */
async function converse(ask: (body: OpenAI.ChatCompletionCreateParamsNonStreaming) => Promise<OpenAI.ChatCompletion>) {
  const messages: OpenAI.ChatCompletionMessageParam[] = [{ role: "user", content: "How is Rome?" }];
  const called: string[] = [];
  for (let turn = 0; turn < 3; turn++) {
    // A model of two lines cannot know that it has a result; this keeps it from asking again.
    const logit_bias: Record<string, number> = turn === 0 ? {} : { [callToken]: -100 };
    const { choices, usage } = await ask({ ...asked, messages, logit_bias });
    const { message, finish_reason } = choices[0]!;
    messages.push(message);
    if (finish_reason !== "tool_calls") return { message, finish_reason, usage, called };
    for (const call of message.tool_calls ?? []) {
      if (call.type !== "function") throw new Error("not a function");
      const { city } = JSON.parse(call.function.arguments) as { city: string };
      called.push(`${call.function.name}(${city})`);
      messages.push({ role: "tool", tool_call_id: call.id, content: JSON.stringify({ city, celsius: 21 }) });
    }
  }
  throw new Error("never answered");
}

describe("OpenAI's client", () => {
  test.each([
    ["whole", (body: OpenAI.ChatCompletionCreateParamsNonStreaming) => client.chat.completions.create(body)],
    [
      "streamed",
      (body: OpenAI.ChatCompletionCreateParamsNonStreaming) =>
        client.chat.completions
          .stream({ ...body, stream: true, stream_options: { include_usage: true } })
          .finalChatCompletion(),
    ],
  ])("goes through its tool loop, %s", async (_form, ask) => {
    const { message, finish_reason, usage, called } = await converse(ask);
    expect(called.length).toBeGreaterThan(0);
    for (const call of called) expect(call).toMatch(/^weather\((Paris|Rome)\)$/);
    expect(message.content?.trim()).toBe("The queue holds requests");
    expect(finish_reason).toBe("stop");
    expect(usage?.completion_tokens).toBe(11);
    expect(usage?.completion_tokens_details?.reasoning_tokens).toBe(6);
  });

  test("finds thoughts beside the answer", async () => {
    const logit_bias = { [callToken]: -100 };
    const body = { ...asked, messages: [{ role: "user" as const, content: "Hi" }], logit_bias };
    const { choices } = await client.chat.completions.create(body);
    expect(choices[0]!.message).toMatchObject({ reasoning_content: "Memory use was measured", role: "assistant" });
    let thoughts = "";
    for await (const chunk of await client.chat.completions.create({ ...body, stream: true })) {
      const delta = chunk.choices[0]?.delta as { reasoning_content?: string } | undefined;
      thoughts += delta?.reasoning_content ?? "";
    }
    expect(thoughts).toBe("Memory use was measured");
  });

  test("gets JSON of its schema", async () => {
    const schema = { type: "object", properties: { ok: { type: "boolean" } }, required: ["ok"] };
    const { choices } = await client.chat.completions.create({
      model: "tiny",
      messages: [{ role: "user", content: "Is it so?" }],
      max_tokens: 300,
      response_format: { type: "json_schema", json_schema: { name: "answer", strict: true, schema } },
    });
    expect(JSON.parse(choices[0]!.message.content!)).toEqual({ ok: expect.any(Boolean) });
  });

  test("is told which part of a schema cannot be kept", async () => {
    const schema = { type: "object", properties: { code: { type: "string", pattern: "^a$" } } };
    const asking = client.chat.completions.create({
      model: "tiny",
      messages: [{ role: "user", content: "Is it so?" }],
      response_format: { type: "json_schema", json_schema: { name: "answer", strict: true, schema } },
    });
    await expect(asking).rejects.toMatchObject({
      status: 400,
      param: "response_format.json_schema.schema.properties.code.pattern",
    });
  });
});

test("our client reads back calls and thoughts as the engine told them", async () => {
  const engine = createHttpEngine({ baseUrl, token: "secret", clock });
  const request = {
    model: "tiny",
    messages: [{ role: "user" as const, content: "How is Rome?" }],
    temperature: 0,
    maxTokens: 200,
  };
  const read = async (source: typeof engine, more: object) => {
    const events: ChatEvent[] = [];
    for await (const event of source.chat({ ...request, ...more }, { signal: new AbortController().signal })) {
      events.push(event);
    }
    const joined = { text: "", reasoning: "", calls: [] as string[], ids: 0 };
    for (const event of events) {
      if (event.type === "text" || event.type === "reasoning") joined[event.type] += event.text;
      if (event.type === "tool_call") {
        joined.calls[event.index] = (joined.calls[event.index] ?? "") + (event.name ?? "") + event.arguments;
        if (event.id !== undefined) joined.ids++;
      }
    }
    const end = events.at(-1);
    if (end?.type !== "finish") throw new Error(`not finished: ${JSON.stringify(end)}`);
    // The second to ask finds the prompt evaluated.
    const { cachedPromptTokens: _, ...usage } = end.usage;
    return { ...joined, finishReason: end.finishReason, usage };
  };
  const weather = { name: "weather", parameters: { type: "object", properties: { city: { enum: ["Paris"] } } } };
  for (const more of [{ tools: [weather] }, { logitBias: { [callToken]: -100 } }]) {
    const [near, far] = [await read(test_.engine, more), await read(engine, more)];
    expect(far).toEqual(near);
  }
});
