/**
 * Files in the shape of a catalogue model, holes instead of weights: llama.cpp loads them and allocates as for the real
 * model, so every width counts, while blocks, experts and vocabulary may be cut down.
 */
import type { CatalogueModel } from "../../../src/fit/catalogue.ts";
import { specFromKeys } from "../../../src/fit/model.ts";
import { metadataOfFacts, type ShapeFacts } from "../../../src/fit/shape-facts.ts";
import type { ModelSpec } from "../../../src/fit/types.ts";
import { type MetadataEntry, type TensorEntry, type TensorTypeName, writeGguf } from "./container.ts";
import { createBpeVocabulary } from "./vocabulary.ts";

export interface CatalogueFileOptions {
  /** Tokens; the real number is in `model.vocabularySize`. */
  vocabularySize: number;
  /** Most blocks kept; some architectures need more to load at all. */
  layersMax: number;
  expertsMax: number;
  expertsUsedMax: number;
  /** Type of the matrices. */
  type: TensorTypeName;
}

/** Blocks to keep where a few do not show the pattern, or where llama.cpp tells models apart by their number. */
const BLOCKS: Readonly<Record<string, number>> = {
  gemma3n: 35,
  gemma4: 42,
  deepseek2: 27,
  exaone4: 64,
  lfm2: 16,
  nemotron_h: 42,
  deci: 24,
};

/** Writes the file; the answer is the shape as it was written, types included. */
export function writeCatalogueFile(path: string, model: CatalogueModel, options: CatalogueFileOptions): ModelSpec {
  const vocabulary = createBpeVocabulary({ template: "chatml", pre: "qwen2", size: options.vocabularySize });
  const facts = shrink(model.shape, vocabulary.tokens.length, options);
  const { metadata, hints } = metadataOfFacts(facts);
  const spec = specFromKeys(metadata, "catalogue", { name: model.name }, hints);
  const entries = new Map<string, MetadataEntry>();
  for (const entry of [...fillers(facts.arch, facts.layers), ...entriesOf(metadata), ...vocabulary.metadata]) {
    entries.set(entry.key, entry);
  }
  const tensors = tensorsOf(spec, options.type);
  writeGguf(path, [...entries.values()], tensors);
  return { ...spec, tensors };
}

/** The same shape with fewer blocks and experts, and a vocabulary of `vocab` tokens. */
function shrink(facts: ShapeFacts, vocab: number, options: CatalogueFileOptions): ShapeFacts {
  const layers =
    facts.arch === "gemma3n" ? facts.layers : Math.min(facts.layers, BLOCKS[facts.arch] ?? options.layersMax);
  const cut = <T>(value: T): T => (Array.isArray(value) ? (value.slice(0, layers) as T) : value);
  const small: ShapeFacts = { ...facts, layers, vocab };
  if (facts.heads !== undefined) small.heads = cut(facts.heads);
  if (facts.headsKv !== undefined) small.headsKv = cut(facts.headsKv);
  if (facts.ffn !== undefined) small.ffn = cut(facts.ffn);
  if (facts.experts !== undefined) {
    const [count, used, length] = facts.experts;
    small.experts = [Math.min(count, options.expertsMax), Math.min(used, options.expertsUsedMax), length];
  }
  if (facts.sharedKv !== undefined) small.sharedKv = Math.max(0, layers - (facts.layers - facts.sharedKv));
  if (typeof facts.pattern === "string") small.pattern = facts.pattern.slice(0, layers);
  else if (facts.arch === "gemma4") small.pattern = "sssssf".repeat(layers).slice(0, layers);
  return small;
}

/** Keys the loader insists on that say nothing about sizes. */
function fillers(architecture: string, layers: number): MetadataEntry[] {
  const key = (name: string) => `${architecture}.${name}`;
  const half = Array.from({ length: layers }, () => 0.5);
  return [
    ...["attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"].map(
      (name): MetadataEntry => ({ key: key(name), type: "f32", value: 1e-5 }),
    ),
    ...["logit_scale", "residual_scale", "embedding_scale", "attention.scale", "expert_weights_scale"].map(
      (name): MetadataEntry => ({ key: key(name), type: "f32", value: 1 }),
    ),
    { key: key("rope.dimension_sections"), type: "arr", of: "i32", value: [11, 11, 10, 0] },
    { key: key("expert_gating_func"), type: "u32", value: 2 },
    { key: key("attention.clamp_kqv"), type: "f32", value: 8 },
    { key: key("attention.indexer.top_k"), type: "u32", value: 2048 },
    { key: key("embedding_length_per_layer_input"), type: "u32", value: 0 },
    { key: key("attention.head_count"), type: "u32", value: 0 },
    { key: key("feed_forward_length"), type: "u32", value: 0 },
    { key: key("attention.causal"), type: "bool", value: !/bert|embedding/.test(architecture) },
    { key: key("pooling_type"), type: "u32", value: 1 },
    { key: "tokenizer.ggml.token_type_count", type: "u32", value: 2 },
    ...["alpha_n", "alpha_p", "beta", "eps"].map(
      (name): MetadataEntry => ({ key: `xielu.${name}`, type: "arr", of: "f32", value: half }),
    ),
  ];
}

function entriesOf(metadata: Readonly<Record<string, unknown>>): MetadataEntry[] {
  return Object.entries(metadata)
    .filter(([key]) => !key.endsWith(".vocab_size"))
    .map(([key, value]): MetadataEntry => {
      const plain = key.includes(".tokenizer.") ? key.slice(key.indexOf("tokenizer.")) : key;
      if (typeof value === "string") return { key: plain, type: "str", value };
      if (!Array.isArray(value)) return { key: plain, type: "u32", value: Number(value) };
      return typeof value[0] === "boolean"
        ? { key: plain, type: "arr", of: "bool", value: value as boolean[] }
        : { key: plain, type: "arr", of: "i32", value: value as number[] };
    });
}

/** Tensors llama.cpp computes with in float32 only. */
const kept =
  /norm|bias|ssm_a|ssm_d$|conv|gate_inp|rope_|altup|scale|sinks|token_types|position|per_layer_(?:model|proj)/;

function tensorsOf(spec: ModelSpec, type: TensorTypeName): TensorEntry[] {
  return spec.tensors.map(({ name, dims }) => {
    const small = dims.length <= 1 || dims[0]! % 32 !== 0 || kept.test(name);
    return { name, dims, type: small ? "F32" : type };
  });
}
