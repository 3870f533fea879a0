/** Brings the bot online on Slack and keeps it there: by Socket Mode, or by HTTP requests that Slack sends. */
import { type Receiver, SocketModeReceiver } from "@slack/bolt";
import { AppError } from "../../core/errors.ts";
import { boltLogger, connectBolt } from "./bolt-app.ts";
import { boltCalls, translateBolt } from "./bolt-calls.ts";
import { toLoginError } from "./errors.ts";
import { createHandlers } from "./handlers.ts";
import { SlackHttpReceiver } from "./http-receiver.ts";
import { openWorkspace, type WorkspaceOptions } from "./workspace.ts";

export interface SlackOptions extends WorkspaceOptions {
  /** How Slack's events come in. */
  receive: { by: "socket"; appToken: string } | { by: "http"; signingSecret: string };
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
export const stopMsMax = 2_000;

/** @throws AppError invalid_configuration for a wrong token, engine_unavailable when Slack is out of reach */
export async function startSlack(options: SlackOptions): Promise<SlackBot> {
  const { timer, logger, bot, botToken, apiUrl } = options;
  const { context, identity } = await openWorkspace(boltCalls(botToken, apiUrl), options);
  const receiver = createReceiver(options);
  const handlers = createHandlers(context, (reason) => leave(reason, options));
  const { user_id: botUserId, bot_id: botId, team_id: teamId } = identity;
  connectBolt({
    receiver,
    authorize: async () => ({ botToken, botId, botUserId, teamId }),
    handlersOf: async () => handlers,
    apiUrl,
    logger,
  });
  await connect(receiver, options);
  return {
    userName: identity.user,
    teamName: identity.team,
    ...(receiver instanceof SlackHttpReceiver ? { fetch: (request: Request) => receiver.fetch(request) } : {}),
    stop: async (waitMsMax) => {
      await bot.drain(waitMsMax);
      await Promise.race([Promise.all(context.background), timer.wait(stopMsMax)]);
      await receiver.stop();
    },
  };
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
    throw toLoginError(translateBolt(thrown), "SLACK_APP_TOKEN");
  }
  // The library restarts itself by this method and lets a failure of it end the process.
  const { client } = receiver;
  const restart = client.start.bind(client);
  client.start = async () => {
    try {
      return await restart();
    } catch (thrown) {
      const error = toLoginError(translateBolt(thrown), "SLACK_APP_TOKEN");
      logger.error("Slack ended the connection for good", { error: error.message });
      onFatal?.(error);
      return { ok: false };
    }
  };
}

/** Whoever runs the program is told what to do. */
function leave(reason: string, { logger, onFatal }: SlackOptions): void {
  const error = new AppError(
    "invalid_configuration",
    `${reason} Install it again from the app's settings and put the new Bot User OAuth Token into SLACK_BOT_TOKEN.`,
  );
  logger.error("Slack let the bot go", { error: error.message });
  onFatal?.(error);
}
