/** The Slack bot as a part of `snug start` or on its own: a client of an API, near or far. */
import { createSeal } from "../bots/seal.ts";
import { createInstallStates } from "../bots/slack/install-state.ts";
import { createInstallations } from "../bots/slack/installations.ts";
import { startSlack as connectSlack, type SlackBot } from "../bots/slack/start.ts";
import { startSlackForMany } from "../bots/slack/start-many.ts";
import { AppError, toAppError } from "../core/errors.ts";
import { closeMsMax } from "../core/limits.ts";
import type { BotStateStore, EventClaims, InstallationStore, Timer } from "../core/ports.ts";
import { prepareQueries } from "../fit/query.ts";
import { type ChatBotParts, createChatBot, newRequestId } from "./chat-bot.ts";
import { type Listener, listen } from "./listen.ts";
import type { SlackSettings } from "./slack-settings.ts";
import { systemTimer } from "./timer.ts";

export interface SlackRunOptions extends ChatBotParts {
  settings: SlackSettings;
  /** What was acted on already, over a restart. */
  claims: EventClaims;
  /** Workspaces that installed the bot; needed where the settings let them. */
  installations?: InstallationStore;
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
  const online = connect(options, timer, stopping.signal);
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

async function connect(options: SlackRunOptions, timer: Timer, signal: AbortSignal): Promise<SlackOnline | AppError> {
  const { logger } = options;
  for (let waitMs = connectRetryMsFirst; ; waitMs = Math.min(waitMs * 2, connectRetryMsMax)) {
    try {
      const online = await open(options, timer);
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

async function open(options: SlackRunOptions, timer: Timer): Promise<SlackOnline> {
  const { settings, logger } = options;
  const { receive } = settings;
  const online = await (settings.install === undefined ? openOne(options, timer) : openMany(options, timer));
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

function sharedOptions({ settings, claims, logger }: SlackRunOptions, timer: Timer) {
  const { admins, followThreads, apiUrl } = settings;
  const address = apiUrl === undefined ? {} : { apiUrl };
  return { claims, timer, logger, newId: newRequestId, admins, followThreads, ...address };
}

async function openOne(options: SlackRunOptions, timer: Timer): Promise<SlackBot> {
  const { botToken, receive } = options.settings;
  if (botToken === undefined) throw new AppError("invalid_configuration", "SLACK_BOT_TOKEN is not set.");
  const bot = createChatBot("slack", options, timer);
  return await connectSlack({ ...sharedOptions(options, timer), botToken, receive, bot });
}

async function openMany(options: SlackRunOptions, timer: Timer): Promise<SlackBot> {
  const { settings, installations, state } = options;
  const { install, receive, allow, deny } = settings;
  if (install === undefined || installations === undefined || receive.by === "socket") {
    throw new AppError("invalid_configuration", "Many workspaces need a data folder and SLACK_SIGNING_SECRET.");
  }
  const { clientId, clientSecret, tokenKey } = install;
  const seal = createSeal(tokenKey, { purpose: "snug slack tokens", setting: "SLACK_TOKEN_KEY" });
  return await startSlackForMany({
    ...sharedOptions(options, timer),
    ...{ clientId, clientSecret, signingSecret: receive.signingSecret },
    states: createInstallStates(tokenKey, timer),
    installations: createInstallations(installations, seal, timer),
    newBot: (teamId) => {
      const parts = { ...options, state: stateOf(teamId, state), ledgerPrefix: `${teamId}/` };
      return createChatBot("slack", parts, timer);
    },
    // Direct messages are no listed channel's matter, but a foreign workspace's stay out.
    admits: (teamId) =>
      !deny.servers.includes(teamId) && (allow.servers.length === 0 || allow.servers.includes(teamId)),
  });
}

/** Ids of channels are unique within their workspace alone. */
function stateOf(teamId: string, state: BotStateStore): BotStateStore {
  const channel = (id: string) => `${teamId}:${id}`;
  return {
    channelSettings: (source, id) => state.channelSettings(source, channel(id)),
    setChannelSettings: (source, id, change) => state.setChannelSettings(source, channel(id), change),
    recordFeedback: (feedback) => state.recordFeedback(feedback),
    feedbackTotals: (since) => state.feedbackTotals(since),
    forget: (source, id, userId, at) => state.forget(source, channel(id), userId, at),
    forgottenMarks: (source, id) => state.forgottenMarks(source, channel(id)),
  };
}
