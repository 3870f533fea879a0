/**
 * Clients of the Worker that leave, over sockets of their own into workerd. A client that resets its connection is
 * noticed at once; one that closes it, with the next byte that is written: in a silent stream within a keep-alive.
 */
import { connect } from "node:net";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import type { LinkDial } from "../../src/http/link-dial.ts";
import { dialEngine } from "../support/dialled-engine.ts";
import { type Listening, serveEngine } from "../support/engine-server.ts";
import { FakeEngine, type FakeStep, sayForever } from "../support/fake-engine.ts";
import { type RunningWorker, startWorker } from "../support/workerd.ts";

let worker: RunningWorker;
let upstream: Listening;
let link: LinkDial;
const models = (id: string) => [{ id, contextLength: 1e9, loaded: true }];
const engines = {
  linked: new FakeEngine({ models: models("linked") }),
  remote: new FakeEngine({ models: models("remote") }),
};

beforeAll(async () => {
  upstream = await serveEngine(engines.remote);
  worker = await startWorker({ SNUG_ENGINE_URL: `remote=${upstream.url}` });
  link = await dialEngine(engines.linked, { url: worker.url, token: worker.adminKey, name: "home" });
  await vi.waitFor(async () => {
    const reply = await fetch(`${worker.url}/v1/models`, { headers: { authorization: `Bearer ${worker.adminKey}` } });
    expect(((await reply.json()) as { data: object[] }).data).toHaveLength(2);
  }, 20_000);
}, 60_000);

afterAll(async () => {
  await link?.stop();
  await worker?.stop();
  await upstream?.close();
});

beforeEach(() => {
  for (const engine of Object.values(engines)) engine.cancelledCount = 0;
});

const scripts: Record<string, () => Iterable<FakeStep>> = {
  "while it is written": sayForever,
  "while it is silent": () => [{ text: "one " }, { hold: "silence" }, { text: "two" }],
  "before its first word": () => [{ hold: "beginning" }, { text: "one" }],
};

/** Asks over a socket of its own, waits for `text` or until the engine stands at a hold, and leaves. */
async function leave(
  model: keyof typeof engines,
  user: string,
  how: "close" | "reset",
  stream: boolean,
  seen?: string,
) {
  const engine = engines[model];
  const body = JSON.stringify({ model, stream, user, messages: [{ role: "user", content: "Say it." }] });
  const { port, hostname } = new URL(worker.url);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => {});
  let read = "";
  socket.on("data", (data) => {
    read += data.toString();
  });
  socket.write(
    `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${worker.adminKey}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  );
  const before = engine.requests.length;
  await vi.waitFor(
    () => expect(seen === undefined ? engine.requests.length > before : read.includes(seen)).toBe(true),
    10_000,
  );
  if (how === "close") socket.destroy();
  else socket.resetAndDestroy();
}

async function rowOf(user: string) {
  return await vi.waitFor(async () => {
    const headers = { authorization: `Bearer ${worker.adminKey}` };
    const { rows } = (await (await fetch(`${worker.url}/v1/usage?user=${user}`, { headers })).json()) as {
      rows: { settled: boolean; aborted: boolean; engineId?: string; usage: { completionTokens?: number } }[];
    };
    expect(rows).toMatchObject([{ settled: true }]);
    return rows[0]!;
  }, 20_000);
}

describe.each(["linked", "remote"] as const)("an answer of a %s engine", (model) => {
  it.each([
    ["while it is written", "close", '"content"'],
    ["while it is written", "reset", '"content"'],
    ["while it is silent", "close", '"content"'],
    ["while it is silent", "reset", '"content"'],
  ] as const)("%s ends when its client leaves by %s", async (when, how, seen) => {
    const user = `${model} ${when} ${how}`;
    engines[model].script = scripts[when]!;
    await leave(model, user, how, true, seen);
    await vi.waitFor(() => expect(engines[model].cancelledCount).toBe(1), 15_000);
    const row = await rowOf(user);
    expect(row).toMatchObject({ aborted: true });
    expect(row.usage.completionTokens).toBeGreaterThan(0);
  });
});

describe("an answer that has not begun", () => {
  it.each([
    ["a stream", true, "close"],
    ["a stream", true, "reset"],
    ["a whole answer", false, "reset"],
  ] as const)(
    "%s (%s) ends when its client leaves by %s",
    async (_what, stream, how) => {
      const user = `early ${stream} ${how}`;
      engines.linked.script = scripts["before its first word"]!;
      await leave("linked", user, how, stream);
      await vi.waitFor(() => expect(engines.linked.cancelledCount).toBe(1), 25_000);
      expect(await rowOf(user)).toMatchObject({ aborted: true });
    },
    40_000,
  );
});
