/** The Worker in real workerd on real D1; only the engine behind `fetch` is scripted. */
import { applyD1Migrations, createExecutionContext, reset, waitOnExecutionContext } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createKeyStore } from "../../../src/api/key-store.ts";
import { createUsageStore } from "../../../src/api/usage/store.ts";
import { createD1Database } from "../../../src/entries/d1.ts";
import worker from "../../../src/entries/worker.ts";

const ledger = () => createUsageStore(createD1Database(env.DB));

beforeEach(async () => {
  await reset();
  await applyD1Migrations(env.DB, env.MIGRATIONS);
  vi.spyOn(console, "log").mockImplementation(() => {});
});

afterEach(() => {
  vi.restoreAllMocks();
});

const authorization = `Bearer ${env.SNUG_ADMIN_KEY}`;

function get(path: string, headers: Record<string, string> = {}): Promise<Response> {
  return exports.default.fetch(`http://worker.test${path}`, { headers });
}

function chatRequest(body: object, init: RequestInit = {}): Request {
  return new Request("http://worker.test/v1/chat/completions", {
    method: "POST",
    headers: { authorization, "content-type": "application/json" },
    body: JSON.stringify({ model: "m", messages: [{ role: "user", content: "Hi" }], ...body }),
    ...init,
  });
}

/** A chat by the Worker's own handler, so that the test can wait for what it left running. */
async function chat(body: object, init: RequestInit = {}) {
  const context = createExecutionContext();
  const response = await worker.fetch(chatRequest(body, init), env, context);
  return { response, settled: () => waitOnExecutionContext(context) };
}

const chunk = (choice: object, extras: object = {}) =>
  `data: ${JSON.stringify({ model: "upstream-model", choices: [{ index: 0, ...choice }], ...extras })}\n\n`;
const role = chunk({ delta: { role: "assistant" } }, { snug: { engine: "gpu-1", quantization: "Q4_K_M" } });
const word = (content: string) => chunk({ delta: { content } });
const end = [
  chunk({ delta: {}, finish_reason: "stop" }),
  `data: ${JSON.stringify({ choices: [], usage: { prompt_tokens: 5, completion_tokens: 2 } })}\n\n`,
  "data: [DONE]\n\n",
];

/** Stands in for the engine; the frames come one by one, and `hold` keeps the stream open without an end. */
function mockEngine(frames: string[], hold = false) {
  const seen = { request: new Request("http://none"), cancelled: false, framesRead: 0 };
  const encoder = new TextEncoder();
  vi.spyOn(globalThis, "fetch").mockImplementation(async (input, init) => {
    seen.request = new Request(input, init);
    const left = [...frames];
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        init?.signal?.addEventListener("abort", () => {
          seen.cancelled = true;
          controller.error(new DOMException("The operation was aborted.", "AbortError"));
        });
      },
      pull(controller) {
        const frame = left.shift();
        if (frame === undefined) {
          if (!hold) controller.close();
          return;
        }
        seen.framesRead++;
        controller.enqueue(encoder.encode(frame));
      },
      cancel: () => {
        seen.cancelled = true;
      },
    });
    return new Response(body, { headers: { "content-type": "text/event-stream" } });
  });
  return seen;
}

describe("the Worker", () => {
  it("tells its health, and that the engine is away", async () => {
    vi.spyOn(globalThis, "fetch").mockRejectedValue(new TypeError("fetch failed"));
    const response = await get("/health");
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({
      status: "degraded",
      engine: { state: "stopped", reason: expect.stringContaining("cannot be reached") },
      store: { state: "ready" },
    });
  });

  it("asks for a key and writes nothing for those without", async () => {
    for (const wrong of ["", "Bearer sk-snug-wrong"]) {
      const response = await get("/v1/models", { authorization: wrong });
      expect(response.status).toBe(401);
      expect(await response.json()).toMatchObject({ error: { code: "invalid_api_key" } });
    }
    expect(await ledger().rows({})).toEqual([]);
    expect(await createKeyStore(createD1Database(env.DB)).count()).toBe(0);
  });

  it("passes the engine's models on", async () => {
    const list = { object: "list", data: [{ id: "m", object: "model", meta: { n_ctx: 8192 } }] };
    vi.spyOn(globalThis, "fetch").mockImplementation(async () => Response.json(list));
    expect(await (await get("/v1/models", { authorization })).json()).toMatchObject({
      data: [{ id: "m", owned_by: "snug", meta: { n_ctx: 8192 } }],
    });
  });

  it("streams a chat from the engine, and the row is complete at [DONE]", async () => {
    const seen = mockEngine([role, word("Hel"), word("lo"), ...end]);
    const { response } = await chat({ stream: true, stream_options: { include_usage: true }, user: "ann" });
    const text = await response.text();
    expect(text).toContain('"content":"Hel"');
    expect(text).toContain('"total_tokens":7');
    expect(text).toMatch(/data: \[DONE\]\n\n$/);
    expect(seen.request.url).toBe("http://engine.test/v1/chat/completions");
    expect(seen.request.headers.get("authorization")).toBe("Bearer engine-token");
    expect(await ledger().rows({})).toMatchObject([
      {
        keyId: expect.stringMatching(/^key-/),
        userId: "ann",
        model: "upstream-model",
        engineId: "gpu-1",
        quantization: "Q4_K_M",
        usage: { promptTokens: 5, completionTokens: 2 },
        finishReason: "stop",
        aborted: false,
        settled: true,
      },
    ]);
    const report = await (await get("/v1/usage", { authorization })).json();
    expect(report).toMatchObject({ totals: { requests: 1, completionTokens: 2 } });
  });

  it("answers whole when asked to, without the usage chunk when not asked for it", async () => {
    mockEngine([role, word("Hello"), ...end]);
    const whole = await (await chat({})).response.json();
    expect(whole).toMatchObject({ choices: [{ message: { content: "Hello" } }], usage: { total_tokens: 7 } });
    mockEngine([role, word("Hello"), ...end]);
    const streamed = await (await chat({ stream: true })).response.text();
    expect(streamed).not.toContain('"usage"');
  });

  it("makes the death of the engine mid-stream visible", async () => {
    mockEngine([role, word("Half")]);
    const { response, settled } = await chat({ stream: true });
    const text = await response.text();
    expect(text).toContain('"code":"engine_unavailable"');
    expect(text).not.toContain("[DONE]");
    await settled();
    expect(await ledger().rows({})).toMatchObject([
      { errorCode: "engine_unavailable", usage: { completionTokens: 1 } },
    ]);
  });

  it.each([
    { stream: true, when: "before the first token", frames: [] },
    { stream: true, when: "mid-stream", frames: [role, word("one"), word(" two")] },
    { stream: false, when: "before the first token", frames: [] },
    { stream: false, when: "mid-answer", frames: [role, word("one"), word(" two")] },
  ])("lets go of the engine when the client's signal aborts $when (stream: $stream)", async ({ stream, frames }) => {
    const seen = mockEngine(frames, true);
    const client = new AbortController();
    const answering = chat({ stream }, { signal: client.signal });
    await vi.waitFor(() => expect(fetch).toHaveBeenCalled());
    if (!stream) await vi.waitFor(() => expect(seen.framesRead).toBe(frames.length));
    if (stream && frames.length > 0) {
      const reader = (await answering).response.body!.getReader();
      for (let read = 0; read < frames.length; read++) await reader.read();
    }
    client.abort();
    const { response, settled } = await answering;
    await settled();
    expect(seen.cancelled).toBe(true);
    expect(response.status).toBe(stream && frames.length > 0 ? 200 : 499);
    const [row] = await ledger().rows({});
    expect(row).toMatchObject({ aborted: true, settled: true, stream });
    expect(row!.usage.completionTokens ?? 0).toBe(Math.max(0, frames.length - 1));
  });

  it("lets go of the engine when the client cancels the body", async () => {
    const seen = mockEngine([role, word("one"), word(" two")], true);
    const { response, settled } = await chat({ stream: true });
    const reader = response.body!.getReader();
    for (let frames = 0; frames < 3; frames++) await reader.read();
    await reader.cancel();
    await settled();
    expect(seen.cancelled).toBe(true);
    expect(await ledger().rows({})).toMatchObject([
      { aborted: true, usage: { completionTokens: 2, estimated: true }, engineId: "gpu-1" },
    ]);
  });

  it("answers what fits where, to anybody", async () => {
    const asked = await get(`/v1/fits?q=${encodeURIComponent("13b 6gb")}`);
    expect(await asked.json()).toMatchObject({ plan: { kind: "plan", offload: "partial" } });
    const posted = await exports.default.fetch("http://worker.test/v1/fits", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model: "Qwen3 8B", hardware: "8gb" }),
    });
    expect(await posted.json()).toMatchObject({ plan: { model: { name: "Qwen3 8B" } } });
    expect((await get("/v1/fits?q=osmium")).status).toBe(400);
  });

  it("makes keys, holds their quotas by the ledger and refuses them once revoked", async () => {
    const json = { authorization, "content-type": "application/json" };
    const made = await exports.default.fetch("http://worker.test/v1/keys", {
      method: "POST",
      headers: json,
      body: JSON.stringify({ name: "bot", scopes: ["chat"], userLimits: { requestsPerDay: 1 } }),
    });
    expect(made.status).toBe(201);
    const { id, secret } = (await made.json()) as { id: string; secret: string };
    const ask = async (user: string) => {
      mockEngine([role, word("Hello"), ...end]);
      const headers = { authorization: `Bearer ${secret}`, "content-type": "application/json" };
      const { response, settled } = await chat({ user }, { headers });
      await response.text();
      await settled();
      return response;
    };
    expect((await ask("ann")).headers.get("x-ratelimit-remaining-requests")).toBe("0");
    const refused = await ask("ann");
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
    expect((await ask("bob")).status).toBe(200);
    await exports.default.fetch(`http://worker.test/v1/keys/${id}`, { method: "DELETE", headers: json });
    expect((await ask("cas")).status).toBe(401);
    const groups = await (await get("/v1/usage?group=user", { authorization })).json();
    expect(groups).toMatchObject({ groups: [{ value: "ann" }, { value: "bob" }], totals: { requests: 2 } });
  });

  it("slows down who guesses keys, by the address that Cloudflare saw", async () => {
    const guess = (address: string) => get("/v1/models", { authorization: "Bearer no", "cf-connecting-ip": address });
    for (let i = 0; i < 20; i++) expect((await guess("192.0.2.9")).status).toBe(401);
    expect((await guess("192.0.2.9")).status).toBe(429);
    expect((await guess("192.0.2.10")).status).toBe(401);
  });

  it("routes to registered engines, the next one where the first is gone", async () => {
    const json = { authorization, "content-type": "application/json" };
    mockEngine([role, word("Hello"), ...end]);
    const answer = vi.mocked(fetch).getMockImplementation()!;
    vi.spyOn(globalThis, "fetch").mockImplementation(async (input, init) => {
      const url = new URL(new Request(input).url);
      if (url.hostname === "engine.test") throw new TypeError("fetch failed");
      if (url.pathname === "/health") return Response.json({ state: "ready", active: 0, queued: 0, slots: 2 });
      if (url.pathname === "/v1/models") return Response.json({ data: [{ id: "m" }] });
      return answer(input, init);
    });
    const { SNUG_ENGINE_TOKEN: _, ...fresh } = env;
    const ask = (path: string, method: string, body?: object) =>
      worker.fetch(
        new Request(`http://worker.test${path}`, {
          method,
          headers: json,
          ...(body ? { body: JSON.stringify(body) } : {}),
        }),
        fresh,
        createExecutionContext(),
      );
    expect((await ask("/v1/engines", "POST", { name: "attic", url: "http://attic.test" })).status).toBe(201);
    expect(await (await ask("/v1/engines", "GET")).json()).toMatchObject({
      engines: [
        { name: "remote", state: "stopped" },
        { name: "attic", state: "ready", models: [{ id: "m" }] },
      ],
    });
    const body = { model: "m", messages: [{ role: "user", content: "Hi" }] };
    const answered = await ask("/v1/chat/completions", "POST", body);
    expect(await answered.json()).toMatchObject({ snug: { engine: "attic" } });
  });

  it("refuses hostile bodies as the Node API does", async () => {
    const post = (body: string, headers: Record<string, string> = {}) =>
      exports.default.fetch("http://worker.test/v1/chat/completions", {
        method: "POST",
        headers: { authorization, "content-type": "application/json", ...headers },
        body,
      });
    expect((await post('{"model":')).status).toBe(400);
    expect((await post("[".repeat(200_000) + "]".repeat(200_000))).status).toBe(400);
    expect((await post("{}", { "content-type": "text/plain" })).status).toBe(400);
    expect((await post(" ".repeat(20 * 1024 * 1024))).status).toBe(413);
    expect((await get("/v1/nothing", { authorization })).status).toBe(404);
    expect(await ledger().rows({})).toEqual([]);
  });

  it("without an engine's address says so, and without its secret has no admin", async () => {
    const { SNUG_ENGINE_URL: _, ...alone } = env;
    const models = await worker.fetch(
      new Request("http://worker.test/v1/models", { headers: { authorization } }),
      alone,
      createExecutionContext(),
    );
    expect(models.status).toBe(503);
    expect(await models.json()).toMatchObject({ error: { message: expect.stringContaining("SNUG_ENGINE_URL") } });
    const { SNUG_ADMIN_KEY: __, ...locked } = env;
    const refused = await worker.fetch(
      new Request("http://worker.test/v1/models", { headers: { authorization } }),
      locked,
      createExecutionContext(),
    );
    expect(refused.status).toBe(401);
  });

  it("marks, once a day, what an isolate that died left open", async () => {
    const day = 24 * 3_600_000;
    const open = { keyId: "k", source: "api", model: "m", stream: true } as const;
    await ledger().admit({ ...open, id: "old", at: Date.now() - 2 * day });
    await ledger().admit({ ...open, id: "new", at: Date.now() });
    await worker.scheduled(undefined, env);
    expect((await ledger().rows({})).map((row) => [row.id, row.interrupted])).toEqual([
      ["new", false],
      ["old", true],
    ]);
  });
});
