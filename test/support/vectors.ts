/** What tests of embedding models and rerankers ask of any backend, and what every one of them has to refuse. */
import { expect } from "vitest";
import type { Embeddings, EmbeddingsRequest, Ranking, RerankRequest } from "../../src/core/vectors.ts";
import type { TestEngine } from "./local-engine.ts";

/** Settings of the engines below: one text at a time, of at most 256 tokens. */
export const vectorSettings = { contextLength: 256, sequenceCount: 1, batchSize: 256 };

export const signal = () => new AbortController().signal;

export function embed({ engine }: TestEngine, more: Partial<EmbeddingsRequest> = {}): Promise<Embeddings> {
  return engine.embed({ model: "tiny", inputs: ["The queue holds requests"], ...more }, { signal: signal() });
}

export function rerank({ engine }: TestEngine, more: Partial<RerankRequest> = {}): Promise<Ranking> {
  const documents = ["The queue holds requests", "Memory"];
  return engine.rerank({ model: "tiny", query: "Which slot is free?", documents, ...more }, { signal: signal() });
}

export function dot(left: Float32Array, right: Float32Array): number {
  return left.reduce((sum, value, at) => sum + value * right[at]!, 0);
}

/** 402 tokens with its marks. */
export const longText = "queue ".repeat(400);

/** Texts beyond the context are refused by their place, and so are more dimensions than the 64 there are. */
export async function expectRefusedTexts(embedder: TestEngine): Promise<void> {
  await expect(embed(embedder, { inputs: ["short", longText] })).rejects.toMatchObject({
    code: "context_length_exceeded",
    param: "input[1]",
    details: { promptTokens: 402, contextLength: 256 },
  });
  await expect(embed(embedder, { inputs: ["queue ".repeat(100_000)] })).rejects.toMatchObject({
    code: "context_length_exceeded",
  });
  await expect(embed(embedder, { dimensions: 65 })).rejects.toMatchObject({
    code: "invalid_request",
    param: "dimensions",
  });
}

/** Documents beyond the context are refused by their place, and a query that leaves no room for any. */
export async function expectRefusedDocuments(reranker: TestEngine): Promise<void> {
  const long = "queue ".repeat(900);
  await expect(rerank(reranker, { documents: ["slot", long] })).rejects.toMatchObject({
    code: "context_length_exceeded",
    param: "documents[1]",
  });
  await expect(rerank(reranker, { query: long })).rejects.toMatchObject({ param: "query" });
}

/** A model for vectors neither chats nor ranks, and says what it does. */
export async function expectOnlyEmbeds(embedder: TestEngine): Promise<void> {
  const events = [];
  const request = { model: "tiny", messages: [{ role: "user" as const, content: "Hi" }] };
  for await (const event of embedder.engine.chat(request, { signal: signal() })) events.push(event);
  expect(events.at(-1)).toMatchObject({ type: "error", error: { code: "invalid_request", param: "model" } });
  await expect(rerank(embedder)).rejects.toMatchObject({ code: "invalid_request", param: "model" });
  expect(await embedder.engine.models()).toMatchObject([{ id: "tiny", task: "embedding", loaded: true }]);
}
