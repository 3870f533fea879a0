/**
 * One message of an answer. Its text grows as a native stream where the workspace has that, and by edits elsewhere or
 * once the stream cannot go on: a text that changed in the middle, a stream that Slack ended, a reply that got lost.
 */
import type { ChatButton, ChatPost, PostedMessage } from "../../core/ports.ts";
import { parseButton } from "../buttons.ts";
import { ChatPlatformError } from "../platform-error.ts";
import { messageKey, type RunningAnswer, type SlackContext } from "./context.ts";
import { isStreamOver, isUnsupported, toPlatformError } from "./errors.ts";
import { sendFile } from "./files.ts";
import { quiet, type StatusLine } from "./status-line.ts";
import { defuseMentions, stableBeginning, withoutMarks } from "./text.ts";
import { footerBlocks, toWire } from "./wire.ts";

export interface AnswerTarget {
  channel: string;
  threadTs: string;
  /** Who asked: Slack shows the stream to them first. */
  userId: string;
  teamId: string;
  /** The question's message, for the thread's memory. */
  questionId: string | undefined;
  /** When the work on it began, milliseconds since the epoch. */
  startedAt: number;
}

/** Streams start at most so much later than the words are there; else the answer is written by edits. */
const startDelayMsMax = 2_000;

export class AnswerMessage implements PostedMessage {
  readonly id: string;
  readonly #context: SlackContext;
  readonly #target: AnswerTarget;
  readonly #status: StatusLine;
  #ts: string | undefined;
  #streaming = false;
  /** Written whole from now on. */
  #plain = false;
  #streamed = "";
  #buttons: readonly ChatButton[] = [];
  readonly #sentFiles = new Set<string>();
  #running: RunningAnswer | undefined;

  constructor(context: SlackContext, target: AnswerTarget, status: StatusLine) {
    this.#context = context;
    this.#target = target;
    this.#status = status;
    this.id = messageKey(target.channel, `${target.threadTs}#${context.newId()}`);
  }

  async edit(post: ChatPost): Promise<void> {
    if (post.buttons !== undefined) this.#buttons = post.buttons;
    this.#watchStop();
    try {
      await this.#write(post);
    } catch (thrown) {
      const error = toPlatformError(thrown);
      if (error.reason === "gone" || error.reason === "invalid") this.#over();
      throw error;
    }
    for (const file of post.files ?? []) {
      if (this.#sentFiles.has(file.name)) continue;
      this.#sentFiles.add(file.name);
      await sendFile(this.#context, this.#target, file);
    }
    if (post.answer?.state === "written" || post.answer?.state === "ended") this.#remember(post);
    if (post.answer === undefined || post.answer.state === "ended") this.#over();
  }

  async delete(): Promise<void> {
    if (this.#ts === undefined) return;
    if (this.#streaming) await this.#endStream();
    await this.#call("chat.delete", { channel: this.#target.channel, ts: this.#ts });
    this.#ts = undefined;
  }

  async #write(post: ChatPost): Promise<void> {
    const { answer } = post;
    if (answer === undefined || this.#plain) return await this.#writeWhole(post);
    if (answer.state === "waiting") {
      // A platform that cannot stream shows the status in the message itself.
      if (!this.#context.abilities.stream) return await this.#writeWhole(post);
      return await this.#status.show(answer.text, this.#buttons);
    }
    const done = answer.state !== "writing";
    const whole = defuseMentions(withoutMarks(answer.text));
    const text = done ? whole : stableBeginning(whole);
    if (!this.#streaming) {
      if (!this.#mayStream() || (done && !this.#postsWait())) return await this.#writeWhole(post);
      await this.#startStream(text, post);
      if (!done || !this.#streaming) return;
    }
    if (!text.startsWith(this.#streamed)) return await this.#writeInstead(post);
    const rest = text.slice(this.#streamed.length);
    try {
      if (done) await this.#stopStream(rest, post);
      else if (rest !== "") await this.#append(rest);
      this.#streamed = text;
    } catch (thrown) {
      const error = toPlatformError(thrown);
      const { reason, platformCode } = error;
      // Whether words without a reply have arrived is not known, so the whole text is written over them.
      if (isStreamOver(error)) this.#streaming = false;
      else if (reason !== "unavailable" || platformCode === "ratelimited") throw error;
      await this.#writeInstead(post);
    }
  }

  #mayStream(): boolean {
    const { abilities, calls } = this.#context;
    return abilities.stream && calls.delayMs("chat.startStream") <= startDelayMsMax;
  }

  /** Posts in a channel are few; streams are counted apart from them. */
  #postsWait(): boolean {
    return this.#context.calls.delayMs("chat.postMessage", this.#target.channel) > 0;
  }

  async #startStream(text: string, post: ChatPost): Promise<void> {
    if (text === "") return;
    const { channel, threadTs, userId, teamId } = this.#target;
    try {
      const { ts } = await this.#call("chat.startStream", {
        channel,
        thread_ts: threadTs,
        recipient_user_id: userId,
        recipient_team_id: teamId,
        markdown_text: text,
      });
      this.#appeared(ts);
      this.#streaming = true;
      this.#streamed = text;
      await this.#status.showStop(this.#buttons);
    } catch (thrown) {
      const error = toPlatformError(thrown);
      if (error.reason === "unavailable") throw error;
      if (isUnsupported(error)) this.#context.abilities.stream = false;
      else if (error.reason !== "invalid") throw error;
      this.#context.logger.info("answers are written by edits", { platformCode: error.platformCode });
      await this.#writeWhole(post);
    }
  }

  async #append(text: string): Promise<void> {
    await this.#call("chat.appendStream", { channel: this.#target.channel, ts: this.#ts, markdown_text: text });
  }

  async #stopStream(rest: string, post: ChatPost): Promise<void> {
    const blocks = footerBlocks(post.answer?.tail ?? "", this.#buttons);
    const closes = post.answer?.state === "ended" && this.#status.aloneInSession;
    await this.#call("chat.stopStream", {
      channel: this.#target.channel,
      ts: this.#ts,
      ...(rest === "" ? {} : { markdown_text: rest }),
      ...(blocks.length === 0 ? {} : { blocks }),
      ...(closes ? { session_status: "active" } : {}),
    });
    this.#streaming = false;
    this.#plain = true;
    if (closes) this.#status.end(true);
  }

  /** Ends the stream, if it still runs, and writes the text over it. */
  async #writeInstead(post: ChatPost): Promise<void> {
    if (this.#streaming) await this.#endStream();
    await this.#writeWhole(post);
  }

  async #endStream(): Promise<void> {
    try {
      await this.#call("chat.stopStream", { channel: this.#target.channel, ts: this.#ts });
    } catch (thrown) {
      if (!isStreamOver(toPlatformError(thrown))) throw thrown;
    }
    this.#streaming = false;
  }

  async #writeWhole(post: ChatPost): Promise<void> {
    const { channel, threadTs } = this.#target;
    const wire = toWire({ text: post.text, buttons: this.#buttons });
    if (this.#ts === undefined) {
      const { ts } = await this.#call("chat.postMessage", { channel, thread_ts: threadTs, ...wire, ...quiet });
      this.#appeared(ts);
    } else {
      this.#plain = true;
      await this.#call("chat.update", { channel, ts: this.#ts, ...wire, parse: "none", link_names: false });
    }
    this.#plain = true;
  }

  #appeared(ts: unknown): void {
    if (typeof ts !== "string") throw new ChatPlatformError("invalid", "Slack posted a message without an id");
    this.#ts = ts;
    const { messageIds } = this.#context;
    messageIds.set(messageKey(this.#target.channel, ts), this.id);
    const oldest = messageIds.keys().next().value;
    if (messageIds.size > messageIdsMax && oldest !== undefined) messageIds.delete(oldest);
  }

  /** Slack's Stop button names a thread; this is how the answer in it is found. */
  #watchStop(): void {
    const stop = this.#buttons.find(({ id }) => parseButton(id)?.verb === "stop");
    const { running } = this.#context;
    if (stop === undefined || this.#running?.stopId === stop.id) return;
    if (this.#running !== undefined) running.delete(this.#running);
    this.#running = { stopId: stop.id, channel: this.#target.channel, threadTs: this.#target.threadTs };
    running.add(this.#running);
    // Slack shows its button from the first moment, before there is anything to see.
    const request = this.#context.stops.get(`${this.#target.channel} ${this.#target.threadTs}`);
    if (request !== undefined && request.at >= this.#target.startedAt) request.apply(this.#running);
  }

  #over(): void {
    if (this.#running !== undefined) this.#context.running.delete(this.#running);
    this.#status.end();
  }

  #remember(post: ChatPost): void {
    const { memory, botUserId, mention, timer } = this.#context;
    const { channel, threadTs, questionId } = this.#target;
    memory.add(channel, threadTs, {
      id: this.id,
      author: { id: botUserId, name: mention.slice(1) },
      own: true,
      text: post.answer === undefined ? "" : withoutMarks(post.answer.text),
      at: timer.now(),
      ...(questionId === undefined ? {} : { repliesTo: questionId }),
    });
  }

  async #call(method: string, args: Record<string, unknown>) {
    return await this.#context.calls.call(method, args);
  }
}

const messageIdsMax = 10_000;
