/** The chat bots beside the API in one process: each has a key of its own that ends with the process. */

import type { KeyMaking } from "../api/auth.ts";
import { createEventClaims } from "../api/bot-claims.ts";
import { createBotStateStore } from "../api/bot-state.ts";
import { createInstallationStore } from "../api/slack-installations.ts";
import type { Database } from "../api/usage/database.ts";
import type { KeyStore, Logger, UsageStore } from "../core/ports.ts";
import { interactionsPath } from "./discord-endpoint.ts";
import { type DiscordSettings, parseDiscordSettings } from "./discord-settings.ts";
import { withProcessKey } from "./process-key.ts";
import { parseSlackSettings, type SlackSettings } from "./slack-settings.ts";

export interface BotSettings {
  /** undefined without a token. */
  discord: DiscordSettings | undefined;
  slack: SlackSettings | undefined;
}

/** @throws AppError invalid_configuration naming every wrong setting */
export function parseBotSettings(environment: Record<string, string | undefined>): BotSettings {
  return { discord: parseDiscordSettings(environment), slack: parseSlackSettings(environment) };
}

export interface BotSurroundings {
  /** Of the API, without /v1. */
  address: string;
  database: Database;
  usage: UsageStore;
  logger: Logger;
}

interface Running {
  stop(options: { drainMs: number }): Promise<void>;
  /** Takes a chat platform's own requests. */
  fetch?: (request: Request) => Promise<Response>;
}

/** Running bots, and the paths on the API where their platforms' requests are taken. */
export interface RunningBots {
  stop(options: { drainMs: number }): Promise<void>;
  endpoints: ReadonlyMap<string, (request: Request) => Promise<Response>>;
}

export interface PreparedBots {
  /** The key store with the bots' keys in front of it. */
  keyStore: KeyStore;
  start(surroundings: BotSurroundings): RunningBots;
}

/** The API must know the bots' keys before it opens, and the bots its address before they start: hence two steps. */
export async function prepareBots(settings: BotSettings, keyStore: KeyStore, making: KeyMaking): Promise<PreparedBots> {
  const starters: ((surroundings: BotSurroundings) => Running)[] = [];
  let store = keyStore;
  const { discord, slack } = settings;
  // Loaded only where they are used: the platforms' libraries are large.
  if (discord !== undefined) {
    const { runDiscord } = await import("./discord.ts");
    const made = await withProcessKey(store, "discord", discord.userLimits, making);
    store = made.keyStore;
    starters.push(({ address, database, usage, logger }) => {
      const api = { url: address, key: made.secret };
      const claims = createEventClaims(database);
      return runDiscord({ settings: discord, api, state: createBotStateStore(database), claims, usage, logger });
    });
  }
  if (slack !== undefined) {
    const { runSlack } = await import("./slack.ts");
    const made = await withProcessKey(store, "slack", slack.userLimits, making);
    store = made.keyStore;
    starters.push(({ address, database, usage, logger }) => {
      const api = { url: address, key: made.secret };
      const claims = createEventClaims(database);
      const installations = createInstallationStore(database);
      const state = createBotStateStore(database);
      return runSlack({ settings: slack, api, state, claims, installations, usage, logger });
    });
  }
  return {
    keyStore: store,
    start: (surroundings) => {
      const running = starters.map((start) => start(surroundings));
      const endpoints = running.flatMap(({ fetch }) =>
        fetch === undefined ? [] : [[interactionsPath, fetch] as const],
      );
      return {
        endpoints: new Map(endpoints),
        stop: async (options) => void (await Promise.all(running.map((bot) => bot.stop(options)))),
      };
    },
  };
}
