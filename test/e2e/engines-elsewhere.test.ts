/**
 * `snug start` in front of servers that stand in for vLLM on several machines: real sockets, the shape of vLLM's replies,
 * and the ways in which such servers die.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import type { UsageRow } from "../../src/core/ports.ts";
import { type SnugServerProcess, startSnug } from "../support/snug-process.ts";

const model = "meta-llama/Llama-3.3-70B-Instruct";

interface StandIn {
  url: string;
  /** Bodies of the chats it was asked for. */
  asked: Record<string, unknown>[];
  /** How it answers a chat. */
  behave: (response: ServerResponse) => void;
  /** Resolves when a client left an answer that had begun. */
  left: Promise<void>;
  server: Server;
}

const chunk = (choices: object[], more: object = {}) =>
  `data: ${JSON.stringify({ id: "chatcmpl-x", object: "chat.completion.chunk", created: 1, model, choices, ...more })}\n\n`;
const text = (content: string) => chunk([{ index: 0, delta: { content }, logprobs: null, finish_reason: null }]);

function begin(response: ServerResponse): void {
  response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
  response.write(chunk([{ index: 0, delta: { role: "assistant", content: "" }, finish_reason: null }]));
}

/** As vLLM ends: usage in a chunk without choices. */
function speak(response: ServerResponse, words: string[]): void {
  begin(response);
  for (const word of words) response.write(text(word));
  const usage = { prompt_tokens: 9, completion_tokens: words.length, total_tokens: 9 + words.length };
  response.write(chunk([{ index: 0, delta: { content: "" }, finish_reason: "stop", stop_reason: null }]));
  response.end(`${chunk([], { usage })}data: [DONE]\n\n`);
}

async function startStandIn(): Promise<StandIn> {
  let leave = () => {};
  const left = new Promise<void>((resolve) => {
    leave = resolve;
  });
  const standIn: Omit<StandIn, "url" | "server"> = { asked: [], behave: (response) => speak(response, ["Hi"]), left };
  const server = createServer(async (request: IncomingMessage, response) => {
    if (request.headers.authorization !== "Bearer cluster-token") return response.writeHead(401).end();
    if (request.url === "/health") return response.writeHead(200).end();
    if (request.url === "/v1/models") {
      const data = [{ id: model, object: "model", created: 1, owned_by: "vllm", max_model_len: 32_768 }];
      return response
        .writeHead(200, { "content-type": "application/json" })
        .end(JSON.stringify({ object: "list", data }));
    }
    standIn.asked.push(JSON.parse(Buffer.concat(await request.toArray()).toString()));
    response.on("close", () => !response.writableFinished && leave());
    standIn.behave(response);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return Object.assign(standIn, { url, server });
}

let folder: string;
let first: StandIn;
let second: StandIn;
let snug: SnugServerProcess;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "snug-elsewhere-"));
  [first, second] = await Promise.all([startStandIn(), startStandIn()]);
  snug = await startSnug({
    SNUG_DATA_DIR: folder,
    SNUG_ENGINE_URL: `first*100=${first.url}/v1,second*0.01=${second.url}/v1`,
    SNUG_ENGINE_TOKEN: "cluster-token",
    SNUG_ALIASES: `chat-large=${model}`,
  });
});
afterAll(async () => {
  snug?.process.kill("SIGTERM");
  await snug?.exited;
  for (const { server } of [first, second]) {
    server.closeAllConnections();
    server.close();
  }
  rmSync(folder, { recursive: true, force: true });
});
beforeEach(() => {
  for (const one of [first, second]) {
    one.asked.length = 0;
    one.behave = (response) => speak(response, ["Hi", " there"]);
  }
});

const ask = (body: object = {}, signal?: AbortSignal) =>
  fetch(`${snug.address}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${snug.key}`, "content-type": "application/json" },
    body: JSON.stringify({ model: "chat-large", stream: true, messages: [{ role: "user", content: "Hi" }], ...body }),
    ...(signal === undefined ? {} : { signal }),
  });

async function newestRow(): Promise<UsageRow> {
  const reply = await fetch(`${snug.address}/v1/usage?limit=1`, { headers: { authorization: `Bearer ${snug.key}` } });
  return ((await reply.json()) as { rows: UsageRow[] }).rows[0]!;
}

it("answers by an alias, asks for usage, and books what the server reported", async () => {
  const reply = await (await ask()).text();
  expect(reply).toContain('"content":" there"');
  expect(reply.endsWith("data: [DONE]\n\n")).toBe(true);
  expect(first.asked[0]).toMatchObject({ model, stream: true, stream_options: { include_usage: true } });
  expect(await newestRow()).toMatchObject({
    model,
    engineId: "first",
    usage: { promptTokens: 9, completionTokens: 2 },
    finishReason: "stop",
  });
  expect((await newestRow()).usage.estimated).toBeUndefined();
});

it.each([
  ["before its head", (response: ServerResponse) => response.destroy()],
  [
    "after its head, before the first event",
    (response: ServerResponse) => {
      response.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
      setTimeout(() => response.destroy(), 20);
    },
  ],
  ["with a 500", (response: ServerResponse) => response.writeHead(500).end("Ray worker died")],
])("an engine that dies %s is replaced, and the client does not notice", async (_when, behave) => {
  first.behave = behave;
  const response = await ask();
  expect(response.status).toBe(200);
  const reply = await response.text();
  expect(reply).toContain('"content":" there"');
  expect(reply).not.toContain("error");
  expect(reply.endsWith("data: [DONE]\n\n")).toBe(true);
  expect(await newestRow()).toMatchObject({ engineId: "second", finishReason: "stop" });
});

it.each([true, false])(
  "an engine that dies in the middle leaves a visible cut and a row of what there was (stream: %s)",
  async (stream) => {
    const die = (response: ServerResponse) => {
      begin(response);
      response.write(text("Half"));
      response.write(text(" an"));
      setTimeout(() => response.destroy(), 50);
    };
    first.behave = die;
    second.behave = die;
    const response = await ask({ stream });
    expect(response.status).toBe(stream ? 200 : 503);
    const reply = await response.text();
    expect(reply).toMatch(/"error":\{.*broke off/);
    expect(reply).not.toContain("[DONE]");
    const row = await newestRow();
    expect(row).toMatchObject({ settled: true, aborted: false, errorCode: "engine_unavailable" });
    expect(row.usage).toMatchObject({ completionTokens: 2, estimated: true });
    expect(row.finishReason).toBeUndefined();
  },
);

it("a client that leaves ends the work on the cluster", async () => {
  first.behave = (response) => {
    begin(response);
    response.write(text("Long"));
  };
  second.behave = first.behave;
  const client = new AbortController();
  const reader = (await ask({}, client.signal)).body!.getReader();
  await reader.read();
  client.abort();
  await Promise.race([first.left, second.left]);
  await expect.poll(async () => (await newestRow()).aborted, { timeout: 10_000 }).toBe(true);
});
