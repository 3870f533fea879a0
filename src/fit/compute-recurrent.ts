/** Mixers with a fixed state: gated delta net, Mamba, short convolution, Kimi's delta attention, lightning attention. */
import { attend } from "./compute-attention.ts";
import type { Tensor } from "./compute-graph.ts";
import type { Pass } from "./compute-pass.ts";

/** The recurrent mixer of a block, told by its weights. */
export function recurrentMixer(pass: Pass, block: number, input: Tensor): Tensor {
  if (pass.has(block, "shortconv.conv")) return shortConvolution(pass, block, input);
  if (pass.has(block, "ssm_f_a")) return kimiDelta(pass, block, input);
  if (pass.has(block, "ssm_x")) return mamba(pass, block, input);
  if (pass.has(block, "ssm_in") && pass.has(block, "ssm_d")) return mamba2(pass, block, input);
  if (pass.has(block, "ssm_norm")) return deltaNet(pass, block, input);
  return plainState(pass, block, input);
}

/** Reads the last `rows` values of each sequence's state into the pass. */
function readState(pass: Pass, block: number, length: number): { cache: Tensor; state: Tensor } {
  const { graph, sequences } = pass;
  const cache = graph.cache(pass.deviceOf(block), 4 * length * sequences);
  const ids = pass.stateIds;
  const state = graph.node(
    "rows",
    [graph.view(cache, length, sequences), graph.view(ids, sequences)],
    length,
    sequences,
  );
  graph.expand(state);
  return { cache, state };
}

/** Joins the stored tail of the last tokens with the new ones, and stores the new tail. */
function convolutionInput(
  pass: Pass,
  cache: Tensor,
  state: Tensor,
  input: Tensor,
  kernel: number,
  channels: number,
): Tensor {
  const { graph, sequences } = pass;
  const perSequence = pass.tokens / sequences;
  const tail = graph.view(state, kernel - 1, channels, sequences);
  const turned = graph.view(input, perSequence, channels, sequences, 1, input.bytes);
  const joined = graph.node("other", [tail, turned], kernel - 1 + perSequence, channels, sequences);
  const last = graph.view(joined, kernel - 1, channels, sequences, 1, joined.bytes);
  for (let slot = 0; slot <= pass.drafts; slot++) graph.expand(graph.store(cache, last));
  return joined;
}

/** Gated delta net (Qwen3-Next, Qwen3.5): fused into one kernel that returns values and the new state. */
function deltaNet(pass: Pass, block: number, input: Tensor): Tensor {
  const { graph, tokens, sequences } = pass;
  const perSequence = tokens / sequences;
  const [kernel, channels] = pass.shape(block, "ssm_conv1d") as [number, number];
  const inner = pass.shape(block, "ssm_out")![0]!;
  const length = pass.shape(block, "ssm_norm")![0]!;
  const keyHeads = (channels - inner) / 2 / length;
  const heads = inner / length;
  const mixed = pass.linear(block, "attn_qkv", input);
  const z = pass.linear(block, "attn_gate", input);
  const { beta, gate } = deltaGates(pass, block, input, heads);
  const convolution = readState(pass, block, (kernel - 1) * channels);
  const joined = convolutionInput(pass, convolution.cache, convolution.state, mixed, kernel, channels);
  const memory = readState(pass, block, inner * length);
  const filter = pass.weight(block, "ssm_conv1d")!;
  const convolved = graph.unary(graph.node("convolution", [joined, filter], channels, perSequence, sequences));
  const head = (count: number) => graph.view(convolved, length, count, perSequence, sequences, convolved.bytes);
  let query = graph.scale(graph.rmsNorm(head(keyHeads)));
  let key = graph.scale(graph.rmsNorm(head(keyHeads)));
  if (pass.model.architecture === "qwen3next" && keyHeads !== heads) {
    query = graph.node("other", [query], length, heads, perSequence, sequences);
    key = graph.node("other", [key], length, heads, perSequence, sequences);
  }
  const sources = [query, key, head(heads), gate, beta, graph.view(memory.state, length, length, heads, sequences)];
  const values = inner * tokens + inner * length * sequences * (1 + pass.drafts);
  const result = graph.node("other", sources, values);
  graph.expand(graph.store(memory.cache, graph.view(result, inner * length, sequences, 1, 1, result.bytes)));
  const output = graph.view(result, length, heads, perSequence, sequences, result.bytes);
  const normed = pass.norm(block, "ssm_norm", output);
  const gated = graph.mul(normed, graph.unary(graph.view(z, length, heads, perSequence, sequences)));
  return graph.view(pass.linear(block, "ssm_out", graph.view(gated, inner, tokens)), pass.embedding, tokens);
}

function deltaGates(pass: Pass, block: number, input: Tensor, heads: number): { beta: Tensor; gate: Tensor } {
  const { graph, tokens } = pass;
  const decay = (alpha: Tensor) => {
    const biased = graph.add(alpha, pass.weight(block, "ssm_dt.bias") ?? alpha);
    return graph.mul(graph.unary(biased), pass.weight(block, "ssm_a") ?? biased);
  };
  if (pass.has(block, "ssm_ba")) {
    const both = pass.linear(block, "ssm_ba", input);
    const part = () => graph.node("other", [graph.view(both, heads, tokens, 1, 1, both.bytes)], heads, tokens);
    return {
      beta: graph.view(graph.unary(part()), 1, heads, tokens),
      gate: graph.view(decay(part()), 1, heads, tokens),
    };
  }
  const beta = graph.unary(graph.view(pass.linear(block, "ssm_beta", input), 1, heads, tokens));
  const alpha = graph.view(pass.linear(block, "ssm_alpha", input), heads, tokens);
  return { beta, gate: graph.view(decay(alpha), 1, heads, tokens) };
}

/** Qwen3.5's attention: the query matrix also yields a gate per element, applied to the result. */
export function gatedAttention(pass: Pass, block: number, input: Tensor): Tensor {
  const { graph, tokens } = pass;
  const { headCount, headCountKv, keyLength, valueLength } = pass.spec(block);
  const both = pass.linear(block, "attn_q", input);
  const rawKey = pass.linear(block, "attn_k", input);
  const rawValue = pass.linear(block, "attn_v", input);
  const query = pass.norm(block, "attn_q_norm", graph.view(both, keyLength, headCount, tokens, 1, both.bytes));
  const key = pass.norm(block, "attn_k_norm", graph.view(rawKey, keyLength, headCountKv, tokens));
  const half = graph.view(both, keyLength, headCount, tokens, 1, both.bytes);
  const gate = graph.node("other", [half], keyLength * headCount, tokens);
  const value = graph.view(rawValue, valueLength, headCountKv, tokens);
  const mixed = attend(pass, block, { query: pass.rope(query), key: pass.rope(key), value });
  return pass.linear(block, "attn_output", graph.mul(mixed, graph.unary(gate)));
}

function mamba(pass: Pass, block: number, input: Tensor): Tensor {
  const { graph, tokens, sequences } = pass;
  const perSequence = tokens / sequences;
  const [kernel, inner] = pass.shape(block, "ssm_conv1d") as [number, number];
  const [state] = pass.shape(block, "ssm_a") as [number];
  const rank = pass.shape(block, "ssm_dt")![0]!;
  const tail = readState(pass, block, (kernel - 1) * inner);
  const both = pass.linear(block, "ssm_in", graph.view(input, input.ne0, perSequence, sequences));
  const half = () => graph.view(both, inner, perSequence, sequences, 1, both.bytes);
  const joined = convolutionInput(pass, tail.cache, tail.state, half(), kernel, inner);
  const filtered = graph.node(
    "convolution",
    [joined, pass.weight(block, "ssm_conv1d")!],
    inner,
    perSequence,
    sequences,
  );
  const x = graph.unary(pass.biased(block, "ssm_conv1d", filtered));
  const parts = pass.linear(block, "ssm_x", x);
  const part = (length: number) => graph.view(parts, length, perSequence, sequences, 1, parts.bytes);
  const normed = (name: string, length: number) =>
    pass.has(block, name) ? pass.norm(block, name, part(length)) : part(length);
  let step = pass.has(block, "ssm_dt_norm")
    ? pass.norm(block, "ssm_dt_norm", part(rank))
    : graph.node("other", [part(rank)], rank, perSequence, sequences);
  const b = normed("ssm_b_norm", state);
  const c = normed("ssm_c_norm", state);
  step = pass.linear(block, "ssm_dt", step);
  const cache = graph.cache(pass.deviceOf(block), 4 * state * inner * sequences);
  const sources = [
    cache,
    graph.view(x, 1, inner, perSequence, sequences),
    step,
    pass.weight(block, "ssm_a")!,
    b,
    c,
    pass.stateIds,
  ];
  const scan = graph.node("other", sources, inner * tokens + state * inner * sequences);
  graph.expand(scan);
  graph.expand(graph.store(cache, graph.view(scan, state * inner * sequences, 1, 1, 1, scan.bytes)));
  const values = graph.view(scan, inner, perSequence, sequences, 1, scan.bytes);
  const y = graph.add(values, graph.mul(x, pass.weight(block, "ssm_d")!));
  const z = graph.node("other", [half()], inner, perSequence, sequences);
  const gated = graph.node("other", [z, y], inner, perSequence, sequences);
  return graph.view(pass.linear(block, "ssm_out", gated), pass.embedding, tokens);
}

export function mamba2(pass: Pass, block: number, input: Tensor): Tensor {
  const { graph, tokens, sequences } = pass;
  const perSequence = tokens / sequences;
  const [kernel, mixed] = pass.shape(block, "ssm_conv1d") as [number, number];
  const inner = pass.shape(block, "ssm_out")![0]!;
  const heads = pass.shape(block, "ssm_a")![1]!;
  const headLength = inner / heads;
  const states = (pass.spec(block).recurrentStateBytes ?? 0) / 4 - (kernel - 1) * mixed;
  const tail = readState(pass, block, (kernel - 1) * mixed);
  const all = pass.linear(block, "ssm_in", input);
  const z = graph.view(all, headLength, heads, perSequence, sequences, all.bytes);
  const joined = convolutionInput(
    pass,
    tail.cache,
    tail.state,
    graph.view(all, mixed, perSequence, sequences, 1, all.bytes),
    kernel,
    mixed,
  );
  const filtered = graph.node(
    "convolution",
    [joined, pass.weight(block, "ssm_conv1d")!],
    mixed,
    perSequence,
    sequences,
  );
  const xbc = graph.unary(pass.biased(block, "ssm_conv1d", filtered));
  const x = graph.view(xbc, headLength, heads, perSequence, sequences, xbc.bytes);
  const b = graph.view(xbc, mixed - inner, perSequence, sequences, 1, xbc.bytes);
  const c = graph.view(xbc, mixed - inner, perSequence, sequences, 1, xbc.bytes);
  const tight = graph.node(
    "other",
    [graph.view(all, heads, perSequence, sequences, 1, all.bytes)],
    heads,
    perSequence,
    sequences,
  );
  const step = pass.biased(block, "ssm_dt", tight);
  const cache = graph.cache(pass.deviceOf(block), 4 * states * sequences);
  const sources = [cache, x, step, pass.weight(block, "ssm_a")!, b, c, pass.stateIds];
  const scan = graph.node("other", sources, inner * tokens + states * sequences * (1 + pass.drafts));
  graph.expand(scan);
  graph.expand(graph.store(cache, graph.view(scan, states * sequences, 1, 1, 1, scan.bytes)));
  const values = graph.view(scan, headLength, heads, perSequence, sequences, scan.bytes);
  const skipped = graph.mul(x, pass.weight(block, "ssm_d")!);
  const y = graph.add(values, skipped);
  const tidy = graph.node("other", [z], headLength, heads, perSequence, sequences);
  let gated = graph.node("other", [tidy, y], headLength, heads, perSequence, sequences);
  if (pass.has(block, "ssm_norm")) {
    const groups = pass.shape(block, "ssm_norm")![1] ?? 1;
    gated = pass.norm(block, "ssm_norm", graph.view(gated, inner / groups, groups, perSequence, sequences));
  }
  return pass.linear(block, "ssm_out", graph.view(gated, inner, tokens));
}

/** LFM2: a gated convolution over a few tokens. */
function shortConvolution(pass: Pass, block: number, input: Tensor): Tensor {
  const { graph, tokens, sequences, embedding } = pass;
  const perSequence = tokens / sequences;
  const kernel = pass.shape(block, "shortconv.conv")![0]!;
  const all = pass.linear(block, "shortconv.in_proj", graph.view(input, embedding, perSequence, sequences));
  const third = () => graph.view(all, embedding, perSequence, sequences, 1, all.bytes);
  const product = graph.mul(third(), third());
  const tail = readState(pass, block, (kernel - 1) * embedding);
  const joined = convolutionInput(pass, tail.cache, tail.state, product, kernel, embedding);
  const filter = pass.weight(block, "shortconv.conv")!;
  const convolved = graph.node("convolution", [joined, filter], embedding, perSequence, sequences);
  const gated = graph.mul(third(), convolved);
  return graph.view(pass.linear(block, "shortconv.out_proj", gated), embedding, tokens);
}

/** Kimi's delta attention: a decay per channel, three convolutions, and a gated norm behind. */
function kimiDelta(pass: Pass, block: number, input: Tensor): Tensor {
  const { graph, tokens, sequences } = pass;
  const perSequence = tokens / sequences;
  const inner = pass.shape(block, "attn_q")![1]!;
  const length = pass.shape(block, "ssm_norm")![0]!;
  const heads = inner / length;
  const kernel = pass.shape(block, "ssm_conv1d_q")![0]!;
  const tail = readState(pass, block, 3 * (kernel - 1) * inner);
  const [query, key, value] = (["q", "k", "v"] as const).map((part) => {
    const projected = pass.linear(block, `attn_${part}`, input);
    const joined = convolutionInput(pass, tail.cache, tail.state, projected, kernel, inner);
    const filtered = graph.node(
      "other",
      [joined, pass.weight(block, `ssm_conv1d_${part}`)!],
      inner,
      perSequence,
      sequences,
    );
    return graph.view(graph.unary(graph.view(filtered, inner, tokens)), length, heads, perSequence, sequences);
  });
  const decay = pass.linear(block, "ssm_f_b", pass.linear(block, "ssm_f_a", input));
  const soft = graph.unary(graph.add(decay, pass.weight(block, "ssm_dt.bias")!));
  const gate = graph.mul(graph.view(soft, length, heads, tokens), pass.weight(block, "ssm_a")!);
  const beta = graph.unary(graph.view(pass.linear(block, "ssm_beta", input), 1, heads, tokens));
  const memory = readState(pass, block, inner * length);
  const shaped = graph.view(gate, length, heads, perSequence, sequences);
  const sources = [
    graph.scale(graph.rmsNorm(query!)),
    graph.scale(graph.rmsNorm(key!)),
    value!,
    shaped,
    beta,
    graph.view(memory.state, length, length, heads, sequences),
  ];
  const result = graph.node("other", sources, inner * tokens + inner * length * sequences);
  const output = graph.node(
    "other",
    [graph.view(result, length, heads, perSequence, sequences, result.bytes)],
    length,
    heads,
    tokens,
  );
  graph.expand(graph.store(memory.cache, graph.view(result, inner * length, sequences, 1, 1, result.bytes)));
  const outputGate = pass.linear(block, "ssm_g_b", pass.linear(block, "ssm_g_a", input));
  const normed = pass.norm(block, "ssm_norm", graph.view(output, length, heads, tokens));
  const gated = graph.mul(normed, graph.unary(graph.view(outputGate, length, heads, tokens)));
  const tidy = graph.node("other", [gated], inner, tokens);
  return pass.linear(block, "attn_output", tidy);
}

/** Anything else with a state (RWKV, lightning attention): its widest projections and its state, side by side. */
function plainState(pass: Pass, block: number, input: Tensor): Tensor {
  const { graph, tokens, embedding } = pass;
  const state = readState(pass, block, (pass.spec(block).recurrentStateBytes ?? 0) / 4);
  const parts = Array.from({ length: 6 }, () => graph.node("other", [input], embedding, tokens));
  const mixed = graph.node("other", [...parts, state.state], embedding, tokens);
  graph.expand(graph.store(state.cache, mixed));
  return mixed;
}
