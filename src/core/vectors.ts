/** Texts as vectors, and documents in the order in which they answer a query: requests and answers that cross every hop. */
import type { Producer, ServiceTerms, Timings } from "./chat.ts";

export interface EmbeddingsRequest {
  model: string;
  /** At least one, none empty. */
  inputs: string[];
  /** First so many numbers of each vector, scaled to length 1 again; at most the model's own. */
  dimensions?: number;
  /** "auto": read the beginning of an input that is longer than the context; left out, that is an error. */
  truncation?: "auto";
  userId?: string;
  terms?: ServiceTerms;
}

export interface Embeddings {
  producer: Producer;
  /** One per input, in their order, each of length 1. */
  vectors: Float32Array[];
  promptTokens?: number;
  timings: Pick<Timings, "queueMs" | "totalMs">;
}

export interface RerankRequest {
  model: string;
  query: string;
  /** At least one. */
  documents: string[];
  /** Only the best so many. */
  topN?: number;
  /** As for embeddings; cut is the document, never the query. */
  truncation?: "auto";
  userId?: string;
  terms?: ServiceTerms;
}

export interface Ranking {
  producer: Producer;
  /** Best first. */
  results: { index: number; score: number }[];
  promptTokens?: number;
  timings: Pick<Timings, "queueMs" | "totalMs">;
}
