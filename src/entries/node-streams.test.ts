/** Streams written straight to Node's sockets: the same promises as over a web stream. */
import { type ClientRequest, request as httpRequest, type IncomingMessage } from "node:http";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openApi, type TestApi } from "../../test/support/api.ts";
import type { FakeStep } from "../../test/support/fake-engine.ts";
import { AppError } from "../core/errors.ts";
import { type Listener, listen } from "./listen.ts";
import { respondWithSource } from "./node-streams.ts";

/** The GPU must be free again this soon after the client left. */
const freeMsMax = 300;

let api: TestApi;
let listener: Listener;

beforeEach(async () => {
  const models = [{ id: "fake", contextLength: 1_000_000, loaded: true }];
  api = await openApi({ engine: { models }, replace: { respond: respondWithSource } });
  listener = await listen(api.app.fetch, { host: "127.0.0.1", port: 0 });
});
afterEach(async () => {
  await listener.close(0);
  api.close();
});

function ask(body: object): { request: ClientRequest; response: Promise<IncomingMessage> } {
  const headers = { "content-type": "application/json", authorization: `Bearer ${api.admin.secret}` };
  const request = httpRequest(`${listener.address}/v1/chat/completions`, { method: "POST", headers });
  const response = new Promise<IncomingMessage>((resolve, reject) => {
    request.on("response", resolve);
    request.on("error", reject);
  });
  response.catch(() => {});
  request.end(JSON.stringify({ model: "fake", messages: [{ role: "user", content: "Say it." }], ...body }));
  return { request, response };
}

const read = async (response: IncomingMessage) => Buffer.concat(await response.toArray()).toString();

describe("an answer written to a socket", () => {
  it("has headers, frames and the end in their order", async () => {
    const response = await ask({ stream: true }).response;
    expect(response.statusCode).toBe(200);
    expect(response.headers).toMatchObject({
      "content-type": "text/event-stream; charset=utf-8",
      "x-content-type-options": "nosniff",
      "access-control-allow-origin": "*",
      "x-request-id": expect.stringMatching(/^req-/),
    });
    const text = await read(response);
    expect(text.match(/"content":"[^"]+"/g)?.join("")).toContain("Hello");
    expect(text.endsWith("data: [DONE]\n\n")).toBe(true);
    expect(await api.rows()).toMatchObject([{ settled: true, finishReason: "stop" }]);
  });

  it("that fails in the middle ends with an error and without [DONE]", async () => {
    const error = new AppError("engine_unavailable", "The engine went away.");
    api.engine.script = () => [{ text: "Half" }, { error }];
    const text = await read(await ask({ stream: true }).response);
    expect(text).toMatch(/data: \{"error":.*went away/);
    expect(text).not.toContain("[DONE]");
    expect(await api.rows()).toMatchObject([{ errorCode: "engine_unavailable", usage: { completionTokens: 1 } }]);
  });

  it("that fails before its first word has a status", async () => {
    api.engine.script = () => [{ error: new AppError("engine_overloaded", "Too many.", { retryAfterMs: 1500 }) }];
    const response = await ask({ stream: true }).response;
    expect(response.statusCode).toBe(503);
    expect(response.headers["retry-after"]).toBe("2");
  });

  it("does not run ahead of a reader that stands still", async () => {
    let produced = 0;
    api.engine.script = function* () {
      for (;;) {
        produced++;
        yield { text: "x".repeat(10_000) };
      }
    };
    const { request, response } = ask({ stream: true });
    (await response).pause();
    const seen: number[] = [];
    await expect
      .poll(() => seen.at(-1) === produced || !seen.push(produced), { interval: 250, timeout: 25_000 })
      .toBe(true);
    request.destroy();
    await expect.poll(async () => (await api.rows())[0]?.aborted, { timeout: 10_000 }).toBe(true);
  });
});

const cells: { stream: boolean; when: string; script: () => FakeStep[]; hold: string; tokens: number }[] = [
  [true, "before the first token"] as const,
  [true, "mid-stream"] as const,
  [false, "before the first token"] as const,
  [false, "mid-answer"] as const,
].map(([stream, when]) => {
  const early = when === "before the first token";
  const script = (): FakeStep[] => [
    ...(early ? [] : [{ text: "one" }, { text: " two" }]),
    { hold: "here" },
    { text: "x" },
  ];
  return { stream, when, script, hold: "here", tokens: early ? 0 : 2 };
});

describe("a client that closes its socket", () => {
  it.each(cells)("$when of an answer (stream: $stream) frees the engine and is accounted", async (cell) => {
    api.engine.script = cell.script;
    const { request, response } = ask({ stream: cell.stream });
    response.then((reply) => reply.on("error", () => {}).resume()).catch(() => {});
    await api.engine.reached(cell.hold);
    const since = performance.now();
    request.destroy();
    await expect.poll(async () => (await api.engine.health()).active, { interval: 2 }).toBe(0);
    expect(performance.now() - since).toBeLessThan(freeMsMax);
    expect(await api.rows()).toMatchObject([
      { aborted: true, settled: true, stream: cell.stream, usage: { completionTokens: cell.tokens } },
    ]);
  });
});
