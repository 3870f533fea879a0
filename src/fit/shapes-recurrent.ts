/** Mixers with a fixed state instead of a cache: Mamba, gated delta net, short convolution, KDA, lightning attention. */
import { perLayerAt } from "./model-keys.ts";
import type { ModelShape, SsmShape } from "./model-shape.ts";
import { headsOf, type TensorHints, type TensorList } from "./shapes-list.ts";

/** Adds the mixer of a recurrent block. */
export function addRecurrentMixer(list: TensorList, shape: ModelShape, hints: TensorHints): void {
  switch (shape.traits.recurrent?.state) {
    case "ssm":
      addSsm(list, shape, hints);
      return;
    case "deltaNet":
      addDeltaNet(list, shape);
      return;
    case "shortConv": {
      const width = shape.embeddingLength;
      list.weight("shortconv.conv", shape.shortConvCache, width);
      list.weight("shortconv.in_proj", width, 3 * width);
      list.weight("shortconv.out_proj", width, width);
      return;
    }
    case "kda":
      addKda(list, shape);
      return;
    case "lightning": {
      const inner = headsOf(shape.headCount) * shape.keyLength;
      list.weight("attn_norm_2", inner);
      list.weight("attn_qkv", shape.embeddingLength, 3 * inner);
      list.weight("attn_gate", shape.embeddingLength, inner);
      list.weight("attn_output", inner, shape.embeddingLength);
      return;
    }
    default:
      return;
  }
}

/** Mamba 1 when there are no groups of heads, Mamba 2 otherwise. */
export function addSsm(list: TensorList, shape: ModelShape, hints: TensorHints): void {
  const { ssm } = shape;
  if (ssm === undefined) return;
  if (ssm.groupCount === 0) addMamba1(list, shape, ssm);
  else addMamba2(list, shape, ssm, hints);
}

function addMamba1(list: TensorList, shape: ModelShape, ssm: SsmShape): void {
  const { innerSize: inner, stateSize: state, timeStepRank: rank } = ssm;
  list.weight("ssm_in", shape.embeddingLength, 2 * inner);
  list.weight("ssm_conv1d", ssm.convKernel, inner);
  list.bias("ssm_conv1d", inner);
  list.weight("ssm_x", inner, rank + 2 * state);
  list.weight("ssm_dt", rank, inner);
  list.bias("ssm_dt", inner);
  list.plain("ssm_a", state, inner);
  list.plain("ssm_d", inner);
  list.weight("ssm_out", inner, shape.embeddingLength);
  if (shape.architecture === "jamba") {
    list.weight("ssm_dt_norm", rank);
    list.weight("ssm_b_norm", state);
    list.weight("ssm_c_norm", state);
  }
}

function addMamba2(list: TensorList, shape: ModelShape, ssm: SsmShape, hints: TensorHints): void {
  const { innerSize: inner, groupCount: groups, timeStepRank: heads } = ssm;
  const mixed = inner + 2 * groups * ssm.stateSize;
  list.weight("ssm_in", shape.embeddingLength, inner + mixed + heads);
  list.weight("ssm_conv1d", ssm.convKernel, mixed);
  list.bias("ssm_conv1d", mixed);
  list.bias("ssm_dt", heads);
  list.plain("ssm_a", 1, heads);
  list.plain("ssm_d", 1, heads);
  if (hints.ssmNorm ?? shape.architecture !== "falcon-h1") list.weight("ssm_norm", inner / groups, groups);
  list.weight("ssm_out", inner, shape.embeddingLength);
}

function addDeltaNet(list: TensorList, shape: ModelShape): void {
  const { ssm, embeddingLength: width } = shape;
  if (ssm === undefined) return;
  const keys = ssm.stateSize * ssm.groupCount;
  const values = ssm.stateSize * ssm.timeStepRank;
  list.weight("attn_qkv", width, 2 * keys + values);
  list.weight("attn_gate", width, values);
  list.weight("ssm_conv1d", ssm.convKernel, 2 * keys + values);
  list.bias("ssm_dt", ssm.timeStepRank);
  list.plain("ssm_a", ssm.timeStepRank);
  if (shape.architecture === "qwen3next") {
    list.weight("ssm_ba", width, 2 * ssm.timeStepRank);
  } else {
    list.weight("ssm_alpha", width, ssm.timeStepRank);
    list.weight("ssm_beta", width, ssm.timeStepRank);
  }
  list.weight("ssm_norm", ssm.stateSize);
  list.weight("ssm_out", values, width);
}

/** Kimi's delta attention: a decay per channel. */
function addKda(list: TensorList, shape: ModelShape): void {
  const heads = perLayerAt(shape.headCount, 0) || headsOf(shape.headCount);
  const head = shape.kdaHeadLength;
  const inner = heads * head;
  const width = shape.embeddingLength;
  for (const part of ["q", "k", "v"]) {
    list.weight(`ssm_conv1d_${part}`, shape.ssm?.convKernel ?? 4, 1, inner);
    list.weight(`attn_${part}`, width, inner);
  }
  list.weight("ssm_f_a", width, head);
  list.weight("ssm_f_b", head, inner);
  list.weight("ssm_g_a", width, head);
  list.weight("ssm_g_b", head, inner);
  list.weight("ssm_beta", width, heads);
  list.plain("ssm_a", 1, heads);
  list.bias("ssm_dt", inner);
  list.weight("ssm_norm", head);
  list.weight("attn_output", inner, width);
}
