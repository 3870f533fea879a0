/** The model's chat template: messages in, the prompt out, and the marks by which its answer is read. */
import {
  type ChatHistoryItem,
  type ChatModelFunctions,
  type ChatModelResponse,
  ChatWrapper,
  type GbnfJsonSchema,
  JinjaTemplateChatWrapper,
  type LlamaModel,
  LlamaText,
  resolveChatWrapper,
  SpecialTokensText,
  type Token,
} from "node-llama-cpp";
import type { ChatMessage, ChatRequest, Tool } from "../core/chat.ts";
import { AppError } from "../core/errors.ts";
import type { AnswerMarks } from "./answer-parser.ts";
import { markOf, wrapperOf } from "./llama-template-mark.ts";
import type { CallForm } from "./tool-call-reader.ts";

export interface RenderedPrompt {
  tokens: Token[];
  marks: AnswerMarks;
  /** Tokens, beside the model's own, that end a turn. */
  stopTokens: ReadonlySet<Token>;
  /** Control tokens that are part of a mark: they are read by their names. */
  markTokens: ReadonlySet<Token>;
}

/** Under this length a token's name alone says too little to be taken for the beginning of a call. */
const triggerCharsMin = 6;

type Text = string | LlamaText;

export class LlamaTemplate {
  readonly #model: LlamaModel;
  readonly #wrapper: ChatWrapper;
  /** The model's template ends a prompt with the beginning of a thought; the library's rendering leaves that out. */
  readonly #startsThinking: boolean;

  private constructor(model: LlamaModel, wrapper: ChatWrapper) {
    this.#model = model;
    this.#wrapper = wrapper;
    this.#startsThinking = startsThinking(model.fileInfo.metadata.tokenizer.chat_template ?? "");
  }

  /**
   * The library's own rendering where it is the same as the model's, else the model's Jinja. The comparison looks at
   * plain conversations alone, so a template that knows tools is preferred to a rendering that does not.
   *
   * @param known the mark of what was chosen before, which saves the search
   */
  static of(model: LlamaModel, known?: string): LlamaTemplate {
    const remembered = known === undefined ? undefined : wrapperOf(model, known);
    return remembered === undefined ? LlamaTemplate.#search(model) : new LlamaTemplate(model, remembered);
  }

  static #search(model: LlamaModel): LlamaTemplate {
    const resolved = resolveChatWrapper(model);
    const jinja = model.fileInfo.metadata.tokenizer.chat_template;
    if (jinja === undefined || !/\btools\b/.test(jinja) || !hasGenericCalls(resolved)) {
      return new LlamaTemplate(model, resolved);
    }
    try {
      const own = new JinjaTemplateChatWrapper({ template: jinja, tokenizer: model.tokenizer });
      return new LlamaTemplate(model, hasGenericCalls(own) ? resolved : own);
    } catch {
      // A template that the library cannot follow.
      return new LlamaTemplate(model, resolved);
    }
  }

  /** Of what was chosen; undefined where it cannot be known again. */
  get mark(): string | undefined {
    return markOf(this.#model, this.#wrapper);
  }

  get name(): string {
    return this.#wrapper.wrapperName;
  }

  /** @throws AppError invalid_request when the template refuses these messages */
  render(request: ChatRequest): RenderedPrompt {
    if (request.prompt !== undefined) return this.#renderPlain(request.prompt, request.stop ?? []);
    const tools = shownTools(request);
    const state = this.#generate(request, tools);
    const { segments } = this.#wrapper.settings;
    const collector = new MarkCollector(this.#model);
    const stopTokens = new Set<Token>();
    const turnEnds: string[] = [];
    for (const trigger of state.stopGenerationTriggers) this.#addTurnEnd(trigger, stopTokens, turnEnds);

    const thoughts = [{ open: collector.mark(special("<think>")), close: collector.mark(special("</think>")) }];
    for (const segment of [segments?.thought, segments?.comment]) {
      const { prefix, suffix = segments?.closeAllSegments } = segment ?? {};
      if (!isText(prefix) || suffix === undefined) continue;
      thoughts.push({ open: collector.mark(prefix), close: collector.mark(suffix) });
    }
    const ignored: string[] = [];
    if (segments?.closeAllSegments !== undefined) ignored.push(collector.mark(segments.closeAllSegments));
    for (const text of state.ignoreStartText ?? []) ignored.push(collector.mark(text));
    for (const prefix of state.prefixTriggers ?? []) {
      if (prefix.type === "response") ignored.push(...prefix.triggers.map((text) => collector.mark(text)));
    }
    for (const text of state.rerender?.triggers ?? []) ignored.push(collector.mark(text));

    const callable = callableTools(request);
    const calls = callable.length === 0 ? undefined : this.#callForm(callable, request, collector);
    const thoughtOf = (text: LlamaText) => thoughts.find(({ open }) => collector.endsWith(text, open))?.close;
    let text = state.contextText;
    if (this.#startsThinking && thoughtOf(text) === undefined) text = LlamaText([text, special("<think>\n")]);
    const openThought = thoughtOf(text);
    return {
      tokens: text.tokenize(this.#model.tokenizer),
      stopTokens,
      markTokens: collector.tokens,
      marks: {
        thoughts: thoughts.filter(({ open, close }) => open !== "" && close !== ""),
        ...(openThought === undefined ? {} : { openThought }),
        ignored: ignored.filter((mark) => mark !== ""),
        turnEnds,
        stops: (request.stop ?? []).filter((stop) => stop !== ""),
        ...(calls === undefined ? {} : { calls }),
      },
    };
  }

  /** A text to go on from: no turns, so nothing but the model's own end and the caller's texts ends it. */
  #renderPlain(prompt: string, stops: readonly string[]): RenderedPrompt {
    const { tokens: special } = this.#model;
    const tokens = this.#model.tokenize(prompt, true);
    if (special.shouldPrependBosToken && special.bos !== null && tokens[0] !== special.bos) tokens.unshift(special.bos);
    return {
      tokens,
      stopTokens: new Set(),
      markTokens: new Set(),
      marks: { thoughts: [], ignored: [], turnEnds: [], stops: stops.filter((stop) => stop !== "") },
    };
  }

  #generate({ messages }: ChatRequest, tools: readonly Tool[]) {
    const chatHistory = historyOf(messages);
    const last = chatHistory.at(-1);
    // The model turn at the end is the one to write.
    if (last?.type !== "model" || messages.at(-1)?.role !== "tool") chatHistory.push({ type: "model", response: [] });
    const turn = chatHistory.at(-1);
    const opensThought = this.#wrapper.settings.segments?.thought?.openOnResponseStart === true;
    if (turn?.type === "model" && turn.response.length === 0 && opensThought) {
      turn.response.push({ type: "segment", segmentType: "thought", text: "", ended: false });
    }
    try {
      return this.#wrapper.generateContextState({
        chatHistory,
        ...(tools.length === 0 ? {} : { availableFunctions: functionsOf(tools) }),
      });
    } catch (cause) {
      const message =
        tools.length === 0
          ? "The model's chat template does not accept this sequence of messages; try user and assistant in turn."
          : "The model's chat template does not accept these messages with these tools; try simpler schemas.";
      throw new AppError("invalid_request", message, { param: tools.length === 0 ? "messages" : "tools", cause });
    }
  }

  /** A template's end of turn: a control token where the vocabulary has one, else a text to look for. */
  #addTurnEnd(trigger: LlamaText, stopTokens: Set<Token>, turnEnds: string[]): void {
    const text = trigger.toString();
    if (trigger.values.every((value) => typeof value === "string")) {
      if (text !== "") turnEnds.push(text);
      return;
    }
    const [first, ...rest] = trigger.tokenize(this.#model.tokenizer);
    if (first === undefined) return;
    if (rest.length === 0 || this.#model.isSpecialToken(first)) stopTokens.add(first);
    else turnEnds.push(text);
  }

  #callForm(tools: readonly Tool[], request: ChatRequest, collector: MarkCollector): CallForm {
    const { call, parallelism } = this.#wrapper.settings.functions;
    const section = parallelism?.call;
    const start = LlamaText([section?.sectionPrefix ?? "", call.prefix]).trimStart();
    const head = (from: LlamaText, name: string) =>
      collector.mark(LlamaText([from, name, named(call.paramsPrefix, name)]), false);
    const heads = new Map(tools.map(({ name }) => [name, head(start, name)]));
    const tails = new Map(tools.map(({ name }) => [name, this.#cutAtEnd(named(call.suffix, name), collector)]));
    const empty = JSON.stringify(call.emptyCallParamsPlaceholder ?? "");
    const next = LlamaText([section?.betweenCalls ?? "", call.prefix]);
    const several = section !== undefined && request.parallelToolCalls !== false && !this.#ends(call.suffix);
    return {
      trigger: this.#triggerOf(start, collector),
      heads,
      laterHeads: several ? new Map(tools.map(({ name }) => [name, head(next, name)])) : undefined,
      withoutArguments: new Map(
        tools
          .filter(({ parameters }) => parameters === undefined)
          .map(({ name }) => [name, empty === '""' ? "" : empty]),
      ),
      tails,
      end: this.#cutAtEnd(section?.sectionSuffix ?? "", collector),
    };
  }

  /** A control token that stands for calls alone, else all of the beginning of a call. */
  #triggerOf(start: LlamaText, collector: MarkCollector): string {
    const [first] = start.tokenize(this.#model.tokenizer);
    const name = first === undefined ? "" : this.#model.detokenize([first], true);
    return name.length >= triggerCharsMin && /^\W/.test(name) ? name : collector.mark(start, false);
  }

  /** Text up to the first token that ends the turn: that token is never written, the turn ends instead. */
  #cutAtEnd(text: Text, collector: MarkCollector): string {
    const tokens = LlamaText(text).tokenize(this.#model.tokenizer);
    const end = tokens.findIndex((token) => this.#model.isEogToken(token));
    if (end < 0) return collector.mark(text, false);
    const kept = tokens.slice(0, end);
    collector.add(kept);
    return this.#model.detokenize(kept, true);
  }

  #ends(text: Text): boolean {
    return LlamaText(text)
      .tokenize(this.#model.tokenizer)
      .some((token) => this.#model.isEogToken(token));
  }
}

/** A thought that is ended at once there is how templates write "do not think". */
function startsThinking(jinja: string): boolean {
  const at = jinja.lastIndexOf("add_generation_prompt");
  const opening = at < 0 ? "" : jinja.slice(at);
  return opening.includes("<think>") && !opening.includes("</think>");
}

/** Calls are written in the library's own form, which no model was trained on. */
function hasGenericCalls({ settings }: ChatWrapper): boolean {
  const { prefix } = settings.functions.call;
  return LlamaText.compare(LlamaText(prefix), LlamaText(ChatWrapper.defaultSettings.functions.call.prefix));
}

/** Texts of marks, and the control tokens among them. */
class MarkCollector {
  readonly tokens = new Set<Token>();
  readonly #model: LlamaModel;

  constructor(model: LlamaModel) {
    this.#model = model;
  }

  /** @param trimmed without the white space around it, which models write or leave out as they like */
  mark(text: Text, trimmed = true): string {
    this.add(LlamaText(text).tokenize(this.#model.tokenizer));
    const name = this.#nameOf(LlamaText(text));
    return trimmed ? name.trim() : name;
  }

  add(tokens: readonly Token[]): void {
    for (const token of tokens) if (this.#model.isSpecialToken(token)) this.tokens.add(token);
  }

  endsWith(text: LlamaText, mark: string): boolean {
    if (mark === "") return false;
    return text.values
      .slice(-4)
      .map((value) => this.#nameOf(LlamaText(value)))
      .join("")
      .trimEnd()
      .endsWith(mark);
  }

  #nameOf(text: LlamaText): string {
    return text.values
      .map((value) => {
        if (typeof value === "string") return value;
        if (value instanceof SpecialTokensText) return value.value;
        return this.#model.detokenize(value.tokenize(this.#model.tokenizer), true);
      })
      .join("");
  }
}

/** Tools the model is told of. */
function shownTools({ tools = [], toolChoice }: ChatRequest): readonly Tool[] {
  return toolChoice === "none" ? [] : tools;
}

/** Tools it may call. */
export function callableTools(request: ChatRequest): readonly Tool[] {
  const { toolChoice } = request;
  const tools = shownTools(request);
  return typeof toolChoice === "object" ? tools.filter(({ name }) => name === toolChoice.name) : tools;
}

function functionsOf(tools: readonly Tool[]): ChatModelFunctions {
  return Object.fromEntries(
    tools.map(({ name, description, parameters }) => [
      name,
      {
        ...(description === undefined ? {} : { description }),
        // Shown to the model as it is; the library's own narrower type is for grammars, which are made elsewhere.
        ...(parameters === undefined ? {} : { params: parameters as GbnfJsonSchema }),
      },
    ]),
  );
}

/**
 * Calls, their results and what the model said then are one turn of the model: templates write them without the marks
 * of a new turn.
 */
function historyOf(messages: readonly ChatMessage[]): ChatHistoryItem[] {
  const history: ChatHistoryItem[] = [];
  let turn: ChatModelResponse | undefined;
  for (const [index, message] of messages.entries()) {
    if (message.role === "tool") continue;
    if (message.role !== "assistant") {
      turn = undefined;
      history.push(
        message.role === "user"
          ? { type: "user", text: message.content }
          : { type: "system", text: LlamaText(message.content).toJSON() },
      );
      continue;
    }
    const afterResults = turn !== undefined && messages[index - 1]?.role === "tool";
    if (turn === undefined || !afterResults) {
      turn = { type: "model", response: [] };
      history.push(turn);
    }
    if (message.content !== "" || message.toolCalls === undefined) turn.response.push(message.content);
    turn.response.push(...callsOf(message, messages, index));
  }
  return history;
}

function callsOf({ toolCalls = [] }: ChatMessage, messages: readonly ChatMessage[], index: number) {
  const next = messages.findIndex((message, at) => at > index && message.role !== "tool");
  const results = messages.slice(index + 1, next < 0 ? undefined : next);
  return toolCalls.map((call, position) => ({
    type: "functionCall" as const,
    name: call.name,
    params: parseLoosely(call.arguments === "" ? "{}" : call.arguments),
    result: parseLoosely(results.find(({ toolCallId }) => toolCallId === call.id)?.content ?? ""),
    ...(position === 0 ? { startsNewChunk: true } : {}),
  }));
}

/** JSON as a value, so that it is not quoted once more; anything else as text. */
function parseLoosely(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function named(text: Text, name: string): LlamaText {
  return LlamaText(text).mapValues((value) =>
    typeof value === "string" ? value.replaceAll("{{functionName}}", name) : value,
  );
}

function special(text: string): LlamaText {
  return LlamaText(new SpecialTokensText(text));
}

function isText(value: unknown): value is Text {
  return typeof value === "string" || LlamaText.isLlamaText(value);
}
