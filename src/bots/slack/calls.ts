/** Every Web API call of the bot: within its tier, with Slack's own errors translated. */
import { writeTriesMax } from "../../core/limits.ts";
import type { Logger, Timer } from "../../core/ports.ts";
import { toPlatformError } from "./errors.ts";
import type { Tiers } from "./tiers.ts";

export type CallArguments = Record<string, unknown>;

export interface CallResult extends Record<string, unknown> {
  ok: boolean;
}

/** Sends one call, by Bolt's client or by fetch. Throws ChatPlatformError. */
export type SendCall = (method: string, args: CallArguments) => Promise<CallResult>;

export class SlackCalls {
  readonly #send: SendCall;
  readonly #tiers: Tiers;
  readonly #timer: Timer;
  readonly #logger: Logger;

  constructor(send: SendCall, options: { tiers: Tiers; timer: Timer; logger: Logger }) {
    this.#send = send;
    this.#tiers = options.tiers;
    this.#timer = options.timer;
    this.#logger = options.logger;
  }

  /** Milliseconds until a call of this method would go out. */
  delayMs(method: string, channel?: string): number {
    return this.#tiers.delayMs(method, channel);
  }

  /** @throws ChatPlatformError; a refusal for haste holds later calls of the method back as long as Slack asks */
  async call(method: string, args: CallArguments): Promise<CallResult> {
    const channel = typeof args.channel === "string" ? args.channel : undefined;
    const answered = await this.#tiers.take(method, channel);
    try {
      return await this.#send(method, args);
    } catch (thrown) {
      const error = toPlatformError(thrown);
      if (error.retryAfterMs !== undefined) {
        this.#tiers.hold(method, error.retryAfterMs);
        this.#logger.warn("Slack asked to slow down", { method, retryAfterMs: error.retryAfterMs });
      }
      throw error;
    } finally {
      answered();
    }
  }

  /** For calls nobody else repeats: waits out what is passing. */
  async insist(method: string, args: CallArguments): Promise<CallResult> {
    for (let failures = 1; ; failures++) {
      try {
        return await this.call(method, args);
      } catch (thrown) {
        const error = toPlatformError(thrown);
        // Whether a call that got no answer was carried out is not known; a message must not appear twice.
        const known = error.retryAfterMs !== undefined;
        if (!known || failures >= writeTriesMax) throw error;
        await this.#timer.wait(error.retryAfterMs ?? 0);
      }
    }
  }
}
