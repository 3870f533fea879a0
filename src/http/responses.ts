/** The answer to POST /v1/responses: OpenAI's newer form. Nothing is stored between two requests. */
import {
  type ChatEvent,
  type ChatRequest,
  type FinishReason,
  isDelta,
  type Producer,
  type Usage,
} from "../core/chat.ts";
import { ERROR_TABLE } from "../core/errors.ts";
import type { ChatCall } from "./chat-request.ts";
import { type JsonObject, parseDelta, renderProducer } from "./chat-wire.ts";
import { OutputItems } from "./responses-items.ts";
import { type AnswerDialect, type AnswerOptions, errorOf, renderQueued, type WholeAnswer } from "./server.ts";
import { renderNamedSseEvent } from "./sse.ts";

export const responsesDialect: AnswerDialect = {
  renderWhole: ({ producer, message, finish }: WholeAnswer, call, options) => {
    const items = new OutputItems(options.id);
    const deltas = parseDelta(message);
    for (const delta of deltas) for (const _ of items.add(delta));
    const status = statusOf(finish.finishReason);
    for (const _ of items.finish(status));
    const output = items.render(status);
    return renderResponse(call, options, producer, {
      status,
      output,
      usage: finish.usage,
      reason: finish.finishReason,
    });
  },
  createWriter: createEventWriter,
};

type Status = "in_progress" | "completed" | "incomplete" | "failed";

function statusOf(reason: FinishReason): "completed" | "incomplete" {
  return reason === "length" || reason === "content_filter" ? "incomplete" : "completed";
}

/** Events have names and numbers, the terminal one holds the whole response, and there is no `[DONE]`. */
function createEventWriter(call: ChatCall, options: AnswerOptions) {
  const items = new OutputItems(options.id);
  let producer: Producer = { model: call.request.model };
  let number = 0;
  let begun = false;

  const emit = (type: string, members: JsonObject) =>
    renderNamedSseEvent(type, JSON.stringify({ type, sequence_number: number++, ...members }));
  const response = (status: Status, more: Partial<ResponseFacts> = {}) => ({
    response: renderResponse(call, options, producer, { status, output: [], ...more }),
  });

  function* write(event: ChatEvent): Generator<string> {
    if (event.type === "queued") return yield renderQueued(event);
    if (event.type === "start") producer = event.producer;
    if (!begun) {
      begun = true;
      yield emit("response.created", response("in_progress"));
      yield emit("response.in_progress", response("in_progress"));
    }
    if (isDelta(event)) {
      for (const [type, members] of items.add(event)) yield emit(type, members);
      return;
    }
    if (event.type === "error" || event.type === "cancelled") {
      const { code, message } = errorOf(event);
      const error = { code: ERROR_TABLE[code].openAiType, message };
      const output = items.render("incomplete");
      yield emit("response.failed", response("failed", { output, error, usage: event.usage ?? {} }));
    }
    if (event.type !== "finish") return;
    const status = statusOf(event.finishReason);
    for (const [type, members] of items.finish(status)) yield emit(type, members);
    const output = items.render(status);
    const facts = { output, usage: event.usage, reason: event.finishReason };
    yield emit(`response.${status}`, response(status, facts));
  }
  return { write };
}

interface ResponseFacts {
  status: Status;
  output: JsonObject[];
  usage?: Usage;
  error?: JsonObject;
  reason?: FinishReason;
}

function renderResponse(
  { request }: ChatCall,
  options: AnswerOptions,
  producer: Producer,
  { status, output, usage, error, reason }: ResponseFacts,
): JsonObject {
  const cut = reason === "content_filter" ? reason : "max_output_tokens";
  return {
    id: options.id,
    object: "response",
    created_at: options.created,
    status,
    error: error ?? null,
    incomplete_details: status === "incomplete" ? { reason: cut } : null,
    instructions: null,
    max_output_tokens: request.maxTokens ?? null,
    metadata: {},
    model: producer.model,
    output,
    parallel_tool_calls: request.parallelToolCalls ?? true,
    previous_response_id: null,
    store: false,
    temperature: request.temperature ?? null,
    text: { format: renderFormat(request) },
    tool_choice: renderChoice(request),
    tools: (request.tools ?? []).map(({ strict = null, parameters = null, description = null, name }) => ({
      type: "function",
      name,
      description,
      parameters,
      strict,
    })),
    top_p: request.topP ?? null,
    truncation: request.truncation ?? "disabled",
    usage: usage === undefined ? null : renderTokens(usage),
    snug: renderProducer(producer),
  };
}

function renderFormat({ responseFormat: format }: ChatRequest): JsonObject {
  if (format === undefined) return { type: "text" };
  return { ...format };
}

function renderChoice({ toolChoice, tools }: ChatRequest): string | JsonObject {
  if (typeof toolChoice === "object") return { type: "function", name: toolChoice.name };
  return toolChoice ?? (tools === undefined ? "none" : "auto");
}

/** This form has no word for unknown: where a count is missing there is no usage. */
function renderTokens(usage: Usage): JsonObject | null {
  const { promptTokens, completionTokens, cachedPromptTokens = 0, reasoningTokens = 0 } = usage;
  if (promptTokens === undefined || completionTokens === undefined) return null;
  return {
    input_tokens: promptTokens,
    input_tokens_details: { cached_tokens: cachedPromptTokens },
    output_tokens: completionTokens,
    output_tokens_details: { reasoning_tokens: reasoningTokens },
    total_tokens: promptTokens + completionTokens,
  };
}
