/** What the Discord adapter's parts share. Types only. */
import type { Message } from "discord.js";
import type { Logger } from "../../core/ports.ts";
import type { ChatBot } from "../bot.ts";
import type { LocaleMemory } from "./people.ts";
import type { DiscordRoutes } from "./place.ts";

export interface DiscordContext extends DiscordRoutes {
  bot: ChatBot;
  /** The bot's own user. */
  botId: string;
  /** Users who count as administrators everywhere. */
  admins: readonly string[];
  locales: LocaleMemory;
  logger: Logger;
  newId: () => string;
  /** Messages somebody opened the question form for, by "user message". */
  targets: Map<string, Message>;
  /** Threads the bot takes part in, and those it looked at and does not. */
  threads: Map<string, boolean>;
  /** Whether messages in such threads are questions without a mention. */
  followThreads: boolean;
  answerIn: "channel" | "thread";
}
