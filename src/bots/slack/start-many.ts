/** The bot in every workspace that installed it: each with its own token, and everything it remembers to itself. */
import type { EventClaims } from "../../core/ports.ts";
import type { ChatBot } from "../bot.ts";
import { connectBolt } from "./bolt-app.ts";
import { boltCalls } from "./bolt-calls.ts";
import { createHandlers, type SlackHandlers } from "./handlers.ts";
import { SlackHttpReceiver } from "./http-receiver.ts";
import { createInstallPages, installPath } from "./install-pages.ts";
import type { InstallStates } from "./install-state.ts";
import type { Installation, Installations } from "./installations.ts";
import { type SlackBot, stopMsMax } from "./start.ts";
import { openWorkspace, type Workspace, type WorkspaceOptions } from "./workspace.ts";

export interface ManyWorkspacesOptions extends Omit<WorkspaceOptions, "botToken" | "bot" | "identity" | "keep"> {
  signingSecret: string;
  clientId: string;
  clientSecret: string;
  states: InstallStates;
  installations: Installations;
  /** A bot for one workspace alone: what it counts and remembers is nobody else's. */
  newBot: (teamId: string) => ChatBot;
  /** Administrators of the bot as "workspace:member", since member ids may repeat from workspace to workspace. */
  admins: readonly string[];
  /** Whether a workspace may use the bot. */
  admits: (teamId: string) => boolean;
}

interface Team extends Workspace {
  botToken: string;
  bot: ChatBot;
  handlers: SlackHandlers;
}

/** @throws AppError invalid_configuration when a stored token cannot be decrypted */
export async function startSlackForMany(options: ManyWorkspacesOptions): Promise<SlackBot> {
  const { installations, timer, logger, apiUrl } = options;
  const teams = new Teams(options);
  const count = await teams.check();
  if (count === 0) logger.info("no workspace has installed the bot yet", { installAt: installPath });
  const receiver = new SlackHttpReceiver(options);
  connectBolt({
    receiver,
    authorize: async ({ teamId }) => {
      const team = await teams.find(teamId);
      if (team === undefined) throw new Error(unknownTeam(teamId));
      const { bot_id: botId, user_id: botUserId } = team.identity;
      return { botToken: team.botToken, botId, botUserId, ...(teamId === undefined ? {} : { teamId }) };
    },
    handlersOf: async (teamId) => (await teams.find(teamId))?.handlers,
    apiUrl,
    logger,
  });
  const pages = createInstallPages({
    ...options,
    callsOf: (token) => boltCalls(token, apiUrl),
    onInstalled: async (installation) => {
      await installations.keep(installation);
      await teams.renew(installation);
    },
  });
  return {
    userName: "Snug",
    teamName: `${count} installed`,
    fetch: async (request) => (await pages(request)) ?? (await receiver.fetch(request)),
    stop: async (waitMsMax) => {
      const known = await teams.all();
      await Promise.all(known.map(({ bot }) => bot.drain(waitMsMax)));
      const background = known.flatMap(({ context }) => [...context.background]);
      await Promise.race([Promise.all(background), timer.wait(stopMsMax)]);
    },
  };
}

function unknownTeam(teamId: string | undefined): string {
  return `The workspace ${teamId ?? "?"} has not installed this bot, or may not use it. Open ${installPath} of the bot's address there.`;
}

/** Workspaces are opened when they are first heard from. */
class Teams {
  readonly #options: ManyWorkspacesOptions;
  readonly #open = new Map<string, Promise<Team | undefined>>();

  constructor(options: ManyWorkspacesOptions) {
    this.#options = options;
  }

  /**
   * Reads every installation once, so that a wrong key shows at the start.
   *
   * @returns how many there are
   */
  async check(): Promise<number> {
    const { installations } = this.#options;
    const ids = await installations.teamIds();
    for (const id of ids) await installations.find(id);
    return ids.length;
  }

  async find(teamId: string | undefined): Promise<Team | undefined> {
    if (teamId === undefined || !this.#options.admits(teamId)) return undefined;
    const known = this.#open.get(teamId);
    if (known !== undefined) return await known;
    const opening = this.#load(teamId);
    this.#open.set(teamId, opening);
    let team: Team | undefined;
    try {
      team = await opening;
      return team;
    } finally {
      if (team === undefined && this.#open.get(teamId) === opening) this.#open.delete(teamId);
    }
  }

  async all(): Promise<Team[]> {
    const teams = await Promise.allSettled(this.#open.values());
    return teams.flatMap((one) => (one.status === "fulfilled" && one.value !== undefined ? [one.value] : []));
  }

  /** After another installation of the same workspace: a token that changed no longer works. */
  async renew({ identity: { team_id: teamId }, botToken }: Installation): Promise<void> {
    const known = await this.#open.get(teamId)?.catch(() => undefined);
    if (known?.botToken === botToken) return;
    this.#open.delete(teamId);
    known?.bot.stopAll();
  }

  async #load(teamId: string): Promise<Team | undefined> {
    const { installations, newBot, claims, admins } = this.#options;
    const installation = await installations.find(teamId);
    if (installation === undefined) return undefined;
    const bot = newBot(teamId);
    const mark = `${teamId}:`;
    const workspace = await openWorkspace(boltCalls(installation.botToken, this.#options.apiUrl), {
      ...this.#options,
      ...installation,
      bot,
      claims: claimsOf(teamId, claims),
      admins: admins.flatMap((admin) => (admin.startsWith(mark) ? [admin.slice(mark.length)] : [])),
      managersAreAdmins: false,
    });
    const handlers = createHandlers(workspace.context, (reason) => this.#leave(teamId, reason));
    return { ...workspace, botToken: installation.botToken, bot, handlers };
  }

  async #leave(teamId: string, reason: string): Promise<void> {
    this.#open.delete(teamId);
    await this.#options.installations.remove(teamId);
    this.#options.logger.info("a workspace let the bot go; its token is deleted", { teamId, reason });
  }
}

/** Ids of channels and threads are unique within their workspace alone. */
function claimsOf(teamId: string, claims: EventClaims): EventClaims {
  return {
    claim: (source, keys, at) =>
      claims.claim(
        source,
        keys.map((key) => `${teamId} ${key}`),
        at,
      ),
    isClaimed: (source, key) => claims.isClaimed(source, `${teamId} ${key}`),
    forgetClaims: (before) => claims.forgetClaims(before),
  };
}
