/** How long a conversation is, before and after it is counted in tokens. */
import type { ChatRequest } from "../core/chat.ts";
import { AppError } from "../core/errors.ts";

/** Characters of all that the prompt will hold. */
export function countChars({ messages, tools = [], prompt = "" }: ChatRequest): number {
  const calls = messages.flatMap(({ toolCalls = [] }) => toolCalls);
  return (
    prompt.length +
    messages.reduce((sum, message) => sum + message.content.length, 0) +
    calls.reduce((sum, call) => sum + call.arguments.length, 0) +
    tools.reduce((sum, tool) => sum + JSON.stringify(tool).length, 0)
  );
}

export function promptTooLong(promptTokens: number, contextLength: number, param = "messages"): AppError {
  const what = param === "messages" ? "The messages take" : "The prompt takes";
  const message = `${what} ${promptTokens} tokens and the model reads at most ${contextLength - 1} here; send less.`;
  return new AppError("context_length_exceeded", message, { param, details: { promptTokens, contextLength } });
}
