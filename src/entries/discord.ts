/** The Discord bot as a part of `snug start` or on its own: a client of an API, near or far. */
import { randomInt, randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { ChatBot } from "../bots/bot.ts";
import { availableCommands, type Capability } from "../bots/commands.ts";
import type { RegistrationReport } from "../bots/discord/register.ts";
import { type DiscordBot, registerDiscord, startDiscord } from "../bots/discord/start.ts";
import { createFitsPort } from "../bots/fits-answer.ts";
import { type AppError, type Locale, toAppError } from "../core/errors.ts";
import { hubHeaderMsMax } from "../core/limits.ts";
import type { BotStateStore, ChatEngine, Logger, Timer, UsageStore } from "../core/ports.ts";
import { loadRemoteGguf } from "../fit/gguf-load.ts";
import { prepareQueries } from "../fit/query.ts";
import { createHttpEngine } from "../http/client.ts";
import type { DiscordSettings } from "./discord-settings.ts";
import { type ApiAccess, createUsageOverHttp } from "./usage-over-http.ts";

export interface DiscordRunOptions {
  settings: DiscordSettings;
  /** The API that answers. Its key needs the scopes chat and usage, and admin for /stats to count everybody. */
  api: ApiAccess;
  state: BotStateStore;
  logger: Logger;
  /** The ledger, where it is at hand; default: asked over the API. */
  usage?: Pick<UsageStore, "rows" | "totals">;
  /** Tests own time. */
  timer?: Timer;
}

export interface DiscordRun {
  /** Resolves once on line; with the reason when that will not happen without a change of the settings. */
  online: Promise<DiscordBot | AppError>;
  /** Running answers are finished within `drainMs` or marked as interrupted; then the connection ends. */
  stop(options: { drainMs: number }): Promise<void>;
}

/** What this program can do beyond answering; /compare is registered once it is here. */
const capabilities: readonly Capability[] = [];

/** Waits between tries while Discord cannot be reached: first, and the most it grows to by doubling. */
const connectRetryMsFirst = 2_000;
const connectRetryMsMax = 60_000;

/** Never throws: the API runs whether Discord does or not. */
export function runDiscord(options: DiscordRunOptions): DiscordRun {
  const stopping = new AbortController();
  const bot = createBot(options);
  const online = connect(bot, options, stopping.signal);
  return {
    online,
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

function createBot(options: DiscordRunOptions): ChatBot {
  const { settings, api, state, logger, timer = systemTimer } = options;
  const { allow, deny, pace, reasoning, model } = settings;
  return new ChatBot({
    engine: createApiEngine(api, timer),
    state,
    usage: options.usage ?? createUsageOverHttp(api),
    fits: createFitsPort({
      loadGguf: (location) =>
        loadRemoteGguf(location, {
          fetch: (url, init) => fetch(url, init),
          signal: AbortSignal.timeout(hubHeaderMsMax),
        }),
      drawPng: (render, wanted) => drawPng(render, wanted, logger),
    }),
    timer,
    logger,
    newId: newRequestId,
    newSeed: () => randomInt(2 ** 31),
    access: { allow, deny },
    pace,
    reasoning,
    capabilities,
    ...(model === undefined ? {} : { defaultModel: model }),
  });
}

/** The drawing library is large and native, so it is loaded with the first picture; an answer does without one. */
async function drawPng(
  render: (locale: Locale) => string | undefined,
  wanted: Locale,
  logger: Logger,
): Promise<Uint8Array | undefined> {
  try {
    const { pngLocale, renderPngAside } = await import("./png.ts");
    const svg = render(pngLocale(wanted));
    return svg === undefined ? undefined : await renderPngAside(svg);
  } catch (thrown) {
    logger.warn("a picture could not be drawn", { error: String(thrown) });
    return undefined;
  }
}

/** The API as an engine that says where its requests come from. */
function createApiEngine({ url, key }: ApiAccess, clock: Timer): ChatEngine {
  return createHttpEngine({
    baseUrl: url,
    token: key,
    clock,
    fetch: (input, init) => {
      const headers = new Headers(init?.headers);
      headers.set("x-snug-source", "discord");
      return fetch(input, { ...init, headers });
    },
  });
}

/** Ten characters: short enough to read out, rare enough to find in a log. */
function newRequestId(): string {
  return randomUUID().replaceAll("-", "").slice(0, 10);
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
