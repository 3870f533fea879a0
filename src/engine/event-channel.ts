/** Events of one chat on their way to its reader: one producer that does not wait, one reader that may be slow. */
import { type ChatEvent, isTerminal, joinDeltas } from "../core/chat.ts";

export interface EventChannelOptions {
  /** Events the reader may be behind before `onFull`. Text the reader has not taken yet is joined, so few are kept. */
  eventsMax: number;
  /** The reader is too far behind: the producer should pause. */
  onFull(): void;
  /** It has caught up. */
  onDrained(): void;
}

export class EventChannel {
  readonly #options: EventChannelOptions;
  #events: ChatEvent[] = [];
  /** Pushed since the reader last took something. */
  #behind = 0;
  #full = false;
  #ended = false;
  #wake = () => {};

  constructor(options: EventChannelOptions) {
    this.#options = options;
  }

  /** After the terminal event nothing more is taken. */
  push(event: ChatEvent): void {
    if (this.#ended) return;
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
        if (isTerminal(event)) return;
      }
    }
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
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}
