/** POST /v1/responses: OpenAI's newer form, translated to a chat and back. Nothing is stored between two requests. */
import * as z from "zod";
import type { ChatEvent, ChatMessage, ChatRole, Producer, Usage } from "../core/chat.ts";
import { AppError, ERROR_TABLE } from "../core/errors.ts";
import { messagesPerRequestMax, textPartsMax } from "../core/limits.ts";
import { type ChatCall, parseChatCall } from "./chat-request.ts";
import { type JsonObject, renderProducer } from "./chat-wire.ts";
import { type AnswerDialect, type AnswerOptions, errorOf, renderQueued, type WholeAnswer } from "./server.ts";
import { renderNamedSseEvent } from "./sse.ts";

const roles: Record<string, ChatRole> = { system: "system", developer: "system", user: "user", assistant: "assistant" };
const noTools = "is not supported: this server does not call tools";
const noMemory = "is not supported: this server keeps no conversations; send the messages in input";

const partSchema = z.object({
  type: z.enum(["input_text", "output_text"], 'must be "input_text": this server reads text only'),
  text: z.string("must be a text"),
});

const itemSchema = z.object({
  type: z.literal("message", 'must be "message": this server does not call tools').optional(),
  role: z
    .string("must be system, developer, user or assistant")
    .refine((role) => Object.hasOwn(roles, role), "must be system, developer, user or assistant"),
  content: z.union(
    [z.string(), z.array(partSchema).min(1).max(textPartsMax)],
    "must be a text or a list of input_text parts",
  ),
});

/** What only this form has; the rest is checked as in a chat. */
export const responseBodySchema = z.looseObject({
  model: z.string("must name a model; GET /v1/models lists them"),
  input: z.union(
    [z.string(), z.array(itemSchema).min(1).max(messagesPerRequestMax)],
    "must be a text or a list of messages of text",
  ),
  instructions: z.string("must be a text").nullish(),
  max_output_tokens: z.int("must be a whole number").min(1, "must be at least 1").nullish(),
  stream: z.boolean("must be true or false").nullish(),
  tools: z.array(z.unknown()).max(0, noTools).nullish(),
  previous_response_id: z.null(noMemory).optional(),
  conversation: z.null(noMemory).optional(),
  background: z.literal(false, "is not supported; leave it out").nullish(),
  text: z
    .looseObject({
      format: z.looseObject({ type: z.literal("text", 'must be "text": other formats are not supported') }).nullish(),
    })
    .nullish(),
});

/** @throws AppError invalid_request naming the field at fault */
export function parseResponseCall(body: unknown): ChatCall {
  const parsed = responseBodySchema.safeParse(body);
  if (!parsed.success) throw fieldError(parsed.error.issues[0]!);
  const { input, instructions, max_output_tokens, model, stream, temperature, top_p, user } = parsed.data;
  const messages: ChatMessage[] = [];
  if (instructions != null && instructions !== "") messages.push({ role: "system", content: instructions });
  if (typeof input === "string") messages.push({ role: "user", content: input });
  else messages.push(...input.map(toMessage));
  return parseChatCall({ model, messages, stream, max_tokens: max_output_tokens, temperature, top_p, user });
}

function toMessage({ role, content }: z.output<typeof itemSchema>): ChatMessage {
  const text = typeof content === "string" ? content : content.map((part) => part.text).join("\n");
  return { role: roles[role]!, content: text };
}

function fieldError(issue: z.core.$ZodIssue): AppError {
  const param = issue.path.map(String).join(".");
  if (param === "") return new AppError("invalid_request", "The body must be a JSON object with model and input.");
  return new AppError("invalid_request", `${param} ${issue.message}.`, { param });
}

export const responsesDialect: AnswerDialect = {
  renderWhole: ({ producer, content, finish }: WholeAnswer, call, options) => {
    const whole = finish.finishReason !== "length";
    return renderResponse(call, options, producer, {
      status: whole ? "completed" : "incomplete",
      output: [renderItem(options, content, whole ? "completed" : "incomplete")],
      usage: finish.usage,
    });
  },
  createWriter: createEventWriter,
};

type Status = "in_progress" | "completed" | "incomplete" | "failed";

/** Events have names and numbers, the terminal one holds the whole response, and there is no `[DONE]`. */
function createEventWriter(call: ChatCall, options: AnswerOptions) {
  let producer: Producer = { model: call.request.model };
  let number = 0;
  let content = "";
  let begun = false;
  const place = { item_id: messageId(options), output_index: 0, content_index: 0 };

  const emit = (type: string, members: JsonObject) =>
    renderNamedSseEvent(type, JSON.stringify({ type, sequence_number: number++, ...members }));
  const response = (status: Status, more: Partial<ResponseFacts> = {}) => ({
    response: renderResponse(call, options, producer, { status, output: [], ...more }),
  });

  function* begin(): Generator<string> {
    begun = true;
    yield emit("response.created", response("in_progress"));
    yield emit("response.in_progress", response("in_progress"));
    yield emit("response.output_item.added", {
      output_index: 0,
      item: { ...renderItem(options, "", "in_progress"), content: [] },
    });
    yield emit("response.content_part.added", { ...place, part: renderPart("") });
  }

  function* write(event: ChatEvent): Generator<string> {
    if (event.type === "queued") return yield renderQueued(event);
    if (event.type === "start") producer = event.producer;
    if (!begun) yield* begin();
    if (event.type === "text") {
      content += event.text;
      yield emit("response.output_text.delta", { ...place, delta: event.text, logprobs: [] });
    }
    if (event.type === "error" || event.type === "cancelled") {
      const { code, message } = errorOf(event);
      const error = { code: ERROR_TABLE[code].openAiType, message };
      const output = content === "" ? [] : [renderItem(options, content, "incomplete")];
      yield emit("response.failed", response("failed", { output, error, usage: event.usage ?? {} }));
    }
    if (event.type !== "finish") return;
    const status = event.finishReason === "length" ? "incomplete" : "completed";
    const item = renderItem(options, content, status);
    yield emit("response.output_text.done", { ...place, text: content, logprobs: [] });
    yield emit("response.content_part.done", { ...place, part: renderPart(content) });
    yield emit("response.output_item.done", { output_index: 0, item });
    yield emit(`response.${status}`, response(status, { output: [item], usage: event.usage }));
  }
  return { write };
}

interface ResponseFacts {
  status: Status;
  output: JsonObject[];
  usage?: Usage;
  error?: JsonObject;
}

function renderResponse(
  { request }: ChatCall,
  options: AnswerOptions,
  producer: Producer,
  { status, output, usage, error }: ResponseFacts,
): JsonObject {
  return {
    id: options.id,
    object: "response",
    created_at: options.created,
    status,
    error: error ?? null,
    incomplete_details: status === "incomplete" ? { reason: "max_output_tokens" } : null,
    instructions: null,
    max_output_tokens: request.maxTokens ?? null,
    metadata: {},
    model: producer.model,
    output,
    parallel_tool_calls: false,
    previous_response_id: null,
    store: false,
    temperature: request.temperature ?? null,
    text: { format: { type: "text" } },
    tool_choice: "none",
    tools: [],
    top_p: request.topP ?? null,
    truncation: "disabled",
    usage: usage === undefined ? null : renderTokens(usage),
    snug: renderProducer(producer),
  };
}

/** This form has no word for unknown: where a count is missing there is no usage. */
function renderTokens({ promptTokens, completionTokens, cachedPromptTokens = 0 }: Usage): JsonObject | null {
  if (promptTokens === undefined || completionTokens === undefined) return null;
  return {
    input_tokens: promptTokens,
    input_tokens_details: { cached_tokens: cachedPromptTokens },
    output_tokens: completionTokens,
    output_tokens_details: { reasoning_tokens: 0 },
    total_tokens: promptTokens + completionTokens,
  };
}

function renderItem(options: AnswerOptions, content: string, status: Status): JsonObject {
  return { id: messageId(options), type: "message", status, role: "assistant", content: [renderPart(content)] };
}

function renderPart(text: string): JsonObject {
  return { type: "output_text", text, annotations: [], logprobs: [] };
}

function messageId({ id }: AnswerOptions): string {
  return id.replace(/^resp_/, "msg_");
}
