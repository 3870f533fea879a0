import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { sampleReport } from "../../../test/support/compare-port.ts";
import { FakeEngine } from "../../../test/support/fake-engine.ts";
import { createHttpEngine } from "../../http/client.ts";
import { createEngineApp } from "../app.ts";
import type { EngineControl } from "../operations.ts";
import { CompareDesk } from "./desk.ts";

const logger = { debug() {}, info() {}, warn() {}, error() {} };
const clock = { now: () => 7 };
let finish: () => void;
let desk: CompareDesk;
let app: ReturnType<typeof createEngineApp>;

beforeEach(() => {
  const engine = new FakeEngine();
  desk = new CompareDesk({
    compare: (_, { signal }) =>
      new Promise((resolve, reject) => {
        finish = () => resolve(sampleReport);
        signal.addEventListener("abort", () => reject(signal.reason));
      }),
    health: () => engine.health(),
    clock,
    logger,
  });
  // Of the operators' part only comparisons are asked for.
  const control = Object.assign(engine, { comparisons: desk }) as unknown as EngineControl;
  app = createEngineApp({ engine, control, token: "secret", clock, logger });
});
afterEach(() => desk.stop());

const remote = (token: string) =>
  createHttpEngine({
    baseUrl: "http://engine.test",
    token,
    clock,
    fetch: async (url: string | URL | Request, init?: RequestInit) => await app.request(String(url), init),
  } as Parameters<typeof createHttpEngine>[0]);

describe("a comparison on an engine elsewhere", () => {
  it("is begun, looked at and cancelled over HTTP", async () => {
    const { operate } = remote("secret");
    const begun = await operate!({ verb: "compare", request: { model: "tiny", quantizations: ["q8_0"] } });
    expect(begun).toMatchObject({ state: "running", model: "tiny" });
    const id = String(begun.id);
    expect(await operate!({ verb: "comparison", id })).toMatchObject({ id, state: "running" });
    expect(await operate!({ verb: "cancel_comparison", id })).toMatchObject({ id, state: "cancelled" });
    const next = await operate!({ verb: "compare", request: { model: "tiny" } });
    finish();
    await new Promise(setImmediate);
    expect(await operate!({ verb: "comparison", id: String(next.id) })).toMatchObject({
      state: "done",
      report: sampleReport,
    });
  });

  it("needs the engine's token, a name and a job", async () => {
    const stranger = remote("wrong");
    await expect(stranger.operate!({ verb: "compare", request: { model: "tiny" } })).rejects.toMatchObject({
      code: expect.stringMatching(/invalid_api_key|invalid_configuration/),
    });
    const { operate } = remote("secret");
    await expect(operate!({ verb: "compare", request: { model: "../x.gguf" } })).rejects.toMatchObject({
      code: "invalid_request",
    });
    await expect(operate!({ verb: "comparison", id: "cmp-none" })).rejects.toMatchObject({ code: "not_found" });
  });
});
