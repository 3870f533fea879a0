/**
 * Writes an answer that changes: newest state wins, writes are spaced, the last state is always written. It moves to
 * another place when the reply token is about to end, and gives up when there is nowhere left to write.
 */
import { replyMoveMsBefore, writeRetryMsFirst, writeRetryMsMax, writeTriesMax } from "../core/limits.ts";
import type { ChatPlace, ChatPost, Logger, PostedMessage, Timer } from "../core/ports.ts";
import { ChatPlatformError, type ChatPlatformErrorReason } from "./platform-error.ts";

export interface ReplyWriterOptions {
  timer: Timer;
  logger: Logger;
  /** Nothing is written sooner than this after the start unless asked to hurry. */
  firstWriteMs: number;
  /** Appended to the last page of the place that is left. */
  movedNote: string;
  /** Called for every message that appears, so that its deletion can be noticed. */
  onPosted?: (message: PostedMessage) => void;
  /** The place ends within `replyMoveMsBefore` and nothing takes its place: the last state should come now. */
  onExpiring?: () => void;
  /** The answer can no longer be shown; called at most once. */
  onLost?: (reason: ChatPlatformErrorReason) => void;
}

/** A state of the answer, drawn when it is written: most states are overtaken before that. */
type RenderState = () => readonly ChatPost[];

interface Page {
  message: PostedMessage;
  shown: ChatPost;
  /** False after a failed edit, which may have happened all the same. */
  certain: boolean;
  /** Left behind in an earlier place. */
  frozen: boolean;
}

export class ReplyWriter {
  readonly #options: ReplyWriterOptions;
  #place: ChatPlace;
  #pages: Page[] = [];
  #wanted: RenderState | undefined;
  #final = false;
  #writing = false;
  #pumping = Promise.resolve();
  #nextWriteAt: number;
  #hurry = new AbortController();
  #failures = 0;
  /** The place is about to end and there is no other. */
  #staying = false;
  /** The place that is being left, until the first write in the next one worked. */
  #leaving: { place: ChatPlace; pages: Page[]; left: Page | undefined } | undefined;
  #lost: ChatPlatformErrorReason | undefined;
  readonly #over = new AbortController();

  constructor(place: ChatPlace, options: ReplyWriterOptions) {
    this.#place = place;
    this.#options = options;
    this.#nextWriteAt = options.timer.now() + options.firstWriteMs;
    void this.#watchExpiry();
  }

  /** Why nothing can be shown any more. */
  get lost(): ChatPlatformErrorReason | undefined {
    return this.#lost;
  }

  get messages(): readonly PostedMessage[] {
    return this.#pages.map((page) => page.message);
  }

  /** Shows this state with the next write; a newer one before then replaces it. */
  show(render: RenderState, hurry = false): void {
    if (this.#final || this.#lost !== undefined) return;
    this.#wanted = render;
    if (hurry) this.#hurryUp();
    this.#pump();
  }

  /** Shows the last state. Resolves when it is written or can no longer be; never rejects. */
  async finish(posts: readonly ChatPost[]): Promise<void> {
    if (this.#lost === undefined) {
      this.#wanted = () => posts;
      this.#final = true;
      if (this.#pages.length === 0) this.#hurryUp();
      this.#pump();
      await this.#pumping;
    }
    this.#over.abort();
  }

  /** Lets the first write go out now; later writes keep their distance. */
  #hurryUp(): void {
    if (this.#pages.length > 0 || this.#failures > 0) return;
    this.#nextWriteAt = this.#options.timer.now();
    this.#hurry.abort();
    this.#hurry = new AbortController();
  }

  #pump(): void {
    if (this.#writing) return;
    this.#writing = true;
    this.#pumping = this.#write();
  }

  async #write(): Promise<void> {
    const { timer } = this.#options;
    while (this.#wanted !== undefined && this.#lost === undefined) {
      for (let due = this.#due(); due > 0; due = this.#due()) await timer.wait(due, this.#hurry.signal);
      if (this.#moveDue()) await this.#moveInTime();
      const wanted = this.#wanted;
      try {
        await this.#apply(wanted());
        await this.#leave();
        this.#failures = 0;
        this.#nextWriteAt = timer.now() + this.#place.platform.limits.editIntervalMsMin;
        if (this.#wanted === wanted) this.#wanted = undefined;
      } catch (thrown) {
        await this.#recover(thrown);
      }
    }
    // In the same turn as the loop's last look, so that no state shown in between is lost.
    this.#writing = false;
  }

  #due(): number {
    return this.#nextWriteAt - this.#options.timer.now();
  }

  async #apply(posts: readonly ChatPost[]): Promise<void> {
    const frozen = this.#pages.filter((page) => page.frozen).length;
    // Should the text have shrunk below what was left behind, its end is still shown here.
    const here = posts.length > frozen ? posts.slice(frozen) : posts.slice(-1);
    for (const [index, post] of here.entries()) {
      const page = this.#pages[frozen + index];
      if (page === undefined) {
        const message = await this.#place.post(post);
        this.#pages.push({ message, shown: post, certain: true, frozen: false });
        this.#options.onPosted?.(message);
      } else if (!page.certain || !samePost(page.shown, post)) {
        const change = page.certain ? changeOf(page.shown, post) : post;
        page.shown = post;
        page.certain = false;
        await page.message.edit(change);
        page.certain = true;
      }
    }
    // Text can shrink: thoughts are folded only once their closing tag has come.
    while (this.#pages.length > frozen + here.length) await this.#pages.pop()?.message.delete();
  }

  async #recover(thrown: unknown): Promise<void> {
    const { timer, logger } = this.#options;
    const error =
      thrown instanceof ChatPlatformError
        ? thrown
        : new ChatPlatformError("invalid", "A write failed in an unexpected way", { cause: thrown });
    const facts = { reason: error.reason, platformCode: error.platformCode, error: error.message };
    if (error.reason === "expired" || error.reason === "forbidden") {
      logger.info("a reply has to move", facts);
      await this.#moveAway(error.reason, facts);
      return;
    }
    this.#failures++;
    if (error.reason !== "unavailable" || (this.#final && this.#failures >= writeTriesMax)) {
      this.#lose(error.reason, facts);
      return;
    }
    logger.info("a write of a reply failed and will be repeated", { ...facts, failures: this.#failures });
    const backoff = Math.min(writeRetryMsMax, writeRetryMsFirst * 2 ** (this.#failures - 1));
    this.#nextWriteAt = timer.now() + Math.max(backoff, error.retryAfterMs ?? 0);
  }

  /** The place has refused: goes on in the next one. Finished pages stay, the last one is written again there. */
  async #moveAway(reason: ChatPlatformErrorReason, facts: Record<string, unknown>): Promise<void> {
    const next = await this.#place.successor().catch(() => undefined);
    if (next !== undefined) {
      this.#moveTo(next);
    } else if (this.#leaving !== undefined) {
      const { place, pages } = this.#leaving;
      this.#leaving = undefined;
      this.#place = place;
      this.#pages = pages;
      this.#stay();
    } else {
      this.#lose(reason, facts);
    }
  }

  /** The place still works but not for long. */
  async #moveInTime(): Promise<void> {
    const next = await this.#place.successor().catch(() => undefined);
    if (next === undefined) {
      this.#stay();
      return;
    }
    const pages = this.#pages.map((page) => ({ ...page }));
    this.#leaving = { place: this.#place, pages, left: pages.at(-1) };
    this.#moveTo(next);
  }

  #stay(): void {
    this.#staying = true;
    this.#options.onExpiring?.();
  }

  /** The next place works: what stays behind says where the answer goes on. */
  async #leave(): Promise<void> {
    const left = this.#leaving?.left;
    this.#leaving = undefined;
    if (left === undefined) return;
    const text = `${left.shown.text}\n${this.#place.platform.markup.subtext(this.#options.movedNote)}`.trim();
    // The note is a courtesy; the answer goes on without it.
    await left.message.edit({ text, buttons: [] }).catch(() => {});
  }

  #moveTo(next: ChatPlace): void {
    this.#place = next;
    this.#nextWriteAt = this.#options.timer.now();
    if (this.#pages.at(-1)?.frozen === false) this.#pages.pop();
    for (const page of this.#pages) page.frozen = true;
  }

  #moveDue(): boolean {
    const { expiresAt } = this.#place;
    return !this.#staying && expiresAt !== undefined && this.#options.timer.now() >= expiresAt - replyMoveMsBefore;
  }

  /** An answer may be silent for long (a queue, a large prompt), so the move cannot wait for its next words. */
  async #watchExpiry(): Promise<void> {
    const { timer } = this.#options;
    while (this.#place.expiresAt !== undefined && !this.#staying && !this.#over.signal.aborted) {
      if (this.#moveDue() && !this.#writing) {
        // Without a page there is nothing to carry over; the first write goes to the right place by itself.
        if (this.#pages.length === 0) return;
        const shown = this.#pages.map((page) => page.shown);
        this.#wanted = () => shown;
        this.#pump();
      }
      if (this.#moveDue()) await this.#pumping;
      else await timer.wait(this.#place.expiresAt - replyMoveMsBefore - timer.now(), this.#over.signal);
    }
  }

  #lose(reason: ChatPlatformErrorReason, facts: Record<string, unknown>): void {
    this.#options.logger.warn("a reply can no longer be written", facts);
    this.#lost = reason;
    this.#wanted = undefined;
    this.#over.abort();
    this.#options.onLost?.(reason);
  }
}

function samePost(shown: ChatPost, post: ChatPost): boolean {
  return shown.text === post.text && sameButtons(shown, post) && post.files === shown.files;
}

function sameButtons(shown: ChatPost, post: ChatPost): boolean {
  return JSON.stringify(shown.buttons ?? []) === JSON.stringify(post.buttons ?? []);
}

/** The edit that turns one into the other: unchanged buttons stay out of it, they are most of the bytes. */
function changeOf(shown: ChatPost, post: ChatPost): ChatPost {
  if (!sameButtons(shown, post)) return post;
  const { buttons: _, ...change } = post;
  return change;
}
