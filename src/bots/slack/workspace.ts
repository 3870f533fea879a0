/** The bot in one workspace: who it is there, and everything its parts share. */
import * as z from "zod";
import { AppError } from "../../core/errors.ts";
import type { EventClaims, Logger, Timer } from "../../core/ports.ts";
import type { ChatBot } from "../bot.ts";
import { type Keep, MemoryKeep } from "../keep.ts";
import { tidyClaims } from "../tidy-claims.ts";
import { type SendCall, SlackCalls } from "./calls.ts";
import type { SlackContext } from "./context.ts";
import { toLoginError } from "./errors.ts";
import { readBody } from "./files.ts";
import { People } from "./people.ts";
import { ThreadMemory } from "./thread-memory.ts";
import { Tiers } from "./tiers.ts";

export interface WorkspaceOptions {
  botToken: string;
  bot: ChatBot;
  claims: EventClaims;
  timer: Timer;
  logger: Logger;
  newId: () => string;
  /** Users who count as administrators everywhere. */
  admins: readonly string[];
  /** Whether administrators of the workspace administer the bot; default true. */
  managersAreAdmins?: boolean;
  /** Whether messages in threads the bot takes part in are questions without a mention. */
  followThreads: boolean;
  /** Base of the Web API with a slash at the end; tests point it at a stand-in. */
  apiUrl?: string;
  /** Targets of forms; default in memory. */
  keep?: Keep;
  /** Who the bot is in the workspace, where that was found out before. */
  identity?: SlackIdentity;
}

export interface Workspace {
  context: SlackContext;
  identity: SlackIdentity;
}

export const identitySchema = z.object({
  user: z.string().default("snug"),
  user_id: z.string(),
  bot_id: z.string(),
  team: z.string().default(""),
  team_id: z.string(),
});

export type SlackIdentity = z.infer<typeof identitySchema>;

/** Forms that may stand open at once. */
const targetsRememberedMax = 200;

/** @throws AppError invalid_configuration for a wrong token, engine_unavailable when Slack is out of reach */
export async function openWorkspace(send: SendCall, options: WorkspaceOptions): Promise<Workspace> {
  const { timer, logger, bot } = options;
  const calls = new SlackCalls(send, { tiers: new Tiers(timer), timer, logger });
  const identity = options.identity ?? (await readIdentity(calls));
  const context: SlackContext = {
    bot,
    calls,
    people: new People(calls, timer, logger, options.managersAreAdmins),
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
    keep: options.keep ?? new MemoryKeep(targetsRememberedMax),
    followThreads: options.followThreads,
    download: (url, bytesMax, signal) => download(url, options, bytesMax, signal),
    upload,
  };
  return { context, identity };
}

async function readIdentity(calls: SlackCalls): Promise<SlackIdentity> {
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

/** Slack's own hosts alone get the token. */
async function download(
  url: string,
  { botToken, apiUrl }: Pick<WorkspaceOptions, "botToken" | "apiUrl">,
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
