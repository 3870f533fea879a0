/** Slack's limits per method, kept before Slack has to say so. */
import type { Timer } from "../../core/ports.ts";

interface Rate {
  callsMax: number;
  windowMs: number;
  /** Counted for each channel by itself. */
  perChannel?: boolean;
}

const minute = 60_000;
const tier2: Rate = { callsMax: 20, windowMs: minute };
const tier3: Rate = { callsMax: 50, windowMs: minute };
const tier4: Rate = { callsMax: 100, windowMs: minute };

/** Methods of the published catalogue that this bot calls; others count as tier 3. */
const rates: Record<string, Rate> = {
  "chat.startStream": tier2,
  "chat.stopStream": tier2,
  "chat.appendStream": tier4,
  "chat.update": tier3,
  "chat.delete": tier3,
  // About one a second and channel, short bursts allowed.
  "chat.postMessage": { callsMax: 4, windowMs: 5_000, perChannel: true },
  "chat.postEphemeral": tier4,
  "agents.sessions.setStatus": tier3,
  "assistant.threads.setStatus": tier4,
  "assistant.threads.setSuggestedPrompts": tier4,
  "conversations.open": tier3,
  "conversations.replies": tier3,
  "users.info": tier4,
  "views.open": tier4,
  "views.publish": tier4,
  "files.getUploadURLExternal": tier4,
  "files.completeUploadExternal": tier4,
  "files.delete": tier3,
};

export class Tiers {
  readonly #timer: Timer;
  /** Calls under way or done, by when they went out or, later, when they were answered. */
  readonly #calls = new Map<string, { at: number }[]>();
  /** Slack asked to call no sooner. */
  readonly #heldUntil = new Map<string, number>();

  constructor(timer: Timer) {
    this.#timer = timer;
  }

  /** Milliseconds until a call may go out. */
  delayMs(method: string, channel?: string): number {
    const now = this.#timer.now();
    const { rate, key } = this.#rateOf(method, channel);
    const calls = this.#recent(key, rate, now);
    const free = calls.length < rate.callsMax ? now : calls.at(-rate.callsMax)!.at + rate.windowMs;
    return Math.max(0, free - now, (this.#heldUntil.get(method) ?? 0) - now);
  }

  /**
   * Waits for the method's turn and takes it.
   *
   * @returns to be called when the call was answered: Slack counts from its arrival, which is not later than that
   */
  async take(method: string, channel?: string): Promise<() => void> {
    for (let delay = this.delayMs(method, channel); delay > 0; delay = this.delayMs(method, channel)) {
      await this.#timer.wait(delay);
    }
    const { rate, key } = this.#rateOf(method, channel);
    const call = { at: this.#timer.now() };
    this.#calls.set(key, [...this.#recent(key, rate, call.at), call]);
    return () => {
      call.at = this.#timer.now();
    };
  }

  /** Slack has refused a call of this method for so long. */
  hold(method: string, ms: number): void {
    this.#heldUntil.set(method, Math.max(this.#heldUntil.get(method) ?? 0, this.#timer.now() + ms));
  }

  #rateOf(method: string, channel: string | undefined): { rate: Rate; key: string } {
    const rate = rates[method] ?? tier3;
    return { rate, key: rate.perChannel === true ? `${method} ${channel ?? ""}` : method };
  }

  #recent(key: string, { windowMs }: Rate, now: number): { at: number }[] {
    const calls = (this.#calls.get(key) ?? []).filter(({ at }) => at > now - windowMs).sort((a, b) => a.at - b.at);
    if (calls.length === 0) this.#calls.delete(key);
    else this.#calls.set(key, calls);
    return calls;
  }
}
