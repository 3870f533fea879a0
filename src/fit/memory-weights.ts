/**
 * Bytes of a model's tensors, sorted by where llama.cpp puts them: the input embeddings, each block (with its routed
 * experts apart), and the output head. Computed once per model and quantization.
 */
import { AppError } from "../core/errors.ts";
import { traitsOf } from "./model-traits.ts";
import { tensorBytes } from "./quantization.ts";
import { quantizationTensorBytes, quantizationWeightBytes } from "./quantization-bytes.ts";
import { findQuantization } from "./quantization-list.ts";
import { typedWeightBytes, type WeightBytes } from "./quantization-mixes.ts";
import type { ModelSpec } from "./types.ts";

export interface WeightTable {
  /** Token and per-layer embedding tables: read row by row, so they stay in host memory whatever is offloaded. */
  inputBytes: number;
  /** Final norm and output matrix. */
  outputBytes: number;
  /** Tensors without a block of their own that go where the first block goes. */
  firstBlockBytes: number;
  /** With tied embeddings: the copy of the token embedding that an output head on a GPU needs. 0 otherwise. */
  tiedOutputBytes: number;
  /** Per block, multi-token-prediction blocks last; experts included. */
  blockBytes: Float64Array;
  /** The part of each block that is routed expert matrices. */
  expertBytes: Float64Array;
  /** Largest single matrix that may go to a GPU: a backend with an allocation limit cannot split it. */
  largestTensorBytes: number;
  /** Every tensor once. */
  totalBytes: number;
  /** Bytes of `model.tensors[index]`. */
  tensorBytes: (index: number) => number;
  /** The most that a tensor of the same name and shape takes in any block. */
  heaviestBytes: (index: number) => number;
}

/** llama.cpp creates these with the first block. */
const firstBlockNames: ReadonlySet<string> = new Set([
  "per_layer_model_proj.weight",
  "per_layer_proj_norm.weight",
  "rope_freqs.weight",
  "token_embd_norm.weight",
  "token_embd_norm.bias",
]);

const tables = new WeakMap<ModelSpec, Map<string, WeightTable>>();

/**
 * The table for `quantization`; left out: the file's own types.
 * Throws AppError invalid_request when the model is only a shape and no quantization is named, or an unknown one.
 */
export function weightTable(model: ModelSpec, quantization?: string): WeightTable {
  const key = quantization ?? "";
  let byName = tables.get(model);
  if (byName === undefined) {
    byName = new Map();
    tables.set(model, byName);
  }
  let table = byName.get(key);
  if (table === undefined) {
    table = createTable(model, quantization);
    byName.set(key, table);
  }
  return table;
}

/** True for models whose result is vectors: they have no output matrix. */
export function isEncoder(architecture: string): boolean {
  const { noCache, tied } = traitsOf(architecture);
  return noCache === true && tied === "always";
}

/** True when every tensor's type is known, as in a file. */
export function hasTensorTypes(model: ModelSpec): boolean {
  return model.tensors.length > 0 && model.tensors.every((tensor) => tensor.type !== undefined);
}

function createTable(model: ModelSpec, quantization: string | undefined): WeightTable {
  const bytes = bytesOf(model, quantization);
  const factor = fileFactor(model, quantization, bytes.total);
  const sizeOf = lazySizes(model, quantization);
  const tensorBytesAt = (index: number) => sizeOf(index) * factor;
  const first = model.tensors.reduce(
    (sum, { name }, index) => sum + (firstBlockNames.has(name) ? tensorBytesAt(index) : 0),
    0,
  );
  return {
    inputBytes: bytes.input * factor,
    outputBytes: bytes.output * factor - first,
    firstBlockBytes: first,
    tensorBytes: tensorBytesAt,
    heaviestBytes: lazyHeaviest(model, tensorBytesAt),
    tiedOutputBytes: isEncoder(model.architecture) ? 0 : bytes.tiedOutput * factor,
    blockBytes: bytes.layers.map((one) => one * factor),
    expertBytes: bytes.experts.map((one) => one * factor),
    largestTensorBytes: largestBytes(model, bytes) * factor,
    totalBytes: bytes.total * factor,
  };
}

/** Bytes per tensor, worked out when the first one is asked for: few questions need them. */
function lazySizes(model: ModelSpec, quantization: string | undefined): (index: number) => number {
  let sizes: ((index: number) => number) | undefined;
  return (index) => {
    sizes ??= sizesOf(model, quantization);
    return sizes(index);
  };
}

function lazyHeaviest(model: ModelSpec, bytesAt: (index: number) => number): (index: number) => number {
  let heaviest: Map<string, number> | undefined;
  const kindOf = (index: number) => {
    const { name, dims } = model.tensors[index]!;
    return `${name.replace(/^blk\.\d+\./, "")} ${dims.join("x")}`;
  };
  return (index) => {
    if (heaviest === undefined) {
      heaviest = new Map();
      for (let at = 0; at < model.tensors.length; at++) {
        const kind = kindOf(at);
        heaviest.set(kind, Math.max(heaviest.get(kind) ?? 0, bytesAt(at)));
      }
    }
    return heaviest.get(kindOf(index)) ?? 0;
  };
}

function sizesOf(model: ModelSpec, quantization: string | undefined): (index: number) => number {
  if (!usesFileTypes(model, quantization)) return quantizationTensorBytes(model, ggufName(model, quantization));
  return (index) => tensorBytes(model.tensors[index]!.type!, model.tensors[index]!.dims);
}

function usesFileTypes(model: ModelSpec, quantization: string | undefined): boolean {
  return hasTensorTypes(model) && (quantization === undefined || quantization === model.quantization);
}

function bytesOf(model: ModelSpec, quantization: string | undefined): WeightBytes {
  if (usesFileTypes(model, quantization)) {
    return typedWeightBytes(
      model,
      model.tensors.map((tensor) => tensor.type!),
    );
  }
  return quantizationWeightBytes(model, ggufName(model, quantization));
}

/** The name of a quantization of GGUF files; those of other software are priced by their own rules, not here. */
function ggufName(model: ModelSpec, quantization: string | undefined): string {
  const name = quantization ?? model.quantization;
  if (name === undefined) {
    throw new AppError("invalid_request", `Name a quantization for ${model.name}, for example Q4_K_M.`, {
      param: "quantization",
    });
  }
  const known = findQuantization(name);
  if (known?.family !== "gguf") {
    const problem = known === undefined ? "unknown" : `not for GGUF files but for ${known.family}`;
    throw new AppError("invalid_request", `The quantization ${name.slice(0, 40)} is ${problem}. Try Q4_K_M.`, {
      param: "quantization",
    });
  }
  return known.name;
}

/**
 * A published file of a mix may differ from the plain rules (own types for single tensors). When its size is known,
 * the parts are scaled to it: the header with its vocabulary takes about 40 bytes per token.
 */
function fileFactor(model: ModelSpec, quantization: string | undefined, bytes: number): number {
  if (model.fileBytes === undefined || hasTensorTypes(model) || bytes === 0) return 1;
  if (quantization !== undefined && model.quantization !== undefined && quantization !== model.quantization) return 1;
  const data = model.fileBytes - model.vocabularySize * headerBytesPerToken;
  const factor = data / bytes;
  return factor > 0.5 && factor < 2 ? factor : 1;
}

const headerBytesPerToken = 40;

/** An expert stack or the output matrix; what else there is, is smaller. */
function largestBytes(model: ModelSpec, bytes: WeightBytes): number {
  let largest = Math.max(bytes.output, model.tiedEmbeddings ? bytes.input : 0);
  for (const layer of bytes.experts) largest = Math.max(largest, layer / 3);
  return largest;
}

/** Mixes offered for a bare shape, best first: each a visible step in size, none known to ruin the text. */
const ladder = ["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_K_S", "Q3_K_M"] as const;

export function quantizationLadder(_model: ModelSpec): readonly string[] {
  return ladder;
}
