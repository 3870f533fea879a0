/** Embeddings and reranking with the real child on tiny generated encoders and rerankers. */

import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { ENCODER_SHAPE } from "../../test/support/gguf/shapes.ts";
import { startEngine, type TestEngine } from "../../test/support/local-engine.ts";
import { prepareRegistry } from "../../test/support/registry.ts";
import {
  dot,
  embed,
  expectOnlyEmbeds,
  expectRefusedDocuments,
  expectRefusedTexts,
  longText,
  rerank,
  signal,
  vectorSettings,
} from "../../test/support/vectors.ts";

let embedder: TestEngine;
let reranker: TestEngine;
let decoder: TestEngine;
let chatter: TestEngine;
beforeAll(async () => {
  [embedder, reranker, decoder, chatter] = await Promise.all([
    startEngine({ architecture: "bert", shape: ENCODER_SHAPE }, { settings: vectorSettings }),
    startEngine({ architecture: "bert", shape: ENCODER_SHAPE, rank: true }, { settings: vectorSettings }),
    startEngine({ architecture: "qwen3", shape: "tiny", brain: "random", rank: true }, { settings: vectorSettings }),
    startEngine({ shape: "tiny", brain: "script" }),
  ]);
});
afterAll(async () => {
  await Promise.all([embedder, reranker, decoder, chatter].map((one) => one?.close()));
});

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

describe("an embedding model", () => {
  it("makes one vector of length 1 of each text, in their order, and counts all tokens", async () => {
    const inputs = ["The queue holds requests", "Memory use was measured", "The queue holds requests"];
    const { vectors, promptTokens, producer, timings } = await embed(embedder, { inputs });
    expect(vectors.map((vector) => vector.length)).toEqual([64, 64, 64]);
    for (const vector of vectors) expect(dot(vector, vector)).toBeCloseTo(1, 5);
    expect(dot(vectors[0]!, vectors[2]!)).toBeCloseTo(1, 5);
    expect(dot(vectors[0]!, vectors[1]!)).toBeLessThan(0.999);
    // Four words each, with a beginning and an end.
    expect(promptTokens).toBe(18);
    expect(producer).toMatchObject({ model: "tiny", engineId: "local", contextLength: 256 });
    expect(timings.totalMs).toBeGreaterThanOrEqual(timings.queueMs ?? 0);
  });

  it("gives the first dimensions, scaled again", async () => {
    const whole = (await embed(embedder, {})).vectors[0]!;
    const short = (await embed(embedder, { dimensions: 16 })).vectors[0]!;
    expect(short).toHaveLength(16);
    expect(dot(short, short)).toBeCloseTo(1, 5);
    const scale = short[0]! / whole[0]!;
    for (const [at, value] of short.entries()) expect(value / whole[at]!).toBeCloseTo(scale, 3);
  });

  it("refuses more dimensions than it has and a text that is too long by its place, before any work, unless it may be cut", async () => {
    await expectRefusedTexts(embedder);
    const { vectors, promptTokens } = await embed(embedder, { inputs: [longText], truncation: "auto" });
    expect(promptTokens).toBe(255);
    const cut = (await embed(embedder, { inputs: ["queue ".repeat(253)] })).vectors[0]!;
    expect(dot(vectors[0]!, cut)).toBeCloseTo(1, 5);
  });

  it("reads names of control tokens as text", async () => {
    const { promptTokens } = await embed(embedder, { inputs: ["[SEP]"] });
    expect(promptTokens).toBeGreaterThan(3);
  });

  it("serves several requests in turn, and ends one whose caller left", async () => {
    const leaving = new AbortController();
    const inputs = Array.from({ length: 300 }, () => "queue ".repeat(200));
    const first = embedder.engine.embed({ model: "tiny", inputs }, { signal: leaving.signal });
    const others = [1, 2, 3].map(() => embed(embedder, {}));
    leaving.abort();
    await expect(first).rejects.toMatchObject({ code: "engine_unavailable" });
    expect(await Promise.all(others)).toHaveLength(3);
    expect(embedder.engine.status().health).toMatchObject({ active: 0, queued: 0 });
  });

  it("does not chat and does not rerank, and says what it does", async () => {
    await expectOnlyEmbeds(embedder);
  });

  it("tells the memory it really holds", async () => {
    expect(embedder.engine.status().model?.memory?.context.hostBytes).toBeGreaterThan(0);
  });

  it("that dies is brought back, and what it was doing fails as unavailable", async () => {
    const own = await startEngine({ architecture: "bert", shape: ENCODER_SHAPE }, { settings: vectorSettings });
    closers.push(own.close);
    const inputs = Array.from({ length: 2000 }, () => "queue ".repeat(200));
    const lost = embed(own, { inputs });
    process.kill(own.engine.status().childPid!, "SIGKILL");
    await expect(lost).rejects.toMatchObject({ code: "engine_unavailable" });
    expect((await embed(own, {})).vectors).toHaveLength(1);
  });
});

describe.each([
  ["an encoder", () => reranker],
  ["a decoder with a template", () => decoder],
])("a reranker that is %s", (_kind, engine) => {
  it("scores documents from 0 to 1, best first, and gives as many as asked for", async () => {
    const documents = ["The queue holds requests", "Memory use was measured", "slot", "Hello from a tiny model"];
    const { results, promptTokens } = await rerank(engine(), { documents });
    expect(results.map(({ index }) => index).toSorted()).toEqual([0, 1, 2, 3]);
    const scores = results.map(({ score }) => score);
    expect(scores).toEqual(scores.toSorted((left, right) => right - left));
    for (const score of scores) expect(score >= 0 && score <= 1).toBe(true);
    expect(promptTokens).toBeGreaterThan(20);
    const best = await rerank(engine(), { documents, topN: 2 });
    expect(best.results).toEqual(results.slice(0, 2));
  });

  it("refuses a document that is too long by its place, and a query that leaves no room", async () => {
    await expectRefusedDocuments(engine());
    const long = "queue ".repeat(900);
    const { results } = await rerank(engine(), { documents: ["slot", long], truncation: "auto" });
    expect(results).toHaveLength(2);
  });
});

it("a model that writes text makes no embeddings and is no reranker", async () => {
  await expect(embed(chatter, {})).rejects.toMatchObject({ code: "invalid_request", param: "model" });
  await expect(rerank(chatter, {})).rejects.toMatchObject({ code: "invalid_request", param: "model" });
});

it("a registry plans an embedding model for itself, loads it on demand, and forecasts its memory", async () => {
  const { registry, close } = await prepareRegistry(
    { ann: { shape: "tiny", brain: "script" }, bert: { architecture: "bert", shape: ENCODER_SHAPE } },
    { contextLength: 256 },
  );
  closers.push(close);
  await registry.start();
  expect(await registry.models()).toMatchObject([
    { id: "ann", loaded: true },
    { id: "bert", loaded: false, task: "embedding" },
  ]);
  const { vectors } = await registry.embed({ model: "bert", inputs: ["queue"] }, { signal: signal() });
  expect(vectors[0]).toHaveLength(64);
  const bert = registry.status().find(({ id }) => id === "bert");
  expect(bert?.engine?.settings).toMatchObject({ sequenceCount: 1, batchSize: 256, contextLength: 256 });
  const { predicted, measured } = bert!.load!;
  expect(Math.abs(measured!.hostBytes / predicted.hostBytes - 1)).toBeLessThan(0.001);
  await expect(registry.embed({ model: "ann", inputs: ["queue"] }, { signal: signal() })).rejects.toMatchObject({
    param: "model",
  });
  await expect(registry.embed({ model: "none", inputs: ["queue"] }, { signal: signal() })).rejects.toMatchObject({
    code: "model_not_found",
  });
});
