/** Tokens that requests name by number. */
import type { ChatRequest } from "../core/chat.ts";
import { AppError } from "../core/errors.ts";

/** @throws AppError invalid_request for a token the model does not have */
export function requireTokensBelow(vocabularySize: number, { logitBias = {} }: Pick<ChatRequest, "logitBias">): void {
  const unknown = Object.keys(logitBias).find((id) => Number(id) >= vocabularySize);
  if (unknown === undefined) return;
  const message = `logit_bias.${unknown} is no token of this model; its tokens are 0 to ${vocabularySize - 1}.`;
  throw new AppError("invalid_request", message, { param: `logit_bias.${unknown}` });
}
