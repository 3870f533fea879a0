/** `snug deploy` with wrangler as it is installed beside it. */
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createSecret } from "../api/auth.ts";
import { type DeployOptions, type DeployTools, deploy, type WranglerResult } from "../cli/deploy.ts";
import type { Terminal } from "../cli/terminal.ts";
import { AppError } from "../core/errors.ts";

/** A new secret is known everywhere within seconds. */
const secretTries = 20;
const secretRetryMs = 1_500;

/** Runs in the folder of the source, where wrangler.toml and the tables' folder are. */
export async function runDeploy(options: DeployOptions, terminal: Terminal): Promise<number> {
  const report = await deploy(options, openTools(process.cwd()), terminal);
  if (options.json) terminal.print(JSON.stringify(report, null, 2));
  return 0;
}

function openTools(folder: string): DeployTools {
  const config = join(folder, "wrangler.toml");
  const botsConfig = join(folder, "wrangler.bots.toml");
  if (!existsSync(config)) {
    const message = "There is no wrangler.toml here; run this in the folder of Snug's source (git clone, npm ci).";
    throw new AppError("invalid_configuration", message);
  }
  return {
    wrangler: (args, input) => runWrangler(folder, args, input),
    readConfig: () => readFileSync(config, "utf8"),
    writeConfig: (text) => writeFileSync(config, text),
    newSecret: () => createSecret(randomBytes),
    readBotsConfig: () => readFileSync(botsConfig, "utf8"),
    writeBotsConfig: (text) => writeFileSync(botsConfig, text),
    makeKey,
    setting: (name) => process.env[name] || undefined,
  };
}

/** SNUG_WRANGLER names another program, such as a wrapper with an account's settings. */
function runWrangler(folder: string, args: readonly string[], input?: string): Promise<WranglerResult> {
  const program = process.env.SNUG_WRANGLER || join(folder, "node_modules/.bin/wrangler");
  return new Promise((resolve) => {
    const environment = { ...process.env, CI: "1", WRANGLER_SEND_METRICS: "false", NO_COLOR: "1" };
    const options = { cwd: folder, env: environment, maxBuffer: 16 * 1024 * 1024 };
    const child = execFile(program, [...args], options, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === "number" ? error.code : 1;
      resolve({ code, stdout, stderr: error !== null && stderr === "" ? error.message : stderr });
    });
    child.stdin?.on("error", () => {});
    child.stdin?.end(input ?? "");
  });
}

async function makeKey(url: string, adminKey: string, facts: object): Promise<string> {
  let status = 0;
  for (let turn = 0; turn < secretTries; turn++) {
    const reply = await fetch(new URL("/v1/keys", url), {
      method: "POST",
      headers: { authorization: `Bearer ${adminKey}`, "content-type": "application/json" },
      body: JSON.stringify(facts),
    }).catch(() => undefined);
    if (reply?.status === 201) return ((await reply.json()) as { secret: string }).secret;
    status = reply?.status ?? 0;
    await new Promise((resolve) => setTimeout(resolve, secretRetryMs));
  }
  throw new AppError(
    "engine_unavailable",
    `The API at ${url} does not take its admin key yet (status ${status}); run this again, or make keys later by POST /v1/keys.`,
  );
}
