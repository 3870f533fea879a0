/** A request's sampling parameters as node-llama-cpp takes them. */
import { randomInt } from "node:crypto";
import {
  type LlamaGrammarEvaluationState,
  type LlamaModel,
  type SequenceEvaluateOptions,
  type Token,
  TokenBias,
} from "node-llama-cpp";
import type { ChatRequest } from "../core/chat.ts";
import { penaltyTokensMax } from "../core/limits.ts";
import { requireTokensBelow } from "./known-tokens.ts";
import type { BoundSequence, NativeSampler } from "./llama-binding.ts";
import type { StepSampler } from "./llama-steps.ts";

/** What llama.cpp's own server samples with when a request does not say; cuts the improbable tail small models have. */
export const samplingDefaults = { temperature: 0.8, topP: 0.95, topK: 40, minP: 0.05 } as const;

/** What a token is drawn by, from the first of an answer to its last: it remembers them, penalties look back on them. */
export class TokenSampler implements StepSampler {
  readonly native: NativeSampler;
  readonly probabilities: boolean;
  readonly #sequence: BoundSequence;
  readonly #options: SequenceEvaluateOptions;
  readonly #grammar: () => LlamaGrammarEvaluationState | undefined;
  /** What it is set to, once it is. */
  #set: { grammar: LlamaGrammarEvaluationState | undefined } | undefined;
  readonly #drawn: Token[] = [];

  /** @param grammar the one in force, which may change between tokens */
  constructor(
    sequence: BoundSequence,
    options: SequenceEvaluateOptions,
    {
      probabilities = false,
      grammar = () => undefined,
    }: Partial<Pick<TokenSampler, "probabilities">> & {
      grammar?: () => LlamaGrammarEvaluationState | undefined;
    } = {},
  ) {
    this.native = sequence.createSampler();
    this.probabilities = probabilities;
    this.#sequence = sequence;
    this.#options = options;
    this.#grammar = grammar;
  }

  prepare(): void {
    const grammar = this.#grammar();
    if (this.#set !== undefined && this.#set.grammar === grammar) return;
    const { repeatPenalty } = this.#options;
    const config = this.#sequence.samplerConfig({
      ...this.#options,
      ...(grammar === undefined ? {} : { grammarEvaluationState: grammar }),
      // Set anew without them, it would forget what it drew.
      ...(repeatPenalty === undefined ? {} : { repeatPenalty: { ...repeatPenalty, punishTokens: this.#drawn } }),
    });
    this.native.applyConfig(config);
    this.#set = { grammar };
  }

  /** After each draw. */
  note(token: Token): void {
    if (this.#options.repeatPenalty === undefined) return;
    this.#drawn.push(token);
    if (this.#drawn.length > penaltyTokensMax) this.#drawn.shift();
  }

  /** Not while a step draws with it. */
  dispose(): void {
    this.native.dispose();
  }
}

/** A request's sampling parameters. */
export function samplingOf(request: ChatRequest, model: LlamaModel): SequenceEvaluateOptions {
  const { temperature, topP, topK, minP, seed, repeatPenalty, presencePenalty, frequencyPenalty } = request;
  const penalised = (repeatPenalty ?? 1) !== 1 || (presencePenalty ?? 0) !== 0 || (frequencyPenalty ?? 0) !== 0;
  return {
    temperature: temperature ?? samplingDefaults.temperature,
    topP: topP ?? samplingDefaults.topP,
    topK: topK ?? samplingDefaults.topK,
    minP: minP ?? samplingDefaults.minP,
    // Left to itself the library takes the time in seconds: two users in one second would get the same dice.
    seed: seed === undefined ? randomInt(2 ** 32) : seed >>> 0,
    ...(penalised
      ? {
          repeatPenalty: {
            // None to begin with: the sampler notes what it draws.
            punishTokens: [],
            maxPunishTokens: penaltyTokensMax,
            // The library's own default is not 1.
            penalty: repeatPenalty ?? 1,
            presencePenalty: presencePenalty ?? 0,
            frequencyPenalty: frequencyPenalty ?? 0,
          },
        }
      : {}),
    ...(request.logitBias === undefined ? {} : { tokenBias: biasOf(request.logitBias, model) }),
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
