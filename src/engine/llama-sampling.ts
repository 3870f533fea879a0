/** A request's sampling parameters as node-llama-cpp takes them. */
import { randomInt } from "node:crypto";
import { type LlamaModel, type SequenceEvaluateOptions, type Token, TokenBias } from "node-llama-cpp";
import type { ChatRequest } from "../core/chat.ts";
import { penaltyTokensMax } from "../core/limits.ts";
import { requireTokensBelow } from "./known-tokens.ts";

/** What llama.cpp's own server samples with when a request does not say; cuts the improbable tail small models have. */
export const samplingDefaults = { temperature: 0.8, topP: 0.95, topK: 40, minP: 0.05 } as const;

export interface Sampling {
  options: SequenceEvaluateOptions;
  /** Tells of a token of the answer: penalties look back on them. */
  note(token: Token): void;
}

export function createSampling(request: ChatRequest, model: LlamaModel): Sampling {
  const { temperature, topP, topK, minP, seed, repeatPenalty, presencePenalty, frequencyPenalty } = request;
  const answered: Token[] = [];
  const penalised = (repeatPenalty ?? 1) !== 1 || (presencePenalty ?? 0) !== 0 || (frequencyPenalty ?? 0) !== 0;
  return {
    options: {
      temperature: temperature ?? samplingDefaults.temperature,
      topP: topP ?? samplingDefaults.topP,
      topK: topK ?? samplingDefaults.topK,
      minP: minP ?? samplingDefaults.minP,
      // Left to itself the library takes the time in seconds: two users in one second would get the same dice.
      seed: seed === undefined ? randomInt(2 ** 32) : seed >>> 0,
      ...(penalised
        ? {
            repeatPenalty: {
              punishTokens: () => answered,
              maxPunishTokens: penaltyTokensMax,
              // The library's own default is not 1.
              penalty: repeatPenalty ?? 1,
              presencePenalty: presencePenalty ?? 0,
              frequencyPenalty: frequencyPenalty ?? 0,
            },
          }
        : {}),
      ...(request.logitBias === undefined ? {} : { tokenBias: biasOf(request.logitBias, model) }),
    },
    note(token) {
      if (!penalised) return;
      answered.push(token);
      if (answered.length > penaltyTokensMax) answered.shift();
    },
  };
}

/** @throws AppError invalid_request for a token the model does not have */
export function requireKnownTokens(request: ChatRequest, model: LlamaModel): void {
  requireTokensBelow(model.fileInfo.metadata.tokenizer.ggml.tokens.length, request);
}

/** The library skips tokens that end an answer: they cannot be biased. */
function biasOf(logitBias: Record<number, number>, model: LlamaModel): TokenBias {
  const bias = TokenBias.for(model);
  for (const [id, logit] of Object.entries(logitBias)) bias.set(Number(id) as Token, { logit });
  return bias;
}
