/** The body of GET /v1/models, written and read. */
import type { ModelListing } from "../core/ports.ts";
import { asAmount, asObject, asText, defined, type JsonObject } from "./chat-wire.ts";

/**
 * OpenAI's list; `meta` under the names llama-server uses, and `snug` with what only we say.
 *
 * @param created seconds since the epoch; OpenAI's clients expect a number
 */
export function renderModels(listings: ModelListing[], created: number): JsonObject {
  return {
    object: "list",
    data: listings.map((listing) => ({
      id: listing.id,
      object: "model",
      created,
      owned_by: "snug",
      meta: defined({
        n_ctx: listing.contextLength,
        n_ctx_train: listing.contextLengthTrained,
        n_params: listing.parameterCount,
        size: listing.fileBytes,
      }),
      snug: defined({
        task: listing.task,
        quantization: listing.quantization,
        decode_tokens_per_second: listing.decodeTokensPerSecond,
        loaded: listing.loaded,
        demo: listing.demo,
      }),
    })),
  };
}

/** Reads the list of any OpenAI-compatible server; entries without an id are left out. */
export function parseModels(body: unknown): ModelListing[] {
  const list = asObject(body)?.data;
  if (!Array.isArray(list)) return [];
  return list.flatMap((entry) => {
    const model = asObject(entry);
    const id = asText(model?.id);
    if (model === undefined || id === undefined) return [];
    const meta = asObject(model.meta) ?? {};
    const snug = asObject(model.snug) ?? {};
    const listing: ModelListing = {
      id,
      ...defined({
        quantization: asText(snug.quantization),
        parameterCount: asAmount(meta.n_params),
        // vLLM's name is `max_model_len`.
        contextLength: asAmount(meta.n_ctx) ?? asAmount(model.max_model_len),
        contextLengthTrained: asAmount(meta.n_ctx_train),
        fileBytes: asAmount(meta.size),
        decodeTokensPerSecond: asAmount(snug.decode_tokens_per_second),
        task: snug.task === "embedding" || snug.task === "rerank" ? snug.task : undefined,
        demo: snug.demo === true ? true : undefined,
      }),
      loaded: snug.loaded !== false,
    };
    return [listing];
  });
}
