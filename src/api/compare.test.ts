import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openApi, type TestApi } from "../../test/support/api.ts";
import { sampleReport as report } from "../../test/support/compare-port.ts";
import { AppError } from "../core/errors.ts";
import type { EngineOperation } from "../core/ports.ts";
import type { CompareOptions } from "../engine/compare/compare.ts";
import { CompareDesk } from "../engine/compare/desk.ts";
import { carryOut, type EngineControl } from "../engine/operations.ts";

let api: TestApi;
let run: { options: CompareOptions; resolve(): void; reject(error: unknown): void } | undefined;
const json = { "content-type": "application/json" };
const send = (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) =>
  api.request(path, {
    method,
    ...(body === undefined ? { headers } : { body: JSON.stringify(body), headers: { ...json, ...headers } }),
  });

beforeEach(async () => {
  api = await openApi();
  const comparisons = new CompareDesk({
    compare: (_, options) =>
      new Promise((resolve, reject) => {
        run = { options, resolve: () => resolve(report), reject };
        options.signal.addEventListener("abort", () => reject(options.signal.reason));
      }),
    health: () => api.engine.health(),
    clock: { now: () => 5 },
    logger: { debug() {}, info() {}, warn() {}, error() {} },
  });
  const control = Object.assign(api.engine, { comparisons });
  Object.assign(api.engine, {
    // Only the verbs of comparisons are asked of it here.
    operate: (operation: EngineOperation) => carryOut(control as unknown as EngineControl, operation),
  });
});
afterEach(() => api.close());

describe("comparisons over the API", () => {
  it("begin, are followed as events, and end with the report", async () => {
    const begun = await send("POST", "/v1/compare", { model: "tiny", quantizations: ["q8_0", "f16"] });
    expect(begun.status).toBe(202);
    const { id } = (await begun.json()) as { id: string };
    expect(id).toMatch(/^fake:cmp-/);
    run!.options.onProgress?.({ step: "load", quantization: "F16", share: 0.25 });
    const following = await send("GET", `/v1/compare/${id}`, undefined, { accept: "text/event-stream" });
    expect(following.headers.get("content-type")).toContain("text/event-stream");
    run!.resolve();
    const events = [...(await following.text()).matchAll(/^data: (.*)$/gm)].map((match) => JSON.parse(match[1]!));
    expect(events[0]).toEqual({ type: "progress", step: "load", quantization: "F16", share: 0.25 });
    expect(events.at(-1)).toEqual({ type: "report", report });
    const after = await (await send("GET", `/v1/compare/${id}`)).json();
    expect(after).toMatchObject({ id, engine: "fake", state: "done", report });
  });

  it("are cancelled, and a failed one says why", async () => {
    const { id } = (await (await send("POST", "/v1/compare", { model: "tiny" })).json()) as { id: string };
    expect(await (await send("DELETE", `/v1/compare/${id}`)).json()).toMatchObject({ id, state: "cancelled" });
    const next = (await (await send("POST", "/v1/compare", { model: "tiny", engine: "fake" })).json()) as {
      id: string;
    };
    run!.reject(new AppError("model_not_found", "There is none."));
    const following = await send("GET", `/v1/compare/${next.id}`, undefined, { accept: "text/event-stream" });
    expect(await following.text()).toContain('"code":"model_not_found"');
  });

  it("are for keys with that scope", async () => {
    const { secret } = await api.makeKey(["chat", "fits", "usage"]);
    for (const [method, path] of [
      ["POST", "/v1/compare"],
      ["GET", "/v1/compare/fake:cmp-1"],
      ["DELETE", "/v1/compare/fake:cmp-1"],
    ] as const) {
      const refused = await api.app.request(path, { method, headers: { authorization: `Bearer ${secret}` } });
      expect(refused.status).toBe(403);
      expect((await api.app.request(path, { method })).status).toBe(401);
    }
    const own = await api.makeKey(["compare"]);
    const headers = { authorization: `Bearer ${own.secret}` };
    expect((await api.app.request("/v1/compare/fake:cmp-1", { headers })).status).toBe(404);
  });

  it("refuse to disturb a running answer unless forced", async () => {
    api.engine.script = () => [{ text: "one" }, { hold: "middle" }];
    const reading = (await api.chat({ stream: true })).text();
    await api.engine.reached("middle");
    const refused = await send("POST", "/v1/compare", { model: "tiny" });
    expect(refused.status).toBe(503);
    expect(await refused.json()).toMatchObject({ type: "urn:snug:error:engine_overloaded" });
    const forced = await send("POST", "/v1/compare", { model: "tiny", force: true });
    expect(forced.status).toBe(202);
    await send("DELETE", `/v1/compare/${((await forced.json()) as { id: string }).id}`);
    api.engine.release("middle");
    await reading;
  });

  it.each([
    ["no object", [], 400],
    ["no model", {}, 400],
    ["a path", { model: "/etc/passwd" }, 400],
    ["a path upwards", { model: "../../secret.gguf" }, 400],
    ["an address", { model: "http://169.254.169.254/x.gguf" }, 400],
    ["a file", { model: "mine.gguf" }, 400],
    ["an engine that is a path", { model: "tiny", engine: "../x" }, 400],
    ["an engine that is not there", { model: "tiny", engine: "attic" }, 404],
    ["an unknown field", { model: "tiny", shell: "rm" }, 400],
    ["a thousand quantizations", { model: "tiny", quantizations: Array(1000).fill("q8_0") }, 400],
    ["a body too large", { model: "tiny", prompts: ["x".repeat(100_000)] }, 413],
  ])("refuse %s", async (_, body, status) => {
    expect((await send("POST", "/v1/compare", body)).status).toBe(status);
  });

  it.each(["none", "fake:", "fake:cmp-none", "fake:../../etc", `${"x".repeat(5000)}:y`])("know no %s", async (id) => {
    for (const method of ["GET", "DELETE"]) {
      expect((await send(method, `/v1/compare/${encodeURIComponent(id)}`)).status).toBe(404);
    }
  });
});
