/** The body of POST /v1/chat/completions, read and written. OpenAI's names stay in this file. */
import * as z from "zod";
import type { ChatMessage, ChatRequest, ChatRole } from "../core/chat.ts";
import { AppError } from "../core/errors.ts";
import {
  logitBiasEntriesMax,
  messagesPerRequestMax,
  modelNameCharsMax,
  stopTextCharsMax,
  stopTextsMax,
  textPartsMax,
  topLogprobsMax,
  userIdCharsMax,
} from "../core/limits.ts";
import {
  callsSchema,
  readCalls,
  readTools,
  renderMessage,
  renderTools,
  requireAnsweredCalls,
  toolFields,
} from "./chat-tools.ts";
import { asObject, defined, type JsonObject } from "./chat-wire.ts";

/** A chat request and how its answer is to be delivered. */
export interface ChatCall {
  request: ChatRequest;
  stream: boolean;
  /** One more chunk with the token counts at the end of a stream. */
  includeUsage: boolean;
  /** Of a prompt that is gone on from: repeat it before what follows. */
  echo?: boolean;
}

const roles: Record<string, ChatRole> = {
  system: "system",
  developer: "system",
  user: "user",
  assistant: "assistant",
  tool: "tool",
};
const roleWords = "must be system, user, assistant or tool";

const partWords = 'must be "text": this server reads text only, no images, audio or files';
/** Said with the model's name where this text has a place for it. */
const pictureWords =
  "is a picture, which %model cannot see here; send text, or ask a server whose engine runs a vision model";
const isPicture = (type: unknown) => type === "image_url" || type === "image" || type === "input_image";

const partSchema = z.object({
  type: z.literal("text", { error: ({ input }) => (isPicture(input) ? pictureWords : partWords) }),
  text: z.string("must be a text"),
});

/** Picked by hand instead of a union, so that the message names the one thing that is wrong. */
const contentSchema = z.unknown().transform((value, context): string => {
  if (typeof value === "string") return value;
  const parsed = z.array(partSchema).min(1, "must hold at least one part").max(textPartsMax).safeParse(value);
  if (parsed.success) return parsed.data.map((part) => part.text).join("\n");
  const issues = Array.isArray(value) ? parsed.error.issues : [];
  if (issues.length === 0) context.addIssue("must be a text or a list of text parts");
  for (const issue of issues) context.addIssue({ code: "custom", message: issue.message, path: issue.path });
  return z.NEVER;
});

const messageSchema = z.preprocess(
  withContent,
  z
    .object({
      role: z.string(roleWords).refine((role) => Object.hasOwn(roles, role), roleWords),
      content: contentSchema,
      tool_calls: callsSchema.nullish(),
      tool_call_id: z.string("must be a text").nullish(),
    })
    .transform((message, context): ChatMessage => {
      const { content, tool_calls: calls, tool_call_id: toolCallId } = message;
      const role = roles[message.role]!;
      if (role === "tool" && toolCallId == null) {
        context.addIssue({ code: "custom", message: "must name the call it answers", path: ["tool_call_id"] });
      }
      if (role === "tool") return { role, content, toolCallId: toolCallId ?? "" };
      if (role !== "assistant" || calls == null || calls.length === 0) return { role, content };
      return { role, content, toolCalls: readCalls(calls) };
    }),
);

/** A message that only calls may have null for its text, or none. */
function withContent(value: unknown): unknown {
  const message = asObject(value);
  const calls = message?.role === "assistant" && Array.isArray(message.tool_calls) && message.tool_calls.length > 0;
  return calls && message.content == null ? { ...message, content: "" } : value;
}

const wholeNumber = "must be a whole number";
const tokenCount = z.int(wholeNumber).min(1, "must be at least 1").nullish();
const stopText = z
  .string("must be a text or a list of texts")
  .min(1, "must not be empty")
  .max(stopTextCharsMax, `must be at most ${stopTextCharsMax} characters`);

/** Fields that would change what the answer means and that no engine here can honour. */
const unsupported = {
  n: z.literal(1, "must be 1: this server gives one answer per request").nullish(),
  functions: z.array(z.unknown()).max(0, "is not supported; use tools").nullish(),
  modalities: z.array(z.literal("text", 'must be ["text"]: this server writes text only')).nullish(),
};

const between = (low: number, high: number) =>
  z.number("must be a number").min(low, `must be at least ${low}`).max(high, `must be at most ${high}`).nullish();
const penaltyFactor = z.number("must be a number").gt(0, "must be over 0").max(10, "must be at most 10").nullish();
const tokenIds = "must map token ids to numbers";

/** OpenAI's sampling parameters, and those that llama-server and vLLM have beside them. */
export const samplingFields = {
  temperature: between(0, 2),
  top_p: z.number("must be a number").gt(0, "must be over 0").max(1, "must be at most 1").nullish(),
  top_k: z
    .int(wholeNumber)
    // vLLM's word for all of them.
    .min(-1, "must be at least 0")
    .max(2 ** 31 - 1, "must be a count of tokens")
    .nullish(),
  min_p: between(0, 1),
  repeat_penalty: penaltyFactor,
  repetition_penalty: penaltyFactor,
  presence_penalty: between(-2, 2),
  frequency_penalty: between(-2, 2),
  logit_bias: z
    .record(
      z.string().regex(/^\d{1,9}$/, "must name tokens by their numbers"),
      z.number("must be a number").min(-100, "must be at least -100").max(100, "must be at most 100"),
      tokenIds,
    )
    .refine((bias) => Object.keys(bias).length <= logitBiasEntriesMax, `must hold at most ${logitBiasEntriesMax}`)
    .nullish(),
  seed: z.int(wholeNumber).nullish(),
};

/** What all of OpenAI's ways to ask for text have in common. */
export const deliveryFields = {
  model: z
    .string("must name a model; GET /v1/models lists them")
    .min(1, "must name a model; GET /v1/models lists them")
    .max(modelNameCharsMax, `must be at most ${modelNameCharsMax} characters`),
  stream: z.boolean("must be true or false").nullish(),
  stream_options: z
    .object({ include_usage: z.boolean("must be true or false").nullish() }, "must be an object")
    .nullish(),
  max_tokens: tokenCount,
  stop: z
    .preprocess(
      (value) => (typeof value === "string" ? [value] : value),
      z.array(stopText, "must be a text or a list of texts").max(stopTextsMax, `must hold at most ${stopTextsMax}`),
    )
    .nullish(),
  user: z.string("must be a text").max(userIdCharsMax, `must be at most ${userIdCharsMax} characters`).nullish(),
};

/** The body as it is checked; also the description of the API is made of it. */
export const chatBodySchema = z.object({
  ...unsupported,
  ...samplingFields,
  ...toolFields,
  ...deliveryFields,
  messages: z
    .array(messageSchema, "must be a list of messages")
    .min(1, "must hold at least one message")
    .max(messagesPerRequestMax, `must hold at most ${messagesPerRequestMax} messages`),
  logprobs: z.boolean("must be true or false").nullish(),
  top_logprobs: z
    .int(wholeNumber)
    .min(0, "must be at least 0")
    .max(topLogprobsMax, `must be at most ${topLogprobsMax}`)
    .nullish(),
  max_completion_tokens: tokenCount,
  truncation: z.enum(["auto", "disabled"], 'must be "auto" or "disabled"').nullish(),
});

/**
 * @param body decoded JSON; fields nobody here knows are ignored
 * @throws AppError invalid_request whose `param` names the first field at fault ("messages[0].role")
 */
export function parseChatCall(body: unknown): ChatCall {
  const parsed = chatBodySchema.safeParse(body);
  if (!parsed.success) throw requestError(withModel(parsed.error.issues[0]!, body));
  const fields = parsed.data;
  const request: ChatRequest = { model: fields.model, messages: fields.messages };
  const maxTokens = fields.max_completion_tokens ?? fields.max_tokens;
  if (maxTokens != null) request.maxTokens = maxTokens;
  if (fields.truncation === "auto") request.truncation = "auto";
  if (fields.top_logprobs != null && fields.logprobs !== true) {
    throw new AppError("invalid_request", "top_logprobs needs logprobs: true.", { param: "top_logprobs" });
  }
  if (fields.logprobs === true) request.logprobs = { top: fields.top_logprobs ?? 0 };
  Object.assign(request, readSampling(fields), readTools(fields));
  requireAnsweredCalls(request.messages);
  return readDelivery(request, fields);
}

function withModel(issue: z.core.$ZodIssue, body: unknown): z.core.$ZodIssue {
  const model = asObject(body)?.model;
  const name = typeof model === "string" ? JSON.stringify(model.slice(0, 64)) : "the model";
  return { ...issue, message: issue.message.replace("%model", () => name) };
}

type DeliveryFields = z.output<z.ZodObject<typeof deliveryFields>>;

export function readDelivery(request: ChatRequest, fields: DeliveryFields): ChatCall {
  if (fields.stop != null && fields.stop.length > 0) request.stop = fields.stop;
  if (fields.user != null && fields.user !== "") request.userId = fields.user;
  return { request, stream: fields.stream ?? false, includeUsage: fields.stream_options?.include_usage ?? false };
}

export function readSampling(fields: z.output<z.ZodObject<typeof samplingFields>>): Partial<ChatRequest> {
  const { logit_bias: bias } = fields;
  return defined({
    temperature: fields.temperature ?? undefined,
    topP: fields.top_p ?? undefined,
    topK: fields.top_k == null ? undefined : Math.max(0, fields.top_k),
    minP: fields.min_p ?? undefined,
    repeatPenalty: fields.repeat_penalty ?? fields.repetition_penalty ?? undefined,
    presencePenalty: fields.presence_penalty ?? undefined,
    frequencyPenalty: fields.frequency_penalty ?? undefined,
    logitBias: bias == null || Object.keys(bias).length === 0 ? undefined : bias,
    seed: fields.seed ?? undefined,
  });
}

/** The same request as a streaming body for any OpenAI-compatible server; usage is always asked for. */
export function renderChatBody(request: ChatRequest): Record<string, unknown> {
  return {
    model: request.model,
    messages: request.messages.map(renderMessage),
    ...renderTools(request),
    truncation: request.truncation,
    logprobs: request.logprobs === undefined ? undefined : true,
    top_logprobs: request.logprobs?.top,
    ...renderSampling(request),
  };
}

/** Of a streaming body; what is undefined vanishes on the way. */
export function renderSampling(request: ChatRequest): JsonObject {
  return {
    stream: true,
    stream_options: { include_usage: true },
    // The older name: every server knows it, some not yet `max_completion_tokens`.
    max_tokens: request.maxTokens,
    temperature: request.temperature,
    top_p: request.topP,
    top_k: request.topK,
    min_p: request.minP,
    // llama-server's name and vLLM's: each ignores the other's.
    repeat_penalty: request.repeatPenalty,
    repetition_penalty: request.repeatPenalty,
    presence_penalty: request.presencePenalty,
    frequency_penalty: request.frequencyPenalty,
    logit_bias: request.logitBias,
    seed: request.seed,
    stop: request.stop,
    user: request.userId,
  };
}

/** Names the field at fault ("messages[0].role"). */
export function requestError(issue: z.core.$ZodIssue, needed = "model and messages"): AppError {
  const param = issue.path.reduce<string>(
    (path, key) => (typeof key === "number" ? `${path}[${key}]` : path === "" ? String(key) : `${path}.${String(key)}`),
    "",
  );
  if (param === "") return new AppError("invalid_request", `The body must be a JSON object with ${needed}.`);
  return new AppError("invalid_request", `${param} ${issue.message}.`, { param });
}
