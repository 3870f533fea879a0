/** A question as every platform hands it in. Types only. */
import type { UsageSource } from "../core/ports.ts";
import type { BotLocale } from "./locale/texts.ts";

export interface Asker {
  /** The platform's id. */
  id: string;
  name: string;
  roleIds: readonly string[];
  /** May stop anybody's answer and see everybody's usage. */
  isAdmin: boolean;
  /** May choose this channel's model and persona. */
  isManager: boolean;
}

export interface Whereabouts {
  source: UsageSource;
  /** Server or workspace; absent in direct messages. */
  serverId?: string;
  /** Channel, thread or direct conversation the message stands in: history and settings belong to it. */
  channelId: string;
  /** Channel above a thread; settings are looked up there too. */
  parentChannelId?: string;
  direct: boolean;
}

export interface QuestionFile {
  name: string;
  contentType?: string;
  /** As announced; the bytes are counted again while they come in. */
  sizeBytes: number;
  /** Fails with any error when the file cannot be had. */
  read(bytesMax: number, signal: AbortSignal): Promise<Uint8Array>;
}

/** An earlier message, as it stood in the chat. */
export interface HistoryMessage {
  id: string;
  author: { id: string; name: string };
  /** Written by this bot. */
  own: boolean;
  text: string;
  /** The question an own message shows above its answer. */
  question?: { text: string; author: { id: string; name: string } };
  /** Milliseconds since the epoch. */
  at: number;
  /** What it replies to. */
  repliesTo?: string;
}

export interface Question {
  /** Id of the message or command; the same id is answered once. */
  id: string;
  /** The message whose deletion stops the work; absent for commands, which cannot be deleted. */
  messageId?: string;
  asker: Asker;
  where: Whereabouts;
  locale: BotLocale;
  text: string;
  /** A model asked for by name. */
  model?: string;
  files: readonly QuestionFile[];
  /** What to repeat above the answer, where the platform does not show the question beside it. */
  quote?: string;
  /** Earlier messages, oldest first, without the question. Read once, after the first reply is on its way. */
  history(): Promise<readonly HistoryMessage[]>;
}
