/** An administrator of the API looks into engines and drives them, whether they run inside it or elsewhere. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as z from "zod";
import { operations } from "../../src/api/openapi.ts";
import { createRouter } from "../../src/api/router.ts";
import { createEngineApp } from "../../src/engine/app.ts";
import { systemTimer } from "../../src/entries/timer.ts";
import { createHttpEngine } from "../../src/http/client.ts";
import { openApi, type TestApi } from "../support/api.ts";
import { type Listening, listenLocally } from "../support/engine-server.ts";
import { FakeEngine } from "../support/fake-engine.ts";
import { prepareRegistry, type TestRegistry } from "../support/registry.ts";

const clock = { now: () => Date.now() };
const logger = { debug() {}, info() {}, warn() {}, error: console.error };
let inside: TestRegistry;
let elsewhere: Listening;
let stranger: Listening;
let api: TestApi;

beforeAll(async () => {
  inside = await prepareRegistry({ ann: { shape: "tiny", brain: "script" } });
  const { registry } = inside;
  const served = createEngineApp({ engine: registry, control: registry, token: "its-token", clock, logger });
  elsewhere = await listenLocally((request) => served.fetch(request));
  stranger = await listenLocally(() => Response.json({ detail: "Not Found" }, { status: 404 }));
  const facts = { origin: "settings", named: true, weight: 1, draining: false } as const;
  const at = (url: string, token?: string) =>
    createHttpEngine({ baseUrl: url, clock, ...(token === undefined ? {} : { token }) });
  const router = createRouter({
    engines: [
      { ...facts, name: "inside", engine: registry },
      { ...facts, name: "elsewhere", engine: at(elsewhere.url, "its-token") },
      { ...facts, name: "locked", engine: at(elsewhere.url, "wrong") },
      { ...facts, name: "stranger", engine: at(stranger.url) },
      { ...facts, name: "plain", engine: new FakeEngine() },
    ],
    timer: systemTimer,
  });
  api = await openApi({ replace: { engine: router } });
});
afterAll(async () => {
  api?.close();
  await elsewhere?.close();
  await stranger?.close();
  await inside?.close();
});

const json = { "content-type": "application/json" };

async function operate(method: "GET" | "POST", path: string, body?: unknown, authorization?: string) {
  const reply = await api.request(`/v1/engines/${path}`, {
    method,
    headers: { ...json, ...(authorization === undefined ? {} : { authorization }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const told = (await reply.json()) as Record<string, unknown>;
  const route = `${method} /v1/engines/{name}/${path.split("/")[1]!.split("?")[0]}`;
  const described = operations[route]?.answers["application/json"];
  if (reply.ok && described instanceof z.ZodType) expect(described.safeParse(told).error?.issues ?? []).toEqual([]);
  return { status: reply.status, told };
}

describe.each(["inside", "elsewhere"])("an engine that runs %s", (name) => {
  it("loads, tells its state and its forecast, unloads and drains", async () => {
    expect(await operate("GET", `${name}/plan?model=ann`)).toMatchObject({
      status: 200,
      told: { model: "ann", fits: true },
    });
    const loaded = await operate("POST", `${name}/load`, { model: "ann", pinned: true });
    expect(loaded).toMatchObject({ status: 200, told: { id: "ann", state: "ready", pinned: true } });
    const { told } = await operate("GET", `${name}/status`);
    expect(told).toMatchObject({ draining: false, models: [{ id: "ann", state: "ready", slots: 2 }] });
    expect(await operate("POST", `${name}/drain`, { draining: true })).toMatchObject({ told: { draining: true } });
    expect(inside.registry.draining).toBe(true);
    expect(await operate("POST", `${name}/drain`, { draining: false })).toMatchObject({ told: { draining: false } });
    const unloaded = await operate("POST", `${name}/unload`, { model: "ann", drainMs: 0 });
    expect(unloaded.told).toEqual({ model: "ann", unloaded: true });
    expect((await operate("GET", `${name}/status`)).told).toMatchObject({ models: [{ state: "unloaded" }] });
  });

  it.each([
    ["load", {}, "model"],
    ["load", { model: "" }, "model"],
    ["load", { model: "ann", pinned: "yes" }, "pinned"],
    ["load", { model: "ann", force: true }, "force"],
    ["unload", { model: "ann", drainMs: -1 }, "drainMs"],
    ["unload", { model: "ann", drainMs: 1.5 }, "drainMs"],
    ["drain", { draining: 1 }, "draining"],
    ["drain", [], "body"],
  ])("refuses %s with %j, naming the field", async (verb, body, param) => {
    expect(await operate("POST", `${name}/${verb}`, body)).toMatchObject({ status: 400, told: { param } });
  });

  it("tells of a model it does not have", async () => {
    expect(await operate("POST", `${name}/unload`, { model: "nobody" })).toMatchObject({
      status: 404,
      told: { title: "model not found" },
    });
  });
});

it("only administrators operate engines", async () => {
  const { secret } = await api.makeKey(["chat", "usage"]);
  const asUser = `Bearer ${secret}`;
  expect((await operate("GET", "inside/status", undefined, asUser)).status).toBe(403);
  expect((await operate("POST", "inside/drain", { draining: true }, asUser)).status).toBe(403);
  expect(inside.registry.draining).toBe(false);
});

it("an engine that refuses the token is a matter of settings, and one that is not ours says so", async () => {
  expect(await operate("GET", "locked/status")).toMatchObject({ told: { title: "invalid configuration" } });
  for (const name of ["stranger", "plain"]) {
    expect(await operate("GET", `${name}/status`)).toMatchObject({ status: 404, told: { title: "not found" } });
  }
  expect(await operate("GET", "nobody/status")).toMatchObject({ status: 404 });
});
