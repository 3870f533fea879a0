/** RWKV 6 and 7 blocks: time mix in place of attention, channel mix in place of a feed-forward part. */
import { perLayerMax } from "./model-keys.ts";
import type { ModelShape } from "./model-shape.ts";
import type { TensorList } from "./shapes-list.ts";

const rankMax = { max: 2 ** 20 };

/** Adds block `index`. */
export function addRwkvBlock(list: TensorList, shape: ModelShape, index: number): void {
  const width = shape.embeddingLength;
  for (const norm of ["attn_norm", "attn_norm_2"]) {
    list.weight(norm, width);
    list.bias(norm, width);
  }
  if (shape.architecture === "rwkv7") addTimeMix7(list, shape, index);
  else addTimeMix6(list, shape);
  for (const matrix of ["key", "value", "receptance", "output"]) list.weight(`time_mix_${matrix}`, width, width);
  list.weight("time_mix_ln", width);
  list.bias("time_mix_ln", width);
  addChannelMix(list, shape);
}

function addTimeMix6(list: TensorList, shape: ModelShape): void {
  const width = shape.embeddingLength;
  const mix = shape.reader.integer("time_mix_extra_dim", 32, rankMax);
  const decay = shape.reader.integer("time_decay_extra_dim", 64, rankMax);
  list.weight("time_mix_w1", width, 5 * mix);
  list.weight("time_mix_w2", mix, width, 5);
  list.weight("time_mix_lerp_x", width, 1, 1);
  list.weight("time_mix_lerp_fused", width, 1, 1, 5);
  list.weight("time_mix_first", shape.wkvHeadLength, Math.floor(width / Math.max(1, shape.wkvHeadLength)));
  list.weight("time_mix_decay", width);
  list.weight("time_mix_decay_w1", width, decay);
  list.weight("time_mix_decay_w2", decay, width);
  list.weight("time_mix_gate", width, width);
}

function addTimeMix7(list: TensorList, shape: ModelShape, index: number): void {
  const width = shape.embeddingLength;
  const rank = (key: string) => shape.reader.integer(`attention.${key}_lora_rank`, 64, rankMax);
  const rate = rank("iclr");
  const pairs: [string, number][] = [
    ["w", rank("decay")],
    ["a", rate],
    ["v", index === 0 ? rate : rank("value_residual_mix")],
  ];
  for (const [name, inner] of pairs) {
    list.weight(`time_mix_${name}0`, width);
    list.weight(`time_mix_${name}1`, width, inner);
    list.weight(`time_mix_${name}2`, inner, width);
  }
  list.weight("time_mix_g1", width, rank("gate"));
  list.weight("time_mix_g2", rank("gate"), width);
  list.weight("time_mix_lerp_fused", width, 1, 1, 6);
  for (const vector of ["k_k", "k_a", "r_k"]) list.weight(`time_mix_${vector}`, width);
}

function addChannelMix(list: TensorList, shape: ModelShape): void {
  const width = shape.embeddingLength;
  const inner = perLayerMax(shape.feedForwardLength);
  list.weight("channel_mix_lerp_k", width, 1, 1);
  list.weight("channel_mix_key", width, inner);
  list.weight("channel_mix_value", inner, width);
  if (shape.architecture === "rwkv7") return;
  list.weight("channel_mix_lerp_r", width, 1, 1);
  list.weight("channel_mix_receptance", width, width);
}
