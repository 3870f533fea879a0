/** How engines' machines are, through the API: one in this process and one over HTTP that is really served. */
import { readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openApi, type TestApi } from "../../test/support/api.ts";
import { FakeEngine } from "../../test/support/fake-engine.ts";
import type { ChatEngine } from "../core/ports.ts";
import { createEngineApp } from "../engine/app.ts";
import { parseNvidiaXml } from "../engine/gpu-condition.ts";
import { createMachineDesk } from "../engine/machine-desk.ts";
import { Monitor } from "../engine/monitor.ts";
import { carryOut, type EngineControl } from "../engine/operations.ts";
import { EngineWarnings } from "../engine/warnings.ts";
import { type Listener, listen } from "../entries/listen.ts";

const text = readFileSync(new URL("../../test/fixtures/gpu/nvidia-smi-rtx-3080.xml", import.meta.url), "utf8");
const hot = parseNvidiaXml(text.replace(/(_sw_thermal_slowdown>)Not Active/, "$1Active"));
const quiet = { debug() {}, info() {}, warn() {}, error() {} };

let api: TestApi;
let attic: Listener;

beforeEach(async () => {
  api = await openApi();
  let now = 0;
  const clock = { now: () => (now += 60_000) };
  const warnings = new EngineWarnings(clock.now);
  const monitor = new Monitor({ read: async () => hot, warnings, clock });
  for (let look = 0; look < 3; look++) await monitor.look();
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
      gpus: hot,
      disk: { path: ".", bytesFree: 2 ** 40 },
    }),
  });
  const engine: ChatEngine = new FakeEngine();
  const control: EngineControl = Object.assign(engine, {
    machine,
    draining: false,
    status: () => [],
    plan: () => Promise.reject(new Error("not asked")),
    load: () => Promise.reject(new Error("not asked")),
    unload: () => Promise.reject(new Error("not asked")),
    setDraining: () => {},
  });
  // The engine in the API's own process is asked without a wire.
  const own: ChatEngine = api.engine;
  own.operate = (operation) => carryOut(control, operation);
  const app = createEngineApp({ engine, control, token: undefined, clock, logger: quiet });
  attic = await listen(app.fetch, { host: "127.0.0.1", port: 0 });
  await api.request("/v1/engines", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ name: "attic", url: attic.address }),
  });
});

afterEach(async () => {
  attic.refuse();
  await attic.close(0);
  api.close();
});

interface Told {
  verdict: string;
  findings: { check: string; text: string; remedy?: string }[];
}

describe("an administrator", () => {
  it.each(["fake", "attic"])("hears how the machine of %s is, in the language asked for", async (name) => {
    const en = (await (await api.request(`/v1/engines/${name}/doctor`)).json()) as Told;
    const zh = (await (await api.request(`/v1/engines/${name}/doctor?lang=zh`)).json()) as Told;
    expect(en.verdict).toBe("warning");
    expect(en.findings.find(({ check }) => check === "heat")).toMatchObject({
      text: expect.stringContaining("slows down because of heat"),
    });
    expect(zh.findings.find(({ check }) => check === "heat")!.text).toContain("过热");
    expect(en.findings.some(({ check }) => check === "token" || check === "settings")).toBe(false);
  });

  it.each(["fake", "attic"])("sees what the GPUs of %s did", async (name) => {
    expect(await (await api.request(`/v1/engines/${name}/monitoring`)).json()).toMatchObject({
      everyMs: 60_000,
      gpus: [{ name: "NVIDIA GeForce RTX 3080", temperatureCelsius: [31, 31, 31] }],
      warnings: [{ kind: "thermal_throttle" }],
    });
  });

  it("gets an error that says so for an engine that is not there or a language nobody speaks here", async () => {
    expect((await api.request("/v1/engines/cellar/doctor")).status).toBe(404);
    expect((await api.request("/v1/engines/fake/doctor?lang=fr")).status).toBe(400);
  });
});

describe("GET /metrics", () => {
  it("has the GPUs of the engine in this process; those elsewhere have metrics of their own", async () => {
    const text = await (await api.request("/metrics")).text();
    const labels = '{engine="fake",gpu="0",name="NVIDIA GeForce RTX 3080"}';
    expect(text).toContain(`snug_engine_gpu_temperature_celsius${labels} 31`);
    expect(text).toContain(`snug_engine_gpu_power_watts${labels} 22.78`);
    expect(text).toContain(`snug_engine_gpu_throttled${labels} 1`);
    expect(text).not.toContain('gpu="0",name="NVIDIA GeForce RTX 3080",engine="attic"');
    expect(text.match(/snug_engine_gpu_throttled\{/g)).toHaveLength(1);
  });
});

describe("the admin page", () => {
  const signIn = async () => {
    const reply = await api.app.request("/admin/sign-in", {
      method: "POST",
      body: new URLSearchParams({ key: api.admin.secret }).toString(),
      headers: { "content-type": "application/x-www-form-urlencoded" },
    });
    return { cookie: reply.headers.getSetCookie()[0]!.split(";")[0]! };
  };

  it("draws memory, use, heat and power of an engine's cards, with what is wrong, in the reader's language", async () => {
    const headers = { ...(await signIn()), "accept-language": "zh-CN" };
    const page = await (await api.app.request("/admin/engines", { headers })).text();
    expect(page).toContain('hx-get="/admin/engines/attic/machine"');
    const html = await (await api.app.request("/admin/engines/attic/machine", { headers })).text();
    expect(html).toMatch(/NVIDIA GeForce RTX 3080，最近 \d+ 分钟/);
    for (const figure of ["显存", "使用率", "31 °C", "23 W", "过热"]) expect(html).toContain(figure);
    expect(html.match(/<polyline/g)).toHaveLength(4);
    // The page's own rules allow no style but the sheet's.
    expect(html).not.toContain("style=");
  });

  it("draws by the clock: time in which no driver answered is a gap, and the caption says how long is shown", async () => {
    const own: ChatEngine = api.engine;
    const looks = Array.from({ length: 120 }, (_, index) => (index < 60 ? index : 60 + index));
    const values = looks.map((minute) => minute / 180);
    const gpu = { gpu: 0, name: "card", at: looks.map((minute) => minute * 60_000), utilization: values };
    const untold = looks.map(() => null);
    own.operate = async () => ({
      everyMs: 60_000,
      warnings: [],
      gpus: [{ ...gpu, vramBytesUsed: untold, temperatureCelsius: untold, powerWatts: untold, throttle: [] }],
    });
    const html = await (await api.app.request("/admin/engines/fake/machine", { headers: await signIn() })).text();
    expect(html).toContain("card, the last 3 h");
    const lines = [...html.matchAll(/points="([^"]+)"/g)].map(([, points]) => points!.split(" ").map(parseFloat));
    expect(lines).toHaveLength(2);
    // A third of the width on either side, of 240.
    expect(lines[0]!.at(-1)).toBeCloseTo(80, -1);
    expect(lines[1]![0]).toBeCloseTo(160, -1);
  });

  it("shows nothing for an engine that tells nothing, or what nobody can draw, and nothing to strangers", async () => {
    const headers = await signIn();
    const own: ChatEngine = api.engine;
    own.operate = async () => ({ everyMs: 1, warnings: [], gpus: [{ gpu: 0, name: "<b>", at: ["no"] }] });
    expect(await (await api.app.request("/admin/engines/fake/machine", { headers })).text()).toBe("");
    expect((await api.app.request("/admin/engines/attic/machine")).status).not.toBe(200);
  });
});

describe("warnings", () => {
  const read = async () =>
    ((await (await api.request("/v1/warnings")).json()) as { warnings: { engine: string; id: string }[] }).warnings;

  it("of all engines come together, each with its engine", async () => {
    const warnings = await read();
    expect(warnings.map(({ engine, id }) => [engine, id])).toEqual([
      ["fake", "thermal:0"],
      ["attic", "thermal:0"],
    ]);
  });

  it("of an engine that lies or is gone are left out", async () => {
    const own: ChatEngine = api.engine;
    own.operate = async () => ({ warnings: [{ id: 7 }, "hot", { id: "x", kind: "on_fire", since: 1, text: {} }] });
    expect((await read()).map(({ engine }) => engine)).toEqual(["attic"]);
    own.operate = () => Promise.reject(new Error("gone"));
    expect((await read()).map(({ engine }) => engine)).toEqual(["attic"]);
  });
});
