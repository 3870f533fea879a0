import { describe, expect, it } from "vitest";
import { sampleReport as report } from "../../../test/support/compare-port.ts";
import { AppError } from "../../core/errors.ts";
import type { CompareEvent } from "../../fit/compare-report.ts";
import type { CompareOptions } from "./compare.ts";
import { CompareDesk } from "./desk.ts";

/** A desk whose comparisons end when the test says so. */
function desk({ active = 0 } = {}) {
  const runs: { options: CompareOptions; resolve(): void; reject(error: unknown): void }[] = [];
  const opened = new CompareDesk({
    compare: (_, options) =>
      new Promise((resolve, reject) => {
        runs.push({ options, resolve: () => resolve(report), reject });
        options.signal.addEventListener("abort", () => reject(options.signal.reason));
      }),
    health: async () => ({ state: "ready", active, queued: 0, slots: 1 }),
    clock: { now: () => 5 },
    logger: { debug() {}, info() {}, warn() {}, error() {} },
  });
  return { desk: opened, runs };
}

async function collect(events: AsyncIterable<CompareEvent>): Promise<string[]> {
  const types: string[] = [];
  for await (const event of events) types.push(event.type);
  return types;
}

const never = new AbortController().signal;

describe("the desk of comparisons", () => {
  it("tells progress and then the report, to early and late listeners alike", async () => {
    const { desk: one, runs } = desk();
    const { id } = await one.start({ model: "tiny" });
    const early = collect(one.events(id, never));
    runs[0]!.options.onProgress?.({ step: "load", quantization: "F16", share: 0.1 });
    await Promise.resolve();
    expect(one.get(id)).toMatchObject({ state: "running", progress: { step: "load" } });
    runs[0]!.resolve();
    expect(await early).toEqual(["progress", "report"]);
    expect(await collect(one.events(id, never))).toEqual(["report"]);
    expect(one.get(id)).toMatchObject({ state: "done", report });
    expect(one.get(id).progress).toBeUndefined();
  });

  it("runs one at a time", async () => {
    const { desk: one, runs } = desk();
    await one.start({ model: "tiny" });
    await expect(one.start({ model: "other" })).rejects.toMatchObject({ code: "engine_overloaded" });
    runs[0]!.resolve();
    await collect(one.events(one.list()[0]!.id, never));
    await expect(one.start({ model: "other" })).resolves.toMatchObject({ state: "running" });
    await one.stop();
  });

  it("refuses to disturb people unless it is forced", async () => {
    const { desk: one } = desk({ active: 2 });
    await expect(one.start({ model: "tiny" })).rejects.toMatchObject({
      code: "engine_overloaded",
      details: { active: 2, queued: 0 },
    });
    await expect(one.start({ model: "tiny", force: true })).resolves.toMatchObject({ state: "running" });
    await one.stop();
  });

  it("cancels, and says how a failed one failed", async () => {
    const { desk: one, runs } = desk();
    const { id } = await one.start({ model: "tiny" });
    const listening = collect(one.events(id, never));
    expect(await one.cancel(id)).toMatchObject({ state: "cancelled" });
    expect(await listening).toEqual(["cancelled"]);
    const second = await one.start({ model: "tiny" });
    runs[1]!.reject(new AppError("model_not_found", "There is none."));
    expect(await collect(one.events(second.id, never))).toEqual(["error"]);
    expect(one.get(second.id)).toMatchObject({ state: "failed", error: { code: "model_not_found" } });
  });

  it("lets a listener leave while the comparison goes on", async () => {
    const { desk: one } = desk();
    const { id } = await one.start({ model: "tiny" });
    const leave = new AbortController();
    const listening = collect(one.events(id, leave.signal));
    leave.abort();
    expect(await listening).toEqual([]);
    expect(one.get(id).state).toBe("running");
    await one.stop();
  });

  it("keeps the last few and knows no other ids", async () => {
    const { desk: one, runs } = desk();
    for (let count = 0; count < 12; count++) {
      const { id } = await one.start({ model: `m${count}` });
      runs[count]!.resolve();
      await collect(one.events(id, never));
    }
    expect(one.list().map(({ model }) => model)).toEqual(["m11", "m10", "m9", "m8", "m7", "m6", "m5", "m4"]);
    expect(() => one.get("cmp-none")).toThrow(AppError);
    await expect(one.cancel("x".repeat(10_000))).rejects.toMatchObject({ code: "not_found" });
  });
});
