/** The bot behind a chat platform, as a client of an API near or far. */
import { randomInt, randomUUID } from "node:crypto";
import type { AccessRules } from "../bots/access.ts";
import { ChatBot } from "../bots/bot.ts";
import type { UsageReader } from "../bots/command-replies.ts";
import type { Capability } from "../bots/commands.ts";
import { createFitsPort, type DrawPng } from "../bots/fits-answer.ts";
import type { PaceRules } from "../bots/pace.ts";
import { createWarningTeller } from "../bots/warnings.ts";
import type { Locale } from "../core/errors.ts";
import { hubHeaderMsMax } from "../core/limits.ts";
import type { BotStateStore, ChatEngine, Clock, EventClaims, Logger, Timer, UsageSource } from "../core/ports.ts";
import { loadRemoteGguf } from "../fit/gguf-load.ts";
import { createHttpEngine } from "../http/client.ts";
import { createCompareOverHttp } from "./compare-over-http.ts";
import { type ApiAccess, createUsageOverHttp } from "./usage-over-http.ts";
import { readWarnings } from "./warnings-over-http.ts";

/** What this program can do beyond answering. */
export const capabilities: readonly Capability[] = ["compare"];

/** Settings that every platform shares. */
export interface ChatBotSettings extends AccessRules {
  reasoning: "spoiler" | "hidden";
  /** Model of channels that chose none. */
  model: string | undefined;
  pace: PaceRules;
}

export interface ChatBotParts {
  settings: ChatBotSettings;
  /** The API that answers. Its key needs the scopes chat and usage, compare for /compare, and admin for /stats to count everybody. */
  api: ApiAccess;
  state: BotStateStore;
  logger: Logger;
  /** The ledger, where it is at hand; default: asked over the API. */
  usage?: UsageReader;
  /** What was told to whom, over a restart; without it nobody is warned of anything. */
  claims?: EventClaims;
  /** Before people's ids in the ledger. */
  ledgerPrefix?: string;
}

export function createChatBot(source: UsageSource, parts: ChatBotParts, timer: Timer): ChatBot {
  const { settings, api, state, logger, claims } = parts;
  const { allow, deny, pace, reasoning, model } = settings;
  const draw: DrawPng = (render, wanted) => drawPng(render, wanted, logger);
  return new ChatBot({
    engine: createApiEngine(source, api, timer),
    state,
    usage: parts.usage ?? createUsageOverHttp(api),
    fits: createFitsPort({
      loadGguf: (location) =>
        loadRemoteGguf(location, {
          fetch: (url, init) => fetch(url, init),
          signal: AbortSignal.timeout(hubHeaderMsMax),
        }),
      drawPng: draw,
    }),
    compare: createCompareOverHttp(api),
    drawPng: draw,
    timer,
    logger,
    newId: newRequestId,
    newSeed: () => randomInt(2 ** 31),
    access: { allow, deny },
    pace,
    reasoning,
    capabilities,
    ...(model === undefined ? {} : { defaultModel: model }),
    ...(parts.ledgerPrefix === undefined ? {} : { ledgerPrefix: parts.ledgerPrefix }),
    ...(claims === undefined
      ? {}
      : { warnings: createWarningTeller({ source, claims, clock: timer, logger, read: () => readWarnings(api) }) }),
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
function createApiEngine(source: UsageSource, { url, key }: ApiAccess, clock: Clock): ChatEngine {
  return createHttpEngine({
    baseUrl: url,
    token: key,
    clock,
    fetch: (input, init) => {
      const headers = new Headers(init?.headers);
      headers.set("x-snug-source", source);
      return fetch(input, { ...init, headers });
    },
  });
}

/** Ten characters: short enough to read out, rare enough to find in a log. */
export function newRequestId(): string {
  return randomUUID().replaceAll("-", "").slice(0, 10);
}
