/** Conversations as llama-server counts them, with control tokens that people typed made harmless. */
import type { ChatMessage, ChatRequest } from "../core/chat.ts";
import { AppError } from "../core/errors.ts";
import { renderChatBody } from "../http/chat-request.ts";
import { createServerPost, type ServerPost, wellFormed } from "./llama-server-post.ts";

/** Shapes that control tokens of known vocabularies have: <|im_start|>, </s>, <start_of_turn>, [INST]. */
const controlShape = /<[^<>\s]{1,64}>|\[[^[\]\s]{1,32}\]/g;
const candidatesMax = 256;
/** Anybody may type any name; those of one model are few. */
const namesKeptMax = 4096;
/** Shows as nothing, and keeps a name from being read as a token. */
const zeroWidthSpace = "\u200b";

export interface TokenFlags {
  /** With what the model wants at the beginning and the end of a text. */
  add_special: boolean;
  /** Names of control tokens are tokens. */
  parse_special: boolean;
}

export class ServerPrompts {
  readonly #post: ServerPost;
  /** Whether a text is a control token. */
  readonly #controls = new Map<string, boolean>();

  constructor({ baseUrl, key }: { baseUrl: string; key: string }) {
    this.#post = createServerPost({ baseUrl, key });
  }

  /**
   * The rendered conversation and its tokens. It is the server's own template and vocabulary that counts.
   *
   * @throws AppError invalid_request when the model's template refuses these messages
   */
  async count(request: ChatRequest): Promise<{ prompt: string; promptTokens: number }> {
    const prompt = request.prompt ?? (await this.#render(request));
    return { prompt, promptTokens: (await this.tokens(prompt, { add_special: true, parse_special: true })).length };
  }

  async #render(request: ChatRequest): Promise<string> {
    const { prompt } = await this.#post("/apply-template", { ...renderChatBody(request), stream: false });
    if (typeof prompt !== "string") throw new Error("llama-server rendered no prompt");
    return prompt;
  }

  /**
   * The same messages, in which names of control tokens are text. llama-server reads whatever a prompt holds as tokens,
   * so a name gets a character in it that does not show.
   *
   * @throws AppError invalid_request for names of an unknown shape
   */
  async withoutControls(messages: readonly ChatMessage[]): Promise<ChatMessage[]> {
    const texts = messages.flatMap(({ content, toolCalls = [] }) => [
      content,
      ...toolCalls.map((call) => call.arguments),
    ]);
    const harmless = await this.#harmlessIn(texts, "messages");
    return messages.map((message) => ({
      ...message,
      content: harmless(message.content),
      ...(message.toolCalls === undefined
        ? {}
        : { toolCalls: message.toolCalls.map((call) => ({ ...call, arguments: harmless(call.arguments) })) }),
    }));
  }

  /** The same for one text. */
  async withoutControlsIn(text: string, param: string): Promise<string> {
    return (await this.#harmlessIn([text], param))(text);
  }

  /** What takes the control tokens out of any of these texts. */
  async #harmlessIn(texts: readonly string[], param: string): Promise<(text: string) => string> {
    const whole = wellFormed(texts.join("\n"));
    if (!(await this.#holdsControl(whole))) return wellFormed;
    if (this.#controls.size > namesKeptMax) this.#controls.clear();
    for (const candidate of candidatesIn(whole)) {
      if (!this.#controls.has(candidate)) this.#controls.set(candidate, await this.#holdsControl(candidate));
    }
    const harmless = (text: string) =>
      wellFormed(text).replace(controlShape, (name) =>
        this.#controls.get(name) ? `${name[0]}${zeroWidthSpace}${name.slice(1)}` : name,
      );
    if (await this.#holdsControl(harmless(whole))) {
      const message = "The request holds control tokens of this model; write them another way.";
      throw new AppError("invalid_request", message, { param });
    }
    return harmless;
  }

  async #holdsControl(text: string): Promise<boolean> {
    if (!/[<[\uFF5C]/.test(text)) return false;
    const [asTokens, asText] = await Promise.all(
      [true, false].map((special) => this.tokens(text, { add_special: false, parse_special: special })),
    );
    return JSON.stringify(asTokens) !== JSON.stringify(asText);
  }

  async tokens(content: string, flags: TokenFlags): Promise<number[]> {
    const { tokens } = await this.#post("/tokenize", { content, ...flags });
    if (!Array.isArray(tokens)) throw new Error("llama-server counted no tokens");
    return tokens as number[];
  }
}

function candidatesIn(text: string): Set<string> {
  const found = new Set<string>();
  for (const [name] of text.matchAll(controlShape)) {
    if (found.size < candidatesMax) found.add(name);
  }
  return found;
}
