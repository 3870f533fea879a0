/** The list tensors are collected in, and what every builder of it shares. */
import { type PerLayer, perLayerAt, perLayerMax } from "./model-keys.ts";
import type { ModelShape } from "./model-shape.ts";
import type { TensorSpec } from "./types.ts";

/** Facts about tensors that hyperparameters do not tell; a catalogue row or a file may. */
export interface TensorHints {
  tiedEmbeddings: boolean;
  /** Long-context frequency factors stored as tensors: one vector (Llama 3.1) or two (Phi 3). */
  ropeFactors?: "freqs" | "longrope";
  /** Query, key and value biases, where the architecture leaves it open. */
  qkvBias?: boolean;
  /** Norms of queries and keys, where the architecture leaves it open. */
  qkNorm?: boolean;
  /** A second norm before attention (Falcon 40B). */
  secondAttnNorm?: boolean;
  /** A norm inside the state-space mixer, where the architecture leaves it open (Falcon H1). */
  ssmNorm?: boolean;
}

/** Collects tensors; those of a block without the block's prefix. */
export class TensorList {
  readonly tensors: TensorSpec[] = [];

  /** Adds `<name>.weight`. */
  weight(name: string, ...dims: number[]): void {
    this.tensors.push({ name: `${name}.weight`, dims });
  }

  bias(name: string, ...dims: number[]): void {
    this.tensors.push({ name: `${name}.bias`, dims });
  }

  /** Adds a tensor whose name carries no suffix. */
  plain(name: string, ...dims: number[]): void {
    this.tensors.push({ name, dims });
  }
}

/** A norm vector, with its bias where the architecture uses LayerNorm. */
export function addNorm(list: TensorList, shape: ModelShape, name: string, width = shape.embeddingLength): void {
  list.weight(name, width);
  if (shape.traits.flags.has("layerNorm")) list.bias(name, width);
}

/** One head count for a whole model: block 0's, or the largest. */
export function headsOf(value: PerLayer): number {
  if (typeof value === "number") return value;
  return perLayerAt(value, 0) || perLayerMax(value);
}
