/** Settings of the Slack bot from the environment and .env. The only place that knows their names. */
import * as z from "zod";
import type { AccessList } from "../bots/access.ts";
import { DEFAULT_PACE } from "../bots/pace.ts";
import { AppError } from "../core/errors.ts";
import { modelNameCharsMax } from "../core/limits.ts";
import type { QuotaLimits } from "../core/ports.ts";
import type { ChatBotSettings } from "./chat-bot.ts";

export interface SlackSettings extends ChatBotSettings {
  /** Of the one workspace the bot is in; undefined where each workspace that installs it has its own. */
  botToken: string | undefined;
  /** How workspaces install the bot; undefined for one workspace. */
  install: SlackInstallSettings | undefined;
  /** Socket Mode needs no public address; requests need one, and a port to take them at. */
  receive: { by: "socket"; appToken: string } | { by: "http"; signingSecret: string; host: string; port: number };
  /** Users who count as administrators everywhere; with `install` as "workspace:member". */
  admins: string[];
  followThreads: boolean;
  /** What each person may ask of the API, for a bot in the API's own process. */
  userLimits: QuotaLimits;
  /** Another base of the Web API with a slash at the end, for tests and proxies. */
  apiUrl: string | undefined;
}

export interface SlackInstallSettings {
  clientId: string;
  clientSecret: string;
  /** Encrypts the tokens of workspaces at rest, and signs the way through Slack and back. */
  tokenKey: string;
}

export const slackPortDefault = 3000;

const optional = <T extends z.ZodType>(schema: T) =>
  z.preprocess((value) => (value === "" ? undefined : value), schema.optional());
const choice = <const T extends readonly [string, ...string[]]>(values: T) =>
  optional(z.enum(values, { error: `must be one of ${values.join(", ")}` }));
const count = (max: number) =>
  optional(
    z.coerce
      .number({ error: `must be a whole number from 1 to ${max}` })
      .int(`must be a whole number from 1 to ${max}`)
      .min(1, "must be at least 1")
      .max(max, `must be at most ${max}`),
  );
const words = (text: string) => text.split(/[\s,]+/).filter((part) => part !== "");

const listKinds: Record<string, keyof AccessList> = { workspace: "servers", channel: "channels", user: "users" };
const listMessage = 'must be a list such as "workspace:T0123 channel:C0123 user:U0123"';

const accessList = z
  .string()
  .transform(words)
  .pipe(z.array(z.string().regex(/^(workspace:[TE]|channel:[CDG]|user:[UW])[A-Z0-9]+$/, listMessage)))
  .transform((parts) => {
    const list: Record<keyof AccessList, string[]> = { servers: [], channels: [], roles: [], users: [] };
    for (const part of parts) {
      const [kind = "", entry = ""] = part.split(":");
      list[listKinds[kind]!].push(entry);
    }
    return list;
  });

const environmentSchema = z.object({
  SLACK_BOT_TOKEN: optional(z.string().regex(/^xoxb-[\w-]+$/, "must be the Bot User OAuth Token (xoxb-…)")),
  SLACK_APP_TOKEN: optional(z.string().regex(/^xapp-[\w-]+$/, "must be an app-level token (xapp-…)")),
  SLACK_SIGNING_SECRET: optional(z.string().regex(/^[\w-]+$/, "must be the Signing Secret of Basic Information")),
  SLACK_CLIENT_ID: optional(z.string().regex(/^[\d.]+$/, "must be the Client ID of Basic Information")),
  SLACK_CLIENT_SECRET: optional(z.string().regex(/^\w+$/, "must be the Client Secret of Basic Information")),
  SLACK_TOKEN_KEY: optional(z.string().min(32, "must have 32 characters or more, such as of: openssl rand -hex 32")),
  SLACK_HOST: optional(z.string().regex(/^[A-Za-z0-9.:_-]+$/, "must be an address or host name such as 127.0.0.1")),
  SLACK_PORT: count(65_535),
  SLACK_ADMINS: optional(
    z
      .string()
      .transform(words)
      .pipe(z.array(z.string().regex(/^(T[A-Z0-9]+:)?[UW][A-Z0-9]+$/, "must be member ids such as U0123ABCD"))),
  ),
  SLACK_ALLOW: optional(accessList),
  SLACK_DENY: optional(accessList),
  SLACK_FOLLOW_THREADS: choice(["on", "off"]),
  SLACK_API_URL: optional(z.url({ protocol: /^https?$/, error: "must be an http:// or https:// address" })),
  SNUG_BOT_REASONING: choice(["spoiler", "hidden"]),
  SNUG_BOT_MODEL: optional(z.string().max(modelNameCharsMax, `must be at most ${modelNameCharsMax} characters`)),
  SNUG_BOT_USER_QUESTIONS: count(1000),
  SNUG_BOT_CHANNEL_QUESTIONS: count(10_000),
  SNUG_BOT_USER_ANSWERS: count(100),
  SNUG_BOT_USER_REQUESTS_PER_DAY: count(1_000_000),
  SNUG_BOT_USER_TOKENS_PER_DAY: count(1_000_000_000),
});

type Environment = z.infer<typeof environmentSchema>;

const nobody: AccessList = { servers: [], channels: [], roles: [], users: [] };

/**
 * @param environment variables as in `process.env`
 * @returns undefined when neither SLACK_BOT_TOKEN nor SLACK_CLIENT_ID is set: then there is no bot
 * @throws AppError invalid_configuration naming every wrong setting in one message
 */
export function parseSlackSettings(environment: Record<string, string | undefined>): SlackSettings | undefined {
  const parsed = environmentSchema.safeParse(environment);
  if (!parsed.success) {
    const lines = new Set(parsed.error.issues.map(({ path, message }) => `  ${String(path[0])} ${message}`));
    throw new AppError(
      "invalid_configuration",
      `These settings need a look (environment or .env):\n${[...lines].join("\n")}`,
    );
  }
  const values = parsed.data;
  const install = installOf(values);
  if (values.SLACK_BOT_TOKEN === undefined && install === undefined) return undefined;
  return {
    botToken: values.SLACK_BOT_TOKEN,
    install,
    receive: receiveOf(values),
    admins: adminsOf(values, install !== undefined),
    allow: values.SLACK_ALLOW ?? nobody,
    deny: values.SLACK_DENY ?? nobody,
    followThreads: values.SLACK_FOLLOW_THREADS !== "off",
    reasoning: values.SNUG_BOT_REASONING ?? "spoiler",
    model: values.SNUG_BOT_MODEL,
    pace: {
      ...DEFAULT_PACE,
      questionsPerUserMax: values.SNUG_BOT_USER_QUESTIONS ?? DEFAULT_PACE.questionsPerUserMax,
      questionsPerChannelMax: values.SNUG_BOT_CHANNEL_QUESTIONS ?? DEFAULT_PACE.questionsPerChannelMax,
      answersPerUserMax: values.SNUG_BOT_USER_ANSWERS ?? DEFAULT_PACE.answersPerUserMax,
    },
    userLimits: userLimitsOf(values.SNUG_BOT_USER_REQUESTS_PER_DAY, values.SNUG_BOT_USER_TOKENS_PER_DAY),
    apiUrl: values.SLACK_API_URL?.replace(/\/*$/, "/"),
  };
}

function userLimitsOf(requestsPerDay: number | undefined, tokensPerDay: number | undefined): QuotaLimits {
  return {
    ...(requestsPerDay === undefined ? {} : { requestsPerDay }),
    ...(tokensPerDay === undefined ? {} : { tokensPerDay }),
  };
}

/** Many workspaces need all of it, and nothing of what one workspace or Socket Mode has. */
function installOf(values: Environment): SlackInstallSettings | undefined {
  const { SLACK_CLIENT_ID: clientId, SLACK_CLIENT_SECRET: clientSecret, SLACK_TOKEN_KEY: tokenKey } = values;
  if (clientId === undefined && clientSecret === undefined && tokenKey === undefined) return undefined;
  if (clientId === undefined || clientSecret === undefined || tokenKey === undefined) {
    throw new AppError(
      "invalid_configuration",
      "For many workspaces set SLACK_CLIENT_ID, SLACK_CLIENT_SECRET and SLACK_TOKEN_KEY together; for one, none of them.",
    );
  }
  if (values.SLACK_BOT_TOKEN !== undefined) {
    throw new AppError(
      "invalid_configuration",
      "SLACK_BOT_TOKEN is for one workspace and SLACK_CLIENT_ID for many; set one of the two.",
    );
  }
  if (values.SLACK_APP_TOKEN !== undefined || values.SLACK_SIGNING_SECRET === undefined) {
    throw new AppError(
      "invalid_configuration",
      "Workspaces install the bot at a public address: with SLACK_CLIENT_ID set SLACK_SIGNING_SECRET, and no SLACK_APP_TOKEN.",
    );
  }
  return { clientId, clientSecret, tokenKey };
}

/** Member ids may repeat from workspace to workspace. */
function adminsOf({ SLACK_ADMINS: admins = [] }: Environment, many: boolean): string[] {
  if (admins.every((admin) => admin.includes(":") === many)) return admins;
  throw new AppError(
    "invalid_configuration",
    many
      ? "With SLACK_CLIENT_ID, SLACK_ADMINS must name the workspaces, too: T0123ABCD:U0123ABCD."
      : "SLACK_ADMINS must be member ids such as U0123ABCD.",
  );
}

/** Socket Mode where there is a token for it. */
function receiveOf(values: Environment): SlackSettings["receive"] {
  if (values.SLACK_APP_TOKEN !== undefined) return { by: "socket", appToken: values.SLACK_APP_TOKEN };
  if (values.SLACK_SIGNING_SECRET === undefined) {
    throw new AppError(
      "invalid_configuration",
      "Slack needs a way in: set SLACK_APP_TOKEN (xapp-…, no public address needed) or SLACK_SIGNING_SECRET (requests to a public address).",
    );
  }
  return {
    by: "http",
    signingSecret: values.SLACK_SIGNING_SECRET,
    host: values.SLACK_HOST ?? "127.0.0.1",
    port: values.SLACK_PORT ?? slackPortDefault,
  };
}
