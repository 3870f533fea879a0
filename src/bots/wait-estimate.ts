/** How long somebody waits in line, for engines that do not say: learned from the answers that ended here. */
import type { Timings } from "../core/chat.ts";

/** Weight of the newest answer; about the last ten count. */
const newestWeight = 0.2;

export class WaitEstimate {
  #answerMs: number | undefined;

  learn({ totalMs, queueMs = 0 }: Timings): void {
    if (totalMs === undefined) return;
    const answerMs = Math.max(0, totalMs - queueMs);
    this.#answerMs =
      this.#answerMs === undefined ? answerMs : this.#answerMs + (answerMs - this.#answerMs) * newestWeight;
  }

  /**
   * Undefined before the first answer. With several slots the line moves faster, so this is rather too long.
   *
   * @param position 1 is next
   */
  estimate(position: number): number | undefined {
    return this.#answerMs === undefined ? undefined : this.#answerMs * position;
  }
}
