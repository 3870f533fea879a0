/** The same requests to the API on SQLite and to the Worker on D1: the ledgers must tell the same story. */
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { AppError } from "../../src/core/errors.ts";
import type { LinkDial } from "../../src/http/link-dial.ts";
import { openApi, type TestApi } from "../support/api.ts";
import { dialEngine } from "../support/dialled-engine.ts";
import { type Listening, listenLocally } from "../support/engine-server.ts";
import { FakeEngine, type FakeStep, sayForever } from "../support/fake-engine.ts";
import { type RunningWorker, startWorker } from "../support/workerd.ts";

interface Place {
  url: string;
  key: string;
  engine: FakeEngine;
}

let sqlite: Place;
let d1: Place;
let api: TestApi;
let listening: Listening;
let worker: RunningWorker;
let link: LinkDial;

const newEngine = () =>
  new FakeEngine({ models: [{ id: "fake", quantization: "Q4_K_M", contextLength: 1e9, loaded: true }] });

beforeAll(async () => {
  api = await openApi({
    engine: { models: [{ id: "fake", quantization: "Q4_K_M", contextLength: 1e9, loaded: true }] },
  });
  listening = await listenLocally((request) => api.app.fetch(request));
  sqlite = { url: listening.url, key: api.admin.secret, engine: api.engine };
  worker = await startWorker();
  const engine = newEngine();
  d1 = { url: worker.url, key: worker.adminKey, engine };
  link = await dialEngine(engine, { url: worker.url, token: worker.adminKey, name: "home" });
}, 60_000);

afterAll(async () => {
  await link?.stop();
  await worker?.stop();
  await listening?.close();
  api?.close();
});

const scripts: Record<string, () => Iterable<FakeStep>> = {
  whole: () => ["one ", "two ", "three"].map((text) => ({ text })),
  endless: sayForever,
  broken: () => [{ text: "one " }, { text: "two " }, { error: new AppError("engine_out_of_memory", "No room.") }],
  refused: () => [{ error: new AppError("engine_overloaded", "Too many.", { retryAfterMs: 1000 }) }],
  silent: () => [{ text: "one " }, { hold: "silence" }],
};

async function ask({ url, key, engine }: Place, script: string, body: object, read: "all" | "some" = "all") {
  engine.script = scripts[script]!;
  const leaving = new AbortController();
  const reply = await fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json", "x-snug-source": "cli" },
    body: JSON.stringify({ model: "fake", messages: [{ role: "user", content: "Say it." }], ...body }),
    signal: leaving.signal,
  });
  if (read === "all") return await reply.text();
  await reply.body!.getReader().read();
  leaving.abort();
  return "left";
}

async function usage({ url, key }: Place, query: string) {
  const reply = await fetch(`${url}/v1/usage?${query}`, { headers: { authorization: `Bearer ${key}` } });
  return (await reply.json()) as {
    rows?: Record<string, unknown>[];
    groups?: Record<string, unknown>[];
    totals: object;
  };
}

async function scenario(place: Place): Promise<void> {
  await ask(place, "whole", { user: "ann", stream: true });
  await ask(place, "whole", { user: "ann" });
  await ask(place, "endless", { user: "bob", max_tokens: 40, stream: true });
  await ask(place, "endless", { user: "bob", max_tokens: 7 });
  await ask(place, "broken", { user: "cas", stream: true });
  await ask(place, "refused", { user: "cas" });
  await ask(place, "silent", { user: "dan", stream: true }, "some");
  await vi.waitFor(async () => {
    const { rows = [] } = await usage(place, "limit=50");
    expect(rows).toHaveLength(7);
    expect(rows.every((row) => row.settled)).toBe(true);
  }, 20_000);
}

/** What must be alike: everything but ids, times, keys and the engine's name. */
function story(rows: Record<string, unknown>[] = []) {
  return rows.map(
    ({
      userId,
      source,
      model,
      quantization,
      stream,
      usage: counts,
      finishReason,
      errorCode,
      aborted,
      settled,
      interrupted,
    }) => ({
      ...{
        userId,
        source,
        model,
        quantization,
        stream,
        usage: counts,
        finishReason,
        errorCode,
        aborted,
        settled,
        interrupted,
      },
    }),
  );
}

const counts = (group: Record<string, unknown>) =>
  Object.fromEntries(Object.entries(group).filter(([, value]) => typeof value !== "object"));

describe("the ledgers of both runtimes", () => {
  it("hold the same rows, groups and totals after the same requests", async () => {
    await Promise.all([scenario(sqlite), scenario(d1)]);
    const [here, there] = await Promise.all([usage(sqlite, "limit=50"), usage(d1, "limit=50")]);
    expect(story(there.rows)).toEqual(story(here.rows));
    expect(there.totals).toEqual(here.totals);
    expect(here.totals).toMatchObject({ requests: 7, aborted: 1, failed: 2 });
    for (const group of ["user", "model", "source", "status"]) {
      const [first, second] = await Promise.all([usage(sqlite, `group=${group}`), usage(d1, `group=${group}`)]);
      expect(second.groups?.map(counts)).toEqual(first.groups?.map(counts));
    }
  }, 60_000);
});
