/** One answer on its way from tokens to pieces, held to its grammar where there is one. */
import { type Llama, LlamaGrammarEvaluationState, type LlamaModel, type Token } from "node-llama-cpp";
import { AppError } from "../core/errors.ts";
import { writeCallGrammar } from "./answer-grammar.ts";
import { AnswerParser, type AnswerPiece } from "./answer-parser.ts";
import type { Prompt } from "./llama.ts";
import { TextStream } from "./text-stream.ts";

/** The bytes of a character that is none. Grammars count it as one, so it must show as one. */
const brokenCharacters = /\uFFFD+/g;

export interface WrittenToken {
  pieces: AnswerPiece[];
  /** The answer is whole. */
  ended: boolean;
  /** The token is part of a thought. */
  reasoning: boolean;
}

export class AnswerWriter {
  readonly #prompt: Prompt;
  readonly #llama: Llama;
  readonly #model: LlamaModel;
  readonly #parser: AnswerParser;
  readonly #text: TextStream<Token>;
  /** Of the whole answer; it waits until thoughts are over. */
  #grammar: LlamaGrammarEvaluationState | undefined;
  #active: LlamaGrammarEvaluationState | undefined;

  private constructor(prompt: Prompt, llama: Llama, model: LlamaModel) {
    this.#prompt = prompt;
    this.#llama = llama;
    this.#model = model;
    this.#parser = new AnswerParser(prompt.marks);
    this.#text = new TextStream<Token>((tokens, before) => {
      // A grammar counts control tokens by their names, so that is what they must be read as.
      if (this.#active !== undefined) return model.detokenize(tokens, true, before).replace(brokenCharacters, "\uFFFD");
      return model.detokenize(
        tokens,
        tokens.some((token) => prompt.markTokens.has(token)),
        before,
      );
    });
  }

  /** @throws AppError invalid_request when llama.cpp refuses the grammar */
  static async create(prompt: Prompt, llama: Llama, model: LlamaModel): Promise<AnswerWriter> {
    const writer = new AnswerWriter(prompt, llama, model);
    if (prompt.grammar !== undefined) writer.#grammar = await writer.#compile(prompt.grammar);
    writer.#activate();
    return writer;
  }

  get callCount(): number {
    return this.#parser.callCount;
  }

  get #thinking(): boolean {
    return this.#parser.phase === "reasoning";
  }

  /** What the next token is held to. */
  get grammar(): LlamaGrammarEvaluationState | undefined {
    return this.#active;
  }

  /** What is written may change how the next token is chosen. */
  get decides(): boolean {
    return this.#prompt.grammar !== undefined || this.#prompt.calls !== undefined;
  }

  /** The token itself ends the answer, whatever the text. */
  isEnd(token: Token): boolean {
    // A grammar lets no token end the answer before it is whole, but it knows only the model's own ends.
    return this.#model.isEogToken(token) || (this.#active === undefined && this.#prompt.stopTokens.has(token));
  }

  write(token: Token): WrittenToken {
    const thinking = this.#thinking;
    if (this.isEnd(token)) return { pieces: [], ended: true, reasoning: thinking };
    const pieces = this.#parser.push(this.#text.push(token));
    if (thinking) this.#activate();
    return { pieces, ended: this.#parser.ended, reasoning: thinking || this.#thinking };
  }

  /** What was held back; the answer takes no more tokens. */
  end(): AnswerPiece[] {
    return [...this.#parser.push(this.#text.end()), ...this.#parser.end()];
  }

  #activate(): void {
    if (this.#grammar === undefined || this.#active !== undefined || this.#thinking) return;
    this.#active = this.#grammar;
    this.#parser.constrained = true;
  }

  /** After `write`: where a call has begun of the model's own accord, it must be a right one from here on. */
  async holdCall(): Promise<void> {
    const { calls } = this.#prompt;
    const beginning = this.#parser.callBeginning;
    if (calls === undefined || beginning === undefined || this.#active !== undefined) return;
    const grammar = writeCallGrammar(calls, beginning);
    if (grammar === undefined) return;
    this.#active = await this.#compile(grammar);
    this.#parser.constrained = true;
  }

  async #compile(grammar: string): Promise<LlamaGrammarEvaluationState> {
    try {
      const compiled = await this.#llama.createGrammar({ grammar });
      return new LlamaGrammarEvaluationState({ model: this.#model, grammar: compiled });
    } catch (cause) {
      const param = this.#prompt.request.responseFormat === undefined ? "tools" : "response_format";
      const message = `${param} has a schema that llama.cpp cannot follow; simplify it.`;
      throw new AppError("invalid_request", message, { param, cause });
    }
  }
}
