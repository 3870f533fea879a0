/**
 * What llama.cpp needs from a header and does not check kindly: some omissions end the whole process with an abort
 * instead of an error, so they are looked for before any native load.
 *
 * Source: loads of generated files with each key and tensor left out in turn, and the assertions in llama.cpp's
 * hyperparameter loader (release v0.5.0).
 */
import { AppError } from "../core/errors.ts";
import type { GgufHeader } from "./gguf.ts";
import type { GgufMetadata, GgufValue } from "./gguf-metadata.ts";

export interface MissingEntry {
  /** Metadata key or tensor name. */
  name: string;
  kind: "key" | "tensor";
  /** What llama.cpp does with a file like that: `abort` kills the process it runs in. */
  effect: "refusal" | "abort";
  /** "is missing", or why the value there cannot be. */
  problem: string;
}

/** llama.cpp's compile-time bounds; more layers or experts than these trip an assertion. */
const layersMax = 512;
const expertsMax = 1024;

/** What is missing or impossible, abort-worthy entries first. Empty for files that load. */
export function missingKeys(header: Pick<GgufHeader, "metadata" | "tensors">): MissingEntry[] {
  const { metadata } = header;
  const architecture = metadata["general.architecture"];
  if (typeof architecture !== "string" || architecture === "") return [missingKey("general.architecture", "refusal")];
  const facts = new HeaderQuestions(header, architecture);
  return [...layerProblems(facts), ...expertProblems(facts), ...shapeProblems(facts), ...tokenizerProblems(facts)].sort(
    (a, b) => Number(b.effect === "abort") - Number(a.effect === "abort"),
  );
}

/** Throws AppError `model_file_invalid` that names what is missing, or returns. */
export function requireLoadable(header: Pick<GgufHeader, "metadata" | "tensors">): void {
  const missing = missingKeys(header);
  if (missing.length === 0) return;
  const first = missing.slice(0, 4).map(({ name, problem }) => `${name} ${problem}`);
  const more = missing.length > first.length ? `, and ${missing.length - first.length} more` : "";
  throw new AppError(
    "model_file_invalid",
    `llama.cpp cannot load this file: ${first.join(", ")}${more}. Get another conversion of the model.`,
    { details: { missing } },
  );
}

class HeaderQuestions {
  readonly metadata: GgufMetadata;
  readonly architecture: string;
  readonly #tensors: GgufHeader["tensors"];

  constructor(header: Pick<GgufHeader, "metadata" | "tensors">, architecture: string) {
    this.metadata = header.metadata;
    this.architecture = architecture;
    this.#tensors = header.tensors;
  }

  key(name: string): string {
    return `${this.architecture}.${name}`;
  }

  has(name: string): boolean {
    return Object.hasOwn(this.metadata, this.key(name));
  }

  hasTensor(name: string): boolean {
    return this.#tensors.some((tensor) => tensor.name === name);
  }

  hasBlockTensor(pattern: RegExp): boolean {
    return this.#tensors.some((tensor) => tensor.name.startsWith("blk.") && pattern.test(tensor.name));
  }
}

function layerProblems(facts: HeaderQuestions): MissingEntry[] {
  const problems: MissingEntry[] = [];
  for (const name of ["context_length", "embedding_length"]) {
    if (!facts.has(name)) problems.push(missingKey(facts.key(name), "refusal"));
  }
  if (!facts.has("block_count")) problems.push(missingKey(facts.key("block_count"), "refusal"));
  else problems.push(...outOfRange(facts, "block_count", 1, layersMax));
  if (facts.has("nextn_predict_layers")) {
    const blocks = facts.metadata[facts.key("block_count")];
    problems.push(...outOfRange(facts, "nextn_predict_layers", 0, typeof blocks === "number" ? blocks : layersMax));
  }
  return problems;
}

function expertProblems(facts: HeaderQuestions): MissingEntry[] {
  const problems: MissingEntry[] = [];
  const experts = facts.hasBlockTensor(/\.ffn_(?:down|up|gate)_exps\./);
  if (experts && !facts.has("expert_count")) problems.push(missingKey(facts.key("expert_count"), "abort"));
  if (facts.has("expert_count")) problems.push(...outOfRange(facts, "expert_count", 0, expertsMax));
  const count = facts.metadata[facts.key("expert_count")];
  if (typeof count !== "number" || count <= 0) return problems;
  if (!facts.has("expert_used_count")) problems.push(missingKey(facts.key("expert_used_count"), "abort"));
  else problems.push(...outOfRange(facts, "expert_used_count", 0, count));
  return problems;
}

function shapeProblems(facts: HeaderQuestions): MissingEntry[] {
  const problems: MissingEntry[] = [];
  if (facts.hasBlockTensor(/\.attn_(?:q|qkv|q_a|kv_a_mqa)\.weight$/)) {
    if (!facts.has("attention.head_count")) problems.push(missingKey(facts.key("attention.head_count"), "abort"));
    else if (isAllZero(facts.metadata[facts.key("attention.head_count")])) {
      problems.push({ name: facts.key("attention.head_count"), kind: "key", effect: "abort", problem: "is 0" });
    }
  }
  const dense = facts.hasBlockTensor(/\.ffn_(?:down|up)\.weight$/);
  const experts = facts.hasBlockTensor(/\.ffn_down_exps\./) && !facts.has("expert_feed_forward_length");
  if ((dense || experts) && !facts.has("feed_forward_length")) {
    problems.push(missingKey(facts.key("feed_forward_length"), "abort"));
  }
  if (
    !["layer_norm_rms_epsilon", "layer_norm_epsilon", "group_norm_epsilon"].some((name) =>
      facts.has(`attention.${name}`),
    )
  ) {
    problems.push(missingKey(facts.key("attention.layer_norm_rms_epsilon"), "refusal"));
  }
  if (!facts.hasTensor("token_embd.weight")) {
    problems.push({ name: "token_embd.weight", kind: "tensor", effect: "refusal", problem: "is missing" });
  }
  return problems;
}

function tokenizerProblems(facts: HeaderQuestions): MissingEntry[] {
  const problems: MissingEntry[] = [];
  const model = facts.metadata["tokenizer.ggml.model"];
  if (model === undefined) return [missingKey("tokenizer.ggml.model", "refusal")];
  if (model === "none" || model === "no_vocab") return [];
  if (facts.metadata["tokenizer.ggml.tokens"] === undefined)
    problems.push(missingKey("tokenizer.ggml.tokens", "refusal"));
  if (model === "gpt2" && facts.metadata["tokenizer.ggml.merges"] === undefined) {
    problems.push(missingKey("tokenizer.ggml.merges", "refusal"));
  }
  if (model === "bert" && facts.metadata["tokenizer.ggml.token_type_count"] === undefined) {
    problems.push(missingKey("tokenizer.ggml.token_type_count", "refusal"));
  }
  return problems;
}

function missingKey(name: string, effect: MissingEntry["effect"]): MissingEntry {
  return { name, kind: "key", effect, problem: "is missing" };
}

function outOfRange(facts: HeaderQuestions, name: string, min: number, max: number): MissingEntry[] {
  const key = facts.key(name);
  const value = facts.metadata[key];
  if (value === undefined || (typeof value === "object" && Array.isArray(value))) return [];
  if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) return [];
  return [
    { name: key, kind: "key", effect: "abort", problem: `is ${String(value).slice(0, 20)}, not ${min} to ${max}` },
  ];
}

function isAllZero(value: GgufValue | undefined): boolean {
  return value === 0 || (Array.isArray(value) && value.every((item) => item === 0));
}
