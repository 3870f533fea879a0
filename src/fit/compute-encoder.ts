/** Models that read a whole text at once and cache nothing: encoders and diffusion models. */
import { projections } from "./compute-attention.ts";
import { dense } from "./compute-feedforward.ts";
import type { Tensor } from "./compute-graph.ts";
import type { Pass } from "./compute-pass.ts";

/** Attention over the micro-batch itself. */
export function attendBatch(pass: Pass, block: number, query: Tensor, key: Tensor, value: Tensor): Tensor {
  const { graph, tokens, settings } = pass;
  const { headCount, headCountKv, valueLength } = pass.spec(block);
  for (const one of [query, key, value]) graph.expand(one);
  const mask = pass.batchMask(block);
  const turn = (heads: Tensor, count: number) => graph.view(heads, heads.ne0, tokens, count, 1, heads.bytes);
  const q = turn(query, headCount);
  if (settings.flashAttention) {
    const half = (heads: Tensor) =>
      graph.node("other", [turn(heads, headCountKv)], heads.ne0, tokens, headCountKv, 1, 2);
    const mixed = graph.node("attention", [q, half(key), half(value), mask], valueLength, headCount, tokens);
    return graph.view(mixed, valueLength * headCount, tokens);
  }
  const scores = graph.node("matmul", [turn(key, headCountKv), q], tokens, tokens, headCount);
  const chosen = graph.softmax(scores, mask);
  const columns = graph.node("other", [turn(value, headCountKv)], tokens, valueLength, headCountKv);
  const mixed = graph.node("matmul", [columns, chosen], valueLength, tokens, headCount);
  const joined = graph.view(mixed, valueLength, headCount, tokens, 1, mixed.bytes);
  return graph.node("other", [joined], valueLength * headCount, tokens);
}

/** BERT and its kin: norms behind attention and behind the feed-forward part. */
export function encoderBlock(pass: Pass, block: number, input: Tensor, cut: boolean): Tensor {
  const { graph } = pass;
  const heads = projections(pass, block, input);
  const [query, key] = pass.rotates(block) ? [pass.rope(heads.query), pass.rope(heads.key)] : [heads.query, heads.key];
  let mixed = pass.linear(block, "attn_output", attendBatch(pass, block, query, key, heads.value));
  let residual = input;
  if (cut) [mixed, residual] = [pass.outputRows(mixed), pass.outputRows(residual)];
  const attended = pass.norm(block, "attn_output_norm", graph.add(mixed, residual));
  return pass.norm(block, "layer_output_norm", graph.add(dense(pass, block, attended), attended));
}

/** The vectors themselves are the result, averaged per sequence. */
export function pool(pass: Pass, input: Tensor): void {
  const { graph } = pass;
  input.kept = true;
  const turned = graph.node("other", [input], input.ne1, input.ne0);
  const mean = graph.input(4, input.ne1, pass.sequences);
  graph.expand(graph.node("matmul", [turned, mean], input.ne0, pass.sequences));
}
