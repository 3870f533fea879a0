/** The Discord bot as a part of `snug start` or on its own: a client of an API, near or far. */
import { setTimeout as delay } from "node:timers/promises";
import type { ChatBot } from "../bots/bot.ts";
import type { UsageReader } from "../bots/command-replies.ts";
import { availableCommands } from "../bots/commands.ts";
import type { RegistrationReport } from "../bots/discord/register.ts";
import { type DiscordBot, registerDiscord, setInteractionsEndpoint, startDiscord } from "../bots/discord/start.ts";
import { type AppError, toAppError } from "../core/errors.ts";
import type { BotStateStore, EventClaims, Logger, Timer } from "../core/ports.ts";
import { prepareQueries } from "../fit/query.ts";
import { capabilities, createChatBot, newRequestId } from "./chat-bot.ts";
import { openDiscordEndpoint } from "./discord-endpoint.ts";
import type { DiscordSettings } from "./discord-settings.ts";
import type { ApiAccess } from "./usage-over-http.ts";

export interface DiscordRunOptions {
  settings: DiscordSettings;
  /** The API that answers. Its key needs the scopes chat and usage, and admin for /stats to count everybody. */
  api: ApiAccess;
  state: BotStateStore;
  /** What was acted on already, over a restart; needed for interactions by HTTP. */
  claims?: EventClaims;
  logger: Logger;
  /** The ledger, where it is at hand; default: asked over the API. */
  usage?: UsageReader;
  /** Tests own time. */
  timer?: Timer;
}

export interface DiscordRun {
  /** Resolves once on line; with the reason when that will not happen without a change of the settings. */
  online: Promise<DiscordBot | AppError>;
  /** Answers Discord's HTTP requests; present where its public key is set. */
  fetch?: (request: Request) => Promise<Response>;
  /** Running answers are finished within `drainMs` or marked as interrupted; then the connection ends. */
  stop(options: { drainMs: number }): Promise<void>;
}

/** Waits between tries while Discord cannot be reached: first, and the most it grows to by doubling. */
const connectRetryMsFirst = 2_000;
const connectRetryMsMax = 60_000;

/** Never throws: the API runs whether Discord does or not. */
export function runDiscord(options: DiscordRunOptions): DiscordRun {
  const stopping = new AbortController();
  const { settings, claims, logger, timer = systemTimer } = options;
  const bot = createChatBot("discord", options, timer);
  const online = connect(bot, options, stopping.signal);
  const endpoint =
    claims === undefined
      ? undefined
      : openDiscordEndpoint({ settings, bot, claims, timer, logger, newId: newRequestId });
  return {
    online,
    ...(endpoint === undefined ? {} : { fetch: endpoint }),
    async stop({ drainMs }) {
      stopping.abort();
      const connected = await online;
      if ("stop" in connected) await connected.stop(drainMs);
    },
  };
}

/** @throws AppError when Discord refuses the token or cannot be reached */
export async function registerDiscordCommands(settings: DiscordSettings): Promise<RegistrationReport> {
  const { token, guildId, apiUrl } = settings;
  return await registerDiscord({
    token,
    commands: availableCommands(capabilities),
    ...(guildId === undefined ? {} : { guildId }),
    ...(apiUrl === undefined ? {} : { apiUrl }),
  });
}

/** @throws AppError when Discord refuses the token or the address, which must answer its ping before it is taken */
export async function setDiscordEndpoint(
  { token, apiUrl }: Pick<DiscordSettings, "token" | "apiUrl">,
  address: string | undefined,
): Promise<void> {
  await setInteractionsEndpoint({ token, address, ...(apiUrl === undefined ? {} : { apiUrl }) });
}

async function connect(
  bot: ChatBot,
  { settings, logger, timer = systemTimer }: DiscordRunOptions,
  signal: AbortSignal,
): Promise<DiscordBot | AppError> {
  const { token, guildId, register, admins, followThreads, answerIn, apiUrl } = settings;
  for (let waitMs = connectRetryMsFirst; ; waitMs = Math.min(waitMs * 2, connectRetryMsMax)) {
    try {
      const online = await startDiscord({
        token,
        bot,
        clock: timer,
        logger,
        newId: newRequestId,
        register,
        admins,
        followThreads,
        answerIn,
        ...(guildId === undefined ? {} : { guildId }),
        ...(apiUrl === undefined ? {} : { apiUrl }),
      });
      const { userName, inviteUrl, serverCount } = online;
      logger.info("Discord bot on line", { user: userName, servers: serverCount(), inviteUrl });
      prepareQueries();
      return online;
    } catch (thrown) {
      const error = toAppError(thrown);
      if (error.code !== "engine_unavailable") {
        logger.error("the Discord bot cannot start", { code: error.code, error: error.message });
        return error;
      }
      logger.warn("Discord could not be reached; trying again", { error: error.message, waitMs });
      await delay(waitMs, undefined, { signal }).catch(() => {});
      if (signal.aborted) return error;
    }
  }
}

/** The clock of the machine. Waits keep no process alive. */
export const systemTimer: Timer = {
  now: () => Date.now(),
  async wait(ms, signal) {
    await delay(Math.max(0, ms), undefined, { ref: false, ...(signal === undefined ? {} : { signal }) }).catch(
      () => {},
    );
  },
};
