/** The neutral chat protocol. These types cross every hop: bot, API, engine process, llama child. */
import type { ErrorFacts } from "./errors.ts";

export type ChatRole = "system" | "user" | "assistant";

export interface ChatMessage {
  role: ChatRole;
  content: string;
}

/** A request to continue a conversation. Optional fields left out mean the engine's default. */
export interface ChatRequest {
  /** Model name or alias as the client wrote it. */
  model: string;
  /** At least one message, oldest first. */
  messages: ChatMessage[];
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
  /** Texts that end the answer; they are not part of it. */
  stop?: string[];
  /** End user behind the caller's key, for fairness and quotas. */
  userId?: string;
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
 * Order: `queued`*, `start`?, `text`*, then exactly one of `finish`, `cancelled`, `error`.
 * Before `start` nothing was promised: an `error` there can still become an HTTP status.
 */
export type ChatEvent =
  | { type: "queued"; position: number; estimatedWaitMs?: number }
  | { type: "start"; producer: Producer; promptTokens?: number; cachedPromptTokens?: number }
  /** `tokenCount` when the text is not exactly one token: what an aborted answer is accounted by. */
  | { type: "text"; text: string; tokenCount?: number }
  | { type: "finish"; finishReason: FinishReason; usage: Usage; timings: Timings }
  | { type: "cancelled"; usage: Usage; timings: Timings }
  | { type: "error"; error: ErrorFacts; usage?: Usage; timings?: Timings };

export type TerminalChatEvent = Extract<ChatEvent, { type: "finish" | "cancelled" | "error" }>;

export function isTerminal(event: ChatEvent): event is TerminalChatEvent {
  return event.type === "finish" || event.type === "cancelled" || event.type === "error";
}
