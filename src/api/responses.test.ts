import OpenAI from "openai";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openApi, type TestApi } from "../../test/support/api.ts";
import { type Listening, listenLocally } from "../../test/support/engine-server.ts";
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
    ["a tool", { tools: [{ type: "web_search" }] }, "tools"],
    ["a memory", { previous_response_id: "resp_1" }, "previous_response_id"],
    ["another format", { text: { format: { type: "json_schema" } } }, "text.format.type"],
    ["a hot temperature", { temperature: 3 }, "temperature"],
  ])("with %s is refused, and the field is named", async (_name, body, param) => {
    const response = await post(body);
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: { code: "invalid_request", param } });
    expect(await api.rows()).toEqual([]);
  });
});
