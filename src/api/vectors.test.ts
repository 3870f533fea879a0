import { afterEach, describe, expect, it } from "vitest";
import { openApi, type TestApi } from "../../test/support/api.ts";
import { listenLocally } from "../../test/support/engine-server.ts";
import { FakeEngine } from "../../test/support/fake-engine.ts";
import { AppError } from "../core/errors.ts";
import type { ChatEngine } from "../core/ports.ts";
import type { Embeddings, EmbeddingsRequest } from "../core/vectors.ts";
import { systemTimer } from "../entries/timer.ts";
import { createRouter } from "./router.ts";

type Embed = (request: EmbeddingsRequest, signal: AbortSignal) => Promise<Embeddings>;

/** Chats as the fake does, and embeds as it is told. */
function embedder(embed: Embed): { engine: ChatEngine; asked: EmbeddingsRequest[] } {
  const fake = new FakeEngine();
  const asked: EmbeddingsRequest[] = [];
  return {
    asked,
    engine: {
      chat: (request, options) => fake.chat(request, options),
      models: () => fake.models(),
      health: () => fake.health(),
      embed(request, { signal }) {
        asked.push(request);
        return embed(request, signal);
      },
    },
  };
}

const made: Embed = async ({ inputs, model }) => ({
  producer: { model, engineId: "own", quantization: "F16" },
  vectors: inputs.map(() => Float32Array.of(1, 0)),
  promptTokens: 3,
  timings: { queueMs: 1, totalMs: 2 },
});
const failing =
  (error: AppError): Embed =>
  async () => {
    throw error;
  };
/** Ends only when it is no longer wanted. */
const waiting: Embed = (_request, signal) =>
  new Promise((_resolve, reject) => {
    signal.addEventListener("abort", () => reject(new AppError("engine_unavailable", "Cancelled.")), { once: true });
  });

let api: TestApi;
afterEach(() => api?.close());

async function open(...engines: ChatEngine[]): Promise<void> {
  const facts = { origin: "settings", named: true, weight: 1, draining: false } as const;
  const members = engines.map((engine, index) => ({ ...facts, name: `engine-${index}`, engine }));
  api = await openApi({ replace: { engine: createRouter({ engines: members, timer: systemTimer }) } });
}

const init = (headers: Record<string, string> = {}): RequestInit => ({
  method: "POST",
  headers: { "content-type": "application/json", ...headers },
  body: JSON.stringify({ model: "fake", input: "text" }),
});

describe("embeddings through the API", () => {
  it("carry the caller's terms to the engine, and leave a whole row", async () => {
    const { engine, asked } = embedder(made);
    await open(engine);
    const reply = await api.request("/v1/embeddings", init({ "x-snug-user": "ann", "x-snug-priority": "batch" }));
    expect(await reply.json()).toMatchObject({ data: [{ embedding: [1, 0] }], snug: { engine: "engine-0" } });
    expect(asked[0]).toMatchObject({ userId: "ann", terms: { keyId: api.admin.id, priority: "batch" } });
    expect(await api.rows()).toMatchObject([
      {
        id: expect.stringMatching(/^embd-/),
        userId: "ann",
        engineId: "engine-0",
        quantization: "F16",
        usage: { promptTokens: 3, completionTokens: 0 },
        timings: { queueMs: 1, totalMs: 2 },
        finishReason: "stop",
        stream: false,
      },
    ]);
  });

  it("are made by another engine when one fails, or only chats", async () => {
    const broken = embedder(failing(new AppError("engine_unavailable", "Gone.")));
    const whole = embedder(made);
    await open(new FakeEngine(), broken.engine, whole.engine);
    for (let i = 0; i < 4; i++) expect((await api.request("/v1/embeddings", init())).status).toBe(200);
    expect(whole.asked.length).toBe(4);
  });

  it("that the request itself is to blame for are asked for once", async () => {
    const error = new AppError("context_length_exceeded", "input[0] is too long.", { param: "input[0]" });
    const engines = [embedder(failing(error)), embedder(failing(error))];
    await open(...engines.map(({ engine }) => engine));
    const reply = await api.request("/v1/embeddings", init());
    expect(reply.status).toBe(400);
    expect(await reply.json()).toMatchObject({ error: { code: "context_length_exceeded", param: "input[0]" } });
    expect(engines.reduce((sum, { asked }) => sum + asked.length, 0)).toBe(1);
    expect(await api.rows()).toMatchObject([{ errorCode: "context_length_exceeded", aborted: false }]);
  });

  it("that engines fail at leave their chats as they were", async () => {
    const engines = [1, 2].map(() => embedder(failing(new AppError("engine_unavailable", "No vectors here."))).engine);
    await open(...engines);
    for (let i = 0; i < 4; i++) expect((await api.request("/v1/embeddings", init())).status).toBe(503);
    const body = JSON.stringify({ model: "fake", messages: [{ role: "user", content: "Hi." }] });
    expect((await api.request("/v1/chat/completions", { ...init(), body })).status).toBe(200);
  });

  it("that nobody can make say what is missing", async () => {
    await open(new FakeEngine(), new FakeEngine());
    const reply = await api.request("/v1/embeddings", init());
    expect(reply.status).toBe(404);
    expect(await reply.json()).toMatchObject({
      error: { code: "model_not_found", message: expect.stringMatching(/only chats/) },
    });
  });

  it("end at the engine when the client leaves, and the row says so", async () => {
    const { engine, asked } = embedder(waiting);
    await open(engine);
    const listening = await listenLocally((request) => api.app.fetch(request));
    const leaving = new AbortController();
    const headers = { authorization: `Bearer ${api.admin.secret}` };
    const asking = fetch(`${listening.url}/v1/embeddings`, { ...init(headers), signal: leaving.signal });
    await expect.poll(() => asked.length).toBe(1);
    leaving.abort();
    await expect(asking).rejects.toThrow();
    await expect.poll(async () => (await api.rows())[0]?.settled).toBe(true);
    const [row] = await api.rows();
    expect(row?.aborted).toBe(true);
    expect(row?.errorCode).toBeUndefined();
    await listening.close();
  });

  it("can be ended by an administrator, whose client is told", async () => {
    const { engine, asked } = embedder(waiting);
    await open(engine);
    const asking = api.request("/v1/embeddings", init());
    await expect.poll(() => asked.length).toBe(1);
    const { requests } = (await (await api.request("/v1/requests")).json()) as { requests: { id: string }[] };
    expect((await api.request(`/v1/requests/${requests[0]!.id}`, { method: "DELETE" })).status).toBe(200);
    const reply = await asking;
    expect(reply.status).toBe(503);
    expect(await reply.json()).toMatchObject({ error: { code: "engine_unavailable" } });
    expect(await api.rows()).toMatchObject([{ aborted: true }]);
  });
});
