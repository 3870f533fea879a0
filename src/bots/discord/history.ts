/** Earlier messages of a conversation: the thread, the direct conversation, or the chain of replies. */
import { type Collection, type Message, MessageType, type TextBasedChannel } from "discord.js";
import { historyMessagesMax, replyChainMax } from "../../core/limits.ts";
import type { Logger } from "../../core/ports.ts";
import { areAnswerButtons } from "../buttons.ts";
import type { HistoryMessage } from "../question.ts";
import { readDecorated } from "./platform.ts";

/**
 * Oldest first, without the question itself. What Discord does not let the bot read is left out: an answer without
 * memory is better than none.
 *
 * @param before id of the question
 * @param repliesTo message the question replies to
 */
export async function readHistory(
  channel: TextBasedChannel | null,
  before: string,
  repliesTo: string | undefined,
  botId: string,
  logger: Logger,
): Promise<HistoryMessage[]> {
  if (channel === null) return [];
  try {
    const messages =
      channel.isThread() || channel.isDMBased()
        ? await readRecent(channel, before)
        : await readChain(channel, repliesTo, logger);
    return messages.flatMap((message) => toHistory(message, botId));
  } catch (thrown) {
    logger.info("earlier messages could not be read", { channelId: channel.id, error: String(thrown) });
    return [];
  }
}

async function readRecent(channel: TextBasedChannel, before: string): Promise<Message[]> {
  const fetched = (await channel.messages.fetch({ limit: historyMessagesMax, before })) as Collection<string, Message>;
  // By id, which counts within a millisecond too.
  const messages = [...fetched.values()].sort((a, b) => (BigInt(a.id) < BigInt(b.id) ? -1 : 1));
  if (!channel.isThread() || messages.length >= historyMessagesMax) return messages;
  const starter = await channel.fetchStarterMessage().catch(() => null);
  return starter === null || starter.id === before ? messages : [starter, ...messages];
}

async function readChain(channel: TextBasedChannel, repliesTo: string | undefined, logger: Logger): Promise<Message[]> {
  const chain: Message[] = [];
  let next = repliesTo;
  while (next !== undefined && chain.length < replyChainMax) {
    const message: Message | undefined = await channel.messages.fetch(next).catch((thrown) => {
      logger.debug("a message of a reply chain could not be read", { messageId: next, error: String(thrown) });
      return undefined;
    });
    if (message === undefined) break;
    chain.unshift(message);
    next = message.reference?.messageId;
  }
  return chain;
}

function toHistory(message: Message, botId: string): HistoryMessage[] {
  const spoken = message.type === MessageType.Default || message.type === MessageType.Reply;
  const own = message.author.id === botId;
  if (own) return toOwnHistory(message);
  if (!spoken || message.author.bot) return [];
  const text = readableText(message, botId);
  const author = { id: message.author.id, name: message.member?.displayName ?? message.author.displayName };
  return [{ ...common(message), author, own: false, text }];
}

/** Notices and command replies are no part of a conversation; answers are known by their buttons. */
function toOwnHistory(message: Message): HistoryMessage[] {
  const author = { id: message.author.id, name: message.author.displayName };
  const caller = message.interactionMetadata?.user;
  const { question, text } = readDecorated(message.content, caller !== undefined);
  const buttonIds = message.components.flatMap((row) =>
    "components" in row
      ? row.components.flatMap((one) => ("customId" in one && one.customId ? [one.customId] : []))
      : [],
  );
  return [
    {
      ...common(message),
      author,
      own: true,
      text: areAnswerButtons(buttonIds) ? text : "",
      ...(question === undefined || caller === undefined
        ? {}
        : { question: { text: question, author: { id: caller.id, name: caller.displayName } } }),
    },
  ];
}

function common(message: Message): Pick<HistoryMessage, "id" | "at" | "repliesTo"> {
  const repliesTo = message.reference?.messageId;
  return { id: message.id, at: message.createdTimestamp, ...(repliesTo === undefined ? {} : { repliesTo }) };
}

/** A message as its readers see it: without the mention that called the bot, with names instead of ids. */
export function readableText(message: Message, botId: string): string {
  const botRoleIds = [...message.mentions.roles.values()]
    .filter((role) => role.tags?.botId === botId)
    .map(({ id }) => id);
  const called = new RegExp(`<@!?${botId}>${botRoleIds.map((id) => `|<@&${id}>`).join("")}`, "g");
  return message.content
    .replace(called, " ")
    .replace(/<@!?(\d+)>/g, (whole, id: string) => {
      const member = message.mentions.members?.get(id)?.displayName;
      const name = member ?? message.mentions.users.get(id)?.displayName;
      return name === undefined ? whole : `@${name}`;
    })
    .replace(/<#(\d+)>/g, (whole, id: string) => {
      const channel = message.client.channels.cache.get(id);
      return channel !== undefined && "name" in channel && channel.name !== null ? `#${channel.name}` : whole;
    })
    .replace(/<a?(:\w+:)\d+>/g, "$1")
    .trim();
}
