/** Fills what a description of a model leaves open, and says so: vocabulary, tied embeddings, unknown architectures. */
import { perLayerMax } from "./model-keys.ts";
import type { ModelShape } from "./model-shape.ts";
import { countElements, tensorsOf } from "./shapes.ts";
import type { TensorHints } from "./shapes-list.ts";

/** Vocabulary of the architecture's usual tokenizer, for metadata that names none. */
const VOCABULARIES: readonly (readonly [prefix: string, size: number])[] = [
  ["qwen35", 248_320],
  ["qwen", 151_936],
  ["gemma", 262_144],
  ["gpt-oss", 201_088],
  ["phi3", 32_064],
  ["deepseek", 129_280],
  ["granite", 100_352],
  ["command", 256_000],
  ["cohere", 256_000],
  ["glm", 151_552],
  ["lfm", 65_536],
  ["mistral", 131_072],
  ["falcon", 65_024],
  ["nemotron", 131_072],
];
const vocabularyUsual = 128_256;
/** Families whose vocabulary changed with a version cannot be told apart by architecture; the spread is within this. */
const tiedParametersMax = 4e9;

/** The vocabulary's size as given, worked back from the parameter count, or the architecture's usual one. */
export function settleVocabulary(shape: ModelShape, parameterCount: number | undefined, assumptions: string[]): number {
  if (shape.vocabularySize !== undefined) return shape.vocabularySize;
  const usual = VOCABULARIES.find(([prefix]) => shape.architecture.startsWith(prefix))?.[1] ?? vocabularyUsual;
  if (parameterCount !== undefined && shape.traits.known) {
    const body = countElements(tensorsOf(shape, 0, { tiedEmbeddings: true }));
    const sheets = shape.traits.tied === "always" ? [1] : shape.traits.tied === "never" ? [2] : [1, 2];
    const sizes = sheets.map((count) => Math.round((parameterCount - body) / (count * shape.embeddingLength)));
    const best = nearest(
      sizes.filter((size) => size > 1000 && size < 1_000_000),
      usual,
    );
    if (best !== undefined) {
      assumptions.push(`The vocabulary's size is worked out from the parameter count: ${best}.`);
      return best;
    }
  }
  assumptions.push(`The vocabulary's size is not given; ${usual} is assumed.`);
  return usual;
}

/** Tensor facts as given, else whichever reading comes nearest to the parameter count, else the usual. */
export function settleHints(
  shape: ModelShape,
  vocabularySize: number,
  given: Partial<TensorHints>,
  parameterCount: number | undefined,
  assumptions: string[],
): TensorHints {
  return { ...given, tiedEmbeddings: settleTied(shape, vocabularySize, given, parameterCount, assumptions) };
}

function settleTied(
  shape: ModelShape,
  vocabularySize: number,
  given: Partial<TensorHints>,
  parameterCount: number | undefined,
  assumptions: string[],
): boolean {
  if (shape.traits.tied !== "either") return shape.traits.tied === "always";
  if (given.tiedEmbeddings !== undefined) return given.tiedEmbeddings;
  const tiedCount = countElements(tensorsOf(shape, vocabularySize, { ...given, tiedEmbeddings: true }));
  const matrix = shape.embeddingLength * vocabularySize;
  if (parameterCount !== undefined && shape.traits.known) {
    return Math.abs(parameterCount - tiedCount) <= Math.abs(parameterCount - tiedCount - matrix);
  }
  const tied = tiedCount < tiedParametersMax;
  assumptions.push(
    `Whether the output matrix is the embedding is not given; ${tied ? "it is" : "it is not"} assumed to be.`,
  );
  return tied;
}

/** An unknown architecture with its feed-forward width stretched until the derived tensors add up to the count. */
export function widenToCount(
  shape: ModelShape,
  vocabularySize: number,
  hints: TensorHints,
  parameterCount: number | undefined,
  assumptions: string[],
): ModelShape {
  if (parameterCount === undefined) return shape;
  const moe = shape.expertCount > 0;
  const own = moe ? shape.expertFeedForwardLength : shape.feedForwardLength;
  const width = perLayerMax(own);
  const sum = countElements(tensorsOf(shape, vocabularySize, hints));
  const without = countElements(tensorsOf(withWidth(shape, moe, 0), vocabularySize, hints));
  if (width === 0 || sum === without || parameterCount <= without) return shape;
  const scaled = Math.max(1, Math.round((width * (parameterCount - without)) / (sum - without)));
  if (scaled === width) return shape;
  assumptions.push("Its feed-forward width is scaled so that the tensors add up to the parameter count.");
  return withWidth(shape, moe, scaled);
}

function withWidth(shape: ModelShape, moe: boolean, width: number): ModelShape {
  return moe ? { ...shape, expertFeedForwardLength: width } : { ...shape, feedForwardLength: width };
}

function nearest(values: readonly number[], target: number): number | undefined {
  let best: number | undefined;
  for (const value of values)
    if (best === undefined || Math.abs(value - target) < Math.abs(best - target)) best = value;
  return best;
}
