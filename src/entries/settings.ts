/** Settings from the environment and .env, checked once at start. The only place that knows their names. */
import * as z from "zod";
import { parseAliases, parseEngineList } from "../api/engine-list.ts";
import { AppError, type Locale, toAppError } from "../core/errors.ts";
import { answerMsMax, modelNameCharsMax } from "../core/limits.ts";
import type { LoadWish } from "../engine/load-plan.ts";
import { linkUrl } from "../http/link-dial.ts";
import { type Deadlines, deadlinesOf } from "./deadlines.ts";
import {
  type BackendSettings,
  backendOf,
  loadEnvironment,
  type ModelPlaces,
  placesOf,
  wishOf,
} from "./load-settings.ts";

export interface Settings {
  port: number;
  host: string;
  dataDir: string;
  /** Model name, path or URL; undefined serves the demo model. */
  model: string | undefined;
  /** First admin key; undefined makes one and prints it once. */
  adminKey: string | undefined;
  /** Engines elsewhere instead of the embedded one: an address, or several as name=address,name=address. */
  engineUrl: string | undefined;
  engineToken: string | undefined;
  /** APIs an engine dials: addresses such as wss://snug.example.workers.dev. */
  connect: string[];
  /** Secrets of keys with the scope engine: one for all, or one for each API. */
  linkTokens: string[];
  /** How an engine that dials is called; undefined takes the machine's name. */
  engineName: string | undefined;
  /** PORT was given, so an engine that dials listens as well. */
  portGiven: boolean;
  /** Names that stand for models: name=model|other-model,… */
  aliases: string | undefined;
  /** A reverse proxy stands in front and tells the client's address in x-forwarded-for. */
  trustProxy: boolean;
  /** Days the rows of the usage ledger are kept; undefined keeps them for good. Daily sums stay. */
  usageDays: number | undefined;
  locale: Locale;
  /** What is fixed about loading; the rest is the planner's. */
  load: LoadWish;
  backend: BackendSettings;
  places: ModelPlaces;
  /** Longest waits for the first word and for a whole answer; empty: as long as engines take. */
  deadlines: Deadlines;
  /** Idle time after which a model is sent out of memory; undefined keeps it. */
  keepAliveMs: number | undefined;
  /** Models that stay loaded whatever happens. */
  pinned: string[];
}

/** Left-out and empty are the same: `PORT=` in .env means the default. */
const optional = <T extends z.ZodType>(schema: T) =>
  z.preprocess((value) => (value === "" ? undefined : value), schema.optional());
const integer = (min: number, max: number) =>
  z.coerce
    .number({ error: `must be a whole number from ${min} to ${max}` })
    .int(`must be a whole number from ${min} to ${max}`)
    .min(min, `must be at least ${min}`)
    .max(max, `must be at most ${max}`);

/** A text that this parser understands; its complaint already names the setting. */
const readableBy = (parse: (text: string) => unknown) =>
  z.string().superRefine((text, context) => {
    try {
      parse(text);
    } catch (thrown) {
      context.addIssue({ code: "custom", message: toAppError(thrown).message.replace(/^SNUG_\w+: /, "") });
    }
  });

const environmentSchema = z.object({
  PORT: optional(integer(0, 65_535)),
  SNUG_HOST: optional(z.string().regex(/^[A-Za-z0-9.:_-]+$/, "must be an address or host name such as 127.0.0.1")),
  SNUG_DATA_DIR: optional(z.string()),
  SNUG_MODEL: optional(z.string().max(modelNameCharsMax, `must be at most ${modelNameCharsMax} characters`)),
  SNUG_ADMIN_KEY: optional(
    z.string().regex(/^[\x21-\x7e]{16,200}$/, "must be 16 to 200 printable characters without spaces"),
  ),
  SNUG_ENGINE_URL: optional(readableBy(parseEngineList)),
  SNUG_ALIASES: optional(readableBy(parseAliases)),
  SNUG_TRUST_PROXY: optional(z.enum(["0", "1"], { error: 'must be "0" or "1"' })),
  SNUG_USAGE_DAYS: optional(integer(2, 36_500)),
  SNUG_ENGINE_TOKEN: optional(z.string().regex(/^[\x21-\x7e]+$/, "must be printable characters without spaces")),
  SNUG_CONNECT: optional(readableBy((text) => splitList(text).map((url) => linkUrl(url, "engine")))),
  SNUG_LINK_TOKEN: optional(z.string().regex(/^[\x20-\x7e]+$/, "must be printable characters")),
  SNUG_ENGINE_NAME: optional(
    z.string().regex(/^[\w.-]{1,64}$/, "must be 1 to 64 letters, digits, dots, dashes or underscores"),
  ),
  SNUG_FIRST_TOKEN_TIMEOUT: optional(integer(1, answerMsMax / 1000)),
  SNUG_ANSWER_TIMEOUT: optional(integer(1, answerMsMax / 1000)),
  SNUG_LANG: optional(z.enum(["en", "zh"], { error: 'must be "en" or "zh"' })),
  ...loadEnvironment,
});

/**
 * @param environment variables as in `process.env`
 * @throws AppError invalid_configuration naming every wrong setting in one message
 */
export function parseSettings(environment: Record<string, string | undefined>): Settings {
  const parsed = environmentSchema.safeParse(environment);
  if (!parsed.success) {
    const lines = parsed.error.issues.map((issue) => `  ${issue.path.join(".")} ${issue.message}`);
    throw new AppError(
      "invalid_configuration",
      `These settings need a look (options, environment or .env):\n${lines.join("\n")}`,
    );
  }
  const values = parsed.data;
  return {
    port: values.PORT ?? 8787,
    host: values.SNUG_HOST ?? "127.0.0.1",
    dataDir: values.SNUG_DATA_DIR ?? "./data",
    model: values.SNUG_MODEL,
    adminKey: values.SNUG_ADMIN_KEY,
    engineUrl: values.SNUG_ENGINE_URL,
    engineToken: values.SNUG_ENGINE_TOKEN,
    connect: splitList(values.SNUG_CONNECT ?? ""),
    linkTokens: splitList(values.SNUG_LINK_TOKEN ?? ""),
    engineName: values.SNUG_ENGINE_NAME,
    portGiven: values.PORT !== undefined,
    aliases: values.SNUG_ALIASES,
    trustProxy: values.SNUG_TRUST_PROXY === "1",
    usageDays: values.SNUG_USAGE_DAYS,
    locale: values.SNUG_LANG ?? localeOf(environment),
    load: wishOf(values),
    backend: backendOf(values),
    places: placesOf(values),
    deadlines: deadlinesOf({ firstToken: values.SNUG_FIRST_TOKEN_TIMEOUT, answer: values.SNUG_ANSWER_TIMEOUT }),
    keepAliveMs: values.SNUG_KEEP_ALIVE === undefined ? undefined : values.SNUG_KEEP_ALIVE * 60_000,
    pinned: (values.SNUG_PIN ?? "").split(",").flatMap((name) => name.trim() || []),
  };
}

function splitList(text: string): string[] {
  return text.split(",").flatMap((part) => part.trim() || []);
}

/** The language of the terminal: Chinese where the locale says so, English elsewhere. */
function localeOf(environment: Record<string, string | undefined>): Locale {
  const language = environment.LC_ALL || environment.LC_MESSAGES || environment.LANG || "";
  return language.toLowerCase().startsWith("zh") ? "zh" : "en";
}
