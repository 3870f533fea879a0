/** Gathers the text of all streams into few IPC messages: one per token and stream would cost more than the tokens. */
import type { TextFrame } from "./ipc.ts";

export class TextFrames {
  readonly #send: (frames: TextFrame[]) => void;
  readonly #flushMs: number;
  readonly #begun = new Set<number>();
  #frames = new Map<number, TextFrame>();
  #timer: NodeJS.Timeout | undefined;

  /** @param flushMs longest time a token waits for company */
  constructor(send: (frames: TextFrame[]) => void, flushMs: number) {
    this.#send = send;
    this.#flushMs = flushMs;
  }

  /** The first token of a stream goes out at once: somebody is waiting for a sign. */
  add(id: number, text: string): void {
    const frame = this.#frames.get(id);
    if (frame === undefined) this.#frames.set(id, [id, text, 1]);
    else this.#frames.set(id, [id, frame[1] + text, frame[2] + 1]);
    if (!this.#begun.has(id)) {
      this.#begun.add(id);
      this.flush();
      return;
    }
    this.#timer ??= setTimeout(() => this.flush(), this.#flushMs);
  }

  /** Sends what there is, before a message that must not overtake it. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#frames.size === 0) return;
    const frames = [...this.#frames.values()];
    this.#frames = new Map();
    this.#send(frames);
  }

  /** Flushes, and forgets that the stream had begun. */
  end(id: number): void {
    this.flush();
    this.#begun.delete(id);
  }
}
