/** Slash commands: acknowledged before anything else, then a message that the answers stand under. */
import * as z from "zod";
import { AppError, toAppError } from "../../core/errors.ts";
import type { ChatPlace, ChatPost } from "../../core/ports.ts";
import { type CommandSpec, commandTexts } from "../commands.ts";
import { errorSentence, localeOfText, TEXTS } from "../locale/locale.ts";
import type { BotLocale } from "../locale/texts.ts";
import { ChatPlatformError } from "../platform-error.ts";
import type { Asker, Question, Whereabouts } from "../question.ts";
import { findSlashCommand, type ParsedOptions, parseCommandText } from "./command-text.ts";
import { messageKey, type SlackContext } from "./context.ts";
import { toPlatformError } from "./errors.ts";
import { sendFile } from "./files.ts";
import { millisecondsOf, threadKey } from "./messages.ts";
import { askerOf } from "./people.ts";
import { openDirectThread, postRoot, questionWire, ThreadPlace } from "./place.ts";
import { editPlatform } from "./platform.ts";
import { SLACK_TEXTS } from "./texts.ts";
import { toWire, withNames } from "./wire.ts";

export const slashSchema = z.object({
  command: z.string(),
  text: z.string().optional(),
  user_id: z.string(),
  channel_id: z.string(),
  channel_name: z.string().optional(),
  team_id: z.string().optional(),
  trigger_id: z.string(),
});

/** Replies through the command's own address: works where the bot is no member; five uses in half an hour. */
export type Respond = (reply: {
  response_type: "ephemeral" | "in_channel";
  replace_original: false;
  text: string;
  blocks: { type: string }[];
}) => Promise<unknown>;

interface SlashCall {
  command: CommandSpec;
  options: ParsedOptions;
  asker: Asker;
  where: Whereabouts;
  locale: BotLocale;
  respond: Respond;
  triggerId: string;
}

/** Called after the acknowledgement. */
export async function handleSlash(
  payload: z.infer<typeof slashSchema>,
  respond: Respond,
  context: SlackContext,
): Promise<void> {
  const [mine, person] = await Promise.all([
    context.claims.claim("slack", [`trigger ${payload.trigger_id}`], context.timer.now()),
    context.people.find(payload.user_id),
  ]);
  if (!mine) return;
  const command = findSlashCommand(payload.command);
  const locale = person.locale ?? localeOfText(payload.text ?? "") ?? "en";
  if (command === undefined) {
    const sentence = errorSentence(new AppError("invalid_request", "There is no such command."), locale);
    const text = TEXTS[locale].failure(`${payload.command}: ${sentence}`, context.newId());
    await whisper(respond, { text }, context);
    return;
  }
  const call: SlashCall = {
    command,
    options: parseCommandText(command, payload.text ?? ""),
    asker: askerOf(person, context.admins),
    where: {
      source: "slack",
      serverId: payload.team_id ?? context.teamId,
      channelId: payload.channel_id,
      direct: payload.channel_name === "directmessage" || payload.channel_id.startsWith("D"),
    },
    locale,
    respond,
    triggerId: payload.trigger_id,
  };
  try {
    if (command.key === "ask") await ask(call, context);
    else if (command.key === "compare") await compare(call, context);
    else await reply(call, context);
  } catch (thrown) {
    const requestId = context.newId();
    const { platformCode, message } = toPlatformError(thrown);
    context.logger.error("a Slack command failed", { requestId, command: command.key, platformCode, error: message });
    const sentence = errorSentence(toAppError(thrown), locale);
    await whisper(respond, { text: TEXTS[locale].failure(sentence, requestId) }, context);
  }
}

async function reply(call: SlashCall, context: SlackContext): Promise<void> {
  const { command, options, asker, where, locale, respond } = call;
  const post = await context.bot.command(
    { command, options, asker, where, locale, platform: editPlatform },
    context.mention,
  );
  if (command.key === "forget") context.memory.forget(where.channelId, asker.id);
  if (command.audience === "caller" || post.failed === true) await whisper(respond, post, context);
  else await say(post, call, context);
}

/** To the caller alone. */
export async function whisper(respond: Respond, post: ChatPost, context: SlackContext): Promise<void> {
  const text = await withNames(post.text, async (id) => `@${(await context.people.find(id)).name}`);
  try {
    await respond({ response_type: "ephemeral", replace_original: false, ...toWire({ text }) });
  } catch (thrown) {
    context.logger.warn("a reply to a command was refused", { error: String(thrown) });
  }
}

/** To everybody, with files in the thread under it. */
async function say(post: ChatPost, { where, respond }: SlashCall, context: SlackContext): Promise<void> {
  const channel = where.channelId;
  try {
    const threadTs = await postRoot(context, channel, toWire(post));
    for (const file of post.files ?? []) await sendFile(context, { channel, threadTs }, file);
  } catch (thrown) {
    const error = toPlatformError(thrown);
    context.logger.info("a reply goes the command's own way", { platformCode: error.platformCode });
    await respond({ response_type: "in_channel", replace_original: false, ...toWire(post) });
  }
}

async function ask(call: SlashCall, context: SlackContext): Promise<void> {
  const { asker, where, locale, respond, options } = call;
  const text = typeof options.prompt === "string" ? options.prompt : "";
  const texts = TEXTS[locale];
  const refusal = !context.bot.allows(asker, where)
    ? texts.notAllowedHere
    : text === ""
      ? texts.emptyQuestion
      : undefined;
  if (refusal !== undefined) {
    await whisper(respond, { text: texts.failure(refusal, context.newId()) }, context);
    return;
  }
  const opened = await openThread(call, text, context);
  const { channel, threadTs } = opened;
  const id = messageKey(channel, threadTs);
  const question: Question = {
    id: `command ${call.triggerId}`,
    messageId: id,
    asker,
    where: { ...where, channelId: channel, direct: where.direct || channel !== where.channelId },
    locale,
    text,
    files: [],
    ...(typeof options.model === "string" && options.model !== "" ? { model: options.model } : {}),
    history: async () => [],
  };
  await context.claims.claim("slack", [threadKey(channel, threadTs)], context.timer.now());
  const asked = context.bot.ask(question, opened.place);
  const author = { id: asker.id, name: asker.name };
  context.memory.add(channel, threadTs, { id, author, own: false, text, at: millisecondsOf(threadTs) });
  await asked;
}

/** Under what was asked, so that the channel sees one line. */
async function compare(call: SlashCall, context: SlackContext): Promise<void> {
  const { command, options, asker, where, locale, respond } = call;
  const refusal = context.bot.refusesCompare(call);
  if (refusal !== undefined) {
    await whisper(respond, { text: TEXTS[locale].failure(refusal, context.newId()) }, context);
    return;
  }
  const asked = Object.entries(options).flatMap(([, value]) => (typeof value === "string" ? [value] : []));
  const text = [commandTexts(command, locale).name, ...asked].join(" ");
  const { place } = await openThread(call, text, context);
  await context.bot.compare({ command, options, asker, where, locale }, place);
}

/** The question as a message in the channel; private ones, and those of foreign channels, in direct messages. */
async function openThread(
  { asker, where, options, respond, locale }: SlashCall,
  text: string,
  context: SlackContext,
): Promise<{ place: ChatPlace; channel: string; threadTs: string }> {
  if (options.private === true) return await openDirectThread(context, asker, text);
  const channel = where.channelId;
  try {
    const threadTs = await postRoot(context, channel, questionWire(asker.name, text));
    const place = new ThreadPlace(context, {
      channel,
      threadTs,
      userId: asker.id,
      teamId: where.serverId ?? context.teamId,
      questionId: messageKey(channel, threadTs),
      ...(where.direct ? {} : { next: async () => (await openDirectThread(context, asker, text)).place }),
    });
    return { place, channel, threadTs };
  } catch (thrown) {
    if (!(thrown instanceof ChatPlatformError) || thrown.reason !== "forbidden") throw thrown;
    const opened = await openDirectThread(context, asker, text);
    await whisper(respond, { text: SLACK_TEXTS[locale].answeredInDirect }, context);
    return opened;
  }
}
