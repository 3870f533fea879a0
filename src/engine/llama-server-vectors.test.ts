/** Embedding models and rerankers on a real llama-server, where the machine has one, beside the library's answers. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ENCODER_SHAPE } from "../../test/support/gguf/shapes.ts";
import { type ModelOptions, writeModel } from "../../test/support/gguf/write-model.ts";
import { findTestServer, noServerReason, serverProgram } from "../../test/support/llama-server.ts";
import { childProgram, listLogger, startEngine, type TestEngine } from "../../test/support/local-engine.ts";
import { machine } from "../../test/support/registry.ts";
import {
  dot,
  embed,
  expectOnlyEmbeds,
  expectRefusedDocuments,
  expectRefusedTexts,
  longText,
  rerank,
  vectorSettings as settings,
} from "../../test/support/vectors.ts";
import { MachineLearning } from "./learning.ts";
import { openPlannedEngine } from "./planned-engine.ts";

const found = await findTestServer();
if (found === undefined) console.warn(`Tests of vectors on llama-server are ${noServerReason}.`);

const encoder: ModelOptions = { architecture: "bert", shape: ENCODER_SHAPE };
const encoderReranker: ModelOptions = { architecture: "bert", shape: ENCODER_SHAPE, rank: true };
const decoderReranker: ModelOptions = { architecture: "qwen3", shape: "tiny", brain: "random", rank: true };

describe.runIf(found !== undefined)("on llama-server", () => {
  const server = found ?? "";
  const folder = mkdtempSync(join(tmpdir(), "snug-server-vectors-"));
  const closers: (() => Promise<void>)[] = [];
  async function started(model: ModelOptions, options: Parameters<typeof startEngine>[1]): Promise<TestEngine> {
    const test = await startEngine(model, options);
    closers.push(test.close);
    return test;
  }
  const onServer = (model: ModelOptions) =>
    started(model, { settings: { ...settings, backend: "llama-server" }, program: serverProgram(server) });
  afterAll(async () => {
    await Promise.all(closers.map((close) => close()));
    rmSync(folder, { recursive: true });
  });

  describe("an embedding model", () => {
    let served: TestEngine;
    let library: TestEngine;
    beforeAll(async () => {
      [served, library] = await Promise.all([onServer(encoder), started(encoder, { settings })]);
    });

    it("makes the library's vectors, of length 1, and counts the same tokens", async () => {
      const inputs = ["The queue holds requests", "Memory use was measured [SEP] here", "half \ud83d a character"];
      const here = await embed(served, { inputs });
      const there = await embed(library, { inputs });
      expect(here.promptTokens).toBe(there.promptTokens);
      for (const [at, vector] of here.vectors.entries()) {
        expect(dot(vector, vector)).toBeCloseTo(1, 5);
        expect(dot(vector, there.vectors[at]!)).toBeCloseTo(1, 4);
      }
      expect(dot(here.vectors[0]!, here.vectors[1]!)).toBeLessThan(0.999);
    });

    it("gives the first dimensions, scaled again", async () => {
      const [short] = (await embed(served, { dimensions: 16 })).vectors;
      expect(short).toHaveLength(16);
      expect(dot(short!, short!)).toBeCloseTo(1, 5);
    });

    it("refuses more dimensions than it has and a text that is too long by its place, unless it may be cut, and then cuts as the library does", async () => {
      await expectRefusedTexts(served);
      const here = await embed(served, { inputs: [longText], truncation: "auto" });
      const there = await embed(library, { inputs: [longText], truncation: "auto" });
      expect(here.promptTokens).toBe(255);
      expect(dot(here.vectors[0]!, there.vectors[0]!)).toBeCloseTo(1, 4);
    });

    it("ends for a caller who left, and serves the next", async () => {
      const leaving = new AbortController();
      const inputs = Array.from({ length: 300 }, () => "queue ".repeat(200));
      const first = served.engine.embed({ model: "tiny", inputs }, { signal: leaving.signal });
      leaving.abort();
      await expect(first).rejects.toMatchObject({ code: "engine_unavailable" });
      expect((await embed(served)).vectors).toHaveLength(1);
    });

    it("does not chat and does not rerank, and says what it does", async () => {
      await expectOnlyEmbeds(served);
    });

    it("that dies is brought back, and what it was doing fails as unavailable", async () => {
      const inputs = Array.from({ length: 2000 }, () => "queue ".repeat(200));
      const lost = embed(served, { inputs });
      process.kill(served.engine.status().childPid!, "SIGKILL");
      await expect(lost).rejects.toMatchObject({ code: "engine_unavailable" });
      expect((await embed(served)).vectors).toHaveLength(1);
    });
  });

  describe.each([
    ["an encoder", encoderReranker],
    ["a decoder with a template", decoderReranker],
  ])("a reranker that is %s", (_kind, model) => {
    let served: TestEngine;
    beforeAll(async () => {
      served = await onServer(model);
    });

    it("scores from 0 to 1, best first, each document by itself", async () => {
      const documents = ["The queue holds requests", "Memory use was measured", "slot", "Hello from a tiny model"];
      const { results, promptTokens } = await rerank(served, { documents });
      const scores = results.map(({ score }) => score);
      expect(scores).toEqual(scores.toSorted((left, right) => right - left));
      for (const score of scores) expect(score > 0 && score < 1).toBe(true);
      expect((await rerank(served, { documents, topN: 2 })).results).toEqual(results.slice(0, 2));
      const alone = await Promise.all(documents.map((document) => rerank(served, { documents: [document] })));
      for (const { index, score } of results) expect(alone[index]!.results[0]!.score).toBeCloseTo(score, 4);
      expect(alone.reduce((sum, one) => sum + one.promptTokens!, 0)).toBe(promptTokens);
    });

    it("takes control tokens that people type for text", async () => {
      const plain = await rerank(served, { documents: ["slot"] });
      const typed = await rerank(served, { documents: ["<|im_end|>"] });
      expect(typed.promptTokens! - plain.promptTokens!).toBeGreaterThan(3);
    });

    it("refuses a document that is too long by its place, and a query that leaves no room", async () => {
      await expectRefusedDocuments(served);
      const long = "queue ".repeat(900);
      const { results, promptTokens } = await rerank(served, { documents: [long], truncation: "auto" });
      expect(results).toHaveLength(1);
      expect(promptTokens).toBeGreaterThan(128);
      expect(promptTokens).toBeLessThan(256);
      await expect(embed(served)).rejects.toMatchObject({ code: "invalid_request", param: "model" });
    });
  });

  it.each([
    ["an embedding model", encoder],
    ["a reranker", decoderReranker],
  ])("%s takes the memory that was forecast", async (_kind, model) => {
    const { path } = writeModel(join(folder, "planned.gguf"), model);
    const { engine, backend, report } = await openPlannedEngine({
      model: { id: "tiny", path },
      reading: machine,
      wish: { threadsMax: 1 },
      server: { wanted: "llama-server", path: server, program: serverProgram(server) },
      learning: await MachineLearning.open(folder, listLogger([])),
      readVramFree: async () => undefined,
      program: childProgram,
      logger: listLogger([]),
      clock: { now: () => 0 },
    });
    closers.push(() => engine.stop({ drainMs: 0 }));
    await engine.start();
    const { predicted, measured } = report();
    expect(backend.backend).toBe("llama-server");
    expect(Math.abs(measured!.hostBytes / predicted.hostBytes - 1)).toBeLessThan(0.05);
  });
});
