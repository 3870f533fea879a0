/** Settings of the Discord bot from the environment and .env. The only place that knows their names. */
import * as z from "zod";
import type { AccessList } from "../bots/access.ts";
import { DEFAULT_PACE, type PaceRules } from "../bots/pace.ts";
import { AppError } from "../core/errors.ts";
import { modelNameCharsMax } from "../core/limits.ts";
import type { QuotaLimits } from "../core/ports.ts";

export interface DiscordSettings {
  token: string;
  /** Of the application: interactions that Discord sends by HTTP are then taken too. */
  publicKey: string | undefined;
  /** Server to register the commands for; undefined registers them everywhere. */
  guildId: string | undefined;
  register: boolean;
  admins: string[];
  allow: AccessList;
  deny: AccessList;
  followThreads: "auto" | "on" | "off";
  answerIn: "channel" | "thread";
  reasoning: "spoiler" | "hidden";
  /** Model of channels that chose none. */
  model: string | undefined;
  pace: PaceRules;
  /** What each person may ask of the API, for a bot in the API's own process. */
  userLimits: QuotaLimits;
  /** Another base of Discord's REST interface, for tests and proxies. */
  apiUrl: string | undefined;
}

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

const idMessage = "must be a Discord id, a number of 17 to 20 digits (Developer Mode, right click, Copy ID)";
const id = z.string().regex(/^\d{17,20}$/, idMessage);

const listKinds: Record<string, keyof AccessList> = {
  server: "servers",
  guild: "servers",
  channel: "channels",
  role: "roles",
  user: "users",
};
const listMessage = 'must be a list such as "server:ID channel:ID role:ID user:ID"';

const accessList = z
  .string()
  .transform((text) => text.split(/[\s,]+/).filter((part) => part !== ""))
  .pipe(z.array(z.string().regex(/^(server|guild|channel|role|user):\d{17,20}$/, listMessage)))
  .transform((parts) => {
    const list: Record<keyof AccessList, string[]> = { servers: [], channels: [], roles: [], users: [] };
    for (const part of parts) {
      const [kind = "", entry = ""] = part.split(":");
      list[listKinds[kind]!].push(entry);
    }
    return list;
  });

const environmentSchema = z.object({
  DISCORD_TOKEN: optional(
    z.string().regex(/^[\w-]+\.[\w-]+\.[\w-]+$/, "must be the bot's token: three parts with dots between them"),
  ),
  DISCORD_PUBLIC_KEY: optional(
    z
      .string()
      .regex(/^[0-9a-fA-F]{64}$/, "must be the Public Key of General Information: 64 digits and letters a to f"),
  ),
  DISCORD_GUILD: optional(id),
  DISCORD_REGISTER: choice(["on", "off"]),
  DISCORD_ADMINS: optional(
    z
      .string()
      .transform((text) => text.split(/[\s,]+/).filter((part) => part !== ""))
      .pipe(z.array(id)),
  ),
  DISCORD_ALLOW: optional(accessList),
  DISCORD_DENY: optional(accessList),
  DISCORD_FOLLOW_THREADS: choice(["auto", "on", "off"]),
  DISCORD_ANSWER_IN: choice(["channel", "thread"]),
  DISCORD_API_URL: optional(z.url({ protocol: /^https?$/, error: "must be an http:// or https:// address" })),
  SNUG_BOT_REASONING: choice(["spoiler", "hidden"]),
  SNUG_BOT_MODEL: optional(z.string().max(modelNameCharsMax, `must be at most ${modelNameCharsMax} characters`)),
  SNUG_BOT_USER_QUESTIONS: count(1000),
  SNUG_BOT_CHANNEL_QUESTIONS: count(10_000),
  SNUG_BOT_USER_ANSWERS: count(100),
  SNUG_BOT_USER_REQUESTS_PER_DAY: count(1_000_000),
  SNUG_BOT_USER_TOKENS_PER_DAY: count(1_000_000_000),
});

const nobody: AccessList = { servers: [], channels: [], roles: [], users: [] };

/**
 * @param environment variables as in `process.env`
 * @returns undefined when DISCORD_TOKEN is not set: then there is no bot
 * @throws AppError invalid_configuration naming every wrong setting in one message
 */
export function parseDiscordSettings(environment: Record<string, string | undefined>): DiscordSettings | undefined {
  const parsed = environmentSchema.safeParse(environment);
  if (!parsed.success) {
    const lines = new Set(parsed.error.issues.map(({ path, message }) => `  ${String(path[0])} ${message}`));
    throw new AppError(
      "invalid_configuration",
      `These settings need a look (environment or .env):\n${[...lines].join("\n")}`,
    );
  }
  const values = parsed.data;
  if (values.DISCORD_TOKEN === undefined) return undefined;
  return {
    token: values.DISCORD_TOKEN,
    publicKey: values.DISCORD_PUBLIC_KEY,
    guildId: values.DISCORD_GUILD,
    register: values.DISCORD_REGISTER !== "off",
    admins: values.DISCORD_ADMINS ?? [],
    allow: values.DISCORD_ALLOW ?? nobody,
    deny: values.DISCORD_DENY ?? nobody,
    followThreads: values.DISCORD_FOLLOW_THREADS ?? "auto",
    answerIn: values.DISCORD_ANSWER_IN ?? "channel",
    reasoning: values.SNUG_BOT_REASONING ?? "spoiler",
    model: values.SNUG_BOT_MODEL,
    pace: {
      ...DEFAULT_PACE,
      questionsPerUserMax: values.SNUG_BOT_USER_QUESTIONS ?? DEFAULT_PACE.questionsPerUserMax,
      questionsPerChannelMax: values.SNUG_BOT_CHANNEL_QUESTIONS ?? DEFAULT_PACE.questionsPerChannelMax,
      answersPerUserMax: values.SNUG_BOT_USER_ANSWERS ?? DEFAULT_PACE.answersPerUserMax,
    },
    userLimits: userLimitsOf(values.SNUG_BOT_USER_REQUESTS_PER_DAY, values.SNUG_BOT_USER_TOKENS_PER_DAY),
    apiUrl: values.DISCORD_API_URL,
  };
}

function userLimitsOf(requestsPerDay: number | undefined, tokensPerDay: number | undefined): QuotaLimits {
  return {
    ...(requestsPerDay === undefined ? {} : { requestsPerDay }),
    ...(tokensPerDay === undefined ? {} : { tokensPerDay }),
  };
}
