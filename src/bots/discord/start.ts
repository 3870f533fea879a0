/** Brings the bot online on Discord and keeps it there. */
import {
  ApplicationFlags,
  Client,
  DiscordAPIError,
  Events,
  type GatewayDispatchPayload,
  GatewayIntentBits,
  Options,
  Partials,
  PermissionFlagsBits,
  REST,
  Routes,
} from "discord.js";
import { AppError } from "../../core/errors.ts";
import type { Clock, Logger } from "../../core/ports.ts";
import type { ChatBot } from "../bot.ts";
import type { CommandSpec } from "../commands.ts";
import type { DiscordContext } from "./context.ts";
import { toLoginError, toPlatformError } from "./errors.ts";
import { handleInteraction } from "./interactions.ts";
import { handleMessage } from "./messages.ts";
import { LocaleMemory } from "./people.ts";
import { type RegistrationReport, registerCommands } from "./register.ts";

export interface DiscordOptions {
  token: string;
  bot: ChatBot;
  clock: Clock;
  logger: Logger;
  newId: () => string;
  /** Base of Discord's REST interface, without version; tests point it at a stand-in. */
  apiUrl?: string;
  /** Registers the commands for one server instead of everywhere. */
  guildId?: string;
  /** False leaves the registered commands as they are. */
  register: boolean;
  /** Users who count as administrators everywhere. */
  admins: readonly string[];
  /** "auto" follows threads when the application has the Message Content intent. */
  followThreads: "auto" | "on" | "off";
  answerIn: "channel" | "thread";
  /** Discord closed the connection for good. */
  onFatal?: (error: AppError) => void;
}

export interface DiscordBot {
  userName: string;
  /** Adds the bot to a server with no more permissions than it uses. */
  inviteUrl: string;
  followThreads: boolean;
  registration: RegistrationReport | undefined;
  /** Servers the bot is in. */
  serverCount: () => number;
  /** Ends running answers, then the connection. */
  stop: (waitMsMax: number) => Promise<void>;
}

/** @throws AppError invalid_configuration for a wrong token or intent, engine_unavailable when Discord is out of reach */
export async function startDiscord(options: DiscordOptions): Promise<DiscordBot> {
  const rest = createRest(options);
  const application = await readApplication(rest);
  const followThreads =
    options.followThreads === "on" || (options.followThreads === "auto" && application.hasMessageContent);
  const registration = options.register
    ? await registerCommands(rest, application.id, options.bot.commands, options.guildId)
    : undefined;
  const client = createClient(options, followThreads);
  watchConnection(client, options);
  const context: DiscordContext = {
    rest: client.rest,
    translate: toPlatformError,
    applicationId: application.id,
    clock: options.clock,
    newNonce: options.newId,
    bot: options.bot,
    botId: application.botId,
    admins: options.admins,
    locales: new LocaleMemory(),
    logger: options.logger,
    newId: options.newId,
    targets: new Map(),
    threads: new Map(),
    followThreads,
    answerIn: options.answerIn,
  };
  listen(client, context);
  try {
    const ready = new Promise<void>((resolve) => client.once(Events.ClientReady, () => resolve()));
    await client.login(options.token);
    await ready;
  } catch (thrown) {
    await client.destroy();
    throw toLoginError(thrown);
  }
  return {
    userName: client.user?.displayName ?? application.id,
    inviteUrl: inviteUrl(application.id, options.answerIn),
    followThreads,
    registration,
    serverCount: () => client.guilds.cache.size,
    stop: async (waitMsMax) => {
      await options.bot.drain(waitMsMax);
      await client.destroy();
    },
  };
}

/** Commands need no permission at all; these are for mentions, replies, threads and answers that become files. */
export function inviteUrl(applicationId: string, answerIn: DiscordOptions["answerIn"]): string {
  const { ViewChannel, SendMessages, SendMessagesInThreads, ReadMessageHistory, AttachFiles, CreatePublicThreads } =
    PermissionFlagsBits;
  const least = ViewChannel | SendMessages | SendMessagesInThreads | ReadMessageHistory | AttachFiles;
  const permissions = answerIn === "thread" ? least | CreatePublicThreads : least;
  return `https://discord.com/oauth2/authorize?client_id=${applicationId}&scope=bot+applications.commands&permissions=${permissions}`;
}

/** @throws AppError as `startDiscord` */
export async function registerDiscord(
  options: Pick<DiscordOptions, "token" | "apiUrl" | "guildId"> & { commands: readonly CommandSpec[] },
): Promise<RegistrationReport> {
  const rest = createRest(options);
  const { id } = await readApplication(rest);
  return await registerCommands(rest, id, options.commands, options.guildId);
}

/**
 * Where Discord sends interactions. It pings the address, with a right and a wrong signature, before it takes it.
 *
 * @param options `address` undefined sends them over the gateway again
 * @throws AppError invalid_configuration for an address that Discord does not take, else as `startDiscord`
 */
export async function setInteractionsEndpoint(
  options: Pick<DiscordOptions, "token" | "apiUrl"> & { address: string | undefined },
): Promise<void> {
  try {
    const body = { interactions_endpoint_url: options.address ?? null };
    await createRest(options).patch(Routes.currentApplication(), { body });
  } catch (thrown) {
    if (thrown instanceof DiscordAPIError && thrown.status === 400) {
      throw new AppError(
        "invalid_configuration",
        `Discord does not take ${options.address}: it must answer there already, with DISCORD_PUBLIC_KEY set to this application's key.`,
        { cause: thrown },
      );
    }
    throw toLoginError(thrown);
  }
}

function createRest({ token, apiUrl }: Pick<DiscordOptions, "token" | "apiUrl">): REST {
  return new REST(apiUrl === undefined ? {} : { api: apiUrl }).setToken(token);
}

async function readApplication(rest: REST): Promise<{ id: string; botId: string; hasMessageContent: boolean }> {
  try {
    const application = (await rest.get(Routes.currentApplication())) as {
      id: string;
      flags?: number;
      bot?: { id: string };
    };
    const either = ApplicationFlags.GatewayMessageContent | ApplicationFlags.GatewayMessageContentLimited;
    return {
      id: application.id,
      botId: application.bot?.id ?? application.id,
      hasMessageContent: ((application.flags ?? 0) & either) !== 0,
    };
  } catch (thrown) {
    throw toLoginError(thrown);
  }
}

function createClient({ apiUrl }: DiscordOptions, messageContent: boolean): Client {
  return new Client({
    intents: [
      GatewayIntentBits.Guilds,
      GatewayIntentBits.GuildMessages,
      GatewayIntentBits.DirectMessages,
      ...(messageContent ? [GatewayIntentBits.MessageContent] : []),
    ],
    // Direct conversations are not announced, and deletions of messages from before the start should count.
    partials: [Partials.Channel, Partials.Message],
    allowedMentions: { parse: [], repliedUser: false },
    makeCache: Options.cacheWithLimits({
      ...Options.DefaultMakeCacheSettings,
      MessageManager: 50,
      ReactionManager: 0,
      GuildMemberManager: { maxSize: 500, keepOverLimit: (member) => member.id === member.client.user.id },
    }),
    ...(apiUrl === undefined ? {} : { rest: { api: apiUrl } }),
  });
}

function listen(client: Client, context: DiscordContext): void {
  const { bot, logger } = context;
  const guarded = (what: string, work: Promise<void>) =>
    void work.catch((thrown) => {
      const error = toPlatformError(thrown);
      // An expired or taken interaction is nobody's fault here: it came late, or twice.
      const level = error.reason === "expired" ? "warn" : "error";
      logger[level](`a Discord ${what} could not be handled`, {
        reason: error.reason,
        platformCode: error.platformCode,
        error: error.message,
        ...(thrown instanceof Error ? { stack: thrown.stack } : {}),
      });
    });
  client.on(Events.Raw, (packet: GatewayDispatchPayload) => completeInteraction(packet));
  client.on(Events.InteractionCreate, (interaction) => guarded("interaction", handleInteraction(interaction, context)));
  client.on(Events.MessageCreate, (message) => guarded("message", handleMessage(message, context)));
  client.on(Events.MessageDelete, (message) => bot.messageDeleted(message.id));
  client.on(Events.MessageBulkDelete, (messages) => {
    for (const id of messages.keys()) bot.messageDeleted(id);
  });
  client.on(Events.ThreadDelete, (thread) => bot.placeDeleted(thread.id));
  client.on(Events.ChannelDelete, (channel) => bot.placeDeleted(channel.id));
  client.on(Events.GuildDelete, (guild) => bot.placeDeleted(guild.id));
}

/**
 * discord.js reads these members of an interaction without looking whether they are there; an event without one of them
 * would end the process. Raw packets come by before they are read.
 */
function completeInteraction(packet: GatewayDispatchPayload): void {
  if (packet.t !== "INTERACTION_CREATE") return;
  const data: { entitlements?: unknown; authorizing_integration_owners?: unknown } = packet.d;
  data.entitlements ??= [];
  data.authorizing_integration_owners ??= {};
}

function watchConnection(client: Client, { logger, onFatal }: DiscordOptions): void {
  client.on(Events.Error, (error) =>
    logger.error("Discord client error", { error: error.message, stack: error.stack }),
  );
  client.on(Events.Warn, (warning) => logger.warn("Discord client warning", { warning }));
  client.on(Events.ShardReconnecting, () => logger.info("Discord connection lost; reconnecting"));
  client.on(Events.ShardResume, (_shard, replayed) => logger.info("Discord connection resumed", { replayed }));
  client.on(Events.ShardError, (error) => logger.warn("Discord connection error", { error: error.message }));
  client.on(Events.ShardDisconnect, ({ code }) => {
    logger.error("Discord ended the connection for good", { code });
    onFatal?.(
      new AppError(
        "invalid_configuration",
        `Discord ended the connection for good (close code ${code}). Check the token and the intents in the Developer Portal, then start again.`,
      ),
    );
  });
  client.rest.on("response", ({ method, route }, { status }) => {
    if (status === 429) logger.warn("Discord asked to slow down", { method, route });
  });
  client.rest.on("invalidRequestWarning", ({ count }) => logger.warn("many refused Discord requests", { count }));
}
