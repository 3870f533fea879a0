/** What the Slack adapter's parts share. Types only. */
import type { EventClaims, Logger, Timer } from "../../core/ports.ts";
import type { ChatBot } from "../bot.ts";
import type { Keep } from "../keep.ts";
import type { SlackCalls } from "./calls.ts";
import type { People } from "./people.ts";
import type { ThreadMemory } from "./thread-memory.ts";

/** What this workspace's app can do; learned from Slack's refusals. */
export interface Abilities {
  /** chat.startStream and its companions. */
  stream: boolean;
  /** agents.sessions.*, with Slack's own Stop button. */
  sessions: boolean;
  /** assistant.threads.setStatus. */
  status: boolean;
  /** conversations.replies. */
  replies: boolean;
}

/** An answer being written, for Slack's own Stop button. */
export interface RunningAnswer {
  /** Id of the core's Stop button. */
  stopId: string;
  channel: string;
  threadTs: string;
}

export interface StopRequest {
  /** Milliseconds since the epoch. */
  at: number;
  apply: (answer: RunningAnswer) => void;
}

export interface SlackContext {
  bot: ChatBot;
  calls: SlackCalls;
  people: People;
  memory: ThreadMemory;
  claims: EventClaims;
  timer: Timer;
  logger: Logger;
  newId: () => string;
  botUserId: string;
  /** How one addresses the bot: "@snug". */
  mention: string;
  teamId: string;
  /** Users who count as administrators everywhere. */
  admins: readonly string[];
  abilities: Abilities;
  running: Set<RunningAnswer>;
  /** Small things that an answer does not wait for. */
  background: Set<Promise<void>>;
  /** Answers at work in a thread, by "channel thread": they share its session. */
  sessions: Map<string, number>;
  /** Slack's Stop button was pressed in a thread before its answer could be found, by "channel thread". */
  stops: Map<string, StopRequest>;
  /** Ids the core knows messages by, by "channel:ts" of Slack. */
  messageIds: Map<string, string>;
  /** The picture of the Home tab that was uploaded last. */
  homePicture: { bytes: Uint8Array; fileId: string } | undefined;
  /** Messages somebody opened the question form for, by "user channel ts", and questions behind answers. */
  keep: Keep;
  followThreads: boolean;
  /** Downloads a file of Slack with the bot's token. */
  download: (url: string, bytesMax: number, signal: AbortSignal) => Promise<Uint8Array>;
  /** Sends a file's bytes where Slack said. */
  upload: (url: string, bytes: Uint8Array) => Promise<void>;
}

export const messageKey = (channel: string, ts: string): string => `${channel}:${ts}`;
