/** What the terms of a request mean where requests wait. */
import type { ChatRequest, RequestPriority } from "./chat.ts";
import type { Claim } from "./fair-order.ts";
import { shortAnswerTokensMax, shortPromptCharsMax } from "./limits.ts";

/** Turns a short interactive request goes ahead, and a batch request steps back; see fair-order.ts for the bound. */
const shortLead = 1;
const batchLead = -2;

type Sized = Pick<ChatRequest, "userId" | "terms"> & { chars: number; maxTokens?: number | undefined };

/** @param chars of all the model has to read */
export function claimOf({ userId, terms = {}, chars, maxTokens = 0 }: Sized): Claim {
  const short = chars <= shortPromptCharsMax && maxTokens <= shortAnswerTokensMax;
  const lead = terms.priority === "batch" ? batchLead : short ? shortLead : 0;
  return { keyId: terms.keyId, weight: terms.weight, userId, lead };
}

export function claimOfChat(request: ChatRequest): Claim {
  const { messages, prompt = "", userId, terms, maxTokens } = request;
  const chars = messages.reduce((sum, { content }) => sum + content.length, prompt.length);
  return claimOf({
    ...(userId === undefined ? {} : { userId }),
    ...(terms === undefined ? {} : { terms }),
    chars,
    maxTokens,
  });
}

/** Nobody raises what was granted; everybody may ask for less. */
export function lowerPriority(granted: RequestPriority, asked: RequestPriority | undefined): RequestPriority {
  return granted === "batch" || asked === "batch" ? "batch" : "interactive";
}

/** The sooner of two deadlines. */
export function soonerMs(first: number | undefined, second: number | undefined): number | undefined {
  if (first === undefined || second === undefined) return first ?? second;
  return Math.min(first, second);
}
