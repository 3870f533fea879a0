/** Posts as Discord bodies. Every body that can carry text passes here, so nobody is ever pinged and no link unfolds. */
import type {
  APIActionRowComponent,
  APIButtonComponentWithCustomId,
  RESTPatchAPIChannelMessageJSONBody,
} from "discord.js";
import type { ChatButton, ChatPost } from "../../core/ports.ts";
import { buttonStyles, componentTypes, messageFlags } from "./api-values.ts";
import { discordPlatform } from "./platform.ts";

/** A file as it goes over the wire. */
export interface WireFile {
  name: string;
  data: Uint8Array;
  contentType: string;
  key: string;
}

export interface WireMessage {
  body: RESTPatchAPIChannelMessageJSONBody & { flags: number };
  files?: WireFile[];
}

/** @param flags in addition to the suppressed link previews */
export function toWire(post: ChatPost, flags = 0): WireMessage {
  const files = post.files ?? [];
  const body: WireMessage["body"] = {
    content: post.text,
    allowed_mentions: { parse: [], replied_user: false },
    flags: messageFlags.suppressEmbeds | flags,
  };
  if (post.buttons !== undefined) body.components = buttonRows(post.buttons);
  if (files.length === 0) return { body };
  body.attachments = files.map((file, index) => ({
    id: String(index),
    filename: file.name,
    ...(file.description === undefined ? {} : { description: file.description.slice(0, 1024) }),
  }));
  return {
    body,
    files: files.map(({ name, bytes, contentType }, index) => ({
      name,
      data: bytes,
      contentType,
      key: `files[${index}]`,
    })),
  };
}

function buttonRows(buttons: readonly ChatButton[]): APIActionRowComponent<APIButtonComponentWithCustomId>[] {
  if (buttons.length === 0) return [];
  const components = buttons.slice(0, discordPlatform.limits.buttonsPerMessageMax).map(
    ({ id, label, emoji, tone }): APIButtonComponentWithCustomId => ({
      type: componentTypes.button,
      style: tone === "danger" ? buttonStyles.danger : buttonStyles.secondary,
      custom_id: id,
      ...(emoji === undefined ? {} : { emoji: { name: emoji } }),
      ...(tone === "quiet" && emoji !== undefined ? {} : { label: label.slice(0, 80) }),
    }),
  );
  return [{ type: componentTypes.actionRow, components }];
}
