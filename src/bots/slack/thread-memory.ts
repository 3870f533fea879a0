/** What was said in the threads the bot takes part in; in memory alone, since prompts and answers are not stored. */
import { historyMessagesMax, threadsRememberedMax } from "../../core/limits.ts";
import type { HistoryMessage } from "../question.ts";

export class ThreadMemory {
  /** The thread heard from last comes last. */
  readonly #threads = new Map<string, HistoryMessage[]>();

  has(channel: string, threadTs: string): boolean {
    return this.#threads.has(keyOf(channel, threadTs));
  }

  /** Oldest first. */
  messages(channel: string, threadTs: string): readonly HistoryMessage[] {
    return this.#threads.get(keyOf(channel, threadTs)) ?? [];
  }

  /** Adds messages, or replaces those of the same id. The oldest go when a thread grows too long. */
  add(channel: string, threadTs: string, ...messages: readonly HistoryMessage[]): void {
    const key = keyOf(channel, threadTs);
    const ids = new Set(messages.map(({ id }) => id));
    const kept = (this.#threads.get(key) ?? []).filter(({ id }) => !ids.has(id));
    const sorted = [...kept, ...messages].sort((a, b) => a.at - b.at);
    this.#threads.delete(key);
    this.#threads.set(key, sorted.slice(-historyMessagesMax));
    const oldest = this.#threads.keys().next().value;
    if (this.#threads.size > threadsRememberedMax && oldest !== undefined) this.#threads.delete(oldest);
  }

  /** Drops a message, wherever it stands. */
  drop(messageId: string): void {
    for (const [key, messages] of this.#threads) {
      if (messages.some(({ id }) => id === messageId)) {
        this.#threads.set(
          key,
          messages.filter(({ id }) => id !== messageId),
        );
      }
    }
  }

  /** Drops what a user said in the threads of a channel, and the answers to it. */
  forget(channel: string, userId: string): void {
    for (const [key, messages] of this.#threads) {
      if (!key.startsWith(`${channel} `)) continue;
      const theirs = new Set(messages.filter(({ author }) => author.id === userId).map(({ id }) => id));
      this.#threads.set(
        key,
        messages.filter(({ id, repliesTo }) => !theirs.has(id) && !(repliesTo !== undefined && theirs.has(repliesTo))),
      );
    }
  }
}

const keyOf = (channel: string, threadTs: string) => `${channel} ${threadTs}`;
