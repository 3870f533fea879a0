/** The app's own tabs: Home with usage and models, Messages with questions to begin with. */
import * as z from "zod";
import type { ChatFile, ChatPost } from "../../core/ports.ts";
import { type CommandName, findCommand } from "../commands.ts";
import { shorten } from "../reply-render.ts";
import type { SlackContext } from "./context.ts";
import { toPlatformError } from "./errors.ts";
import { uploadFile } from "./files.ts";
import { askerOf, type Person } from "./people.ts";
import { editPlatform, sectionCharsMax } from "./platform.ts";
import { escapeMrkdwn, toMrkdwn } from "./text.ts";
import { SLACK_TEXTS } from "./texts.ts";
import { type Block, withNames } from "./wire.ts";

export const homeOpenedSchema = z.object({
  user: z.string(),
  channel: z.string().optional(),
  tab: z.string().optional(),
});

export const threadStartedSchema = z.object({
  assistant_thread: z.object({ user_id: z.string(), channel_id: z.string(), thread_ts: z.string() }),
});

export async function handleHomeOpened(
  { user, channel, tab }: z.infer<typeof homeOpenedSchema>,
  context: SlackContext,
): Promise<void> {
  const person = await context.people.find(user);
  if (tab === "messages") {
    if (channel !== undefined) await suggestPrompts(person, { channel_id: channel }, context);
    return;
  }
  const { blocks, picture } = await homeBlocks(person, context);
  await publish(user, blocks, context);
  if (picture !== undefined) await publishPicture(user, blocks, picture, context);
}

async function publish(user: string, blocks: Block[], context: SlackContext): Promise<void> {
  await quietly("views.publish", { user_id: user, view: { type: "home", blocks } }, context);
}

/** Slack looks at an uploaded picture for a moment before blocks may show it. */
const pictureTries = 4;
const pictureWaitMs = 2_000;

/** The tab stands already; without the picture it stays as it is. */
async function publishPicture(user: string, blocks: Block[], picture: ChatFile, context: SlackContext): Promise<void> {
  const { calls, timer, logger } = context;
  try {
    const fileId = await homePictureId(picture, context);
    const image = { type: "image", slack_file: { id: fileId }, alt_text: picture.description ?? picture.name };
    const view = { type: "home", blocks: [...blocks, image] };
    for (let tries = 1; ; tries++) {
      try {
        await calls.insist("views.publish", { user_id: user, view });
        return;
      } catch (thrown) {
        if (tries >= pictureTries || toPlatformError(thrown).platformCode !== "invalid_blocks") throw thrown;
        await timer.wait(pictureWaitMs);
      }
    }
  } catch (thrown) {
    const { platformCode, message } = toPlatformError(thrown);
    logger.info("the tab has no picture", { platformCode, error: message });
  }
}

/** A picture that did not change is not uploaded again, and one that did takes the old one's place. */
async function homePictureId(picture: ChatFile, context: SlackContext): Promise<string> {
  const known = context.homePicture;
  if (known !== undefined && sameBytes(known.bytes, picture.bytes)) return known.fileId;
  const fileId = await uploadFile(context, picture);
  context.homePicture = { bytes: picture.bytes, fileId };
  if (known !== undefined) await quietly("files.delete", { file: known.fileId }, context);
  return fileId;
}

function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, index) => byte === other[index]);
}

/** Where the app still has the older assistant view. */
export async function handleThreadStarted(
  { assistant_thread: { user_id, channel_id, thread_ts } }: z.infer<typeof threadStartedSchema>,
  context: SlackContext,
): Promise<void> {
  await suggestPrompts(await context.people.find(user_id), { channel_id, thread_ts }, context);
}

async function suggestPrompts(person: Person, where: Record<string, string>, context: SlackContext): Promise<void> {
  const { prompts, promptsTitle: title } = SLACK_TEXTS[person.locale ?? "en"];
  await quietly("assistant.threads.setSuggestedPrompts", { ...where, title, prompts }, context);
}

async function homeBlocks(
  person: Person,
  context: SlackContext,
): Promise<{ blocks: Block[]; picture: ChatFile | undefined }> {
  const texts = SLACK_TEXTS[person.locale ?? "en"];
  const asker = askerOf(person, context.admins);
  const parts: CommandName[] = ["usage", "models", ...(asker.isAdmin ? (["stats"] as const) : []), "help"];
  const replies = await Promise.all(parts.map((key) => replyTo(key, person, context)));
  const blocks = [
    { type: "header", text: { type: "plain_text", text: shorten(texts.homeTitle, 150) } },
    section(escapeMrkdwn(texts.homeAsk(context.mention))),
    ...replies.flatMap(({ text }) => [{ type: "divider" }, section(text)]),
  ];
  return { blocks, picture: replies.flatMap(({ files = [] }) => files)[0] };
}

async function replyTo(
  key: CommandName,
  person: Person,
  context: SlackContext,
): Promise<Pick<ChatPost, "text" | "files">> {
  const command = findCommand(key);
  if (command === undefined) return { text: "" };
  const { text, files = [] } = await context.bot.command(
    {
      command,
      options: {},
      asker: askerOf(person, context.admins),
      where: { source: "slack", serverId: context.teamId, channelId: person.id, direct: true },
      locale: person.locale ?? "en",
      platform: editPlatform,
      showsPictures: true,
    },
    context.mention,
  );
  return { text: toMrkdwn(await withNames(text, async (id) => `@${(await context.people.find(id)).name}`)), files };
}

function section(mrkdwn: string): Block {
  // Cut at a line, so that no escaped character is torn.
  const fitting =
    mrkdwn.length <= sectionCharsMax
      ? mrkdwn
      : mrkdwn.slice(0, mrkdwn.lastIndexOf("\n", sectionCharsMax - 2)).concat("\n…");
  return { type: "section", text: { type: "mrkdwn", text: fitting === "" ? "…" : fitting, verbatim: true } };
}

/** A tab that could not be drawn is drawn when it is opened the next time. */
async function quietly(method: string, args: Record<string, unknown>, { calls, logger }: SlackContext): Promise<void> {
  try {
    await calls.insist(method, args);
  } catch (thrown) {
    logger.warn("a tab of the app could not be drawn", { method, platformCode: toPlatformError(thrown).platformCode });
  }
}
