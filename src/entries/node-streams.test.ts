/** Streams written straight to Node's sockets: the same promises as over a web stream. */
import { type ClientRequest, request as httpRequest, type IncomingMessage } from "node:http";
import { connect } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openApi, type TestApi } from "../../test/support/api.ts";
import { type Listening, serveEngine } from "../../test/support/engine-server.ts";
import { FakeEngine, type FakeStep } from "../../test/support/fake-engine.ts";
import { createRouter } from "../api/router.ts";
import type { ChatDelta } from "../core/chat.ts";
import { AppError } from "../core/errors.ts";
import { createHttpEngine } from "../http/client.ts";
import { sendOverHttp } from "./http-send.ts";
import { type Listener, listen } from "./listen.ts";
import { respondWithSource } from "./node-streams.ts";
import { systemTimer } from "./timer.ts";

/** The GPU must be free again this soon after the client left. */
const freeMsMax = 300;
/** A machine busy with other things may need a second try to show it. */
const timed = { retry: 2 };

const models = [{ id: "fake", contextLength: 1_000_000, loaded: true }];
const clock = { now: () => Date.now() };

let api: TestApi;
let engine: FakeEngine;
let listener: Listener;
let upstream: Listening | undefined;

/** The engine in this process, whose events all take the long way. */
async function openNear(): Promise<void> {
  api = await openApi({ engine: { models }, replace: { respond: respondWithSource } });
  engine = api.engine;
}

/** Behind a port, from which text goes from socket to socket. */
async function openFar(): Promise<void> {
  engine = new FakeEngine({ models });
  upstream = await serveEngine(engine);
  const far = createHttpEngine({ baseUrl: upstream.url, clock, fetch: sendOverHttp });
  const router = createRouter({
    engines: [{ name: "far", engine: far, origin: "settings", named: false, weight: 1, draining: false }],
    timer: systemTimer,
  });
  api = await openApi({ replace: { respond: respondWithSource, engine: router } });
}

afterEach(async () => {
  await listener.close(0);
  await upstream?.close();
  upstream = undefined;
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

describe.each([
  ["in this process", openNear],
  ["elsewhere", openFar],
])("with an engine %s", (_where, open) => {
  beforeEach(async () => {
    await open();
    listener = await listen(api.app.fetch, { host: "127.0.0.1", port: 0 });
  });

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
      engine.script = () => [{ text: "Half" }, { error }];
      const text = await read(await ask({ stream: true }).response);
      expect(text).toMatch(/data: \{"error":.*went away/);
      expect(text).not.toContain("[DONE]");
      expect(await api.rows()).toMatchObject([{ errorCode: "engine_unavailable", usage: { completionTokens: 1 } }]);
    });

    it("has all its text in order, however it arrives", async () => {
      const words = Array.from({ length: 60 }, (_, place) => ` 词${place}"\\\n`);
      engine.script = function* () {
        for (const [place, text] of words.entries()) {
          if (place % 7 === 3) yield { hold: `at ${place}` };
          yield { text };
        }
      };
      const response = await ask({ stream: true }).response;
      const reading = read(response);
      for (const place of words.keys()) {
        if (place % 7 !== 3) continue;
        await engine.reached(`at ${place}`);
        engine.release(`at ${place}`);
      }
      const deltas = [...(await reading).matchAll(/"delta":\{"content":("(?:[^"\\]|\\.)*")\}/g)];
      expect(deltas.map(([, literal]) => JSON.parse(literal!)).join("")).toBe(words.join(""));
      expect(await api.rows()).toMatchObject([{ finishReason: "stop", usage: { completionTokens: 60 } }]);
    });

    it("that fails before its first word has a status", async () => {
      engine.script = () => [{ error: new AppError("engine_overloaded", "Too many.", { retryAfterMs: 1500 }) }];
      const response = await ask({ stream: true }).response;
      expect(response.statusCode).toBe(503);
      expect(response.headers["retry-after"]).toBe("2");
    });

    it("does not run ahead of a reader that stands still", async () => {
      let produced = 0;
      engine.script = function* () {
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

  describe("a client that closes its socket", () => {
    it.each(cells)("$when of an answer (stream: $stream) frees the engine and is accounted", timed, async (cell) => {
      engine.script = cell.script;
      const { request, response } = ask({ stream: cell.stream });
      response.then((reply) => reply.on("error", () => {}).resume()).catch(() => {});
      await engine.reached(cell.hold);
      const since = performance.now();
      request.destroy();
      await expect.poll(async () => (await engine.health()).active, { interval: 2 }).toBe(0);
      expect(performance.now() - since).toBeLessThan(freeMsMax);
      expect(await api.rows()).toMatchObject([
        {
          aborted: true,
          settled: true,
          stream: cell.stream,
          usage: cell.tokens === 0 && upstream !== undefined ? {} : { completionTokens: cell.tokens },
        },
      ]);
    });
  });
});

describe("text of an engine elsewhere", () => {
  it("goes past the events once the first has been read, and counts", async () => {
    const fake = new FakeEngine({
      models,
      script: () => [
        { text: "one" },
        { hold: "a" },
        { text: " two" },
        { hold: "b" },
        { text: " three" },
        { hold: "c" },
      ],
    });
    const served = await serveEngine(fake);
    try {
      const far = createHttpEngine({ baseUrl: served.url, clock, fetch: sendOverHttp });
      const { signal } = new AbortController();
      const taken: string[] = [];
      const yielded: string[] = [];
      const relay = {
        take: (deltas: readonly ChatDelta[]) => taken.push(...deltas.map((delta) => JSON.stringify(delta))) > 0,
      };
      for await (const event of far.chat(
        { model: "fake", messages: [{ role: "user", content: "x" }] },
        { signal, relay },
      )) {
        yielded.push(event.type);
        if (event.type === "text") void releaseAll(fake, () => taken.length);
        if (event.type === "finish") expect(event.usage).toMatchObject({ completionTokens: 3 });
      }
      expect(yielded).toEqual(["start", "text", "finish"]);
      expect(taken).toEqual([`{"type":"text","text":" two"}`, `{"type":"text","text":" three"}`]);
    } finally {
      await served.close();
    }
  });
});

describe("text of an engine elsewhere, on the wire", () => {
  beforeEach(async () => {
    await openFar();
    listener = await listen(api.app.fetch, { host: "127.0.0.1", port: 0 });
    engine.script = ({ messages }) => {
      const name = messages.at(-1)!.content;
      return pieces.flatMap((piece) => [{ hold: `${name} ${piece}` }, { text: ` ${name}-${piece} 词` }]);
    };
  });
  const pieces = ["a", "b", "c"];
  const say = async (name: string) => {
    for (const piece of pieces) {
      await engine.reached(`${name} ${piece}`);
      engine.release(`${name} ${piece}`);
    }
  };
  const render = (name: string, version: string, connection: string) => {
    const body = JSON.stringify({ model: "fake", stream: true, messages: [{ role: "user", content: name }] });
    const head = [
      `POST /v1/chat/completions HTTP/${version}`,
      `host: snug.test`,
      `connection: ${connection}`,
      `authorization: Bearer ${api.admin.secret}`,
      `content-type: application/json`,
      `content-length: ${body.length}`,
    ];
    return `${head.join("\r\n")}\r\n\r\n${body}`;
  };
  /** Everything that comes back on one connection. */
  const exchange = async (requests: string) => {
    const socket = connect(Number(new URL(listener.address).port), "127.0.0.1");
    socket.write(requests);
    return Buffer.concat(await socket.toArray()).toString();
  };
  const textOf = (frames: string) =>
    [...frames.matchAll(/"delta":\{"content":"([^"]+)"\}/g)].map(([, text]) => text).join("");
  const said = (name: string) => pieces.map((piece) => ` ${name}-${piece} 词`).join("");

  it("keeps two answers on one connection apart, even when the second is written first", async () => {
    const replies = exchange(render("first", "1.1", "keep-alive") + render("second", "1.1", "close"));
    await say("second");
    await say("first");
    const text = await replies;
    const second = text.lastIndexOf("HTTP/1.1 200 OK");
    expect(textOf(dechunk(text.slice(0, second)))).toBe(said("first"));
    expect(textOf(dechunk(text.slice(second)))).toBe(said("second"));
  });

  it("is not cut into chunks for a client that knows none", async () => {
    const reply = exchange(render("old", "1.0", "close"));
    await say("old");
    const [, body = ""] = (await reply).split("\r\n\r\n");
    expect(textOf(body)).toBe(said("old"));
    expect(body.split("\n\n").filter((frame) => frame !== "" && !frame.startsWith("data: "))).toEqual([]);
  });
});

/** The body of a chunked reply; throws where the lengths are not those of the chunks (RFC 9112, section 7.1). */
function dechunk(reply: string): string {
  let rest = Buffer.from(reply.slice(reply.indexOf("\r\n\r\n") + 4));
  let body = "";
  for (;;) {
    const line = rest.indexOf("\r\n");
    const bytes = Number.parseInt(rest.subarray(0, line).toString(), 16);
    const end = line + 2 + bytes;
    if (rest.subarray(end, end + 2).toString() !== "\r\n") throw new Error(`no chunk of ${bytes} bytes`);
    if (bytes === 0) return body;
    body += rest.subarray(line + 2, end).toString();
    rest = rest.subarray(end + 2);
  }
}

/** Each token once the one before has arrived. */
async function releaseAll(fake: FakeEngine, arrived: () => number): Promise<void> {
  for (const [place, hold] of ["a", "b", "c"].entries()) {
    await fake.reached(hold);
    await expect.poll(arrived, { interval: 2 }).toBe(place);
    fake.release(hold);
  }
}
