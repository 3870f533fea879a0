/** POST /v1/embeddings: the body, read and written, and the answer, written and read. */
import * as z from "zod";
import type { Producer } from "../core/chat.ts";
import { AppError } from "../core/errors.ts";
import { embeddingInputsMax, userIdCharsMax } from "../core/limits.ts";
import type { Embeddings, EmbeddingsRequest } from "../core/vectors.ts";
import { deliveryFields, requestError } from "./chat-request.ts";
import { asObject, defined, type JsonObject, parseProducer, parseUsage, renderProducer } from "./chat-wire.ts";
import { decodeVector, encodeVector } from "./vector-base64.ts";

export interface EmbeddingsCall {
  request: EmbeddingsRequest;
  /** How vectors stand in the answer. */
  encoding: "float" | "base64";
}

const tokenWords =
  "must be texts, not token numbers: those belong to another vocabulary (LangChain for Python: check_embedding_ctx_length=False)";

/** Picked by hand, so that the message names the one text that is wrong. */
const inputSchema = z.unknown().transform((value, context): string[] => {
  const texts = Array.isArray(value) ? value : [value];
  if (texts.length === 0 || texts.length > embeddingInputsMax) {
    context.addIssue(`must hold 1 to ${embeddingInputsMax} texts`);
    return z.NEVER;
  }
  const wrong = texts.findIndex((text) => typeof text !== "string" || text === "");
  if (wrong === -1) return texts as string[];
  const text: unknown = texts[wrong];
  const path = Array.isArray(value) ? [wrong] : [];
  if (typeof text === "number" || Array.isArray(text))
    context.addIssue({ code: "custom", message: tokenWords, path: [] });
  else context.addIssue({ code: "custom", message: text === "" ? "must not be empty" : "must be a text", path });
  return z.NEVER;
});

export const truncationField = z.enum(["auto", "disabled"], 'must be "auto" or "disabled"').nullish();

export const embeddingsBodySchema = z.object({
  model: deliveryFields.model,
  input: inputSchema,
  dimensions: z.int("must be a whole number").min(1, "must be at least 1").nullish(),
  encoding_format: z.enum(["float", "base64"], 'must be "float" or "base64"').nullish(),
  truncation: truncationField,
  user: z.string("must be a text").max(userIdCharsMax, `must be at most ${userIdCharsMax} characters`).nullish(),
});

/** @throws AppError invalid_request naming the field at fault */
export function parseEmbeddingsCall(body: unknown): EmbeddingsCall {
  const parsed = embeddingsBodySchema.safeParse(body);
  if (!parsed.success) throw requestError(parsed.error.issues[0]!, "model and input");
  const { model, input, dimensions, encoding_format: encoding, truncation, user } = parsed.data;
  return {
    request: {
      model,
      inputs: input,
      ...(dimensions == null ? {} : { dimensions }),
      ...(truncation === "auto" ? { truncation } : {}),
      ...(user == null || user === "" ? {} : { userId: user }),
    },
    encoding: encoding ?? "float",
  };
}

export function renderEmbeddings(answer: Embeddings, encoding: EmbeddingsCall["encoding"]): JsonObject {
  const { producer, vectors, promptTokens } = answer;
  return {
    object: "list",
    model: producer.model,
    data: vectors.map((vector, index) => ({
      object: "embedding",
      index,
      embedding: encoding === "base64" ? encodeVector(vector) : [...vector],
    })),
    usage: renderVectorUsage(promptTokens),
    snug: renderProducer(producer),
  };
}

/** OpenAI's form has no word for unknown; null says it best. */
export function renderVectorUsage(promptTokens: number | undefined): JsonObject | null {
  return promptTokens === undefined ? null : { prompt_tokens: promptTokens, total_tokens: promptTokens };
}

/** For any OpenAI-compatible server. */
export function renderEmbeddingsBody(request: EmbeddingsRequest): JsonObject {
  return defined({
    model: request.model,
    input: request.inputs,
    dimensions: request.dimensions,
    encoding_format: "base64",
    truncation: request.truncation,
    user: request.userId,
  });
}

/**
 * @param fallback what answers, as far as known before the server says so itself
 * @throws AppError engine_unavailable for an answer that is none
 */
export function readEmbeddings(
  body: unknown,
  request: EmbeddingsRequest,
  fallback: Producer,
): Omit<Embeddings, "timings"> {
  const answer = asObject(body);
  const data = Array.isArray(answer?.data) ? answer.data : [];
  const vectors: Float32Array[] = [];
  for (const [place, value] of data.entries()) {
    const entry = asObject(value);
    const vector = readVector(entry?.embedding);
    if (vector !== undefined) vectors[typeof entry?.index === "number" ? entry.index : place] = toUnit(vector);
  }
  const whole = vectors.length === request.inputs.length && !vectors.includes(undefined as never);
  if (answer === undefined || !whole) {
    throw new AppError("engine_unavailable", "The engine's answer holds no vector for some of the texts.");
  }
  const { promptTokens } = parseUsage(answer.usage) ?? {};
  return {
    producer: parseProducer(answer, fallback),
    vectors,
    ...(promptTokens === undefined ? {} : { promptTokens }),
  };
}

/** Some servers answer with numbers whatever was asked for. */
function readVector(value: unknown): Float32Array | undefined {
  if (!Array.isArray(value)) return decodeVector(value);
  const numbers = value.every((one) => typeof one === "number" && Number.isFinite(one));
  return numbers && value.length > 0 ? Float32Array.from(value as number[]) : undefined;
}

/** Not every server scales its vectors. */
function toUnit(vector: Float32Array): Float32Array {
  const length = Math.hypot(...vector);
  return length === 0 || Math.abs(length - 1) < 1e-4 ? vector : vector.map((value) => value / length);
}
