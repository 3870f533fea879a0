/** Where Discord's interactions are taken in a process that lives on: the work goes on after the acknowledgement. */
import { createDiscordEndpoint } from "../bots/discord/endpoint.ts";
import { reactOnce } from "../bots/discord/http-interactions.ts";
import { MemoryKeep } from "../bots/keep.ts";
import { createInteractionContext, type InteractionParts } from "./discord-interactions.ts";
import type { DiscordSettings } from "./discord-settings.ts";

/** Path on the API. */
export const interactionsPath = "/discord/interactions";

/** Forms that may stand open at once. */
const targetsRememberedMax = 200;

/** @returns undefined without DISCORD_PUBLIC_KEY: then interactions come by the gateway */
export function openDiscordEndpoint(
  parts: Omit<InteractionParts, "settings" | "keep"> & { settings: DiscordSettings },
): ((request: Request) => Promise<Response>) | undefined {
  const { publicKey } = parts.settings;
  if (publicKey === undefined) return undefined;
  const context = createInteractionContext({ ...parts, keep: new MemoryKeep(targetsRememberedMax) });
  return createDiscordEndpoint({
    publicKey,
    clock: parts.timer,
    logger: parts.logger,
    take: async (interaction, receivedAt) => {
      const reaction = await reactOnce(interaction, receivedAt, context);
      // Running answers are the bot's own to end when the program does.
      void reaction?.later?.();
      return reaction?.response;
    },
  });
}
