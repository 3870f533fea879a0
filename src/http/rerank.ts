/** POST /v1/rerank, in the form that Jina, Cohere and llama-server share: the body, read and written, and the answer. */
import * as z from "zod";
import type { Producer } from "../core/chat.ts";
import { AppError } from "../core/errors.ts";
import { rerankDocumentsMax, userIdCharsMax } from "../core/limits.ts";
import type { Ranking, RerankRequest } from "../core/vectors.ts";
import { deliveryFields, requestError } from "./chat-request.ts";
import { asObject, defined, type JsonObject, parseProducer, parseUsage, renderProducer } from "./chat-wire.ts";
import { renderVectorUsage, truncationField } from "./embeddings.ts";

export interface RerankCall {
  request: RerankRequest;
  /** Each result with its document's text. */
  returnDocuments: boolean;
}

const textWords = "must be a text, or an object with a text";
const documentSchema = z.preprocess(
  (value) => asObject(value)?.text ?? value,
  z.string(textWords).min(1, "must not be empty"),
);

export const rerankBodySchema = z.object({
  model: deliveryFields.model,
  query: z.string("must be a text").min(1, "must not be empty"),
  documents: z
    .array(documentSchema, "must be a list of texts")
    .min(1, "must hold at least one text")
    .max(rerankDocumentsMax, `must hold at most ${rerankDocumentsMax} texts`),
  top_n: z.int("must be a whole number").min(1, "must be at least 1").nullish(),
  return_documents: z.boolean("must be true or false").nullish(),
  truncation: truncationField,
  user: z.string("must be a text").max(userIdCharsMax, `must be at most ${userIdCharsMax} characters`).nullish(),
});

/** @throws AppError invalid_request naming the field at fault */
export function parseRerankCall(body: unknown): RerankCall {
  const parsed = rerankBodySchema.safeParse(body);
  if (!parsed.success) throw requestError(parsed.error.issues[0]!, "model, query and documents");
  const { model, query, documents, top_n: topN, return_documents: returned, truncation, user } = parsed.data;
  return {
    request: {
      model,
      query,
      documents,
      ...(topN == null ? {} : { topN }),
      ...(truncation === "auto" ? { truncation } : {}),
      ...(user == null || user === "" ? {} : { userId: user }),
    },
    returnDocuments: returned ?? false,
  };
}

export function renderRanking({ producer, results, promptTokens }: Ranking, call: RerankCall): JsonObject {
  return {
    object: "list",
    model: producer.model,
    results: results.map(({ index, score }) =>
      defined({
        index,
        relevance_score: score,
        document: call.returnDocuments ? { text: call.request.documents[index] } : undefined,
      }),
    ),
    usage: renderVectorUsage(promptTokens),
    snug: renderProducer(producer),
  };
}

export function renderRerankBody(request: RerankRequest): JsonObject {
  const { model, query, documents, topN, truncation, userId } = request;
  return defined({ model, query, documents, top_n: topN, truncation, user: userId });
}

/** @throws AppError engine_unavailable for an answer that is none */
export function readRanking(body: unknown, request: RerankRequest, fallback: Producer): Omit<Ranking, "timings"> {
  const answer = asObject(body);
  const listed = Array.isArray(answer?.results) ? answer.results : [];
  const results = listed.flatMap((value) => {
    const { index, relevance_score: score } = asObject(value) ?? {};
    const known =
      typeof index === "number" && Number.isInteger(index) && index >= 0 && index < request.documents.length;
    return known && typeof score === "number" ? [{ index, score }] : [];
  });
  if (answer === undefined || results.length === 0) {
    throw new AppError("engine_unavailable", "The engine's answer holds no scores.");
  }
  results.sort((left, right) => right.score - left.score);
  const { promptTokens } = parseUsage(answer.usage) ?? {};
  return {
    producer: parseProducer(answer, fallback),
    results: results.slice(0, request.topN ?? results.length),
    ...(promptTokens === undefined ? {} : { promptTokens }),
  };
}
