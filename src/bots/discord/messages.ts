/** Mentions, replies, direct messages and followed threads: which messages are questions, and where they are answered. */
import { ChannelType, type Message, MessageType, Routes } from "discord.js";
import type { ChatPlace } from "../../core/ports.ts";
import type { Question } from "../question.ts";
import { shorten } from "../reply-render.ts";
import type { DiscordContext } from "./context.ts";
import { questionFileOf } from "./files.ts";
import { readableText, readHistory } from "./history.ts";
import { askerOfMessage, whereaboutsOf } from "./people.ts";
import { ChannelPlace, openDirectPlace } from "./place.ts";

/** Rejects only for faults of ours; the caller logs them. */
export async function handleMessage(message: Message, context: DiscordContext): Promise<void> {
  if (!(await isQuestion(message, context))) return;
  const question = questionOf(message, context);
  // Where the bot may not speak it stays silent; commands get a private word instead.
  if (!context.bot.allows(question.asker, question.where)) return;
  if (message.channel.isThread()) rememberThread(message.channel.id, true, context);
  await context.bot.ask(question, await answerPlace(message, question, context));
}

async function isQuestion(message: Message, context: DiscordContext): Promise<boolean> {
  const spoken = message.type === MessageType.Default || message.type === MessageType.Reply;
  if (!spoken || message.author.bot || message.webhookId !== null) return false;
  if (message.channel.isDMBased()) return true;
  const { mentions } = message;
  if (mentions.users.has(context.botId) || mentions.repliedUser?.id === context.botId) return true;
  if (mentions.roles.some((role) => role.tags?.botId === context.botId)) return true;
  const forOthers = mentions.users.size > 0 || mentions.roles.size > 0 || message.reference !== null;
  return context.followThreads && !forOthers && (await isFollowedThread(message, context));
}

/** A thread is followed once the bot was called or has spoken in it. */
async function isFollowedThread({ id, channel, client }: Message, context: DiscordContext): Promise<boolean> {
  if (!channel.isThread()) return false;
  const known = context.threads.get(channel.id);
  if (known !== undefined) return known;
  // Not later messages: the mention that makes the thread followed may come while this one is looked up.
  const recent = await channel.messages.fetch({ limit: 50, before: id }).catch(() => undefined);
  if (recent === undefined) return false;
  const follows = recent.some(
    ({ author, mentions }) => author.id === client.user.id || mentions.users.has(client.user.id),
  );
  if (follows || !context.threads.has(channel.id)) rememberThread(channel.id, follows, context);
  return follows;
}

const threadsRememberedMax = 5000;

function rememberThread(id: string, follows: boolean, { threads }: DiscordContext): void {
  threads.delete(id);
  threads.set(id, follows);
  const oldest = threads.keys().next().value;
  if (threads.size > threadsRememberedMax && oldest !== undefined) threads.delete(oldest);
}

function questionOf(message: Message, context: DiscordContext): Question {
  const text = readableText(message, context.botId);
  const repliesTo = message.reference?.messageId;
  return {
    id: message.id,
    messageId: message.id,
    asker: askerOfMessage(message, context.admins),
    where: whereaboutsOf(message, message.channel),
    locale: context.locales.ofMessage(message.author.id, text, message.guild),
    text,
    files: [...message.attachments.values()].map(questionFileOf),
    history: () => readHistory(message.channel, message.id, repliesTo, context.botId, context.logger),
  };
}

async function answerPlace(message: Message, question: Question, context: DiscordContext): Promise<ChatPlace> {
  const next = message.channel.isDMBased() ? undefined : () => openDirectPlace(context, message.author.id);
  const inChannel = new ChannelPlace(context, {
    channelId: message.channelId,
    repliesTo: message.id,
    ...(next === undefined ? {} : { next }),
  });
  const mayHaveThread =
    message.channel.type === ChannelType.GuildText || message.channel.type === ChannelType.GuildAnnouncement;
  if (context.answerIn !== "thread" || !mayHaveThread) return inChannel;
  try {
    const name = shorten(question.text.replace(/\s+/g, " ").trim() || "…", 90);
    const thread = await context.rest.post(Routes.threads(message.channelId, message.id), { body: { name } });
    const { id } = thread as { id: string };
    rememberThread(id, true, context);
    return new ChannelPlace(context, { channelId: id, next: async () => inChannel });
  } catch (thrown) {
    context.logger.info("no thread could be opened; answering in the channel", { error: String(thrown) });
    return inChannel;
  }
}
