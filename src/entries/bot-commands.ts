/** `snug bots …`: a bot on its own, its commands, its manifest. */
import { createEventClaims } from "../api/bot-claims.ts";
import { createBotStateStore } from "../api/bot-state.ts";
import { createInstallationStore } from "../api/slack-installations.ts";
import { manifest } from "../bots/slack/manifest.ts";
import type { BotRunOptions, ManifestOptions, RegisterOptions } from "../cli/program.ts";
import type { Terminal } from "../cli/terminal.ts";
import { AppError } from "../core/errors.ts";
import { drainMsMax } from "../core/limits.ts";
import type { Logger } from "../core/ports.ts";
import { parseBotSettings } from "./bots.ts";
import { registerDiscordCommands, runDiscord, setDiscordEndpoint } from "./discord.ts";
import { interactionsPath } from "./discord-endpoint.ts";
import { withFeedbackOverHttp } from "./feedback-over-http.ts";
import { aborted, catchInterrupts } from "./interrupt.ts";
import { createLogger } from "./logger.ts";
import type { Settings } from "./settings.ts";
import { runSlack } from "./slack.ts";
import { openSqlite, type SqliteDatabase } from "./sqlite.ts";
import type { ApiAccess } from "./usage-over-http.ts";

type Platform = "discord" | "slack";

const tokenNames: Record<Platform, string> = { discord: "DISCORD_TOKEN", slack: "SLACK_BOT_TOKEN" };

/** Runs until Ctrl-C; what a channel chose and what was answered is kept in the data folder. */
export async function runBot(platform: Platform, options: BotRunOptions, settings: Settings): Promise<number> {
  const key = options.key ?? process.env.SNUG_API_KEY ?? settings.adminKey;
  if (key === undefined || key === "") {
    throw new AppError(
      "invalid_configuration",
      "The bot needs an API key: --key or SNUG_API_KEY. Make one with `snug keys create`.",
    );
  }
  const interrupts = catchInterrupts();
  const logger = createLogger({
    level: "info",
    plain: process.stderr.isTTY === true,
    write: (line) => process.stderr.write(line),
    now: () => Date.now(),
  });
  const database = openSqlite(settings.dataDir);
  try {
    const api = { url: options.api ?? `http://${settings.host}:${settings.port}`, key };
    const bot = open(platform, { api, database, logger });
    const online = await Promise.race([bot.online, aborted(interrupts.first)]);
    if (online instanceof AppError) throw online;
    await aborted(interrupts.first);
    await Promise.race([bot.stop({ drainMs: drainMsMax }), aborted(interrupts.second)]);
    return 0;
  } finally {
    database.close();
    interrupts.release();
  }
}

function open(
  platform: Platform,
  { api, database, logger }: { api: ApiAccess; database: SqliteDatabase; logger: Logger },
) {
  const settings = parseBotSettings(process.env);
  const state = withFeedbackOverHttp(createBotStateStore(database), api);
  if (platform === "discord") return runDiscord({ settings: required(settings.discord, platform), api, state, logger });
  const claims = createEventClaims(database);
  const installations = createInstallationStore(database);
  return runSlack({ settings: required(settings.slack, platform), api, state, claims, installations, logger });
}

function required<T>(settings: T | undefined, platform: Platform): T {
  if (settings !== undefined) return settings;
  const name = tokenNames[platform];
  throw new AppError("invalid_configuration", `${name} is not set. docs/${platform}.md shows where to get one.`);
}

/** Writes the slash commands by difference and says what changed; then sets where interactions go, where that is asked. */
export async function registerDiscord({ endpoint }: RegisterOptions, terminal: Terminal): Promise<number> {
  const settings = required(parseBotSettings(process.env).discord, "discord");
  const report = await registerDiscordCommands(settings);
  for (const [what, names] of Object.entries(report) as [string, string[]][]) {
    if (names.length > 0) terminal.print(`${what}: ${names.join(", ")}`);
  }
  if (endpoint === undefined) return 0;
  const address = endpoint === "off" ? undefined : interactionsAddress(endpoint);
  await setDiscordEndpoint(settings, address);
  terminal.print(address === undefined ? "endpoint: off" : `endpoint: ${address}`);
  return 0;
}

/** An address without a path means ours. */
function interactionsAddress(endpoint: string): string {
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  if (url?.protocol !== "https:") {
    throw new AppError(
      "invalid_configuration",
      "--endpoint must be an https:// address that Discord can reach, or off.",
    );
  }
  if (url.pathname === "/") url.pathname = interactionsPath;
  return url.href;
}

/** Prints the manifest as JSON, ready to paste. */
export async function slackManifest({ requestUrl }: ManifestOptions, terminal: Terminal): Promise<number> {
  terminal.print(JSON.stringify(manifest(requestUrl === undefined ? {} : { requestUrl }), null, 2));
  return 0;
}
