import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { describeChatEngine } from "../../test/contract/chat-engine.ts";
import { serveEngine } from "../../test/support/engine-server.ts";
import { FakeEngine, sayForever, sayWords } from "../../test/support/fake-engine.ts";
import type { ChatEvent, ChatRequest } from "../core/chat.ts";
import type { ChatEngine } from "../core/ports.ts";
import { createHttpEngine, type HttpEngineOptions } from "./client.ts";

const clock = { now: () => Date.now() };
const closers: (() => Promise<void>)[] = [];

afterEach(async () => {
  await Promise.all(closers.splice(0).map((close) => close()));
});

const contractText = "The engine behind HTTP says eight words here.";

describeChatEngine("the HTTP client", async (answer) => {
  const fake = new FakeEngine({ script: answer === "finite" ? sayWords(contractText) : sayForever });
  const { url, close } = await serveEngine(fake);
  return {
    engine: createHttpEngine({ baseUrl: url, clock }),
    model: "fake",
    text: contractText,
    contextLength: 64,
    close,
  };
});

interface Upstream {
  engine: ChatEngine;
  bodies: Record<string, unknown>[];
  headers: IncomingMessage["headers"][];
  /** Resolves when the client hangs up before the reply ended. */
  hungUp: Promise<void>;
}

/** A server that answers every chat by hand. */
async function upstream(
  answer: (response: ServerResponse, request: IncomingMessage) => void,
  options: Partial<HttpEngineOptions> = {},
): Promise<Upstream> {
  const bodies: Record<string, unknown>[] = [];
  const headers: IncomingMessage["headers"][] = [];
  let hangUp = () => {};
  const hungUp = new Promise<void>((resolve) => {
    hangUp = resolve;
  });
  const server = createServer(async (request, response) => {
    headers.push(request.headers);
    response.on("close", () => {
      if (!response.writableFinished) hangUp();
    });
    const text = Buffer.concat(await request.toArray()).toString();
    if (text !== "") bodies.push(JSON.parse(text));
    answer(response, request);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closers.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const { port } = server.address() as AddressInfo;
  const engine = createHttpEngine({ baseUrl: `http://127.0.0.1:${port}/v1/`, clock, engineId: "up", ...options });
  return { engine, bodies, headers, hungUp };
}

const request: ChatRequest = { model: "m", messages: [{ role: "user", content: "Hi" }], maxTokens: 9 };

async function collect(engine: ChatEngine, signal = new AbortController().signal): Promise<ChatEvent[]> {
  const events: ChatEvent[] = [];
  for await (const event of engine.chat(request, { signal })) events.push(event);
  return events;
}

const chunk = (choice: Record<string, unknown> | undefined, extras: Record<string, unknown> = {}) =>
  `data: ${JSON.stringify({ id: "c", object: "chat.completion.chunk", model: "real-name", choices: choice === undefined ? [] : [{ index: 0, ...choice }], ...extras })}\n\n`;
const role = chunk({ delta: { role: "assistant", content: null }, finish_reason: null });
const word = (text: string) => chunk({ delta: { content: text }, finish_reason: null });
const stop = chunk({ delta: {}, finish_reason: "stop" });
const done = "data: [DONE]\n\n";

function sse(...frames: string[]) {
  return (response: ServerResponse) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.end(frames.join(""));
  };
}

const reply =
  (status: number, body: unknown, headers: Record<string, string> = {}) =>
  (response: ServerResponse) => {
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end(typeof body === "string" ? body : JSON.stringify(body));
  };

describe("what is sent upstream", () => {
  it("always asks for a stream with usage, with the token and without unset fields", async () => {
    const { engine, bodies, headers } = await upstream(sse(role, word("Hi"), stop, done), { token: "t-1" });
    await collect(engine);
    expect(bodies).toEqual([
      {
        model: "m",
        messages: request.messages,
        stream: true,
        stream_options: { include_usage: true },
        max_tokens: 9,
      },
    ]);
    expect(headers[0]!.authorization).toBe("Bearer t-1");
  });
});

describe("answers of other servers", () => {
  const usage = { prompt_tokens: 11, completion_tokens: 2, total_tokens: 13 };

  it("reads llama-server's timings and cached tokens", async () => {
    const timings = { cache_n: 4, prompt_n: 7, prompt_per_second: 70, predicted_n: 2, predicted_per_second: 20 };
    const last = chunk(undefined, { usage: { ...usage, prompt_tokens_details: { cached_tokens: 4 } }, timings });
    const { engine } = await upstream(sse(role, word("Hel"), word("lo"), stop, last, done));
    const events = await collect(engine);
    expect(events.slice(0, 3)).toEqual([
      { type: "start", producer: { engineId: "up", model: "real-name" } },
      { type: "text", text: "Hel" },
      { type: "text", text: "lo" },
    ]);
    expect(events.at(-1)).toMatchObject({
      type: "finish",
      finishReason: "stop",
      usage: { promptTokens: 11, completionTokens: 2, cachedPromptTokens: 4 },
      timings: { prefillTokensPerSecond: 70, completionTokensPerSecond: 20 },
    });
  });

  it.each([
    ["an empty list", []],
    ["null", null],
    ["nothing", undefined],
  ])("accepts a usage chunk whose choices are %s", async (_name, choices) => {
    const last = `data: ${JSON.stringify({ object: "chat.completion.chunk", choices, usage })}\n\n`;
    const { engine } = await upstream(sse(role, word("Hi"), stop, last, done));
    expect((await collect(engine)).at(-1)).toMatchObject({
      type: "finish",
      usage: { promptTokens: 11, completionTokens: 2 },
    });
  });

  it("counts the tokens itself where the server does not, and says so", async () => {
    const { engine } = await upstream(sse(role, word("a"), word("b"), word("c"), stop, done));
    const finish = (await collect(engine)).at(-1);
    expect(finish).toMatchObject({ type: "finish", usage: { completionTokens: 3, estimated: true } });
    expect(finish).not.toHaveProperty("usage.promptTokens");
  });

  it("takes [DONE] without a finish reason for a whole answer", async () => {
    const { engine } = await upstream(sse(role, word("a"), done));
    expect((await collect(engine)).at(-1)).toMatchObject({ type: "finish", finishReason: "stop" });
  });

  it("reads one completion from a server that ignores `stream`", async () => {
    const message = { role: "assistant", content: "Whole." };
    const body = { model: "x", choices: [{ index: 0, message, finish_reason: "length" }], usage };
    const { engine } = await upstream(reply(200, body));
    const events = await collect(engine);
    expect(events.map((event) => event.type)).toEqual(["start", "text", "finish"]);
    expect(events.at(-1)).toMatchObject({ finishReason: "length", usage: { completionTokens: 2 } });
  });

  it("tells the place in the queue when the server does", async () => {
    const { engine } = await upstream(sse(': queued {"position":2}\n\n', ": keep-alive\n\n", role, stop, done));
    expect((await collect(engine))[0]).toEqual({ type: "queued", position: 2 });
    const preparing = { step: "download", share: 0.42 };
    const fetching = await upstream(
      sse(`: queued ${JSON.stringify({ position: 1, preparing })}\n\n`, role, stop, done),
    );
    expect((await collect(fetching.engine))[0]).toEqual({ type: "queued", position: 1, preparing });
  });
});

describe("answers that break off", () => {
  it("end in an error when the stream ends without a finish", async () => {
    const { engine } = await upstream(sse(role, word("Half")));
    expect((await collect(engine)).at(-1)).toMatchObject({
      type: "error",
      error: { code: "engine_unavailable" },
      usage: { completionTokens: 1, estimated: true },
    });
  });

  it("end in an error when the server dies in the middle", async () => {
    const { engine } = await upstream((response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(role + word("Half"), () => response.destroy());
    });
    const events = await collect(engine);
    expect(events.map((event) => event.type)).toEqual(["start", "text", "error"]);
    expect(events.at(-1)).toMatchObject({ error: { code: "engine_unavailable" } });
  });

  it("pass on the error event of an engine with its code", async () => {
    const failure = `data: ${JSON.stringify({ error: { code: "engine_out_of_memory", message: "Out of memory.", type: "server_error" }, usage: { completion_tokens: 5 } })}\n\n`;
    const { engine } = await upstream(sse(role, word("Half"), failure));
    expect((await collect(engine)).at(-1)).toMatchObject({
      type: "error",
      error: { code: "engine_out_of_memory", message: "Out of memory." },
      usage: { completionTokens: 5 },
    });
  });

  it("end in an error when the server sends something else than JSON", async () => {
    const { engine } = await upstream(sse(role, "data: {oops\n\n"));
    expect((await collect(engine)).at(-1)).toMatchObject({ error: { code: "engine_unavailable" } });
  });

  it("time out when the first byte does not come", async () => {
    const { engine, hungUp } = await upstream(() => {}, { firstByteMsMax: 30 });
    expect(await collect(engine)).toMatchObject([{ type: "error", error: { code: "engine_timeout" } }]);
    await hungUp;
  });

  it("time out when the server falls silent in the middle, and comments count as life", async () => {
    const { engine, hungUp } = await upstream(
      (response) => {
        response.writeHead(200, { "content-type": "text/event-stream" });
        response.write(role + word("Half"));
        let comments = 0;
        const timer = setInterval(() => {
          response.write(": keep-alive\n\n");
          if (++comments === 4) clearInterval(timer);
        }, 40);
      },
      { silenceMsMax: 120 },
    );
    const before = performance.now();
    expect((await collect(engine)).at(-1)).toMatchObject({ type: "error", error: { code: "engine_timeout" } });
    expect(performance.now() - before).toBeGreaterThan(4 * 40 + 100);
    await hungUp;
  });
});

describe("servers that refuse", () => {
  const openAi = (code: string, message = "Said so.") => ({ error: { message, type: "t", param: "p", code } });

  it.each([
    ["one of our codes", 422, openAi("model_does_not_fit"), "model_does_not_fit"],
    ["a wrong token", 401, openAi("invalid_api_key"), "invalid_configuration"],
    ["a forbidden token", 403, {}, "invalid_configuration"],
    ["an unknown model (Ollama)", 404, { error: { message: 'model "m" not found' } }, "model_not_found"],
    ["an unknown model (vLLM)", 404, { message: "The model `m` does not exist.", code: 404 }, "model_not_found"],
    ["a page where the API should be", 404, "<html>Not found</html>", "invalid_configuration"],
    [
      "a prompt too long (llama-server)",
      400,
      {
        error: {
          code: 400,
          message: "the request exceeds the available context size",
          type: "exceed_context_size_error",
        },
      },
      "context_length_exceeded",
    ],
    ["a prompt too long (vLLM)", 400, { error: { message: "maximum context length is 8" } }, "context_length_exceeded"],
    ["another bad request", 400, { error: { message: "bad top_k" } }, "invalid_request"],
    ["a body too large", 413, "", "payload_too_large"],
    ["too many requests", 429, {}, "engine_overloaded"],
    ["a crash", 500, { error: { message: "CUDA error at /secret/path" } }, "engine_unavailable"],
    ["a gateway's page", 502, "<html>Bad gateway</html>", "engine_unavailable"],
    ["a model that loads", 503, { error: { code: 503, message: "Loading model" } }, "engine_unavailable"],
    ["a gateway's timeout", 504, "", "engine_timeout"],
  ])("with %s give one error event", async (_name, status, body, code) => {
    const { engine } = await upstream(reply(status, body));
    const events = await collect(engine);
    expect(events).toHaveLength(1);
    expect(events[0]).toMatchObject({ type: "error", error: { code } });
    expect(JSON.stringify(events)).not.toContain("secret");
  });

  it("keep their retry-after", async () => {
    const { engine } = await upstream(reply(503, openAi("engine_overloaded"), { "retry-after": "3" }));
    expect(await collect(engine)).toMatchObject([{ error: { code: "engine_overloaded", retryAfterMs: 3000 } }]);
  });

  it("are unavailable when nothing listens there", async () => {
    const engine = createHttpEngine({ baseUrl: "http://127.0.0.1:1", clock });
    expect(await collect(engine)).toMatchObject([{ type: "error", error: { code: "engine_unavailable" } }]);
    await expect(engine.models()).rejects.toMatchObject({ code: "engine_unavailable" });
    expect(await engine.health()).toMatchObject({ state: "stopped" });
  });
});

describe("leaving", () => {
  const endless = (response: ServerResponse) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(role);
    const timer = setInterval(() => response.write(word("x")), 5);
    response.on("close", () => clearInterval(timer));
  };

  it("by abort before the first byte hangs up and ends with cancelled", async () => {
    const abort = new AbortController();
    const { engine, hungUp } = await upstream(() => abort.abort());
    expect(await collect(engine, abort.signal)).toMatchObject([{ type: "cancelled" }]);
    await hungUp;
  });

  it("by abort mid-stream hangs up and counts what came", async () => {
    const { engine, hungUp } = await upstream(endless);
    const abort = new AbortController();
    const events: ChatEvent[] = [];
    for await (const event of engine.chat(request, { signal: abort.signal })) {
      events.push(event);
      if (events.filter((one) => one.type === "text").length === 3) abort.abort();
    }
    const texts = events.filter((event) => event.type === "text").length;
    expect(events.at(-1)).toMatchObject({
      type: "cancelled",
      usage: { completionTokens: texts, estimated: true },
    });
    await hungUp;
  });

  it("by breaking out of the iteration hangs up", async () => {
    const { engine, hungUp } = await upstream(endless);
    for await (const event of engine.chat(request, { signal: new AbortController().signal })) {
      if (event.type === "text") break;
    }
    await hungUp;
  });
});

describe("health and models of other servers", () => {
  const routes = (table: Record<string, (response: ServerResponse) => void>) => {
    const missing = reply(404, "404 page not found");
    return (response: ServerResponse, asked: IncomingMessage) => (table[asked.url!] ?? missing)(response);
  };

  it("llama-server that loads is loading, then ready", async () => {
    const loading = await upstream(routes({ "/health": reply(503, { error: { message: "Loading model" } }) }));
    expect(await loading.engine.health()).toMatchObject({ state: "loading" });
    const ready = await upstream(routes({ "/health": reply(200, { status: "ok" }) }));
    expect(await ready.engine.health()).toMatchObject({ state: "ready" });
  });

  it("vLLM answers an empty body and its context length", async () => {
    const list = { object: "list", data: [{ id: "m", object: "model", max_model_len: 4096 }, { object: "model" }] };
    const { engine } = await upstream(routes({ "/health": reply(200, ""), "/v1/models": reply(200, list) }));
    expect(await engine.health()).toMatchObject({ state: "ready" });
    expect(await engine.models()).toEqual([{ id: "m", contextLength: 4096, loaded: true }]);
  });

  it("Ollama has no /health but lists models", async () => {
    const { engine } = await upstream(routes({ "/v1/models": reply(200, { object: "list", data: [] }) }));
    expect(await engine.health()).toMatchObject({ state: "ready" });
  });

  it("something that is no engine is stopped, with the reason", async () => {
    const { engine } = await upstream(routes({}));
    expect(await engine.health()).toMatchObject({ state: "stopped", reason: expect.stringContaining("address") });
    await expect(engine.models()).rejects.toMatchObject({ code: "invalid_configuration" });
  });

  it("a server that does not answer is stopped in bounded time", async () => {
    const { engine } = await upstream(() => {}, { healthMsMax: 30 });
    expect(await engine.health()).toMatchObject({ state: "stopped" });
  });

  it("our own API tells its engine's health", async () => {
    const engineHealth = { state: "restarting", reason: "It crashed.", active: 0, queued: 2, slots: 4 };
    const { engine } = await upstream(routes({ "/health": reply(200, { status: "degraded", engine: engineHealth }) }));
    expect(await engine.health()).toEqual(engineHealth);
  });
});
