/** Requests for vectors and rankings as tasks of the child, and what it makes of them as answers. */
import type { Producer } from "../core/chat.ts";
import { claimOf } from "../core/service-terms.ts";
import type { Embeddings, EmbeddingsRequest, Ranking, RerankRequest } from "../core/vectors.ts";
import { decodeVector } from "../http/vector-base64.ts";
import type { VectorDesk } from "./vector-desk.ts";

/** @throws AppError as `VectorDesk.run` */
export async function embedAt(
  desk: VectorDesk,
  request: EmbeddingsRequest,
  signal: AbortSignal,
  producer: () => Producer,
): Promise<Embeddings> {
  const { inputs, dimensions, truncation } = request;
  const claim = claimOf({ ...request, chars: inputs.reduce((sum, text) => sum + text.length, 0) });
  const task = { kind: "embed", inputs, dimensions, truncation } as const;
  const { result, queueMs, totalMs } = await desk.run(task, claim, signal);
  return {
    producer: producer(),
    vectors: result.vectors.map((text) => decodeVector(text) ?? new Float32Array()),
    promptTokens: result.promptTokens,
    timings: { queueMs, totalMs },
  };
}

/** @throws AppError as `VectorDesk.run` */
export async function rerankAt(
  desk: VectorDesk,
  request: RerankRequest,
  signal: AbortSignal,
  producer: () => Producer,
): Promise<Ranking> {
  const { query, documents, truncation, topN = documents.length } = request;
  const chars = documents.reduce((sum, text) => sum + text.length + query.length, 0);
  const task = { kind: "rerank", query, documents, truncation } as const;
  const { result, queueMs, totalMs } = await desk.run(task, claimOf({ ...request, chars }), signal);
  const results = result.scores.map((score, index) => ({ index, score }));
  results.sort((left, right) => right.score - left.score);
  return {
    producer: producer(),
    results: results.slice(0, topN),
    promptTokens: result.promptTokens,
    timings: { queueMs, totalMs },
  };
}
