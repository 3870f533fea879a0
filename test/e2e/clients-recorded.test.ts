/**
 * Clients that cannot be installed here, by the shape of their calls: Open WebUI (its backend, and its "direct connection"
 * from a browser) and programs over OpenAI's Python client, such as `llm`.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type ClientApi, callToken, spoken, startClientApi } from "../support/client-api.ts";

let api: ClientApi;

beforeAll(async () => {
  api = await startClientApi();
});
afterAll(() => api.close());

const call = (path: string, init: RequestInit & { headers?: Record<string, string> } = {}) =>
  fetch(`${api.baseUrl}${path}`, {
    ...init,
    headers: { authorization: `Bearer ${api.apiKey}`, "content-type": "application/json", ...init.headers },
  });
const post = (path: string, body: object, headers: Record<string, string> = {}) =>
  call(path, { method: "POST", body: JSON.stringify(body), headers });
/** The model's lines are fixed: without this it calls. */
const logit_bias = { [callToken]: -100 };

interface Chunk {
  choices: { delta: { content?: string }; finish_reason: string | null }[];
  usage?: { total_tokens: number } | null;
}

/** Reads a stream line by line, as such clients do. */
async function readStream(response: Response): Promise<{ text: string; finish: string[]; usage: unknown[] }> {
  expect(response.headers.get("content-type")).toContain("text/event-stream");
  const lines = (await response.text()).split("\n").filter((line) => line.startsWith("data: "));
  expect(lines.pop()).toBe("data: [DONE]");
  const chunks = lines.map((line) => JSON.parse(line.slice(6)) as Chunk);
  const choices = chunks.flatMap((chunk) => chunk.choices);
  return {
    text: choices.map(({ delta }) => delta.content ?? "").join(""),
    finish: choices.flatMap(({ finish_reason }) => finish_reason ?? []),
    usage: chunks.flatMap((chunk) => chunk.usage ?? []),
  };
}

describe("Open WebUI", () => {
  const fromItsBackend = {
    "x-openwebui-user-name": "Ann",
    "x-openwebui-user-id": "0b1c",
    "x-openwebui-user-email": "ann@example.org",
    "x-openwebui-user-role": "user",
  };

  test("lists models", async () => {
    const body = (await (await call("/models", { headers: fromItsBackend })).json()) as {
      data: { id: string; object: string; created: number; owned_by: string }[];
    };
    expect(body).toMatchObject({ object: "list", data: [{ id: "tiny", object: "model" }] });
  });

  test("streams a chat with all it sends along", async () => {
    const response = await post(
      "/chat/completions",
      {
        stream: true,
        model: "tiny",
        messages: [
          { role: "system", content: "You are helpful." },
          { role: "user", content: [{ type: "text", text: "Hello" }] },
        ],
        temperature: 0,
        top_p: 0.9,
        seed: 42,
        stop: [],
        max_tokens: 100,
        frequency_penalty: 0,
        logit_bias,
        stream_options: { include_usage: true },
        features: { image_generation: false, code_interpreter: false, web_search: false },
        session_id: "s-1",
        chat_id: "c-1",
        id: "m-1",
        background_tasks: { title_generation: true, tags_generation: true },
        params: {},
        tool_servers: [],
        variables: { "{{USER_NAME}}": "Ann" },
      },
      fromItsBackend,
    );
    const { text, finish, usage } = await readStream(response);
    expect(text.trim()).toBe(spoken);
    expect(finish).toEqual(["stop"]);
    expect(usage).toHaveLength(1);
  });

  test("asks for a title, whole", async () => {
    const messages = [{ role: "user", content: "### Task: Generate a concise title." }];
    const body = { model: "tiny", messages, stream: false, max_completion_tokens: 1000, logit_bias };
    const reply = await post("/chat/completions", body, fromItsBackend);
    expect(await reply.json()).toMatchObject({
      choices: [{ message: { role: "assistant", content: expect.any(String) } }],
    });
  });

  test("connects from a browser on another origin", async () => {
    const preflight = await fetch(`${api.baseUrl}/chat/completions`, {
      method: "OPTIONS",
      headers: {
        origin: "https://chat.example.org",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
      },
    });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get("access-control-allow-origin")).toBe("*");
    expect(preflight.headers.get("access-control-allow-headers")).toBe("authorization,content-type");
    expect(preflight.headers.get("access-control-allow-methods")).toContain("POST");
    const messages = [{ role: "user", content: "Hello" }];
    const headers = { origin: "https://chat.example.org" };
    const reply = await post("/chat/completions", { model: "tiny", messages, stream: true, logit_bias }, headers);
    expect(reply.headers.get("access-control-allow-origin")).toBe("*");
    expect((await readStream(reply)).text.trim()).toBe(spoken);
  });
});

describe("programs over OpenAI's Python client", () => {
  const stainless = {
    accept: "application/json",
    "accept-encoding": "gzip, deflate",
    "user-agent": "OpenAI/Python 1.99.1",
    "x-stainless-lang": "python",
    "x-stainless-package-version": "1.99.1",
    "x-stainless-runtime": "CPython",
    "x-stainless-async": "false",
    "x-stainless-retry-count": "0",
    "x-stainless-read-timeout": "600",
  };

  test("stream an answer with usage", async () => {
    const messages = [
      { role: "system", content: "Be brief." },
      { role: "user", content: "Hello" },
    ];
    const body = { messages, model: "tiny", stream: true, stream_options: { include_usage: true }, logit_bias };
    const { text, usage } = await readStream(await post("/chat/completions", body, stainless));
    expect(text.trim()).toBe(spoken);
    expect(usage).toEqual([expect.objectContaining({ completion_tokens: 11 })]);
  });

  test("complete a text in the older form", async () => {
    const body = { model: "tiny", prompt: "The queue", max_tokens: 3, stream: false };
    const reply = (await (await post("/completions", body, stainless)).json()) as { object: string };
    expect(reply).toMatchObject({ object: "text_completion", choices: [{ index: 0, text: expect.any(String) }] });
  });

  test("read an error's type and code", async () => {
    const reply = await post("/chat/completions", { model: "tiny", messages: [] }, stainless);
    expect(reply.status).toBe(400);
    expect(reply.headers.get("x-should-retry")).toBe("false");
    const error = {
      type: "invalid_request_error",
      param: "messages",
      code: "invalid_request",
      message: expect.any(String),
    };
    expect(await reply.json()).toEqual({ error });
  });
});
