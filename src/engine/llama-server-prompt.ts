/** Conversations as llama-server counts them, with control tokens that people typed made harmless. */
import type { ChatMessage, ChatRequest } from "../core/chat.ts";
import { AppError } from "../core/errors.ts";
import { renderChatBody } from "../http/chat-request.ts";
import { errorOfReply } from "../http/engine-errors.ts";

/** Shapes that control tokens of known vocabularies have: <|im_start|>, </s>, <start_of_turn>, [INST]. */
const controlShape = /<[^<>\s]{1,64}>|\[[^[\]\s]{1,32}\]/g;
const candidatesMax = 256;
/** Shows as nothing, and keeps a name from being read as a token. */
const zeroWidthSpace = "\u200b";

export class ServerPrompts {
  readonly #baseUrl: string;
  readonly #headers: Record<string, string>;
  /** Whether a text is a control token. */
  readonly #controls = new Map<string, boolean>();

  constructor({ baseUrl, key }: { baseUrl: string; key: string }) {
    this.#baseUrl = baseUrl;
    this.#headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
  }

  /**
   * Tokens of the rendered conversation. It is the server's own template and vocabulary that counts.
   *
   * @throws AppError invalid_request when the model's template refuses these messages
   */
  async count(request: ChatRequest): Promise<number> {
    const prompt = request.prompt ?? (await this.#render(request));
    return (await this.#tokens(prompt, { add_special: true, parse_special: true })).length;
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
    if (!(await this.#holdsControl(texts.join("\n")))) return [...messages];
    for (const candidate of candidatesIn(texts)) {
      if (!this.#controls.has(candidate)) this.#controls.set(candidate, await this.#holdsControl(candidate));
    }
    const harmless = (text: string) =>
      text.replace(controlShape, (name) =>
        this.#controls.get(name) ? `${name[0]}${zeroWidthSpace}${name.slice(1)}` : name,
      );
    const cleaned = messages.map((message) => ({
      ...message,
      content: harmless(message.content),
      ...(message.toolCalls === undefined
        ? {}
        : { toolCalls: message.toolCalls.map((call) => ({ ...call, arguments: harmless(call.arguments) })) }),
    }));
    if (await this.#holdsControl(harmless(texts.join("\n")))) {
      const message = "The messages hold control tokens of this model; write them another way.";
      throw new AppError("invalid_request", message, { param: "messages" });
    }
    return cleaned;
  }

  async #holdsControl(text: string): Promise<boolean> {
    if (!/[<[\uFF5C]/.test(text)) return false;
    const [asTokens, asText] = await Promise.all(
      [true, false].map((special) => this.#tokens(text, { add_special: false, parse_special: special })),
    );
    return JSON.stringify(asTokens) !== JSON.stringify(asText);
  }

  async #tokens(content: string, flags: Record<string, boolean>): Promise<unknown[]> {
    const { tokens } = await this.#post("/tokenize", { content, ...flags });
    if (!Array.isArray(tokens)) throw new Error("llama-server counted no tokens");
    return tokens;
  }

  async #post(path: string, body: unknown): Promise<Record<string, unknown>> {
    const reply = await fetch(this.#baseUrl + path, {
      method: "POST",
      headers: this.#headers,
      body: JSON.stringify(body),
    });
    if (!reply.ok) throw await errorOfReply(reply);
    return (await reply.json()) as Record<string, unknown>;
  }
}

function candidatesIn(texts: readonly string[]): Set<string> {
  const found = new Set<string>();
  for (const text of texts) {
    for (const [name] of text.matchAll(controlShape)) {
      if (found.size < candidatesMax) found.add(name);
    }
  }
  return found;
}
