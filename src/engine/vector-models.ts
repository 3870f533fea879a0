/** Models that make vectors or scores instead of text: how they are known, and what they must be loaded with. */
import { vectorContextLengthDefault } from "../core/limits.ts";
import type { GgufHeader } from "../fit/gguf.ts";
import type { EngineBackend } from "./ipc.ts";
import type { LoadWish } from "./load-plan.ts";

export type ModelTask = "chat" | "embedding" | "rerank";

/** llama.cpp's numbers of ways to make one vector of a text's tokens. */
const pooling = { none: 0, last: 3, rank: 4 } as const;

type Metadata = GgufHeader["metadata"];

/** Conversions of embedding models say how their tokens are pooled; encoders cannot write at all. */
export function taskOf(metadata: Metadata): ModelTask {
  const way = poolingOf(metadata);
  if (way === pooling.rank) return "rerank";
  return isEncoder(metadata) || (way !== undefined && way !== pooling.none) ? "embedding" : "chat";
}

/**
 * One text at a time, of which all tokens must lie in one batch where each sees all others, or where all are pooled.
 *
 * @param wish what an administrator fixed; a longer context takes a larger batch along
 */
export function vectorWish(
  metadata: Metadata,
  contextLengthTrained: number,
  wish: LoadWish,
  backend: EngineBackend,
): LoadWish {
  const contextLength = wish.contextLength ?? Math.min(contextLengthTrained, vectorContextLengthDefault);
  const way = poolingOf(metadata);
  const library = backend === "node-llama-cpp";
  // llama-server never reads what it scores in pieces.
  const inPieces = !isEncoder(metadata) && (way === pooling.last || (way === pooling.rank && library));
  return {
    ...wish,
    contextLength,
    sequenceCount: 1,
    ...(inPieces ? {} : { batchSize: contextLength }),
    // The library's vector contexts take no other.
    ...(library ? { kvCacheTypeK: "F16", kvCacheTypeV: "F16" } : {}),
  };
}

function isEncoder(metadata: Metadata): boolean {
  const architecture = String(metadata["general.architecture"] ?? "");
  return metadata[`${architecture}.attention.causal`] === false || /bert/.test(architecture);
}

function poolingOf(metadata: Metadata): number | undefined {
  const way = metadata[`${String(metadata["general.architecture"] ?? "")}.pooling_type`];
  return typeof way === "number" ? way : undefined;
}
