/** What the llama child can do beside answering, on a model nobody else uses: measure speed, judge predictions, quantize. */
import type { QualityScore } from "../fit/compare-report.ts";
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
  /** Of all threads of the process: what others on the machine hardly change. */
  decodeCpuMs: number;
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

/** No model needs to be loaded. */
export interface QuantizeTask {
  kind: "quantize";
  source: string;
  target: string;
  quantization: LlamaMix;
}

/** Texts as vectors, on a model made for it; several at once wait for each other. */
export interface EmbedTask {
  kind: "embed";
  inputs: readonly string[];
  dimensions?: number | undefined;
  truncation?: "auto" | undefined;
}

export interface EmbedResult {
  /** Of length 1, as base64 of little-endian 32-bit floats. */
  vectors: string[];
  promptTokens: number;
}

export interface RerankTask {
  kind: "rerank";
  query: string;
  documents: readonly string[];
  truncation?: "auto" | undefined;
}

export interface RerankResult {
  /** 0 to 1, in the documents' order. */
  scores: number[];
  promptTokens: number;
}

export type ChildTask = MeasureTask | ScoreTask | QuantizeTask | EmbedTask | RerankTask;

export interface TaskResults {
  measure: MeasuredSpeed;
  score: QualityScore;
  quantize: { fileBytes: number };
  embed: EmbedResult;
  rerank: RerankResult;
}
