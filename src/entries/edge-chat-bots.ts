/** The bots a Durable Object holds: the same core as everywhere, a client of the API. */

import { createEventClaims } from "../api/bot-claims.ts";
import { createBotStateStore } from "../api/bot-state.ts";
import { createUsageStore } from "../api/usage/store.ts";
import { ChatBot } from "../bots/bot.ts";
import type { HttpDiscordContext } from "../bots/discord/http-interactions.ts";
import { createFitsPort } from "../bots/fits-answer.ts";
import type { Keep } from "../bots/keep.ts";
import { keepAnswer } from "../bots/kept-answers.ts";
import type { SlackContext } from "../bots/slack/context.ts";
import { fetchCalls } from "../bots/slack/fetch-calls.ts";
import { createHandlers, dispatch } from "../bots/slack/handlers.ts";
import type { Respond } from "../bots/slack/slash.ts";
import { identitySchema, openWorkspace, type SlackIdentity } from "../bots/slack/workspace.ts";
import { AppError } from "../core/errors.ts";
import { hubHeaderMsMax } from "../core/limits.ts";
import type { ChatEngine, Logger, UsageSource } from "../core/ports.ts";
import { loadRemoteGguf } from "../fit/gguf-load.ts";
import { createHttpEngine } from "../http/client.ts";
import type { ChatBotSettings } from "./chat-bot.ts";
import { createCompareOverHttp } from "./compare-over-http.ts";
import { createD1Database } from "./d1.ts";
import { createInteractionContext } from "./discord-interactions.ts";
import { parseDiscordSettings } from "./discord-settings.ts";
import type { EdgeBotsEnvironment } from "./edge-environment.ts";
import { parseSlackSettings } from "./slack-settings.ts";
import { systemTimer } from "./timer.ts";
import type { ApiAccess } from "./usage-over-http.ts";

export interface RoomParts {
  environment: EdgeBotsEnvironment;
  logger: Logger;
  keep: Keep;
}

export interface RoomDiscord {
  context: HttpDiscordContext;
}

export interface RoomSlack {
  workspace: SlackContext;
  identity: SlackIdentity;
  /** Never rejects. */
  handle: (body: Record<string, unknown>) => Promise<void>;
}

/** @throws AppError invalid_configuration naming every wrong setting */
export function createRoomDiscord(parts: RoomParts): RoomDiscord {
  const { environment, keep, logger } = parts;
  const settings = parseDiscordSettings(textsOf(environment));
  if (settings === undefined) throw missing("DISCORD_TOKEN");
  const bot = createRoomBot("discord", settings, parts);
  const claims = createEventClaims(createD1Database(environment.DB));
  const shared = { timer: systemTimer, logger, newId: newRequestId };
  return { context: createInteractionContext({ settings, bot, claims, keep, ...shared }) };
}

/**
 * @param parts `known` is who the bot was found to be before, which saves asking Slack with every awakening
 * @throws AppError invalid_configuration, or engine_unavailable when Slack is out of reach
 */
export async function createRoomSlack(parts: RoomParts & { known: unknown }): Promise<RoomSlack> {
  const { environment, keep, logger } = parts;
  const settings = parseSlackSettings(textsOf(environment));
  if (settings === undefined) throw missing("SLACK_BOT_TOKEN");
  const { botToken, admins, followThreads, apiUrl } = settings;
  // A Worker is one workspace's.
  if (botToken === undefined) throw missing("SLACK_BOT_TOKEN");
  const bot = createRoomBot("slack", settings, parts);
  const known = identitySchema.safeParse(parts.known);
  const send = fetchCalls({
    token: botToken,
    fetch: (input, init) => fetch(input, init),
    ...(apiUrl === undefined ? {} : { apiUrl }),
  });
  const { context, identity } = await openWorkspace(send, {
    ...{ botToken, bot, admins, followThreads, keep, logger },
    claims: createEventClaims(createD1Database(environment.DB)),
    timer: systemTimer,
    newId: newRequestId,
    ...(apiUrl === undefined ? {} : { apiUrl }),
    ...(known.success ? { identity: known.data } : {}),
  });
  const handlers = createHandlers(context, (reason) => logger.error("Slack let the bot go", { reason }));
  return { workspace: context, identity, handle: (body) => dispatch(body, handlers, respondTo) };
}

function createRoomBot(
  source: UsageSource,
  settings: ChatBotSettings,
  { environment, keep, logger }: RoomParts,
): ChatBot {
  const database = createD1Database(environment.DB);
  const { allow, deny, pace, reasoning, model } = settings;
  return new ChatBot({
    engine: createApiEngine(source, environment),
    state: createBotStateStore(database),
    usage: createUsageStore(database),
    fits: createFitsPort({
      loadGguf: (location) =>
        loadRemoteGguf(location, {
          fetch: (url, init) => fetch(url, init),
          signal: AbortSignal.timeout(hubHeaderMsMax),
        }),
    }),
    timer: systemTimer,
    logger,
    newId: newRequestId,
    newSeed: () => crypto.getRandomValues(new Uint32Array(1))[0]! >>> 1,
    access: { allow, deny },
    pace,
    reasoning,
    capabilities: ["compare"],
    compare: createCompareOverHttp(apiAccess(environment), toApi(source, environment)),
    onEnded: (record) => {
      keepAnswer(record, keep).catch((thrown) => logger.warn("a question was not kept", { error: String(thrown) }));
    },
    ...(model === undefined ? {} : { defaultModel: model }),
  });
}

/** The API as an engine. @throws AppError invalid_configuration */
function createApiEngine(source: UsageSource, environment: EdgeBotsEnvironment): ChatEngine {
  const { url, key } = apiAccess(environment);
  return createHttpEngine({ baseUrl: url, token: key, clock: systemTimer, fetch: toApi(source, environment) });
}

/** The binding looks at the path alone. */
function apiAccess({ SNUG_API_KEY: key }: EdgeBotsEnvironment): ApiAccess {
  if (!key) throw missing("SNUG_API_KEY");
  return { url: "http://snug.internal", key };
}

/** Requests over the binding say where they come from. */
function toApi(source: UsageSource, { API: api }: EdgeBotsEnvironment) {
  return (input: string, init?: RequestInit): Promise<Response> => {
    const headers = new Headers(init?.headers);
    headers.set("x-snug-source", source);
    return api.fetch(new Request(input, { ...init, headers }));
  };
}

/** Replies through the command's own address, which came with a signed request. */
function respondTo(url: string): Respond {
  return async (reply) => {
    const response = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(reply),
    });
    if (!response.ok) throw new Error(`Slack answered ${response.status}`);
  };
}

/** Variables and secrets alone: bindings are objects. */
function textsOf(environment: object): Record<string, string | undefined> {
  return Object.fromEntries(
    Object.entries(environment).filter((entry): entry is [string, string] => typeof entry[1] === "string"),
  );
}

function missing(name: string): AppError {
  return new AppError("invalid_configuration", `${name} is not set; see docs/edge-bots.md.`);
}

/** Ten characters: short enough to read out, rare enough to find in a log. */
function newRequestId(): string {
  return crypto.randomUUID().replaceAll("-", "").slice(0, 10);
}
