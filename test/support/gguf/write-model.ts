/** Writes small GGUF models that llama.cpp loads and generates from. Nothing in them derives from a published model. */
import { type ArchitectureName, listMetadata, listTensors, RECIPES } from "./architectures.ts";
import { type Brain, createBrain } from "./brain.ts";
import { type MetadataEntry, type TensorTypeName, writeGguf } from "./container.ts";
import { SHAPES, type Shape, type ShapeName } from "./shapes.ts";

export interface ModelOptions {
  /** Default "qwen3". */
  architecture?: ArchitectureName;
  /** Default "tiny". */
  shape?: ShapeName | Shape;
  /** Type of the matrices; rows that do not divide into its blocks become Q8_0 or F16. Default F16. */
  type?: TensorTypeName;
  /** Default "script". */
  brain?: Brain;
  /** What a scripted model says, instead of `SCRIPT_LINES`; words of theirs and control tokens. */
  script?: readonly string[];
  /** Adds the head of a reranker; for qwen3 and bert. */
  rank?: boolean;
  /** Default 1. */
  seed?: number;
  /** `general.name`. */
  name?: string;
  /** Metadata keys or tensor names to leave out: what a loader does then is worth testing. */
  drop?: readonly string[];
  /** Replaces entries of the same key, and adds the others at the end. */
  metadata?: readonly MetadataEntry[];
}

export interface WrittenModel {
  path: string;
  fileBytes: number;
  /** Where the tensor data starts. */
  headerBytes: number;
  parameterCount: number;
}

export function writeModel(path: string, options: ModelOptions = {}): WrittenModel {
  const { architecture = "qwen3", type = "F16", seed = 1, drop = [], rank = false } = options;
  // An encoder says nothing, so there is no script it could follow.
  const brain = options.brain ?? (architecture === "bert" ? "random" : "script");
  const recipe = RECIPES[architecture];
  const shape: Shape = typeof options.shape === "object" ? options.shape : SHAPES[options.shape ?? "tiny"];
  const vocabulary = recipe.vocabulary(shape.vocabularySize ?? 0);
  const name = options.name ?? `test ${architecture} ${brain}`;
  const scripted = brain === "script" || brain === "endless";
  const metadata = replaceEntries(
    listMetadata(recipe, shape, { name, type, vocabulary, rank }),
    options.metadata ?? [],
  );
  const tensors = listTensors(recipe, shape, {
    type,
    vocabularySize: vocabulary.tokens.length,
    brain: createBrain(brain, vocabulary, {
      embeddingLength: shape.embeddingLength,
      seed,
      ...(options.script === undefined ? {} : { script: options.script }),
    }),
    rank,
    writeOutput: scripted || shape.tiedEmbeddings !== true,
  }).filter((tensor) => !drop.includes(tensor.name));
  const written = writeGguf(
    path,
    metadata.filter((entry) => !drop.includes(entry.key)),
    tensors,
  );
  const parameterCount = tensors.reduce((sum, tensor) => sum + tensor.dims.reduce((a, b) => a * b, 1), 0);
  return { path, parameterCount, ...written };
}

function replaceEntries(entries: readonly MetadataEntry[], replacements: readonly MetadataEntry[]): MetadataEntry[] {
  const byKey = new Map(entries.map((entry) => [entry.key, entry]));
  for (const entry of replacements) byKey.set(entry.key, entry);
  return [...byKey.values()];
}
