import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openApi, type TestApi } from "../../test/support/api.ts";
import { type Listening, listenLocally, serveEngine } from "../../test/support/engine-server.ts";
import { FakeEngine, sayWords } from "../../test/support/fake-engine.ts";
import { AppError } from "../core/errors.ts";
import { parseAliases, parseEngineList } from "./engine-list.ts";
import type { EngineView } from "./engines.ts";

let api: TestApi;
let attic: FakeEngine;
let listening: Listening;

beforeEach(async () => {
  api = await openApi();
  attic = new FakeEngine({ models: [{ id: "attic-model", loaded: true }], script: sayWords("from the attic") });
  listening = await serveEngine(attic);
});

afterEach(async () => {
  await listening.close();
  api.close();
});

const send = (method: string, path: string, body?: unknown) =>
  api.request(path, {
    method,
    ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
  });
const list = async () => ((await (await api.request("/v1/engines")).json()) as { engines: EngineView[] }).engines;

describe("an engine registered by an administrator", () => {
  it("answers from then on, is named in the ledger, and is seen with its models and load", async () => {
    const added = await send("POST", "/v1/engines", { name: "attic", url: listening.url, token: "hidden-token" });
    expect(added.status).toBe(201);
    expect(await added.json()).toMatchObject({ name: "attic", state: "ready", models: [{ id: "attic-model" }] });
    const completion = await (await api.chat({ model: "attic-model" })).json();
    expect(completion).toMatchObject({
      choices: [{ message: { content: "from the attic" } }],
      snug: { engine: "attic" },
    });
    expect(await api.rows()).toMatchObject([{ engineId: "attic", model: "attic-model" }]);
    const engines = await list();
    expect(engines.map(({ name, origin }) => [name, origin])).toEqual([
      ["fake", "settings"],
      ["attic", "registered"],
    ]);
    expect(JSON.stringify(engines)).not.toContain("hidden-token");
  });

  it("gets nothing while it is drained, and is gone when removed", async () => {
    await send("POST", "/v1/engines", { name: "attic", url: listening.url });
    expect(await (await send("PATCH", "/v1/engines/attic", { draining: true })).json()).toMatchObject({
      draining: true,
    });
    expect((await api.chat({ model: "attic-model" })).status).toBe(503);
    await send("PATCH", "/v1/engines/attic", { draining: false, weight: 2 });
    expect((await api.chat({ model: "attic-model" })).status).toBe(200);
    expect((await list())[1]).toMatchObject({ weight: 2, draining: false });
    expect((await send("DELETE", "/v1/engines/attic")).status).toBe(204);
    expect((await send("DELETE", "/v1/engines/attic")).status).toBe(404);
    expect((await api.chat({ model: "attic-model" })).status).toBe(404);
  });

  it("is known to an API that starts later", async () => {
    await send("POST", "/v1/engines", { name: "attic", url: listening.url });
    expect(await api.engineStore.list()).toMatchObject([{ name: "attic", url: listening.url, draining: false }]);
  });

  it.each([
    ["no name", { url: "http://a" }, "name"],
    ["a name with a slash", { name: "a/b", url: "http://a" }, "name"],
    ["the name of one in the settings", { name: "fake", url: "http://a" }, "name"],
    ["no address", { name: "a" }, "url"],
    ["a file", { name: "a", url: "file:///etc/passwd" }, "url"],
    ["another protocol", { name: "a", url: "gopher://a" }, "url"],
    ["a password in its address", { name: "a", url: "http://me:secret@a" }, "url"],
    ["a token with a line break", { name: "a", url: "http://a", token: "x\r\ny" }, "token"],
    ["no weight at all", { name: "a", url: "http://a", weight: 0 }, "weight"],
    ["a misspelt member", { name: "a", url: "http://a", tokens: "x" }, "tokens"],
  ])("with %s is refused", async (_name, body, param) => {
    const response = await send("POST", "/v1/engines", body);
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ type: "urn:snug:error:invalid_request", param });
    expect(await api.engineStore.list()).toEqual([]);
  });

  it("cannot send the API elsewhere by a redirect", async () => {
    let reached = 0;
    const inner = await listenLocally(() => {
      reached++;
      return Response.json({ data: [{ id: "secret" }] });
    });
    const outer = await listenLocally(() => new Response(null, { status: 307, headers: { location: inner.url } }));
    await send("POST", "/v1/engines", { name: "outer", url: outer.url });
    expect((await list()).find((engine) => engine.name === "outer")).toMatchObject({ state: "stopped", models: [] });
    await (await api.chat({ model: "secret" })).text();
    expect(reached).toBe(0);
    await outer.close();
    await inner.close();
  });

  it("of the settings is set aside but not removed", async () => {
    expect((await send("DELETE", "/v1/engines/fake")).status).toBe(400);
    expect((await send("PATCH", "/v1/engines/none", { draining: true })).status).toBe(404);
    expect(await (await send("PATCH", "/v1/engines/fake", { draining: true })).json()).toMatchObject({
      draining: true,
    });
    expect((await api.chat({})).status).toBe(503);
    await send("PATCH", "/v1/engines/fake", { draining: false });
    expect((await api.chat({})).status).toBe(200);
  });
});

describe("running requests", () => {
  it("are seen and can be ended, which frees the engine and tells the client", async () => {
    api.engine.script = () => [{ text: "one" }, { hold: "middle" }, { text: "never" }];
    const answer = await api.chat({ stream: true, user: "ann" });
    const text = answer.text();
    await api.engine.reached("middle");
    const { requests } = (await (await api.request("/v1/requests")).json()) as { requests: { id: string }[] };
    expect(requests).toMatchObject([{ userId: "ann", model: "fake", state: "answering", completionTokens: 1 }]);
    expect((await send("DELETE", `/v1/requests/${requests[0]!.id}`)).status).toBe(200);
    expect(await text).toContain("cancelled on the server");
    expect(await text).not.toContain("[DONE]");
    expect(await api.rows()).toMatchObject([{ aborted: true, usage: { completionTokens: 1 } }]);
    expect((await api.engine.health()).active).toBe(0);
    expect((await send("DELETE", `/v1/requests/${requests[0]!.id}`)).status).toBe(404);
    expect(await (await api.request("/v1/requests")).json()).toEqual({ requests: [] });
  });
});

describe("metrics", () => {
  it("are counters, gauges and histograms that add up, without what clients wrote", async () => {
    await (await api.chat({ user: "secret-user" })).text();
    await (await api.chat({ model: 'evil"\n' })).text();
    await api.request("/wp-login.php");
    const response = await api.request("/metrics");
    expect(response.headers.get("content-type")).toMatch(/^text\/plain; version=0\.0\.4/);
    const text = await response.text();
    expect(text).toContain('snug_chats_total{model="fake",engine="fake",source="api",status="stop"} 1');
    expect(text).toContain('status="model_not_found"');
    expect(text).toContain('snug_tokens_total{model="fake",engine="fake",type="completion"} 5');
    expect(text).toContain('snug_engine_up{engine="fake"} 1');
    expect(text).toContain('snug_http_requests_total{method="POST",route="/v1/chat/completions",status="200"} 1');
    expect(text).toContain('route="none",status="404"');
    expect(text).not.toContain("secret-user");
    expect(text).not.toContain("wp-login");
    expect(text).not.toContain("evil");
    for (const line of text.trimEnd().split("\n")) {
      expect(line).toMatch(
        /^(?:# (?:HELP|TYPE) snug_\w+ .+|snug_\w+(?:\{(?:\w+="(?:[^"\\\n]|\\.)*",?)*\})? [\d.e+-]+)$/,
      );
    }
    const buckets = [...text.matchAll(/snug_time_to_first_token_seconds_bucket\{model="fake".*le="(.*)"\} (\d+)/g)];
    expect(buckets.map((match) => Number(match[2]))).toEqual([...buckets.map((match) => Number(match[2]))].sort());
    expect(buckets.at(-1)!.slice(1)).toEqual(["+Inf", "1"]);
  });
});

describe("names of models in the metrics", () => {
  it("are those that engines answered to: invented ones take no place of theirs", async () => {
    for (let i = 0; i < 250; i++) await (await api.chat({ model: `invented-${i}` })).text();
    await (await api.chat({})).text();
    await (await api.chat({ temperature: 9 })).text();
    api.engine.script = () => [{ error: new AppError("engine_unavailable", "Gone.") }];
    await (await api.chat({})).text();
    const text = await (await api.request("/metrics")).text();
    expect(text).toContain('snug_chats_total{model="unknown",engine="",source="api",status="model_not_found"} 250');
    expect(text).toContain('snug_chats_total{model="fake",engine="fake",source="api",status="stop"} 1');
    expect(text).toContain('snug_chats_total{model="fake",engine="",source="api",status="engine_unavailable"} 1');
    expect(text).not.toContain("invented");
  });
});

describe("settings", () => {
  it("name one engine or several", () => {
    expect(parseEngineList("http://a:1")).toEqual([{ name: "remote", url: "http://a:1", named: false, weight: 1 }]);
    expect(parseEngineList("attic*2.5=http://a:1/v1, https://b/x=1")).toEqual([
      { name: "attic", url: "http://a:1/v1", named: true, weight: 2.5 },
      { name: "engine-2", url: "https://b/x=1", named: true, weight: 1 },
    ]);
    expect(parseEngineList("")).toEqual([]);
    for (const wrong of [
      "gpu-box",
      "ftp://a",
      "a=http://x,a=http://y",
      "http://u:p@a",
      "http://a/?x=1",
      "http://a/v1#y",
      "a*0=http://x",
      "a*x=http://y",
    ]) {
      expect(() => parseEngineList(wrong), wrong).toThrow(AppError);
    }
  });

  it("name what stands for a model", () => {
    expect(parseAliases("small=a|b, large = c")).toEqual(new Map(Object.entries({ small: ["a", "b"], large: ["c"] })));
    for (const wrong of ["small", "small=", "=a", "a=b=c", "a=b||c"]) {
      expect(() => parseAliases(wrong), wrong).toThrow(/SNUG_ALIASES/);
    }
  });
});
