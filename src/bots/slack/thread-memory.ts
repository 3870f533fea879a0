/** What was said in the threads the bot takes part in; in memory alone, since prompts and answers are not stored. */
import { historyMessagesMax, threadsRememberedMax } from "../../core/limits.ts";
import type { HistoryMessage } from "../question.ts";

export class ThreadMemory {
  /** The thread heard from last comes last. */
  readonly #threads = new Map<string, HistoryMessage[]>();

  has(channel: string, threadTs: string): boolean {
    return this.#threads.has(keyOf(channel, threadTs));
  }

  /** In the order they came in. */
  messages(channel: string, threadTs: string): readonly HistoryMessage[] {
    return this.#threads.get(keyOf(channel, threadTs)) ?? [];
  }

  /** Adds a message, or replaces the one of the same id. The oldest go when a thread grows too long. */
  add(channel: string, threadTs: string, message: HistoryMessage): void {
    const known = this.messages(channel, threadTs);
    const index = known.findIndex(({ id }) => id === message.id);
    this.#keep(channel, threadTs, index < 0 ? [...known, message] : known.with(index, message));
  }

  /** Puts what was said earlier in front of what is known. */
  restore(channel: string, threadTs: string, earlier: readonly HistoryMessage[]): void {
    const known = this.messages(channel, threadTs);
    const ids = new Set(known.map(({ id }) => id));
    this.#keep(channel, threadTs, [...earlier.filter(({ id }) => !ids.has(id)), ...known]);
  }

  #keep(channel: string, threadTs: string, messages: HistoryMessage[]): void {
    const key = keyOf(channel, threadTs);
    this.#threads.delete(key);
    this.#threads.set(key, messages.slice(-historyMessagesMax));
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
