/** What single families write in config.json their own way. */
import type { ConfigReader } from "./model-config-reader.ts";
import type { TensorHints } from "./shapes-list.ts";

export interface SpecialContext {
  reader: ConfigReader;
  architecture: string;
  /** Sets a GGUF key under the architecture's prefix; undefined is ignored. */
  set: (key: string, value: unknown) => void;
  hints: Partial<TensorHints>;
}

/** Adds or corrects what the common reading cannot know. */
export function addSpecials(context: SpecialContext): void {
  SPECIALS[context.architecture]?.(context);
}

const SPECIALS: Readonly<Record<string, (context: SpecialContext) => void>> = {
  llama: biases,
  granite: biases,
  mistral3: biases,
  internlm2: biases,
  qwen35: deltaNet,
  qwen35moe: deltaNet,
  qwen3next: deltaNet,
  gemma3: ({ reader, set }) => {
    set("attention.key_length", reader.number("head_dim") ?? 256);
    set("attention.value_length", reader.number("head_dim") ?? 256);
    set("attention.head_count", reader.number("num_attention_heads") ?? 8);
    set("attention.head_count_kv", reader.number("num_key_value_heads") ?? 4);
    set("vocab_size", reader.number("vocab_size") ?? 262_208);
    set("context_length", reader.number("max_position_embeddings") ?? 131_072);
  },
  gemma4,
  llama4: ({ reader, set }) => {
    // The dense blocks have their own width; "intermediate_size" is the experts'.
    set("expert_feed_forward_length", reader.number("intermediate_size"));
    set("feed_forward_length", reader.number("intermediate_size_mlp"));
    set("interleave_moe_layer_step", reader.number("interleave_moe_layer_step") ?? 1);
  },
  deepseek2: deepseek,
  deepseek32: deepseek,
  "glm-dsa": deepseek,
  glm4moe: ({ reader, set }) => addNextn(reader, set),
  mimo2: ({ reader, set }) => addNextn(reader, set),
  "gpt-oss": ({ reader, set }) => set("expert_feed_forward_length", reader.number("intermediate_size")),
  "minimax-m2": ({ reader, set }) => set("expert_feed_forward_length", reader.number("intermediate_size")),
  granitehybrid: graniteHybrid,
  granitemoe: ({ reader, set }) => set("expert_shared_feed_forward_length", reader.number("shared_intermediate_size")),
  "falcon-h1": mamba2Keys,
  mamba2: mamba2Keys,
  nemotron_h: nemotronH,
  nemotron_h_moe: nemotronH,
  mamba: mamba1,
  lfm2,
  lfm2moe: lfm2,
  jamba,
  falcon: ({ reader, set, hints }) => {
    const width = reader.number("hidden_size") ?? 0;
    set("feed_forward_length", reader.number("ffn_hidden_size") ?? 4 * width);
    if (reader.flag("new_decoder_architecture")) hints.secondAttnNorm = true;
    else if (reader.flag("multi_query") ?? true) set("attention.head_count_kv", 1);
    set("context_length", reader.number("max_position_embeddings") ?? 2048);
    hints.tiedEmbeddings = true;
  },
  phi3: ({ reader, set }) => set("context_length", reader.number("max_position_embeddings")),
  phimoe: ({ hints }) => {
    hints.ropeFactors = "longrope";
  },
  deci,
  starcoder: ({ reader, set }) => {
    if (reader.flag("multi_query") ?? true) set("attention.head_count_kv", 1);
    set("feed_forward_length", reader.number("n_inner") ?? 4 * (reader.number("n_embd") ?? 0));
  },
  "ernie4_5-moe": ({ reader, set }) => {
    const shared = reader.number("moe_num_shared_experts") ?? 0;
    const width = reader.number("moe_intermediate_size") ?? 0;
    set("expert_shared_count", shared);
    set("expert_shared_feed_forward_length", shared * width);
  },
};

function biases({ reader, hints }: SpecialContext): void {
  const bias = reader.flag("attention_bias") ?? reader.flag("bias");
  if (bias !== undefined) hints.qkvBias = bias;
}

function addNextn(reader: ConfigReader, set: SpecialContext["set"]): void {
  const extra = reader.number("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules") ?? 0;
  const blocks = reader.number("num_hidden_layers");
  if (extra <= 0 || blocks === undefined) return;
  set("block_count", blocks + extra);
  set("nextn_predict_layers", extra);
}

function deltaNet({ reader, set }: SpecialContext): void {
  const head = reader.number("linear_value_head_dim", "linear_key_head_dim") ?? 128;
  const values = reader.number("linear_num_value_heads") ?? 32;
  set("ssm.conv_kernel", reader.number("linear_conv_kernel_dim") ?? 4);
  set("ssm.state_size", reader.number("linear_key_head_dim") ?? 128);
  set("ssm.group_count", reader.number("linear_num_key_heads") ?? 16);
  set("ssm.time_step_rank", values);
  set("ssm.inner_size", head * values);
  set("attention.key_length", reader.number("head_dim") ?? 256);
  set("attention.value_length", reader.number("head_dim") ?? 256);
  extendLayerTypes(reader, set);
}

/** MTP blocks follow the listed ones and attend in full. */
function extendLayerTypes(reader: ConfigReader, set: SpecialContext["set"]): void {
  addNextn(reader, set);
  const extra = reader.number("num_nextn_predict_layers", "mtp_num_hidden_layers") ?? 0;
  const types = reader.texts("layer_types");
  if (types === undefined || extra <= 0) return;
  const linear = types.map((type) => type.includes("linear"));
  set("attention.recurrent_layers", [...linear, ...Array.from({ length: Math.min(extra, 16) }, () => false)]);
}

function gemma4({ reader, set }: SpecialContext): void {
  const types = reader.texts("layer_types") ?? [];
  const head = reader.number("head_dim") ?? 256;
  const headFull = reader.number("global_head_dim") ?? 512;
  set("attention.key_length", headFull);
  set("attention.value_length", headFull);
  set("attention.key_length_swa", head);
  set("attention.value_length_swa", head);
  set("rope.dimension_count", headFull);
  const kv = reader.number("num_key_value_heads");
  const kvFull = reader.number("num_global_key_value_heads");
  if (kv !== undefined && kvFull !== undefined && types.length > 0) {
    set(
      "attention.head_count_kv",
      types.map((type) => (type.includes("sliding") ? kv : kvFull)),
    );
  }
  const width = reader.number("intermediate_size");
  const blocks = reader.number("num_hidden_layers");
  const shared = reader.number("num_kv_shared_layers") ?? 0;
  if (reader.flag("use_double_wide_mlp") && width !== undefined && blocks !== undefined && blocks <= 512) {
    set(
      "feed_forward_length",
      Array.from({ length: blocks }, (_, index) => (index < blocks - shared ? width : 2 * width)),
    );
  }
}

function deepseek({ reader, set }: SpecialContext): void {
  // Version 2 scores experts by softmax and says so; later models that leave it out use the sigmoid.
  set("expert_gating_func", reader.text("scoring_func") === "softmax" ? 1 : 2);
  set("attention.head_count_kv", 1);
  addNextn(reader, set);
}

function mamba2Keys({ reader, set }: SpecialContext): void {
  const width = reader.number("hidden_size", "d_model") ?? 0;
  const head = reader.number("mamba_d_head", "mamba_head_dim", "head_dim", "headdim") ?? 64;
  const heads = reader.number("mamba_n_heads", "mamba_num_heads", "num_heads");
  const inner = reader.number("mamba_d_ssm") ?? (heads === undefined ? undefined : heads * head);
  const settled = inner ?? width * (reader.number("mamba_expand", "expand") ?? 2);
  set("ssm.conv_kernel", reader.number("mamba_d_conv", "conv_kernel", "d_conv") ?? 4);
  set("ssm.state_size", reader.number("mamba_d_state", "ssm_state_size", "state_size", "d_state") ?? 128);
  set("ssm.group_count", reader.number("mamba_n_groups", "n_groups", "ngroups") ?? 1);
  set("ssm.inner_size", settled);
  set("ssm.time_step_rank", heads ?? Math.floor(settled / head));
}

function graniteHybrid(context: SpecialContext): void {
  const { reader, set } = context;
  mamba2Keys(context);
  const types = reader.texts("layer_types") ?? [];
  const kv = reader.number("num_key_value_heads") ?? 0;
  set(
    "attention.head_count_kv",
    types.map((type) => (type === "attention" ? kv : 0)),
  );
  const experts = reader.number("num_local_experts") ?? 0;
  const shared = reader.number("shared_intermediate_size");
  if (experts === 0) set("feed_forward_length", shared);
  else set("expert_shared_feed_forward_length", shared);
}

/** Nemotron H spells its blocks: M state, * attention, - or E feed-forward. */
function nemotronH(context: SpecialContext): void {
  const { reader, set, architecture } = context;
  mamba2Keys(context);
  const pattern = [...(reader.text("hybrid_override_pattern") ?? "")].slice(0, 512);
  const kv = reader.number("num_key_value_heads") ?? 0;
  const moe = architecture === "nemotron_h_moe";
  const width = moe ? reader.number("moe_intermediate_size") : reader.number("intermediate_size");
  set(
    "attention.head_count_kv",
    pattern.map((mark) => (mark === "*" ? kv : 0)),
  );
  set(
    "feed_forward_length",
    pattern.map((mark) => (mark === "-" || mark === "E" ? (width ?? 0) : 0)),
  );
  if (pattern.length > 0) set("block_count", pattern.length);
  set("attention.key_length", reader.number("attention_head_dim", "head_dim"));
  set("attention.value_length", reader.number("attention_head_dim", "head_dim"));
  set("moe_latent_size", reader.number("moe_latent_size"));
}

function mamba1({ reader, set }: SpecialContext): void {
  const width = reader.number("hidden_size", "d_model") ?? 0;
  set("ssm.conv_kernel", reader.number("conv_kernel", "d_conv") ?? 4);
  set("ssm.state_size", reader.number("state_size", "d_state") ?? 16);
  set("ssm.inner_size", reader.number("intermediate_size", "d_inner") ?? 2 * width);
  set("ssm.time_step_rank", reader.number("time_step_rank", "dt_rank") ?? Math.ceil(width / 16));
  set("attention.head_count", 0);
  set("feed_forward_length", 0);
}

function lfm2({ reader, set, architecture }: SpecialContext): void {
  const types = reader.texts("layer_types") ?? reader.texts("layer_types_") ?? [];
  const kv = reader.number("num_key_value_heads") ?? 0;
  if (types.length > 0)
    set(
      "attention.head_count_kv",
      types.map((type) => (type === "full_attention" ? kv : 0)),
    );
  set("shortconv.l_cache", reader.number("conv_L_cache") ?? 3);
  if (architecture === "lfm2") {
    let width = reader.number("block_ff_dim", "intermediate_size") ?? 0;
    if (reader.flag("block_auto_adjust_ff_dim")) {
      const multiple = reader.number("block_multiple_of") ?? 256;
      width = Math.floor((2 * width) / 3);
      width = Math.floor((reader.real("block_ffn_dim_multiplier") ?? 1) * width);
      width = multiple * Math.ceil(width / multiple);
    }
    set("feed_forward_length", width);
  }
}

function jamba({ reader, set }: SpecialContext): void {
  const blocks = Math.min(reader.number("num_hidden_layers") ?? 0, 512);
  const period = reader.number("attn_layer_period") ?? 8;
  const offset = reader.number("attn_layer_offset") ?? 4;
  const kv = reader.number("num_key_value_heads") ?? 8;
  set(
    "attention.head_count_kv",
    Array.from({ length: blocks }, (_, index) => (index % period === offset ? kv : 0)),
  );
  set("ssm.conv_kernel", reader.number("mamba_d_conv") ?? 4);
  set("ssm.state_size", reader.number("mamba_d_state") ?? 16);
  set("ssm.inner_size", (reader.number("mamba_expand") ?? 2) * (reader.number("hidden_size") ?? 0));
  set("ssm.time_step_rank", reader.number("mamba_dt_rank") ?? Math.ceil((reader.number("hidden_size") ?? 0) / 16));
  set("interleave_moe_layer_step", reader.number("expert_layer_period") ?? 2);
}

/** Pruned Llamas of NVIDIA list what each block kept. */
function deci({ reader, set }: SpecialContext): void {
  const configs = reader.list("block_configs");
  const heads = reader.number("num_attention_heads") ?? 0;
  const width = reader.number("hidden_size") ?? 0;
  if (configs === undefined) return;
  const kept = configs.slice(0, 512).map((one) => keptBlock(one, heads, width));
  set("block_count", kept.length);
  set(
    "attention.head_count",
    kept.map(({ heads }) => heads),
  );
  set(
    "attention.head_count_kv",
    kept.map(({ headsKv }) => headsKv),
  );
  set(
    "feed_forward_length",
    kept.map(({ feedForward }) => feedForward),
  );
}

function keptBlock(config: unknown, heads: number, width: number) {
  const { attention, ffn } = (typeof config === "object" && config !== null ? config : {}) as {
    attention?: { n_heads_in_group?: number | null; no_op?: boolean; replace_with_linear?: boolean };
    ffn?: { ffn_mult?: number | null; no_op?: boolean };
  };
  const group = attention?.n_heads_in_group;
  const kept = typeof group === "number" && group > 0;
  const multiple = ffn?.ffn_mult;
  return {
    heads: kept || attention?.replace_with_linear ? heads : 0,
    headsKv: kept ? Math.floor(heads / group) : 0,
    // NVIDIA's rule: two thirds of four widths times the multiplier, rounded up to 256.
    feedForward:
      typeof multiple === "number" && !ffn?.no_op ? 256 * Math.ceil(Math.floor((2 * multiple * width) / 3) / 256) : 0,
  };
}
