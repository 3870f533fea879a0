import OpenAI from "openai";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openApi, type TestApi } from "../../test/support/api.ts";
import { type Listening, listenLocally } from "../../test/support/engine-server.ts";
import type { FakeStep } from "../../test/support/fake-engine.ts";
import { AppError } from "../core/errors.ts";

let api: TestApi;
let listening: Listening;
let client: OpenAI;

beforeEach(async () => {
  api = await openApi();
  listening = await listenLocally(api.app.fetch);
  client = new OpenAI({ baseURL: `${listening.url}/v1`, apiKey: api.admin.secret, maxRetries: 0 });
});

afterEach(async () => {
  await listening.close();
  api.close();
});

const post = (body: object) =>
  api.request("/v1/responses", {
    method: "POST",
    body: JSON.stringify({ model: "fake", input: "Say it.", ...body }),
    headers: { "content-type": "application/json" },
  });

const weather = {
  type: "function",
  name: "weather",
  description: "Tells the weather.",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  strict: false,
} as const;

/** Thinks, speaks, and calls twice. */
const busyScript = (): FakeStep[] => [
  { piece: { type: "reasoning", text: "It asks" } },
  { piece: { type: "reasoning", text: " for weather." } },
  { text: "I" },
  { text: " look." },
  { piece: { type: "tool_call", index: 0, id: "call_a", name: "weather", arguments: '{"city":' } },
  { piece: { type: "tool_call", index: 0, arguments: '"Kyoto"}' } },
  { piece: { type: "tool_call", index: 1, id: "call_b", name: "weather", arguments: '{"city":"Oslo"}' } },
];

const busyOutput = [
  { type: "reasoning", content: [{ type: "reasoning_text", text: "It asks for weather." }] },
  { type: "message", content: [{ type: "output_text", text: "I look." }] },
  { type: "function_call", call_id: "call_a", name: "weather", arguments: '{"city":"Kyoto"}' },
  { type: "function_call", call_id: "call_b", name: "weather", arguments: '{"city":"Oslo"}' },
];

describe("thoughts and calls of a response", () => {
  it("are items of their own in a whole answer", async () => {
    api.engine.script = busyScript;
    const response = await client.responses.create({ model: "fake", input: "Weather?", tools: [weather] });
    expect(response.output).toMatchObject(busyOutput);
    expect(response.status).toBe("completed");
    expect(response.output_text).toBe("I look.");
    expect(new Set(response.output.map((item) => item.id)).size).toBe(4);
    const { strict, ...tool } = weather;
    expect(api.engine.requests[0]?.tools).toEqual([{ ...tool, type: undefined, strict }]);
  });

  it("come as events in the order of OpenAI's, each item opened, filled and closed", async () => {
    api.engine.script = busyScript;
    const types: string[] = [];
    const stream = client.responses.stream({ model: "fake", input: "Weather?", tools: [weather] });
    for await (const event of stream) {
      const type = event.type.replace("response.", "");
      if (types.at(-1) !== type) types.push(type);
    }
    const part = ["content_part.done", "output_item.done"];
    const call = [
      "output_item.added",
      "function_call_arguments.delta",
      "function_call_arguments.done",
      "output_item.done",
    ];
    expect(types).toEqual([
      ...["created", "in_progress", "output_item.added", "content_part.added"],
      ...["reasoning_text.delta", "reasoning_text.done", ...part],
      ...["output_item.added", "content_part.added", "output_text.delta", "output_text.done", ...part],
      ...[...call, ...call, "completed"],
    ]);
    const final = await stream.finalResponse();
    expect(final.output).toMatchObject(busyOutput);
  });

  it("come back as calls and outputs, which the engine reads as a chat's", async () => {
    await client.responses.create({
      model: "fake",
      tools: [weather],
      tool_choice: { type: "function", name: "weather" },
      input: [
        { role: "user", content: "Weather?" },
        { type: "reasoning", id: "rs_1", summary: [] },
        { role: "assistant", content: "I look." },
        { type: "function_call", call_id: "call_a", name: "weather", arguments: "{}" },
        { type: "function_call", call_id: "call_b", name: "weather", arguments: "{}" },
        { type: "function_call_output", call_id: "call_a", output: "Rain" },
        { type: "function_call_output", call_id: "call_b", output: [{ type: "input_text", text: "Snow" }] },
      ],
    });
    expect(api.engine.requests[0]).toMatchObject({
      toolChoice: { name: "weather" },
      messages: [
        { role: "user", content: "Weather?" },
        { role: "assistant", content: "I look.", toolCalls: [{ id: "call_a" }, { id: "call_b" }] },
        { role: "tool", toolCallId: "call_a", content: "Rain" },
        { role: "tool", toolCallId: "call_b", content: "Snow" },
      ],
    });
  });

  it("and forms of the answer reach the engine", async () => {
    const schema = { type: "object", properties: { a: { type: "string" } }, required: ["a"] };
    const response = await client.responses.create({
      model: "fake",
      input: "Say it.",
      text: { format: { type: "json_schema", name: "letter", schema, strict: true } },
    });
    const format = { type: "json_schema", name: "letter", schema, strict: true };
    expect(api.engine.requests[0]?.responseFormat).toEqual(format);
    expect(response.text?.format).toEqual(format);
  });
});

describe("POST /v1/responses", () => {
  it("answers the official client whole, and the ledger has its row under the same id", async () => {
    const response = await client.responses.create({
      model: "fake",
      instructions: "Be brief.",
      input: [
        { role: "user", content: [{ type: "input_text", text: "Hello" }] },
        { role: "assistant", content: "Yes?" },
        { role: "user", content: "Say it." },
      ],
      max_output_tokens: 50,
      user: "ann",
    });
    expect(response.output_text).toBe("Hello from the fake engine.");
    expect(response).toMatchObject({
      status: "completed",
      usage: { input_tokens: 6, output_tokens: 5, total_tokens: 11 },
    });
    expect(await api.rows()).toMatchObject([{ id: response.id, userId: "ann", finishReason: "stop", stream: false }]);
    expect(api.engine.requests[0]).toMatchObject({
      maxTokens: 50,
      messages: [
        { role: "system", content: "Be brief." },
        { role: "user", content: "Hello" },
        { role: "assistant", content: "Yes?" },
        { role: "user", content: "Say it." },
      ],
    });
  });

  it("streams to the official client in its order, numbered, without [DONE]", async () => {
    const types: string[] = [];
    const numbers: number[] = [];
    let text = "";
    for await (const event of await client.responses.create({ model: "fake", input: "Say it.", stream: true })) {
      if (types.at(-1) !== event.type) types.push(event.type);
      numbers.push(event.sequence_number);
      if (event.type === "response.output_text.delta") text += event.delta;
      if (event.type === "response.completed") expect(event.response.output_text ?? text).toBe(text);
    }
    expect(text).toBe("Hello from the fake engine.");
    expect(numbers).toEqual(numbers.map((_, place) => place));
    expect(types).toEqual([
      "response.created",
      "response.in_progress",
      "response.output_item.added",
      "response.content_part.added",
      "response.output_text.delta",
      "response.output_text.done",
      "response.content_part.done",
      "response.output_item.done",
      "response.completed",
    ]);
    expect(await (await post({ stream: true })).text()).not.toContain("[DONE]");
  });

  it("that ends at its length is incomplete, and says why", async () => {
    const body = await (await post({ max_output_tokens: 2 })).json();
    expect(body).toMatchObject({ status: "incomplete", incomplete_details: { reason: "max_output_tokens" } });
    expect(await (await post({ max_output_tokens: 2, stream: true })).text()).toContain("event: response.incomplete");
  });

  it("whose engine dies in the middle fails visibly, before its start with a status", async () => {
    const error = new AppError("engine_unavailable", "The engine went away.");
    api.engine.script = () => [{ text: "Half" }, { error }];
    const text = await (await post({ stream: true })).text();
    expect(text).toMatch(/event: response\.failed\ndata: .*went away/);
    expect(text).not.toContain("response.completed");
    api.engine.script = () => [{ error }];
    expect((await post({ stream: true })).status).toBe(503);
    expect((await api.rows()).map((row) => row.errorCode)).toEqual(["engine_unavailable", "engine_unavailable"]);
  });

  it.each([
    ["no input", { input: undefined }, "input"],
    ["a picture", { input: [{ role: "user", content: [{ type: "input_image" }] }] }, "input"],
    ["a tool of OpenAI's", { tools: [{ type: "web_search" }] }, "tools[0].type"],
    ["two tools of one name", { tools: [weather, weather] }, "tools[1].name"],
    ["a choice of no tool", { tools: [weather], tool_choice: { type: "function", name: "x" } }, "tool_choice"],
    [
      "a call without output",
      { input: [{ type: "function_call", call_id: "c", name: "f", arguments: "{}" }] },
      "input",
    ],
    ["an output of no call", { input: [{ type: "function_call_output", call_id: "c", output: "1" }] }, "input"],
    ["a memory", { previous_response_id: "resp_1" }, "previous_response_id"],
    ["a form without a name", { text: { format: { type: "json_schema" } } }, "text.format.name"],
    ["another format", { text: { format: { type: "grammar" } } }, "text.format.type"],
    ["no room for an answer", { max_output_tokens: 0 }, "max_output_tokens"],
    ["a hot temperature", { temperature: 3 }, "temperature"],
  ])("with %s is refused, and the field is named", async (_name, body, param) => {
    const response = await post(body);
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: { code: "invalid_request", param } });
    expect(await api.rows()).toEqual([]);
  });
});
