/** POST /v1/completions, OpenAI's older form: a text is gone on from, without messages and chat template. */
import * as z from "zod";
import type { ChatEvent, ChatRequest, Producer, TokenLogprob } from "../core/chat.ts";
import { AppError } from "../core/errors.ts";
import { completionLogprobsMax, completionTokensDefault } from "../core/limits.ts";
import {
  type ChatCall,
  deliveryFields,
  readDelivery,
  readSampling,
  renderSampling,
  requestError,
  samplingFields,
} from "./chat-request.ts";
import { defined, type JsonObject, renderProducer, renderTimings, renderUsage } from "./chat-wire.ts";
import { type AnswerDialect, type AnswerOptions, renderFailure, renderQueued, type WholeAnswer } from "./server.ts";
import { renderSseEvent } from "./sse.ts";

const promptWords = "must be one text: lists of texts and token numbers are not supported";
const one = "must be 1: this server gives one answer per request";

export const completionBodySchema = z.object({
  ...samplingFields,
  ...deliveryFields,
  prompt: z.preprocess(
    (value) => (Array.isArray(value) && value.length === 1 ? value[0] : value),
    z.string(promptWords).min(1, "must not be empty"),
  ),
  echo: z.boolean("must be true or false").nullish(),
  suffix: z
    .literal(
      "",
      "is not supported: this server does not fill in between two texts; write the prompt in the model's own form",
    )
    .nullish(),
  n: z.literal(1, one).nullish(),
  best_of: z.literal(1, one).nullish(),
  logprobs: z
    .int("must be a whole number")
    .min(0, "must be at least 0")
    .max(completionLogprobsMax, `must be at most ${completionLogprobsMax}`)
    .nullish(),
});

/** @throws AppError invalid_request naming the field at fault */
export function parseCompletionCall(body: unknown): ChatCall {
  const parsed = completionBodySchema.safeParse(body);
  if (!parsed.success) throw requestError(parsed.error.issues[0]!, "model and prompt");
  const fields = parsed.data;
  if (fields.echo === true && fields.logprobs != null) {
    throw new AppError("invalid_request", "logprobs cannot be told of an echoed prompt; leave one of them out.", {
      param: "logprobs",
    });
  }
  const request: ChatRequest = {
    model: fields.model,
    messages: [],
    prompt: fields.prompt,
    maxTokens: fields.max_tokens ?? completionTokensDefault,
    ...(fields.logprobs == null ? {} : { logprobs: { top: fields.logprobs } }),
    ...readSampling(fields),
  };
  return { ...readDelivery(request, fields), echo: fields.echo ?? false };
}

/** The same request as a streaming body for any OpenAI-compatible server. */
export function renderCompletionBody(request: ChatRequest): JsonObject {
  return {
    model: request.model,
    prompt: request.prompt,
    logprobs: request.logprobs?.top,
    ...renderSampling(request),
  };
}

export const completionsDialect: AnswerDialect = {
  renderWhole: ({ producer, content, logprobs, finish }: WholeAnswer, call, options) => ({
    ...head(options, producer),
    choices: [choice(echoed(call) + content, finish.finishReason, renderOlderLogprobs(logprobs, 0))],
    usage: renderUsage(finish.usage),
    timings: renderTimings(finish.timings, finish.usage),
    snug: renderProducer(producer),
  }),
  createWriter: createTextWriter,
};

function createTextWriter(call: ChatCall, options: AnswerOptions) {
  let producer: Producer = { model: call.request.model };
  let begun = false;
  let offset = 0;
  const chunk = (choices: JsonObject[], extras: JsonObject = {}) =>
    renderSseEvent(
      JSON.stringify({
        ...head(options, producer),
        choices,
        ...(call.includeUsage ? { usage: null } : {}),
        ...extras,
      }),
    );
  const begin = (extras: JsonObject = {}) => {
    begun = true;
    return chunk([choice(echoed(call), null, null)], extras);
  };

  function* write(event: ChatEvent): Generator<string, void> {
    if (event.type === "queued") return yield renderQueued(event);
    if (event.type === "error" || event.type === "cancelled") return yield renderFailure(event, producer, options);
    if (event.type === "start") {
      producer = event.producer;
      const { promptTokens, cachedPromptTokens } = event;
      const usage = renderUsage(defined({ promptTokens, cachedPromptTokens }));
      return yield begin({ snug: { ...renderProducer(producer), ...(usage === null ? {} : { usage }) } });
    }
    if (!begun) yield begin();
    if (event.type === "text") {
      const counted = event.tokenCount === undefined || event.tokenCount === 1;
      const logprobs = renderOlderLogprobs(event.logprobs ?? [], offset);
      offset += event.text.length;
      yield chunk([choice(event.text, null, logprobs)], counted ? {} : { snug: { tokens: event.tokenCount } });
    }
    if (event.type !== "finish") return;
    yield chunk([choice("", event.finishReason, null)], {
      timings: renderTimings(event.timings, event.usage),
      snug: renderProducer(producer),
    });
    if (call.includeUsage) yield chunk([], { usage: renderUsage(event.usage) });
    yield renderSseEvent("[DONE]");
  }
  return { write };
}

function head({ id, created }: AnswerOptions, { model }: Producer): JsonObject {
  return { id, object: "text_completion", created, model };
}

function choice(text: string, finishReason: string | null, logprobs: JsonObject | null): JsonObject {
  return { index: 0, text, logprobs, finish_reason: finishReason };
}

function echoed({ echo, request }: ChatCall): string {
  return echo === true ? (request.prompt ?? "") : "";
}

/**
 * Lists side by side instead of objects.
 *
 * @param offset characters of the text before these tokens
 */
function renderOlderLogprobs(logprobs: readonly TokenLogprob[], offset: number): JsonObject | null {
  if (logprobs.length === 0) return null;
  let at = offset;
  return {
    tokens: logprobs.map(({ token }) => token),
    token_logprobs: logprobs.map(({ logprob }) => logprob),
    top_logprobs: logprobs.map(({ top }) => Object.fromEntries(top.map(({ token, logprob }) => [token, logprob]))),
    text_offset: logprobs.map(({ token }) => {
      const start = at;
      at += token.length;
      return start;
    }),
  };
}
