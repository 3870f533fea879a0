/** Gemma's small models: an input per layer (3n and 4), parallel streams and low-rank side paths (3n). */
import { attention } from "./compute-attention.ts";
import type { Tensor } from "./compute-graph.ts";
import type { Pass } from "./compute-pass.ts";

/** Looks up and mixes the inputs of every layer at once: [width, tokens, layers]. Undefined for other models. */
export function perLayerInputs(pass: Pass, input: Tensor, firstBlock: number): Tensor | undefined {
  const { graph, tokens } = pass;
  const table = pass.outsideWeight("per_layer_token_embd", pass.host);
  if (table === undefined) return undefined;
  const layers = pass.model.layerCount;
  const width = pass.outsideShape("per_layer_token_embd")![0]! / layers;
  const rows = graph.node("rows", [table, graph.input(4, tokens)], width * layers, tokens);
  const looked = graph.scale(graph.view(rows, width, layers, tokens));
  graph.expand(looked);
  const device = pass.deviceOf(firstBlock);
  const matrix = pass.outsideWeight("per_layer_model_proj", device)!;
  const projected = graph.scale(graph.matmul(matrix, input, width * layers));
  const normed = graph.mul(
    pass.normalize(graph.view(projected, width, layers, tokens)),
    pass.outsideWeight("per_layer_proj_norm", device)!,
  );
  const sum = graph.scale(graph.add(normed, looked));
  const turned = graph.view(sum, width, tokens, layers, 1, sum.bytes);
  return graph.node("other", [turned], width, tokens, layers);
}

function slice(pass: Pass, inputs: Tensor): Tensor {
  return pass.graph.view(inputs, inputs.ne0, inputs.ne1);
}

/** Gemma 4: the layer's own input gates a small path beside the block. */
export function withPerLayerInput(pass: Pass, block: number, input: Tensor, perLayer: Tensor, cut: boolean): Tensor {
  const { graph } = pass;
  const gate = graph.unary(pass.linear(block, "inp_gate", input));
  const own = cut ? pass.outputRows(slice(pass, perLayer)) : slice(pass, perLayer);
  const path = pass.norm(block, "post_norm", pass.linear(block, "proj", graph.mul(gate, own)));
  return graph.add(input, path);
}

const streams = 4;

/** Gemma 3n works on four streams; the others start as projections of the first. */
export function gemma3nStreams(pass: Pass, input: Tensor): Tensor {
  const { graph, tokens, embedding } = pass;
  const matrix = pass.outsideWeight("altup_proj", pass.outputDevice)!;
  const projected = graph.node("matmul", [matrix, repeated(pass, input)], embedding, tokens, streams - 1);
  const sized = rescaled(pass, projected, magnitude(pass, input));
  return graph.node("other", [input, sized], embedding, tokens, streams);
}

function repeated(pass: Pass, input: Tensor): Tensor {
  return pass.graph.node("other", [input], input.ne0, input.ne1, streams - 1);
}

function magnitude(pass: Pass, input: Tensor): Tensor {
  const { graph } = pass;
  const squares = graph.elementwise("square", input);
  return graph.elementwise("square", graph.node("other", [squares], 1, input.ne1, input.ne2));
}

function rescaled(pass: Pass, input: Tensor, target: Tensor): Tensor {
  const { graph } = pass;
  const own = magnitude(pass, input);
  return graph.elementwise("divide", graph.mul(input, target), own);
}

export function gemma3nBlock(pass: Pass, block: number, input: Tensor, perLayer: Tensor): Tensor {
  const { graph, tokens, embedding } = pass;
  const predictions = predict(pass, block, input);
  const active = slice(pass, predictions);
  const normed = pass.norm(block, "attn_norm", active);
  const side = graph.add(
    pass.norm(block, "laurel_post_norm", pass.linear(block, "laurel_r", pass.linear(block, "laurel_l", normed))),
    normed,
  );
  const mixed = pass.norm(block, "post_attention_norm", attention(pass, block, normed));
  const attended = graph.scale(graph.add(graph.add(mixed, active), side));
  const wide = pass.norm(block, "ffn_norm", attended);
  const up = pass.linear(block, "ffn_up", wide);
  let gate = pass.linear(block, "ffn_gate", wide);
  if (block < sparseBlocks) gate = sparse(pass, gate);
  const down = pass.linear(block, "ffn_down", graph.mul(up, graph.unary(gate)));
  const activated = graph.add(pass.norm(block, "post_ffw_norm", down), attended);
  const corrected = correct(pass, block, predictions, activated);
  const first = graph.mul(slice(pass, corrected), pass.weight(block, "altup_correct_scale")!);
  const gated = graph.mul(graph.unary(pass.linear(block, "inp_gate", first)), slice(pass, perLayer));
  const path = pass.norm(block, "post_norm", pass.linear(block, "proj", gated));
  const rest = graph.add(graph.view(corrected, embedding, tokens, streams - 1, 1, corrected.bytes), path);
  return graph.node("other", [slice(pass, corrected), rest], embedding, tokens, streams);
}

/** Only the first blocks cut small activations away. */
const sparseBlocks = 10;

function sparse(pass: Pass, input: Tensor): Tensor {
  const { graph, tokens } = pass;
  const mean = graph.node("other", [input], 1, tokens);
  const centred = graph.elementwise("square", graph.elementwise("subtract", input, mean));
  const deviation = graph.elementwise("square", graph.scale(graph.node("other", [centred], 1, tokens)));
  const cutoff = graph.add(mean, graph.scale(deviation));
  return graph.unary(graph.elementwise("subtract", input, cutoff));
}

function router(pass: Pass, block: number, input: Tensor): Tensor {
  const normed = pass.graph.scale(pass.norm(block, "altup_router_norm", input));
  return pass.graph.unary(pass.linear(block, "altup_router", normed));
}

function predict(pass: Pass, block: number, input: Tensor): Tensor {
  const { graph, tokens, embedding } = pass;
  const modalities = router(pass, block, slice(pass, input));
  const coefficients = graph.view(pass.linear(block, "altup_predict_coef", modalities), streams, streams, tokens);
  const turned = graph.node(
    "other",
    [graph.view(input, streams, embedding, tokens, 1, input.bytes)],
    streams,
    embedding,
    tokens,
  );
  const predicted = graph.node("matmul", [turned, coefficients], embedding, streams, tokens);
  const back = graph.view(predicted, embedding, tokens, streams, 1, predicted.bytes);
  return graph.add(graph.node("other", [back], embedding, tokens, streams), input);
}

function correct(pass: Pass, block: number, predictions: Tensor, activated: Tensor): Tensor {
  const { graph, tokens, embedding } = pass;
  const modalities = router(pass, block, activated);
  const innovation = graph.elementwise("subtract", activated, slice(pass, predictions));
  const coefficients = graph.scale(pass.linear(block, "altup_correct_coef", modalities));
  const turned = graph.view(coefficients, tokens, streams, 1, 1, coefficients.bytes);
  const column = graph.node("other", [turned], 1, tokens, streams);
  const spread = graph.node("other", [innovation], embedding, tokens, streams);
  return graph.add(graph.mul(spread, column), predictions);
}

/** The four streams back to one. */
export function gemma3nMerge(pass: Pass, input: Tensor): Tensor {
  const { graph, tokens, embedding } = pass;
  const target = magnitude(pass, slice(pass, input));
  const others = graph.view(input, embedding, tokens, streams - 1, 1, input.bytes);
  const matrix = pass.outsideWeight("altup_unembd_proj", pass.outputDevice)!;
  const unembedded = graph.node("matmul", [matrix, others], embedding, tokens, streams - 1);
  const sized = rescaled(pass, unembedded, target);
  let sum = slice(pass, input);
  for (let index = 1; index < streams; index++) sum = graph.add(sum, slice(pass, sized));
  return graph.scale(sum);
}
