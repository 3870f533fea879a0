/**
 * What one architecture does differently from Llama: tensors it has or lacks, windows, recurrent blocks.
 * Facts from llama.cpp's loader (`src/models/*.cpp`, load_arch_hparams and load_arch_tensors).
 */
import type { PerLayer } from "./model-keys.ts";
import { perLayerAt } from "./model-keys.ts";

/** Deviations of the tensor list from Llama's. */
export type TensorFlag =
  // Attention
  | "qkvBias"
  | "qkvFused"
  | "outBias"
  /** One norm vector of head size for queries and one for keys. */
  | "qkNorm"
  /** Norm vectors over all heads. */
  | "qkNormRow"
  /** One norm vector per head. */
  | "qkNormHeads"
  | "sinks"
  /** The query projection is doubled: it carries a gate per element. */
  | "gatedQuery"
  /** A gate projection beside attention: one value per element, or one per head. */
  | "gateElement"
  | "gateHead"
  | "subNorms"
  // Norms
  | "layerNorm"
  | "noNorms"
  | "noAttnNorm"
  | "noFfnNorm"
  | "postAttnNorm"
  | "postFfnNorm"
  | "postAttnOutputNorm"
  | "secondAttnNorm"
  // Feed-forward
  | "gateFused"
  | "noGate"
  | "ffnBias"
  | "expertProbsBias"
  | "expertBias"
  | "routerBias"
  | "noExpertGate"
  | "sharedGate"
  // Whole model
  | "outputBias"
  | "positionEmbedding"
  | "tokenTypes"
  | "embeddingNorm"
  | "noOutputNorm";

export interface SlidingTraits {
  kind: "sliding" | "chunked";
  /** Every `period`-th block sees everything; 0: none does; 1: all do. */
  period: number;
  /** The full block comes first in each period, not last. */
  fullFirst?: boolean;
  /** Window when the metadata names none. */
  window?: number;
  /** Window whatever the metadata says. */
  windowFixed?: number;
  /** Nothing slides unless the metadata names a window. */
  keyRequired?: boolean;
  /** Only models of this many blocks slide. */
  onlyLayerCount?: number;
}

/** How recurrent blocks are told from attention blocks, and what state one keeps. */
export interface RecurrentTraits {
  blocks: "all" | "interval" | "zeroKvHeads" | "zeroKvHeadsZeroFfn" | "besideAttention";
  /** Every n-th block is attention when the metadata names no interval. */
  interval?: number;
  state: "ssm" | "deltaNet" | "wkv" | "shortConv" | "kda" | "lightning";
}

export interface ArchitectureTraits {
  flags: ReadonlySet<TensorFlag>;
  /** Names of the special block layouts; Llama's when absent. */
  attention?: "mla" | "mlaLegacy" | "deci" | "gemma4";
  recurrent?: RecurrentTraits;
  sliding?: SlidingTraits;
  /** Output matrix: always the embedding, never, or depending on the model. */
  tied: "always" | "never" | "either";
  /** Blocks that own a cache, where the loader fixes their number. */
  kvLayersFromStart?: number;
  /** The metadata may name blocks at the end that read an earlier one's cache. */
  sharesKv?: boolean;
  /** Nothing is cached: embedding and diffusion models. */
  noCache?: boolean;
  /** Shared experts when the metadata names none. */
  sharedExpertCount?: number;
  /** `expert_shared_feed_forward_length` is one shared expert's width, not all of them together. */
  sharedWidthIsPerExpert?: boolean;
  /** Width of one expert when the metadata names none. */
  expertWidth?: (own: PerLayer, used: number) => PerLayer;
  /** MTP blocks have a dense feed-forward part beside experts in the main ones. */
  mtpDense?: boolean;
  /** False for an architecture never heard of. */
  known: boolean;
}

type Draft = Partial<Omit<ArchitectureTraits, "flags" | "known">> & { flags?: readonly TensorFlag[] };

const dividedByUsed = (own: PerLayer, used: number): PerLayer => Math.floor(perLayerAt(own, 0) / Math.max(1, used));
const alternating: SlidingTraits = { kind: "sliding", period: 2 };
const everyFourth: SlidingTraits = { kind: "sliding", period: 4 };
const deltaNet: RecurrentTraits = { blocks: "interval", interval: 4, state: "deltaNet" };
const kimiDelta: RecurrentTraits = { blocks: "zeroKvHeads", state: "kda" };
const encoder: Draft = { tied: "always", noCache: true };

const DRAFTS: Record<string, Draft> = {
  llama: {},
  "llama-embed": {},
  mistral3: {},
  minicpm: {},
  smollm3: {},
  internlm2: { tied: "never" },
  xverse: { tied: "never" },
  baichuan: { tied: "never" },
  exaone: {},
  granite: {},
  granitemoe: {},
  nanbeige: {},
  ernie4_5: {},
  arcee: { flags: ["noGate"] },
  llama4: { sliding: { kind: "chunked", period: 4, windowFixed: 8192 }, sharedExpertCount: 1 },
  deci: { attention: "deci" },
  olmo: { flags: ["noNorms", "noOutputNorm"] },
  olmo2: {
    flags: ["qkNormRow", "noAttnNorm", "noFfnNorm", "postAttnNorm", "postFfnNorm"],
    sliding: everyFourth,
    tied: "never",
  },
  olmoe: { flags: ["qkNormRow"], tied: "never" },
  gemma: { tied: "always" },
  gemma2: { flags: ["postAttnNorm", "postFfnNorm"], tied: "always", sliding: { ...alternating, window: 4096 } },
  gemma3: { flags: ["qkNorm", "postAttnNorm", "postFfnNorm"], sliding: { kind: "sliding", period: 6 } },
  "gemma-embedding": {
    flags: ["qkNorm", "postAttnNorm", "postFfnNorm"],
    sliding: { kind: "sliding", period: 6 },
    noCache: true,
    tied: "always",
  },
  gemma3n: {
    flags: ["qkNorm", "postAttnNorm", "postFfnNorm"],
    sliding: { kind: "sliding", period: 5 },
    kvLayersFromStart: 20,
    tied: "always",
  },
  gemma4: {
    attention: "gemma4",
    flags: ["qkNorm", "postAttnNorm", "postFfnNorm"],
    sliding: { kind: "sliding", period: 6 },
    sharesKv: true,
    tied: "always",
  },
  qwen: { flags: ["qkvFused", "qkvBias"], tied: "never" },
  qwen2: { flags: ["qkvBias"] },
  qwen2vl: { flags: ["qkvBias"] },
  qwen2moe: { flags: ["qkvBias", "sharedGate"], tied: "never", sharedExpertCount: 1, expertWidth: dividedByUsed },
  qwen3: { flags: ["qkNorm"] },
  qwen3vl: { flags: ["qkNorm"] },
  qwen3moe: { flags: ["qkNorm"], expertWidth: dividedByUsed },
  qwen3vlmoe: { flags: ["qkNorm"], expertWidth: dividedByUsed },
  qwen3next: { flags: ["gatedQuery", "qkNorm", "sharedGate"], recurrent: deltaNet, sharedExpertCount: 1 },
  qwen35: { flags: ["gatedQuery", "qkNorm"], recurrent: deltaNet },
  qwen35moe: { flags: ["gatedQuery", "qkNorm", "sharedGate"], recurrent: deltaNet, sharedExpertCount: 1 },
  phi2: { flags: ["layerNorm", "qkvBias", "outBias", "noFfnNorm", "noGate", "ffnBias", "outputBias"], tied: "never" },
  phi3: { flags: ["qkvFused", "gateFused"] },
  phimoe: { flags: ["layerNorm", "qkvBias", "outBias", "outputBias"], tied: "never" },
  starcoder: { flags: ["positionEmbedding", "layerNorm", "qkvFused", "qkvBias", "outBias", "noGate", "ffnBias"] },
  starcoder2: { flags: ["layerNorm", "qkvBias", "outBias", "noGate", "ffnBias"] },
  gptneox: { flags: ["layerNorm", "qkvFused", "qkvBias", "outBias", "noGate", "ffnBias"], tied: "never" },
  falcon: { flags: ["layerNorm", "qkvFused", "noFfnNorm", "noGate"] },
  stablelm: { flags: ["layerNorm"], tied: "never" },
  orion: { flags: ["layerNorm"], tied: "never" },
  nemotron: { flags: ["layerNorm", "noGate"], tied: "never" },
  "command-r": { flags: ["noFfnNorm"], tied: "always" },
  cohere2: { flags: ["noFfnNorm"], tied: "always", sliding: everyFourth },
  cohere2moe: { flags: ["noFfnNorm"], sliding: { ...everyFourth, fullFirst: true } },
  exaone4: {
    flags: ["qkNorm", "noAttnNorm", "noFfnNorm", "postAttnNorm", "postFfnNorm"],
    sliding: { ...everyFourth, window: 4096, onlyLayerCount: 64 },
  },
  "exaone-moe": {
    flags: ["qkNorm", "expertProbsBias"],
    sliding: { ...everyFourth, window: 128 },
    sharedExpertCount: 1,
    tied: "never",
    mtpDense: true,
  },
  chatglm: { flags: ["qkvFused", "qkvBias", "gateFused"] },
  glm4: { flags: ["postAttnNorm", "postFfnNorm", "gateFused"] },
  glm4moe: { flags: ["expertProbsBias", "noFfnNorm", "postAttnNorm"] },
  "gpt-oss": {
    flags: ["qkvBias", "outBias", "sinks", "noFfnNorm", "postAttnNorm", "expertBias", "routerBias"],
    sliding: alternating,
    tied: "never",
  },
  deepseek: {},
  deepseek2: { attention: "mla", flags: ["expertProbsBias"] },
  mistral4: { attention: "mla", flags: ["expertProbsBias"] },
  deepseek32: { attention: "mla", flags: ["expertProbsBias"] },
  "glm-dsa": { attention: "mla", flags: ["expertProbsBias"] },
  minicpm3: { attention: "mlaLegacy" },
  plm: { attention: "mlaLegacy", flags: ["noGate"], tied: "always" },
  "ernie4_5-moe": { flags: ["expertProbsBias"] },
  "hunyuan-moe": { flags: ["qkNorm"], sharedExpertCount: 1 },
  "hunyuan-dense": { flags: ["qkNorm"] },
  hunyuan_vl: { flags: ["qkNorm"] },
  hy_v3: { flags: ["qkNorm", "expertProbsBias"], sharedExpertCount: 1, expertWidth: dividedByUsed },
  seed_oss: { flags: ["qkvBias", "noFfnNorm", "postAttnNorm"] },
  dots1: { flags: ["qkNorm", "expertProbsBias"], tied: "never" },
  bailingmoe: { tied: "never" },
  bailingmoe2: { flags: ["qkvFused", "qkNorm", "expertProbsBias"], tied: "never", sharedWidthIsPerExpert: true },
  "minimax-m2": { flags: ["qkNormRow", "expertProbsBias"], tied: "never" },
  "minimax-m3": { flags: ["qkNorm", "expertProbsBias"], tied: "never" },
  apertus: { flags: ["qkNorm", "noGate"], tied: "never" },
  smallthinker: { sliding: { ...everyFourth, windowFixed: 4096, keyRequired: true, fullFirst: true } },
  mellum: { flags: ["qkNorm"], sliding: everyFourth, tied: "never", expertWidth: dividedByUsed },
  afmoe: {
    flags: ["qkNorm", "gateElement", "postAttnNorm", "postFfnNorm", "expertProbsBias"],
    sliding: everyFourth,
  },
  laguna: {
    flags: ["qkNorm", "gateHead", "expertProbsBias"],
    sliding: { ...everyFourth, fullFirst: true },
    sharedExpertCount: 1,
  },
  mimo2: { flags: ["expertProbsBias"], sliding: { kind: "sliding", period: 6 }, tied: "never", mtpDense: true },
  step35: { flags: ["qkNorm", "gateHead", "expertProbsBias"], sliding: everyFourth, tied: "never" },
  granite_swa: { flags: ["sinks"], sliding: everyFourth },
  "muse-glimmer": {
    flags: ["qkNorm", "gateElement", "postAttnNorm", "postFfnNorm"],
    sliding: everyFourth,
    tied: "never",
  },
  grok: { flags: ["postAttnOutputNorm", "postFfnNorm"] },
  dbrx: { flags: ["qkvFused", "noFfnNorm", "postAttnOutputNorm"], tied: "never" },
  bitnet: { flags: ["subNorms"], tied: "always" },
  mamba: { recurrent: { blocks: "all", state: "ssm" } },
  mamba2: { recurrent: { blocks: "all", state: "ssm" } },
  jamba: { recurrent: { blocks: "zeroKvHeads", state: "ssm" } },
  granitehybrid: { recurrent: { blocks: "zeroKvHeads", state: "ssm" } },
  "falcon-h1": { recurrent: { blocks: "besideAttention", state: "ssm" } },
  nemotron_h: { flags: ["noGate"], recurrent: { blocks: "zeroKvHeadsZeroFfn", state: "ssm" } },
  nemotron_h_moe: {
    flags: ["noGate", "noExpertGate", "expertProbsBias"],
    recurrent: { blocks: "zeroKvHeadsZeroFfn", state: "ssm" },
  },
  lfm2: { flags: ["qkNorm"], recurrent: { blocks: "zeroKvHeads", state: "shortConv" } },
  lfm2moe: { flags: ["qkNorm", "expertProbsBias"], recurrent: { blocks: "zeroKvHeads", state: "shortConv" } },
  "kimi-linear": {
    attention: "mla",
    flags: ["expertProbsBias"],
    recurrent: kimiDelta,
    sharedExpertCount: 1,
    tied: "never",
  },
  "minimax-01": { recurrent: { blocks: "interval", interval: 8, state: "lightning" } },
  // Only layers and caches of the next three are exact; their tensors come from the file.
  "kimi-k3": { attention: "mla", flags: ["expertProbsBias"], recurrent: kimiDelta, tied: "never" },
  bailingmoe3: { attention: "mla", flags: ["expertProbsBias"], recurrent: kimiDelta },
  qwen4exp: { flags: ["gatedQuery", "qkNorm", "sharedGate"], recurrent: deltaNet, sharedExpertCount: 1 },
  dream: { flags: ["qkvBias"], noCache: true },
  llada: { noCache: true },
  "llada-moe": { flags: ["qkNorm"], noCache: true },
  rnd1: { flags: ["qkNorm"], noCache: true },
  rwkv6: { recurrent: { blocks: "all", state: "wkv" }, tied: "never" },
  rwkv7: { recurrent: { blocks: "all", state: "wkv" }, tied: "never" },
  rwkv6qwen2: { recurrent: { blocks: "all", state: "wkv" } },
  arwkv7: { recurrent: { blocks: "all", state: "wkv" } },
  bert: {
    ...encoder,
    flags: ["positionEmbedding", "tokenTypes", "embeddingNorm", "noGate", "qkvBias", "outBias", "ffnBias"],
  },
  "nomic-bert": { ...encoder, flags: ["tokenTypes", "embeddingNorm", "qkvFused"] },
  "nomic-bert-moe": {
    ...encoder,
    flags: ["tokenTypes", "embeddingNorm", "qkvFused", "qkvBias", "outBias", "noGate", "ffnBias", "noExpertGate"],
  },
  "modern-bert": { ...encoder, flags: ["embeddingNorm", "qkvFused", "gateFused"] },
};

const TRAITS = new Map<string, ArchitectureTraits>(
  Object.entries(DRAFTS).map(([architecture, draft]) => [architecture, finish(draft, true)]),
);
const UNKNOWN = finish({}, false);

/** Traits of `architecture`; Llama's, marked unknown, for one never heard of. */
export function traitsOf(architecture: string): ArchitectureTraits {
  return TRAITS.get(architecture) ?? UNKNOWN;
}

/** Architectures whose layers and tensors are known exactly. */
export const KNOWN_ARCHITECTURES: readonly string[] = [...TRAITS.keys()];

function finish(draft: Draft, known: boolean): ArchitectureTraits {
  return { tied: "either", ...draft, flags: new Set(draft.flags ?? []), known };
}
