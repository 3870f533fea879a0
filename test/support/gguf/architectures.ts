/** Which metadata keys and tensors each architecture needs. One recipe per architecture; the common part is shared. */
import type { BrainFills } from "./brain.ts";
import { type Fill, type MetadataEntry, TENSOR_TYPES, type TensorEntry, type TensorTypeName } from "./container.ts";
import type { Shape } from "./shapes.ts";
import { createBpeVocabulary, createSpmVocabulary, createWordPieceVocabulary, type Vocabulary } from "./vocabulary.ts";

interface Recipe {
  /** `general.architecture`, also the prefix of the keys. */
  prefix: string;
  vocabulary(size: number): Vocabulary;
  ropeFrequencyBase: number;
  mixtureOfExperts?: boolean;
  /** Norms of the query and key heads. */
  headNorms?: boolean;
  /** Norms behind attention and FFN. */
  postNorms?: boolean;
  attentionBiases?: boolean;
  /** Reads whole texts and makes a vector of each. */
  encoder?: boolean;
  /** Keys beyond the common ones. */
  metadata?(shape: Shape): MetadataEntry[];
}

const llamaVocabulary = (size: number) => createBpeVocabulary({ template: "llama3", pre: "llama-bpe", size });
const qwenVocabulary = (size: number) => createBpeVocabulary({ template: "chatml", pre: "qwen2", size });

/** llama.cpp refuses a llama whose rope dimensions differ from the head length. */
const llamaRope = (shape: Shape): MetadataEntry[] => [
  { key: "llama.rope.dimension_count", type: "u32", value: shape.headLength },
];

export const RECIPES = {
  llama: { prefix: "llama", vocabulary: llamaVocabulary, ropeFrequencyBase: 5e5, metadata: llamaRope },
  /** Mixtral style: the experts' width stands in `feed_forward_length`. */
  "llama-moe": {
    prefix: "llama",
    vocabulary: llamaVocabulary,
    ropeFrequencyBase: 5e5,
    mixtureOfExperts: true,
    metadata: llamaRope,
  },
  qwen2: { prefix: "qwen2", vocabulary: qwenVocabulary, ropeFrequencyBase: 1e6, attentionBiases: true },
  qwen3: { prefix: "qwen3", vocabulary: qwenVocabulary, ropeFrequencyBase: 1e6, headNorms: true },
  qwen3moe: {
    prefix: "qwen3moe",
    vocabulary: qwenVocabulary,
    ropeFrequencyBase: 1e6,
    mixtureOfExperts: true,
    headNorms: true,
    metadata: (shape) => [
      { key: "qwen3moe.expert_feed_forward_length", type: "u32", value: expertsOf(shape).feedForwardLength },
    ],
  },
  gemma3: {
    prefix: "gemma3",
    vocabulary: (size) => createSpmVocabulary({ size }),
    ropeFrequencyBase: 1e6,
    headNorms: true,
    postNorms: true,
    metadata: (shape) =>
      shape.slidingWindow === undefined
        ? []
        : [{ key: "gemma3.attention.sliding_window", type: "u32", value: shape.slidingWindow }],
  },
  bert: { prefix: "bert", vocabulary: () => createWordPieceVocabulary(), ropeFrequencyBase: 0, encoder: true },
} as const satisfies Record<string, Recipe>;

export type ArchitectureName = keyof typeof RECIPES;

/** `general.file_type` of a file whose matrices have this type. */
const FILE_TYPES: Partial<Record<TensorTypeName, number>> = {
  F32: 0,
  F16: 1,
  Q4_0: 2,
  Q4_1: 3,
  Q8_0: 7,
  Q5_0: 8,
  Q5_1: 9,
  Q2_K: 10,
  Q3_K: 12,
  Q4_K: 15,
  Q5_K: 17,
  Q6_K: 18,
  IQ4_NL: 25,
  BF16: 32,
  MXFP4: 38,
};

export function listMetadata(
  recipe: Recipe,
  shape: Shape,
  facts: { name: string; type: TensorTypeName; vocabulary: Vocabulary; rank: boolean },
): MetadataEntry[] {
  const { prefix } = recipe;
  const u32 = (key: string, value: number): MetadataEntry => ({ key: `${prefix}.${key}`, type: "u32", value });
  const entries: MetadataEntry[] = [
    // By convention the first key.
    { key: "general.architecture", type: "str", value: prefix },
    { key: "general.type", type: "str", value: "model" },
    { key: "general.name", type: "str", value: facts.name },
    { key: "general.file_type", type: "u32", value: FILE_TYPES[facts.type] ?? 0 },
    { key: "general.quantization_version", type: "u32", value: 2 },
    u32("context_length", shape.contextLengthTrained),
    u32("embedding_length", shape.embeddingLength),
    u32("block_count", shape.layerCount),
    u32("feed_forward_length", feedForwardKeyValue(recipe, shape)),
    u32("attention.head_count", shape.headCount),
    ...(recipe.encoder ? encoderKeys(prefix) : decoderKeys(recipe, shape, facts.vocabulary)),
    ...(recipe.encoder || facts.rank ? poolingKeys(recipe, facts.rank) : []),
  ];
  if (recipe.mixtureOfExperts) {
    const experts = expertsOf(shape);
    entries.push(u32("expert_count", experts.count), u32("expert_used_count", experts.usedCount));
  }
  entries.push(...(recipe.metadata?.(shape) ?? []), ...facts.vocabulary.metadata);
  return entries;
}

function decoderKeys({ prefix, ropeFrequencyBase }: Recipe, shape: Shape, vocabulary: Vocabulary): MetadataEntry[] {
  const u32 = (key: string, value: number): MetadataEntry => ({ key: `${prefix}.${key}`, type: "u32", value });
  return [
    u32("attention.head_count_kv", shape.headCountKv),
    { key: `${prefix}.attention.layer_norm_rms_epsilon`, type: "f32", value: 1e-6 },
    u32("attention.key_length", shape.headLength),
    u32("attention.value_length", shape.headLength),
    { key: `${prefix}.rope.freq_base`, type: "f32", value: ropeFrequencyBase },
    u32("vocab_size", vocabulary.tokens.length),
  ];
}

function encoderKeys(prefix: string): MetadataEntry[] {
  return [
    { key: `${prefix}.attention.layer_norm_epsilon`, type: "f32", value: 1e-12 },
    { key: `${prefix}.attention.causal`, type: "bool", value: false },
  ];
}

/** llama.cpp's numbers: 1 is the mean over the tokens, 4 the head of a reranker. */
function poolingKeys({ prefix, encoder }: Recipe, rank: boolean): MetadataEntry[] {
  const pooling: MetadataEntry = { key: `${prefix}.pooling_type`, type: "u32", value: rank ? 4 : 1 };
  if (encoder) return [pooling];
  return [
    pooling,
    { key: `${prefix}.classifier.output_labels`, type: "arr", of: "str", value: ["yes", "no"] },
    { key: "tokenizer.chat_template.rerank", type: "str", value: "query: {query} document: {document}" },
  ];
}

export function listTensors(
  recipe: Recipe,
  shape: Shape,
  facts: { type: TensorTypeName; vocabularySize: number; brain: BrainFills; writeOutput: boolean; rank: boolean },
): TensorEntry[] {
  const { brain } = facts;
  const list = new TensorList(facts.type, brain);
  const embedding = shape.embeddingLength;
  list.matrix("token_embd.weight", [embedding, facts.vocabularySize], brain.embedding);
  if (recipe.encoder) return addEncoder(list, shape, facts.rank);
  list.vector("output_norm.weight", embedding);
  if (facts.rank) list.matrix("cls.output.weight", [embedding, 2], brain.weight(embedding));
  if (facts.writeOutput) list.matrix("output.weight", [embedding, facts.vocabularySize], brain.output);
  for (let layer = 0; layer < shape.layerCount; layer++) {
    const name = (part: string) => `blk.${layer}.${part}`;
    addAttention(list, recipe, shape, name);
    if (recipe.postNorms) {
      // A post norm would blow a whisper up again, so it carries the scale itself.
      const scale = brain.whisper / Math.sqrt(shape.layerCount);
      list.vector(name("post_attention_norm.weight"), embedding, scale);
      list.vector(name("post_ffw_norm.weight"), embedding, scale);
    }
    list.vector(name("ffn_norm.weight"), embedding);
    if (recipe.mixtureOfExperts) addExperts(list, shape, name);
    else addFeedForward(list, shape, name);
  }
  return list.tensors;
}

/** Norms behind each half of a layer instead of before it, biases everywhere, positions as a table. */
function addEncoder(list: TensorList, shape: Shape, rank: boolean): TensorEntry[] {
  const [embedding, width] = [shape.embeddingLength, shape.feedForwardLength];
  const { brain } = list;
  // llama.cpp adds rows of these as they are: quantized ones abort the process.
  list.table("position_embd.weight", [embedding, shape.contextLengthTrained]);
  list.table("token_types.weight", [embedding, 2]);
  const linear = (name: string, inputs: number, outputs: number) => {
    list.matrix(`${name}.weight`, [inputs, outputs], brain.weight(inputs));
    list.vector(`${name}.bias`, outputs, 0);
  };
  const norm = (name: string) => {
    list.vector(`${name}.weight`, embedding);
    list.vector(`${name}.bias`, embedding, 0);
  };
  norm("token_embd_norm");
  for (let layer = 0; layer < shape.layerCount; layer++) {
    const name = (part: string) => `blk.${layer}.${part}`;
    for (const part of ["attn_q", "attn_k", "attn_v", "attn_output"]) linear(name(part), embedding, embedding);
    linear(name("ffn_up"), embedding, width);
    linear(name("ffn_down"), width, embedding);
    norm(name("attn_output_norm"));
    norm(name("layer_output_norm"));
  }
  if (rank) {
    linear("cls", embedding, embedding);
    linear("cls.output", embedding, 1);
  }
  return list.tensors;
}

function addAttention(list: TensorList, recipe: Recipe, shape: Shape, name: (part: string) => string): void {
  const embedding = shape.embeddingLength;
  const queryLength = shape.headCount * shape.headLength;
  const kvLength = shape.headCountKv * shape.headLength;
  const { brain } = list;
  list.vector(name("attn_norm.weight"), embedding);
  list.matrix(name("attn_q.weight"), [embedding, queryLength], brain.weight(embedding));
  list.matrix(name("attn_k.weight"), [embedding, kvLength], brain.weight(embedding));
  list.matrix(name("attn_v.weight"), [embedding, kvLength], brain.weight(embedding));
  list.matrix(name("attn_output.weight"), [queryLength, embedding], brain.residual(queryLength, shape.layerCount));
  if (recipe.attentionBiases) {
    list.vector(name("attn_q.bias"), queryLength, 0);
    list.vector(name("attn_k.bias"), kvLength, 0);
    list.vector(name("attn_v.bias"), kvLength, 0);
  }
  if (recipe.headNorms) {
    list.vector(name("attn_q_norm.weight"), shape.headLength);
    list.vector(name("attn_k_norm.weight"), shape.headLength);
  }
}

function addFeedForward(list: TensorList, shape: Shape, name: (part: string) => string): void {
  const [embedding, width] = [shape.embeddingLength, shape.feedForwardLength];
  list.matrix(name("ffn_gate.weight"), [embedding, width], list.brain.weight(embedding));
  list.matrix(name("ffn_up.weight"), [embedding, width], list.brain.weight(embedding));
  list.matrix(name("ffn_down.weight"), [width, embedding], list.brain.residual(width, shape.layerCount));
}

function addExperts(list: TensorList, shape: Shape, name: (part: string) => string): void {
  const embedding = shape.embeddingLength;
  const { count, feedForwardLength: width } = expertsOf(shape);
  const router: TensorEntry = { name: name("ffn_gate_inp.weight"), dims: [embedding, count], type: "F32" };
  const fill = list.brain.weight(embedding);
  list.tensors.push(fill === undefined ? router : { ...router, fill });
  list.matrix(name("ffn_gate_exps.weight"), [embedding, width, count], list.brain.weight(embedding));
  list.matrix(name("ffn_up_exps.weight"), [embedding, width, count], list.brain.weight(embedding));
  list.matrix(name("ffn_down_exps.weight"), [width, embedding, count], list.brain.residual(width, shape.layerCount));
}

class TensorList {
  readonly tensors: TensorEntry[] = [];
  readonly brain: BrainFills;
  readonly #type: TensorTypeName;

  constructor(type: TensorTypeName, brain: BrainFills) {
    this.#type = type;
    this.brain = brain;
  }

  /** The wanted type where the row length allows it, else Q8_0, else F16. */
  matrix(name: string, dims: readonly number[], fill: Fill | undefined): void {
    const row = dims[0]!;
    const type = row % TENSOR_TYPES[this.#type].block === 0 ? this.#type : row % 32 === 0 ? "Q8_0" : "F16";
    this.#push({ name, dims, type }, fill);
  }

  /** Small noise in F32. */
  table(name: string, dims: readonly number[]): void {
    this.#push({ name, dims, type: "F32" }, this.brain.weight(100));
  }

  /** Norms and biases stay F32. */
  vector(name: string, length: number, value = 1): void {
    this.#push({ name, dims: [length], type: "F32" }, this.brain.constant(value));
  }

  #push(tensor: TensorEntry, fill: Fill | undefined): void {
    this.tensors.push(fill === undefined ? tensor : { ...tensor, fill });
  }
}

function feedForwardKeyValue(recipe: Recipe, shape: Shape): number {
  const expertsWidthStandsHere = recipe.mixtureOfExperts && recipe.prefix === "llama";
  return expertsWidthStandsHere ? expertsOf(shape).feedForwardLength : shape.feedForwardLength;
}

function expertsOf(shape: Shape) {
  const { expertCount, expertUsedCount, expertFeedForwardLength } = shape;
  if (expertCount === undefined || expertUsedCount === undefined || expertFeedForwardLength === undefined) {
    throw new Error("a mixture of experts needs expertCount, expertUsedCount and expertFeedForwardLength");
  }
  return { count: expertCount, usedCount: expertUsedCount, feedForwardLength: expertFeedForwardLength };
}
