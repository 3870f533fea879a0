/** Embeddings and rankings through the API, from the official client to real models, inside the process and over HTTP. */

import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type * as z from "zod";
import { operations } from "../../src/api/openapi.ts";
import { createRouter } from "../../src/api/router.ts";
import { createEngineApp } from "../../src/engine/app.ts";
import { systemTimer } from "../../src/entries/timer.ts";
import { createHttpEngine } from "../../src/http/client.ts";
import { openApi, type TestApi } from "../support/api.ts";
import { type Listening, listenLocally } from "../support/engine-server.ts";
import { FakeEngine } from "../support/fake-engine.ts";
import { ENCODER_SHAPE } from "../support/gguf/shapes.ts";
import { prepareRegistry, type TestRegistry } from "../support/registry.ts";

const clock = { now: () => Date.now() };
const logger = { debug() {}, info() {}, warn() {}, error: console.error };

let models: TestRegistry;
let elsewhere: Listening;
let inside: TestApi;
let remote: TestApi;
const served: Listening[] = [];

beforeAll(async () => {
  models = await prepareRegistry(
    {
      bert: { architecture: "bert", shape: ENCODER_SHAPE },
      ranker: { architecture: "bert", shape: ENCODER_SHAPE, rank: true },
      chatter: { shape: "tiny", brain: "script" },
    },
    { contextLength: 256 },
  );
  const engine = createEngineApp({ engine: models.registry, token: "its-token", clock, logger });
  elsewhere = await listenLocally((request) => engine.fetch(request));
  const facts = { origin: "settings", named: true, weight: 1, draining: false } as const;
  const routed = (engines: Parameters<typeof createRouter>[0]["engines"]) =>
    openApi({ replace: { engine: createRouter({ engines, timer: systemTimer }) } });
  inside = await routed([{ ...facts, named: false, name: "local", engine: models.registry }]);
  remote = await routed([
    { ...facts, name: "chats-only", engine: new FakeEngine({ models: [{ id: "fake", loaded: true }] }) },
    { ...facts, name: "attic", engine: createHttpEngine({ baseUrl: elsewhere.url, token: "its-token", clock }) },
  ]);
});
afterAll(async () => {
  inside?.close();
  remote?.close();
  for (const listening of served) await listening.close();
  await elsewhere?.close();
  await models?.close();
});

async function clientOf(api: TestApi): Promise<OpenAI> {
  const listening = await listenLocally((request) => api.app.fetch(request));
  served.push(listening);
  return new OpenAI({ baseURL: `${listening.url}/v1`, apiKey: api.admin.secret, maxRetries: 0 });
}

describe.each([
  ["an engine inside", () => inside, "local"],
  ["an engine over HTTP", () => remote, "attic"],
])("with %s", (_where, api, engineId) => {
  it("the official client embeds texts, and the ledger has the row", async () => {
    const client = await clientOf(api());
    const input = ["The queue holds requests", "Memory use was measured"];
    const { data, usage, model } = await client.embeddings.create({ model: "bert", input });
    expect(model).toBe("bert");
    expect(data.map(({ index, embedding }) => [index, embedding.length])).toEqual([
      [0, 64],
      [1, 64],
    ]);
    for (const { embedding } of data) expect(Math.hypot(...embedding)).toBeCloseTo(1, 5);
    expect(usage).toEqual({ prompt_tokens: 12, total_tokens: 12 });
    const plain = await client.embeddings.create({ model: "bert", input: input[0]!, encoding_format: "float" });
    expect(plain.data[0]!.embedding[0]).toBeCloseTo(data[0]!.embedding[0]!, 6);
    const short = await client.embeddings.create({ model: "bert", input: input[0]!, dimensions: 8 });
    expect(short.data[0]!.embedding).toHaveLength(8);
    const [row] = (await api().rows()).filter(({ id }) => id.startsWith("embd-")).slice(-1);
    expect(row).toMatchObject({
      model: "bert",
      engineId,
      finishReason: "stop",
      settled: true,
      usage: { promptTokens: 12, completionTokens: 0 },
    });
  });

  it.each(["float", "base64"])("vectors as %s are what the description says", async (encoding_format) => {
    const reply = await api().request("/v1/embeddings", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model: "bert", input: "queue", encoding_format }),
    });
    const described = operations["POST /v1/embeddings"]!.answers["application/json"] as z.ZodType;
    expect(described.safeParse(await reply.json()).error?.issues ?? []).toEqual([]);
  });

  it("documents are ranked, in the form that is described", async () => {
    const documents = ["The queue holds requests", { text: "Memory" }, "slot"];
    const reply = await api().request("/v1/rerank", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model: "ranker", query: "Which slot?", documents, top_n: 2, return_documents: true }),
    });
    const body = (await reply.json()) as { results: { index: number; document: { text: string } }[] };
    expect(reply.status).toBe(200);
    const described = operations["POST /v1/rerank"]!.answers["application/json"] as z.ZodType;
    expect(described.safeParse(body).error?.issues ?? []).toEqual([]);
    expect(body.results).toHaveLength(2);
    for (const { index, document } of body.results) {
      expect(document.text).toBe(["The queue holds requests", "Memory", "slot"][index]);
    }
    expect((await api().rows())[0]).toMatchObject({ id: expect.stringMatching(/^rank-/), model: "ranker" });
  });

  it.each([
    ["a text that is too long", { model: "bert", input: ["ok", "queue ".repeat(300)] }, 400, "input[1]"],
    ["more dimensions than there are", { model: "bert", input: "ok", dimensions: 65 }, 400, "dimensions"],
    ["a model that chats", { model: "chatter", input: "ok" }, 400, "model"],
    ["a model that nobody has", { model: "none", input: "ok" }, 404, "model"],
    ["token numbers", { model: "bert", input: [1, 2] }, 400, "input"],
  ])("%s is refused by its field, in OpenAI's words", async (_case, body, status, param) => {
    const client = await clientOf(api());
    const asking = client.embeddings.create(body as OpenAI.EmbeddingCreateParams);
    await expect(asking).rejects.toMatchObject({ status, param });
  });

  it("an embedding model says that it does not chat", async () => {
    const client = await clientOf(api());
    const asking = client.chat.completions.create({ model: "bert", messages: [{ role: "user", content: "Hi" }] });
    await expect(asking).rejects.toMatchObject({ status: 400, param: "model" });
  });

  it("models say what they are for", async () => {
    const { data } = (await (await api().request("/v1/models")).json()) as { data: { id: string; snug: object }[] };
    const tasks = Object.fromEntries(data.map(({ id, snug }) => [id, (snug as { task?: string }).task]));
    expect(tasks).toMatchObject({ bert: "embedding", ranker: "rerank" });
    expect(tasks.chatter).toBeUndefined();
  });

  it("probabilities and texts to go on from reach the client", async () => {
    const client = await clientOf(api());
    const messages = [{ role: "user" as const, content: "Hi" }];
    const chat = await client.chat.completions.create({
      model: "chatter",
      messages,
      temperature: 0,
      max_tokens: 4,
      logprobs: true,
      top_logprobs: 2,
    });
    const told = chat.choices[0]!.logprobs!.content!;
    expect(told.map(({ token }) => token).join("")).toBe(chat.choices[0]!.message.content);
    for (const { top_logprobs, logprob } of told) expect(top_logprobs[0]!.logprob).toBeCloseTo(logprob, 5);
    let streamed = "";
    const chunks = await client.chat.completions.create({
      model: "chatter",
      messages,
      temperature: 0,
      max_tokens: 4,
      logprobs: true,
      stream: true,
    });
    for await (const { choices } of chunks) {
      for (const { token } of choices[0]?.logprobs?.content ?? []) streamed += token;
    }
    expect(streamed).toBe(chat.choices[0]!.message.content);
    const completion = await client.completions.create({
      model: "chatter",
      prompt: "The queue holds",
      temperature: 0,
      max_tokens: 3,
      echo: true,
    });
    expect(completion.choices[0]!.text).toBe("The queue holds requests until one");
  });
});

it("a key without the model or the scope may not embed, and quotas count what it took", async () => {
  const ask = (secret: string) =>
    inside.request("/v1/embeddings", {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${secret}` },
      body: JSON.stringify({ model: "bert", input: "The queue holds requests" }),
    });
  const other = await inside.makeKey(["chat"], { models: ["chatter"] });
  expect((await ask(other.secret)).status).toBe(403);
  const viewer = await inside.makeKey(["usage"]);
  expect((await ask(viewer.secret)).status).toBe(403);
  const held = await inside.makeKey(["chat"], { limits: { tokensPerDay: 8 } });
  const first = await ask(held.secret);
  expect(first.status).toBe(200);
  expect(first.headers.get("x-ratelimit-limit-tokens")).toBe("8");
  expect((await ask(held.secret)).status).toBe(200);
  // Six tokens each: the second went over, the third is refused.
  expect((await ask(held.secret)).status).toBe(429);
});

it("a whole deadline holds for vectors too", async () => {
  const input = Array.from({ length: 1500 }, () => "queue ".repeat(200));
  const reply = await inside.request("/v1/embeddings", {
    method: "POST",
    headers: { "content-type": "application/json", "x-snug-total-ms": "100" },
    body: JSON.stringify({ model: "bert", input }),
  });
  expect(reply.status).toBe(504);
  expect(await reply.json()).toMatchObject({ error: { code: "engine_timeout" } });
  expect((await inside.rows())[0]).toMatchObject({ errorCode: "engine_timeout", aborted: false });
});
