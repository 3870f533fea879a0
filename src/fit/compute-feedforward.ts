/** Feed-forward parts: dense, gated, and mixtures of experts. */
import type { Tensor } from "./compute-graph.ts";
import type { Pass } from "./compute-pass.ts";

/** The dense part named `ffn_up`/`ffn_gate`/`ffn_down` plus `suffix` ("_shexp" for shared experts). */
export function dense(pass: Pass, block: number, input: Tensor, suffix = ""): Tensor {
  const { graph } = pass;
  const inner = pass.shape(block, `ffn_down${suffix}`)![0]!;
  const up = pass.linear(block, `ffn_up${suffix}`, input);
  let active: Tensor;
  if (pass.has(block, `ffn_gate${suffix}`)) active = gated(pass, pass.linear(block, `ffn_gate${suffix}`, input), up);
  else if (up.ne0 === 2 * inner) active = graph.node("other", [up], inner, up.ne1);
  else active = activate(pass, up);
  return pass.linear(block, `ffn_down${suffix}`, active);
}

/** The gate's activation times the other half: one fused step, or two in place in old builds. */
function gated(pass: Pass, gate: Tensor, up: Tensor): Tensor {
  const { graph } = pass;
  if (pass.legacy) return graph.mul(graph.unary(gate), up);
  return graph.node("other", [gate, up], up.ne0, up.ne1, up.ne2);
}

/** In place; the squared relu takes two steps. */
function activate(pass: Pass, input: Tensor): Tensor {
  return pass.graph.unary(input);
}

export interface ExpertOptions {
  /** What the experts read, when it is not what the router reads. */
  input?: Tensor;
  /** Router scores computed elsewhere. */
  scores?: Tensor;
}

/** A routed mixture: the router's choice, the chosen experts side by side, and their weighted sum. */
export function experts(pass: Pass, block: number, routed: Tensor, options: ExpertOptions = {}): Tensor {
  const { graph } = pass;
  const tokens = routed.ne1;
  const used = pass.model.expertUsedCount;
  const count = pass.model.expertCount;
  const input = options.input ?? routed;
  const router = options.scores ?? pass.linear(block, "ffn_gate_inp", routed);
  const bias = pass.weight(block, "exp_probs_b.bias");
  const probabilities = routerProbabilities(pass, router, bias !== undefined);
  const ranked = bias === undefined ? probabilities : graph.add(probabilities, bias);
  const sorted = graph.node("sort", [pass.traits.weighsBeforeExperts ? router : ranked], count, tokens);
  const chosen = graph.view(sorted, used, tokens, 1, 1, sorted.bytes);
  let weights = graph.node("rows", [graph.view(probabilities, 1, count, tokens), chosen], 1, used, tokens);
  if (pass.traits.lateSoftmax) weights = graph.view(graph.softmax(graph.view(weights, used, tokens)), 1, used, tokens);
  if (pass.traits.normalizesWeights) {
    const flat = graph.view(weights, used, tokens);
    const sum = graph.elementwise("clamp", graph.node("sumRows", [flat], 1, tokens));
    weights = graph.view(graph.elementwise("divide", flat, sum), 1, used, tokens);
  }
  graph.expand(weights);
  const width = input.ne0;
  let rows = graph.view(input, width, 1, tokens);
  if (pass.traits.weighsBeforeExperts) rows = graph.mul(graph.node("other", [rows], width, used, tokens), weights);
  const active = expertActivations(pass, block, rows, chosen);
  const down = pass.weight(block, "ffn_down_exps")!;
  let results = graph.node("matmulExperts", [down, active, chosen], width, used, tokens);
  const downBias = pass.weight(block, "ffn_down_exps.bias");
  if (downBias !== undefined) results = graph.addExperts(results, downBias, chosen);
  if (!pass.traits.weighsBeforeExperts) results = graph.mul(results, weights);
  graph.expand(results);
  return sumExperts(pass, results, width, used);
}

/** A sigmoid where a bias corrects the choice, a softmax elsewhere; or nothing yet. */
function routerProbabilities(pass: Pass, router: Tensor, corrected: boolean): Tensor {
  if (pass.traits.lateSoftmax) return router;
  return corrected || pass.traits.weighsBeforeExperts ? pass.graph.unary(router) : pass.graph.softmax(router);
}

function expertActivations(pass: Pass, block: number, rows: Tensor, chosen: Tensor): Tensor {
  const { graph } = pass;
  const used = chosen.ne0;
  const tokens = chosen.ne1;
  const inner = pass.shape(block, "ffn_down_exps")![0]!;
  const part = (name: string, size: number) => {
    const node = graph.node("matmulExperts", [pass.weight(block, name)!, rows, chosen], size, used, tokens);
    const bias = pass.weight(block, `${name}.bias`);
    return bias === undefined ? node : graph.addExperts(node, bias, chosen);
  };
  if (pass.has(block, "ffn_gate_up_exps")) {
    const both = part("ffn_gate_up_exps", 2 * inner);
    const gate = graph.view(both, inner, used, tokens, 1, both.bytes);
    return gated(pass, gate, graph.view(both, inner, used, tokens, 1, both.bytes));
  }
  const up = part("ffn_up_exps", inner);
  return pass.has(block, "ffn_gate_exps") ? gated(pass, part("ffn_gate_exps", inner), up) : activate(pass, up);
}

/** Adds the experts' rows one after the other. */
function sumExperts(pass: Pass, results: Tensor, width: number, used: number): Tensor {
  const { graph } = pass;
  const tokens = results.ne2;
  const slices = Array.from({ length: used }, () => graph.view(results, width, tokens, 1, 1, results.bytes));
  for (const slice of slices) graph.expand(slice);
  let sum = slices[0]!;
  for (const slice of slices.slice(1)) {
    sum = graph.add(sum, slice);
    graph.expand(sum);
  }
  return used === 1 ? graph.node("other", [sum], width, tokens) : sum;
}

/**
 * Whatever a block has: experts with or without a shared one beside them, or a dense part. `norm` is applied to the
 * input of each.
 */
export function feedForward(pass: Pass, block: number, input: Tensor, norm: (input: Tensor) => Tensor): Tensor {
  const { graph } = pass;
  if (!pass.has(block, "ffn_gate_inp")) return dense(pass, block, norm(input));
  if (pass.has(block, "pre_ffw_norm_2")) return gemma4Experts(pass, block, input, norm);
  const normed = norm(input);
  const shares = pass.has(block, "ffn_up_shexp");
  const early = shares && pass.traits.sharedFirst ? dense(pass, block, normed, "_shexp") : undefined;
  if (early !== undefined) return graph.add(latentExperts(pass, block, normed), early);
  const mixed = latentExperts(pass, block, normed);
  if (!shares) return mixed;
  let shared = dense(pass, block, normed, "_shexp");
  if (pass.has(block, "ffn_gate_inp_shexp")) {
    shared = graph.mul(shared, graph.unary(pass.linear(block, "ffn_gate_inp_shexp", normed)));
  }
  return graph.add(mixed, shared);
}

/** Experts that work in a narrower space than the model (Nemotron 3). */
function latentExperts(pass: Pass, block: number, input: Tensor): Tensor {
  if (!pass.has(block, "ffn_latent_down")) return experts(pass, block, input);
  const narrow = pass.linear(block, "ffn_latent_down", input);
  return pass.linear(block, "ffn_latent_up", experts(pass, block, input, { input: narrow }));
}

/** Gemma 4 runs a dense part and experts on norms of their own; the router reads the plain input. */
function gemma4Experts(pass: Pass, block: number, input: Tensor, norm: (input: Tensor) => Tensor): Tensor {
  const { graph } = pass;
  const besides = pass.norm(block, "post_ffw_norm_1", dense(pass, block, norm(input)));
  const normed = pass.norm(block, "pre_ffw_norm_2", input);
  const scaled = graph.mul(graph.scale(pass.normalize(input)), pass.weight(block, "ffn_gate_inp.scale") ?? input);
  const scores = pass.linear(block, "ffn_gate_inp", scaled);
  const mixed = pass.norm(block, "post_ffw_norm_2", experts(pass, block, normed, { scores }));
  return graph.add(besides, mixed);
}
