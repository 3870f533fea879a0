/** What the llama child can do beside answering, on a model nobody else uses: measure speed, judge predictions, quantize. */
import type { LlamaMix } from "../fit/quantization-rules.ts";

/** How fast prompts are read and tokens written, at one depth, by several sequences at once. */
export interface MeasureTask {
  kind: "measure";
  /** Tokens in the cache of every sequence before it writes. */
  depthTokens: number;
  /** Written by every sequence. */
  decodeTokens: number;
  /** At most what the model was loaded with. */
  sequenceCount: number;
}

/** All sequences together; milliseconds of the child's own clock. */
export interface MeasuredSpeed {
  depthTokens: number;
  sequenceCount: number;
  prefillTokens: number;
  prefillMs: number;
  decodeTokens: number;
  decodeMs: number;
}

/**
 * How well the model predicts a text it is given, in windows: each begins empty, and its second half is scored, as
 * llama.cpp's perplexity tool does.
 */
export interface ScoreTask {
  kind: "score";
  texts: readonly { id: string; text: string }[];
  windowTokens: number;
  /** Most tokens to score, shared out evenly over the texts. */
  tokensMax: number;
  /** Where the log-probabilities of every token are kept for later models, or come from for this one. */
  reference?: { mode: "write" | "read"; path: string };
}

export interface TextScore {
  tokens: number;
  /** e to the mean negative log-probability of the tokens. */
  perplexity: number;
}

export interface ScoreResult extends TextScore {
  /** Of the perplexity, one standard error. */
  perplexityError: number;
  texts: ({ id: string } & TextScore)[];
  /** From the reference's distribution to this model's, nats; with mode "read". */
  divergence?: Divergence;
}

export interface Divergence {
  mean: number;
  standardError: number;
  /** 99 of 100 tokens lie below. */
  percentile99: number;
  max: number;
  /** Share of the tokens whose most probable successor is the reference's. */
  sameTopShare: number;
}

/** No model needs to be loaded. */
export interface QuantizeTask {
  kind: "quantize";
  source: string;
  target: string;
  quantization: LlamaMix;
}

export type ChildTask = MeasureTask | ScoreTask | QuantizeTask;

export interface TaskResults {
  measure: MeasuredSpeed;
  score: ScoreResult;
  quantize: { fileBytes: number };
}
