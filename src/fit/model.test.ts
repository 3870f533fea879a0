import { existsSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { AppError } from "../core/errors.ts";
import { MIB } from "../core/units.ts";
import { CATALOGUE_MODELS, findCatalogueModel, specFromCatalogue } from "./catalogue.ts";
import { specFromConfig, specFromGguf, specFromMetadata, specFromParameterCount } from "./model.ts";
import { metadataOfFacts } from "./shape-facts.ts";
import { countElements } from "./shapes.ts";
import type { AttentionKind, ModelSpec } from "./types.ts";

const f16 = 2;

function byName(name: string): ModelSpec {
  const model = CATALOGUE_MODELS.find((one) => one.name === name);
  if (model === undefined) throw new Error(`${name} is not in the catalogue`);
  return specFromCatalogue(model);
}

const count = (spec: ModelSpec, kind: AttentionKind) =>
  spec.layers.filter(({ attention }) => attention === kind).length;

/** Bytes a token takes in the layers of one kind, K and V at float16. */
function bytesPerToken(spec: ModelSpec, ...kinds: AttentionKind[]): number {
  let bytes = 0;
  for (const layer of spec.layers.slice(0, spec.layerCount)) {
    if (!kinds.includes(layer.attention)) continue;
    const elements = layer.attention === "mla" ? layer.keyLength : layer.keyLength + layer.valueLength;
    bytes += layer.headCountKv * elements * f16;
  }
  return bytes;
}

const stateBytes = (spec: ModelSpec) => spec.layers.reduce((sum, layer) => sum + (layer.recurrentStateBytes ?? 0), 0);

const llama = {
  "general.architecture": "llama",
  "general.name": "Test",
  "llama.block_count": 32,
  "llama.embedding_length": 4096,
  "llama.feed_forward_length": 14336,
  "llama.attention.head_count": 32,
  "llama.attention.head_count_kv": 8,
  "llama.context_length": 131072,
  "llama.vocab_size": 128256,
};

function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    return error instanceof AppError ? error.code : `not an AppError: ${String(error)}`;
  }
  return "no error";
}

describe("layers by attention kind", () => {
  it.each([
    ["Llama 3.1 8B", { full: 32 }],
    // llama.cpp gives these models' windows up: every layer keeps everything.
    ["Mistral 7B v0.1", { full: 32 }],
    ["Phi 3 Mini 4k", { full: 32 }],
    ["Gemma 2 9B", { sliding: 21, full: 21 }],
    ["Gemma 3 4B", { sliding: 29, full: 5 }],
    ["Gemma 3 27B", { sliding: 52, full: 10 }],
    ["Gemma 3n E4B", { sliding: 16, full: 4, shared: 15 }],
    ["Gemma 4 E4B", { sliding: 20, full: 4, shared: 18 }],
    ["Gemma 4 E2B", { sliding: 12, full: 3, shared: 20 }],
    ["Gemma 4 12B", { sliding: 40, full: 8 }],
    ["gpt-oss 120B", { sliding: 18, full: 18 }],
    ["Command R7B", { sliding: 24, full: 8 }],
    ["EXAONE 4.0 32B", { sliding: 48, full: 16 }],
    ["EXAONE 4.0 1.2B", { full: 30 }],
    ["Olmo 3 7B", { sliding: 24, full: 8 }],
    ["Llama 4 Scout 17B 16E", { chunked: 36, full: 12 }],
    ["DeepSeek V3 671B", { mla: 61 }],
    ["DeepSeek V2 Lite 16B", { mla: 27 }],
    ["GLM 4.7 Flash 30B A3B", { mla: 47 }],
    ["MiniCPM3 4B", { full: 62 }],
    ["Qwen3.5 9B", { recurrent: 24, full: 8 }],
    ["Qwen3.8 27B", { recurrent: 48, full: 17 }],
    ["Qwen3 Next 80B A3B", { recurrent: 36, full: 12 }],
    ["Kimi Linear 48B A3B", { recurrent: 20, mla: 7 }],
    ["Granite 4.0 H Tiny 7B A1B", { recurrent: 36, full: 4 }],
    ["Nemotron Nano 9B v2", { recurrent: 27, full: 4, none: 25 }],
    ["LFM2 1.2B", { recurrent: 10, full: 6 }],
    ["Jamba 1.5 Mini 52B", { recurrent: 28, full: 4 }],
    ["Falcon Mamba 7B", { recurrent: 64 }],
    ["Falcon H1 7B", { full: 44 }],
    ["BGE M3", { none: 24 }],
  ] as [string, Partial<Record<AttentionKind, number>>][])("%s has %j", (name, kinds) => {
    const spec = byName(name);
    const counted: Partial<Record<AttentionKind, number>> = {};
    for (const { attention } of spec.layers) counted[attention] = (counted[attention] ?? 0) + 1;
    expect(counted).toEqual(kinds);
  });

  it("a Falcon H1 block keeps rows and a state", () => {
    for (const layer of byName("Falcon H1 7B").layers) expect(layer.recurrentStateBytes).toBeGreaterThan(0);
  });

  it("a DeepSeek 3.2 block keeps an index row beside its latent row", () => {
    expect(byName("DeepSeek V3.2 671B").layers[0]).toMatchObject({
      attention: "mla",
      keyLength: 576,
      indexerKeyLength: 128,
    });
    expect(byName("DeepSeek V3 671B").layers[0]?.indexerKeyLength).toBeUndefined();
  });

  it("an MTP block attends in full behind the main ones", () => {
    const spec = byName("Qwen3.8 27B");
    expect(spec).toMatchObject({ layerCount: 64, mtpLayerCount: 1 });
    expect(spec.layers).toHaveLength(65);
    expect(spec.layers[64]).toMatchObject({ attention: "full", headCountKv: 4, ffn: "dense" });
    expect(spec.tensors.some(({ name }) => name === "blk.64.nextn.eh_proj.weight")).toBe(true);
  });

  it("leading blocks of an expert model are dense", () => {
    const { layers } = byName("DeepSeek V3 671B");
    expect(layers.slice(0, 4).map(({ ffn }) => ffn)).toEqual(["dense", "dense", "dense", "moe"]);
    expect(layers[0]?.feedForwardLength).toBe(18432);
    expect(layers[3]?.feedForwardLength).toBe(2048);
  });

  it("every second block of Llama 4 Maverick routes to experts, every block of Scout", () => {
    expect(
      byName("Llama 4 Maverick 17B 128E")
        .layers.slice(0, 4)
        .map(({ ffn }) => ffn),
    ).toEqual(["dense", "moe", "dense", "moe"]);
    expect(byName("Llama 4 Scout 17B 16E").layers.every(({ ffn }) => ffn === "moe")).toBe(true);
  });

  it("the pruned blocks of Nemotron Ultra keep nothing", () => {
    const spec = byName("Llama 3.1 Nemotron Ultra 253B");
    expect(spec.layers[9]).toMatchObject({ attention: "none", headCountKv: 0 });
    expect(count(spec, "full")).toBe(64);
  });
});

describe("KV cache", () => {
  it("Gemma 4 E4B keeps 228 MiB: 8192 cells in 4 layers, 2560 in 20", () => {
    const spec = byName("Gemma 4 E4B");
    expect(8192 * bytesPerToken(spec, "full") + 2560 * bytesPerToken(spec, "sliding")).toBe(228 * MIB);
  });

  it("Gemma 4 E2B keeps 96 MiB: 8192 cells in 3 layers, 4096 in 12", () => {
    const spec = byName("Gemma 4 E2B");
    expect(8192 * bytesPerToken(spec, "full") + 4096 * bytesPerToken(spec, "sliding")).toBe(96 * MIB);
  });

  it("Gemma 4 12B keeps 128 MiB in its full layers and 1920 MiB in 6144 cells of the others", () => {
    const spec = byName("Gemma 4 12B");
    expect(8192 * bytesPerToken(spec, "full")).toBe(128 * MIB);
    expect(6144 * bytesPerToken(spec, "sliding")).toBe(1920 * MIB);
  });

  it("DeepSeek V3 keeps 70,272 bytes a token, a file of the older form 4,997,120", () => {
    expect(bytesPerToken(byName("DeepSeek V3 671B"), "mla")).toBe(70_272);
    const { metadata } = metadataOfFacts(CATALOGUE_MODELS.find(({ name }) => name === "DeepSeek V3 671B")!.shape);
    const older: Record<string, unknown> = {
      ...metadata,
      "deepseek2.attention.head_count_kv": 128,
      "deepseek2.attention.key_length": 192,
      "deepseek2.attention.value_length": 128,
    };
    delete older["deepseek2.attention.key_length_mla"];
    delete older["deepseek2.attention.value_length_mla"];
    const spec = specFromMetadata(older);
    expect(bytesPerToken(spec, "full")).toBe(4_997_120);
    expect(8192 * bytesPerToken(spec, "full")).toBe(39_040 * MIB);
    expect(spec.tensors.some(({ name }) => name === "blk.0.attn_kv_b.weight")).toBe(true);
  });
});

describe("recurrent state", () => {
  it.each([
    ["Qwen3.5 2B", 1, 19.27],
    ["Qwen3.5 4B", 1, 50.25],
    ["Qwen3.5 9B", 1, 50.25],
    ["Qwen3.5 35B A3B", 1, 62.81],
    ["Qwen3.8 27B", 1, 149.62],
    // Two drafted tokens may have to be taken back: three states.
    ["Qwen3.8 27B", 3, 448.88],
    ["Qwen3.8 27B", 12, 1795.5],
  ])("%s keeps %d states in the MiB llama.cpp logs", (name, states, logged) => {
    expect(Math.abs((stateBytes(byName(name)) * states) / MIB - logged)).toBeLessThanOrEqual(0.006);
  });

  it.each([
    ["Kimi Linear 48B A3B", 4 * (3 * 3 * 4096 + 128 * 128 * 32)],
    ["LFM2 1.2B", 4 * 2 * 2048],
    ["Codestral Mamba 7B", 4 * (3 * (8192 + 2 * 8 * 128) + 128 * 8192)],
    ["Falcon Mamba 7B", 4 * (3 * 8192 + 16 * 8192)],
  ])("a block of %s keeps %d bytes", (name, bytes) => {
    expect(byName(name).layers.find(({ attention }) => attention === "recurrent")?.recurrentStateBytes).toBe(bytes);
  });

  it("an RWKV block keeps its token shift and its state matrix", () => {
    const spec = specFromMetadata({
      "general.architecture": "rwkv7",
      "rwkv7.block_count": 32,
      "rwkv7.embedding_length": 2560,
      "rwkv7.feed_forward_length": 10240,
      "rwkv7.attention.head_count": 0,
      "rwkv7.wkv.head_size": 64,
      "rwkv7.vocab_size": 65536,
    });
    expect(spec.layers[0]).toMatchObject({ attention: "recurrent", recurrentStateBytes: 4 * (2 * 2560 + 2560 * 64) });
    expect(spec.tensors.some(({ name }) => name === "blk.31.time_mix_key.weight")).toBe(true);
  });
});

describe("specFromGguf", () => {
  const tensors = [
    { name: "token_embd.weight", dims: [4096, 128256], type: "Q4_K" as const },
    { name: "output.weight", dims: [4096, 128256], type: "Q6_K" as const },
  ];

  it("takes tensors, types and the mix's name from the file", () => {
    const spec = specFromGguf({ metadata: { ...llama, "general.file_type": 15 }, tensors, fileBytes: 1000 });
    expect(spec).toMatchObject({
      name: "Test",
      provenance: "gguf",
      quantization: "Q4_K_M",
      fileBytes: 1000,
      parameterCount: 2 * 4096 * 128256,
      vocabularySize: 128256,
      tiedEmbeddings: false,
      assumptions: [],
    });
    expect(spec.tensors).toBe(tensors);
  });

  it("sees tied embeddings by the missing output matrix", () => {
    expect(specFromGguf({ metadata: llama, tensors: tensors.slice(0, 1) }).tiedEmbeddings).toBe(true);
  });

  it("takes the length of a vocabulary that was not kept", () => {
    const metadata = {
      ...llama,
      "llama.vocab_size": undefined,
      "tokenizer.ggml.tokens": { itemType: "string", length: 32000 },
    };
    expect(specFromGguf({ metadata, tensors: [] }).vocabularySize).toBe(32000);
  });

  it("reads an unknown architecture like Llama, and says so", () => {
    const metadata = Object.fromEntries(
      Object.entries(llama).map(([key, value]) => [key.replace("llama.", "newthing."), value]),
    );
    const spec = specFromGguf({ metadata: { ...metadata, "general.architecture": "newthing" }, tensors });
    expect(spec.layers).toHaveLength(32);
    expect(spec.assumptions.join()).toContain("newthing");
  });
});

describe("specFromMetadata", () => {
  it("derives the tensors of a Llama", () => {
    const spec = specFromMetadata(llama, { parameterCount: 8_030_261_248, fileBytes: 4_920_000_000 });
    expect(countElements(spec.tensors)).toBe(8_030_261_248);
    expect(spec).toMatchObject({
      provenance: "gguf",
      fileBytes: 4_920_000_000,
      tiedEmbeddings: false,
      assumptions: [],
    });
  });

  it("finds tied embeddings by the parameter count", () => {
    const spec = specFromMetadata(llama, { parameterCount: 7_504_924_672 });
    expect(spec.tiedEmbeddings).toBe(true);
    expect(countElements(spec.tensors)).toBe(7_504_924_672);
  });

  it("works a missing vocabulary out of the parameter count, and says so", () => {
    const { "llama.vocab_size": _vocabulary, ...rest } = llama;
    const spec = specFromMetadata(rest, { parameterCount: 8_030_261_248 });
    expect(spec.vocabularySize).toBe(128256);
    expect(spec.assumptions.join()).toContain("vocabulary");
  });

  it("stretches an unknown architecture to the parameter count", () => {
    const metadata = Object.fromEntries(
      Object.entries(llama).map(([key, value]) => [key.replace("llama.", "newthing."), value]),
    );
    const spec = specFromMetadata({ ...metadata, "general.architecture": "newthing" }, { parameterCount: 9e9 });
    expect(Math.abs(countElements(spec.tensors) / 9e9 - 1)).toBeLessThan(0.001);
    expect(spec.assumptions.join()).toContain("scaled");
  });

  it("takes head counts per block", () => {
    const kv = Array.from({ length: 32 }, (_, index) => (index < 16 ? 4 : 8));
    const spec = specFromMetadata({ ...llama, "llama.attention.head_count_kv": kv }, { parameterCount: 8e9 });
    expect(spec.layers.map(({ headCountKv }) => headCountKv)).toEqual(kv);
    expect(spec.tensors.find(({ name }) => name === "blk.0.attn_k.weight")?.dims).toEqual([4096, 512]);
  });

  it("reads 64-bit integers", () => {
    expect(specFromMetadata({ ...llama, "llama.block_count": 32n }).layerCount).toBe(32);
  });

  it.each([
    ["no architecture", { "general.architecture": undefined }],
    ["an architecture that is a number", { "general.architecture": 7 }],
    ["no blocks", { "llama.block_count": 0 }],
    ["a trillion blocks", { "llama.block_count": 1e12 }],
    ["minus one block", { "llama.block_count": -1 }],
    ["NaN blocks", { "llama.block_count": Number.NaN }],
    ["half a block", { "llama.block_count": 1.5 }],
    ["blocks as text", { "llama.block_count": "32" }],
    ["blocks as an object", { "llama.block_count": { length: 3 } }],
    ["an infinite width", { "llama.embedding_length": Number.POSITIVE_INFINITY }],
    ["no width", { "llama.embedding_length": undefined }],
    ["a width of zero", { "llama.embedding_length": 0 }],
    ["an absurd width", { "llama.embedding_length": 2 ** 40 }],
    ["a 64-bit width", { "llama.embedding_length": 2n ** 63n }],
    ["negative heads", { "llama.attention.head_count": -32 }],
    ["heads for too few blocks", { "llama.attention.head_count": [32, 32] }],
    ["heads that are texts", { "llama.attention.head_count": Array.from({ length: 32 }, () => "32") }],
    ["more MTP blocks than blocks", { "llama.nextn_predict_layers": 33 }],
    ["a million experts", { "llama.expert_count": 1e6 }],
    ["more experts used than there are", { "llama.expert_count": 8, "llama.expert_used_count": 9 }],
    ["an absurd vocabulary", { "llama.vocab_size": 1e12 }],
    ["an absurd context", { "llama.context_length": 1e300 }],
  ])("refuses %s", (_what, wrong) => {
    expect(codeOf(() => specFromMetadata({ ...llama, ...wrong }))).toBe("invalid_request");
    expect(codeOf(() => specFromGguf({ metadata: { ...llama, ...wrong }, tensors: [] }))).toBe("model_file_invalid");
  });

  it.each([0, -1, Number.NaN, Number.POSITIVE_INFINITY, 1e300])("refuses a parameter count of %d", (parameterCount) => {
    expect(codeOf(() => specFromMetadata(llama, { parameterCount }))).toBe("invalid_request");
    expect(codeOf(() => specFromMetadata(llama, { fileBytes: parameterCount }))).toBe("invalid_request");
  });

  it("is not fooled by keys an object inherits", () => {
    const polluted = Object.create({
      "general.architecture": "llama",
      "llama.block_count": 1,
      "llama.embedding_length": 8,
    });
    expect(codeOf(() => specFromMetadata(polluted))).toBe("invalid_request");
  });

  it("reads the largest shape it accepts without running out of time or memory", () => {
    const spec = specFromMetadata({
      ...llama,
      "llama.block_count": 512,
      "llama.expert_count": 1024,
      "llama.expert_used_count": 8,
    });
    expect(spec.tensors.length).toBeLessThan(20_000);
    expect(Number.isSafeInteger(spec.layers.length)).toBe(true);
  });
});

describe("specFromConfig", () => {
  const exaone = {
    architectures: ["Exaone4ForCausalLM"],
    model_type: "exaone4",
    head_dim: 128,
    hidden_size: 5120,
    intermediate_size: 27392,
    layer_types: Array.from({ length: 64 }, (_, index) => (index % 4 === 3 ? "full_attention" : "sliding_attention")),
    max_position_embeddings: 131072,
    num_attention_heads: 40,
    num_hidden_layers: 64,
    num_key_value_heads: 8,
    rope_scaling: { rope_type: "llama3", factor: 16 },
    sliding_window: 4096,
    tie_word_embeddings: false,
    vocab_size: 102400,
  };
  const devstral = {
    architectures: ["Mistral3ForConditionalGeneration"],
    model_type: "mistral3",
    tie_word_embeddings: false,
    text_config: {
      model_type: "ministral3",
      head_dim: 128,
      hidden_size: 5120,
      intermediate_size: 32768,
      max_position_embeddings: 393216,
      num_attention_heads: 32,
      num_hidden_layers: 40,
      num_key_value_heads: 8,
      sliding_window: null,
      vocab_size: 131072,
    },
    vision_config: { model_type: "pixtral", hidden_size: 1024, num_hidden_layers: 24 },
  };
  const lfm = {
    architectures: ["Lfm2ForCausalLM"],
    model_type: "lfm2",
    block_auto_adjust_ff_dim: true,
    block_ff_dim: 12288,
    block_ffn_dim_multiplier: 1,
    block_multiple_of: 256,
    conv_L_cache: 3,
    hidden_size: 2048,
    layer_types: [..."ccaccaccacacacac"].map((mark) => (mark === "a" ? "full_attention" : "conv")),
    max_position_embeddings: 128000,
    num_attention_heads: 32,
    num_hidden_layers: 16,
    num_key_value_heads: 8,
    vocab_size: 65536,
  };
  const qwen35 = {
    architectures: ["Qwen3_5ForConditionalGeneration"],
    model_type: "qwen3_5",
    tie_word_embeddings: false,
    text_config: {
      model_type: "qwen3_5_text",
      full_attention_interval: 4,
      head_dim: 256,
      hidden_size: 4096,
      intermediate_size: 12288,
      layer_types: Array.from({ length: 32 }, (_, index) => (index % 4 === 3 ? "full_attention" : "linear_attention")),
      linear_conv_kernel_dim: 4,
      linear_key_head_dim: 128,
      linear_num_key_heads: 16,
      linear_num_value_heads: 32,
      linear_value_head_dim: 128,
      max_position_embeddings: 262144,
      num_attention_heads: 16,
      num_hidden_layers: 32,
      num_key_value_heads: 4,
      vocab_size: 248320,
    },
    vision_config: { depth: 27 },
  };
  const glmFlash = {
    architectures: ["Glm4MoeLiteForCausalLM"],
    model_type: "glm4_moe_lite",
    num_hidden_layers: 47,
    hidden_size: 2048,
    num_attention_heads: 20,
    num_key_value_heads: 20,
    head_dim: 64,
    intermediate_size: 10240,
    vocab_size: 154880,
    max_position_embeddings: 202752,
    n_routed_experts: 64,
    n_shared_experts: 1,
    num_experts_per_tok: 4,
    moe_intermediate_size: 1536,
    first_k_dense_replace: 1,
    kv_lora_rank: 512,
    q_lora_rank: 768,
    qk_nope_head_dim: 192,
    qk_rope_head_dim: 64,
    v_head_dim: 256,
    tie_word_embeddings: false,
  };
  const nemotron = {
    architectures: ["NemotronHForCausalLM"],
    model_type: "nemotron_h",
    hidden_size: 3136,
    intermediate_size: 12544,
    vocab_size: 131072,
    num_hidden_layers: 42,
    hybrid_override_pattern: "M-M-M-MM-M-M*-M-M*-M-M-M*-M-M-MM*-MMM-M-M-",
    mamba_num_heads: 96,
    mamba_head_dim: 80,
    n_groups: 8,
    ssm_state_size: 128,
    conv_kernel: 4,
    num_attention_heads: 40,
    num_key_value_heads: 8,
    attention_head_dim: 128,
    max_position_embeddings: 262144,
    tie_word_embeddings: false,
  };
  const graniteSmall = {
    architectures: ["GraniteMoeHybridForCausalLM"],
    model_type: "granitemoehybrid",
    hidden_size: 4096,
    num_hidden_layers: 40,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    num_local_experts: 72,
    num_experts_per_tok: 10,
    shared_intermediate_size: 1536,
    intermediate_size: 768,
    layer_types: Array.from({ length: 40 }, (_, index) => ([5, 15, 25, 35].includes(index) ? "attention" : "mamba")),
    mamba_d_state: 128,
    mamba_d_conv: 4,
    mamba_expand: 2,
    tie_word_embeddings: true,
    max_position_embeddings: 131072,
    vocab_size: 100352,
  };
  const gemma4 = {
    architectures: ["Gemma4ForConditionalGeneration"],
    model_type: "gemma4",
    text_config: {
      model_type: "gemma4_text",
      hidden_size: 1536,
      intermediate_size: 6144,
      num_hidden_layers: 35,
      num_attention_heads: 8,
      num_key_value_heads: 1,
      head_dim: 256,
      global_head_dim: 512,
      hidden_size_per_layer_input: 256,
      num_kv_shared_layers: 20,
      use_double_wide_mlp: true,
      sliding_window: 512,
      layer_types: Array.from({ length: 35 }, (_, index) => (index % 5 === 4 ? "full_attention" : "sliding_attention")),
      max_position_embeddings: 131072,
      vocab_size: 262144,
    },
    vision_config: {},
  };
  const qwen2 = {
    architectures: ["Qwen2ForCausalLM"],
    model_type: "qwen2",
    hidden_size: 3584,
    intermediate_size: 18944,
    max_position_embeddings: 32768,
    num_attention_heads: 28,
    num_hidden_layers: 28,
    num_key_value_heads: 4,
    sliding_window: 131072,
    use_sliding_window: false,
    tie_word_embeddings: false,
    vocab_size: 152064,
  };
  const gptOss = {
    architectures: ["GptOssForCausalLM"],
    model_type: "gpt_oss",
    head_dim: 64,
    hidden_size: 2880,
    intermediate_size: 2880,
    layer_types: Array.from({ length: 24 }, (_, index) => (index % 2 === 0 ? "sliding_attention" : "full_attention")),
    max_position_embeddings: 131072,
    num_attention_heads: 64,
    num_experts_per_tok: 4,
    num_hidden_layers: 24,
    num_key_value_heads: 8,
    num_local_experts: 32,
    sliding_window: 128,
    tie_word_embeddings: false,
    vocab_size: 201088,
  };

  it.each([
    ["EXAONE 4.0 32B", exaone],
    ["Devstral Small 2 24B", devstral],
    ["LFM2 1.2B", lfm],
    ["Qwen3.5 9B", qwen35],
    ["GLM 4.7 Flash 30B A3B", glmFlash],
    ["Nemotron 3 Nano 4B", nemotron],
    ["Granite 4.0 H Small 32B A9B", graniteSmall],
    ["Gemma 4 E2B", gemma4],
    ["Qwen2.5 7B", qwen2],
    ["gpt-oss 20B", gptOss],
  ])("the configuration of %s gives the catalogue's layers and tensors", (name, config) => {
    const spec = specFromConfig(config);
    const known = byName(name);
    expect(spec.provenance).toBe("config");
    expect(spec.architecture).toBe(known.architecture);
    expect(spec.layers).toEqual(known.layers);
    expect(spec.tensors).toEqual(known.tensors);
    expect(spec).toMatchObject({
      contextLengthTrained: known.contextLengthTrained,
      slidingWindow: known.slidingWindow,
      vocabularySize: known.vocabularySize,
      tiedEmbeddings: known.tiedEmbeddings,
    });
  });

  it("says that a vision model's other half is not counted", () => {
    expect(specFromConfig(devstral).assumptions.join()).toContain("language part");
  });

  it("reads a type it does not know like Llama, and says so", () => {
    const spec = specFromConfig({ ...qwen2, model_type: "brand_new", architectures: ["BrandNewForCausalLM"] });
    expect(spec.architecture).toBe("llama");
    expect(spec.assumptions.join()).toContain("brand_new");
  });

  it.each([
    ["an empty object", {}],
    ["zero layers", { ...qwen2, num_hidden_layers: 0 }],
    ["NaN layers", { ...qwen2, num_hidden_layers: Number.NaN }],
    ["negative width", { ...qwen2, hidden_size: -3584 }],
    ["a trillion layers", { ...qwen2, num_hidden_layers: 1e12 }],
    ["a trillion layers of a kind that lists them", { ...gemma4.text_config, num_hidden_layers: 1e12 }],
    ["too short a list of layers", { ...qwen35.text_config, layer_types: ["linear_attention"] }],
    ["text for numbers", { ...qwen2, num_hidden_layers: "28" }],
  ])("refuses %s", (_what, config) => {
    expect(codeOf(() => specFromConfig(config))).toBe("invalid_request");
  });

  it.each([null, [], "config", 7])("refuses %j for a configuration", (config) => {
    expect(codeOf(() => specFromConfig(config as unknown as Record<string, unknown>))).toBe("invalid_request");
  });

  it("is not led astray by a configuration that contains itself", () => {
    const config: Record<string, unknown> = { ...qwen2 };
    config.text_config = config;
    expect(specFromConfig(config).layerCount).toBe(28);
  });
});

describe("specFromParameterCount", () => {
  it.each([
    [7e9, "Mistral 7B", 32, 8],
    [8e9, "Llama 3.1 8B", 32, 8],
    [13e9, "Llama 2 13B", 40, 40],
    [14e9, "Qwen3 14B", 40, 8],
    [34e9, "Yi 34B", 60, 8],
    [70e9, "Llama 3.1 70B", 80, 8],
  ])("%d parameters look like %s and say so", (parameters, like, layerCount, headCountKv) => {
    const spec = specFromParameterCount(parameters);
    expect(spec).toMatchObject({ provenance: "size", layerCount });
    expect(spec.layers[0]?.headCountKv).toBe(headCountKv);
    expect(spec.assumptions.join()).toContain(like);
  });

  it.each([1e6, 50e6, 0.3e9, 0.9e9, 2e9, 5.5e9, 11e9, 18e9, 27e9, 45e9, 100e9, 300e9, 1e12])(
    "the shape for %d parameters has about as many",
    (parameters) => {
      const spec = specFromParameterCount(parameters);
      const near = parameters < 50e6 ? 1 : 0.07;
      expect(Math.abs(spec.parameterCount / parameters - 1)).toBeLessThanOrEqual(parameters < 20e6 ? 30 : near);
      expect(countElements(spec.tensors)).toBe(spec.parameterCount);
    },
  );

  it("a mixture of experts is guessed from its total and active size", () => {
    const spec = specFromParameterCount(30e9, { activeParameterCount: 3e9 });
    expect(spec).toMatchObject({ architecture: "qwen3moe", expertCount: 128, expertUsedCount: 8 });
    expect(Math.abs(spec.activeParameterCount / 3e9 - 1)).toBeLessThan(0.2);
  });

  it("stretched widths are whole quantization blocks", () => {
    for (const parameters of [0.9e9, 5.5e9, 11e9, 27e9, 45e9]) {
      for (const { name, dims } of specFromParameterCount(parameters).tensors) {
        if (name.includes("ffn_down")) expect(dims[0]! % 256, `${parameters} ${name}`).toBe(0);
      }
    }
  });

  it("takes a name", () => {
    expect(specFromParameterCount(13e9).name).toBe("13B model");
    expect(specFromParameterCount(13e9, { name: "mine" }).name).toBe("mine");
  });

  it.each([0, -13e9, Number.NaN, Number.POSITIVE_INFINITY, 1, 1e30])("refuses %d parameters", (parameters) => {
    expect(codeOf(() => specFromParameterCount(parameters))).toBe("invalid_request");
  });
});

const truth = new URL("../../../shared/truth/", import.meta.url);

describe.skipIf(!existsSync(truth))("collected measurements", () => {
  const read = (name: string) =>
    JSON.parse(readFileSync(new URL(name, truth), "utf8")).records as Record<string, unknown>[];

  it("bytes per token agree with every architecture row", () => {
    // llama.cpp gives up the windows of these, so what is a window there is a full layer here.
    const windowIgnored = new Set(["Mistral-7B-v0.1", "Phi-3-mini-4k-instruct", "Phi-4-mini-instruct"]);
    let compared = 0;
    for (const row of existsSync(truth) ? read("arch.json") : []) {
      const wanted = row.kv_bytes_per_token_f16 as number | Record<string, number> | undefined;
      const found = findCatalogueModel(String(row.hf ?? row.name));
      if (wanted === undefined || found === undefined) continue;
      const spec = specFromCatalogue(found.model);
      expect(spec.layerCount, String(row.name)).toBe(row.layers);
      const full = bytesPerToken(spec, "full", "mla");
      const sliding = bytesPerToken(spec, "sliding");
      if (typeof wanted === "number") expect([full, sliding], String(row.name)).toEqual([wanted, 0]);
      else if (windowIgnored.has(String(row.name))) expect(full).toBe(wanted["swa_layers (capped)"]);
      else expect([full, sliding], String(row.name)).toEqual([wanted.full_layers, wanted["swa_layers (capped)"]]);
      compared++;
    }
    expect(compared).toBeGreaterThan(50);
  });

  it("the KV cache of every load log follows from its shape", () => {
    let compared = 0;
    for (const row of existsSync(truth) ? read("load_logs.json") : []) {
      if (row.kv_formula !== "sum(kv_heads)*ctx*(dk*bytesK+dv*bytesV)" || row.arch === "gemma3") continue;
      const kv = row.kv_detail as string[] | undefined;
      if (!kv?.every((line) => line.includes("f16") && !/q\d/.test(line)) || typeof row.n_head_kv !== "number")
        continue;
      const arch = String(row.arch);
      const spec = specFromMetadata({
        "general.architecture": arch,
        [`${arch}.block_count`]: row.n_layer,
        [`${arch}.embedding_length`]: row.n_embd,
        [`${arch}.attention.head_count`]: row.n_head,
        [`${arch}.attention.head_count_kv`]: row.n_head_kv,
        [`${arch}.attention.key_length`]: row.head_dim_k,
        [`${arch}.attention.value_length`]: row.head_dim_v,
        [`${arch}.vocab_size`]: row.n_vocab,
      });
      const bytes = bytesPerToken(spec, "full", "sliding") * (row.n_ctx as number);
      expect(Math.abs(bytes / MIB / (row.kv_expected_mib as number) - 1), String(row.model)).toBeLessThan(0.01);
      compared++;
    }
    expect(compared).toBeGreaterThan(5);
  });
});
