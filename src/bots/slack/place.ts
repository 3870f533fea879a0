/** Where answers go on Slack: a thread, and where the bot may not write, the asker's direct messages. */
import type { ChatPlace, ChatPlatform, ChatPost, PostedMessage } from "../../core/ports.ts";
import { AnswerMessage, type AnswerTarget } from "./answer-message.ts";
import { messageKey, type SlackContext } from "./context.ts";
import { toPlatformError } from "./errors.ts";
import { editPlatform, streamPlatform } from "./platform.ts";
import { quiet, StatusLine } from "./status-line.ts";
import { contextBlock, toWire, type WireMessage } from "./wire.ts";

export interface ThreadPlaceOptions extends Omit<AnswerTarget, "startedAt"> {
  next?: () => Promise<ChatPlace | undefined>;
}

export class ThreadPlace implements ChatPlace {
  readonly #context: SlackContext;
  readonly #options: ThreadPlaceOptions;
  readonly #target: AnswerTarget;
  readonly #status: StatusLine;

  constructor(context: SlackContext, options: ThreadPlaceOptions) {
    this.#context = context;
    this.#options = options;
    this.#target = { ...options, startedAt: context.timer.now() };
    this.#status = new StatusLine(context, options);
  }

  /** Pages are shorter where the workspace has no streams, which may show only while answering. */
  get platform(): ChatPlatform {
    return this.#context.abilities.stream ? streamPlatform : editPlatform;
  }

  async successor(): Promise<ChatPlace | undefined> {
    this.#status.end();
    return await this.#options.next?.();
  }

  async post(post: ChatPost): Promise<PostedMessage> {
    const message = new AnswerMessage(this.#context, this.#target, this.#status);
    await message.edit(post);
    return message;
  }

  async typing(): Promise<void> {
    await this.#status.begin();
  }
}

/** A message that begins a thread; what it says stands above the answers. */
export async function postRoot(context: SlackContext, channel: string, wire: WireMessage): Promise<string> {
  const { ts } = await context.calls.insist("chat.postMessage", { channel, ...wire, ...quiet });
  if (typeof ts !== "string") throw toPlatformError(new Error("Slack posted a message without an id"));
  return ts;
}

/** The question as it stands above its answers: small print with the name, then the words. */
export function questionWire(name: string, question: string): WireMessage {
  const { text, blocks } = toWire({ text: streamPlatform.markup.quote(question) });
  return { text, blocks: [contextBlock(`💬 ${name}`), ...blocks] };
}

/** Opens the conversation between the bot and one person. @throws ChatPlatformError */
export async function openDirect(context: SlackContext, userId: string): Promise<string> {
  const answer = await context.calls.insist("conversations.open", { users: userId });
  const channel = answer.channel as { id?: unknown } | undefined;
  if (typeof channel?.id !== "string") throw toPlatformError(new Error("Slack opened no conversation"));
  return channel.id;
}

/** A new thread in the asker's direct messages with the question on top. @throws ChatPlatformError */
export async function openDirectThread(
  context: SlackContext,
  asker: { id: string; name: string },
  question: string,
): Promise<{ place: ThreadPlace; channel: string; threadTs: string }> {
  const channel = await openDirect(context, asker.id);
  const threadTs = await postRoot(context, channel, questionWire(asker.name, question));
  const questionId = messageKey(channel, threadTs);
  const { teamId } = context;
  const place = new ThreadPlace(context, { channel, threadTs, userId: asker.id, teamId, questionId });
  return { place, channel, threadTs };
}
