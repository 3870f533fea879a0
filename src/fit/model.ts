/** Any model as one ModelSpec: read from a GGUF header, GGUF metadata, a Hugging Face config, or just its size. */
import { AppError } from "../core/errors.ts";
import { formatParameterCount } from "../core/units.ts";
import { settleHints, settleVocabulary, widenToCount } from "./model-assume.ts";
import { metadataFromConfig } from "./model-config.ts";
import { fileTypeName } from "./model-file-type.ts";
import { perLayerAt } from "./model-keys.ts";
import { isExpertLayer, layersOf } from "./model-layers.ts";
import { type ModelShape, readShape } from "./model-shape.ts";
import { typicalShape } from "./model-size.ts";
import { countElements, tensorsOf } from "./shapes.ts";
import type { TensorHints } from "./shapes-list.ts";
import type { ModelProvenance, ModelSpec, TensorSpec } from "./types.ts";

/** What a GGUF header gives: its metadata and tensor table. */
export interface HeaderFacts {
  metadata: Readonly<Record<string, unknown>>;
  tensors: readonly TensorSpec[];
  /** Size of the file, or of all its parts. */
  fileBytes?: number;
}

export interface SpecOptions {
  name?: string;
  /** Published number of parameters; fits what the metadata leaves open. */
  parameterCount?: number;
  fileBytes?: number;
}

/** A spec from a parsed GGUF header: tensors and types as in the file. Throws `model_file_invalid`. */
export function specFromGguf(header: HeaderFacts, options: SpecOptions = {}): ModelSpec {
  const shape = readShape(header.metadata, "model_file_invalid");
  const { tensors } = header;
  const embedding = tensors.find(({ name }) => name === "token_embd.weight");
  const spec = buildSpec(shape, {
    provenance: "gguf",
    name: options.name,
    tensors: () => tensors,
    parameterCount: countElements(tensors),
    vocabularySize: embedding?.dims[1] ?? shape.vocabularySize ?? 0,
    tiedEmbeddings: !tensors.some(({ name }) => name === "output.weight"),
    assumptions: unknownArchitecture(shape),
  });
  const quantization = fileTypeName(header.metadata["general.file_type"]);
  if (quantization !== undefined) spec.quantization = quantization;
  const fileBytes = options.fileBytes ?? header.fileBytes;
  if (fileBytes !== undefined) spec.fileBytes = fileBytes;
  return spec;
}

/**
 * A spec from GGUF metadata alone ("general.architecture", "llama.block_count" …): tensors are derived.
 * Throws `invalid_request`.
 */
export function specFromMetadata(metadata: Readonly<Record<string, unknown>>, options: SpecOptions = {}): ModelSpec {
  return specFromKeys(metadata, "gguf", options);
}

/** A spec from a Hugging Face `config.json`. Throws `invalid_request`. */
export function specFromConfig(config: Readonly<Record<string, unknown>>, options: SpecOptions = {}): ModelSpec {
  const { metadata, hints, assumptions } = metadataFromConfig(config);
  return specFromKeys(metadata, "config", options, hints, assumptions);
}

/** The typical shape of a model of `count` parameters: said so in `assumptions`. Throws `invalid_request`. */
export function specFromParameterCount(
  count: number,
  options: { name?: string; activeParameterCount?: number } = {},
): ModelSpec {
  const { metadata, hints, assumptions } = typicalShape(count, options.activeParameterCount);
  return specFromKeys(
    metadata,
    "size",
    { name: options.name ?? `${formatParameterCount(count)} model` },
    hints,
    assumptions,
  );
}

/** The common road of every source without a tensor table. Throws `invalid_request`. */
export function specFromKeys(
  metadata: Readonly<Record<string, unknown>>,
  provenance: ModelProvenance,
  options: SpecOptions,
  given: Partial<TensorHints> = {},
  assumed: readonly string[] = [],
): ModelSpec {
  checkPositive(options.parameterCount, "parameterCount");
  checkPositive(options.fileBytes, "fileBytes");
  const read = readShape(metadata, "invalid_request");
  const assumptions = [...assumed, ...unknownArchitecture(read)];
  const vocabularySize = settleVocabulary(read, options.parameterCount, assumptions);
  const hints = settleHints(read, vocabularySize, given, options.parameterCount, assumptions);
  const shape = read.traits.known
    ? read
    : widenToCount(read, vocabularySize, hints, options.parameterCount, assumptions);
  const spec = buildSpec(shape, {
    provenance,
    name: options.name,
    tensors: () => tensorsOf(shape, vocabularySize, hints),
    parameterCount: options.parameterCount,
    vocabularySize,
    tiedEmbeddings: hints.tiedEmbeddings,
    assumptions,
  });
  const quantization = fileTypeName(metadata["general.file_type"]);
  if (quantization !== undefined) spec.quantization = quantization;
  if (options.fileBytes !== undefined) spec.fileBytes = options.fileBytes;
  return spec;
}

interface SpecParts {
  provenance: ModelProvenance;
  name: string | undefined;
  tensors: () => readonly TensorSpec[];
  /** Counted from the tensors when undefined. */
  parameterCount: number | undefined;
  vocabularySize: number;
  tiedEmbeddings: boolean;
  assumptions: readonly string[];
}

/** Tensors are derived on first use: a catalogue listing needs none of them. */
function buildSpec(shape: ModelShape, parts: SpecParts): ModelSpec {
  let tensors: readonly TensorSpec[] | undefined;
  const tensorsOnce = () => (tensors ??= parts.tensors());
  const parameterCount = parts.parameterCount ?? countElements(tensorsOnce());
  return {
    name: parts.name ?? shape.name ?? `${shape.architecture} model`,
    provenance: parts.provenance,
    architecture: shape.architecture,
    parameterCount,
    activeParameterCount: parameterCount - idleParameters(shape, parts.vocabularySize),
    layerCount: shape.layerCount,
    mtpLayerCount: shape.mtpLayerCount,
    embeddingLength: shape.embeddingLength,
    vocabularySize: parts.vocabularySize,
    contextLengthTrained: shape.contextLengthTrained,
    slidingWindow: shape.slidingWindow,
    layers: layersOf(shape),
    expertCount: shape.expertCount,
    expertUsedCount: shape.expertUsedCount,
    tiedEmbeddings: parts.tiedEmbeddings,
    get tensors() {
      return tensorsOnce();
    },
    assumptions: parts.assumptions,
  };
}

/** Weights no token reads whole: experts not chosen, per-layer embedding tables, MTP blocks. */
function idleParameters(shape: ModelShape, vocabularySize: number): number {
  const outer = shape.expertLatentLength || shape.embeddingLength;
  const matrices = shape.traits.flags.has("noExpertGate") ? 2 : 3;
  let idle = 0;
  for (let index = 0; index < shape.layerCount; index++) {
    if (!isExpertLayer(shape, index)) continue;
    const inner = perLayerAt(shape.expertFeedForwardLength, index);
    idle += matrices * outer * inner * (shape.expertCount - shape.expertUsedCount);
  }
  return idle + shape.perLayerEmbeddingLength * shape.layerCount * vocabularySize;
}

function unknownArchitecture(shape: ModelShape): string[] {
  if (shape.traits.known) return [];
  return [`The architecture "${shape.architecture}" is not known here; its blocks are taken to be built like Llama's.`];
}

function checkPositive(value: number | undefined, param: string): void {
  if (value === undefined || (Number.isFinite(value) && value > 0 && value < 1e16)) return;
  throw new AppError("invalid_request", `${param} must be a positive number.`, { param });
}
