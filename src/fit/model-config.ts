/** A Hugging Face `config.json` as GGUF metadata: the same facts under llama.cpp's names. */
import { AppError } from "../core/errors.ts";
import { architectureOf } from "./model-config-architectures.ts";
import { ConfigReader } from "./model-config-reader.ts";
import { addSpecials } from "./model-config-specials.ts";
import type { TensorHints } from "./shapes-list.ts";

export interface ConfigMetadata {
  /** GGUF keys with the architecture's prefix. */
  metadata: Record<string, unknown>;
  hints: Partial<TensorHints>;
  assumptions: string[];
}

/** Names a fact goes by in different families, most usual first. */
const COMMON: readonly (readonly [ggufKey: string, ...configKeys: string[]])[] = [
  ["embedding_length", "hidden_size", "n_embd", "d_model", "dim", "model_dim"],
  ["block_count", "num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_transformer_layers"],
  ["attention.head_count", "num_attention_heads", "n_head", "n_heads", "num_query_heads"],
  [
    "attention.head_count_kv",
    "num_key_value_heads",
    "num_kv_heads",
    "n_kv_heads",
    "n_head_kv",
    "multi_query_group_num",
  ],
  ["feed_forward_length", "intermediate_size", "ffn_hidden_size", "n_inner", "ffn_dim", "hidden_dim"],
  ["vocab_size", "padded_vocab_size", "vocab_size"],
  [
    "context_length",
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_seq_len",
    "seq_length",
    "model_max_length",
  ],
  ["attention.sliding_window", "sliding_window", "sliding_window_size", "window_size"],
  ["expert_count", "num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"],
  [
    "expert_used_count",
    "num_experts_per_tok",
    "num_experts_per_token",
    "moe_k",
    "moe_topk",
    "top_k_experts",
    "moe_top_k",
  ],
  ["expert_feed_forward_length", "moe_intermediate_size", "expert_intermediate_size", "moe_ffn_hidden_size"],
  ["expert_shared_count", "n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts"],
  ["expert_shared_feed_forward_length", "shared_expert_intermediate_size", "moe_shared_expert_intermediate_size"],
  ["leading_dense_block_count", "first_k_dense_replace", "num_dense_layers", "moe_layer_start_index"],
  ["attention.q_lora_rank", "q_lora_rank"],
  ["attention.kv_lora_rank", "kv_lora_rank"],
  ["attention.indexer.head_count", "index_n_heads"],
  ["attention.indexer.key_length", "index_head_dim"],
  ["full_attention_interval", "full_attention_interval"],
  ["embedding_length_per_layer_input", "hidden_size_per_layer_input"],
  ["attention.shared_kv_layers", "num_kv_shared_layers"],
];

/** Reads `config`; a multimodal model's text part is taken. Throws `invalid_request`. */
export function metadataFromConfig(config: Readonly<Record<string, unknown>>): ConfigMetadata {
  if (typeof config !== "object" || config === null || Array.isArray(config)) {
    throw new AppError("invalid_request", "config must be the object in a Hugging Face config.json.", {
      param: "config",
    });
  }
  const reader = new ConfigReader(config);
  const { architecture, guessed } = architectureOf(reader);
  const metadata: Record<string, unknown> = { "general.architecture": architecture };
  const set = (key: string, value: unknown) => {
    if (value !== undefined && value !== null) metadata[`${architecture}.${key}`] = value;
  };
  for (const [ggufKey, ...configKeys] of COMMON) set(ggufKey, reader.number(...configKeys));
  addHeadLengths(reader, set);
  addLayerTypes(reader, set);
  if (reader.flag("use_sliding_window") === false) set("attention.sliding_window", 0);
  const hints: Partial<TensorHints> = {};
  const tied = reader.flag("tie_word_embeddings");
  if (tied !== undefined) hints.tiedEmbeddings = tied;
  else if (!guessed) hints.tiedEmbeddings = TIED_BY_DEFAULT.has(architecture);
  addRopeFactors(reader, hints);
  addSpecials({ reader, architecture, set, hints });
  const assumptions: string[] = [];
  if (guessed)
    assumptions.push(
      `"${reader.modelType ?? "This model"}" is a type not known here; it is taken to be built like Llama.`,
    );
  if (reader.hasVision) assumptions.push("Only the language part is counted; the vision or audio part comes on top.");
  return { metadata, hints, assumptions };
}

/** Configurations that leave `tie_word_embeddings` out and tie all the same (the classes' defaults). */
const TIED_BY_DEFAULT = new Set([
  "gemma",
  "gemma2",
  "gemma3",
  "gemma3n",
  "gemma4",
  "command-r",
  "cohere2",
  "lfm2",
  "lfm2moe",
  "starcoder2",
  "mamba",
  "falcon",
]);

function addHeadLengths(reader: ConfigReader, set: (key: string, value: unknown) => void): void {
  const head = reader.number("head_dim", "attention_head_dim", "kv_channels");
  const rope = reader.number("qk_rope_head_dim");
  const nope = reader.number("qk_nope_head_dim");
  const value = reader.number("v_head_dim");
  const rank = reader.number("kv_lora_rank");
  if (rope !== undefined && nope !== undefined && value !== undefined && rank !== undefined) {
    set("rope.dimension_count", rope);
    set("attention.key_length_mla", nope + rope);
    set("attention.value_length_mla", value);
    // What is cached: one row of the latent and the rotary part.
    set("attention.key_length", rank + rope);
    set("attention.value_length", rank);
    return;
  }
  set("attention.key_length", head);
  set("attention.value_length", value ?? head);
  const fraction = reader.real("partial_rotary_factor", "rotary_pct");
  const heads = reader.number("num_attention_heads", "n_head");
  const width = reader.number("hidden_size", "n_embd");
  const full = head ?? (heads && width ? Math.floor(width / heads) : undefined);
  if (full !== undefined && fraction !== undefined) set("rope.dimension_count", Math.floor(full * fraction));
}

function addLayerTypes(reader: ConfigReader, set: (key: string, value: unknown) => void): void {
  const types = reader.texts("layer_types");
  if (types === undefined) {
    const period = reader.number("sliding_window_pattern", "_sliding_window_pattern", "layer_switch");
    if (period !== undefined) set("attention.sliding_window_pattern", period);
    return;
  }
  if (types.some((type) => type.includes("sliding"))) {
    set(
      "attention.sliding_window_pattern",
      types.map((type) => type.includes("sliding")),
    );
  }
  if (types.some((type) => type.includes("linear"))) {
    set(
      "attention.recurrent_layers",
      types.map((type) => type.includes("linear")),
    );
  }
}

function addRopeFactors(reader: ConfigReader, hints: Partial<TensorHints>): void {
  const scaling = reader.object("rope_scaling") ?? reader.object("rope_parameters");
  const kind = scaling?.rope_type ?? scaling?.type;
  if (kind === "llama3") hints.ropeFactors = "freqs";
  if (kind === "longrope" || kind === "su") hints.ropeFactors = "longrope";
}
