/** Who asks, where and in which language, from discord.js objects. */
import {
  type BaseInteraction,
  type Guild,
  type Message,
  PermissionFlagsBits,
  type PermissionsBitField,
  type TextBasedChannel,
} from "discord.js";
import { localeOfTag, localeOfText } from "../locale/locale.ts";
import type { BotLocale } from "../locale/texts.ts";
import type { Asker, Whereabouts } from "../question.ts";

function asker(
  id: string,
  name: string,
  roleIds: readonly string[],
  permissions: Readonly<PermissionsBitField> | null,
  admins: readonly string[],
): Asker {
  const isAdmin = admins.includes(id) || permissions?.has(PermissionFlagsBits.Administrator) === true;
  const isManager = isAdmin || permissions?.has(PermissionFlagsBits.ManageChannels) === true;
  return { id, name, roleIds, isAdmin, isManager };
}

export function askerOfInteraction(interaction: BaseInteraction, admins: readonly string[]): Asker {
  const { user, member, memberPermissions } = interaction;
  // In servers the bot is not a member of, Discord sends the member as plain data.
  const roles = member?.roles;
  const roleIds = roles === undefined ? [] : Array.isArray(roles) ? roles : [...roles.cache.keys()];
  return asker(user.id, user.displayName, roleIds, memberPermissions, admins);
}

export function askerOfMessage(message: Message, admins: readonly string[]): Asker {
  const { author, member } = message;
  const roleIds = member === null ? [] : [...member.roles.cache.keys()];
  return asker(author.id, member?.displayName ?? author.displayName, roleIds, member?.permissions ?? null, admins);
}

export function whereaboutsOf(
  place: { channelId: string; guildId: string | null },
  channel: TextBasedChannel | null,
): Whereabouts {
  const parentId = channel?.isThread() === true ? channel.parentId : null;
  return {
    source: "discord",
    channelId: place.channelId,
    direct: place.guildId === null,
    ...(place.guildId === null ? {} : { serverId: place.guildId }),
    ...(parentId === null ? {} : { parentChannelId: parentId }),
  };
}

/** Messages carry no language: the last command of the same person tells, else what they write, else the server. */
export class LocaleMemory {
  readonly #byUser = new Map<string, BotLocale>();
  readonly #usersMax = 10_000;

  ofInteraction(interaction: BaseInteraction): BotLocale {
    const locale = localeOfTag(interaction.locale ?? interaction.guildLocale ?? undefined);
    this.#byUser.delete(interaction.user.id);
    this.#byUser.set(interaction.user.id, locale);
    const oldest = this.#byUser.keys().next().value;
    if (this.#byUser.size > this.#usersMax && oldest !== undefined) this.#byUser.delete(oldest);
    return locale;
  }

  ofMessage(userId: string, text: string, guild: Guild | null): BotLocale {
    return this.#byUser.get(userId) ?? localeOfText(text) ?? localeOfTag(guild?.preferredLocale);
  }
}
