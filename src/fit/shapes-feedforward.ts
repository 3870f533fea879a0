/** Dense and expert feed-forward parts: the second half of a block's tensors. */
import { perLayerAt } from "./model-keys.ts";
import { isExpertLayer, isRecurrent } from "./model-layers.ts";
import type { ModelShape } from "./model-shape.ts";
import { addNorm, type TensorList } from "./shapes-list.ts";

/** Adds everything of block `index` that comes after attention. */
export function addFeedForward(list: TensorList, shape: ModelShape, index: number): void {
  const { flags, recurrent } = shape.traits;
  const moe = isExpertLayer(shape, index);
  const width = perLayerAt(shape.feedForwardLength, index);
  if (!moe && width === 0) return;
  if (recurrent?.blocks === "zeroKvHeadsZeroFfn") {
    // One job per block: attention, state or feed-forward, behind a single norm; MTP blocks do two.
    if (index < shape.layerCount && isRecurrent(shape, index)) return;
    if (index >= shape.layerCount) addNorm(list, shape, "post_attention_norm");
  } else if (shape.architecture === "falcon-h1") {
    // Its converter leaves the suffix off.
    list.plain("ffn_norm", shape.embeddingLength);
  } else if (hasFfnNorm(shape)) {
    addNorm(list, shape, "ffn_norm");
  }
  if (flags.has("subNorms")) list.weight("ffn_sub_norm", width);
  const alsoDense = shape.traits.attention === "gemma4" || shape.architecture === "arctic";
  if (!moe || alsoDense) addDense(list, shape, width);
  if (moe) addExperts(list, shape, perLayerAt(shape.expertFeedForwardLength, index));
  if (moe && shape.traits.attention === "gemma4") addGemma4ExpertNorms(list, shape);
  if (flags.has("postFfnNorm")) addNorm(list, shape, "post_ffw_norm");
  if (flags.has("embeddingNorm") && shape.architecture !== "modern-bert") addEncoderNorms(list, shape);
}

function hasFfnNorm(shape: ModelShape): boolean {
  const { flags, recurrent } = shape.traits;
  if (flags.has("noFfnNorm") || flags.has("noNorms") || recurrent?.state === "deltaNet") return false;
  return !flags.has("embeddingNorm") || shape.architecture === "modern-bert";
}

function addDense(list: TensorList, shape: ModelShape, inner: number): void {
  const { flags } = shape.traits;
  const width = shape.embeddingLength;
  const gateFused = flags.has("gateFused");
  if (!gateFused && !flags.has("noGate")) list.weight("ffn_gate", width, inner);
  list.weight("ffn_up", width, gateFused ? 2 * inner : inner);
  list.weight("ffn_down", inner, width);
  if (flags.has("ffnBias")) {
    list.bias("ffn_up", inner);
    list.bias("ffn_down", width);
  }
}

function addExperts(list: TensorList, shape: ModelShape, inner: number): void {
  const { flags } = shape.traits;
  const { embeddingLength: width, expertCount: count, expertLatentLength: latent } = shape;
  const outer = latent > 0 ? latent : width;
  list.weight("ffn_gate_inp", width, count);
  if (flags.has("routerBias")) list.bias("ffn_gate_inp", count);
  if (flags.has("expertProbsBias") && gatesWithBias(shape)) list.bias("exp_probs_b", count);
  if (latent > 0) {
    list.weight("ffn_latent_down", width, latent);
    list.weight("ffn_latent_up", latent, width);
  }
  if (!flags.has("noExpertGate")) list.weight("ffn_gate_exps", outer, inner, count);
  list.weight("ffn_up_exps", outer, inner, count);
  list.weight("ffn_down_exps", inner, outer, count);
  if (flags.has("expertBias")) {
    list.bias("ffn_gate_exps", inner, count);
    list.bias("ffn_up_exps", inner, count);
    list.bias("ffn_down_exps", width, count);
  }
  addSharedExpert(list, shape);
}

/** DeepSeek 2 balances by a loss and has no bias per expert; DeepSeek 3 (sigmoid gating, 2) has. */
function gatesWithBias(shape: ModelShape): boolean {
  return shape.architecture !== "deepseek2" || shape.reader.optional("expert_gating_func", { max: 16 }) === 2;
}

function addSharedExpert(list: TensorList, shape: ModelShape): void {
  const { flags } = shape.traits;
  const { embeddingLength: width, sharedExpertLength: inner } = shape;
  if (inner === 0) return;
  if (flags.has("sharedGate")) list.weight("ffn_gate_inp_shexp", width);
  if (!flags.has("noExpertGate")) list.weight("ffn_gate_shexp", width, inner);
  list.weight("ffn_up_shexp", width, inner);
  list.weight("ffn_down_shexp", inner, width);
}

/** Gemma 4's experts run beside a dense part, each with its own norms. */
function addGemma4ExpertNorms(list: TensorList, shape: ModelShape): void {
  const width = shape.embeddingLength;
  list.plain("ffn_gate_inp.scale", width);
  list.plain("ffn_down_exps.scale", shape.expertCount);
  list.weight("pre_ffw_norm_2", width);
  list.weight("post_ffw_norm_1", width);
  list.weight("post_ffw_norm_2", width);
}

function addEncoderNorms(list: TensorList, shape: ModelShape): void {
  for (const name of ["attn_output_norm", "layer_output_norm"]) {
    list.weight(name, shape.embeddingLength);
    list.bias(name, shape.embeddingLength);
  }
}
