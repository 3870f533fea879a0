/**
 * Ways to fill the weights of a test model.
 *
 * - "random":  normal noise; the text is gibberish, the cost of inference is real.
 * - "script":  greedy decoding answers any chat with the first of `SCRIPT_LINES`, then ends the turn.
 * - "endless": the same, but the end of the line leads back to its start, so only a token limit ends it.
 * - "zeros":   no data at all (a sparse file): the shape of a large model on a few megabytes of disk.
 *
 * How a script works: token embeddings are random codes of +1 and -1, nearly orthogonal to each other. The layers
 * compute as usual but add only a whisper to the residual stream, so the final state is still the code of the last
 * token, and the output row of a word is the sum of the codes of the words that may precede it: a bigram model.
 */
import type { Fill } from "./container.ts";
import { SCRIPT_LINES, type Vocabulary } from "./vocabulary.ts";

export type Brain = "random" | "script" | "endless" | "zeros";

export interface BrainFills {
  embedding: Fill | undefined;
  output: Fill | undefined;
  /** Normal noise for a weight matrix whose input has `inputs` elements. */
  weight(inputs: number): Fill | undefined;
  /** The same for a matrix that writes to the residual stream of a model of `layers` layers. */
  residual(inputs: number, layers: number): Fill | undefined;
  constant(value: number): Fill | undefined;
  /** Scale of what a layer may add to the residual stream. */
  whisper: number;
}

/** @param script lines instead of `SCRIPT_LINES`; a word may also be a control token */
export function createBrain(
  brain: Brain,
  vocabulary: Vocabulary,
  {
    embeddingLength,
    seed,
    script = SCRIPT_LINES,
  }: { embeddingLength: number; seed: number; script?: readonly string[] },
): BrainFills {
  if (brain === "zeros") {
    const hole = () => undefined;
    return { embedding: undefined, output: undefined, weight: hole, residual: hole, constant: hole, whisper: 1 };
  }
  let tensorSeed = seed * 7919;
  const noise = (deviation: number) => noiseFill(tensorSeed++, deviation);
  const scripted = brain === "script" || brain === "endless";
  const whisper = scripted ? 0.02 : 1;
  const codes = new TokenCodes(embeddingLength, seed);
  return {
    embedding: scripted ? codes.fillEmbedding : noise(1),
    output: scripted
      ? codes.fillOutput(precedingTokens(vocabulary, script, brain === "endless"))
      : noise(1 / Math.sqrt(embeddingLength)),
    weight: (inputs) => noise(1 / Math.sqrt(inputs)),
    residual: (inputs, layers) => noise(whisper / Math.sqrt(inputs * layers)),
    constant: (value) => (out) => void out.fill(value),
    whisper,
  };
}

/** For every token that ever follows another: the tokens it may follow, repeated where it should be preferred. */
function precedingTokens(vocabulary: Vocabulary, script: readonly string[], endless: boolean): Map<number, number[]> {
  const before = new Map<number, number[]>();
  const follow = (first: number, second: number) => before.set(second, [...(before.get(second) ?? []), first]);
  script.forEach((line, index) => {
    const ids = line.split(" ").map((word) => vocabulary.wordIds.get(word) ?? vocabulary.tokens.indexOf(word));
    if (ids.includes(-1)) throw new Error(`the vocabulary lacks a word of ${JSON.stringify(line)}`);
    follow(vocabulary.newlineId, ids[0]!);
    // Twice makes the first line the greedy answer.
    if (index === 0) follow(vocabulary.newlineId, ids[0]!);
    for (let i = 1; i < ids.length; i++) follow(ids[i - 1]!, ids[i]!);
    follow(ids.at(-1)!, endless ? ids[0]! : vocabulary.endOfTurnId);
  });
  return before;
}

/** A random code of +1 and -1 per token, made on demand. */
class TokenCodes {
  readonly #length: number;
  readonly #seed: number;
  readonly #cache = new Map<number, Float32Array>();

  constructor(length: number, seed: number) {
    this.#length = length;
    this.#seed = seed;
  }

  code(token: number): Float32Array {
    const known = this.#cache.get(token);
    if (known !== undefined) return known;
    const next = createGaussian(Math.imul(token + 1, 0x9e3779b1) + this.#seed);
    const code = Float32Array.from({ length: this.#length }, () => (next() < 0 ? -1 : 1));
    if (this.#cache.size < 4096) this.#cache.set(token, code);
    return code;
  }

  fillEmbedding: Fill = (out, start) => {
    for (let i = 0; i < out.length; ) {
      const column = (start + i) % this.#length;
      const code = this.code(Math.floor((start + i) / this.#length));
      const count = Math.min(this.#length - column, out.length - i);
      out.set(code.subarray(column, column + count), i);
      i += count;
    }
  };

  /** Rows are sums of the codes of the preceding tokens, scaled so that the right word wins by a clear margin. */
  fillOutput(before: Map<number, number[]>): Fill {
    const scale = 14 / this.#length;
    return (out, start) => {
      out.fill(0);
      for (const [token, sources] of before) {
        const from = token * this.#length - start;
        if (from + this.#length <= 0 || from >= out.length) continue;
        for (const code of sources.map((source) => this.code(source))) {
          const first = Math.max(0, -from);
          for (let i = first; i < this.#length && from + i < out.length; i++) out[from + i]! += code[i]! * scale;
        }
      }
    };
  }
}

/** The same tensor written again gets the same values. */
function noiseFill(seed: number, deviation: number): Fill {
  let next = createGaussian(seed);
  return (out, start) => {
    if (start === 0) next = createGaussian(seed);
    for (let i = 0; i < out.length; i++) out[i] = next() * deviation;
  };
}

/** Fast, repeatable, roughly normal values of unit variance: the sum of four uniform ones from xorshift32. */
export function createGaussian(seed: number): () => number {
  let state = (seed ^ 0x9e3779b9) >>> 0 || 1;
  const uniform = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
  for (let i = 0; i < 8; i++) uniform();
  return () => (uniform() + uniform() + uniform() + uniform() - 2) * Math.sqrt(3);
}
