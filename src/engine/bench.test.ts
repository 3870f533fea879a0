import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { writeModel } from "../../test/support/gguf/write-model.ts";
import { childProgram } from "../../test/support/local-engine.ts";
import { parseBenchProfile } from "../fit/bench-profile.ts";
import { parseMeasuredRows } from "../fit/measured.ts";
import { type BenchRequest, type BenchTools, benchModel } from "./bench.ts";

const folder = mkdtempSync(join(tmpdir(), "snug-bench-test-"));
afterAll(() => rmSync(folder, { recursive: true }));

const request: BenchRequest = {
  name: "tiny",
  path: writeModel(join(folder, "tiny.gguf"), { brain: "script" }).path,
  // The last is deeper than the model was trained for.
  contexts: [32, 300, 5000],
  sequenceCounts: [1, 2],
  decodeTokens: 24,
  repetitions: 1,
};
const tools: BenchTools = {
  program: childProgram,
  build: "a build",
  reading: {
    cpu: { name: "a processor", coresPhysical: 1, coresUsable: 1 },
    ramBytesTotal: 8 * 2 ** 30,
    ramBytesFree: 4 * 2 ** 30,
    gpus: [],
    backend: "cpu",
  },
  wish: { gpu: false, threadsMax: 1 },
  clock: { now: () => Date.UTC(2026, 4, 6) },
};

describe("a bench", () => {
  it("measures every depth with every number of sequences, past the end of what the model has to say", async () => {
    const shares: number[] = [];
    const profile = await benchModel(request, tools, {
      signal: new AbortController().signal,
      onProgress: (share) => shares.push(share),
    });
    expect(profile.rows.map(({ contextTokens, sequenceCount }) => [contextTokens, sequenceCount])).toEqual([
      [32, 1],
      [32, 2],
      [300, 1],
      [300, 2],
    ]);
    for (const row of profile.rows) {
      expect(row.decodeTokensPerSecond).toBeGreaterThan(0);
      expect(row.prefillTokensPerSecond).toBeGreaterThan(0);
      expect(row.predicted === undefined).toBe(row.sequenceCount === 2);
    }
    expect(profile.date).toBe("2026-05-06");
    expect(profile.runs.map(({ depthTokens, promptTokens }) => [depthTokens, promptTokens])).toEqual([
      [44, 32],
      [312, 300],
    ]);
    expect(shares).toEqual(shares.toSorted((left, right) => left - right));
    expect(parseBenchProfile(JSON.parse(JSON.stringify(profile)))).toEqual(profile);
    expect(parseMeasuredRows(JSON.stringify(profile))).toHaveLength(2);
  }, 60_000);

  it("ends when it is cancelled", async () => {
    const abort = new AbortController();
    const reason = new Error("enough");
    const running = benchModel(request, tools, { signal: abort.signal, onProgress: () => abort.abort(reason) });
    await expect(running).rejects.toBe(reason);
  }, 60_000);

  it("says why a model does not fit", async () => {
    const small = { ...tools, reading: { ...tools.reading, ramBytesFree: 2 ** 20 } };
    const running = benchModel(request, small, { signal: new AbortController().signal });
    await expect(running).rejects.toMatchObject({ code: "model_does_not_fit" });
  });
});
