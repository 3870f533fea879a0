/** Discord's interactions over HTTP for the same bot, on Node and on Workers alike. */
import type { ChatBot } from "../bots/bot.ts";
import { asPlatformError, FetchRest } from "../bots/discord/fetch-rest.ts";
import type { HttpDiscordContext } from "../bots/discord/http-interactions.ts";
import type { Keep } from "../bots/keep.ts";
import { tidyClaims } from "../bots/tidy-claims.ts";
import type { EventClaims, Logger, Timer } from "../core/ports.ts";
import type { DiscordSettings } from "./discord-settings.ts";

export interface InteractionParts {
  settings: Pick<DiscordSettings, "token" | "admins" | "apiUrl">;
  bot: ChatBot;
  claims: EventClaims;
  keep: Keep;
  timer: Timer;
  logger: Logger;
  newId: () => string;
}

export function createInteractionContext(parts: InteractionParts): HttpDiscordContext {
  const { settings, bot, claims, keep, timer, logger, newId } = parts;
  const { token, admins, apiUrl } = settings;
  return {
    // Workers want their fetch called as a plain function.
    rest: new FetchRest({
      token,
      fetch: (input, init) => fetch(input, init),
      timer,
      ...(apiUrl === undefined ? {} : { apiUrl }),
    }),
    translate: asPlatformError,
    clock: timer,
    settling: timer,
    newNonce: newId,
    bot,
    claims: tidyClaims(claims, timer, logger),
    admins,
    keep,
    logger,
    newId,
  };
}
