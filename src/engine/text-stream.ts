/** Tokens in, text out: whole characters only, and never the beginning of a text that stops the answer. */

/** Longest UTF-8 sequence in byte tokens, and some more for tokenizers that split oddly. */
const partialTokensMax = 8;

/** Tokens a tokenizer looks back at to place spaces. */
const recentTokensMax = 8;

export interface TextPiece {
  text: string;
  /** A stop text was completed; `text` is what came before it, and nothing may follow. */
  stopped: boolean;
}

export class TextStream<Token> {
  readonly #detokenize: (tokens: readonly Token[], before: readonly Token[]) => string;
  readonly #stops: readonly string[];
  #partial: Token[] = [];
  #recent: Token[] = [];
  #held = "";

  /** @param stops texts that end the answer; empty ones are ignored */
  constructor(detokenize: (tokens: readonly Token[], before: readonly Token[]) => string, stops: readonly string[]) {
    this.#detokenize = detokenize;
    this.#stops = stops.filter((stop) => stop !== "");
  }

  push(token: Token): TextPiece {
    this.#partial.push(token);
    const text = this.#detokenize(this.#partial, this.#recent);
    // A replacement character at the end is a character whose last bytes are still to come.
    if (text.endsWith("\uFFFD") && this.#partial.length < partialTokensMax) return { text: "", stopped: false };
    this.#recent = [...this.#recent, ...this.#partial].slice(-recentTokensMax);
    this.#partial = [];
    return this.#release(text);
  }

  /** What was held back, when the answer ends for another reason. */
  end(): string {
    const rest = this.#held + (this.#partial.length > 0 ? this.#detokenize(this.#partial, this.#recent) : "");
    this.#held = "";
    this.#partial = [];
    return rest;
  }

  #release(text: string): TextPiece {
    if (this.#stops.length === 0) return { text, stopped: false };
    const candidate = this.#held + text;
    const found = this.#stops.map((stop) => candidate.indexOf(stop)).filter((index) => index >= 0);
    if (found.length > 0) {
      this.#held = "";
      return { text: candidate.slice(0, Math.min(...found)), stopped: true };
    }
    const heldLength = Math.max(...this.#stops.map((stop) => overlapLength(candidate, stop)));
    this.#held = candidate.slice(candidate.length - heldLength);
    return { text: candidate.slice(0, candidate.length - heldLength), stopped: false };
  }
}

/** How much of the end of `text` is a beginning of `stop`. */
function overlapLength(text: string, stop: string): number {
  for (let length = Math.min(text.length, stop.length - 1); length > 0; length--) {
    if (text.endsWith(stop.slice(0, length))) return length;
  }
  return 0;
}
