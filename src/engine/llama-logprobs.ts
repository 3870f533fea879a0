/** Probabilities of an answer's tokens, told with the text that shows them. */
import type { LlamaModel, Token } from "node-llama-cpp";
import type { LikelyToken, TokenLogprob } from "../core/chat.ts";
import type { AnswerPiece } from "./answer-parser.ts";
import { bytesOfToken } from "./token-bytes.ts";

/**
 * The probabilities are those the token was drawn with: of the candidates that temperature, top_k, top_p, min_p, penalties
 * and a grammar left. With temperature 0 they are the model's own.
 */
export class LogprobTeller {
  readonly #model: LlamaModel;
  readonly #top: number;
  /** Of tokens whose text has not shown yet. */
  #untold: TokenLogprob[] = [];

  constructor(model: LlamaModel, top: number) {
    this.#model = model;
    this.#top = top;
  }

  /** @param probabilities of all candidates, likeliest first */
  note(token: Token, probabilities: ReadonlyMap<Token, number>): void {
    const top: LikelyToken[] = [];
    for (const [candidate, probability] of probabilities) {
      if (top.length >= this.#top || probability <= 0) break;
      top.push(this.#describe(candidate, probability));
    }
    this.#untold.push({ ...this.#describe(token, probabilities.get(token) ?? 0), top });
  }

  /** The same pieces, the first text with the tokens since the last one. Thoughts and calls have none. */
  tell(pieces: readonly AnswerPiece[]): readonly AnswerPiece[] {
    const told = pieces.findIndex(({ type }) => type === "text");
    if (told === -1) {
      if (pieces.length > 0) this.#untold = [];
      return pieces;
    }
    const logprobs = this.#untold;
    this.#untold = [];
    return pieces.map((piece, index) => (index === told && piece.type === "text" ? { ...piece, logprobs } : piece));
  }

  #describe(token: Token, probability: number): LikelyToken {
    const text = this.#model.detokenize([token], true);
    const written = this.#model.fileInfo.metadata.tokenizer.ggml.tokens[token] ?? text;
    return {
      token: text,
      // JSON has no infinity; what has no probability at all was never drawn.
      logprob: Math.log(Math.max(probability, Number.MIN_VALUE)),
      bytes: bytesOfToken(written, text),
    };
  }
}
