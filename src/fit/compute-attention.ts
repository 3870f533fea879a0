/** Attention as llama.cpp builds it: projections, cache writes, and scores with or without flash attention. */
import { attendBatch } from "./compute-encoder.ts";
import type { Tensor } from "./compute-graph.ts";
import type { Pass } from "./compute-pass.ts";

interface Heads {
  query: Tensor;
  key: Tensor;
  value: Tensor;
}

/** Query, key and value of a block, shaped by head; from one fused matrix or from three. */
export function projections(pass: Pass, block: number, input: Tensor): Heads {
  const { graph, tokens } = pass;
  const { headCount, headCountKv, keyLength, valueLength } = pass.spec(block);
  const fused = pass.weight(block, "attn_qkv");
  if (fused !== undefined) {
    const all = pass.linear(block, "attn_qkv", input);
    return {
      query: graph.view(all, keyLength, headCount, tokens, 1, all.bytes),
      key: graph.view(all, keyLength, headCountKv, tokens, 1, all.bytes),
      value: graph.view(all, valueLength, headCountKv, tokens, 1, all.bytes),
    };
  }
  const query = pass.linear(block, "attn_q", input);
  const key = pass.linear(block, "attn_k", input);
  const value = pass.has(block, "attn_v") ? pass.linear(block, "attn_v", input) : key;
  return {
    query: graph.view(query, keyLength, headCount, tokens),
    key: graph.view(key, keyLength, headCountKv, tokens),
    value: graph.view(value, valueLength, headCountKv, tokens),
  };
}

/** The usual attention of a block: norms on heads where it has them, rope, scores, gate, output matrix. */
export function attention(pass: Pass, block: number, input: Tensor): Tensor {
  const { graph, traits } = pass;
  if (pass.spec(block).attention === "shared")
    return pass.linear(block, "attn_output", sharedAttention(pass, block, input));
  const heads = projections(pass, block, input);
  const gate = pass.has(block, "attn_gate") ? pass.linear(block, "attn_gate", input) : undefined;
  let query = pass.has(block, "attn_q_norm") ? pass.norm(block, "attn_q_norm", heads.query) : heads.query;
  let key = pass.has(block, "attn_k_norm") ? pass.norm(block, "attn_k_norm", heads.key) : heads.key;
  const value = traits.normsValues ? pass.normalize(heads.value) : heads.value;
  if (pass.rotates(block)) {
    query = pass.rope(query);
    key = pass.rope(key);
    if (traits.normsAfterRope) [query, key] = [pass.normalize(query), pass.normalize(key)];
  } else if (traits.normsAfterRope) {
    query = graph.mul(query, pass.attentionScale);
  }
  if (scalesQuery(pass)) query = graph.scale(query);
  let mixed = attend(pass, block, { query, key, value });
  if (gate !== undefined) mixed = applyGate(pass, block, mixed, gate);
  return pass.linear(block, "attn_output", mixed);
}

/** These scale the query itself instead of the scores. */
function scalesQuery(pass: Pass): boolean {
  return /^(gemma|gemma2|gemma3|phi2|phi3)$/.test(pass.model.architecture);
}

/** A gate per element, or one per head. */
function applyGate(pass: Pass, block: number, mixed: Tensor, gate: Tensor): Tensor {
  const { graph, tokens } = pass;
  const open = graph.unary(gate);
  if (gate.ne0 === mixed.ne0) return graph.mul(mixed, open);
  const { headCount, valueLength } = pass.spec(block);
  const byHead = graph.mul(graph.view(mixed, valueLength, headCount, tokens), graph.view(open, 1, headCount, tokens));
  return graph.view(byHead, mixed.ne0, tokens);
}

/** A block that stores nothing asks an earlier block's cache. */
function sharedAttention(pass: Pass, block: number, input: Tensor): Tensor {
  const { headCount, keyLength } = pass.spec(block);
  const query = pass.graph.view(pass.linear(block, "attn_q", input), keyLength, headCount, pass.tokens);
  return attend(pass, block, { query: pass.rope(pass.norm(block, "attn_q_norm", query)) });
}

/** Scores and weighted values, as one row per token. `key` and `value` are left out by blocks that share a cache. */
export function attend(pass: Pass, block: number, heads: Partial<Heads> & { query: Tensor }): Tensor {
  const { graph } = pass;
  if (pass.spec(block).attention === "none") return attendBatch(pass, block, heads.query, heads.key!, heads.value!);
  const inputs = pass.cacheInputs(block);
  const device = pass.deviceOf(block);
  const keyRotation = pass.rotation(block, "key");
  const valueRotation = pass.rotation(block, "value");
  const query = rotate(pass, heads.query, keyRotation);
  const key = heads.key && rotate(pass, heads.key, keyRotation);
  const value = heads.value && rotate(pass, heads.value, valueRotation);
  graph.expand(query);
  const keyFirst = pass.legacy || pass.model.slidingWindow > 0;
  for (const one of keyFirst ? [key, value] : [value, key]) if (one !== undefined) graph.expand(one);
  const keyCache = graph.cache(device, pass.keyCacheBytes(block, inputs.cells));
  const valueCache = graph.cache(device, pass.valueCacheBytes(block, inputs.cells));
  if (key !== undefined) store(pass, keyCache, key, inputs.keyIndex);
  if (value !== undefined) store(pass, valueCache, value, inputs.valueIndex);
  const mixed = scores(pass, block, query, keyCache, valueCache);
  graph.expand(mixed);
  return rotate(pass, mixed, valueRotation);
}

function store(pass: Pass, cache: Tensor, heads: Tensor, index: Tensor | undefined): void {
  const rows = flat(pass, heads);
  pass.graph.expand(pass.graph.store(cache, ...(index === undefined ? [rows] : [rows, index])));
}

function flat(pass: Pass, heads: Tensor): Tensor {
  return pass.graph.view(heads, heads.ne0 * heads.ne1, heads.ne2, 1, 1, heads.bytes);
}

function rotate(pass: Pass, input: Tensor, rotation: Tensor | undefined): Tensor {
  if (rotation === undefined) return input;
  const { graph } = pass;
  const rows = (input.ne0 * input.ne1 * input.ne2 * input.ne3) / rotation.ne0;
  const tidy = input.dense ? graph.view(input, rotation.ne0, rows) : graph.node("other", [input], rotation.ne0, rows);
  const rotated = graph.node("matmul", [rotation, tidy], rotation.ne0, rows);
  return graph.view(rotated, input.ne0, input.ne1, input.ne2, input.ne3);
}

/** Softmax(QK)V over the caches; `decompress` is applied to the values before heads are joined (latent attention). */
export function scores(
  pass: Pass,
  block: number,
  query: Tensor,
  keyCache: Tensor,
  valueCache: Tensor,
  decompress?: { weight: Tensor; rows: number },
): Tensor {
  const { graph, tokens } = pass;
  const { streams } = pass.cells;
  const spec = pass.spec(block);
  const { cells, mask } = pass.cacheInputs(block);
  const perStream = tokens / streams;
  const heads = query.ne1;
  const split = graph.view(query, query.ne0, heads, perStream, streams, query.bytes);
  const q = graph.view(split, query.ne0, perStream, heads, streams, query.bytes);
  const k = cacheView(pass, keyCache, spec.keyLength, cells, spec.headCountKv);
  const v = cacheView(pass, valueCache, spec.valueLength, cells, spec.headCountKv);
  const sinks = pass.weight(block, "attn_sinks");
  if (pass.settings.flashAttention) {
    const sources = sinks === undefined ? [q, k, v, mask] : [q, k, v, mask, sinks];
    const mixed = graph.node("attention", sources, spec.valueLength, heads, perStream, streams);
    mixed.scratchBytes = pass.cacheScratch(block, cells);
    if (decompress === undefined) return graph.view(mixed, spec.valueLength * heads, tokens);
    const turned = graph.view(mixed, spec.valueLength, perStream, heads, streams, mixed.bytes);
    const wide = graph.matmul(decompress.weight, turned, decompress.rows);
    const back = graph.view(wide, decompress.rows, heads, perStream, streams, wide.bytes);
    return graph.view(
      graph.node("other", [back], decompress.rows, heads, perStream, streams),
      decompress.rows * heads,
      tokens,
    );
  }
  let kq = graph.node("matmul", [k, q], cells, perStream, heads, streams);
  if (pass.traits.softcapsScores) kq = graph.scale(graph.unary(graph.scale(kq)));
  kq = sinks === undefined ? graph.softmax(kq, mask) : graph.softmax(kq, mask, sinks);
  let kqv = graph.node("matmul", [v, kq], spec.valueLength, perStream, heads, streams);
  if (decompress !== undefined) kqv = graph.matmul(decompress.weight, kqv, decompress.rows);
  const joined = graph.view(kqv, kqv.ne0, heads, perStream, streams, kqv.bytes);
  return graph.node("other", [joined], kqv.ne0 * heads, tokens);
}

function cacheView(pass: Pass, cache: Tensor, length: number, cells: number, heads: number): Tensor {
  const { streams } = pass.cells;
  const rows = pass.graph.view(cache, length, heads, cells, streams, cache.bytes);
  return pass.graph.view(rows, length, cells, heads, streams, cache.bytes);
}

/**
 * DeepSeek's latent attention: one compressed row per token is cached and read as key and as value; queries are brought
 * into its space, results back out of it.
 */
export function latentAttention(pass: Pass, block: number, input: Tensor): Tensor {
  const { graph, tokens } = pass;
  const { headCount, keyLength, valueLength: rank } = pass.spec(block);
  const rope = keyLength - rank;
  const keys = pass.shape(block, "attn_k_b")!;
  const plain = keys[0]!;
  const compressed = pass.has(block, "attn_q_a")
    ? pass.linear(block, "attn_q_b", pass.norm(block, "attn_q_a_norm", pass.linear(block, "attn_q_a", input)))
    : pass.linear(block, "attn_q", input);
  const query = graph.view(compressed, plain + rope, headCount, tokens);
  const joint = pass.linear(block, "attn_kv_a_mqa", input);
  const turn = (tensor: Tensor) => (pass.rotates(block) ? pass.rope(tensor) : tensor);
  const keyRope = turn(graph.view(joint, rope, 1, tokens, 1, joint.bytes));
  const latent = pass.norm(block, "attn_kv_a_norm", graph.view(joint, rank, tokens, 1, 1, joint.bytes));
  const queryRope = turn(graph.view(query, rope, headCount, tokens, 1, query.bytes));
  const queryPlain = graph.view(query, plain, tokens, headCount, 1, query.bytes);
  const absorbed = graph.matmul(pass.weight(block, "attn_k_b")!, queryPlain, rank);
  const turned = graph.view(absorbed, rank, headCount, tokens, 1, absorbed.bytes);
  const joinedQuery = graph.node("other", [turned, queryRope], keyLength, headCount, tokens);
  const value = graph.view(latent, rank, 1, tokens);
  const key = graph.node("other", [value, keyRope], keyLength, 1, tokens);
  const device = pass.deviceOf(block);
  const inputs = pass.cacheInputs(block);
  graph.expand(joinedQuery);
  graph.expand(value);
  graph.expand(key);
  const cache = graph.cache(device, pass.keyCacheBytes(block, inputs.cells));
  store(pass, cache, key, inputs.keyIndex);
  const decompress = { weight: pass.weight(block, "attn_v_b")!, rows: pass.shape(block, "attn_v_b")![1]! };
  const mixed = scores(pass, block, joinedQuery, cache, cache, decompress);
  graph.expand(mixed);
  return pass.linear(block, "attn_output", mixed);
}

/** The older form: compressed rows are spread to full heads before they are cached. */
export function legacyLatentAttention(pass: Pass, block: number, input: Tensor): Tensor {
  const { graph, tokens } = pass;
  const { headCount, keyLength, valueLength } = pass.spec(block);
  const rank = pass.shape(block, "attn_kv_a_norm")![0]!;
  const compressed = pass.has(block, "attn_q_a")
    ? pass.linear(block, "attn_q_b", pass.norm(block, "attn_q_a_norm", pass.linear(block, "attn_q_a", input)))
    : pass.linear(block, "attn_q", input);
  const joint = pass.linear(block, "attn_kv_a_mqa", input);
  const rope = joint.ne0 - rank;
  const keyRope = pass.rope(graph.view(joint, rope, 1, tokens, 1, joint.bytes));
  const latent = pass.norm(block, "attn_kv_a_norm", graph.view(joint, rank, tokens, 1, 1, joint.bytes));
  const spread = pass.linear(block, "attn_kv_b", latent);
  const plain = graph.view(spread, keyLength - rope, headCount, tokens, 1, spread.bytes);
  const value = graph.node(
    "other",
    [graph.view(spread, valueLength, headCount, tokens, 1, spread.bytes)],
    valueLength,
    headCount,
    tokens,
  );
  const query = pass.rope(graph.view(compressed, keyLength, headCount, tokens));
  const repeated = graph.node("other", [keyRope], rope, headCount, tokens);
  const key = graph.node("other", [plain, repeated], keyLength, headCount, tokens);
  return pass.linear(block, "attn_output", attend(pass, block, { query, key, value }));
}
