/** Answers this process gave or is giving: for Stop, Regenerate, thumbs and reply chains. Bounded; the oldest go first. */
import type { Producer, Timings } from "../core/chat.ts";
import { answersRememberedMax, eventsRememberedMax } from "../core/limits.ts";
import { BoundedSet } from "./bounded-set.ts";
import type { HistoryMessage, Question } from "./question.ts";

export type StopReason = "stopped" | "question_deleted" | "answer_lost" | "reply_limit" | "restart";

export interface AnswerRecord {
  /** Request id; also in the buttons. */
  id: string;
  question: Question;
  /** What was said, without reasoning; empty while running and after a failure. */
  text: string;
  /** Messages that show it, first page first. */
  messageIds: string[];
  producer?: Producer;
  timings?: Timings;
  /** Answered again since. */
  superseded: boolean;
  /** Ends the work; absent once it is over. */
  stop?: (reason: StopReason) => void;
}

export class AnswerBook {
  readonly #records = new Map<string, AnswerRecord>();
  readonly #byMessage = new Map<string, string>();
  /** A deletion can be told before the message it is about is known here. */
  readonly #deletedMessages = new BoundedSet(eventsRememberedMax);

  add(record: AnswerRecord): void {
    this.#records.set(record.id, record);
    for (const [id, old] of this.#records) {
      if (this.#records.size <= answersRememberedMax) break;
      // A running answer must stay stoppable however old it is.
      if (old.stop === undefined) this.#drop(id);
    }
  }

  link(record: AnswerRecord, messageId: string): void {
    record.messageIds.push(messageId);
    this.#byMessage.set(messageId, record.id);
    if (this.#deletedMessages.has(messageId)) record.stop?.("answer_lost");
  }

  /** A deleted question stops its answer, a deleted answer stops itself. */
  messageDeleted(messageId: string): void {
    this.#deletedMessages.add(messageId);
    for (const record of this.running()) {
      if (record.question.messageId === messageId) record.stop?.("question_deleted");
      else if (record.messageIds.includes(messageId)) record.stop?.("answer_lost");
    }
  }

  isDeleted(messageId: string): boolean {
    return this.#deletedMessages.has(messageId);
  }

  find(id: string): AnswerRecord | undefined {
    return this.#records.get(id);
  }

  findByMessage(messageId: string): AnswerRecord | undefined {
    return this.#records.get(this.#byMessage.get(messageId) ?? "");
  }

  running(): AnswerRecord[] {
    return [...this.#records.values()].filter((record) => record.stop !== undefined);
  }

  /** Drops what a user asked in a channel. */
  forget(userId: string, channelId: string): void {
    for (const [id, { question, stop }] of this.#records) {
      if (question.asker.id !== userId || question.where.channelId !== channelId) continue;
      if (stop === undefined) this.#drop(id);
    }
  }

  /**
   * The messages of a chat as a conversation: answers whole instead of in pages, with the question a command asked, and
   * without those that are unfinished, failed or answered again.
   */
  conversationOf(messages: readonly HistoryMessage[]): HistoryMessage[] {
    return messages.flatMap((message) => {
      if (!message.own) return message.text === "" ? [] : [message];
      const record = this.findByMessage(message.id);
      if (record === undefined) return message.text === "" ? [] : withQuestion(message, message.question);
      if (record.messageIds[0] !== message.id || record.superseded || record.text === "") return [];
      const { quote, text, asker } = record.question;
      // A question that was a message is among the messages itself.
      return withQuestion({ ...message, text: record.text }, quote === undefined ? undefined : { text, author: asker });
    });
  }

  #drop(id: string): void {
    for (const messageId of this.#records.get(id)?.messageIds ?? []) this.#byMessage.delete(messageId);
    this.#records.delete(id);
  }
}

function withQuestion(answer: HistoryMessage, question: HistoryMessage["question"]): HistoryMessage[] {
  if (question === undefined) return [answer];
  const id = `${answer.id}?`;
  const author = { id: question.author.id, name: question.author.name };
  return [
    { id, author, own: false, text: question.text, at: answer.at },
    { ...answer, repliesTo: id },
  ];
}
