/** Events of one chat on their way to its reader: one producer that does not wait, one reader that may be slow. */
import { type ChatEvent, isDelta, isTerminal, joinDeltas } from "../core/chat.ts";
import type { DeltaRelay } from "../core/delta-relay.ts";

export interface EventChannelOptions {
  /** Events the reader may be behind before `onFull`. Text the reader has not taken yet is joined, so few are kept. */
  eventsMax: number;
  /** The reader is too far behind: the producer should pause. */
  onFull(): void;
  /** It has caught up. */
  onDrained(): void;
  /** Takes deltas while the reader waits. */
  relay?: DeltaRelay | undefined;
}

export class EventChannel {
  readonly #options: EventChannelOptions;
  #events: ChatEvent[] = [];
  /** Pushed since the reader last took something. */
  #behind = 0;
  #full = false;
  #ended = false;
  /** The reader has had a delta. */
  #begun = false;
  #waiting = false;
  #wake = () => {};

  constructor(options: EventChannelOptions) {
    this.#options = options;
  }

  /** After the terminal event nothing more is taken. */
  push(event: ChatEvent): void {
    if (this.#ended || this.#relay(event)) return;
    this.#ended = isTerminal(event);
    const last = this.#events.at(-1);
    const joined = last === undefined ? undefined : joinDeltas(last, event);
    if (joined !== undefined) this.#events.splice(-1, 1, joined);
    // Only the newest place in line is of interest.
    else if (event.type === "queued" && last?.type === "queued") this.#events.splice(-1, 1, event);
    else this.#events.push(event);
    this.#behind++;
    if (this.#behind >= this.#options.eventsMax && !this.#full && !this.#ended) {
      this.#full = true;
      this.#options.onFull();
    }
    this.#wake();
  }

  /** Up to and including the terminal event. */
  async *read(): AsyncGenerator<ChatEvent, void, undefined> {
    for (;;) {
      while (this.#events.length === 0) await this.#nextPush();
      for (const event of this.#takeAll()) {
        yield event;
        this.#begun ||= isDelta(event);
        if (isTerminal(event)) return;
      }
    }
  }

  /** True when it went past the reader, who waits for something to come. */
  #relay(event: ChatEvent): boolean {
    const { relay } = this.#options;
    if (relay === undefined || !this.#begun || !this.#waiting || this.#events.length > 0) return false;
    return isDelta(event) && relay.take([event]);
  }

  #takeAll(): ChatEvent[] {
    const events = this.#events;
    this.#events = [];
    this.#behind = 0;
    if (this.#full) {
      this.#full = false;
      this.#options.onDrained();
    }
    return events;
  }

  #nextPush(): Promise<void> {
    this.#waiting = true;
    return new Promise((resolve) => {
      this.#wake = () => {
        this.#waiting = false;
        resolve();
      };
    });
  }
}
