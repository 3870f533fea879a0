import { describe, expect, test } from "vitest";
import { FakeEngine, type FakeEngineOptions } from "../../test/support/fake-engine.ts";
import { AppError } from "../core/errors.ts";
import type { ChatEngine } from "../core/ports.ts";
import { createEngineApp } from "./app.ts";

const quiet = { debug() {}, info() {}, warn() {}, error() {} };
const clock = { now: () => 1_700_000_000_000 };

function appOf(engine: ChatEngine, token?: string) {
  return createEngineApp({ engine, token, clock, logger: quiet });
}

function fakeApp(options: FakeEngineOptions = {}, token?: string) {
  return appOf(new FakeEngine(options), token);
}

function chatBody(more: object = {}): RequestInit {
  return {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model: "fake", messages: [{ role: "user", content: "Hello." }], ...more }),
  };
}

function withToken(init: RequestInit, token: string): RequestInit {
  return { ...init, headers: { ...init.headers, authorization: `Bearer ${token}` } };
}

describe("the engine's HTTP app", () => {
  test("answers a chat in OpenAI's form", async () => {
    const reply = await fakeApp().request("/v1/chat/completions", chatBody());
    expect(reply.status).toBe(200);
    expect(await reply.json()).toMatchObject({
      object: "chat.completion",
      created: 1_700_000_000,
      model: "fake",
      choices: [{ message: { content: "Hello from the fake engine." }, finish_reason: "stop" }],
      usage: { prompt_tokens: 1, completion_tokens: 5, total_tokens: 6 },
    });
  });

  test("streams when asked to", async () => {
    const reply = await fakeApp().request("/v1/chat/completions", chatBody({ stream: true }));
    expect(reply.headers.get("content-type")).toContain("text/event-stream");
    expect(await reply.text()).toMatch(/"content":"Hello"[\s\S]*\[DONE\]/);
  });

  test("believes whose request it is from those who show its token, and from nobody else", async () => {
    const said = {
      "x-snug-key": "key-1",
      "x-snug-weight": "3",
      "x-snug-priority": "batch",
      "x-snug-total-ms": "90000",
    };
    const ask = async (token: string | undefined) => {
      const engine = new FakeEngine();
      const init = chatBody();
      const headers = {
        ...init.headers,
        ...said,
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      };
      const reply = await appOf(engine, token).request("/v1/chat/completions", { ...init, headers });
      expect(reply.status).toBe(200);
      return engine.requests[0]?.terms;
    };
    expect(await ask("its-token")).toEqual({ keyId: "key-1", weight: 3, priority: "batch", totalMsMax: 90_000 });
    expect(await ask(undefined)).toEqual({ priority: "batch", totalMsMax: 90_000 });
  });

  test("ends what takes longer than its own deadline, whatever the caller asks for", async () => {
    const engine = new FakeEngine({ script: () => [{ text: "one" }, { hold: "never" }] });
    const app = createEngineApp({ engine, token: undefined, clock, logger: quiet, deadlines: { totalMsMax: 50 } });
    const init = chatBody();
    const headers = { ...init.headers, "x-snug-total-ms": "600000" };
    const reply = await app.request("/v1/chat/completions", { ...init, headers });
    expect(reply.status).toBe(504);
    expect(await reply.json()).toMatchObject({ error: { code: "engine_timeout" } });
    expect(engine.cancelledCount).toBe(1);
  });

  test("that only chats says so to those who want vectors", async () => {
    for (const [path, body] of [
      ["/v1/embeddings", { model: "fake", input: "text" }],
      ["/v1/rerank", { model: "fake", query: "q", documents: ["d"] }],
    ] as const) {
      const reply = await fakeApp().request(path, { ...chatBody(), body: JSON.stringify(body) });
      expect(reply.status).toBe(404);
      expect(await reply.json()).toMatchObject({ error: { code: "model_not_found", param: "model" } });
    }
  });

  test("lists its models", async () => {
    expect(await (await fakeApp().request("/v1/models")).json()).toMatchObject({ data: [{ id: "fake" }] });
  });

  test("tells its health with a status a load balancer understands", async () => {
    const engine = new FakeEngine();
    const ready = await appOf(engine).request("/health");
    expect([ready.status, await ready.json()]).toEqual([200, { state: "ready", active: 0, queued: 0, slots: 2 }]);
    engine.state = "loading";
    expect((await appOf(engine).request("/health")).status).toBe(503);
  });

  test("with a token serves nobody without it", async () => {
    const app = fakeApp({}, "secret");
    for (const init of [chatBody(), withToken(chatBody(), "wrong"), withToken(chatBody(), "secret2")]) {
      const reply = await app.request("/v1/chat/completions", init);
      expect(reply.status).toBe(401);
      expect(await reply.json()).toMatchObject({ error: { code: "invalid_api_key" } });
    }
    expect((await app.request("/v1/models")).status).toBe(401);
    expect((await app.request("/v1/models", withToken({}, "secret"))).status).toBe(200);
    expect((await app.request("/v1/chat/completions", withToken(chatBody(), "secret"))).status).toBe(200);
  });

  test("tells why it failed only to those who have the token", async () => {
    const failed: ChatEngine = {
      chat: () => new FakeEngine().chat({ model: "", messages: [] }, { signal: AbortSignal.abort() }),
      models: async () => [],
      health: async () => ({ state: "failed", reason: "No file at /home/ann/a.gguf", active: 0, queued: 0, slots: 1 }),
    };
    const app = appOf(failed, "secret");
    expect(await (await app.request("/health")).json()).not.toHaveProperty("reason");
    expect(await (await app.request("/health", withToken({}, "secret"))).json()).toHaveProperty("reason");
  });

  test("answers bad input with a code and a sentence", async () => {
    const app = fakeApp();
    const cases: [RequestInit, number, string][] = [
      [{ ...chatBody(), body: "{broken" }, 400, "invalid_request"],
      [{ ...chatBody(), headers: {} }, 400, "invalid_request"],
      [chatBody({ messages: [] }), 400, "invalid_request"],
      [chatBody({ model: "other" }), 404, "model_not_found"],
      [chatBody({ max_tokens: -1 }), 400, "invalid_request"],
      [chatBody({ messages: [{ role: "user", content: "word ".repeat(100) }] }), 400, "context_length_exceeded"],
      [chatBody({ messages: [{ role: "user", content: "x".repeat(5_000_000) }] }), 413, "payload_too_large"],
    ];
    for (const [init, status, code] of cases) {
      const reply = await app.request("/v1/chat/completions", init);
      const { error } = (await reply.json()) as { error: { code: string; message: string } };
      expect([reply.status, error.code]).toEqual([status, code]);
      expect(error.message).toMatch(/\w.*\./);
    }
    expect((await app.request("/v1/chat/completions", chatBody())).status).toBe(200);
  });

  test("says what is not there", async () => {
    const reply = await fakeApp().request("/v1/audio/speech", { method: "POST" });
    expect([reply.status, await reply.json()]).toMatchObject([404, { error: { code: "not_found" } }]);
  });

  test("an error before the first token keeps its status, retry time and code", async () => {
    const error = new AppError("engine_overloaded", "Too many are waiting.", { retryAfterMs: 7000 });
    const reply = await fakeApp({ script: () => [{ error }] }).request(
      "/v1/chat/completions",
      chatBody({ stream: true }),
    );
    expect([reply.status, reply.headers.get("retry-after")]).toEqual([503, "7"]);
  });
});
