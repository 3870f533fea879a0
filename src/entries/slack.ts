/** The Slack bot as a part of `snug start` or on its own: a client of an API, near or far. */
import type { ChatBot } from "../bots/bot.ts";
import { startSlack as connectSlack, type SlackBot } from "../bots/slack/start.ts";
import { type AppError, toAppError } from "../core/errors.ts";
import { closeMsMax } from "../core/limits.ts";
import type { EventClaims, Timer } from "../core/ports.ts";
import { prepareQueries } from "../fit/query.ts";
import { type ChatBotParts, createChatBot, newRequestId } from "./chat-bot.ts";
import { type Listener, listen } from "./listen.ts";
import type { SlackSettings } from "./slack-settings.ts";
import { systemTimer } from "./timer.ts";

export interface SlackRunOptions extends ChatBotParts {
  settings: SlackSettings;
  /** What was acted on already, over a restart. */
  claims: EventClaims;
  /** Tests own time. */
  timer?: Timer;
}

export interface SlackOnline extends SlackBot {
  /** Where Slack's requests are taken; present when they come in that way. */
  address?: string;
}

export interface SlackRun {
  /** Resolves once on line; with the reason when that will not happen without a change of the settings. */
  online: Promise<SlackOnline | AppError>;
  /** Running answers are finished within `drainMs` or marked as interrupted; then the connection ends. */
  stop(options: { drainMs: number }): Promise<void>;
}

/** Waits between tries while Slack cannot be reached: first, and the most it grows to by doubling. */
const connectRetryMsFirst = 2_000;
const connectRetryMsMax = 60_000;

/** Never throws: the API runs whether Slack does or not. */
export function runSlack(options: SlackRunOptions): SlackRun {
  const timer = options.timer ?? systemTimer;
  const stopping = new AbortController();
  const bot = createChatBot("slack", options, timer);
  const online = connect(bot, options, timer, stopping.signal);
  return {
    online,
    async stop({ drainMs }) {
      stopping.abort();
      const connected = await online;
      if ("stop" in connected) await connected.stop(drainMs);
    },
  };
}

/**
 * As `runSlack`, for a program that is nothing without Slack.
 *
 * @throws AppError when Slack refuses the tokens, or the address for its requests cannot be had
 */
export async function startSlack(options: SlackRunOptions): Promise<{ stop(): Promise<void> }> {
  const run = runSlack(options);
  const online = await run.online;
  if (!("stop" in online)) throw online;
  return { stop: () => run.stop({ drainMs: 0 }) };
}

async function connect(
  bot: ChatBot,
  options: SlackRunOptions,
  timer: Timer,
  signal: AbortSignal,
): Promise<SlackOnline | AppError> {
  const { logger } = options;
  for (let waitMs = connectRetryMsFirst; ; waitMs = Math.min(waitMs * 2, connectRetryMsMax)) {
    try {
      const online = await open(bot, options, timer);
      logger.info("Slack bot on line", { user: online.userName, workspace: online.teamName });
      prepareQueries();
      return online;
    } catch (thrown) {
      const error = toAppError(thrown);
      if (error.code !== "engine_unavailable") {
        logger.error("the Slack bot cannot start", { code: error.code, error: error.message });
        return error;
      }
      logger.warn("Slack could not be reached; trying again", { error: error.message, waitMs });
      await timer.wait(waitMs, signal);
      if (signal.aborted) return error;
    }
  }
}

async function open(bot: ChatBot, options: SlackRunOptions, timer: Timer): Promise<SlackOnline> {
  const { settings, claims, logger } = options;
  const { botToken, receive, admins, followThreads, apiUrl } = settings;
  const online = await connectSlack({
    botToken,
    receive,
    bot,
    claims,
    timer,
    logger,
    newId: newRequestId,
    admins,
    followThreads,
    ...(apiUrl === undefined ? {} : { apiUrl }),
  });
  if (receive.by === "socket" || online.fetch === undefined) return online;
  let listener: Listener;
  try {
    listener = await listen(online.fetch, receive);
  } catch (thrown) {
    await online.stop(0);
    throw thrown;
  }
  logger.info("taking Slack's requests", { address: `${listener.address}/slack/events` });
  return {
    ...online,
    address: listener.address,
    stop: async (waitMsMax) => {
      listener.refuse();
      await online.stop(waitMsMax);
      await listener.close(closeMsMax);
    },
  };
}
