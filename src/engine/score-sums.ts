/** The arithmetic of perplexity and of Kullback-Leibler divergence, in double precision. */
import type { Divergence, QualityScore, TextScore } from "../fit/compare-report.ts";

/** Natural logarithms of the softmax of `logits`, by token; they are there for the whole vocabulary. */
export function logProbabilities(logits: ReadonlyMap<number, number>): Float32Array {
  const vocabularySize = logits.size;
  const values = new Float32Array(vocabularySize).fill(Number.NEGATIVE_INFINITY);
  let most = Number.NEGATIVE_INFINITY;
  for (const [token, logit] of logits) {
    values[token] = logit;
    if (logit > most) most = logit;
  }
  let sum = 0;
  for (let token = 0; token < vocabularySize; token++) sum += Math.exp(values[token]! - most);
  const norm = most + Math.log(sum);
  for (let token = 0; token < vocabularySize; token++) values[token] = values[token]! - norm;
  return values;
}

/** Nats from the distribution `reference` to `own`, both as log-probabilities, and whether their peaks are one. */
export function divergenceOf(reference: Float32Array, own: Float32Array): { nats: number; sameTop: boolean } {
  let nats = 0;
  let referenceTop = 0;
  let ownTop = 0;
  for (let token = 0; token < reference.length; token++) {
    const expected = reference[token]!;
    if (expected > reference[referenceTop]!) referenceTop = token;
    if (own[token]! > own[ownTop]!) ownTop = token;
    const probability = Math.exp(expected);
    if (probability > 0) nats += probability * (expected - own[token]!);
  }
  // Never negative but for the rounding of float32.
  return { nats: Math.max(0, nats), sameTop: referenceTop === ownTop };
}

export class ScoreSum {
  tokens = 0;
  #logSum = 0;
  #logSquares = 0;
  readonly #divergences: number[] = [];
  #sameTop = 0;

  add(logProbability: number, divergence: { nats: number; sameTop: boolean } | undefined): void {
    this.tokens++;
    this.#logSum -= logProbability;
    this.#logSquares += logProbability ** 2;
    if (divergence === undefined) return;
    this.#divergences.push(divergence.nats);
    if (divergence.sameTop) this.#sameTop++;
  }

  score(): TextScore {
    return { tokens: this.tokens, perplexity: Math.exp(this.#logSum / this.tokens) };
  }

  result(): Omit<QualityScore, "texts"> {
    const { tokens } = this;
    const mean = this.#logSum / tokens;
    const deviation = Math.sqrt(Math.max(0, this.#logSquares / tokens - mean ** 2) / Math.max(1, tokens - 1));
    const divergence = this.#divergence();
    return {
      ...this.score(),
      // The error of a mean, carried through the exponential.
      perplexityError: deviation * Math.exp(mean),
      ...(divergence === undefined ? {} : { divergence }),
    };
  }

  #divergence(): Divergence | undefined {
    const sorted = [...this.#divergences].sort((left, right) => left - right);
    const count = sorted.length;
    if (count === 0) return undefined;
    const mean = sorted.reduce((sum, nats) => sum + nats, 0) / count;
    const variance = sorted.reduce((sum, nats) => sum + (nats - mean) ** 2, 0) / Math.max(1, count - 1);
    return {
      mean,
      standardError: Math.sqrt(variance / count),
      percentile99: sorted[Math.min(count - 1, Math.floor(count * 0.99))]!,
      max: sorted[count - 1]!,
      sameTopShare: this.#sameTop / count,
    };
  }
}
