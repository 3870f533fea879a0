/** Vectors as they cross a link. */
import { AppError } from "../core/errors.ts";
import type { Embeddings } from "../core/vectors.ts";
import { asObject } from "./chat-wire.ts";
import { decodeVector, encodeVector } from "./vector-base64.ts";

export function toVectorsResult(embeddings: Embeddings): Record<string, unknown> {
  return { ...embeddings, vectors: embeddings.vectors.map(encodeVector) };
}

/** @throws AppError engine_unavailable for a result that holds no vectors */
export function fromVectorsResult(result: unknown): Embeddings {
  const embeddings = asObject(result);
  if (embeddings === undefined || !Array.isArray(embeddings.vectors)) throw unreadable();
  return {
    ...(embeddings as unknown as Embeddings),
    vectors: embeddings.vectors.map((text) => decodeVector(text) ?? refuse()),
  };
}

function refuse(): never {
  throw unreadable();
}

function unreadable(): AppError {
  return new AppError("engine_unavailable", "The engine's vectors could not be read; is it as new as this API?");
}
