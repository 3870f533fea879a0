/** Earlier messages of a thread or direct conversation, read over REST without the library. */
import * as z from "zod";
import { historyMessagesMax } from "../../core/limits.ts";
import type { Logger } from "../../core/ports.ts";
import { areAnswerButtons } from "../buttons.ts";
import type { HistoryMessage } from "../question.ts";
import { directTypes, messageTypes, paths, threadTypes } from "./api-values.ts";
import type { DiscordRoutes } from "./place.ts";
import { readDecorated } from "./platform.ts";
import { messageSchema, type RawInteraction, type RawMessage } from "./raw-interaction.ts";

/** Oldest first; what Discord does not let the bot read is left out: an answer without memory is better than none. */
export async function readRawHistory(
  { id, channel }: RawInteraction,
  routes: DiscordRoutes,
  logger: Logger,
): Promise<HistoryMessage[]> {
  if (channel === undefined || ![...threadTypes, ...directTypes].includes(channel.type)) return [];
  try {
    const query = new URLSearchParams({ limit: String(historyMessagesMax), before: id });
    const found = z.array(messageSchema).parse(await routes.rest.get(paths.channelMessages(channel.id), { query }));
    // By id, which counts within a millisecond too.
    found.sort((a, b) => (BigInt(a.id) < BigInt(b.id) ? -1 : 1));
    return found.flatMap((message) => toHistory(message, routes.applicationId));
  } catch (thrown) {
    logger.info("earlier messages could not be read", { channelId: channel.id, error: String(thrown) });
    return [];
  }
}

function toHistory(message: RawMessage, applicationId: string): HistoryMessage[] {
  const own = message.author.id === applicationId || message.application_id === applicationId;
  const repliesTo = message.message_reference?.message_id;
  const common = {
    id: message.id,
    author: { id: message.author.id, name: nameOf(message.author) },
    at: Date.parse(message.timestamp),
    ...(repliesTo === undefined ? {} : { repliesTo }),
  };
  if (own) return [{ ...common, own, ...ownText(message) }];
  const spoken = message.type === messageTypes.default || message.type === messageTypes.reply;
  if (!spoken || message.author.bot === true) return [];
  return [{ ...common, own, text: readableRawText(message, applicationId) }];
}

/** Notices and command replies are no part of a conversation; answers are known by their buttons. */
function ownText({ content, components, interaction_metadata }: RawMessage): Pick<HistoryMessage, "text" | "question"> {
  const caller = interaction_metadata?.user;
  const { question, text } = readDecorated(content, caller !== undefined);
  const buttonIds = components.flatMap((row) => row.components.flatMap(({ custom_id }) => custom_id ?? []));
  return {
    text: areAnswerButtons(buttonIds) ? text : "",
    ...(question === undefined || caller === undefined
      ? {}
      : { question: { text: question, author: { id: caller.id, name: nameOf(caller) } } }),
  };
}

function nameOf({ username, global_name }: RawMessage["author"]): string {
  return global_name ?? username;
}

/** A message as its readers see it: without the mention that called the bot, with names instead of ids. */
export function readableRawText({ content, mentions }: RawMessage, botId: string): string {
  return content
    .replaceAll(new RegExp(`<@!?${botId}>`, "g"), " ")
    .replace(/<@!?(\d+)>/g, (whole, id: string) => {
      const user = mentions.find((one) => one.id === id);
      return user === undefined ? whole : `@${nameOf(user)}`;
    })
    .replace(/<a?(:\w+:)\d+>/g, "$1")
    .trim();
}
