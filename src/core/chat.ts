/** The neutral chat protocol. These types cross every hop: bot, API, engine process, llama child. */
import type { ErrorFacts } from "./errors.ts";

export type ChatRole = "system" | "user" | "assistant" | "tool";

export interface ChatMessage {
  role: ChatRole;
  content: string;
  /** Of an assistant: what it called beside or instead of speaking. A "tool" message answers each of them. */
  toolCalls?: ToolCall[];
  /** Of a tool: the call it answers. */
  toolCallId?: string;
}

export interface ToolCall {
  id: string;
  name: string;
  /** JSON as the model wrote it. */
  arguments: string;
}

export type JsonSchema = Record<string, unknown>;

/** A function the model may ask its caller to run. */
export interface Tool {
  name: string;
  description?: string;
  /** Of the arguments, an object. Left out: the function takes none. */
  parameters?: JsonSchema;
  /** Refuse the request where the schema cannot be guaranteed. */
  strict?: boolean;
}

/** "required": one or more of the tools; a name: this one. */
export type ToolChoice = "auto" | "none" | "required" | { name: string };

export type ResponseFormat =
  | { type: "json_object" }
  /** `strict`: refuse the request where the schema cannot be guaranteed. */
  | { type: "json_schema"; name: string; schema: JsonSchema; strict: boolean };

/**
 * How a request is treated among others. Said by whoever answers for the caller, in headers between API and engine, and
 * never read from a body: callers do not name their own share.
 */
export interface ServiceTerms {
  /** Whose share of the engine it uses: the id of an API key. */
  keyId?: string;
  /** That share among equals, 0.1 to 10; 1 is usual. */
  weight?: number;
  /** Short interactive requests go before others within a bound, batch requests after them. Left out: interactive. */
  priority?: RequestPriority;
  /** Acceptance to the first token, waiting included, milliseconds; past it the request ends with engine_timeout. */
  firstTokenMsMax?: number;
  /** Acceptance to the end of the answer, milliseconds. */
  totalMsMax?: number;
}

export type RequestPriority = "interactive" | "batch";

/** A request to continue a conversation. Optional fields left out mean the engine's default. */
export interface ChatRequest {
  /** Model name or alias as the client wrote it. */
  model: string;
  /** At least one message, oldest first; none where there is a `prompt`. */
  messages: ChatMessage[];
  /** A text to go on from instead of a conversation. No chat template; names of control tokens in it are tokens. */
  prompt?: string;
  /** Tell the probability of each token of the text, and of so many others that were likely; 0 to 20. */
  logprobs?: { top: number };
  /** Upper bound of completion tokens; the engine also stops at the end of the context. */
  maxTokens?: number;
  /** 0 (greedy) to 2. */
  temperature?: number;
  /** Nucleus sampling share, over 0 to 1. */
  topP?: number;
  /** Only the most probable tokens are candidates; 0 for all. */
  topK?: number;
  /** Candidates have at least this share of the most probable one's probability; 0 to 1. */
  minP?: number;
  /** Divides the logits of tokens the answer already holds; over 0, 1 does nothing. */
  repeatPenalty?: number;
  /** Taken off the logits of tokens the answer already holds, -2 to 2. */
  presencePenalty?: number;
  /** Taken off once for each time the answer holds the token, -2 to 2. */
  frequencyPenalty?: number;
  /** Added to the logits of tokens, by id; -100 to 100. */
  logitBias?: Record<number, number>;
  /** Same seed, same text, as long as the request runs alone in its batch. */
  seed?: number;
  /** The form of the answer; left out, any text. */
  responseFormat?: ResponseFormat;
  tools?: Tool[];
  /** Left out: "auto" where there are tools. */
  toolChoice?: ToolChoice;
  /** False: at most one call per answer. */
  parallelToolCalls?: boolean;
  /** "auto": leave out the oldest messages where all are more than the context holds; left out, that is an error. */
  truncation?: "auto";
  /** Texts that end the answer; they are not part of it. Not looked for in reasoning and tool calls. */
  stop?: string[];
  /** End user behind the caller's key, for fairness and quotas. */
  userId?: string;
  terms?: ServiceTerms;
}

export interface LikelyToken {
  /** Control tokens by their names; bytes that are no character alone show as one each. */
  token: string;
  /** Natural logarithm of the probability it was chosen with. */
  logprob: number;
  /** UTF-8. */
  bytes: number[];
}

/** A token of the text with what else might have stood there, likeliest first. */
export interface TokenLogprob extends LikelyToken {
  top: LikelyToken[];
}

/** OpenAI's words. Cancelled and failed answers end in an event of their own instead. */
export type FinishReason = "stop" | "length" | "tool_calls" | "content_filter";

/** Token counts; unknown is left out, never 0. */
export interface Usage {
  /** Tokens of the rendered prompt, cached ones included. */
  promptTokens?: number;
  /** Tokens produced, counted also for cancelled and failed answers. */
  completionTokens?: number;
  /** Prompt tokens taken from an earlier request's state. */
  cachedPromptTokens?: number;
  /** Of the completion tokens, those spent on thinking before the answer. */
  reasoningTokens?: number;
  /** True when counted by us because the engine did not report. */
  estimated?: boolean;
}

/** Milliseconds by the engine's own clock. */
export interface Timings {
  /** Acceptance to the start of prefill. */
  queueMs?: number;
  /** Acceptance to the first token, queue included. */
  timeToFirstTokenMs?: number;
  /** Acceptance to the last event. */
  totalMs?: number;
  /** Prompt tokens really evaluated per second of prefill. */
  prefillTokensPerSecond?: number;
  /** Completion tokens after the first, per second. */
  completionTokensPerSecond?: number;
}

/** What produced an answer. */
export interface Producer {
  engineId?: string;
  model: string;
  quantization?: string;
  contextLength?: number;
}

/**
 * What an engine says while answering.
 *
 * Order: `queued`*, `start`?, then `reasoning`, `text` and `tool_call` as the model produces them, then exactly one of `finish`, `cancelled`, `error`.
 * Before `start` nothing was promised: an `error` there can still become an HTTP status.
 */
export type ChatEvent =
  | { type: "queued"; position: number; estimatedWaitMs?: number; preparing?: Preparation }
  | { type: "start"; producer: Producer; promptTokens?: number; cachedPromptTokens?: number }
  /** `tokenCount` when the text is not exactly one token: what an aborted answer is accounted by. */
  | { type: "text"; text: string; tokenCount?: number; logprobs?: TokenLogprob[] }
  /** Thoughts of a model that thinks before it answers; no part of the answer. `tokenCount` as for text. */
  | { type: "reasoning"; text: string; tokenCount?: number }
  /** A piece of a call. `id` and `name` come with the first piece of each index; the arguments' pieces are joined. */
  | { type: "tool_call"; index: number; id?: string; name?: string; arguments: string; tokenCount?: number }
  | { type: "finish"; finishReason: FinishReason; usage: Usage; timings: Timings }
  | { type: "cancelled"; usage: Usage; timings: Timings }
  | { type: "error"; error: ErrorFacts; usage?: Usage; timings?: Timings };

/** What a request waits for whose model is not loaded. */
export interface Preparation {
  step: "download" | "load";
  /** Of the download's bytes, 0 to 1; left out where the size is not known. */
  share?: number;
}

/** An event that carries tokens of the answer. */
export type ChatDelta = Extract<ChatEvent, { type: "text" | "reasoning" | "tool_call" }>;

export function isDelta(event: ChatEvent): event is ChatDelta {
  return event.type === "text" || event.type === "reasoning" || event.type === "tool_call";
}

export type TerminalChatEvent = Extract<ChatEvent, { type: "finish" | "cancelled" | "error" }>;

export function isTerminal(event: ChatEvent): event is TerminalChatEvent {
  return event.type === "finish" || event.type === "cancelled" || event.type === "error";
}

/** One event for two pieces of the same thing; undefined when they are not. */
export function joinDeltas(first: ChatEvent, second: ChatEvent): ChatDelta | undefined {
  if (!isDelta(first) || !isDelta(second)) return undefined;
  const tokenCount = (first.tokenCount ?? 1) + (second.tokenCount ?? 1);
  if (first.type === "tool_call") {
    if (second.type !== "tool_call" || first.index !== second.index) return undefined;
    return { ...first, arguments: first.arguments + second.arguments, tokenCount };
  }
  if (first.type === "reasoning") {
    return second.type === "reasoning" ? { ...first, text: first.text + second.text, tokenCount } : undefined;
  }
  if (second.type !== "text") return undefined;
  const joined: ChatDelta = { ...first, text: first.text + second.text, tokenCount };
  const logprobs = [...(first.logprobs ?? []), ...(second.logprobs ?? [])];
  return logprobs.length === 0 ? joined : { ...joined, logprobs };
}
