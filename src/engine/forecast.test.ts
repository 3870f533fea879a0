/** "Will it fit now" of models that are not on this disk: asked of a hub that is a local range server with faults. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type ModelOptions, writeModel } from "../../test/support/gguf/write-model.ts";
import { HubServer } from "../../test/support/hub-server.ts";
import { prepareRegistry, type TestRegistry } from "../../test/support/registry.ts";
import { MIB } from "../core/units.ts";
import { createEngineApp } from "./app.ts";
import { ModelStore } from "./store.ts";

const hub = new HubServer();
let hubUrl: string;
let folder: string;
let small: Uint8Array;
let large: Uint8Array;
const closers: (() => Promise<void>)[] = [];

beforeAll(async () => {
  hubUrl = await hub.start();
  const models = mkdtempSync(join(tmpdir(), "snug-forecast-models-"));
  const write = (name: string, options: ModelOptions) =>
    readFileSync(writeModel(join(models, `${name}.gguf`), { brain: "script", ...options }).path);
  [small, large] = [write("tiny", { shape: "tiny" }), write("small", { shape: "small", type: "F16" })];
  rmSync(models, { recursive: true });
});
afterAll(() => hub.stop());
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "snug-forecast-"));
  hub.server.reset();
});
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
  rmSync(folder, { recursive: true });
});

function storeHere(): ModelStore {
  return new ModelStore({
    dataDir: join(folder, "data"),
    demoPath: "/demo.gguf",
    hubCacheDir: join(folder, "hub"),
    ollamaDirs: [],
    hubUrl,
    wait: async () => {},
  });
}

/** @param wanted names of the settings */
async function prepared(...wanted: string[]): Promise<TestRegistry> {
  const models = wanted.map((name) => ({ wanted: name }));
  const made = await prepareRegistry({}, { store: storeHere(), models });
  closers.push(made.close);
  return made;
}

describe("the forecast for a model that is not on this disk", () => {
  test("of a repository is its plan, what would have to be fetched, and the room for it; only its header is read", async () => {
    hub.publish("ann/big", { "big-F16.gguf": large });
    const { registry } = await prepared();
    const forecast = await registry.plan("hf:ann/big:F16");
    expect(forecast).toMatchObject({
      model: "hf:ann/big:F16",
      loaded: false,
      fits: true,
      evicts: [],
      downloadNeeded: true,
      download: { fileBytes: large.byteLength, bytesMissing: large.byteLength, diskBytesFree: expect.any(Number) },
      plan: { fits: true, settings: { contextLength: 2048, sequenceCount: 2 } },
    });
    // Nothing was downloaded yet, so nobody knows how fast it would come.
    expect(forecast.estimatedWarmMs).toBeUndefined();
    expect(forecast.download!.estimatedMs).toBeUndefined();
    expect(hub.server.bytesSent).toBeLessThan(large.byteLength / 2);
    expect(registry.status()).toEqual([]);
  });

  test("of an address is the same", async () => {
    hub.server.files.set("/files/tiny.gguf", { bytes: small });
    const { registry } = await prepared();
    const address = `${hubUrl}/files/tiny.gguf`;
    expect(await registry.plan(address)).toMatchObject({
      fits: true,
      downloadNeeded: true,
      download: { fileBytes: small.byteLength, bytesMissing: small.byteLength },
    });
  });

  test("names the models that would have to go for it", async () => {
    hub.publish("ann/big", { "big-F16.gguf": large });
    hub.publish("bob/tiny", { "tiny-F16.gguf": small });
    const { registry, limitTo } = await prepared();
    const { plan, evicts } = await registry.plan("hf:ann/big:F16");
    expect(evicts).toEqual([]);
    await registry.load("hf:bob/tiny:F16");
    const [tiny] = registry.status();
    const held = tiny!.load!.measured!.hostBytes;
    // A reading of main memory is trusted to 93 %.
    limitTo(plan!.devices.at(-1)!.totalBytes / 0.93 + held / 2);
    expect(await registry.plan("hf:ann/big:F16")).toMatchObject({ fits: true, evicts: ["tiny-F16"] });
    limitTo(20 * MIB);
    const none = await registry.plan("hf:ann/big:F16");
    expect(none).toMatchObject({ fits: false, downloadNeeded: true, reason: expect.stringMatching(/short/) });
    expect(none.download).toMatchObject({ bytesMissing: large.byteLength });
  });

  test("tells how long it takes once a download has shown how fast they come", async () => {
    hub.publish("ann/big", { "big-F16.gguf": large });
    const { registry } = await prepared();
    await registry.load("hf:ann/big:F16");
    hub.publish("ann/other", { "other-F16.gguf": large });
    const { download, estimatedWarmMs } = await registry.plan("hf:ann/other:F16");
    expect(download!.estimatedMs).toBeGreaterThanOrEqual(0);
    expect(estimatedWarmMs).toBeGreaterThan(download!.estimatedMs!);
  });

  test("asks a server once in a while, not for each who asks", async () => {
    hub.publish("ann/big", { "big-F16.gguf": large });
    const { registry } = await prepared();
    await Promise.all([1, 2, 3].map(() => registry.plan("hf:ann/big:F16")));
    const asked = hub.server.seen.length;
    await registry.plan("hf:ann/big:F16");
    expect(hub.server.seen).toHaveLength(asked);
  });

  test("of a listed model whose server is away says so; of another the error is the answer", async () => {
    const { registry } = await prepared();
    await expect(registry.plan("hf:ann/none")).rejects.toMatchObject({ code: "model_not_found" });
    await expect(registry.plan("no-such-name")).rejects.toMatchObject({ code: "model_not_found" });
    hub.server.files.set("/api/models/ann/ill/tree/main", { bytes: small, status: 503 });
    await expect(registry.plan("hf:ann/ill")).rejects.toMatchObject({ code: "engine_unavailable" });
    hub.publish("ann/shut", { "shut-F16.gguf": large }, { token: "hf_x" });
    await expect(registry.plan("hf:ann/shut")).rejects.toMatchObject({
      code: "permission_denied",
      message: expect.stringMatching(/HF_TOKEN/),
    });
    const listed = await prepared("hf:ann/ill");
    expect(await listed.registry.plan("hf:ann/ill")).toMatchObject({ fits: false, downloadNeeded: true });
  });

  test("survives connections that break, and takes no text for a model", async () => {
    const files = hub.publish("ann/big", { "big-F16.gguf": large });
    Object.assign(files["big-F16.gguf"]!, { resets: 1, resetAfterBytes: 100 });
    const { registry } = await prepared();
    expect(await registry.plan("hf:ann/big:F16")).toMatchObject({ fits: true });
    hub.publish("ann/text", { "text-F16.gguf": new TextEncoder().encode("no model at all") });
    await expect(registry.plan("hf:ann/text:F16")).rejects.toMatchObject({ code: "model_file_invalid" });
  });

  test("without the operator's word neither looks into files nor asks servers of the caller's choice", async () => {
    hub.publish("ann/big", { "big-F16.gguf": large });
    const { registry } = await prepared();
    const open = { anyPlace: false };
    for (const name of [`${hubUrl}/files/tiny.gguf`, "/etc/passwd", "./model.gguf", "../x/y"]) {
      await expect(registry.plan(name, open)).rejects.toMatchObject({ code: "permission_denied" });
    }
    expect(hub.server.seen).toEqual([]);
    expect(await registry.plan("hf:ann/big:F16", open)).toMatchObject({ fits: true });
  });
});

test("GET /plan asks others' servers and looks into files for those alone who show the token", async () => {
  hub.publish("ann/big", { "big-F16.gguf": large });
  const { registry } = await prepared();
  const quiet = { debug() {}, info() {}, warn() {}, error() {} };
  const made = { engine: registry, control: registry, clock: { now: () => 0 }, logger: quiet };
  const ask = async (model: string, token?: string) => {
    const app = createEngineApp({ ...made, token });
    const headers = new Headers(token === undefined ? {} : { authorization: `Bearer ${token}` });
    return (await app.request(`/plan?model=${encodeURIComponent(model)}`, { headers })).status;
  };
  expect(await ask("hf:ann/big:F16")).toBe(200);
  expect(await ask("/nowhere/model.gguf")).toBe(403);
  expect(await ask("/nowhere/model.gguf", "t".repeat(16))).toBe(404);
  expect(await ask(`${hubUrl}/ann/big/resolve/main/big-F16.gguf`, "t".repeat(16))).toBe(200);
});

describe("the preview of a model", () => {
  const options = {
    signal: new AbortController().signal,
    reading: async () => Promise.reject(new Error("not needed")),
  };
  test("counts what an unfinished download has brought", async () => {
    hub.publish("ann/big", { "big-F16.gguf": large });
    const part = join(folder, "data/models/ann/big/big-F16.gguf.part");
    mkdirSync(dirname(part), { recursive: true });
    writeFileSync(part, large.subarray(0, MIB));
    expect(await storeHere().preview("hf:ann/big:F16", options)).toMatchObject({
      fileBytes: large.byteLength,
      bytesMissing: large.byteLength - MIB,
    });
  });

  test("is the model itself once it is here", async () => {
    hub.publish("ann/tiny", { "tiny-F16.gguf": small });
    const store = storeHere();
    const got = await store.get("hf:ann/tiny:F16", options);
    expect(await store.preview("hf:ann/tiny:F16", options)).toEqual({ ...got, already: true });
  });
});
