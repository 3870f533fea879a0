/** Vectors as they cross a link: base64 of little-endian 32-bit floats, a third of their length as decimal numbers. */
import { AppError } from "../core/errors.ts";
import type { Embeddings } from "../core/vectors.ts";
import { asObject } from "./chat-wire.ts";

export function toVectorsResult(embeddings: Embeddings): Record<string, unknown> {
  return { ...embeddings, vectors: embeddings.vectors.map(toBase64) };
}

/** @throws AppError engine_unavailable for a result that holds no vectors */
export function fromVectorsResult(result: unknown): Embeddings {
  const embeddings = asObject(result);
  if (embeddings === undefined || !Array.isArray(embeddings.vectors)) throw unreadable();
  return { ...(embeddings as unknown as Embeddings), vectors: embeddings.vectors.map(fromBase64) };
}

function toBase64(vector: Float32Array): string {
  const bytes = new Uint8Array(vector.length * 4);
  const view = new DataView(bytes.buffer);
  for (const [place, value] of vector.entries()) view.setFloat32(place * 4, value, true);
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}

function fromBase64(text: unknown): Float32Array {
  if (typeof text !== "string" || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) throw unreadable();
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  if (bytes.length % 4 !== 0) throw unreadable();
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length / 4 }, (_, place) => view.getFloat32(place * 4, true));
}

function unreadable(): AppError {
  return new AppError("engine_unavailable", "The engine's vectors could not be read; is it as new as this API?");
}
