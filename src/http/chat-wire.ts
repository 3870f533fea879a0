/** Token counts, timings and producers as they stand in OpenAI-shaped JSON: written for clients, read from engines. */
import type { ChatDelta, FinishReason, LikelyToken, Producer, Timings, TokenLogprob, Usage } from "../core/chat.ts";
import { toolCallsPerAnswerMax } from "../core/limits.ts";

export type JsonObject = Record<string, unknown>;

export function asObject(value: unknown): JsonObject | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as JsonObject) : undefined;
}

/** A count or duration; engines write -1 or null for what they do not know. */
export function asAmount(value: unknown): number | undefined {
  return typeof value === "number" && Number.isFinite(value) && value >= 0 ? value : undefined;
}

export function asText(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

/** Without the members that are undefined, so that "unknown" is a missing key. */
export function defined<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const kept: Partial<T> = {};
  // A loop costs a fraction of making a list of pairs, and every request comes by here a dozen times.
  for (const key of Object.keys(value) as (keyof T)[]) if (value[key] !== undefined) kept[key] = value[key];
  return kept as { [K in keyof T]: Exclude<T[K], undefined> };
}

/** OpenAI's `usage`; null when nothing is known. */
export function renderUsage(usage: Usage): JsonObject | null {
  const { promptTokens, completionTokens, cachedPromptTokens, reasoningTokens } = usage;
  if (promptTokens === undefined && completionTokens === undefined) return null;
  return defined({
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens:
      promptTokens === undefined || completionTokens === undefined ? undefined : promptTokens + completionTokens,
    prompt_tokens_details: cachedPromptTokens === undefined ? undefined : { cached_tokens: cachedPromptTokens },
    completion_tokens_details: reasoningTokens === undefined ? undefined : { reasoning_tokens: reasoningTokens },
    estimated: usage.estimated === true ? true : undefined,
  });
}

export function parseUsage(value: unknown): Usage | undefined {
  const usage = asObject(value);
  if (usage === undefined) return undefined;
  const parsed: Usage = defined({
    promptTokens: asAmount(usage.prompt_tokens),
    completionTokens: asAmount(usage.completion_tokens),
    cachedPromptTokens: asAmount(asObject(usage.prompt_tokens_details)?.cached_tokens),
    reasoningTokens: asAmount(asObject(usage.completion_tokens_details)?.reasoning_tokens),
    estimated: usage.estimated === true ? true : undefined,
  });
  return Object.keys(parsed).length === 0 ? undefined : parsed;
}

/** `delta` of a stream's chunk. Thoughts stand where DeepSeek's, vLLM's and llama-server's clients look for them. */
export function renderDelta(event: ChatDelta): JsonObject {
  if (event.type === "text") return { content: event.text };
  if (event.type === "reasoning") return { reasoning_content: event.text };
  const { index, id, name } = event;
  const call = { name, arguments: event.arguments };
  return {
    tool_calls: [defined({ index, id, type: id === undefined ? undefined : "function", function: defined(call) })],
  };
}

/** OpenAI's `logprobs` of a choice; null where none were asked for, or none are there. */
export function renderLogprobs(logprobs: readonly TokenLogprob[] | undefined): JsonObject | null {
  if (logprobs === undefined || logprobs.length === 0) return null;
  return { content: logprobs.map(({ top, ...token }) => ({ ...token, top_logprobs: top })), refusal: null };
}

/** Of a chat's choice, or the older form of a completion's. */
export function parseLogprobs(value: unknown): TokenLogprob[] {
  const logprobs = asObject(value);
  if (logprobs === undefined) return [];
  if (Array.isArray(logprobs.tokens)) return parseOlderLogprobs(logprobs, logprobs.tokens);
  const content = Array.isArray(logprobs.content) ? logprobs.content : [];
  return content.flatMap((entry) => {
    const token = parseLikelyToken(entry);
    if (token === undefined) return [];
    const top = asObject(entry)?.top_logprobs;
    return [{ ...token, top: Array.isArray(top) ? top.flatMap((other) => parseLikelyToken(other) ?? []) : [] }];
  });
}

function parseLikelyToken(value: unknown): LikelyToken | undefined {
  const { token, logprob, bytes } = asObject(value) ?? {};
  if (typeof token !== "string" || typeof logprob !== "number") return undefined;
  return { token, logprob, bytes: Array.isArray(bytes) ? bytes.map(Number) : bytesOf(token) };
}

function parseOlderLogprobs(logprobs: JsonObject, tokens: readonly unknown[]): TokenLogprob[] {
  const { token_logprobs: chosen, top_logprobs: others } = logprobs;
  return tokens.flatMap((token, index) => {
    const logprob = Array.isArray(chosen) ? chosen[index] : undefined;
    if (typeof token !== "string" || typeof logprob !== "number") return [];
    const top = Object.entries(asObject(Array.isArray(others) ? others[index] : undefined) ?? {});
    return [
      {
        token,
        logprob,
        bytes: bytesOf(token),
        top: top.flatMap(([other, value]) =>
          typeof value === "number" ? [{ token: other, logprob: value, bytes: bytesOf(other) }] : [],
        ),
      },
    ];
  });
}

function bytesOf(token: string): number[] {
  return [...new TextEncoder().encode(token)];
}

/** `message` of a completion, put together from its pieces. */
export function createMessage() {
  let content = "";
  let reasoning = "";
  const logprobs: TokenLogprob[] = [];
  const calls: { id: string; type: "function"; function: { name: string; arguments: string } }[] = [];
  return {
    get content() {
      return content;
    },
    get logprobs(): readonly TokenLogprob[] {
      return logprobs;
    },
    add(event: ChatDelta): void {
      if (event.type === "text") {
        content += event.text;
        logprobs.push(...(event.logprobs ?? []));
      } else if (event.type === "reasoning") reasoning += event.text;
      else {
        calls[event.index] ??= { id: event.id ?? "", type: "function", function: { name: "", arguments: "" } };
        const call = calls[event.index]!;
        call.function.name += event.name ?? "";
        call.function.arguments += event.arguments;
      }
    },
    render(): JsonObject {
      // A sparse list can come from a server that counts its calls from one.
      const toolCalls = calls.filter((call) => call !== undefined);
      return defined({
        role: "assistant",
        content: content === "" && toolCalls.length > 0 ? null : content,
        reasoning_content: reasoning === "" ? undefined : reasoning,
        tool_calls: toolCalls.length === 0 ? undefined : toolCalls,
        refusal: null,
      });
    },
  };
}

/** Pieces of a chunk's `delta` or a completion's `message`, in the order they were written. */
export function parseDelta(delta: JsonObject): ChatDelta[] {
  const events: ChatDelta[] = [];
  // The second name is Ollama's and OpenRouter's.
  const reasoning = asText(delta.reasoning_content) ?? asText(delta.reasoning);
  if (reasoning !== undefined) events.push({ type: "reasoning", text: reasoning });
  const text = asText(delta.content);
  if (text !== undefined) events.push({ type: "text", text });
  const calls = Array.isArray(delta.tool_calls) ? delta.tool_calls : [];
  for (const [position, value] of calls.entries()) {
    const call = asObject(value);
    const called = asObject(call?.function);
    if (call === undefined || called === undefined) continue;
    const index = asAmount(call.index) ?? position;
    const written = typeof called.arguments === "string" ? called.arguments : JSON.stringify(called.arguments ?? "");
    if (!Number.isInteger(index) || index >= toolCallsPerAnswerMax) continue;
    events.push({
      type: "tool_call",
      index,
      ...defined({ id: asText(call.id), name: asText(called.name) }),
      arguments: called.arguments === undefined ? "" : written,
    });
  }
  return events;
}

/** The `timings` object llama-server adds, under its names, and three of ours that it lacks. */
export function renderTimings(timings: Timings, usage: Usage): JsonObject {
  const promptEvaluated =
    usage.promptTokens === undefined ? undefined : usage.promptTokens - (usage.cachedPromptTokens ?? 0);
  const { prefillTokensPerSecond, timeToFirstTokenMs, totalMs } = timings;
  return defined({
    cache_n: usage.cachedPromptTokens,
    prompt_n: promptEvaluated,
    prompt_ms:
      promptEvaluated !== undefined && prefillTokensPerSecond !== undefined && prefillTokensPerSecond > 0
        ? (promptEvaluated / prefillTokensPerSecond) * 1000
        : undefined,
    prompt_per_second: prefillTokensPerSecond,
    predicted_n: usage.completionTokens,
    predicted_ms: timeToFirstTokenMs === undefined || totalMs === undefined ? undefined : totalMs - timeToFirstTokenMs,
    predicted_per_second: timings.completionTokensPerSecond,
    queue_ms: timings.queueMs,
    time_to_first_token_ms: timeToFirstTokenMs,
    total_ms: totalMs,
  });
}

export function parseTimings(value: unknown): Timings {
  const timings = asObject(value) ?? {};
  return defined({
    queueMs: asAmount(timings.queue_ms),
    timeToFirstTokenMs: asAmount(timings.time_to_first_token_ms),
    totalMs: asAmount(timings.total_ms),
    prefillTokensPerSecond: asAmount(timings.prompt_per_second),
    completionTokensPerSecond: asAmount(timings.predicted_per_second),
  });
}

/** The `snug` object on the first and the last chunk: who answers, with what. */
export function renderProducer(producer: Producer): JsonObject {
  return defined({
    engine: producer.engineId,
    model: producer.model,
    quantization: producer.quantization,
    context_length: producer.contextLength,
  });
}

/** @param chunk a chunk or completion; servers without a `snug` object are known by their `model` alone */
export function parseProducer(chunk: JsonObject, fallback: Producer): Producer {
  const snug = asObject(chunk.snug) ?? {};
  return defined({
    engineId: asText(snug.engine) ?? fallback.engineId,
    model: asText(snug.model) ?? asText(chunk.model) ?? fallback.model,
    quantization: asText(snug.quantization) ?? fallback.quantization,
    contextLength: asAmount(snug.context_length) ?? fallback.contextLength,
  });
}

const finishReasons: Record<string, FinishReason> = {
  stop: "stop",
  length: "length",
  tool_calls: "tool_calls",
  function_call: "tool_calls",
  content_filter: "content_filter",
};

/** Words some servers use beside OpenAI's ("eos", "eos_token") end the answer just as well. */
export function parseFinishReason(value: unknown): FinishReason | undefined {
  const word = asText(value);
  if (word === undefined) return undefined;
  return Object.hasOwn(finishReasons, word) ? finishReasons[word] : "stop";
}
