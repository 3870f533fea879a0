/**
 * The tensors a GGUF of a given shape holds: names as in the file, dims in ggml order (row length first).
 * Facts from llama.cpp's loader and converter; a file read from disk brings its own list instead.
 */
import { perLayerAt } from "./model-keys.ts";
import { hasIndexer, isExpertLayer, isRecurrent } from "./model-layers.ts";
import type { ModelShape } from "./model-shape.ts";
import { addAttention } from "./shapes-attention.ts";
import { addFeedForward } from "./shapes-feedforward.ts";
import { addPerLayerInputBlock, addPerLayerInputModel } from "./shapes-gemma.ts";
import { addNorm, type TensorHints, TensorList } from "./shapes-list.ts";
import { addRwkvBlock } from "./shapes-rwkv.ts";
import type { TensorSpec } from "./types.ts";

/** Every tensor of the model, MTP blocks included. Blocks alike are worked out once. */
export function tensorsOf(shape: ModelShape, vocabularySize: number, hints: TensorHints): TensorSpec[] {
  const list = new TensorList();
  addModelTensors(list, shape, vocabularySize, hints);
  const { tensors } = list;
  const alike = new Map<string, readonly TensorSpec[]>();
  const count = shape.layerCount + shape.mtpLayerCount;
  for (let index = 0; index < count; index++) {
    const kind = blockKind(shape, index);
    let block = alike.get(kind);
    if (block === undefined) {
      block = blockTensors(shape, index, vocabularySize, hints);
      alike.set(kind, block);
    }
    const prefix = `blk.${index}.`;
    for (const { name, dims } of block) tensors.push({ name: prefix + name, dims });
  }
  return tensors;
}

/** Everything about a block that its tensors depend on. */
function blockKind(shape: ModelShape, index: number): string {
  const marks =
    (isRecurrent(shape, index) ? 1 : 0) |
    (isExpertLayer(shape, index) ? 2 : 0) |
    (hasIndexer(shape, index) ? 4 : 0) |
    (shape.slidingLayers?.[index] ? 8 : 0) |
    (index >= shape.kvLayersFromStart ? 16 : 0) |
    (index >= shape.layerCount ? 32 : 0) |
    (index === 0 ? 64 : 0);
  const heads = `${perLayerAt(shape.headCount, index)},${perLayerAt(shape.headCountKv, index)}`;
  const widths = `${perLayerAt(shape.feedForwardLength, index)},${perLayerAt(shape.expertFeedForwardLength, index)}`;
  return `${marks},${heads},${widths}`;
}

/** Elements of all tensors together: the parameter count. */
export function countElements(tensors: readonly TensorSpec[]): number {
  let sum = 0;
  for (const { dims } of tensors) {
    let elements = 1;
    for (const dim of dims) elements *= dim;
    sum += elements;
  }
  return sum;
}

function addModelTensors(list: TensorList, shape: ModelShape, vocabularySize: number, hints: TensorHints): void {
  const { embeddingLength: width, traits } = shape;
  const rwkv = traits.recurrent?.state === "wkv";
  list.weight("token_embd", width, vocabularySize);
  if (traits.flags.has("positionEmbedding")) list.weight("position_embd", width, shape.contextLengthTrained);
  if (traits.flags.has("tokenTypes")) list.weight("token_types", width, typeCount(shape));
  if (traits.flags.has("embeddingNorm") || (rwkv && traits.tied === "never")) {
    list.weight("token_embd_norm", width);
    if (shape.architecture !== "modern-bert") list.bias("token_embd_norm", width);
  }
  if (!hints.tiedEmbeddings) list.weight("output", width, vocabularySize);
  if (traits.flags.has("outputBias")) list.bias("output", vocabularySize);
  addOutputNorm(list, shape, rwkv);
  addPerLayerInputModel(list, shape, vocabularySize);
  if (hints.ropeFactors === "freqs") list.weight("rope_freqs", Math.floor(shape.ropeLength / 2));
  if (hints.ropeFactors === "longrope") {
    list.weight("rope_factors_long", Math.floor(shape.ropeLength / 2));
    list.weight("rope_factors_short", Math.floor(shape.ropeLength / 2));
  }
}

function addOutputNorm(list: TensorList, shape: ModelShape, rwkv: boolean): void {
  if (shape.traits.flags.has("noOutputNorm") || shape.traits.flags.has("embeddingNorm")) {
    if (shape.architecture === "modern-bert") list.weight("output_norm", shape.embeddingLength);
    return;
  }
  const name = shape.traits.recurrent?.state === "shortConv" ? "token_embd_norm" : "output_norm";
  addNorm(list, shape, name);
  if (rwkv && shape.traits.tied === "never") list.bias(name, shape.embeddingLength);
}

function typeCount(shape: ModelShape): number {
  return shape.reader.integer("tokenizer.ggml.token_type_count", 2, { max: 4096 });
}

function blockTensors(
  shape: ModelShape,
  index: number,
  vocabularySize: number,
  hints: TensorHints,
): readonly TensorSpec[] {
  const list = new TensorList();
  if (shape.traits.recurrent?.state === "wkv") {
    addRwkvBlock(list, shape, index);
    return list.tensors;
  }
  addAttention(list, shape, index, hints);
  addFeedForward(list, shape, index);
  addPerLayerInputBlock(list, shape, index);
  if (index >= shape.layerCount) addMtp(list, shape, vocabularySize);
  return list.tensors;
}

/** What turns a copy of a block into a predictor of the next token but one. */
function addMtp(list: TensorList, shape: ModelShape, vocabularySize: number): void {
  const width = shape.embeddingLength;
  list.weight("nextn.eh_proj", 2 * width, width);
  list.weight("nextn.enorm", width);
  list.weight("nextn.hnorm", width);
  list.weight("nextn.shared_head_norm", width);
  if (shape.architecture !== "glm4moe") return;
  // GLM 4.5 carries its own copies here; others point at the main ones.
  list.weight("nextn.embed_tokens", width, vocabularySize);
  list.weight("nextn.shared_head_head", width, vocabularySize);
}
