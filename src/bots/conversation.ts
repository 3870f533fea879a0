/** From what stands in a chat to a request: which earlier messages are used, and how they are put to the model. */
import type { ChatMessage, ChatRequest } from "../core/chat.ts";
import { answerContextShare, answerTokensReservedMax } from "../core/limits.ts";
import type { HistoryMessage } from "./question.ts";

export interface ConversationParts {
  model: string;
  persona?: string;
  /** Oldest first. */
  history: readonly HistoryMessage[];
  question: string;
  asker: { id: string; name: string };
  /** The asker as the ledger and the scheduler know them. */
  userId: string;
  /** Tokens of one sequence; unknown takes everything. */
  contextLength?: number;
  /** Share of the history's budget to use; smaller after a request turned out too long. */
  budgetShare?: number;
}

export interface Conversation {
  request: ChatRequest;
  /** Earlier messages that are part of it. */
  historyCount: number;
}

/**
 * Tokens of a text, estimated without the model's tokenizer: a Chinese character is about one, other scripts about three
 * characters each, digits and signs more. Rather too many than too few: too few costs a refused request.
 */
export function estimateTokens(text: string): number {
  const wide = text.match(/[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]/gu)?.length ?? 0;
  const signs = text.match(/[\d\p{P}\p{S}]/gu)?.length ?? 0;
  return Math.ceil(wide * 1.2 + signs * 0.7 + (text.length - wide - signs) / 3) + messageOverheadTokens;
}

/** Role markers of common chat templates. */
const messageOverheadTokens = 6;

/**
 * The newest messages that fit beside the question and an answer. Turns alternate, as many chat templates demand, and
 * start with a user's.
 */
export function buildConversation(parts: ConversationParts): Conversation {
  const kept = newestWithin(parts.history, historyBudget(parts));
  // A conversation that starts with an answer would miss its question.
  while (kept[0]?.own === true) kept.shift();
  // Among several people the model has to know who says what.
  const severalPeople = kept.some((message) => !message.own && message.author.id !== parts.asker.id);
  const said = (name: string, text: string) => (severalPeople ? `${name}: ${text}` : text);
  const turns: ChatMessage[] = kept.map((message) =>
    message.own
      ? { role: "assistant", content: message.text }
      : { role: "user", content: said(message.author.name, message.text) },
  );
  turns.push({ role: "user", content: said(parts.asker.name, parts.question) });
  const system: ChatMessage[] = parts.persona === undefined ? [] : [{ role: "system", content: parts.persona }];
  return {
    request: { model: parts.model, messages: [...system, ...joinTurns(turns)], userId: parts.userId },
    historyCount: kept.length,
  };
}

function historyBudget({ contextLength, persona, question, budgetShare = 1 }: ConversationParts): number {
  if (contextLength === undefined) return Number.POSITIVE_INFINITY;
  const reserved = Math.min(answerTokensReservedMax, Math.ceil(contextLength * answerContextShare));
  const fixed = estimateTokens(question) + (persona === undefined ? 0 : estimateTokens(persona));
  return Math.max(0, contextLength - reserved - fixed) * budgetShare;
}

function newestWithin(history: readonly HistoryMessage[], budget: number): HistoryMessage[] {
  let left = budget;
  let start = history.length;
  while (start > 0) {
    left -= estimateTokens(history[start - 1]!.text);
    if (left < 0) break;
    start--;
  }
  return history.slice(start);
}

function joinTurns(turns: readonly ChatMessage[]): ChatMessage[] {
  const joined: ChatMessage[] = [];
  for (const turn of turns) {
    const last = joined.at(-1);
    if (last?.role === turn.role) last.content += `\n\n${turn.content}`;
    else joined.push({ ...turn });
  }
  return joined;
}

/**
 * What may be used of a channel's messages. A user's mark hides everything before it from their own questions, and their
 * own messages and the answers to them from everybody's.
 */
export function withoutForgotten(
  history: readonly HistoryMessage[],
  askerId: string,
  marks: ReadonlyMap<string, number>,
): HistoryMessage[] {
  if (marks.size === 0) return [...history];
  const hidden = new Set<string>();
  for (const message of history) {
    const mark = marks.get(message.author.id) ?? Number.NEGATIVE_INFINITY;
    if (message.at <= mark) hidden.add(message.id);
  }
  const askerMark = marks.get(askerId) ?? Number.NEGATIVE_INFINITY;
  return history.filter(
    (message) =>
      message.at > askerMark &&
      !hidden.has(message.id) &&
      !(message.own && message.repliesTo !== undefined && hidden.has(message.repliesTo)),
  );
}
