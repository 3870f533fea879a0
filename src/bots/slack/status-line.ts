/**
 * What stands beside an answer while it is worked on: Slack's own status line and Stop button, and where the workspace
 * has no sessions, a small message with a Stop button that goes away at the end.
 */
import type { ChatButton } from "../../core/ports.ts";
import type { Abilities, SlackContext } from "./context.ts";
import { isUnsupported, toPlatformError } from "./errors.ts";
import { toWire } from "./wire.ts";

export interface StatusTarget {
  channel: string;
  threadTs: string;
  /** Who asked. */
  userId: string;
}

/** In a busy minute Slack's limits hold calls back; a status that late is worth none. */
const statusDelayMsMax = 1_000;

/** A message of this length is a status, not an essay. */
const statusCharsMax = 100;

export class StatusLine {
  readonly #context: SlackContext;
  readonly #target: StatusTarget;
  /** One call after the other, so that a late one cannot undo the end. */
  #work = Promise.resolve();
  #begun = false;
  #shown = "";
  #controlTs: string | undefined;
  #controlText = "";
  #inSession = false;

  constructor(context: SlackContext, target: StatusTarget) {
    this.#context = context;
    this.#target = target;
  }

  /** Whether Slack shows a Stop button of its own. */
  get inSession(): boolean {
    return this.#inSession;
  }

  /** Whether no other answer in the thread is at work. */
  get aloneInSession(): boolean {
    return this.#inSession && (this.#context.sessions.get(this.#key) ?? 0) <= 1;
  }

  get #key(): string {
    return `${this.#target.channel} ${this.#target.threadTs}`;
  }

  /** Never rejects; the answer itself matters more. */
  begin(): Promise<void> {
    return this.#then(async () => {
      if (this.#begun) return;
      this.#begun = true;
      await this.#beginSession();
    });
  }

  /** @param buttons the Stop button, for workspaces without sessions; undefined keeps a text-only status */
  show(text: string, buttons: readonly ChatButton[]): Promise<void> {
    return this.#then(async () => {
      if (!this.#begun) {
        this.#begun = true;
        await this.#beginSession();
      }
      await this.#setStatus(text.slice(0, statusCharsMax));
      if (!this.#inSession) await this.#showControl(text, buttons);
    });
  }

  /** A Stop button beside a growing text, where Slack shows none. */
  showStop(buttons: readonly ChatButton[]): Promise<void> {
    return this.#then(async () => {
      if (!this.#inSession && this.#controlTs === undefined) await this.#showControl("…", buttons);
    });
  }

  /**
   * Goes on in the background: the answer is there, whatever Slack's limits do to this.
   *
   * @param closedByStream the end of the stream has set the session's state already
   */
  end(closedByStream = false): void {
    const { background } = this.#context;
    const work: Promise<void> = this.#end(closedByStream).finally(() => background.delete(work));
    background.add(work);
  }

  #end(closedByStream: boolean): Promise<void> {
    return this.#then(async () => {
      const { channel, threadTs } = this.#target;
      if (this.#shown !== "") await this.#setStatus("");
      if (this.#inSession && this.#leaveSession() && !closedByStream) {
        const args = { channel_id: channel, thread_ts: threadTs, status: "active" };
        await this.#try("sessions", "agents.sessions.setStatus", args);
      }
      this.#inSession = false;
      this.#begun = false;
      if (this.#controlTs !== undefined) {
        await this.#try(undefined, "chat.delete", { channel, ts: this.#controlTs });
        this.#controlTs = undefined;
      }
    });
  }

  #then(step: () => Promise<void>): Promise<void> {
    this.#work = this.#work.then(step);
    return this.#work;
  }

  async #beginSession(): Promise<void> {
    const { abilities, calls } = this.#context;
    if (!abilities.sessions || calls.delayMs("agents.sessions.setStatus") > statusDelayMsMax) return;
    const { channel, threadTs, userId } = this.#target;
    const result = await this.#try("sessions", "agents.sessions.setStatus", {
      channel_id: channel,
      thread_ts: threadTs,
      status: "processing",
      initiator_user_id: userId,
    });
    if (result === undefined) return;
    this.#inSession = true;
    const { sessions } = this.#context;
    sessions.set(this.#key, (sessions.get(this.#key) ?? 0) + 1);
    if (JSON.stringify(result).includes("missing_agent_session_stopped_event_subscription")) {
      // Slack would show a spinner that nobody can stop.
      abilities.sessions = false;
      this.#context.logger.warn("the app does not subscribe to agent_session_stopped; using buttons instead");
      const args = { channel_id: channel, thread_ts: threadTs, status: "active" };
      await this.#try("sessions", "agents.sessions.setStatus", args);
      this.#leaveSession();
      this.#inSession = false;
    }
  }

  /** True for the last one to leave. */
  #leaveSession(): boolean {
    const { sessions } = this.#context;
    const left = (sessions.get(this.#key) ?? 1) - 1;
    if (left > 0) sessions.set(this.#key, left);
    else sessions.delete(this.#key);
    return left <= 0;
  }

  async #setStatus(status: string): Promise<void> {
    const { abilities, calls } = this.#context;
    if (!abilities.status || status === this.#shown) return;
    if (calls.delayMs("assistant.threads.setStatus") > statusDelayMsMax) return;
    const { channel, threadTs } = this.#target;
    const args = { channel_id: channel, thread_ts: threadTs, status };
    if ((await this.#try("status", "assistant.threads.setStatus", args)) !== undefined) this.#shown = status;
  }

  async #showControl(text: string, buttons: readonly ChatButton[]): Promise<void> {
    if (text === this.#controlText || buttons.length === 0) return;
    const { channel, threadTs } = this.#target;
    const wire = toWire({ text, buttons });
    const posted =
      this.#controlTs === undefined
        ? await this.#try(undefined, "chat.postMessage", { channel, thread_ts: threadTs, ...wire, ...quiet })
        : await this.#try(undefined, "chat.update", { channel, ts: this.#controlTs, ...wire });
    if (posted === undefined) return;
    this.#controlText = text;
    if (typeof posted.ts === "string") this.#controlTs = posted.ts;
  }

  async #try(ability: keyof Abilities | undefined, method: string, args: Record<string, unknown>) {
    const { calls, logger, abilities } = this.#context;
    try {
      return await calls.call(method, args);
    } catch (thrown) {
      const error = toPlatformError(thrown);
      logger.debug("a status could not be shown", { method, platformCode: error.platformCode });
      if (ability !== undefined && isUnsupported(error)) abilities[ability] = false;
      return undefined;
    }
  }
}

/** No link is unfolded and no name made a mention. */
export const quiet = { unfurl_links: false, unfurl_media: false, parse: "none", link_names: false } as const;
