/** The output of a response: thoughts, text and calls as items, in the order in which they began. */
import type { ChatDelta } from "../core/chat.ts";
import type { JsonObject } from "./chat-wire.ts";

export type ItemStatus = "in_progress" | "completed" | "incomplete";

/** One event of the stream, without its number. */
export type ItemEvent = [type: string, members: JsonObject];

interface Item {
  kind: "reasoning" | "message" | "function_call";
  id: string;
  /** Thoughts, text or arguments. */
  text: string;
  callId?: string;
  name?: string;
  /** Of the chat's calls. */
  callIndex?: number;
}

/** Puts items together from the pieces of a chat, and says how they grow. */
export class OutputItems {
  readonly #idBase: string;
  readonly #items: Item[] = [];
  #open: Item | undefined;

  /** @param responseId "resp_…"; items share what follows the prefix */
  constructor(responseId: string) {
    this.#idBase = responseId.replace(/^resp_/, "");
  }

  /** Events of one piece; what another kind of piece follows is closed first. */
  *add(delta: ChatDelta): Generator<ItemEvent> {
    const item = yield* this.#itemOf(delta);
    const text = delta.type === "tool_call" ? delta.arguments : delta.text;
    if (delta.type === "tool_call" && delta.name !== undefined) item.name = delta.name;
    item.text += text;
    if (text === "") return;
    const place = this.#place(item);
    if (item.kind === "function_call") yield ["response.function_call_arguments.delta", { ...place, delta: text }];
    else if (item.kind === "reasoning")
      yield ["response.reasoning_text.delta", { ...place, content_index: 0, delta: text }];
    else yield ["response.output_text.delta", { ...place, content_index: 0, delta: text, logprobs: [] }];
  }

  /** Closes the last item; an answer without any gets an empty text. */
  *finish(status: ItemStatus): Generator<ItemEvent> {
    if (this.#items.length === 0) yield* this.#begin({ kind: "message", id: this.#id("msg"), text: "" });
    yield* this.#close(status);
  }

  /** All items; only the last can have been cut. */
  render(status: ItemStatus): JsonObject[] {
    const last = this.#items.length - 1;
    return this.#items.map((item, place) => renderItem(item, place === last ? status : "completed"));
  }

  *#itemOf(delta: ChatDelta): Generator<ItemEvent, Item> {
    const open = this.#open;
    if (delta.type === "tool_call") {
      const known = this.#items.find((item) => item.callIndex === delta.index);
      if (known !== undefined) return known;
      const callId = delta.id ?? `call_${this.#idBase}_${delta.index}`;
      const facts = { callId, name: delta.name ?? "", callIndex: delta.index };
      yield* this.#close("completed");
      return yield* this.#begin({ kind: "function_call", id: this.#id("fc"), text: "", ...facts });
    }
    const kind = delta.type === "text" ? "message" : "reasoning";
    if (open?.kind === kind) return open;
    yield* this.#close("completed");
    return yield* this.#begin({ kind, id: this.#id(kind === "message" ? "msg" : "rs"), text: "" });
  }

  *#begin(item: Item): Generator<ItemEvent, Item> {
    this.#items.push(item);
    this.#open = item;
    const { output_index, item_id } = this.#place(item);
    const empty = item.kind === "function_call" ? {} : { content: [] };
    yield ["response.output_item.added", { output_index, item: { ...renderItem(item, "in_progress"), ...empty } }];
    if (item.kind === "function_call") return item;
    yield ["response.content_part.added", { item_id, output_index, content_index: 0, part: renderPart(item) }];
    return item;
  }

  *#close(status: ItemStatus): Generator<ItemEvent> {
    const item = this.#open;
    this.#open = undefined;
    if (item === undefined) return;
    const place = this.#place(item);
    const { kind, text, name } = item;
    if (kind === "function_call") {
      yield ["response.function_call_arguments.done", { ...place, name, arguments: text }];
    } else {
      const inPart = { ...place, content_index: 0 };
      if (kind === "reasoning") yield ["response.reasoning_text.done", { ...inPart, text }];
      else yield ["response.output_text.done", { ...inPart, text, logprobs: [] }];
      yield ["response.content_part.done", { ...inPart, part: renderPart(item) }];
    }
    yield ["response.output_item.done", { output_index: place.output_index, item: renderItem(item, status) }];
  }

  #place(item: Item): { item_id: string; output_index: number } {
    return { item_id: item.id, output_index: this.#items.indexOf(item) };
  }

  /** The first of each kind has the plain id. */
  #id(prefix: string): string {
    const before = this.#items.filter((item) => item.id.startsWith(`${prefix}_`)).length;
    return `${prefix}_${this.#idBase}${before === 0 ? "" : `_${before}`}`;
  }
}

function renderItem(item: Item, status: ItemStatus): JsonObject {
  const { id, kind, callId, name, text } = item;
  if (kind === "function_call") return { id, type: kind, status, call_id: callId, name, arguments: text };
  if (kind === "reasoning") return { id, type: kind, status, summary: [], content: [renderPart(item)] };
  return { id, type: kind, status, role: "assistant", content: [renderPart(item)] };
}

function renderPart({ kind, text }: Item): JsonObject {
  if (kind === "reasoning") return { type: "reasoning_text", text };
  return { type: "output_text", text, annotations: [], logprobs: [] };
}
