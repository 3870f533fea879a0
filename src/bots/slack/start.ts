/** Brings the bot online on Slack and keeps it there: by Socket Mode, or by HTTP requests that Slack sends. */
import { App, LogLevel, type Receiver, SocketModeReceiver, webApi } from "@slack/bolt";
import * as z from "zod";
import { AppError } from "../../core/errors.ts";
import type { EventClaims, Logger, Timer } from "../../core/ports.ts";
import type { ChatBot } from "../bot.ts";
import { SlackCalls } from "./calls.ts";
import type { SlackContext } from "./context.ts";
import { toLoginError, toPlatformError } from "./errors.ts";
import { readBody } from "./files.ts";
import { handleHomeOpened, handleThreadStarted, homeOpenedSchema, threadStartedSchema } from "./home.ts";
import { SlackHttpReceiver } from "./http-receiver.ts";
import {
  handlePress,
  handleSessionStopped,
  openAskAbout,
  pressSchema,
  sessionStoppedSchema,
  shortcutSchema,
  submissionSchema,
  submitAskAbout,
} from "./interactions.ts";
import { envelopeSchema, handleMessage, messageSchema } from "./messages.ts";
import { People } from "./people.ts";
import { askAboutCallback } from "./platform.ts";
import { handleSlash, type Respond, slashSchema } from "./slash.ts";
import { ThreadMemory } from "./thread-memory.ts";
import { tidyClaims } from "./tidy-claims.ts";
import { Tiers } from "./tiers.ts";
import { actionPrefix } from "./wire.ts";

export interface SlackOptions {
  botToken: string;
  /** How Slack's events come in. */
  receive: { by: "socket"; appToken: string } | { by: "http"; signingSecret: string };
  bot: ChatBot;
  claims: EventClaims;
  timer: Timer;
  logger: Logger;
  newId: () => string;
  /** Users who count as administrators everywhere. */
  admins: readonly string[];
  /** Whether messages in threads the bot takes part in are questions without a mention. */
  followThreads: boolean;
  /** Base of the Web API with a slash at the end; tests point it at a stand-in. */
  apiUrl?: string;
  /** Pause before a lost socket is opened again, milliseconds; default Slack's own 5 s. */
  reconnectMs?: number;
  /** Slack does not let the bot back in. */
  onFatal?: (error: AppError) => void;
}

export interface SlackBot {
  userName: string;
  teamName: string;
  /** Answers Slack's HTTP requests; present when they come in that way. */
  fetch?: (request: Request) => Promise<Response>;
  /** Ends running answers, then the connection. */
  stop: (waitMsMax: number) => Promise<void>;
}

/** Status lines that still stand at the end are cleared, unless Slack's limits take longer than this. */
const farewellMsMax = 2_000;

/** @throws AppError invalid_configuration for a wrong token, engine_unavailable when Slack is out of reach */
export async function startSlack(options: SlackOptions): Promise<SlackBot> {
  const { timer, logger, bot } = options;
  const clientOptions = {
    ...(options.apiUrl === undefined ? {} : { slackApiUrl: options.apiUrl }),
    // Answers have their own patience; a hidden repetition would only show them late.
    retryConfig: { retries: 0 },
    rejectRateLimitedCalls: true,
    logLevel: LogLevel.ERROR,
  };
  const client = new webApi.WebClient(options.botToken, clientOptions);
  const calls = new SlackCalls(client, { tiers: new Tiers(timer), timer, logger });
  const identity = await readIdentity(calls);
  const receiver = createReceiver(options);
  const app = new App({
    receiver,
    authorize: async () => ({
      botToken: options.botToken,
      botId: identity.bot_id,
      botUserId: identity.user_id,
      teamId: identity.team_id,
    }),
    clientOptions,
    convoStore: false,
    logger: boltLogger(logger),
  });
  const context: SlackContext = {
    bot,
    calls,
    people: new People(calls, timer, logger),
    memory: new ThreadMemory(),
    claims: tidyClaims(options.claims, timer, logger),
    timer,
    logger,
    newId: options.newId,
    botUserId: identity.user_id,
    mention: `@${identity.user}`,
    teamId: identity.team_id,
    admins: options.admins,
    abilities: { stream: true, sessions: true, status: true, replies: true },
    running: new Set(),
    background: new Set(),
    sessions: new Map(),
    stops: new Map(),
    messageIds: new Map(),
    homePicture: undefined,
    targets: new Map(),
    followThreads: options.followThreads,
    download: (url, bytesMax, signal) => download(url, options, bytesMax, signal),
    upload,
  };
  listen(app, context, options);
  await connect(receiver, options);
  return {
    userName: identity.user,
    teamName: identity.team,
    ...(receiver instanceof SlackHttpReceiver ? { fetch: (request: Request) => receiver.fetch(request) } : {}),
    stop: async (waitMsMax) => {
      await bot.drain(waitMsMax);
      await Promise.race([Promise.all(context.background), timer.wait(farewellMsMax)]);
      await receiver.stop();
    },
  };
}

const identitySchema = z.object({
  user: z.string().default("snug"),
  user_id: z.string(),
  bot_id: z.string(),
  team: z.string().default(""),
  team_id: z.string(),
});

async function readIdentity(calls: SlackCalls): Promise<z.infer<typeof identitySchema>> {
  try {
    return identitySchema.parse(await calls.insist("auth.test", {}));
  } catch (thrown) {
    if (thrown instanceof z.ZodError) {
      throw new AppError(
        "invalid_configuration",
        "SLACK_BOT_TOKEN is not a bot's token. Copy the Bot User OAuth Token (xoxb-…) from OAuth & Permissions.",
        { cause: thrown },
      );
    }
    throw toLoginError(thrown, "SLACK_BOT_TOKEN");
  }
}

function createReceiver({ receive, timer, logger, apiUrl, reconnectMs }: SlackOptions): Receiver {
  if (receive.by === "http") return new SlackHttpReceiver({ signingSecret: receive.signingSecret, timer, logger });
  return new SocketModeReceiver({
    appToken: receive.appToken,
    logger: boltLogger(logger),
    // The address is needed here too; the repetitions that this client makes by itself are wanted.
    installerOptions: { clientOptions: apiUrl === undefined ? {} : { slackApiUrl: apiUrl } },
    ...(reconnectMs === undefined ? {} : { clientPingTimeout: reconnectMs }),
  });
}

async function connect(receiver: Receiver, { onFatal, logger }: SlackOptions): Promise<void> {
  if (!(receiver instanceof SocketModeReceiver)) return;
  try {
    await receiver.start();
  } catch (thrown) {
    await receiver.stop().catch(() => {});
    throw toLoginError(thrown, "SLACK_APP_TOKEN");
  }
  // The library restarts itself by this method and lets a failure of it end the process.
  const { client } = receiver;
  const restart = client.start.bind(client);
  client.start = async () => {
    try {
      return await restart();
    } catch (thrown) {
      const error = toLoginError(thrown, "SLACK_APP_TOKEN");
      logger.error("Slack ended the connection for good", { error: error.message });
      onFatal?.(error);
      return { ok: false };
    }
  };
}

function listen(app: App, context: SlackContext, options: SlackOptions): void {
  const { logger } = context;
  const guarded = async (what: string, work: () => Promise<void>) => {
    try {
      await work();
    } catch (thrown) {
      const error = toPlatformError(thrown);
      const stack = thrown instanceof Error ? thrown.stack : undefined;
      const facts = { reason: error.reason, platformCode: error.platformCode, error: error.message };
      logger.error(`a Slack ${what} could not be handled`, { ...facts, ...(stack === undefined ? {} : { stack }) });
    }
  };
  // Bolt acknowledges events by itself before it calls these.
  app.event("message", ({ event, body }) =>
    guarded("message", () => handleMessage(messageSchema.parse(event), envelopeSchema.parse(body), false, context)),
  );
  app.event("app_mention", ({ event, body }) =>
    guarded("mention", () => handleMessage(messageSchema.parse(event), envelopeSchema.parse(body), true, context)),
  );
  app.event("agent_session_stopped", ({ event }) =>
    guarded("stop", () => handleSessionStopped(sessionStoppedSchema.parse(event), context)),
  );
  app.event("app_home_opened", ({ event }) =>
    guarded("tab", () => handleHomeOpened(homeOpenedSchema.parse(event), context)),
  );
  app.event("assistant_thread_started", ({ event }) =>
    guarded("thread", () => handleThreadStarted(threadStartedSchema.parse(event), context)),
  );
  app.event("app_uninstalled", async () => leave("Somebody removed the app from the workspace.", options));
  app.event("tokens_revoked", async ({ event }) => {
    // A person's token is none of this bot's.
    if ((event.tokens?.bot ?? []).length > 0) leave("Slack revoked the bot's token.", options);
  });
  app.command(/^\//, async ({ ack, command, respond }) => {
    await ack();
    await guarded("command", () => handleSlash(slashSchema.parse(command), respond as Respond, context));
  });
  app.action({ action_id: new RegExp(`^${actionPrefix}`) }, async ({ ack, body, respond }) => {
    await ack();
    await guarded("button", () => handlePress(pressSchema.parse(body), respond as Respond, context));
  });
  app.shortcut(askAboutCallback, async ({ ack, shortcut }) => {
    await ack();
    await guarded("shortcut", () => openAskAbout(shortcutSchema.parse(shortcut), context));
  });
  app.view(askAboutCallback, async ({ ack, body }) => {
    await ack();
    await guarded("form", () => submitAskAbout(submissionSchema.parse(body), context));
  });
  app.error(async (error) => logger.error("Bolt could not hand on an event", { error: String(error) }));
}

/** Nothing can be written any more: answers end, and whoever runs the program is told what to do. */
function leave(reason: string, { bot, logger, onFatal }: SlackOptions): void {
  const error = new AppError(
    "invalid_configuration",
    `${reason} Install it again from the app's settings and put the new Bot User OAuth Token into SLACK_BOT_TOKEN.`,
  );
  logger.error("Slack let the bot go", { error: error.message });
  bot.stopAll();
  onFatal?.(error);
}

/** Bolt's lines in our log; its debug lines would repeat every message. */
function boltLogger(logger: Logger) {
  const line = (parts: unknown[]) => parts.map(String).join(" ");
  return {
    debug: () => {},
    info: (...parts: unknown[]) => logger.debug("Bolt", { line: line(parts) }),
    warn: (...parts: unknown[]) => logger.warn("Bolt", { line: line(parts) }),
    error: (...parts: unknown[]) => logger.error("Bolt", { line: line(parts) }),
    setLevel: () => {},
    getLevel: () => LogLevel.INFO,
    setName: () => {},
  };
}

/** Slack's own hosts alone get the token. */
async function download(
  url: string,
  { botToken, apiUrl }: Pick<SlackOptions, "botToken" | "apiUrl">,
  bytesMax: number,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const { hostname, host } = new URL(url);
  const own = hostname === "slack.com" || hostname.endsWith(".slack.com");
  const trusted = own || (apiUrl !== undefined && host === new URL(apiUrl).host);
  const headers = new Headers(trusted ? { authorization: `Bearer ${botToken}` } : {});
  return await readBody(await fetch(url, { headers, signal }), bytesMax);
}

async function upload(url: string, bytes: Uint8Array): Promise<void> {
  const body = new Blob([bytes as Uint8Array<ArrayBuffer>]);
  const response = await fetch(url, { method: "POST", body });
  if (!response.ok) throw new Error(`The upload ended with status ${response.status}`);
}
