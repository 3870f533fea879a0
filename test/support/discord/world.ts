/** What exists on the stand-in: servers, channels, people, messages. Plain data with the JSON Discord would send. */
import type { Clock } from "../../../src/core/ports.ts";
import type { JsonObject } from "./rules.ts";

export interface StandUser {
  id: string;
  name: string;
  /** Language of the person's client. */
  locale: string;
  bot: boolean;
  /** Permissions in servers, as Discord's bit set. */
  permissions: bigint;
  roleIds: string[];
  /** Refuses direct messages. */
  closedToDirectMessages: boolean;
}

export interface StandMessage {
  id: string;
  channelId: string;
  author: StandUser;
  content: string;
  components: JsonObject[];
  attachments: StandFile[];
  flags: number;
  at: number;
  editedAt?: number;
  repliesTo?: string;
  mentions: string[];
  /** The command or button it answers. */
  interaction?: { id: string; user: StandUser; name?: string };
  /** Contents it had, oldest first. */
  versions: { content: string; at: number }[];
  deleted: boolean;
}

export interface StandFile {
  id: string;
  name: string;
  contentType: string;
  bytes: Uint8Array;
  description?: string;
}

export interface StandChannel {
  id: string;
  /** 0 text, 1 direct, 11 public thread. */
  type: 0 | 1 | 11;
  guildId?: string;
  name: string;
  parentId?: string;
  /** Other side of a direct conversation. */
  recipient?: StandUser;
  messages: StandMessage[];
  /** What the bot may not do here. */
  denied: Set<"view" | "send" | "history">;
  archived: boolean;
}

export interface StandGuild {
  id: string;
  name: string;
  locale: string;
  channels: StandChannel[];
  /** False: known to the person who installed the app alone. */
  botIsMember: boolean;
}

/** Discord counts ids from 2015. */
const discordEpochMs = 1_420_070_400_000;

/** ADMINISTRATOR, and what ordinary members may. */
export const administrator = 1n << 3n;
export const manageChannels = 1n << 4n;
export const ordinary = 0x0000_0400n | 0x0000_0800n | 0x0001_0000n;

export class World {
  readonly #clock: Clock;
  #count = 0n;
  readonly guilds: StandGuild[] = [];
  readonly directChannels: StandChannel[] = [];
  readonly users: StandUser[] = [];
  readonly bot: StandUser;
  /** Everything ever uploaded, served to whoever knows the address. */
  readonly files: StandFile[] = [];
  /** Messages by channel and nonce. */
  readonly nonces = new Map<string, StandMessage>();

  constructor(clock: Clock) {
    this.#clock = clock;
    this.bot = this.addUser("Snug", { bot: true });
  }

  /** A new id that tells the time it was made. */
  newId(): string {
    const ms = BigInt(Math.floor(this.#clock.now()) - discordEpochMs);
    return String((ms << 22n) | (this.#count++ & 0x3fffffn));
  }

  addUser(name: string, more: Partial<StandUser> = {}): StandUser {
    const user: StandUser = {
      id: this.newId(),
      name,
      locale: "en-US",
      bot: false,
      permissions: ordinary,
      roleIds: [],
      closedToDirectMessages: false,
      ...more,
    };
    this.users.push(user);
    return user;
  }

  addGuild(name: string, more: Partial<StandGuild> = {}): StandGuild {
    const guild: StandGuild = { id: this.newId(), name, locale: "en-US", channels: [], botIsMember: true, ...more };
    this.guilds.push(guild);
    return guild;
  }

  addChannel(guild: StandGuild, name: string, more: Partial<StandChannel> = {}): StandChannel {
    const channel = { ...this.#emptyChannel(name), guildId: guild.id, ...more };
    guild.channels.push(channel);
    return channel;
  }

  directChannel(user: StandUser): StandChannel {
    const known = this.directChannels.find((channel) => channel.recipient?.id === user.id);
    if (known !== undefined) return known;
    const channel: StandChannel = { ...this.#emptyChannel(user.name), type: 1, recipient: user };
    this.directChannels.push(channel);
    return channel;
  }

  #emptyChannel(name: string): StandChannel {
    return { id: this.newId(), type: 0, name, messages: [], denied: new Set(), archived: false };
  }

  channel(id: string): StandChannel | undefined {
    return [...this.guilds.flatMap((guild) => guild.channels), ...this.directChannels].find((one) => one.id === id);
  }

  guildOf(channel: StandChannel): StandGuild | undefined {
    return this.guilds.find((guild) => guild.id === channel.guildId);
  }

  message(id: string): StandMessage | undefined {
    const channels = [...this.guilds.flatMap((guild) => guild.channels), ...this.directChannels];
    return channels.flatMap((channel) => channel.messages).find((message) => message.id === id);
  }
}

export function userJson(user: StandUser): JsonObject {
  return {
    id: user.id,
    username: user.name.toLowerCase(),
    global_name: user.name,
    discriminator: "0",
    avatar: null,
    bot: user.bot,
    flags: 0,
  };
}

export function memberJson(user: StandUser): JsonObject {
  return { roles: user.roleIds, joined_at: "2026-01-01T00:00:00.000000+00:00", deaf: false, mute: false, flags: 0 };
}

export function channelJson(channel: StandChannel): JsonObject {
  const common = { id: channel.id, type: channel.type, last_message_id: null };
  if (channel.type === 1) return { ...common, recipients: [userJson(channel.recipient!)] };
  return {
    ...common,
    guild_id: channel.guildId,
    name: channel.name,
    position: 0,
    permission_overwrites: [],
    nsfw: false,
    parent_id: channel.parentId ?? null,
    ...(channel.type === 11
      ? {
          owner_id: "0",
          message_count: channel.messages.length,
          member_count: 2,
          thread_metadata: {
            archived: channel.archived,
            auto_archive_duration: 1440,
            archive_timestamp: "2026-01-01T00:00:00.000000+00:00",
            locked: false,
          },
        }
      : {}),
  };
}

/** @param everyoneId role ids for guild creation */
export function guildJson(guild: StandGuild, bot: StandUser, everybody: readonly StandUser[]): JsonObject {
  const threads = guild.channels.filter((channel) => channel.type === 11);
  return {
    id: guild.id,
    name: guild.name,
    owner_id: "1",
    preferred_locale: guild.locale,
    unavailable: false,
    member_count: everybody.length,
    joined_at: "2026-01-01T00:00:00.000000+00:00",
    large: false,
    features: [],
    emojis: [],
    stickers: [],
    roles: [
      {
        id: guild.id,
        name: "@everyone",
        permissions: ordinary.toString(),
        position: 0,
        color: 0,
        colors: { primary_color: 0, secondary_color: null, tertiary_color: null },
        hoist: false,
        managed: false,
        mentionable: false,
        flags: 0,
      },
    ],
    channels: guild.channels.filter((channel) => channel.type === 0).map(channelJson),
    threads: threads.map(channelJson),
    members: [{ ...memberJson(bot), user: userJson(bot) }],
    presences: [],
    voice_states: [],
    stage_instances: [],
    guild_scheduled_events: [],
    soundboard_sounds: [],
    verification_level: 0,
    default_message_notifications: 0,
    explicit_content_filter: 0,
    mfa_level: 0,
    premium_tier: 0,
    nsfw_level: 0,
    system_channel_flags: 0,
    afk_timeout: 300,
  };
}

/**
 * @param hides whether the receiver may not read a message's content
 * @param nested a message inside another one names what it replies to, but does not hold it
 */
export function messageJson(
  message: StandMessage,
  world: World,
  cdn: string,
  hides: (message: StandMessage) => boolean = () => false,
  nested = false,
): JsonObject {
  const hideContent = hides(message);
  const channel = world.channel(message.channelId);
  const mentioned = message.mentions
    .map((id) => world.users.find((user) => user.id === id))
    .filter((one) => one !== undefined);
  const referencedJson = () => {
    const referenced = world.message(message.repliesTo ?? "");
    return referenced === undefined || referenced.deleted ? null : messageJson(referenced, world, cdn, hides, true);
  };
  return {
    id: message.id,
    type: message.interaction !== undefined ? 20 : message.repliesTo !== undefined ? 19 : 0,
    channel_id: message.channelId,
    author: userJson(message.author),
    content: hideContent ? "" : message.content,
    timestamp: new Date(message.at).toISOString(),
    edited_timestamp: message.editedAt === undefined ? null : new Date(message.editedAt).toISOString(),
    tts: false,
    mention_everyone: false,
    mentions: mentioned.map((user) => ({
      ...userJson(user),
      ...(channel?.guildId ? { member: memberJson(user) } : {}),
    })),
    mention_roles: [],
    attachments: hideContent ? [] : message.attachments.map((file) => fileJson(file, cdn)),
    embeds: [],
    components: hideContent ? [] : message.components,
    pinned: false,
    flags: message.flags,
    ...(message.repliesTo === undefined
      ? {}
      : {
          message_reference: {
            message_id: message.repliesTo,
            channel_id: message.channelId,
            guild_id: channel?.guildId,
          },
          ...(nested ? {} : { referenced_message: referencedJson() }),
        }),
    ...(message.interaction === undefined
      ? {}
      : {
          interaction_metadata: {
            id: message.interaction.id,
            type: 2,
            user: userJson(message.interaction.user),
            authorizing_integration_owners: {},
          },
        }),
  };
}

export function fileJson(file: StandFile, cdn: string): JsonObject {
  return {
    id: file.id,
    filename: file.name,
    size: file.bytes.length,
    content_type: file.contentType,
    url: `${cdn}/attachments/${file.id}/${encodeURIComponent(file.name)}`,
    proxy_url: `${cdn}/attachments/${file.id}/${encodeURIComponent(file.name)}`,
    ...(file.description === undefined ? {} : { description: file.description }),
  };
}
