/**
 * The forward pass of a Llama-like model in plain TypeScript: an independent reading of a GGUF file's float weights, for
 * checking what llama.cpp's numbers are made into. Slow; for models of a few million parameters and short texts.
 */
import { open } from "node:fs/promises";
import { readModelHeader } from "../../src/engine/check-model.ts";
import { decoders } from "../../src/engine/quantize/decode.ts";

interface Matrix {
  values: Float32Array;
  /** Inputs. */
  columns: number;
  /** Outputs. */
  rows: number;
}

export class PlainLlama {
  readonly #weights: Map<string, Matrix>;
  readonly #facts: Record<"layers" | "heads" | "headsKv" | "headLength" | "ropeBase" | "epsilon", number>;

  private constructor(weights: Map<string, Matrix>, facts: PlainLlama["facts"]) {
    this.#weights = weights;
    this.#facts = facts;
  }

  get facts() {
    return this.#facts;
  }

  /** Architecture "llama" without biases, float tensors alone. */
  static async read(path: string): Promise<PlainLlama> {
    const { metadata, tensors, headerBytes } = await readModelHeader(path);
    const number = (key: string) => Number(metadata[`llama.${key}`]);
    const file = await open(path);
    const weights = new Map<string, Matrix>();
    for (const { name, dims, type, offset, bytes } of tensors) {
      const raw = Buffer.alloc(bytes);
      await file.read(raw, 0, bytes, headerBytes + offset);
      const values = new Float32Array(dims.reduce((product, dim) => product * dim, 1));
      decoders[type]!(raw, values);
      weights.set(name, { values, columns: dims[0]!, rows: values.length / dims[0]! });
    }
    await file.close();
    return new PlainLlama(weights, {
      layers: number("block_count"),
      heads: number("attention.head_count"),
      headsKv: number("attention.head_count_kv"),
      headLength: number("attention.key_length"),
      ropeBase: number("rope.freq_base"),
      epsilon: number("attention.layer_norm_rms_epsilon"),
    });
  }

  /** Log-probabilities of the next token behind each of `tokens`. */
  predict(tokens: readonly number[]): Float64Array[] {
    const embedding = this.#matrix("token_embd.weight");
    let states: Float64Array[] = tokens.map((token) =>
      Float64Array.from(embedding.values.subarray(token * embedding.columns, (token + 1) * embedding.columns)),
    );
    for (let layer = 0; layer < this.#facts.layers; layer++) states = this.#block(layer, states);
    const output = this.#weights.get("output.weight") ?? embedding;
    return states.map((state) => logSoftmax(multiply(output, this.#norm(state, "output_norm.weight"))));
  }

  #block(layer: number, states: Float64Array[]): Float64Array[] {
    const name = (part: string) => `blk.${layer}.${part}.weight`;
    const normed = states.map((state) => this.#norm(state, name("attn_norm")));
    const project = (part: string) => normed.map((state) => multiply(this.#matrix(name(part)), state));
    const { headLength, heads, headsKv } = this.#facts;
    const queries = project("attn_q").map((row, position) => this.#rotate(row, position));
    const keys = project("attn_k").map((row, position) => this.#rotate(row, position));
    const values = project("attn_v");
    return states.map((state, position) => {
      const mixed = new Float64Array(heads * headLength);
      for (let head = 0; head < heads; head++) {
        const from = Math.floor(head / (heads / headsKv)) * headLength;
        attend(queries[position]!, keys, values, { position, head: head * headLength, from, headLength, mixed });
      }
      const attended = add(state, multiply(this.#matrix(name("attn_output")), mixed));
      const inner = this.#norm(attended, name("ffn_norm"));
      const gate = multiply(this.#matrix(name("ffn_gate")), inner);
      const up = multiply(this.#matrix(name("ffn_up")), inner);
      const hidden = gate.map((value, index) => (value / (1 + Math.exp(-value))) * up[index]!);
      return add(attended, multiply(this.#matrix(name("ffn_down")), hidden));
    });
  }

  #matrix(name: string): Matrix {
    const found = this.#weights.get(name);
    if (found === undefined) throw new Error(`the model has no ${name}`);
    return found;
  }

  #norm(state: Float64Array, name: string): Float64Array {
    const scale = this.#matrix(name).values;
    const mean = state.reduce((sum, value) => sum + value * value, 0) / state.length;
    const factor = 1 / Math.sqrt(mean + this.#facts.epsilon);
    return state.map((value, index) => value * factor * scale[index]!);
  }

  /** Neighbouring elements are the two coordinates of each rotation. */
  #rotate(row: Float64Array, position: number): Float64Array {
    const { headLength, ropeBase } = this.#facts;
    const out = Float64Array.from(row);
    for (let at = 0; at < row.length; at += 2) {
      const angle = position * ropeBase ** (-(at % headLength) / headLength);
      const [x, y] = [row[at]!, row[at + 1]!];
      out[at] = x * Math.cos(angle) - y * Math.sin(angle);
      out[at + 1] = x * Math.sin(angle) + y * Math.cos(angle);
    }
    return out;
  }
}

function attend(
  query: Float64Array,
  keys: readonly Float64Array[],
  values: readonly Float64Array[],
  at: { position: number; head: number; from: number; headLength: number; mixed: Float64Array },
): void {
  const scores = new Float64Array(at.position + 1);
  for (let past = 0; past <= at.position; past++) {
    for (let i = 0; i < at.headLength; i++) scores[past]! += query[at.head + i]! * keys[past]![at.from + i]!;
    scores[past]! /= Math.sqrt(at.headLength);
  }
  logSoftmax(scores).forEach((logWeight, past) => {
    const weight = Math.exp(logWeight);
    for (let i = 0; i < at.headLength; i++) at.mixed[at.head + i]! += weight * values[past]![at.from + i]!;
  });
}

function multiply({ values, columns, rows }: Matrix, input: Float64Array): Float64Array {
  const out = new Float64Array(rows);
  for (let row = 0, at = 0; row < rows; row++) {
    let sum = 0;
    for (let column = 0; column < columns; column++) sum += values[at++]! * input[column]!;
    out[row] = sum;
  }
  return out;
}

function add(left: Float64Array, right: Float64Array): Float64Array {
  return left.map((value, index) => value + right[index]!);
}

function logSoftmax(logits: Float64Array): Float64Array {
  const most = logits.reduce((top, logit) => Math.max(top, logit), Number.NEGATIVE_INFINITY);
  const norm = most + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - most), 0));
  return logits.map((logit) => logit - norm);
}
