/** What one answer has cost so far, by the child's own clock. */
import type { Usage } from "../core/chat.ts";
import type { AppError } from "../core/errors.ts";
import type { AnswerEnd } from "./ipc.ts";

export class AnswerAccount {
  cachedPromptTokens = 0;
  completionTokens = 0;
  reasoningTokens = 0;
  readonly #promptTokens: number;
  readonly #tokensMax: number;
  readonly #startedAt = performance.now();
  #firstTokenAt: number | undefined;
  #lastTokenAt = 0;

  /** @param tokensMax completion tokens at which the answer is full */
  constructor(promptTokens: number, tokensMax: number) {
    this.#promptTokens = promptTokens;
    this.#tokensMax = tokensMax;
  }

  get full(): boolean {
    return this.isFullWith(0);
  }

  isFullWith(moreTokens: number): boolean {
    return this.completionTokens + moreTokens >= this.#tokensMax;
  }

  /** @param reasoning the token is part of a thought */
  count(reasoning: boolean): void {
    this.completionTokens++;
    if (reasoning) this.reasoningTokens++;
    this.#lastTokenAt = performance.now();
    this.#firstTokenAt ??= this.#lastTokenAt;
  }

  finished(finishReason: "stop" | "length" | "tool_calls"): AnswerEnd {
    return { end: { type: "finish", finishReason }, ...this.#account() };
  }

  cancelled(): AnswerEnd {
    return { end: { type: "cancelled" }, ...this.#account() };
  }

  failed(error: AppError): AnswerEnd {
    return { end: { type: "error", error: error.toFacts() }, ...this.#account() };
  }

  #account(): Omit<AnswerEnd, "end"> {
    const { cachedPromptTokens, completionTokens, reasoningTokens } = this;
    const promptTokens = this.#promptTokens;
    const timings: AnswerEnd["timings"] = {};
    if (this.#firstTokenAt !== undefined) {
      const prefillMs = this.#firstTokenAt - this.#startedAt;
      const decodeMs = this.#lastTokenAt - this.#firstTokenAt;
      if (prefillMs > 0) timings.prefillTokensPerSecond = ((promptTokens - cachedPromptTokens) / prefillMs) * 1000;
      if (decodeMs > 0) timings.completionTokensPerSecond = ((completionTokens - 1) / decodeMs) * 1000;
    }
    const usage: Usage = { promptTokens, completionTokens, cachedPromptTokens };
    if (reasoningTokens > 0) usage.reasoningTokens = reasoningTokens;
    return { usage, timings };
  }
}
