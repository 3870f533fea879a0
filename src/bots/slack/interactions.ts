/** Buttons, Slack's own Stop, the message shortcut and its form. */
import * as z from "zod";
import { questionCharsMax } from "../../core/limits.ts";
import { localeOfText, TEXTS } from "../locale/locale.ts";
import type { Question } from "../question.ts";
import { shorten } from "../reply-render.ts";
import { messageKey, type RunningAnswer, type SlackContext } from "./context.ts";
import { toPlatformError } from "./errors.ts";
import { questionFilesOf } from "./files.ts";
import { readHistory } from "./messages.ts";
import { askerOf } from "./people.ts";
import { openDirectThread, ThreadPlace } from "./place.ts";
import { askAboutCallback, fallbackTextCharsMax } from "./platform.ts";
import { type Respond, whisper } from "./slash.ts";
import { readableText } from "./text.ts";
import { SLACK_TEXTS } from "./texts.ts";
import { type Block, escapeWithin, toWire } from "./wire.ts";

export const pressSchema = z.object({
  trigger_id: z.string().optional(),
  user: z.object({ id: z.string() }),
  team: z.object({ id: z.string() }).nullish(),
  channel: z.object({ id: z.string() }),
  message: z.looseObject({
    ts: z.string(),
    thread_ts: z.string().optional(),
    text: z.string().optional(),
    blocks: z.array(z.looseObject({ type: z.string() })).optional(),
  }),
  actions: z.array(z.object({ value: z.string().optional(), action_ts: z.string().optional() })).min(1),
});

type Press = z.infer<typeof pressSchema>;

/** Called after the acknowledgement. */
export async function handlePress(payload: Press, respond: Respond, context: SlackContext): Promise<void> {
  const buttonId = payload.actions[0]?.value;
  if (buttonId === undefined) return;
  const { user, channel, message } = payload;
  const now = context.timer.now();
  const key = `press ${payload.trigger_id ?? `${message.ts} ${payload.actions[0]?.action_ts}`}`;
  const [mine, person] = await Promise.all([context.claims.claim("slack", [key], now), context.people.find(user.id)]);
  if (!mine) return;
  const teamId = payload.team?.id ?? context.teamId;
  const asker = askerOf(person, context.admins);
  const direct = channel.id.startsWith("D");
  const where = { source: "slack" as const, serverId: teamId, channelId: channel.id, direct };
  const { ack, later } = context.bot.press(buttonId, asker, where, person.locale ?? "en");
  if (ack.kind === "notice") await whisper(respond, { text: ack.text }, context);
  if (ack.kind === "clear_buttons") await clearButtons(payload, context);
  const threadTs = message.thread_ts ?? message.ts;
  await later?.(
    new ThreadPlace(context, { channel: channel.id, threadTs, userId: user.id, teamId, questionId: undefined }),
  );
}

/** The message stays as it is, but for what can be pressed. */
async function clearButtons(payload: Press, context: SlackContext): Promise<void> {
  const { channel, message } = payload;
  const blocks = blocksWithoutButtons(payload, context);
  const text = escapeWithin(message.text ?? "…", fallbackTextCharsMax);
  try {
    // Without a text it was a Stop button beside an answer that is over.
    if (blocks === undefined) await context.calls.insist("chat.delete", { channel: channel.id, ts: message.ts });
    else await context.calls.insist("chat.update", { channel: channel.id, ts: message.ts, text, blocks });
  } catch (thrown) {
    // The buttons then stay; pressing them again says that the answer is over.
    context.logger.info("buttons could not be removed", { platformCode: toPlatformError(thrown).platformCode });
  }
}

/** A streamed text need not come back among the blocks, so it is put there from memory. */
function blocksWithoutButtons({ channel, message }: Press, context: SlackContext): Block[] | undefined {
  const blocks = (message.blocks ?? []).filter(({ type }) => type !== "actions" && type !== "context_actions");
  if (blocks.some(({ type }) => textTypes.has(type))) return blocks;
  const id = context.messageIds.get(messageKey(channel.id, message.ts));
  const said = context.memory.messages(channel.id, message.thread_ts ?? message.ts).find((one) => one.id === id);
  if (said !== undefined && said.text !== "") return [...toWire({ text: said.text }).blocks, ...blocks];
  return blocks.length === 0 ? undefined : blocks;
}

const textTypes = new Set(["markdown", "rich_text", "section"]);

export const sessionStoppedSchema = z.object({
  channel: z.string(),
  thread_ts: z.string().optional(),
  user: z.string().optional(),
});

/** Slack's own Stop button. Slack has cut the streams already; whether the work ends is decided here. */
export async function handleSessionStopped(
  { channel, thread_ts: threadTs, user }: z.infer<typeof sessionStoppedSchema>,
  context: SlackContext,
): Promise<void> {
  if (user === undefined) return;
  const person = await context.people.find(user);
  const asker = askerOf(person, context.admins);
  const where = { source: "slack" as const, serverId: context.teamId, channelId: channel, direct: false };
  const apply = (answer: RunningAnswer) => {
    const { ack } = context.bot.press(answer.stopId, asker, where, person.locale ?? "en");
    if (ack.kind === "notice") void showNotice(ack.text, user, answer, context);
  };
  const here = ({ channel: other, threadTs: thread }: RunningAnswer) =>
    other === channel && (threadTs === undefined || thread === threadTs);
  const answers = [...context.running].filter(here);
  for (const answer of answers) apply(answer);
  if (answers.length > 0 || threadTs === undefined) return;
  context.stops.set(`${channel} ${threadTs}`, { at: context.timer.now(), apply });
  const oldest = context.stops.keys().next().value;
  if (context.stops.size > stopsRememberedMax && oldest !== undefined) context.stops.delete(oldest);
}

/** Answers are found within a second, so few presses wait for one. */
const stopsRememberedMax = 100;

/** Never rejects. */
async function showNotice(
  text: string,
  user: string,
  { channel, threadTs }: RunningAnswer,
  { calls, logger }: SlackContext,
): Promise<void> {
  try {
    await calls.insist("chat.postEphemeral", { channel, user, thread_ts: threadTs, ...toWire({ text }) });
  } catch (thrown) {
    logger.info("a notice could not be shown", { platformCode: toPlatformError(thrown).platformCode });
  }
}

const questionBlock = "question";

export const shortcutSchema = z.object({
  trigger_id: z.string(),
  user: z.object({ id: z.string() }),
  channel: z.object({ id: z.string() }),
  message: z.looseObject({
    ts: z.string(),
    thread_ts: z.string().optional(),
    text: z.string().optional(),
    files: z.array(z.unknown()).optional(),
  }),
});

/** A message somebody asks about, until the form comes back. */
const targetSchema = z.object({
  text: z.string(),
  channel: z.string(),
  threadTs: z.string(),
  files: z.array(z.unknown()),
});

type AskTarget = z.infer<typeof targetSchema>;

const targetKey = (metadata: string) => `target ${metadata}`;

/** Called after the acknowledgement; the form must open within three seconds. */
export async function openAskAbout(payload: z.infer<typeof shortcutSchema>, context: SlackContext): Promise<void> {
  const { user, channel, message } = payload;
  const person = await context.people.find(user.id);
  const locale = person.locale ?? "en";
  const texts = TEXTS[locale].askAbout;
  const key = `${user.id} ${channel.id} ${message.ts}`;
  const target: AskTarget = {
    text: readableText(message.text ?? "", context.botUserId, (id) => context.people.nameOf(id)),
    channel: channel.id,
    threadTs: message.thread_ts ?? message.ts,
    files: message.files ?? [],
  };
  await context.keep.put(targetKey(key), target);
  const plain = (text: string, charsMax: number) => ({ type: "plain_text", text: shorten(text, charsMax) });
  await context.calls.call("views.open", {
    trigger_id: payload.trigger_id,
    view: {
      type: "modal",
      callback_id: askAboutCallback,
      private_metadata: key,
      title: plain(texts.title, 24),
      submit: plain(SLACK_TEXTS[locale].send, 24),
      close: plain(SLACK_TEXTS[locale].cancel, 24),
      blocks: [
        {
          type: "input",
          block_id: questionBlock,
          optional: true,
          label: plain(texts.label, 2000),
          element: {
            type: "plain_text_input",
            action_id: questionBlock,
            multiline: true,
            max_length: 1000,
            placeholder: plain(texts.placeholder, 150),
          },
        },
      ],
    },
  });
}

export const submissionSchema = z.object({
  user: z.object({ id: z.string() }),
  team: z.object({ id: z.string() }).nullish(),
  view: z.object({
    id: z.string(),
    private_metadata: z.string(),
    state: z.object({
      values: z.record(z.string(), z.record(z.string(), z.object({ value: z.string().nullish() }))),
    }),
  }),
});

/** Called after the acknowledgement. */
export async function submitAskAbout(payload: z.infer<typeof submissionSchema>, context: SlackContext): Promise<void> {
  const { user, view } = payload;
  const [mine, person] = await Promise.all([
    context.claims.claim("slack", [`view ${view.id}`], context.timer.now()),
    context.people.find(user.id),
  ]);
  if (!mine) return;
  const kept = targetSchema.safeParse(await context.keep.get(targetKey(view.private_metadata)));
  const asked = (view.state.values[questionBlock]?.[questionBlock]?.value ?? "").trim();
  const locale = person.locale ?? localeOfText(asked) ?? "en";
  const texts = TEXTS[locale];
  const asker = askerOf(person, context.admins);
  if (!kept.success) {
    const { place } = await openDirectThread(context, asker, asked === "" ? texts.askAbout.question : asked);
    await place.post({ text: texts.failure(texts.answerForgotten, context.newId()) });
    return;
  }
  const teamId = payload.team?.id ?? context.teamId;
  const target = kept.data;
  const question = askAboutQuestion(target, asked, { viewId: view.id, teamId }, asker, locale, context);
  const { channel, threadTs } = target;
  const direct = async () => (await openDirectThread(context, asker, question.quote ?? question.text)).place;
  const next = question.where.direct ? {} : { next: direct };
  const questionId = messageKey(channel, threadTs);
  await context.bot.ask(
    question,
    new ThreadPlace(context, { channel, threadTs, userId: user.id, teamId, questionId, ...next }),
  );
}

function askAboutQuestion(
  target: AskTarget,
  asked: string,
  { viewId, teamId }: { viewId: string; teamId: string },
  asker: Question["asker"],
  locale: Question["locale"],
  context: SlackContext,
): Question {
  const texts = TEXTS[locale].askAbout;
  const question = asked === "" ? texts.question : asked;
  const { text: about, channel, threadTs, files } = target;
  const text = about === "" ? question : `${texts.about}:\n"""\n${about}\n"""\n\n${question}`;
  return {
    id: `view ${viewId}`,
    asker,
    where: { source: "slack", serverId: teamId, channelId: channel, direct: channel.startsWith("D") },
    locale,
    // A long message is a matter of the context's length, not of what may be typed.
    text: shorten(text, questionCharsMax),
    quote: question,
    files: questionFilesOf(files, context.download),
    history: () => readHistory(channel, threadTs, "", context),
  };
}
