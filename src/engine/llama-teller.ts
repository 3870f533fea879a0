/** Tells what an answer's tokens show, and when it is whole. */
import type { Token } from "node-llama-cpp";
import type { AnswerAccount } from "./answer-account.ts";
import type { AnswerEnd } from "./ipc.ts";
import type { AnswerWriter } from "./llama-answer.ts";
import type { LogprobTeller } from "./llama-logprobs.ts";
import type { AnswerHooks } from "./model-runtime.ts";

type Writer = Pick<AnswerWriter, "decides" | "isEnd" | "write" | "end" | "holdCall" | "callCount">;

export class AnswerTeller {
  readonly #writer: Writer;
  readonly #account: AnswerAccount;
  readonly #hooks: Pick<AnswerHooks, "token">;
  readonly #logprobs: LogprobTeller | undefined;
  #late: Token[] = [];
  #turn: NodeJS.Immediate | undefined;
  #end: AnswerEnd | undefined;
  #failure: { cause: unknown } | undefined;

  constructor(
    writer: Writer,
    account: AnswerAccount,
    hooks: Pick<AnswerHooks, "token">,
    logprobs: LogprobTeller | undefined,
  ) {
    this.#writer = writer;
    this.#account = account;
    this.#hooks = hooks;
    this.#logprobs = logprobs;
  }

  /**
   * Where nothing in the text decides how the next token is chosen, the text is made while that one is being computed: a
   * stop text is found a token late then, and that token is forgotten. Only the first, which somebody waits for, and the
   * last are told at once.
   *
   * @returns the answer's end once it is known
   */
  take(token: Token, probabilities?: readonly number[]): AnswerEnd | undefined | Promise<AnswerEnd | undefined> {
    if (this.#writer.decides || this.#logprobs !== undefined) return this.#takeNow(token, probabilities);
    if (this.#failure !== undefined) throw this.#failure.cause;
    if (this.#end !== undefined) return this.#end;
    this.#late.push(token);
    const first = this.#account.completionTokens === 0 && this.#late.length === 1;
    const last = this.#writer.isEnd(token) || this.#account.isFullWith(this.#late.length);
    if (first || last) this.tellLate();
    // The step's other work is queued by then: it goes on in a thread of its own.
    else this.#turn ??= setImmediate(() => this.#tellInTurn());
    return this.#end;
  }

  /** Tells what is still to be told; for the end of an answer, however it comes. */
  tellLate(): void {
    clearImmediate(this.#turn);
    this.#turn = undefined;
    const tokens = this.#late;
    this.#late = [];
    for (const token of tokens) this.#tell(token);
  }

  #tellInTurn(): void {
    try {
      this.tellLate();
    } catch (cause) {
      this.#failure = { cause };
    }
  }

  async #takeNow(token: Token, probabilities?: readonly number[]): Promise<AnswerEnd | undefined> {
    this.#tell(token, probabilities);
    await this.#writer.holdCall();
    return this.#end;
  }

  #tell(token: Token, probabilities?: readonly number[]): void {
    if (this.#end !== undefined) return;
    const { pieces, ended, reasoning } = this.#writer.write(token);
    this.#account.count(reasoning);
    const full = this.#account.full && !ended;
    const shown = ended || full ? [...pieces, ...this.#writer.end()] : pieces;
    // The token that ends the answer is no part of its text.
    if (!ended && !reasoning && probabilities !== undefined) this.#logprobs?.note(token, probabilities);
    this.#hooks.token(this.#logprobs?.tell(shown) ?? shown);
    if (ended) this.#end = this.#account.finished(this.#writer.callCount > 0 ? "tool_calls" : "stop");
    else if (full) this.#end = this.#account.finished("length");
  }
}
