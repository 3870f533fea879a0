/** What one architecture's graph does differently, as far as it shows in the compute buffers. From llama.cpp's graphs. */

/** Blocks of one kind of arrangement. */
export type BlockKind =
  /** Attention, then feed-forward, each added to what came in. */
  | "sequential"
  /** Both read the same input and are added together. */
  | "parallel"
  /** Attention and a state-space mixer side by side, then feed-forward (Falcon H1). */
  | "besideMixer"
  /** One job per block (Nemotron-H, Mamba). */
  | "single"
  /** Norms behind each part, nothing cached (BERT). */
  | "encoder"
  | "gemma3n";

export interface GraphTraits {
  kind: BlockKind;
  /** Every row is kept to the end, for drafting heads that read them. */
  cutsAtTheEnd: boolean;
  scalesEmbeddings: boolean;
  softcapsLogits: boolean;
  /** The rows behind the logits are scaled, into bytes of their own. */
  scalesHidden: boolean;
  softcapsScores: boolean;
  /** The incoming value is the first addend, so it is the one written over. */
  residualFirst: "no" | "feedForward" | "always";
  /** Position rotation: everywhere, nowhere, not in full-attention blocks beside sliding ones, or not in every fourth. */
  rope: "all" | "none" | "slidingOnly" | "notEveryFourth";
  /** The query matrix also yields a gate per element (Qwen3.5). */
  gatedQuery: boolean;
  /** Values are normalised too (Gemma 3n and 4). */
  normsValues: boolean;
  /** Queries and keys are normalised without weights behind rope (Llama 4). */
  normsAfterRope: boolean;
  /** Router weights are applied before the experts. */
  weighsBeforeExperts: boolean;
  /** Scores of the router become weights of the chosen ones only. */
  lateSoftmax: boolean;
  /** The chosen weights are scaled to sum to one. */
  normalizesWeights: boolean;
  /** The dense part runs before the experts beside it. */
  sharedFirst: boolean;
}

const plain: GraphTraits = {
  kind: "sequential",
  cutsAtTheEnd: false,
  scalesEmbeddings: false,
  softcapsLogits: false,
  scalesHidden: false,
  softcapsScores: false,
  residualFirst: "no",
  rope: "all",
  gatedQuery: false,
  normsValues: false,
  normsAfterRope: false,
  weighsBeforeExperts: false,
  lateSoftmax: false,
  normalizesWeights: true,
  sharedFirst: false,
};

const gemma: Partial<GraphTraits> = { scalesEmbeddings: true };
const qwenHybrid: Partial<GraphTraits> = { cutsAtTheEnd: true, gatedQuery: true };
const granite: Partial<GraphTraits> = { scalesEmbeddings: true };

const bert: Partial<GraphTraits> = { kind: "encoder" };

const DEVIATIONS: Record<string, Partial<GraphTraits>> = {
  afmoe: { scalesEmbeddings: true, rope: "slidingOnly" },
  bert: { ...bert, rope: "none" },
  cohere2: { kind: "parallel", rope: "slidingOnly" },
  cohere2moe: { kind: "parallel", rope: "slidingOnly", cutsAtTheEnd: true },
  "command-r": { kind: "parallel" },
  deepseek: { normalizesWeights: false },
  "exaone-moe": { rope: "slidingOnly" },
  exaone4: { rope: "slidingOnly" },
  falcon: { kind: "parallel" },
  "falcon-h1": { kind: "besideMixer" },
  gemma,
  gemma2: { ...gemma, softcapsLogits: true, softcapsScores: true },
  gemma3: gemma,
  gemma3n: { ...gemma, kind: "gemma3n", softcapsLogits: true, normsValues: true },
  gemma4: { ...gemma, softcapsLogits: true, cutsAtTheEnd: true, normsValues: true },
  "gemma-embedding": gemma,
  "gpt-oss": { cutsAtTheEnd: true, lateSoftmax: true, normalizesWeights: false },
  gptneox: { kind: "parallel" },
  granite,
  granitehybrid: granite,
  granitemoe: granite,
  granite_swa: granite,
  grok: { scalesEmbeddings: true, softcapsLogits: true, softcapsScores: true },
  "hunyuan-moe": { sharedFirst: true },
  hy_v3: { cutsAtTheEnd: true },
  jamba: { residualFirst: "always", rope: "none", normalizesWeights: false },
  "kimi-linear": { rope: "none" },
  lfm2: { residualFirst: "always" },
  lfm2moe: { residualFirst: "always" },
  llama4: { rope: "notEveryFourth", normsAfterRope: true, weighsBeforeExperts: true, normalizesWeights: false },
  mamba: { kind: "single" },
  mamba2: { kind: "single" },
  minicpm: { scalesEmbeddings: true },
  minicpm3: { scalesEmbeddings: true, scalesHidden: true },
  "nomic-bert": bert,
  "nomic-bert-moe": bert,
  nemotron_h: { kind: "single", cutsAtTheEnd: true, rope: "none" },
  nemotron_h_moe: { kind: "single", cutsAtTheEnd: true, rope: "none" },
  olmoe: { normalizesWeights: false },
  phi2: { kind: "parallel" },
  phi3: { residualFirst: "feedForward" },
  phimoe: { residualFirst: "feedForward" },
  qwen2moe: { normalizesWeights: false },
  qwen35: qwenHybrid,
  qwen35moe: qwenHybrid,
  qwen3next: qwenHybrid,
  smallthinker: { rope: "slidingOnly" },
  smollm3: { rope: "notEveryFourth" },
  step35: { cutsAtTheEnd: true },
};

const traits = new Map<string, GraphTraits>(
  Object.entries(DEVIATIONS).map(([architecture, deviation]) => [architecture, { ...plain, ...deviation }]),
);

export function graphTraitsOf(architecture: string): GraphTraits {
  return traits.get(architecture) ?? plain;
}
