/** Where answers go on Discord: the webhook of an interaction, a channel, or direct messages. */
import type { APIMessage } from "discord.js";
import type { ChatPlace, ChatPost, Clock, PostedMessage, Timer } from "../../core/ports.ts";
import { ChatPlatformError } from "../platform-error.ts";
import { messageFlags, paths } from "./api-values.ts";
import { cannotReplyCode } from "./error-reasons.ts";
import { discordPlatform, interactionTokenMs } from "./platform.ts";
import { toWire, type WireFile } from "./wire.ts";

export interface CallOptions {
  body?: unknown;
  files?: WireFile[];
  query?: URLSearchParams;
  /** False for webhooks, whose token stands in their path. */
  auth?: boolean;
}

type Call = (path: `/${string}`, options?: CallOptions) => Promise<unknown>;

/** Discord's REST interface: the library's on Node, `FetchRest` elsewhere. */
export interface DiscordRest {
  get: Call;
  post: Call;
  patch: Call;
  delete: Call;
}

/** What places share: the REST interface and who the bot is. */
export interface DiscordRoutes {
  rest: DiscordRest;
  /** The REST interface's own errors in the bots' words. */
  translate: (thrown: unknown) => ChatPlatformError;
  applicationId: string;
  clock: Clock;
  /** Unique within minutes; repeats of a send carry the same one. */
  newNonce: () => string;
  /**
   * Set where interactions are acknowledged by the answer to Discord's own request: Discord knows a reply only once it
   * has read that, so the first write may come too soon.
   */
  settling?: Timer;
}

async function call<Result>({ translate }: DiscordRoutes, request: Promise<unknown>): Promise<Result> {
  try {
    return (await request) as Result;
  } catch (thrown) {
    throw translate(thrown);
  }
}

/** How long a reply may be unknown to Discord after its interaction came, and between two looks. */
const settleMsMax = 10_000;
const settleStepMs = 250;

export interface InteractionPlaceOptions {
  token: string;
  /** When the interaction arrived, milliseconds since the epoch. */
  receivedAt: number;
  /** Only the caller sees what is written. */
  private: boolean;
  /** Whether a deferred reply waits to be filled; otherwise every post is a follow-up. */
  deferred: boolean;
  next: () => Promise<ChatPlace | undefined>;
}

/** The reply to a command or button: works without any permission in the channel, for 15 minutes. */
export class InteractionPlace implements ChatPlace {
  readonly platform = discordPlatform;
  readonly expiresAt: number;
  readonly #routes: DiscordRoutes;
  readonly #options: InteractionPlaceOptions;
  #originalOpen: boolean;

  constructor(routes: DiscordRoutes, options: InteractionPlaceOptions) {
    this.#routes = routes;
    this.#options = options;
    this.#originalOpen = options.deferred;
    this.expiresAt = options.receivedAt + interactionTokenMs;
  }

  successor(): Promise<ChatPlace | undefined> {
    return this.#options.next();
  }

  async post(post: ChatPost): Promise<PostedMessage> {
    const { rest, applicationId } = this.#routes;
    const { token } = this.#options;
    if (this.#originalOpen) {
      const path = paths.webhookMessage(applicationId, token, "@original");
      const message = await this.#settled(() => rest.patch(path, { ...toWire(post), auth: false }));
      this.#originalOpen = false;
      return this.#posted(message.id, "@original");
    }
    const flags = this.#options.private ? messageFlags.ephemeral : 0;
    const query = new URLSearchParams({ wait: "true" });
    const path = paths.webhook(applicationId, token);
    const message = await this.#settled(() => rest.post(path, { ...toWire(post, flags), query, auth: false }));
    return this.#posted(message.id, message.id);
  }

  /** Repeats a write that Discord does not know the reply for yet. */
  async #settled(write: () => Promise<unknown>): Promise<APIMessage> {
    const { settling } = this.#routes;
    for (;;) {
      try {
        return await call<APIMessage>(this.#routes, write());
      } catch (thrown) {
        if (settling === undefined || !(thrown instanceof ChatPlatformError)) throw thrown;
        const unknown = thrown.reason === "expired" || thrown.reason === "gone";
        if (!unknown || settling.now() - this.#options.receivedAt > settleMsMax) throw thrown;
        await settling.wait(settleStepMs);
      }
    }
  }

  /** The deferred reply shows "thinking" by itself. */
  async typing(): Promise<void> {}

  #posted(id: string, reference: string): PostedMessage {
    const { rest, applicationId } = this.#routes;
    const path = paths.webhookMessage(applicationId, this.#options.token, reference);
    return {
      id,
      edit: async (post) => void (await call(this.#routes, rest.patch(path, { ...toWire(post), auth: false }))),
      delete: async () => void (await call(this.#routes, rest.delete(path, { auth: false }))),
    };
  }
}

export interface ChannelPlaceOptions {
  channelId: string;
  /** Message the first post replies to. */
  repliesTo?: string;
  next?: () => Promise<ChatPlace | undefined>;
}

/** A channel, thread or direct conversation, written to as the bot itself. */
export class ChannelPlace implements ChatPlace {
  readonly platform = discordPlatform;
  readonly #routes: DiscordRoutes;
  readonly #options: ChannelPlaceOptions;
  /** Kept until a send worked, so that a repeated send cannot show twice. */
  #nonce: string;
  /** An earlier try may have arrived: Discord then gives back that message, with what it said. */
  #tried = false;
  /** Message the next post replies to. */
  #repliesTo: string | undefined;

  constructor(routes: DiscordRoutes, options: ChannelPlaceOptions) {
    this.#routes = routes;
    this.#options = options;
    this.#nonce = routes.newNonce();
    this.#repliesTo = options.repliesTo;
  }

  async successor(): Promise<ChatPlace | undefined> {
    return await this.#options.next?.();
  }

  async post(post: ChatPost): Promise<PostedMessage> {
    try {
      return await this.#send(post);
    } catch (thrown) {
      const mayNotReply = thrown instanceof ChatPlatformError && thrown.platformCode === cannotReplyCode;
      if (!mayNotReply || this.#repliesTo === undefined) throw thrown;
      this.#repliesTo = undefined;
      return await this.#send(post);
    }
  }

  async #send(post: ChatPost): Promise<PostedMessage> {
    const { channelId } = this.#options;
    const { body, files } = toWire(post);
    const repliesTo = this.#repliesTo;
    const reference =
      repliesTo === undefined ? {} : { message_reference: { message_id: repliesTo, fail_if_not_exists: false } };
    const request = this.#routes.rest.post(paths.channelMessages(channelId), {
      body: { ...body, ...reference, nonce: this.#nonce, enforce_nonce: true },
      ...(files === undefined ? {} : { files }),
    });
    const triedBefore = this.#tried;
    this.#tried = true;
    const message = await call<APIMessage>(this.#routes, request);
    this.#tried = false;
    this.#repliesTo = undefined;
    this.#nonce = this.#routes.newNonce();
    const posted = this.#posted(message.id);
    if (triedBefore) await posted.edit(post);
    return posted;
  }

  async typing(): Promise<void> {
    await this.#routes.rest.post(paths.channelTyping(this.#options.channelId)).catch(() => {});
  }

  #posted(id: string): PostedMessage {
    const { rest } = this.#routes;
    const path = paths.channelMessage(this.#options.channelId, id);
    return {
      id,
      edit: async (post) => void (await call(this.#routes, rest.patch(path, toWire(post)))),
      delete: async () => void (await call(this.#routes, rest.delete(path))),
    };
  }
}

/** The asker's direct messages, which may be closed: then the first post fails. */
export async function openDirectPlace(routes: DiscordRoutes, userId: string): Promise<ChatPlace> {
  const request = routes.rest.post(paths.userChannels, { body: { recipient_id: userId } });
  const channel = await call<{ id: string }>(routes, request);
  return new ChannelPlace(routes, { channelId: channel.id });
}
