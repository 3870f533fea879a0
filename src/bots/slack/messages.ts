/** Mentions, direct messages and followed threads: which messages are questions, and where they are answered. */
import * as z from "zod";
import { historyMessagesMax } from "../../core/limits.ts";
import { localeOfText } from "../locale/locale.ts";
import type { Question } from "../question.ts";
import { messageKey, type SlackContext } from "./context.ts";
import { isUnsupported, toPlatformError } from "./errors.ts";
import { questionFilesOf } from "./files.ts";
import { askerOf, type Person } from "./people.ts";
import { openDirectThread, ThreadPlace } from "./place.ts";
import { mentionedUsers, readableText } from "./text.ts";

/** What is read of a message or mention; everything else in it is passed over. */
export const messageSchema = z.object({
  ts: z.string(),
  channel: z.string(),
  channel_type: z.string().optional(),
  subtype: z.string().optional(),
  user: z.string().optional(),
  /** The workspace of who wrote it, which in shared channels may be another one. */
  team: z.string().optional(),
  bot_id: z.string().optional(),
  text: z.string().optional(),
  thread_ts: z.string().optional(),
  parent_user_id: z.string().optional(),
  deleted_ts: z.string().optional(),
  files: z.array(z.unknown()).optional(),
});

export type SlackMessage = z.infer<typeof messageSchema>;

/** The envelope every event comes in. */
export const envelopeSchema = z.object({
  event_id: z.string().optional(),
  team_id: z.string().optional(),
  context_team_id: z.string().optional(),
});

/** @param mentioned the event says that the bot was called */
export async function handleMessage(
  message: SlackMessage,
  envelope: z.infer<typeof envelopeSchema>,
  mentioned: boolean,
  context: SlackContext,
): Promise<void> {
  if (message.subtype === "message_deleted") {
    messageDeleted(message, context);
    return;
  }
  if (!isSpoken(message, context)) return;
  const threadTs = message.thread_ts ?? message.ts;
  if (!(await isQuestion(message, mentioned, context))) {
    await overhear(message, context);
    return;
  }
  const team = envelope.context_team_id ?? envelope.team_id ?? context.teamId;
  const keys = [`message ${team} ${message.channel} ${message.ts}`];
  if (envelope.event_id !== undefined) keys.push(`event ${envelope.event_id}`);
  const [mine, person] = await Promise.all([
    context.claims.claim("slack", keys, context.timer.now()),
    context.people.find(message.user!),
  ]);
  if (!mine) return;
  const question = questionOf(message, team, person, context);
  // Where the bot may not speak it stays silent; commands get a private word instead.
  if (!context.bot.allows(question.asker, question.where)) return;
  await context.claims.claim("slack", [threadKey(message.channel, threadTs)], context.timer.now());
  const { id: userId } = person;
  const place = new ThreadPlace(context, {
    channel: message.channel,
    threadTs,
    userId,
    teamId: message.team ?? team,
    questionId: messageKey(message.channel, message.ts),
    ...(question.where.direct
      ? {}
      : { next: async () => (await openDirectThread(context, question.asker, question.text)).place }),
  });
  const asked = context.bot.ask(question, place);
  context.memory.add(message.channel, threadTs, historyMessage(message, person, question.text));
  await asked;
}

export const threadKey = (channel: string, threadTs: string): string => `thread ${channel} ${threadTs}`;

function messageDeleted({ channel, deleted_ts: ts }: SlackMessage, { bot, messageIds, memory }: SlackContext): void {
  if (ts === undefined) return;
  const key = messageKey(channel, ts);
  const id = messageIds.get(key) ?? key;
  bot.messageDeleted(id);
  memory.drop(id);
}

function isSpoken({ subtype, user, bot_id }: SlackMessage, { botUserId }: SlackContext): boolean {
  const spoken = subtype === undefined || subtype === "file_share" || subtype === "thread_broadcast";
  return spoken && user !== undefined && user !== botUserId && user !== "USLACKBOT" && bot_id === undefined;
}

async function isQuestion(message: SlackMessage, mentioned: boolean, context: SlackContext): Promise<boolean> {
  if (mentioned || message.channel_type === "im") return true;
  const called = mentionedUsers(message.text ?? "");
  if (called.includes(context.botUserId)) return true;
  if (!context.followThreads || message.thread_ts === undefined || called.length > 0) return false;
  return await isFollowed(message.channel, message.thread_ts, context);
}

async function isFollowed(channel: string, threadTs: string, { memory, claims }: SlackContext): Promise<boolean> {
  return memory.has(channel, threadTs) || (await claims.isClaimed("slack", threadKey(channel, threadTs)));
}

/** What people say to each other in a thread the bot takes part in belongs to the conversation. */
async function overhear(message: SlackMessage, context: SlackContext): Promise<void> {
  const { channel, thread_ts: threadTs } = message;
  if (threadTs === undefined || !context.memory.has(channel, threadTs)) return;
  const person = await context.people.find(message.user!);
  const text = readableText(message.text ?? "", context.botUserId, (id) => context.people.nameOf(id));
  context.memory.add(channel, threadTs, historyMessage(message, person, text));
}

function historyMessage({ channel, ts }: SlackMessage, { id, name }: Person, text: string) {
  return { id: messageKey(channel, ts), author: { id, name }, own: false, text, at: millisecondsOf(ts) };
}

/** Slack's ids are seconds with six decimals. */
export function millisecondsOf(ts: string): number {
  return Math.floor(Number(ts) * 1000);
}

function questionOf(message: SlackMessage, team: string, person: Person, context: SlackContext): Question {
  const { channel, ts, thread_ts: threadTs } = message;
  const text = readableText(message.text ?? "", context.botUserId, (id) => context.people.nameOf(id));
  const id = messageKey(channel, ts);
  return {
    id: `${team}:${id}`,
    messageId: id,
    asker: askerOf(person, context.admins),
    where: { source: "slack", serverId: team, channelId: channel, direct: message.channel_type === "im" },
    locale: person.locale ?? localeOfText(text) ?? "en",
    text,
    files: questionFilesOf(message.files ?? [], context.download),
    history: () => (threadTs === undefined ? Promise.resolve([]) : readHistory(channel, threadTs, id, context)),
  };
}

/** Asking Slack may take so long before an answer without earlier messages is the better one. */
const repliesDelayMsMax = 1_000;

/** Our own memory; of a thread that began without us, what Slack lets the bot read. */
export async function readHistory(channel: string, threadTs: string, before: string, context: SlackContext) {
  const { memory, abilities, calls } = context;
  const known = memory.messages(channel, threadTs);
  const index = known.findIndex((message) => message.id === before);
  // What came later is no part of it: a question can be answered again.
  const own = index < 0 ? known : known.slice(0, index);
  if (own.length > 0 || !abilities.replies || calls.delayMs("conversations.replies") > repliesDelayMsMax) return own;
  const read = await readReplies(channel, threadTs, context);
  const end = read.findIndex((message) => message.id === before);
  const earlier = end < 0 ? read : read.slice(0, end);
  memory.restore(channel, threadTs, earlier);
  return earlier;
}

async function readReplies(channel: string, threadTs: string, context: SlackContext) {
  const { calls, people, abilities, logger, botUserId } = context;
  try {
    const answer = await calls.call("conversations.replies", { channel, ts: threadTs, limit: historyMessagesMax });
    const messages = z.array(messageSchema.omit({ channel: true })).parse(answer.messages);
    const read = await Promise.all(
      messages.map(async (message) => {
        const own = message.user === botUserId;
        if (!own && !isSpoken({ ...message, channel }, context)) return [];
        const person = own ? { id: botUserId, name: context.mention.slice(1) } : await people.find(message.user!);
        const text = readableText(message.text ?? "", botUserId, (id) => people.nameOf(id));
        const { ts } = message;
        const author = { id: person.id, name: person.name };
        return [{ id: messageKey(channel, ts), author, own, text, at: millisecondsOf(ts) }];
      }),
    );
    return read.flat();
  } catch (thrown) {
    const error = toPlatformError(thrown);
    if (isUnsupported(error)) abilities.replies = false;
    logger.info("earlier messages could not be read", { platformCode: error.platformCode });
    return [];
  }
}
