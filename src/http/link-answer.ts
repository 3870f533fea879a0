/** One answer that comes over an engine's link. */
import { type ChatDelta, type ChatEvent, isDelta, isTerminal } from "../core/chat.ts";
import { areDeltas } from "../core/delta-relay.ts";
import { AppError } from "../core/errors.ts";
import { abortReportMsMax, linkHeldMessagesMax } from "../core/limits.ts";
import type { RelayFrame } from "./link-frames.ts";

export const cancelled: ChatEvent = { type: "cancelled", usage: {}, timings: {} };

/** One answer's frames, put in order, on their way to one reader. */
export class LinkAnswer {
  readonly #id: number;
  readonly #window: number;
  readonly #send: (frame: RelayFrame) => void;
  readonly #forget: () => void;
  /** Arrived before one that belongs in front of them. */
  readonly #held = new Map<number, ChatEvent[]>();
  #ready: ChatEvent[] = [];
  #expected = 0;
  #framesReady = 0;
  #taken = 0;
  #credited = 0;
  #sent = 0;
  #ended = false;
  #cancelSent = false;
  #left = false;
  #reportTimer: ReturnType<typeof setTimeout> | undefined;
  #wake = () => {};
  #waiting = false;
  #spoken = false;
  readonly #passOn: ((deltas: readonly ChatDelta[]) => boolean) | undefined;

  /** @param passOn may take deltas while the reader waits for the next event, once it has had the first */
  constructor(
    id: number,
    window: number,
    send: (frame: RelayFrame) => void,
    forget: () => void,
    passOn?: (deltas: readonly ChatDelta[]) => boolean,
  ) {
    this.#id = id;
    this.#window = window;
    this.#send = send;
    this.#forget = forget;
    this.#passOn = passOn;
  }

  take(seq: number, events: ChatEvent[]): void {
    // Said before: a doubled frame.
    if (this.#ended || seq < this.#expected || this.#held.has(seq)) return;
    this.#held.set(seq, events);
    for (let next = this.#held.get(this.#expected); next !== undefined; next = this.#held.get(this.#expected)) {
      this.#held.delete(this.#expected++);
      this.#framesReady++;
      this.#push(next);
    }
    if (this.#ended || this.#held.size <= linkHeldMessagesMax) return;
    this.fail(new AppError("engine_unavailable", "Part of the engine's answer was lost on the way; please try again."));
    this.#cancel();
  }

  fail(error: AppError): void {
    this.#push([this.#left ? cancelled : { type: "error", error: error.toFacts() }]);
  }

  /** At least one event, in order. */
  async next(): Promise<ChatEvent[]> {
    if (this.#ready.length === 0) {
      await new Promise<void>((resolve) => {
        this.#waiting = true;
        this.#wake = resolve;
      });
    }
    const events = this.#ready;
    this.#ready = [];
    this.#spoken ||= events.some(isDelta);
    this.#credit();
    return events;
  }

  /** The caller left, or nothing came for too long. */
  leave(expired: AppError | undefined, byCaller: boolean): void {
    if (this.#ended) return;
    this.#cancel();
    this.#left = byCaller;
    if (expired !== undefined && !byCaller) this.fail(expired);
    // The engine's own count is worth waiting for, but not for long.
    else this.#reportTimer = setTimeout(() => this.#push([cancelled]), abortReportMsMax);
  }

  /** The reader is gone. */
  drop(): void {
    if (this.#reportTimer !== undefined) clearTimeout(this.#reportTimer);
    if (!this.#ended) this.#cancel();
    this.#ended = true;
    this.#forget();
  }

  #push(events: ChatEvent[]): void {
    if (this.#ended) return;
    // A reader that waits has had everything before.
    if (this.#waiting && this.#spoken && areDeltas(events) && this.#passOn?.(events) === true) {
      this.#credit();
      return;
    }
    this.#ready.push(...events);
    this.#ended = events.some(isTerminal);
    this.#waiting = false;
    this.#wake();
  }

  /** Frames that are out of here are taken, as far as the engine need know. */
  #credit(): void {
    this.#taken += this.#framesReady;
    this.#framesReady = 0;
    // Half a window at a time: the engine never waits for a reader that keeps up, and few credits are sent.
    if (this.#ended || this.#taken - this.#credited < this.#window / 2) return;
    this.#credited = this.#taken;
    this.#send({ type: "credit", id: this.#id, seq: ++this.#sent, taken: this.#taken });
  }

  #cancel(): void {
    if (this.#cancelSent) return;
    this.#cancelSent = true;
    this.#send({ type: "cancel", id: this.#id, seq: ++this.#sent });
  }
}
