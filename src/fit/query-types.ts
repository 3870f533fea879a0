/** A question about fitting, understood. Plain data: it crosses process borders as JSON. */
import type { Locale } from "../core/errors.ts";
import type { Backend, Hardware, Wish } from "./types.ts";

/** A sentence or label in every language the product speaks. */
export type Localized = Record<Locale, string>;

/** Software that would run the model; "snug" and the llama.cpp family read GGUF files. */
export type Framework = "snug" | "llama.cpp" | "ollama" | "lmstudio" | "transformers" | "vllm" | "tensorrt-llm" | "mlx";

/** What the model is for; steers recommendations, never arithmetic. */
export type Purpose = "chat" | "code" | "long" | "fast";

/** The model a question names. */
export type ModelReference =
  /** A row of the catalogue, by its name. */
  | { kind: "catalogue"; name: string }
  /** A family without a size ("qwen3"): the answer picks among `candidates`, names of catalogue rows. */
  | { kind: "family"; name: string; candidates: readonly string[] }
  /** Only a size ("13b"): planned as a typical model of that size. Counts of parameters. */
  | { kind: "size"; parameterCount: number; activeParameterCount?: number; name?: string }
  /**
   * A GGUF file: `hf:owner/repo[:file]`, a URL, or a path. Its name suggests the catalogue's row and the quantization,
   * for when the file itself cannot be read.
   */
  | { kind: "gguf"; location: string; catalogueName?: string; quantization?: string };

/**
 * `fit`: this model on this hardware. `models`: what runs on this hardware. `hardware`: what this model needs.
 * `term`: what a word means.
 */
export type QueryKind = "fit" | "models" | "hardware" | "term";

export interface FitsQuery {
  kind: QueryKind;
  /** As typed, trimmed. */
  text: string;
  /** Chinese when the question holds Chinese characters. */
  locale: Locale;
  model?: ModelReference;
  hardware?: Hardware;
  wish: Wish;
  framework?: Framework;
  /** Compute backend asked for by name. */
  backend?: Backend;
  purpose?: Purpose;
  /** The model is to read pictures too. */
  vision?: true;
  /** Generation speed asked for, tokens per second. */
  decodeTokensPerSecondMin?: number;
  /** Prompt length the speed is asked at, tokens. */
  promptTokens?: number;
  /** Glossary ids, for `term`; two for "X vs Y". */
  terms?: readonly string[];
  /** The question as understood, in one line. */
  echo: Localized;
  /** What was ambiguous and how it was resolved, or what was left out; empty when all was plain. */
  notes: readonly Localized[];
}
