/** Tokens in, text out: whole characters only. */

/** Longest UTF-8 sequence in byte tokens, and some more for tokenizers that split oddly. */
const partialTokensMax = 8;

/** Tokens a tokenizer looks back at to place spaces. */
const recentTokensMax = 8;

export class TextStream<Token> {
  readonly #detokenize: (tokens: readonly Token[], before: readonly Token[]) => string;
  #partial: Token[] = [];
  #recent: Token[] = [];

  constructor(detokenize: (tokens: readonly Token[], before: readonly Token[]) => string) {
    this.#detokenize = detokenize;
  }

  push(token: Token): string {
    this.#partial.push(token);
    const text = this.#detokenize(this.#partial, this.#recent);
    // A replacement character at the end is a character whose last bytes are still to come.
    if (text.endsWith("\uFFFD") && this.#partial.length < partialTokensMax) return "";
    this.#recent = [...this.#recent, ...this.#partial].slice(-recentTokensMax);
    this.#partial = [];
    return text;
  }

  /** What was held back, when the answer ends. */
  end(): string {
    const rest = this.#partial.length > 0 ? this.#detokenize(this.#partial, this.#recent) : "";
    this.#partial = [];
    return rest;
  }
}
