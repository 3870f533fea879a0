/** Interactions as Discord sends them over HTTP: who asks, where, in which language, with which options. */
import * as z from "zod";
import { type CommandSpec, optionTexts } from "../commands.ts";
import { localeOfTag } from "../locale/locale.ts";
import type { BotLocale } from "../locale/texts.ts";
import type { Asker, QuestionFile, Whereabouts } from "../question.ts";
import { permissions, threadTypes } from "./api-values.ts";
import { download } from "./files.ts";

const userSchema = z.object({ id: z.string(), username: z.string(), global_name: z.string().nullish() });

const attachmentSchema = z.object({
  id: z.string(),
  filename: z.string(),
  size: z.number(),
  url: z.string(),
  content_type: z.string().nullish(),
});

export type RawAttachment = z.infer<typeof attachmentSchema>;

export const messageSchema = z.looseObject({
  id: z.string(),
  type: z.number().default(0),
  content: z.string().default(""),
  timestamp: z.string(),
  flags: z.number().default(0),
  author: userSchema.extend({ bot: z.boolean().optional() }),
  application_id: z.string().nullish(),
  mentions: z.array(userSchema).default([]),
  attachments: z.array(attachmentSchema).default([]),
  components: z
    .array(z.looseObject({ components: z.array(z.looseObject({ custom_id: z.string().optional() })) }))
    .catch([]),
  message_reference: z.object({ message_id: z.string().optional() }).nullish(),
  interaction_metadata: z.object({ user: userSchema }).nullish(),
});

export type RawMessage = z.infer<typeof messageSchema>;

const optionSchema = z.object({
  name: z.string(),
  value: z.union([z.string(), z.number(), z.boolean()]).optional(),
  focused: z.boolean().optional(),
});

export type RawOption = z.infer<typeof optionSchema>;

export const interactionSchema = z.object({
  id: z.string(),
  application_id: z.string(),
  type: z.number(),
  token: z.string(),
  channel_id: z.string().optional(),
  channel: z.object({ id: z.string(), type: z.number(), parent_id: z.string().nullish() }).optional(),
  guild_id: z.string().optional(),
  guild_locale: z.string().optional(),
  locale: z.string().optional(),
  member: z
    .object({
      user: userSchema,
      nick: z.string().nullish(),
      roles: z.array(z.string()),
      permissions: z.string().regex(/^\d+$/).optional(),
    })
    .optional(),
  user: userSchema.optional(),
  message: messageSchema.optional(),
  data: z
    .object({
      name: z.string().optional(),
      type: z.number().optional(),
      custom_id: z.string().optional(),
      target_id: z.string().optional(),
      options: z.array(optionSchema).optional(),
      components: z.unknown().optional(),
      resolved: z
        .object({
          attachments: z.record(z.string(), attachmentSchema).optional(),
          messages: z.record(z.string(), messageSchema).optional(),
        })
        .optional(),
    })
    .optional(),
});

export type RawInteraction = z.infer<typeof interactionSchema>;

export function localeOf({ locale, guild_locale }: RawInteraction): BotLocale {
  return localeOfTag(locale ?? guild_locale);
}

/** Undefined for interactions nobody started, which there are none of today. */
export function askerOf({ member, user: direct }: RawInteraction, admins: readonly string[]): Asker | undefined {
  const user = member?.user ?? direct;
  if (user === undefined) return undefined;
  const granted = BigInt(member?.permissions ?? "0");
  const isAdmin = admins.includes(user.id) || (granted & permissions.administrator) !== 0n;
  return {
    id: user.id,
    name: member?.nick ?? user.global_name ?? user.username,
    roleIds: member?.roles ?? [],
    isAdmin,
    isManager: isAdmin || (granted & permissions.manageChannels) !== 0n,
  };
}

export function whereaboutsOf({ channel_id, channel, guild_id }: RawInteraction): Whereabouts {
  const parentId = channel !== undefined && threadTypes.includes(channel.type) ? channel.parent_id : undefined;
  return {
    source: "discord",
    channelId: channel_id ?? channel?.id ?? "",
    direct: guild_id === undefined,
    ...(guild_id === undefined ? {} : { serverId: guild_id }),
    ...(parentId == null ? {} : { parentChannelId: parentId }),
  };
}

/** By option key. Files are read apart. */
export function optionsOf(
  { data }: RawInteraction,
  command: CommandSpec,
): Record<string, string | boolean | undefined> {
  const given = new Map((data?.options ?? []).map(({ name, value }) => [name, value]));
  return Object.fromEntries(
    command.options.map((option) => {
      const value = given.get(optionTexts(command, option, "en").name);
      if (value === undefined || option.kind === "file") return [option.key, undefined];
      return [option.key, option.kind === "flag" ? value === true : String(value)];
    }),
  );
}

export function filesOf({ data }: RawInteraction): QuestionFile[] {
  return Object.values(data?.resolved?.attachments ?? {}).map(fileOf);
}

export function fileOf({ filename, size, url, content_type }: RawAttachment): QuestionFile {
  return {
    name: filename,
    sizeBytes: size,
    ...(content_type == null ? {} : { contentType: content_type }),
    read: (bytesMax, signal) => download(url, bytesMax, signal),
  };
}

const fieldSchema = z.object({ custom_id: z.string(), value: z.string() });

/** The text typed into a form's field; "" when it was left empty. */
export function fieldOf({ data }: RawInteraction, customId: string): string {
  const found = (value: unknown): string | undefined => {
    if (Array.isArray(value)) return value.map(found).find((text) => text !== undefined);
    if (typeof value !== "object" || value === null) return undefined;
    const field = fieldSchema.safeParse(value);
    if (field.success && field.data.custom_id === customId) return field.data.value;
    const { component, components } = value as { component?: unknown; components?: unknown };
    return found(component) ?? found(components);
  };
  return (found(data?.components) ?? "").trim();
}
