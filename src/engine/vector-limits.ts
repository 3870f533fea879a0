/** What requests for vectors and scores are refused with, whichever backend runs the model. */
import { AppError } from "../core/errors.ts";
import type { LoadedModel } from "./ipc.ts";

type Facts = Pick<LoadedModel, "task" | "contextLength">;

/** @param param the text at fault, as `input[3]` */
export function textTooLong(param: string, promptTokens: number, { contextLength }: Facts): AppError {
  const message = `${param} takes ${promptTokens} tokens and the model reads at most ${contextLength - 1} here; shorten it, or send truncation: "auto".`;
  return new AppError("context_length_exceeded", message, { param, details: { promptTokens, contextLength } });
}

/** @param own length of the model's vectors */
export function requireDimensions(dimensions: number | undefined, own: number): void {
  if (dimensions === undefined || dimensions <= own) return;
  throw new AppError("invalid_request", `dimensions is ${dimensions}; this model's vectors have ${own}.`, {
    param: "dimensions",
  });
}

/** @param route by which it can be asked */
export function cannotDo({ task }: Facts, what: string, route: string): AppError {
  const kind = task === "rerank" ? "is a reranker" : "makes embeddings";
  return new AppError("invalid_request", `This model ${kind} and cannot ${what}; ask it by ${route}.`, {
    param: "model",
  });
}

export function cannotChat(facts: Facts): AppError {
  return cannotDo(facts, "chat", facts.task === "rerank" ? "POST /v1/rerank" : "POST /v1/embeddings");
}

export function holdsNothing(param: string): AppError {
  return new AppError("invalid_request", `${param} holds nothing that this model reads; send some text.`, { param });
}
