import OpenAI from "openai";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openApi, type TestApi } from "../../test/support/api.ts";
import { listenLocally } from "../../test/support/engine-server.ts";
import { sayWords } from "../../test/support/fake-engine.ts";
import { AppError } from "../core/errors.ts";

let api: TestApi;

beforeEach(async () => {
  api = await openApi();
});

afterEach(() => api.close());

describe("POST /v1/chat/completions", () => {
  it("answers whole, and the ledger row says what it took", async () => {
    const response = await api.chat({ user: "ann" });
    expect(response.status).toBe(200);
    const completion = JSON.parse(await response.text());
    expect(completion.choices[0].message.content).toBe("Hello from the fake engine.");
    const [row, ...others] = await api.rows();
    expect(others).toEqual([]);
    expect(row).toMatchObject({
      id: completion.id,
      keyId: api.admin.id,
      source: "api",
      userId: "ann",
      model: "fake",
      quantization: "F16",
      engineId: "fake",
      stream: false,
      usage: { promptTokens: 2, completionTokens: 5, cachedPromptTokens: 0 },
      finishReason: "stop",
      aborted: false,
      settled: true,
      interrupted: false,
    });
    expect(row?.usage).not.toHaveProperty("estimated");
    expect(row?.timings.totalMs).toBeGreaterThanOrEqual(row!.timings.timeToFirstTokenMs!);
    expect(completion.usage).toMatchObject({ prompt_tokens: 2, completion_tokens: 5, total_tokens: 7 });
  });

  it("streams, and the row is complete when the client has read [DONE]", async () => {
    const response = await api.chat({ stream: true });
    expect(await response.text()).toMatch(/data: \[DONE\]\n\n$/);
    expect(await api.usageStore.rows({})).toMatchObject([{ stream: true, settled: true, finishReason: "stop" }]);
  });

  it("stores no word of prompt or answer", async () => {
    api.engine.script = sayWords("zirconium answer");
    await (await api.chat({ messages: [{ role: "user", content: "osmium question" }] })).text();
    expect(JSON.stringify(await api.rows())).not.toMatch(/osmium|zirconium/);
    expect(JSON.stringify(api.log)).not.toMatch(/osmium|zirconium/);
  });

  it("writes down where our own programs sent it from", async () => {
    await api.chat({}, { headers: { "x-snug-source": "discord" } });
    await api.chat({}, { headers: { "x-snug-source": "elsewhere" } });
    expect((await api.rows()).map((row) => row.source).sort()).toEqual(["api", "discord"]);
  });

  it("that fails before its start is an HTTP error and a row with the code", async () => {
    const error = new AppError("engine_overloaded", "Too many.", { retryAfterMs: 2000 });
    api.engine.script = () => [{ error }];
    const response = await api.chat({ stream: true });
    expect(response.status).toBe(503);
    expect(response.headers.get("retry-after")).toBe("2");
    expect(await api.rows()).toMatchObject([{ errorCode: "engine_overloaded", aborted: false, settled: true }]);
  });

  it("whose engine dies mid-stream is visibly cut, and the row keeps what was produced", async () => {
    api.engine.script = () => [
      { text: "One" },
      { text: " two" },
      { error: new AppError("engine_unavailable", "The engine went away.") },
    ];
    const text = await (await api.chat({ stream: true })).text();
    expect(text).toContain('"code":"engine_unavailable"');
    expect(text).not.toContain("[DONE]");
    expect(await api.rows()).toMatchObject([{ errorCode: "engine_unavailable", usage: { completionTokens: 2 } }]);
  });

  it("is refused when the ledger cannot be written, before the engine works for nothing", async () => {
    const failing = await openApi({
      replace: {
        usageStore: {
          ...api.usageStore,
          admit: () => Promise.reject(new AppError("invalid_configuration", "The usage ledger cannot be written.")),
        },
      },
    });
    expect((await failing.chat({})).status).toBe(500);
    expect(failing.engine.requests).toEqual([]);
    failing.close();
  });

  it("is answered even when its receipt cannot be written, and the log says so", async () => {
    const failing = await openApi({
      replace: { usageStore: { ...api.usageStore, settle: () => Promise.reject(new Error("disk gone")) } },
    });
    expect((await failing.chat({})).status).toBe(200);
    expect(failing.log.filter((line) => line.level === "error")).toHaveLength(1);
    failing.close();
  });
});

describe("the official client", () => {
  it("streams text, usage and models over a real socket, unmodified", async () => {
    const { url, close } = await listenLocally(api.app.fetch);
    const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: api.admin.secret, maxRetries: 0 });
    const stream = await client.chat.completions.create({
      model: "fake",
      messages: [{ role: "user", content: "Say it." }],
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = "";
    let tokens: number | undefined;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? "";
      tokens = chunk.usage?.total_tokens ?? tokens;
    }
    expect(text).toBe("Hello from the fake engine.");
    expect(tokens).toBe(7);
    expect((await client.models.list()).data.map((model) => model.id)).toEqual(["fake"]);
    await expect(
      client.chat.completions.create({ model: "no-such-model", messages: [{ role: "user", content: "Hi" }] }),
    ).rejects.toMatchObject({ status: 404, code: "model_not_found", param: "model" });
    await close();
  });
});

describe("GET /v1/models", () => {
  it("lists the engine's models with what is known of them", async () => {
    expect(JSON.parse(await (await api.request("/v1/models")).text())).toEqual({
      object: "list",
      data: [
        {
          id: "fake",
          object: "model",
          created: expect.any(Number),
          owned_by: "snug",
          meta: { n_ctx: 64 },
          snug: { quantization: "F16", loaded: true },
        },
      ],
    });
  });
});

describe("/v1/fits", () => {
  const ask = (query: string) => api.app.request(`/v1/fits?q=${encodeURIComponent(query)}`);
  const post = (body: unknown) =>
    api.app.request("/v1/fits", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });

  it("answers a question without a key and without an engine", async () => {
    api.engine.state = "failed";
    const response = await ask("13b 6gb");
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({
      plan: { kind: "plan", model: { quantization: "Q4_K_M" }, devices: [{ kind: "gpu" }, { kind: "host" }] },
    });
  });

  it("answers the same as JSON, with the request's id", async () => {
    const response = await post({ id: 7, model: "Qwen3 8B", quantization: "Q4_K_M", hardware: "8gb" });
    expect(await response.json()).toMatchObject({ id: 7, plan: { model: { name: "Qwen3 8B" }, offload: "full" } });
  });

  it("gives a refusal as an answer, not as an error", async () => {
    const response = await post({ model: "llama 3.1 70b", hardware: "6gb", settings: { contextLength: 131072 } });
    expect(response.status).toBe(200);
    expect(await response.json()).toHaveProperty("refusal.shortfallBytes");
  });

  it.each([
    ["nothing", ""],
    ["something that is no question about fitting", "osmium"],
    ["something too long", "13b ".repeat(1000)],
  ])("refuses %s as problem details", async (_name, query) => {
    const response = await ask(query);
    expect(response.status).toBe(400);
    expect(response.headers.get("content-type")).toBe("application/problem+json");
    expect(await response.json()).toMatchObject({ type: "urn:snug:error:invalid_request", param: "query" });
  });

  it.each([
    ["a file of this machine", { gguf: "/etc/passwd" }],
    ["a file of this machine by its address", { gguf: "file:///etc/passwd" }],
    ["an address in this network", { gguf: "http://169.254.169.254/latest.gguf" }],
    ["an address that only looks like the hub", { gguf: "https://huggingface.co.evil.example/a/b.gguf" }],
  ])("does not open %s for strangers", async (_name, model) => {
    const response = await post({ model, hardware: "8gb" });
    expect(response.status).toBe(403);
    expect(await response.json()).toMatchObject({ type: "urn:snug:error:permission_denied" });
  });

  it.each([
    ["broken", "{", 400],
    ["huge", " ".repeat(300 * 1024), 413],
  ])("refuses a %s body", async (_name, body, status) => {
    const headers = { "content-type": "application/json" };
    expect((await api.app.request("/v1/fits", { method: "POST", headers, body })).status).toBe(status);
  });
});

describe("GET /health", () => {
  it("needs no key and tells engine, store and version", async () => {
    const response = await api.app.request("/health");
    expect(await response.json()).toEqual({
      status: "ok",
      version: "0.0.0-test",
      engine: { state: "ready", active: 0, queued: 0, slots: 2 },
      store: { state: "ready" },
    });
  });

  it("is 200 and degraded when the engine is down or the ledger cannot be read", async () => {
    api.engine.state = "restarting";
    const response = await api.app.request("/health");
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({ status: "degraded", engine: { state: "restarting" } });
    const reason = "The usage ledger is damaged.";
    const check = () => Promise.reject(new AppError("invalid_configuration", reason));
    const broken = await openApi({ replace: { usageStore: { ...api.usageStore, check } } });
    expect(await (await broken.app.request("/health")).json()).toMatchObject({
      status: "degraded",
      store: { state: "failed", reason },
    });
    broken.close();
  });
});

describe("GET /v1/usage", () => {
  it("gives rows with readable times, and totals over all of them", async () => {
    for (let index = 0; index < 3; index++) await (await api.chat({ user: `u${index}` })).text();
    const report = JSON.parse(await (await api.request("/v1/usage?limit=2")).text());
    expect(report.rows).toHaveLength(2);
    expect(report.rows[0].time).toBe(new Date(report.rows[0].at).toISOString());
    expect(report.totals).toMatchObject({ requests: 3, completionTokens: 15, promptTokens: 6 });
  });

  it("filters by user and time", async () => {
    await (await api.chat({ user: "ann" })).text();
    await (await api.chat({ user: "bob" })).text();
    const requests = async (query: string) =>
      JSON.parse(await (await api.request(`/v1/usage?${query}`)).text()).totals.requests;
    expect(await requests("user=ann")).toBe(1);
    expect(await requests("since=2020-01-01")).toBe(2);
    expect(await requests("until=2020-01-01T00:00:00Z")).toBe(0);
    expect(await requests(`since=${Date.now() + 60_000}`)).toBe(0);
  });

  it("shows a key that may read usage its own rows only, whatever it asks for", async () => {
    await (await api.chat({})).text();
    const reader = await api.makeKey(["chat", "usage"]);
    const headers = { authorization: `Bearer ${reader.secret}` };
    await (await api.chat({}, { headers })).text();
    const own = JSON.parse(await (await api.request(`/v1/usage?key=${api.admin.id}`, { headers })).text());
    expect(own.rows.map((row: { keyId: string }) => row.keyId)).toEqual([reader.id]);
    expect(own.totals.requests).toBe(1);
    const all = JSON.parse(await (await api.request("/v1/usage")).text());
    expect(all.totals.requests).toBe(2);
  });

  it.each(["limit=0", "limit=1001", "limit=many", "since=yesterday", "until=9e99", `user=${"u".repeat(300)}`])(
    "refuses %s and names the parameter",
    async (query) => {
      const response = await api.request(`/v1/usage?${query}`);
      expect(response.status).toBe(400);
      expect(response.headers.get("content-type")).toBe("application/problem+json");
      expect(await response.json()).toMatchObject({ param: query.split("=")[0], detail: expect.stringMatching(/\.$/) });
    },
  );
});

describe("every reply", () => {
  it("carries a request id, the caller's own where it is one", async () => {
    const own = await api.app.request("/health", { headers: { "x-request-id": "abc-123" } });
    expect(own.headers.get("x-request-id")).toBe("abc-123");
    const forged = await api.app.request("/health", { headers: { "x-request-id": "a b<script>" } });
    expect(forged.headers.get("x-request-id")).toMatch(/^req-[\w-]{36}$/);
    expect(api.log.map((line) => line.facts.requestId)).toContain("abc-123");
  });

  it("is protected, streams and errors too", async () => {
    for (const response of [await api.chat({ stream: true }), await api.app.request("/v1/models")]) {
      expect(response.headers.get("x-content-type-options")).toBe("nosniff");
      expect(response.headers.get("content-security-policy")).toContain("default-src 'none'");
      expect(response.headers.get("access-control-allow-origin")).toBe("*");
      expect(response.headers.get("access-control-allow-credentials")).toBeNull();
      expect(response.headers.get("x-request-id")).toBeTruthy();
      await response.text();
    }
  });

  it("allows a browser's preflight", async () => {
    const response = await api.app.request("/v1/chat/completions", {
      method: "OPTIONS",
      headers: {
        origin: "https://chat.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,x-stainless-os",
      },
    });
    expect(response.status).toBe(204);
    expect(response.headers.get("access-control-allow-headers")).toContain("x-stainless-os");
  });
});
