/** Where answers go on Discord: the webhook of an interaction, a channel, or direct messages. */
import { type APIMessage, MessageFlags, type REST, Routes } from "discord.js";
import type { ChatPlace, ChatPost, Clock, PostedMessage } from "../../core/ports.ts";
import { toPlatformError } from "./errors.ts";
import { discordPlatform, interactionTokenMs } from "./platform.ts";
import { toWire } from "./wire.ts";

/** What places share: the client's REST queue and who the bot is. */
export interface DiscordRoutes {
  rest: REST;
  applicationId: string;
  clock: Clock;
  /** Unique within minutes; repeats of a send carry the same one. */
  newNonce: () => string;
}

async function call<Result>(request: Promise<unknown>): Promise<Result> {
  try {
    return (await request) as Result;
  } catch (thrown) {
    throw toPlatformError(thrown);
  }
}

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
      const route = Routes.webhookMessage(applicationId, token, "@original");
      const message = await call<APIMessage>(rest.patch(route, { ...toWire(post), auth: false }));
      this.#originalOpen = false;
      return this.#posted(message.id, "@original");
    }
    const flags = this.#options.private ? MessageFlags.Ephemeral : 0;
    const query = new URLSearchParams({ wait: "true" });
    const request = rest.post(Routes.webhook(applicationId, token), { ...toWire(post, flags), query, auth: false });
    const message = await call<APIMessage>(request);
    return this.#posted(message.id, message.id);
  }

  /** The deferred reply shows "thinking" by itself. */
  async typing(): Promise<void> {}

  #posted(id: string, reference: string): PostedMessage {
    const { rest, applicationId } = this.#routes;
    const route = Routes.webhookMessage(applicationId, this.#options.token, reference);
    return {
      id,
      edit: async (post) => void (await call(rest.patch(route, { ...toWire(post), auth: false }))),
      delete: async () => void (await call(rest.delete(route, { auth: false }))),
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
  #postCount = 0;

  constructor(routes: DiscordRoutes, options: ChannelPlaceOptions) {
    this.#routes = routes;
    this.#options = options;
    this.#nonce = routes.newNonce();
  }

  async successor(): Promise<ChatPlace | undefined> {
    return await this.#options.next?.();
  }

  async post(post: ChatPost): Promise<PostedMessage> {
    const { channelId, repliesTo } = this.#options;
    const { body, files } = toWire(post);
    const reference =
      repliesTo === undefined || this.#postCount > 0
        ? {}
        : { message_reference: { message_id: repliesTo, fail_if_not_exists: false } };
    const request = this.#routes.rest.post(Routes.channelMessages(channelId), {
      body: { ...body, ...reference, nonce: this.#nonce, enforce_nonce: true },
      ...(files === undefined ? {} : { files }),
    });
    const triedBefore = this.#tried;
    this.#tried = true;
    const message = await call<APIMessage>(request);
    this.#tried = false;
    this.#postCount++;
    this.#nonce = this.#routes.newNonce();
    const posted = this.#posted(message.id);
    if (triedBefore) await posted.edit(post);
    return posted;
  }

  async typing(): Promise<void> {
    await this.#routes.rest.post(Routes.channelTyping(this.#options.channelId)).catch(() => {});
  }

  #posted(id: string): PostedMessage {
    const { rest } = this.#routes;
    const route = Routes.channelMessage(this.#options.channelId, id);
    return {
      id,
      edit: async (post) => void (await call(rest.patch(route, toWire(post)))),
      delete: async () => void (await call(rest.delete(route))),
    };
  }
}

/** The asker's direct messages, which may be closed: then the first post fails. */
export async function openDirectPlace(routes: DiscordRoutes, userId: string): Promise<ChatPlace> {
  const request = routes.rest.post(Routes.userChannels(), { body: { recipient_id: userId } });
  const channel = await call<{ id: string }>(request);
  return new ChannelPlace(routes, { channelId: channel.id });
}
