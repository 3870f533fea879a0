/** Every field of every body, sent wrong; every route, asked without its scope; and senders that mean harm. */
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openApi, type TestApi } from "../../test/support/api.ts";
import { type Listener, listen } from "../entries/listen.ts";
import { operations } from "./openapi.ts";

let api: TestApi;
let listener: Listener;

beforeAll(async () => {
  api = await openApi();
  const requestTimes = { headMsMax: 300, msMax: 600, lookMs: 50 };
  listener = await listen(api.app.fetch, { host: "127.0.0.1", port: 0, requestTimes });
});
afterAll(async () => {
  await listener.close(0);
  api.close();
});

const json = { "content-type": "application/json" };
const post = (path: string, body: string, method = "POST") => api.request(path, { method, body, headers: json });

const valid: Record<string, Record<string, unknown>> = {
  "/v1/chat/completions": { model: "fake", messages: [{ role: "user", content: "Hi" }] },
  "/v1/completions": { model: "fake", prompt: "Hi" },
  "/v1/responses": { model: "fake", input: "Hi" },
  "/v1/embeddings": { model: "fake", input: "Hi" },
  "/v1/rerank": { model: "fake", query: "Hi", documents: ["Ho"] },
  "/v1/keys": { name: "bot" },
  "/v1/engines": { name: "attic", url: "http://127.0.0.1:9" },
};

const wrong: [path: string, field: string, values: unknown[]][] = [
  ["/v1/chat/completions", "model", [undefined, null, 1, "", "x".repeat(600), {}]],
  ["/v1/chat/completions", "messages", [undefined, null, "Hi", {}, [], [1], [{ role: "wizard", content: "x" }]]],
  ["/v1/chat/completions", "messages", [[{ role: "user" }], [{ role: "user", content: 5 }], [{ content: "x" }]]],
  ["/v1/chat/completions", "messages", [[{ role: "user", content: [{ type: "image_url" }] }]]],
  ["/v1/chat/completions", "stream", ["yes", 1, {}]],
  ["/v1/chat/completions", "stream_options", ["x", { include_usage: "yes" }]],
  ["/v1/chat/completions", "max_tokens", [0, -1, 1.5, "9", []]],
  ["/v1/chat/completions", "max_completion_tokens", [0, "9"]],
  ["/v1/chat/completions", "temperature", [-0.1, 2.1, "hot", []]],
  ["/v1/chat/completions", "top_p", [0, 1.1, "x"]],
  ["/v1/chat/completions", "top_k", [-2, 0.5, "x"]],
  ["/v1/chat/completions", "min_p", [-1, "x"]],
  ["/v1/chat/completions", "presence_penalty", [-3, 3, "x"]],
  ["/v1/chat/completions", "frequency_penalty", [-3, 3, "x"]],
  ["/v1/chat/completions", "repeat_penalty", [0, 11, "x"]],
  ["/v1/chat/completions", "seed", ["x", 0.5]],
  ["/v1/chat/completions", "logit_bias", ["x", { a: 1 }, { 5: 101 }, { 5: "x" }]],
  ["/v1/chat/completions", "stop", [5, [5], [""], ["a".repeat(300)], Array.from({ length: 17 }, () => "x")]],
  ["/v1/chat/completions", "user", [5, "x".repeat(300)]],
  ["/v1/chat/completions", "n", [0, 2, "1"]],
  [
    "/v1/chat/completions",
    "tools",
    ["x", [{}], [{ type: "function" }], [{ type: "function", function: { name: "a b" } }]],
  ],
  ["/v1/chat/completions", "tool_choice", ["sometimes", 5, { type: "function" }]],
  ["/v1/chat/completions", "response_format", ["json", { type: "xml" }, { type: "json_schema" }]],
  ["/v1/chat/completions", "truncation", ["maybe", 5]],
  ["/v1/completions", "prompt", [undefined, 5, {}]],
  ["/v1/completions", "max_tokens", [-1, "x"]],
  ["/v1/responses", "input", [undefined, 5, [], [{ role: "user", content: 5 }], [{ type: "computer_call" }]]],
  ["/v1/responses", "instructions", [5, {}]],
  ["/v1/responses", "max_output_tokens", [0, "x", 0.5]],
  ["/v1/responses", "stream", ["x"]],
  ["/v1/responses", "tools", ["x", [5], [{ type: "mcp" }]]],
  ["/v1/responses", "tool_choice", ["x", {}]],
  ["/v1/responses", "text", ["x", { format: 5 }, { format: { type: "xml" } }]],
  ["/v1/responses", "background", [true, "x"]],
  ["/v1/embeddings", "input", [undefined, 5, [], {}]],
  ["/v1/embeddings", "dimensions", [0, "x"]],
  ["/v1/embeddings", "encoding_format", ["hex"]],
  ["/v1/rerank", "query", [undefined, 5]],
  ["/v1/rerank", "documents", [undefined, "x", [], [5]]],
  ["/v1/rerank", "top_n", [0, "x"]],
  ["/v1/keys", "name", [undefined, 5, "", "x".repeat(200), "a\r\nb", "\u001b[2J", "a\u0085b"]],
  ["/v1/keys", "scopes", ["chat", ["root"], 5]],
  ["/v1/keys", "expiresAt", ["soon", {}]],
  ["/v1/keys", "limits", [5, { requestsPerDay: -1 }, { requestsPerYear: 1 }]],
  ["/v1/keys", "models", ["x", [5]]],
  ["/v1/engines", "name", [undefined, "", "a b", "../x", "x".repeat(100)]],
  ["/v1/engines", "url", [undefined, "attic", "file:///etc/passwd", "ftp://x", "http://a:b@x/", "javascript:1", 5]],
  ["/v1/engines", "url", ["http://127.0.0.1:9/?x=1", "http://127.0.0.1:9/v1#y"]],
  ["/v1/engines", "token", [5, "", "a b", "a\nb"]],
  ["/v1/engines", "weight", [0, 101, "x"]],
  ["/v1/engines", "draining", ["x"]],
];

describe("a wrong field", () => {
  it.each(wrong)("of %s, %s, is named in a 400, and nothing is done", async (path, field, values) => {
    for (const value of values) {
      const response = await post(path, JSON.stringify({ ...valid[path], [field]: value }));
      const shown = JSON.stringify(value)?.slice(0, 60);
      expect(response.status, shown).toBe(400);
      const body = (await response.json()) as {
        error?: { param: string; message: string };
        param?: string;
        detail?: string;
      };
      const param = body.error?.param ?? body.param;
      expect(param?.split(/[.[]/)[0], shown).toBe(field);
      expect(body.error?.message ?? body.detail, shown).toMatch(/^[^\n]{10,400}\.$/);
    }
    expect(await api.rows()).toEqual([]);
    expect(api.engine.requests).toEqual([]);
  });
});

/** Same numbers every run. */
function createRandom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const junk: unknown[] = [
  null,
  true,
  -1,
  1e308,
  "",
  "\u0000",
  "\ud800",
  [],
  {},
  [[]],
  { a: { b: {} } },
  "x".repeat(3000),
];

/** One value somewhere in it replaced, taken out or doubled. */
function mutate(value: unknown, random: (below: number) => number): unknown {
  if (typeof value !== "object" || value === null || random(4) === 0) return junk[random(junk.length)];
  const copy: Record<string, unknown> = Object.assign<object, object>(Array.isArray(value) ? [] : {}, value) as Record<
    string,
    unknown
  >;
  const keys = Object.keys(copy);
  const key = keys[random(keys.length)] ?? "extra";
  if (random(6) === 0) delete copy[key];
  else copy[random(8) === 0 ? "__proto__x" : key] = mutate(copy[key], random);
  return copy;
}

describe("fuzzed JSON", () => {
  it.each(Object.keys(valid))("to %s never brings the server down", async (path) => {
    const random = createRandom(7);
    for (let round = 0; round < 60; round++) {
      const text = JSON.stringify(mutate(mutate(valid[path], random), random)) ?? "";
      const cut = random(5) === 0 ? text.slice(0, random(text.length + 1)) : text;
      const response = await post(path, cut);
      expect(response.status, cut.slice(0, 200)).not.toBe(500);
      await response.text();
    }
    expect(api.log.filter(({ level }) => level === "error")).toEqual([]);
  });
});

describe("a key without the scope", () => {
  const scoped = Object.entries(operations).filter(([, { scope }]) => scope !== "none");

  it.each(scoped)("of %s is turned away with 403, before anything is read", async (route, { scope }) => {
    const others = (["chat", "fits", "usage"] as const).filter((one) => one !== scope);
    const { secret } = await api.makeKey([...others]);
    const [method = "", path = ""] = route.split(" ");
    const response = await api.request(path.replace(/\{\w+\}/g, "x"), {
      method,
      headers: { authorization: `Bearer ${secret}`, ...(method === "POST" ? json : {}) },
      ...(method === "POST" || method === "PATCH" ? { body: "{" } : {}),
    });
    expect(response.status).toBe(403);
  });
});

describe("an engine's address", () => {
  it("is nobody's but an administrator's to name, so nobody else can make the server ask anything", async () => {
    const { secret } = await api.makeKey(["chat", "fits", "usage"]);
    const authorization = `Bearer ${secret}`;
    for (const url of ["http://169.254.169.254/latest/meta-data", "http://127.0.0.1:22", "http://[::1]:1"]) {
      const body = JSON.stringify({ name: "mine", url });
      const response = await api.request("/v1/engines", { method: "POST", body, headers: { ...json, authorization } });
      expect(response.status).toBe(403);
    }
    expect(await api.engineStore.list()).not.toContainEqual(expect.objectContaining({ name: "mine" }));
  });
});

describe("headers", () => {
  it("that came with a request come back only where they are harmless", async () => {
    for (const id of ["a b", "x".repeat(200), "<script>", "a;b"]) {
      const response = await api.request("/health", { headers: { "x-request-id": id } });
      expect(response.headers.get("x-request-id")).toMatch(/^req-/);
    }
    const response = await api.request("/health", { headers: { "x-request-id": "trace-1.2:3" } });
    expect(response.headers.get("x-request-id")).toBe("trace-1.2:3");
  });

  it("cannot be smuggled into an engine's request or a reply by a body", async () => {
    const model = "fake\r\nx-injected: 1";
    const response = await post("/v1/chat/completions", JSON.stringify({ ...valid["/v1/chat/completions"], model }));
    expect(response.status).toBe(404);
    expect([...response.headers.keys()]).not.toContain("x-injected");
  });
});

/** Sends text bit by bit over a socket; resolves with what came back when the server closed it. */
function drip(parts: string[], everyMs: number): Promise<{ text: string; ms: number }> {
  return new Promise((resolve) => {
    const since = performance.now();
    let text = "";
    const socket = connect(Number(new URL(listener.address).port), "127.0.0.1");
    const timer = setInterval(() => {
      const part = parts.shift();
      if (part !== undefined && socket.writable) socket.write(part);
    }, everyMs);
    socket.on("data", (data) => {
      text += data;
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      clearInterval(timer);
      resolve({ text, ms: performance.now() - since });
    });
  });
}

describe("over a real socket", () => {
  it("a header of 1 MB is refused, and others are served", async () => {
    const { text } = await drip([`GET /health HTTP/1.1\r\nhost: x\r\nx-big: ${"x".repeat(1024 * 1024)}\r\n\r\n`], 1);
    // Whoever still sends may see the connection break before it reads the refusal.
    expect(["", "431"]).toContain(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? "");
    expect((await fetch(`${listener.address}/health`)).status).toBe(200);
  });

  it.each([
    ["head", ["POST /v1/chat/completions HTTP/1.1\r\n"], "x-slow: 1\r\n"],
    [
      "body",
      [
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 4000\r\nauthorization: ",
      ],
      " ",
    ],
  ])("a %s that comes drop by drop is cut off in time, and leaves no row", async (what, [head], drop) => {
    const begin = what === "body" ? `${head}Bearer ${api.admin.secret}\r\n\r\n{` : head!;
    const before = (await api.rows()).length;
    const { text } = await drip([begin, ...Array.from({ length: 4000 }, () => drop)], 20);
    expect(["", "408"]).toContain(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? "");
    expect((await api.rows()).length).toBe(before);
    expect((await fetch(`${listener.address}/health`)).status).toBe(200);
  });

  it.each([
    ["two lengths", "content-length: 5\r\ncontent-length: 6\r\n"],
    ["length and chunks", "content-length: 5\r\ntransfer-encoding: chunked\r\n"],
    ["a line break in a header", "x-a: b\rx-c: d\r\n"],
    ["a space before the colon", "x-a : b\r\n"],
  ])("a request with %s is refused, not guessed at", async (_name, lines) => {
    const { text } = await drip([`POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n${lines}\r\n12345`], 1);
    expect(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? "400").toBe("400");
  });
});

describe("log lines", () => {
  it("hold neither keys nor prompts nor answers, whatever goes wrong", async () => {
    const { secret } = await api.makeKey(["chat"]);
    api.log.length = 0;
    api.engine.script = () => [{ text: "OSMIUM ANSWER" }];
    const ask = (body: object, headers = {}) =>
      api.chat(body, { headers: { authorization: `Bearer ${secret}`, ...headers } });
    const messages = [{ role: "user", content: "OSMIUM QUESTION" }];
    await (await ask({ messages, stream: true })).text();
    await (await ask({ messages, user: "OSMIUM USER" })).text();
    await (await ask({ messages, temperature: "OSMIUM" })).text();
    await (await ask({ messages, model: "absent" })).text();
    api.engine.script = () => {
      throw new Error("The script is broken.");
    };
    await (await ask({ messages })).text();
    await (await ask({ messages }, { authorization: "Bearer sk-OSMIUM" })).text();
    await api.rows();
    expect(api.log.length).toBeGreaterThan(5);
    const told = JSON.stringify(api.log, (_key, value) => (value instanceof Error ? value.stack : value));
    expect(told).not.toMatch(/OSMIUM/);
    expect(told).not.toContain(secret);
  });
});
