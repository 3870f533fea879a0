#!/usr/bin/env node
/** The `snug` command. Each command loads only what it needs, so that `snug fits` starts at once. */
import { existsSync } from "node:fs";
import { createProgram } from "../cli/program.ts";
import { createTerminal } from "../cli/terminal.ts";
import { AppError } from "../core/errors.ts";
import { packageVersion } from "./package-files.ts";
import { parseSettings, type Settings } from "./settings.ts";

if (existsSync(".env")) process.loadEnvFile(".env");

/** Settings with what the command line says on top. */
function settingsWith(options: {
  port?: number;
  host?: string;
  model?: string;
  token?: string;
  connect?: string[];
  linkToken?: string;
  name?: string;
  vramLimit?: string;
}): Settings {
  const given = {
    PORT: options.port?.toString(),
    SNUG_HOST: options.host,
    SNUG_MODEL: options.model,
    SNUG_ENGINE_TOKEN: options.token,
    SNUG_CONNECT: options.connect?.join(","),
    SNUG_LINK_TOKEN: options.linkToken,
    SNUG_ENGINE_NAME: options.name,
    SNUG_VRAM_LIMIT: options.vramLimit,
  };
  const set = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  return parseSettings({ ...process.env, ...set });
}

/** The language even when other settings are wrong: their complaint wants one too. */
function localeOfEnvironment() {
  const { SNUG_LANG, LC_ALL, LC_MESSAGES, LANG } = process.env;
  return parseSettings({
    SNUG_LANG: SNUG_LANG === "zh" || SNUG_LANG === "en" ? SNUG_LANG : "",
    LC_ALL,
    LC_MESSAGES,
    LANG,
  }).locale;
}

const locale = localeOfEnvironment();
const terminal = createTerminal({ stdout: process.stdout, stderr: process.stderr, environment: process.env }, locale);

// `snug fits --json | head` closes the pipe early; that is no error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

const program = createProgram(
  {
    start: async (options) => (await import("./start.ts")).start(settingsWith(options), terminal),
    engine: async (options) => (await import("./engine.ts")).serveEngine(settingsWith(options), terminal),
    chat: async (prompt, options) =>
      (await import("./chat.ts")).chat(prompt, options, settingsWith({ ...options, model: options.model }), terminal),
    fits: async (query, options) => (await import("./fits.ts")).fits(query, options, terminal),
    listModels: async (options) => (await import("./models.ts")).listModels(options, settingsWith({}), terminal),
    pullModel: async (name, options) =>
      (await import("./models.ts")).pullModel(name, options, settingsWith({}), terminal),
    removeModel: async (name, options) =>
      (await import("./models.ts")).removeModel(name, options, settingsWith({}), terminal),
    modelInfo: async (name, options) =>
      (await import("./models.ts")).modelInfo(name, options, settingsWith({}), terminal),
    compare: async (model, options) =>
      (await import("./compare.ts")).compare(model, options, settingsWith({}), terminal),
    bench: async (model, options) => (await import("./compare.ts")).bench(model, options, settingsWith({}), terminal),
    doctor: async (options) => (await import("./doctor.ts")).doctor(options, terminal),
    runBot: async (platform, options) =>
      (await import("./bot-commands.ts")).runBot(platform, options, parseSettings(process.env)),
    registerDiscord: async (options) => (await import("./bot-commands.ts")).registerDiscord(options, terminal),
    slackManifest: async (options) => (await import("./bot-commands.ts")).slackManifest(options, terminal),
    deploy: async (options) => (await import("./deploy.ts")).runDeploy(options, terminal),
    createKey: async (options) => (await import("./keys.ts")).createKey(options, settingsWith({}), terminal),
    listKeys: async (options) => (await import("./keys.ts")).listKeys(options, settingsWith({}), terminal),
    revokeKey: async (id) => (await import("./keys.ts")).revokeKeyById(id, settingsWith({}), terminal),
  },
  packageVersion,
  locale,
  (code) => {
    process.exitCode = code;
  },
);

try {
  await program.parseAsync();
} catch (thrown) {
  if (!(thrown instanceof AppError)) throw thrown;
  terminal.note(terminal.paint("red", thrown.message));
  process.exitCode = 1;
}
