/**
 * One forward pass under construction: the model's weights by name, the sizes of the batch, and the small steps every
 * architecture is made of. Steps follow llama.cpp's graph builder (`llama-graph.cpp`) in order and shape.
 */
import { Graph, type Tensor } from "./compute-graph.ts";
import { type GraphTraits, graphTraitsOf } from "./compute-traits.ts";
import { type CacheCells, cacheCells, cacheRowBytes, isWindowed, microBatchOf } from "./memory-cache.ts";
import { traitsOf } from "./model-traits.ts";
import { HOST, type Placement } from "./placement.ts";
import { TENSOR_TYPES } from "./quantization.ts";
import type { LayerSpec, ModelSpec, RuntimeSettings } from "./types.ts";

/** A weight of the model: its shape, and its place in `model.tensors`. */
export interface WeightShape {
  dims: readonly number[];
  index: number;
  /** Belongs to routed experts. */
  routed: boolean;
}

/** Weights of one block, or of the model outside its blocks, by the part of the name that is left. */
export type WeightsByName = ReadonlyMap<string, WeightShape>;

export interface ModelWeights {
  outside: WeightsByName;
  blocks: readonly WeightsByName[];
}

/** Norms that subtract the mean; they cannot work in place. */
const layerNormed: ReadonlySet<string> = new Set([
  "bert",
  "bloom",
  "chameleon",
  "codeshell",
  "cohere2",
  "command-r",
  "dbrx",
  "falcon",
  "gpt2",
  "gptneox",
  "jais",
  "jais2",
  "modern-bert",
  "mpt",
  "nemotron",
  "nomic-bert",
  "olmo",
  "orion",
  "phi2",
  "stablelm",
  "starcoder",
  "starcoder2",
]);

const compiled = new WeakMap<ModelSpec, ModelWeights>();

export function modelWeights(model: ModelSpec): ModelWeights {
  let weights = compiled.get(model);
  if (weights === undefined) {
    weights = compileWeights(model);
    compiled.set(model, weights);
  }
  return weights;
}

function compileWeights(model: ModelSpec): ModelWeights {
  const outside = new Map<string, WeightShape>();
  const blocks = model.layers.map(() => new Map<string, WeightShape>());
  model.tensors.forEach(({ name, dims }, index) => {
    const match = /^blk\.(\d+)\.(.+)$/.exec(name);
    const target = match === null ? outside : blocks[Number(match[1])];
    target?.set((match?.[2] ?? name).replace(/\.weight$/, ""), { dims, index, routed: name.includes("_exps") });
  });
  return { outside, blocks };
}

/** What the graph of a pass depends on, besides the model. */
export interface PassOptions {
  settings: RuntimeSettings;
  placement: Placement;
  /** Bytes to keep for a weight that a GPU borrows. */
  weightBytes: (index: number) => number;
  /** True when kernels widen a quantized cache to half precision first. */
  widensCache: boolean;
}

interface CacheInputs {
  /** Where rows of keys and values are written; builds of 2024 write to one place without an index. */
  keyIndex: Tensor | undefined;
  valueIndex: Tensor | undefined;
  mask: Tensor;
  cells: number;
}

export class Pass {
  readonly graph = new Graph();
  readonly model: ModelSpec;
  readonly settings: RuntimeSettings;
  readonly weights: ModelWeights;
  readonly cells: CacheCells;
  readonly host: number;
  /** Tokens of the micro-batch, rounded up to whole rows per sequence. */
  readonly tokens: number;
  readonly sequences: number;
  readonly outputs: number;
  readonly layerNorms: boolean;
  readonly embedding: number;
  /** True for builds of 2024: no fused activation, fewer inputs, masks in single precision. */
  readonly legacy: boolean;
  /** Every block and the head are on GPUs. */
  readonly offloadsAll: boolean;
  readonly #options: PassOptions;
  readonly #cacheInputs = new Map<boolean, CacheInputs>();
  readonly #rotations = new Map<string, Tensor>();
  readonly drafts: number;
  readonly traits: GraphTraits;
  #positions: Tensor | undefined;
  #stateIds: Tensor | undefined;
  #attentionScale: Tensor | undefined;
  readonly #batchMasks = new Map<boolean, Tensor>();
  #outputIds: Tensor | undefined;

  constructor(model: ModelSpec, options: PassOptions) {
    const { settings, placement } = options;
    this.model = model;
    this.settings = settings;
    this.#options = options;
    this.weights = modelWeights(model);
    this.cells = cacheCells(model, settings);
    this.host = placement.gpuCount;
    this.offloadsAll = placement.output !== HOST && !placement.blocks.includes(HOST);
    this.sequences = settings.sequenceCount;
    this.legacy = settings.buildFamily === "llama.cpp-2024";
    const allCells = this.cells.perStream * this.cells.streams;
    const batch = Math.min(microBatchOf(model, settings), allCells);
    this.tokens = Math.ceil(batch / this.sequences) * this.sequences;
    this.outputs = Math.min(batch, outputsReserved(settings, batch));
    // Phi 3.5 MoE has biases beside its norms, but does not subtract the mean.
    const { flags } = traitsOf(model.architecture);
    this.layerNorms =
      layerNormed.has(model.architecture) || (flags.has("layerNorm") && model.architecture !== "phimoe");
    this.traits = graphTraitsOf(model.architecture);
    this.drafts = settings.draftTokensMax ?? 0;
    this.embedding = model.embeddingLength;
  }

  deviceOf(block: number): number {
    const device = this.#options.placement.blocks[block]!;
    return device === HOST ? this.host : device;
  }

  get outputDevice(): number {
    const { output } = this.#options.placement;
    return output === HOST ? this.host : output;
  }

  spec(block: number): LayerSpec {
    return this.model.layers[block]!;
  }

  has(block: number, name: string): boolean {
    return this.weights.blocks[block]!.has(name);
  }

  shape(block: number, name: string): readonly number[] | undefined {
    return this.weights.blocks[block]!.get(name)?.dims;
  }

  /** A weight of a block as a tensor on the block's device; experts may be left on the host. */
  weight(block: number, name: string): Tensor | undefined {
    const found = this.weights.blocks[block]!.get(name);
    if (found === undefined) return undefined;
    const experts = found.routed && this.#options.placement.hostExperts[block] === 1;
    return this.#placed(found, experts ? this.host : this.deviceOf(block));
  }

  outsideShape(name: string): readonly number[] | undefined {
    return this.weights.outside.get(name)?.dims;
  }

  outsideWeight(name: string, device: number): Tensor | undefined {
    const found = this.weights.outside.get(name);
    return found === undefined ? undefined : this.#placed(found, device);
  }

  /** Bytes matter only where a GPU may borrow the weight. */
  #placed({ index }: WeightShape, device: number): Tensor {
    const lent = device === this.host && this.host > 0;
    return this.graph.weight(device, lent ? this.#options.weightBytes(index) : 0);
  }

  /** `name`'s matrix times `input`, plus its bias; `input` itself when the block lacks it. */
  linear(block: number, name: string, input: Tensor): Tensor {
    const weight = this.weight(block, name);
    if (weight === undefined) return input;
    return this.biased(block, name, this.graph.matmul(weight, input, this.shape(block, name)![1] ?? 1));
  }

  biased(block: number, name: string, input: Tensor): Tensor {
    const bias = this.weight(block, `${name}.bias`);
    return bias === undefined ? input : this.graph.add(input, bias);
  }

  /** Normalises `input`; the kind that cannot work in place gets its own bytes. */
  normalize(input: Tensor): Tensor {
    if (!this.layerNorms) return this.graph.rmsNorm(input);
    return this.graph.node("other", [input], input.ne0, input.ne1, input.ne2, input.ne3);
  }

  norm(block: number, name: string, input: Tensor): Tensor {
    const weight = this.weight(block, name);
    let current = this.normalize(input);
    // Else it would join the block before, and both it and the residual would travel to the next GPU.
    if (this.offloadsAll) current.device = this.deviceOf(block);
    if (weight !== undefined) current = this.graph.mul(current, weight);
    return this.biased(block, name, current);
  }

  get positions(): Tensor {
    this.#positions ??= this.graph.input(4, this.tokens);
    return this.#positions;
  }

  /** Who may look at whom within the micro-batch, where nothing is cached; windowed blocks have a mask of their own. */
  batchMask(block: number): Tensor {
    const windowed = this.model.slidingWindow > 0 && (block + 1) % fullBatchPeriod !== 0;
    let mask = this.#batchMasks.get(windowed);
    if (mask === undefined) {
      mask = this.graph.input(this.settings.flashAttention ? 2 : 4, this.tokens, this.tokens);
      this.#batchMasks.set(windowed, mask);
    }
    return mask;
  }

  /** Scale of queries by position (Llama 4's full-attention blocks). */
  get attentionScale(): Tensor {
    this.#attentionScale ??= this.graph.input(4, this.tokens);
    return this.#attentionScale;
  }

  /** Which state belongs to which sequence. */
  get stateIds(): Tensor {
    this.#stateIds ??= this.graph.input(4, this.sequences);
    return this.#stateIds;
  }

  get outputIds(): Tensor {
    this.#outputIds ??= this.graph.input(4, this.outputs);
    return this.#outputIds;
  }

  /** Only the rows whose logits are wanted. */
  outputRows(input: Tensor): Tensor {
    return this.graph.node("rows", [input, this.outputIds], input.ne0, this.outputs);
  }

  /** Whether queries and keys of a block are rotated by position. */
  rotates(block: number): boolean {
    switch (this.traits.rope) {
      case "none":
        return false;
      case "slidingOnly":
        return this.model.slidingWindow === 0 || isWindowed(this.spec(block));
      case "notEveryFourth":
        return (block + 1) % 4 !== 0;
      default:
        return true;
    }
  }

  rope(input: Tensor): Tensor {
    const { ne0, ne1, ne2, ne3 } = input;
    return this.graph.node("rope", [input, this.positions], ne0, ne1, ne2, ne3);
  }

  /** Indices and mask of the full or the windowed cache; shared by all blocks. */
  cacheInputs(block: number): CacheInputs {
    const windowed = isWindowed(this.spec(block)) || this.readsWindow(block);
    let inputs = this.#cacheInputs.get(windowed);
    if (inputs === undefined) {
      const { streams, perStream, slidingPerStream } = this.cells;
      const cells = windowed ? slidingPerStream : perStream;
      inputs = { cells, ...this.#indices(), mask: this.#mask(cells, streams) };
      this.#cacheInputs.set(windowed, inputs);
    }
    return inputs;
  }

  #indices(): Pick<CacheInputs, "keyIndex" | "valueIndex"> {
    if (this.legacy) return { keyIndex: undefined, valueIndex: undefined };
    const transposed = this.settings.flashAttention ? 1 : this.widestValueRow;
    return { keyIndex: this.graph.input(8, this.tokens), valueIndex: this.graph.input(8, this.tokens * transposed) };
  }

  #mask(cells: number, streams: number): Tensor {
    const rows = this.tokens / streams;
    const flash = this.settings.flashAttention;
    if (!this.legacy) return this.graph.input(flash ? 2 : 4, cells, rows, 1, streams);
    const padded = Math.ceil(rows / legacyMaskRows) * legacyMaskRows;
    const mask = this.graph.input(4, cells, padded);
    return flash ? this.graph.node("other", [mask], cells, padded, 1, 1, 2) : mask;
  }

  /** A block that shares an earlier cache reads the one of its own kind. */
  readsWindow(block: number): boolean {
    const spec = this.spec(block);
    if (spec.attention !== "shared") return false;
    return this.model.layers.some((layer) => isWindowed(layer) && layer.keyLength === spec.keyLength);
  }

  get widestValueRow(): number {
    let widest = 1;
    for (const layer of this.model.layers) widest = Math.max(widest, layer.headCountKv * layer.valueLength);
    return widest;
  }

  /** Rotation that spreads outliers before a quantized cache; one matrix per kind of cache. */
  rotation(block: number, part: "key" | "value"): Tensor | undefined {
    const spec = this.spec(block);
    const type = part === "key" ? this.settings.kvCacheTypeK : this.settings.kvCacheTypeV;
    const length = part === "key" ? spec.keyLength : spec.valueLength;
    if (this.legacy || TENSOR_TYPES[type].blockSize === 1 || length % 64 !== 0) return undefined;
    let side = 64;
    while (part === "key" && length % (side * 2) === 0) side *= 2;
    const name = `${part} ${side} ${isWindowed(spec) || this.readsWindow(block)}`;
    let input = this.#rotations.get(name);
    if (input === undefined) {
      input = this.graph.input(4, side, side);
      this.#rotations.set(name, input);
    }
    return input;
  }

  keyCacheBytes(block: number, cells: number): number {
    const { headCountKv, keyLength } = this.spec(block);
    return cells * this.cells.streams * cacheRowBytes(this.settings.kvCacheTypeK, headCountKv * keyLength);
  }

  valueCacheBytes(block: number, cells: number): number {
    const { headCountKv, valueLength } = this.spec(block);
    return cells * this.cells.streams * cacheRowBytes(this.settings.kvCacheTypeV, headCountKv * valueLength);
  }

  /** Half-precision copies a kernel makes of a quantized cache. */
  cacheScratch(block: number, cells: number): number {
    if (!this.#options.widensCache) return 0;
    const { headCountKv, keyLength, valueLength } = this.spec(block);
    const { kvCacheTypeK, kvCacheTypeV } = this.settings;
    const rows = 2 * cells * this.cells.streams * headCountKv;
    return (wide(kvCacheTypeK) ? 0 : rows * keyLength) + (wide(kvCacheTypeV) ? 0 : rows * valueLength);
  }
}

/** EmbeddingGemma, the one encoder with windows here: every sixth block sees the whole text. */
const fullBatchPeriod = 6;

/** Rows of a mask were padded to this for flash attention's sake. */
const legacyMaskRows = 32;

function wide(type: RuntimeSettings["kvCacheTypeK"]): boolean {
  return TENSOR_TYPES[type].blockSize === 1 && TENSOR_TYPES[type].bytesPerBlock === 2;
}

/** Rows of logits a build reserves: every token, or what its slots (and their drafts) can ask for. */
function outputsReserved(settings: RuntimeSettings, batch: number): number {
  if (settings.buildFamily !== "llama-server") return batch;
  return settings.sequenceCount * (1 + (settings.draftTokensMax ?? 0));
}
