/** The operator's side of an engine, over HTTP, with a real model behind it. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { prepareRegistry, type TestRegistry } from "../../test/support/registry.ts";
import { createEngineApp } from "./app.ts";
import { parseNvidiaXml } from "./gpu-condition.ts";
import { createMachineDesk } from "./machine-desk.ts";
import { Monitor } from "./monitor.ts";
import { EngineWarnings } from "./warnings.ts";

const token = "operator-token";
const quiet = { debug() {}, info() {}, warn() {}, error() {} };
let test_: TestRegistry;
let app: ReturnType<typeof createEngineApp>;

const card = parseNvidiaXml(
  readFileSync(new URL("../../test/fixtures/gpu/nvidia-smi-rtx-3080.xml", import.meta.url), "utf8"),
);
const warnings = new EngineWarnings(() => 5);
const monitor = new Monitor({ read: async () => card, warnings, clock: { now: () => 7 } });
const machine = createMachineDesk({
  monitor,
  readFacts: async () => ({
    nodeVersion: "v20.19.0",
    hardware: {
      cpu: { name: "CPU", coresPhysical: 2, coresUsable: 2 },
      ramBytesTotal: 2 ** 34,
      ramBytesFree: 2 ** 33,
      gpus: [],
      backend: "cuda",
    },
    gpus: card,
    disk: { path: ".", bytesFree: 2 ** 40 },
  }),
});

beforeAll(async () => {
  await monitor.look();
  const models = { ann: { shape: "tiny", brain: "script" }, bob: { shape: "tiny", brain: "script" } } as const;
  test_ = await prepareRegistry(models, { machine });
  const { registry } = test_;
  await registry.start();
  app = createEngineApp({ engine: registry, control: registry, token, clock: { now: () => 0 }, logger: quiet });
});
afterAll(() => test_.close());

const authorization = `Bearer ${token}`;
const get = (path: string, headers: Record<string, string> = { authorization }) => app.request(path, { headers });
const post = (path: string, body: unknown, headers: Record<string, string> = { authorization }) =>
  app.request(path, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
const chat = (model: string) =>
  post("/v1/chat/completions", { model, messages: [{ role: "user", content: "Say it." }], temperature: 0 });

interface Report {
  health: { state: string };
  models: {
    id: string;
    state: string;
    plan: { devices: { id: string; totalBytes: number }[] };
    memory: { predicted: { hostBytes: number }; measured: { hostBytes: number } };
    settings: { batchSize: number };
    ladder: unknown[];
    slots: number;
    queued: number;
    tokensPerSecond: number;
    totals: { finished: number; completionTokens: number };
  }[];
}

describe("an operator", () => {
  test("sees plan, forecast and measured memory, slots, queue, speed and ladder steps", async () => {
    await chat("ann");
    const reply = await get("/status");
    expect(reply.headers.get("cache-control")).toBe("no-store");
    const report = (await reply.json()) as Report;
    expect(report).toMatchObject({ health: { state: "ready" }, draining: false });
    const [ann, bob] = report.models;
    expect(ann).toMatchObject({ id: "ann", state: "ready", ladder: [], slots: 2, queued: 0, expectedWaitMs: 0 });
    expect(ann).toMatchObject({ program: { name: "node-llama-cpp", reason: expect.stringMatching(/\.$/) } });
    expect(ann!.plan.devices.at(-1)).toMatchObject({ id: "host" });
    const { predicted, measured } = ann!.memory;
    expect(Math.abs(measured.hostBytes / predicted.hostBytes - 1)).toBeLessThan(0.01);
    expect(ann!.settings.batchSize).toBe(256);
    expect(ann!.totals).toMatchObject({ finished: 1 });
    expect(ann!.tokensPerSecond).toBeGreaterThan(0);
    expect(bob).toEqual({ id: "bob", state: "unloaded", pinned: false });
  });

  test("reads the same as metrics Prometheus understands", async () => {
    const reply = await get("/metrics");
    expect(reply.headers.get("content-type")).toMatch(/^text\/plain; version=0\.0\.4/);
    const lines = (await reply.text()).trimEnd().split("\n");
    for (const line of lines)
      expect(line).toMatch(/^(# (HELP|TYPE) snug_engine_\w+ .+|snug_engine_\w+(\{.+\})? [\d.e+-]+)$/);
    expect(lines).toContain('snug_engine_answers_total{model="ann",end="finished"} 1');
    expect(lines).toContain('snug_engine_model_loaded{model="bob"} 0');
    expect(
      lines.some((line) => /^snug_engine_buffer_bytes\{model="ann",kind="measured",device="host"\} \d+$/.test(line)),
    ).toBe(true);
    const types = lines.filter((line) => line.startsWith("# TYPE")).map((line) => line.split(" ")[2]);
    expect(new Set(types).size).toBe(types.length);
  });

  test("is told whether a model will fit", async () => {
    expect(await (await get("/plan?model=bob")).json()).toMatchObject({ loaded: false, fits: true, evicts: [] });
    expect((await get("/plan?model=eve")).status).toBe(404);
    expect((await get("/plan")).status).toBe(400);
  });

  test("loads, unloads and drains", async () => {
    expect(await (await post("/admin/load", { model: "bob", pinned: true })).json()).toMatchObject({
      id: "bob",
      state: "ready",
      pinned: true,
    });
    expect(await (await post("/admin/unload", { model: "bob" })).json()).toEqual({ model: "bob", unloaded: true });
    expect(await (await post("/admin/drain", { draining: true })).json()).toMatchObject({ draining: true });
    expect((await chat("ann")).status).toBe(503);
    expect((await get("/health/ready", {})).status).toBe(503);
    expect((await get("/health/live", {})).status).toBe(200);
    await post("/admin/drain", { draining: false });
    expect((await chat("ann")).status).toBe(200);
    expect((await get("/health/ready", {})).status).toBe(200);
  });

  test("must show the token, and without one set may look but not drive", async () => {
    for (const path of ["/status", "/metrics", "/plan?model=ann"]) expect((await get(path, {})).status).toBe(401);
    expect((await post("/admin/drain", { draining: true }, {})).status).toBe(401);
    const { registry } = test_;
    const open = createEngineApp({
      engine: registry,
      control: registry,
      token: undefined,
      clock: { now: () => 0 },
      logger: quiet,
    });
    expect((await open.request("/status")).status).toBe(200);
    const body = { method: "POST", headers: { "content-type": "application/json" }, body: '{"draining":true}' };
    const refused = await open.request("/admin/drain", body);
    expect([refused.status, await refused.json()]).toMatchObject([
      403,
      { error: { message: expect.stringContaining("SNUG_ENGINE_TOKEN") } },
    ]);
    expect(registry.draining).toBe(false);
  });

  test("is told what is wrong with a request", async () => {
    const wrong: [string, unknown][] = [
      ["/admin/load", {}],
      ["/admin/load", { model: "" }],
      ["/admin/load", { model: "ann", pin: true }],
      ["/admin/load", { model: "x".repeat(1000) }],
      ["/admin/unload", { model: "ann", drainMs: -1 }],
      ["/admin/drain", { draining: "yes" }],
      ["/admin/drain", []],
    ];
    for (const [path, body] of wrong) {
      const reply = await post(path, body);
      expect([path, reply.status, await reply.json()]).toMatchObject([
        path,
        400,
        { error: { code: "invalid_request" } },
      ]);
    }
    expect((await post("/admin/unload", { model: "eve" })).status).toBe(404);
    expect((await post("/admin/load", { model: "x".repeat(100_000) })).status).toBe(413);
  });

  test("hears how the machine is, in either language, and how its GPUs did", async () => {
    const told = (await (await get("/doctor?lang=zh")).json()) as { verdict: string; findings: { text: string }[] };
    expect(told.verdict).toBe("ok");
    expect(told.findings.some(({ text }) => text.includes("占用者：Xorg"))).toBe(true);
    expect((await get("/doctor?lang=fr")).status).toBe(400);
    expect(await (await get("/monitoring")).json()).toMatchObject({
      gpus: [{ name: "NVIDIA GeForce RTX 3080", at: [7], powerWatts: [22.78] }],
      warnings: [],
    });
    const metrics = await (await get("/metrics")).text();
    expect(metrics).toContain('snug_engine_gpu_temperature_celsius{gpu="0",name="NVIDIA GeForce RTX 3080"} 31');
    expect(metrics).toContain('snug_engine_gpu_throttled{gpu="0",name="NVIDIA GeForce RTX 3080"} 0');
  });
});
