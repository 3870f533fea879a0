/** Shapes in few words, as `data/models.json` and the typical shapes by size write them, turned into GGUF metadata. */
import type { PerLayer } from "./model-keys.ts";
import { traitsOf } from "./model-traits.ts";
import type { TensorHints } from "./shapes-list.ts";

/** A model's shape. What is left out follows from the architecture. */
export interface ShapeFacts {
  /** `general.architecture`. */
  arch: string;
  /** Blocks of the main model. */
  layers: number;
  /** Multi-token-prediction blocks behind them, where files hold them. */
  mtp?: number;
  width: number;
  heads?: PerLayer;
  headsKv?: PerLayer;
  /** Head size of keys, and of values unless `headV` differs. */
  head?: number;
  headV?: number;
  /** Head size of sliding-window blocks. */
  headSwa?: number;
  /** Rotary dimensions, where fewer than the head's. */
  rope?: number;
  ffn?: PerLayer;
  vocab: number;
  context: number;
  /** [experts, used per token, width of one]. */
  experts?: readonly [number, number, number];
  /** Width of the shared experts together. */
  shared?: number;
  /** Leading blocks without experts. */
  dense?: number;
  /** Sliding window, tokens. */
  window?: number;
  /** Every n-th block attends to everything; or one mark a block: "f" full, "s" sliding. */
  pattern?: number | string;
  /** Blocks at the end that read an earlier block's cache. */
  sharedKv?: number;
  /** [query rank (0: none), key-value rank, rotary, key length, value length] of latent attention. */
  mla?: readonly [number, number, number, number, number];
  /** [convolution, inner, state, time step rank, groups]. */
  ssm?: readonly [number, number, number, number, number];
  /** Embedding length per layer (Gemma). */
  perLayer?: number;
  tied?: boolean;
  ropeFactors?: "freqs" | "longrope";
  qkvBias?: boolean;
  qkNorm?: boolean;
  secondAttnNorm?: boolean;
  ssmNorm?: boolean;
  /** Further GGUF keys, without the architecture's prefix. */
  keys?: Readonly<Record<string, number | readonly number[]>>;
}

/** The facts as GGUF metadata, and what metadata cannot say. */
export function metadataOfFacts(facts: ShapeFacts): { metadata: Record<string, unknown>; hints: Partial<TensorHints> } {
  const { arch, mtp = 0 } = facts;
  const metadata: Record<string, unknown> = { "general.architecture": arch };
  const set = (key: string, value: unknown) => {
    if (value !== undefined) metadata[`${arch}.${key}`] = value;
  };
  set("block_count", facts.layers + mtp);
  set("nextn_predict_layers", mtp > 0 ? mtp : undefined);
  set("embedding_length", facts.width);
  set("attention.head_count", spread(facts.heads, mtp));
  set("attention.head_count_kv", spread(facts.headsKv, mtp));
  set("attention.key_length", facts.head);
  set("attention.value_length", facts.headV ?? facts.head);
  set("attention.key_length_swa", facts.headSwa);
  set("attention.value_length_swa", facts.headSwa);
  set("rope.dimension_count", facts.rope);
  set("feed_forward_length", spread(facts.ffn, mtp));
  set("vocab_size", facts.vocab);
  set("context_length", facts.context);
  addExperts(facts, set);
  addAttention(facts, set);
  for (const [key, value] of Object.entries(facts.keys ?? {})) set(key, value);
  return { metadata, hints: hintsOf(facts) };
}

type Setter = (key: string, value: unknown) => void;

function addExperts({ arch, experts, shared, dense }: ShapeFacts, set: Setter): void {
  set("expert_count", experts?.[0]);
  set("expert_used_count", experts?.[1]);
  set("expert_feed_forward_length", experts?.[2]);
  if (shared !== undefined) {
    const width = experts?.[2] ?? shared;
    const count = shared % width === 0 ? shared / width : 1;
    set("expert_shared_count", count);
    set("expert_shared_feed_forward_length", traitsOf(arch).sharedWidthIsPerExpert ? shared / count : shared);
  }
  set("leading_dense_block_count", dense);
}

function addAttention({ window, pattern, sharedKv, mla, ssm, perLayer }: ShapeFacts, set: Setter): void {
  set("attention.sliding_window", window);
  set(
    "attention.sliding_window_pattern",
    typeof pattern === "string" ? [...pattern].map((mark) => mark === "s") : pattern,
  );
  set("attention.shared_kv_layers", sharedKv);
  set("embedding_length_per_layer_input", perLayer);
  if (mla !== undefined) {
    if (mla[0] > 0) set("attention.q_lora_rank", mla[0]);
    set("attention.kv_lora_rank", mla[1]);
    set("rope.dimension_count", mla[2]);
    set("attention.key_length_mla", mla[3]);
    set("attention.value_length_mla", mla[4]);
    // What is cached: one row of the latent and the rotary part.
    set("attention.key_length", mla[1] + mla[2]);
    set("attention.value_length", mla[1]);
  }
  if (ssm !== undefined) {
    const names = ["conv_kernel", "inner_size", "state_size", "time_step_rank", "group_count"];
    names.forEach((name, index) => {
      set(`ssm.${name}`, ssm[index]);
    });
  }
}

/** Lists name the main blocks; an MTP block is built like the last of them that attends. */
function spread(value: PerLayer | undefined, mtp: number): PerLayer | undefined {
  if (value === undefined || typeof value === "number" || mtp === 0) return value;
  const last = [...value].reverse().find((one) => one > 0) ?? 0;
  return [...value, ...Array.from({ length: mtp }, () => last)];
}

function hintsOf(facts: ShapeFacts): Partial<TensorHints> {
  const hints: Partial<TensorHints> = {};
  if (facts.tied !== undefined) hints.tiedEmbeddings = facts.tied;
  if (facts.ropeFactors !== undefined) hints.ropeFactors = facts.ropeFactors;
  if (facts.qkvBias !== undefined) hints.qkvBias = facts.qkvBias;
  if (facts.qkNorm !== undefined) hints.qkNorm = facts.qkNorm;
  if (facts.ssmNorm !== undefined) hints.ssmNorm = facts.ssmNorm;
  if (facts.secondAttnNorm !== undefined) hints.secondAttnNorm = facts.secondAttnNorm;
  return hints;
}
