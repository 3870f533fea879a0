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

  /** @param pairs of all candidates: token, probability, token, probability, …; likeliest first */
  note(token: Token, pairs: readonly number[]): void {
    const top: LikelyToken[] = [];
    let own = 0;
    let found = false;
    for (let at = 0; at + 1 < pairs.length && !(found && top.length >= this.#top); at += 2) {
      const [candidate, probability] = [pairs[at] as Token, pairs[at + 1]!];
      if (candidate === token) [own, found] = [probability, true];
      if (top.length < this.#top && probability > 0) top.push(this.#describe(candidate, probability));
    }
    this.#untold.push({ ...this.#describe(token, own), top });
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
