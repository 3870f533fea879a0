/** Bolt between a receiver and the handlers. */
import { App, type Authorize, LogLevel, type Receiver } from "@slack/bolt";
import type { Logger } from "../../core/ports.ts";
import { boltClientOptions } from "./bolt-calls.ts";
import { handledEvents, type SlackHandlers } from "./handlers.ts";
import { askAboutCallback } from "./platform.ts";
import type { Respond } from "./slash.ts";
import { actionPrefix } from "./wire.ts";

export interface BoltAppOptions {
  receiver: Receiver;
  /** Throws for a workspace that is not known; Bolt then acknowledges and does no more. */
  authorize: Authorize<boolean>;
  handlersOf: (teamId: string | undefined) => Promise<SlackHandlers | undefined>;
  apiUrl: string | undefined;
  logger: Logger;
}

/** Everything Slack sends goes from the receiver through Bolt to the handlers of the workspace it is for. */
export function connectBolt(options: BoltAppOptions): void {
  const { receiver, authorize, handlersOf, apiUrl, logger } = options;
  const app = new App({
    receiver,
    authorize,
    clientOptions: boltClientOptions(apiUrl),
    convoStore: false,
    logger: boltLogger(logger),
  });
  // Bolt acknowledges events by itself before it calls these.
  for (const name of handledEvents)
    app.event(name, async ({ event, body, context }) => {
      await (await handlersOf(context.teamId))?.event(event, body);
    });
  app.command(/^\//, async ({ ack, command, respond, context }) => {
    await ack();
    await (await handlersOf(context.teamId))?.command(command, respond as Respond);
  });
  app.action({ action_id: new RegExp(`^${actionPrefix}`) }, async ({ ack, body, respond, context }) => {
    await ack();
    await (await handlersOf(context.teamId))?.press(body, respond as Respond);
  });
  app.shortcut(askAboutCallback, async ({ ack, shortcut, context }) => {
    await ack();
    await (await handlersOf(context.teamId))?.shortcut(shortcut);
  });
  app.view(askAboutCallback, async ({ ack, body, context }) => {
    await ack();
    await (await handlersOf(context.teamId))?.submission(body);
  });
  app.error(async (error) => logger.error("Bolt could not hand on an event", { error: String(error) }));
}

/** Bolt's lines in our log; its debug lines would repeat every message. */
export function boltLogger(logger: Logger) {
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
