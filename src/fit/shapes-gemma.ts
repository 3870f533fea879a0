/** Tensors of Gemma's small models: an embedding per layer, AltUp streams and Laurel paths (3n), output scales (4). */
import type { ModelShape } from "./model-shape.ts";
import type { TensorList } from "./shapes-list.ts";

/** Sizes Gemma 3n files do not state (llama.cpp's defaults). */
const altup = 4;
const laurelRank = 64;
const altupEmbedding = 256;

function perLayerWidth(shape: ModelShape): number {
  if (shape.architecture === "gemma3n") return shape.perLayerEmbeddingLength || altupEmbedding;
  return shape.architecture === "gemma4" ? shape.perLayerEmbeddingLength : 0;
}

/** Adds the tensors outside the blocks. The per-layer embedding table is about half of such a file. */
export function addPerLayerInputModel(list: TensorList, shape: ModelShape, vocabularySize: number): void {
  const inner = perLayerWidth(shape);
  const width = shape.embeddingLength;
  if (shape.architecture === "gemma4") list.weight("rope_freqs", Math.floor(shape.keyLength / 2));
  if (inner === 0) return;
  list.weight("per_layer_token_embd", inner * shape.layerCount, vocabularySize);
  list.weight("per_layer_model_proj", width, inner * shape.layerCount);
  list.weight("per_layer_proj_norm", inner);
  if (shape.architecture === "gemma3n") {
    list.weight("altup_proj", width, width, altup - 1);
    list.weight("altup_unembd_proj", width, width, altup - 1);
  }
}

/** Adds what a block of such a model has besides attention and feed-forward. */
export function addPerLayerInputBlock(list: TensorList, shape: ModelShape, index: number): void {
  const inner = perLayerWidth(shape);
  const width = shape.embeddingLength;
  if (shape.architecture === "gemma4" && index < shape.layerCount) list.weight("layer_output_scale", 1);
  if (inner === 0) return;
  list.weight("inp_gate", width, inner);
  list.weight("proj", inner, width);
  list.weight("post_norm", width);
  if (shape.architecture !== "gemma3n") return;
  list.weight("altup_correct_coef", altup, altup);
  list.weight("altup_correct_scale", width);
  list.weight("altup_predict_coef", altup, altup * altup);
  list.weight("altup_router", width, altup);
  list.weight("altup_router_norm", width);
  list.weight("laurel_l", width, laurelRank);
  list.weight("laurel_r", laurelRank, width);
  list.weight("laurel_post_norm", width);
}
