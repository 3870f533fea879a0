/** What the bot does with each kind of thing Slack sends, whoever received it. Acknowledged before any of this runs. */
import * as z from "zod";
import type { SlackContext } from "./context.ts";
import { toPlatformError } from "./errors.ts";
import { handleHomeOpened, handleThreadStarted, homeOpenedSchema, threadStartedSchema } from "./home.ts";
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
import { askAboutCallback } from "./platform.ts";
import { handleSlash, type Respond, slashSchema } from "./slash.ts";
import { actionPrefix } from "./wire.ts";

/** Every one of them logs its failures and never rejects. */
export interface SlackHandlers {
  /** @param envelope the whole body that the event came in */
  event(event: { type: string }, envelope: unknown): Promise<void>;
  command(payload: unknown, respond: Respond): Promise<void>;
  press(payload: unknown, respond: Respond): Promise<void>;
  shortcut(payload: unknown): Promise<void>;
  submission(payload: unknown): Promise<void>;
}

/** Names of the events above, as one subscribes to them. */
export const handledEvents = [
  "message",
  "app_mention",
  "agent_session_stopped",
  "app_home_opened",
  "assistant_thread_started",
  "app_uninstalled",
  "tokens_revoked",
] as const;

const revokedSchema = z.object({ tokens: z.object({ bot: z.array(z.unknown()).optional() }).optional() });

/** @param onLeft the workspace let the bot go: nothing can be written any more */
export function createHandlers(context: SlackContext, onLeft: (reason: string) => void | Promise<void>): SlackHandlers {
  const guarded = async (what: string, work: () => Promise<void>) => {
    try {
      await work();
    } catch (thrown) {
      const { reason, platformCode, message } = toPlatformError(thrown);
      const stack = thrown instanceof Error ? thrown.stack : undefined;
      const facts = { reason, platformCode, error: message, ...(stack === undefined ? {} : { stack }) };
      context.logger.error(`a Slack ${what} could not be handled`, facts);
    }
  };
  /** A press of yesterday that is sent again must not stop the answer of today. */
  const once = async (envelope: unknown, work: () => Promise<void>) => {
    const { event_id: id } = envelopeSchema.parse(envelope);
    if (id === undefined || (await context.claims.claim("slack", [`event ${id}`], context.timer.now()))) await work();
  };
  const left = async (reason: string) => {
    context.bot.stopAll();
    await onLeft(reason);
  };
  const events: Record<(typeof handledEvents)[number], (event: unknown, envelope: unknown) => Promise<void>> = {
    message: (event, envelope) =>
      handleMessage(messageSchema.parse(event), envelopeSchema.parse(envelope), false, context),
    app_mention: (event, envelope) =>
      handleMessage(messageSchema.parse(event), envelopeSchema.parse(envelope), true, context),
    agent_session_stopped: (event, envelope) =>
      once(envelope, () => handleSessionStopped(sessionStoppedSchema.parse(event), context)),
    app_home_opened: (event) => handleHomeOpened(homeOpenedSchema.parse(event), context),
    assistant_thread_started: (event) => handleThreadStarted(threadStartedSchema.parse(event), context),
    app_uninstalled: (_, envelope) => once(envelope, () => left("Somebody removed the app from the workspace.")),
    tokens_revoked: async (event, envelope) => {
      // A person's token is none of this bot's.
      const { tokens } = revokedSchema.parse(event);
      if ((tokens?.bot ?? []).length > 0) await once(envelope, () => left("Slack revoked the bot's token."));
    },
  };
  return {
    event: (event, envelope) => {
      const handle = Object.hasOwn(events, event.type) ? events[event.type as keyof typeof events] : undefined;
      return guarded(event.type, async () => await handle?.(event, envelope));
    },
    command: (payload, respond) => guarded("command", () => handleSlash(slashSchema.parse(payload), respond, context)),
    press: (payload, respond) => guarded("button", () => handlePress(pressSchema.parse(payload), respond, context)),
    shortcut: (payload) => guarded("shortcut", () => openAskAbout(shortcutSchema.parse(payload), context)),
    submission: (payload) => guarded("form", () => submitAskAbout(submissionSchema.parse(payload), context)),
  };
}

const interactiveSchema = z.looseObject({
  type: z.string(),
  callback_id: z.string().optional(),
  response_url: z.string().optional(),
  view: z.looseObject({ callback_id: z.string().optional() }).optional(),
  actions: z.array(z.looseObject({ action_id: z.string().optional() })).optional(),
});

/**
 * Hands a request's body to where it belongs, as Bolt does on Node.
 *
 * @param respondTo replies by the address that came with a command or button
 */
export async function dispatch(
  body: Record<string, unknown>,
  handlers: SlackHandlers,
  respondTo: (url: string) => Respond,
): Promise<void> {
  if (typeof body.command === "string") {
    await handlers.command(body, respondTo(String(body.response_url ?? "")));
    return;
  }
  const event = z.looseObject({ type: z.string() }).safeParse(body.event);
  if (body.type === "event_callback" && event.success) {
    await handlers.event(event.data, body);
    return;
  }
  const parsed = interactiveSchema.safeParse(body);
  if (!parsed.success) return;
  const { type, callback_id, view, actions, response_url = "" } = parsed.data;
  if (type === "block_actions" && actions?.[0]?.action_id?.startsWith(actionPrefix) === true) {
    await handlers.press(body, respondTo(response_url));
  } else if (type === "message_action" && callback_id === askAboutCallback) await handlers.shortcut(body);
  else if (type === "view_submission" && view?.callback_id === askAboutCallback) await handlers.submission(body);
}
