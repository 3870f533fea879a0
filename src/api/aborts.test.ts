/** The four ways a client leaves {streamed, whole} x {before the first token, mid-answer}, and what must follow. */
import { request as httpRequest } from "node:http";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openApi, type TestApi } from "../../test/support/api.ts";
import { listenLocally } from "../../test/support/engine-server.ts";
import type { FakeStep } from "../../test/support/fake-engine.ts";
import { meterChat } from "./usage/meter.ts";

/** The GPU must be free again this soon after the client left. */
const freeMsMax = 300;

const beforeFirstToken = (): FakeStep[] => [{ hold: "prefill" }, { text: "never" }];
const midAnswer = (): FakeStep[] => [{ text: "one" }, { text: " two" }, { hold: "decode" }, { text: " never" }];

const cells = [
  { stream: true, when: "before the first token", script: beforeFirstToken, hold: "prefill", tokens: 0 },
  { stream: true, when: "mid-stream", script: midAnswer, hold: "decode", tokens: 2 },
  { stream: false, when: "before the first token", script: beforeFirstToken, hold: "prefill", tokens: 0 },
  { stream: false, when: "mid-answer", script: midAnswer, hold: "decode", tokens: 2 },
];

let api: TestApi;

beforeEach(async () => {
  api = await openApi();
});

afterEach(() => api.close());

async function expectFreedAndAccounted(since: number, tokens: number, stream: boolean): Promise<void> {
  await expect.poll(async () => (await api.engine.health()).active, { interval: 2 }).toBe(0);
  expect(performance.now() - since).toBeLessThan(freeMsMax);
  expect(api.engine.cancelledCount).toBe(1);
  expect(await api.rows()).toMatchObject([
    {
      aborted: true,
      settled: true,
      stream,
      usage: { promptTokens: 2, completionTokens: tokens },
      timings: { totalMs: expect.any(Number) },
    },
  ]);
  expect((await api.rows())[0]).not.toHaveProperty("errorCode");
  expect((await api.rows())[0]).not.toHaveProperty("finishReason");
}

describe("a client that leaves by its request's signal", () => {
  it.each(cells)("$when of an answer (stream: $stream) frees the engine and is accounted", async (cell) => {
    api.engine.script = cell.script;
    const client = new AbortController();
    const answering = api.chat({ stream: cell.stream }, { signal: client.signal });
    // A stream's reader drains until it stands at the hold.
    const reading = answering.then((response) => response.text()).catch(() => {});
    await api.engine.reached(cell.hold);
    const since = performance.now();
    client.abort();
    await expectFreedAndAccounted(since, cell.tokens, cell.stream);
    await reading;
  });

  it("in the queue leaves it, disturbs nobody and is accounted", async () => {
    api.engine.script = midAnswer;
    const open = async (client: AbortController) =>
      (await api.chat({ stream: true }, { signal: client.signal })).text();
    const busy = [new AbortController(), new AbortController()];
    const answers = busy.map(open);
    await expect.poll(async () => (await api.engine.health()).active, { interval: 2 }).toBe(2);
    const client = new AbortController();
    const waiting = open(client);
    await expect.poll(async () => (await api.engine.health()).queued, { interval: 2 }).toBe(1);
    client.abort();
    expect(await waiting).toMatch(/^: queued \{"position":1\}/);
    expect(await api.engine.health()).toMatchObject({ active: 2, queued: 0 });
    api.engine.release("decode");
    for (const answer of answers) expect(await answer).toContain("[DONE]");
    expect((await api.rows()).map((row) => row.aborted)).toEqual([true, false, false]);
  });
});

async function runningId(): Promise<string> {
  const { requests } = (await (await api.request("/v1/requests")).json()) as { requests: { id: string }[] };
  return requests[0]!.id;
}

describe("an answer that an administrator ends", () => {
  it.each(cells)("$when (stream: $stream) frees the engine, is accounted, and its client is told", async (cell) => {
    api.engine.script = cell.script;
    const answering = api.chat({ stream: cell.stream });
    const reading = answering.then((response) => response.text());
    await api.engine.reached(cell.hold);
    const id = await runningId();
    const since = performance.now();
    expect((await api.request(`/v1/requests/${id}`, { method: "DELETE" })).status).toBe(200);
    await expectFreedAndAccounted(since, cell.tokens, cell.stream);
    expect(await reading).toContain("was cancelled on the server");
  });

  it("and whose client then leaves, has one row", async () => {
    api.engine.script = midAnswer;
    const client = new AbortController();
    const reading = api.chat({ stream: true }, { signal: client.signal }).then((response) => response.text());
    reading.catch(() => {});
    await api.engine.reached("decode");
    const id = await runningId();
    const since = performance.now();
    const ending = api.request(`/v1/requests/${id}`, { method: "DELETE" });
    client.abort();
    expect((await ending).status).toBeLessThan(500);
    await expectFreedAndAccounted(since, 2, true);
  });
});

describe("a client that cancels the body", () => {
  it("mid-stream frees the engine and is accounted, without any signal", async () => {
    api.engine.script = midAnswer;
    const response = await api.chat({ stream: true });
    const reader = response.body!.getReader();
    const reading = (async () => {
      while (!(await reader.read()).done);
    })();
    await api.engine.reached("decode");
    const since = performance.now();
    await reader.cancel();
    await expectFreedAndAccounted(since, 2, true);
    await reading;
  });
});

describe("a client that closes its socket", () => {
  let port: string;
  let close: () => Promise<void>;

  beforeEach(async () => {
    const listening = await listenLocally(api.app.fetch);
    port = new URL(listening.url).port;
    close = listening.close;
  });

  afterEach(() => close());

  it.each(cells)("$when of an answer (stream: $stream) frees the engine and is accounted", async (cell) => {
    api.engine.script = cell.script;
    const asking = httpRequest({
      port,
      method: "POST",
      path: "/v1/chat/completions",
      headers: { "content-type": "application/json", authorization: `Bearer ${api.admin.secret}` },
    });
    asking.on("error", () => {});
    asking.on("response", (response) => response.resume());
    asking.end(
      JSON.stringify({ model: "fake", messages: [{ role: "user", content: "Say it." }], stream: cell.stream }),
    );
    await api.engine.reached(cell.hold);
    const since = performance.now();
    asking.destroy();
    await expectFreedAndAccounted(since, cell.tokens, cell.stream);
  });
});

describe("an engine that does not answer an abort", () => {
  it("keeps no row open", async () => {
    const client = new AbortController();
    async function* deaf() {
      yield { type: "start" as const, producer: { model: "m" }, promptTokens: 3 };
      yield { type: "text" as const, text: "two tokens", tokenCount: 2 };
      await new Promise(() => {});
    }
    const admission = { id: "x", at: 0, keyId: "k", source: "api", model: "m", stream: true } as const;
    await api.usageStore.admit(admission);
    const metered = meterChat(deaf, {
      id: "x",
      at: 0,
      store: api.usageStore,
      clock: { now: () => 40 },
      logger: { debug() {}, info() {}, warn() {}, error() {} },
      signal: client.signal,
      abortReportMsMax: 20,
    });
    const events = metered.events[Symbol.asyncIterator]();
    await events.next();
    await events.next();
    void events.next();
    client.abort();
    await metered.settled;
    expect(await api.rows()).toMatchObject([
      { aborted: true, settled: true, usage: { promptTokens: 3, completionTokens: 2, estimated: true } },
    ]);
  });
});

describe("an answer that is being written", () => {
  it("is noted in the ledger now and then, so that a dying process takes little of it along", async () => {
    let now = 0;
    async function* slow() {
      yield { type: "start" as const, producer: { model: "answered", engineId: "e1" }, promptTokens: 3 };
      for (let second = 1; second <= 3; second++) {
        now = second * 1000;
        yield { type: "text" as const, text: "word ", tokenCount: 1 };
      }
      await new Promise(() => {});
    }
    await api.usageStore.admit({ id: "y", at: 0, keyId: "k", source: "api", model: "asked", stream: true });
    const { events } = meterChat(slow, {
      id: "y",
      at: 0,
      store: api.usageStore,
      clock: { now: () => now },
      logger: { debug() {}, info() {}, warn() {}, error() {} },
      signal: new AbortController().signal,
    });
    const reader = events[Symbol.asyncIterator]();
    for (let event = 0; event < 4; event++) await reader.next();
    expect(await api.rows()).toMatchObject([
      {
        model: "answered",
        engineId: "e1",
        settled: false,
        usage: { promptTokens: 3, completionTokens: 2, estimated: true },
        timings: {},
      },
    ]);
  });
});
