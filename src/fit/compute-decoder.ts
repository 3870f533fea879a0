/** The graph of a whole forward pass, block by block, for the architecture families llama.cpp knows. */
import { attention, latentAttention, legacyLatentAttention } from "./compute-attention.ts";
import { encoderBlock, pool } from "./compute-encoder.ts";
import { feedForward } from "./compute-feedforward.ts";
import { gemma3nBlock, gemma3nMerge, gemma3nStreams, perLayerInputs, withPerLayerInput } from "./compute-gemma.ts";
import type { Tensor } from "./compute-graph.ts";
import { Pass, type PassOptions } from "./compute-pass.ts";
import { gatedAttention, mamba2, recurrentMixer } from "./compute-recurrent.ts";
import { isEncoder } from "./memory-weights.ts";
import type { ModelSpec } from "./types.ts";

/** Builds the reserved graph over `blocks`: a selection of the model's blocks that stands for all of them. */
export function buildPass(model: ModelSpec, blocks: readonly number[], options: PassOptions): Pass {
  const pass = new Pass(model, options);
  let current = embeddings(pass);
  const perLayer = perLayerInputs(pass, current, blocks[0] ?? 0);
  if (pass.traits.kind === "gemma3n") current = gemma3nStreams(pass, current);
  for (const block of blocks) {
    const last = block === blocks[blocks.length - 1];
    current = buildBlock(pass, block, current, last && !pass.traits.cutsAtTheEnd, perLayer);
    current.endsBlock = true;
  }
  head(pass, pass.traits.kind === "gemma3n" ? gemma3nMerge(pass, current) : current);
  return pass;
}

function embeddings(pass: Pass): Tensor {
  const { graph, tokens, embedding } = pass;
  const table = pass.outsideWeight("token_embd", pass.host)!;
  const rows = graph.node("rows", [table, graph.input(4, tokens)], embedding, tokens);
  graph.expand(rows);
  // Builds since 2025 also reserve room for embeddings given in place of tokens.
  if (!pass.legacy) graph.expand(graph.input(4, embedding, tokens));
  if (pass.traits.kind === "encoder") return encoderInput(pass, rows);
  return pass.traits.scalesEmbeddings ? graph.scale(rows) : rows;
}

/** Token, type and position together, normalised. */
function encoderInput(pass: Pass, rows: Tensor): Tensor {
  const { graph, tokens, embedding } = pass;
  const types = pass.outsideWeight("token_types", pass.host);
  let sum = types === undefined ? rows : graph.add(rows, types);
  const places = pass.outsideWeight("position_embd", pass.host);
  if (places !== undefined) sum = graph.add(graph.node("rows", [places, pass.positions], embedding, tokens), sum);
  return pass.normalize(sum);
}

function buildBlock(pass: Pass, block: number, input: Tensor, cut: boolean, perLayer: Tensor | undefined): Tensor {
  switch (pass.traits.kind) {
    case "parallel":
      return parallelBlock(pass, block, input, cut);
    case "besideMixer":
      return besideMixerBlock(pass, block, input, cut);
    case "encoder":
      return encoderBlock(pass, block, input, cut);
    case "single":
      return singleBlock(pass, block, input, cut);
    case "gemma3n":
      return gemma3nBlock(pass, block, input, perLayer!);
    default:
      return sequentialBlock(pass, block, input, cut, perLayer);
  }
}

/** What a block does with earlier tokens. */
function mixer(pass: Pass, block: number, input: Tensor): Tensor {
  const { attention: kind } = pass.spec(block);
  if (pass.traits.gatedQuery) pass.graph.expand(input);
  if (kind === "recurrent") return recurrentMixer(pass, block, input);
  if (kind === "mla") return latentAttention(pass, block, input);
  if (pass.has(block, "attn_kv_b")) return legacyLatentAttention(pass, block, input);
  if (!pass.has(block, "attn_output")) return input;
  // DeciLM's linear blocks keep the output matrix alone.
  if (kind === "none" && !pass.has(block, "attn_q") && !pass.has(block, "attn_qkv"))
    return pass.linear(block, "attn_output", input);
  return pass.traits.gatedQuery ? gatedAttention(pass, block, input) : attention(pass, block, input);
}

/** Norms before, behind, or around both parts, as the block's weights tell. */
function sequentialBlock(pass: Pass, block: number, input: Tensor, cut: boolean, perLayer: Tensor | undefined): Tensor {
  const { graph, traits } = pass;
  const normed = pass.has(block, "attn_norm") ? pass.norm(block, "attn_norm", input) : input;
  let mixed = mixer(pass, block, normed);
  // DeciLM's pruned blocks: what attention yields is dropped, or there is none to add.
  if (pass.spec(block).ffn === "none" && !recurs(pass, block)) return input;
  let residual = input;
  if (cut) {
    mixed = pass.outputRows(mixed);
    residual = pass.outputRows(residual);
  }
  const behind =
    pass.has(block, "post_attention_norm") && (pass.has(block, "ffn_norm") || !pass.has(block, "attn_norm"));
  if (behind) mixed = pass.norm(block, "post_attention_norm", mixed);
  const attended = traits.residualFirst === "always" ? graph.add(residual, mixed) : graph.add(mixed, residual);
  let result = feedForward(pass, block, attended, (part) => normBefore(pass, block, part, behind));
  if (pass.has(block, "post_ffw_norm")) result = pass.norm(block, "post_ffw_norm", result);
  const sum = traits.residualFirst === "no" ? graph.add(result, attended) : graph.add(attended, result);
  const scaled = perLayer === undefined ? sum : withPerLayerInput(pass, block, sum, perLayer, cut);
  const scale = pass.weight(block, "layer_output_scale");
  return scale === undefined ? scaled : graph.mul(scaled, scale);
}

function recurs(pass: Pass, block: number): boolean {
  return pass.spec(block).attention === "recurrent";
}

function normBefore(pass: Pass, block: number, input: Tensor, behind: boolean): Tensor {
  if (pass.has(block, "ffn_norm")) return pass.norm(block, "ffn_norm", input);
  if (pass.has(block, "attn_output_norm")) return pass.norm(block, "attn_output_norm", input);
  if (!behind && pass.has(block, "post_attention_norm")) return pass.norm(block, "post_attention_norm", input);
  return input;
}

function parallelBlock(pass: Pass, block: number, input: Tensor, cut: boolean): Tensor {
  const { graph } = pass;
  const rows = (tensor: Tensor) => (cut ? pass.outputRows(tensor) : tensor);
  const normed = pass.norm(block, "attn_norm", input);
  const mixed = rows(
    mixer(pass, block, pass.has(block, "attn_norm_2") ? pass.norm(block, "attn_norm_2", input) : normed),
  );
  const residual = rows(input);
  const own = pass.has(block, "ffn_norm");
  const result = feedForward(pass, block, own ? residual : rows(normed), (part) =>
    own ? pass.norm(block, "ffn_norm", part) : part,
  );
  if (pass.model.architecture === "phi2") return graph.add(graph.add(mixed, result), residual);
  if (pass.model.architecture === "falcon") return graph.add(graph.add(result, mixed), residual);
  return graph.add(graph.add(result, residual), mixed);
}

function besideMixerBlock(pass: Pass, block: number, input: Tensor, cut: boolean): Tensor {
  const { graph } = pass;
  const attended = attention(pass, block, pass.norm(block, "attn_norm", input));
  const state = mamba2(pass, block, pass.norm(block, "attn_norm", input));
  let sum = graph.add(graph.add(attended, state), input);
  if (cut) sum = pass.outputRows(sum);
  const result = feedForward(pass, block, sum, (part) => pass.norm(block, "ffn_norm", part));
  return graph.add(result, sum);
}

function singleBlock(pass: Pass, block: number, input: Tensor, cut: boolean): Tensor {
  const normed = pass.norm(block, "attn_norm", input);
  let mixed: Tensor;
  if (pass.has(block, "ffn_up") || pass.has(block, "ffn_gate_inp"))
    mixed = feedForward(pass, block, normed, (part) => part);
  else mixed = mixer(pass, block, normed);
  let residual = input;
  if (cut) {
    mixed = pass.outputRows(mixed);
    residual = pass.outputRows(residual);
  }
  return pass.graph.add(mixed, residual);
}

function head(pass: Pass, input: Tensor): void {
  const { graph, traits } = pass;
  const device = pass.outputDevice;
  let current = traits.kind === "gemma3n" ? pass.outputRows(input) : input;
  const early = pass.model.architecture === "gpt-oss";
  // Drafting heads read every row, so it outlives the pass; the rows behind the logits do too.
  if (traits.cutsAtTheEnd && early) {
    current.kept = true;
    current = pass.outputRows(current);
  }
  const norm = pass.outsideWeight("output_norm", device);
  if (norm !== undefined || traits.kind !== "encoder") current = pass.normalize(current);
  if (norm !== undefined) current = graph.mul(current, norm);
  if (traits.cutsAtTheEnd && !early) {
    current.kept = true;
    current = pass.outputRows(current);
  }
  if (isEncoder(pass.model.architecture)) {
    pool(pass, current);
    return;
  }
  current.kept = true;
  if (traits.scalesHidden) current = graph.scale(current);
  const matrix = pass.outsideWeight("output", device) ?? pass.outsideWeight("token_embd", device)!;
  let logits = graph.matmul(matrix, current, pass.model.vocabularySize);
  if (traits.softcapsLogits) logits = graph.scale(graph.unary(graph.scale(logits)));
  graph.expand(logits);
}
