/** `snug deploy`: the API on Cloudflare, step by step. What is there already is left as it is, so it can be run again. */
import { AppError, type Locale } from "../core/errors.ts";
import type { Terminal } from "./terminal.ts";

export interface DeployOptions {
  dryRun?: boolean;
  json?: boolean;
  /** One of wrangler.toml's environments. */
  env?: string;
  /** The chat bots' Worker too. */
  bots?: boolean;
}

export interface WranglerResult {
  code: number;
  stdout: string;
  stderr: string;
}

export interface DeployTools {
  /** Runs Cloudflare's own command. */
  wrangler(args: readonly string[], input?: string): Promise<WranglerResult>;
  readConfig(): string;
  writeConfig(text: string): void;
  /** An unguessable admin key. */
  newSecret(): string;
  /** The same of wrangler.bots.toml. */
  readBotsConfig(): string;
  writeBotsConfig(text: string): void;
  /** Makes a key at the deployed API, which may take some seconds to know its admin's secret. */
  makeKey(url: string, adminKey: string, facts: { name: string; scopes: string[] }): Promise<string>;
  /** A setting of the caller's environment. */
  setting(name: string): string | undefined;
}

type StepState = "done" | "unchanged" | "would run";

export interface DeployStep {
  step: StepName;
  state: StepState;
  /** The command that does it. */
  command?: string;
}

const apiSteps = ["login", "database", "queue", "tables", "worker", "secret", "engineKey"] as const;
const botSteps = ["botsConfig", "botsWorker", "botsKey", "botsSecrets"] as const;
type StepName = (typeof apiSteps)[number] | (typeof botSteps)[number];

/** What the bots' Worker is told of a platform; taken from the environment where it is set there. */
const botSecrets = ["DISCORD_PUBLIC_KEY", "DISCORD_TOKEN", "SLACK_SIGNING_SECRET", "SLACK_BOT_TOKEN"] as const;
const botsFile = ["--config", "wrangler.bots.toml"];

export interface DeployReport {
  steps: DeployStep[];
  url?: string;
  /** Made by this run; shown once. */
  adminKey?: string;
  engineKey?: string;
  botsUrl?: string;
  /** Secrets of platforms that the bots' Worker has not. */
  botsMissing?: string[];
}

type Sentence = "loginFailed" | "admin" | "engine" | "again" | "botsEnv" | "botsAdmin" | "botsMissing" | "botsNext";

const texts: Record<Locale, Record<StepName | Sentence, string>> = {
  en: {
    login: "Cloudflare account: wrangler must be logged in",
    database: "Database: D1 holds keys, engines and the usage ledger",
    queue: "Queue: receipts wait here while the database does not answer",
    tables: "Tables: brings the database up to date",
    worker: "Worker: uploads the API with its Durable Objects",
    secret: "Admin key: a secret of the Worker, made once",
    engineKey: "Engine key: what your GPU machine shows when it dials in",
    loginFailed: "wrangler is not logged in to Cloudflare; run `npx wrangler login`, then `snug deploy` again.",
    admin: "Admin key, shown this once (change it with `npx wrangler secret put SNUG_ADMIN_KEY`):",
    engine: "On the machine with the GPU:",
    again: 'The admin key stays as it is. For another engine: POST /v1/keys with scopes ["engine"].',
    botsConfig: "Bots: wrangler.bots.toml names the API's database",
    botsWorker: "Bots: uploads their Worker with its Durable Object",
    botsKey: "Bots' key: what they ask the API with, made once",
    botsSecrets: "Bots' secrets: those of Discord and Slack that are set here",
    botsEnv: "The bots' Worker has no environments; run `snug deploy --bots` without --env.",
    botsAdmin:
      "The bots need a key of the API, and its admin key is not known here: set SNUG_ADMIN_KEY to it and run this again, or put a key with the scopes chat and compare by `npx wrangler secret put SNUG_API_KEY --config wrangler.bots.toml`.",
    botsMissing: "Not set yet, for the platforms you want (then run this again with them in the environment):",
    botsNext: "For Discord, once its secrets are set:",
  },
  zh: {
    login: "Cloudflare 账号：wrangler 需要已登录",
    database: "数据库：D1 保存密钥、引擎和用量记录",
    queue: "队列：数据库暂时不可用时，用量凭据在此等待",
    tables: "数据表：把数据库更新到最新",
    worker: "Worker：上传 API 及其 Durable Object",
    secret: "管理员密钥：Worker 的机密，只创建一次",
    engineKey: "引擎密钥：GPU 机器连接时出示",
    loginFailed: "wrangler 尚未登录 Cloudflare；请先运行 `npx wrangler login`，再运行 `snug deploy`。",
    admin: "管理员密钥，只显示这一次（可用 `npx wrangler secret put SNUG_ADMIN_KEY` 更换）：",
    engine: "在有 GPU 的机器上运行：",
    again: '管理员密钥保持不变。如需更多引擎：用 POST /v1/keys 创建 scopes 为 ["engine"] 的密钥。',
    botsConfig: "机器人：wrangler.bots.toml 写入 API 的数据库",
    botsWorker: "机器人：上传其 Worker 与 Durable Object",
    botsKey: "机器人的密钥：用它访问 API，只创建一次",
    botsSecrets: "机器人的机密：此处已设置的 Discord 和 Slack 机密",
    botsEnv: "机器人的 Worker 没有环境之分；请不带 --env 运行 `snug deploy --bots`。",
    botsAdmin:
      "机器人需要 API 的密钥，而这里不知道管理员密钥：请把 SNUG_ADMIN_KEY 设为它后重新运行，或用 `npx wrangler secret put SNUG_API_KEY --config wrangler.bots.toml` 写入 scopes 为 chat 和 compare 的密钥。",
    botsMissing: "尚未设置（按需要的平台设置环境变量后重新运行）：",
    botsNext: "Discord：机密设置好之后运行：",
  },
};

/** @throws AppError invalid_configuration naming the step that failed, with wrangler's own last words */
export async function deploy(options: DeployOptions, tools: DeployTools, terminal: Terminal): Promise<DeployReport> {
  const t = texts[terminal.locale];
  if (options.bots && options.env !== undefined) throw new AppError("invalid_configuration", t.botsEnv);
  const stepNames: readonly StepName[] = options.bots ? [...apiSteps, ...botSteps] : apiSteps;
  const report: DeployReport = { steps: [] };
  const inEnvironment = options.env === undefined ? [] : ["--env", options.env];
  const { databaseName, databaseId, queueName } = readConfig(tools.readConfig(), options.env);

  const say = (step: StepName, state: StepState, args?: readonly string[]) => {
    const command = args === undefined ? undefined : `wrangler ${args.join(" ")}`;
    report.steps.push({ step, state, ...(command === undefined ? {} : { command }) });
    if (options.json) return;
    const mark = { done: "✓", unchanged: "=", "would run": "·" }[state];
    terminal.print(`${mark} ${stepNames.indexOf(step) + 1}/${stepNames.length} ${t[step]}`);
    if (command !== undefined) terminal.print(terminal.paint("dim", `    ${command}`));
  };
  const must = async (step: StepName, args: readonly string[], input?: string): Promise<string> => {
    const { code, stdout, stderr } = await tools.wrangler(args, input);
    if (code === 0) return stdout;
    const words = (stderr || stdout).trim().split("\n").slice(-8).join("\n");
    throw new AppError("invalid_configuration", `${t[step]}\nwrangler ${args.join(" ")} failed:\n${words}`);
  };

  const create = ["d1", "create", databaseName];
  const createQueue = ["queues", "create", queueName];
  const migrate = ["d1", "migrations", "apply", "DB", "--remote", ...inEnvironment];
  const upload = ["deploy", "--minify", ...inEnvironment];
  const putSecret = ["secret", "put", "SNUG_ADMIN_KEY", ...inEnvironment];
  const uploadBots = ["deploy", "--minify", ...botsFile];
  const putBotsSecret = (name: string) => ["secret", "put", name, ...botsFile];

  const deployBots = async () => {
    const config = tools.readBotsConfig();
    const told = withDatabaseId(config, databaseName, readConfig(tools.readConfig(), undefined).databaseId);
    if (told !== config) tools.writeBotsConfig(told);
    say("botsConfig", told === config ? "unchanged" : "done");

    const botsUrl = addressIn(await must("botsWorker", uploadBots));
    if (botsUrl !== undefined) report.botsUrl = botsUrl;
    say("botsWorker", "done", uploadBots);

    const secrets = await must("botsKey", ["secret", "list", "--format", "json", ...botsFile]);
    if (hasSecret(secrets, "SNUG_API_KEY")) say("botsKey", "unchanged", putBotsSecret("SNUG_API_KEY"));
    else {
      const adminKey = report.adminKey ?? tools.setting("SNUG_ADMIN_KEY");
      if (adminKey === undefined || report.url === undefined) {
        throw new AppError("invalid_configuration", t.botsAdmin);
      }
      const key = await tools.makeKey(report.url, adminKey, { name: "bots", scopes: ["chat", "compare"] });
      await must("botsKey", putBotsSecret("SNUG_API_KEY"), key);
      say("botsKey", "done", putBotsSecret("SNUG_API_KEY"));
    }
    report.botsMissing = [];
    for (const name of botSecrets) {
      const value = tools.setting(name);
      if (hasSecret(secrets, name)) say("botsSecrets", "unchanged", putBotsSecret(name));
      else if (value === undefined) report.botsMissing.push(name);
      else {
        await must("botsSecrets", putBotsSecret(name), value);
        say("botsSecrets", "done", putBotsSecret(name));
      }
    }
  };
  if (options.dryRun) {
    say("login", "would run", ["whoami"]);
    say("database", "would run", create);
    say("queue", "would run", createQueue);
    say("tables", "would run", migrate);
    say("worker", "would run", upload);
    say("secret", "would run", putSecret);
    say("engineKey", "would run");
    if (options.bots) {
      say("botsConfig", "would run");
      say("botsWorker", "would run", uploadBots);
      say("botsKey", "would run", putBotsSecret("SNUG_API_KEY"));
      for (const name of botSecrets) {
        if (tools.setting(name)) say("botsSecrets", "would run", putBotsSecret(name));
      }
    }
    return report;
  }

  const who = await tools.wrangler(["whoami"]);
  if (who.code !== 0 || /not authenticated/i.test(who.stdout + who.stderr)) {
    throw new AppError("invalid_configuration", t.loginFailed);
  }
  say("login", "unchanged", ["whoami"]);

  const known = findDatabase(await must("database", ["d1", "list", "--json"]), databaseName);
  if (known === undefined) await must("database", create);
  const id = known ?? findDatabase(await must("database", ["d1", "list", "--json"]), databaseName);
  if (id === undefined) throw new AppError("invalid_configuration", `${t.database}\nD1 does not list ${databaseName}.`);
  if (id !== databaseId) tools.writeConfig(withDatabaseId(tools.readConfig(), databaseName, id));
  say("database", known === undefined ? "done" : "unchanged", create);

  const queueThere = (await tools.wrangler(["queues", "info", queueName])).code === 0;
  if (!queueThere) await must("queue", createQueue);
  say("queue", queueThere ? "unchanged" : "done", createQueue);

  await must("tables", migrate);
  say("tables", "done", migrate);

  const uploaded = await must("worker", upload);
  const url = addressIn(uploaded);
  if (url !== undefined) report.url = url;
  say("worker", "done", upload);

  const secrets = await must("secret", ["secret", "list", "--format", "json", ...inEnvironment]);
  if (hasSecret(secrets, "SNUG_ADMIN_KEY")) {
    say("secret", "unchanged", putSecret);
    say("engineKey", "unchanged");
  } else {
    const adminKey = tools.newSecret();
    await must("secret", putSecret, adminKey);
    report.adminKey = adminKey;
    say("secret", "done", putSecret);
    if (url !== undefined) {
      report.engineKey = await tools.makeKey(url, adminKey, { name: "engine", scopes: ["engine"] });
      say("engineKey", "done");
    }
  }
  if (options.bots) await deployBots();
  if (options.json) return report;
  terminal.print();
  if (url !== undefined) terminal.print(terminal.paint("cyan", url));
  if (report.adminKey === undefined) terminal.print(t.again);
  else terminal.print(`${t.admin}\n  ${report.adminKey}`);
  if (url !== undefined && report.engineKey !== undefined) {
    terminal.print(`${t.engine}\n  snug engine --connect ${url} --link-token ${report.engineKey}`);
  }
  if (report.botsUrl !== undefined) {
    terminal.print(terminal.paint("cyan", report.botsUrl));
    if (report.botsMissing?.length) terminal.print(`${t.botsMissing}\n  ${report.botsMissing.join(" ")}`);
    terminal.print(`${t.botsNext}\n  snug bots register discord --endpoint ${report.botsUrl}`);
  }
  return report;
}

/** Where the Worker is now, as wrangler says it. */
function addressIn(uploaded: string): string | undefined {
  return /https?:\/\/[^\s"']+/.exec(uploaded)?.[0];
}

interface ConfigFacts {
  databaseName: string;
  databaseId: string;
  queueName: string;
}

/** The three names that are needed; wrangler itself checks the file. */
function readConfig(text: string, env: string | undefined): ConfigFacts {
  const table = (name: string) => {
    const header = env === undefined ? `[[${name}]]` : `[[env.${env}.${name}]]`;
    const start = text.indexOf(`\n${header}`);
    if (start < 0) {
      throw new AppError(
        "invalid_configuration",
        `wrangler.toml has no ${header}; is this the folder of Snug's source?`,
      );
    }
    const body = text.slice(start + header.length + 1);
    const end = body.search(/\n\[/);
    return end < 0 ? body : body.slice(0, end);
  };
  const value = (name: string, key: string) => {
    const found = new RegExp(`^${key} *= *"([^"]+)"`, "m").exec(table(name))?.[1];
    if (found === undefined) throw new AppError("invalid_configuration", `wrangler.toml has no ${key} in ${name}.`);
    return found;
  };
  return {
    databaseName: value("d1_databases", "database_name"),
    databaseId: value("d1_databases", "database_id"),
    queueName: value("queues.producers", "queue"),
  };
}

function withDatabaseId(text: string, name: string, id: string): string {
  const pattern = new RegExp(`(database_name *= *"${name}"(?:\\n#[^\\n]*)*\\ndatabase_id *= *")[^"]*(")`);
  if (!pattern.test(text)) {
    throw new AppError(
      "invalid_configuration",
      `Write database_id = "${id}" for ${name} into wrangler.toml, and go on.`,
    );
  }
  return text.replace(pattern, `$1${id}$2`);
}

function findDatabase(json: string, name: string): string | undefined {
  const list = parse(json);
  if (!Array.isArray(list)) return undefined;
  const found = list.find((one: { name?: unknown }) => one?.name === name) as { uuid?: unknown } | undefined;
  return typeof found?.uuid === "string" ? found.uuid : undefined;
}

function hasSecret(json: string, name: string): boolean {
  const list = parse(json);
  return Array.isArray(list) && list.some((one: { name?: unknown }) => one?.name === name);
}

/** wrangler prints a banner around its JSON in some versions. */
function parse(text: string): unknown {
  const start = text.indexOf("[");
  try {
    return start < 0 ? undefined : JSON.parse(text.slice(start, text.lastIndexOf("]") + 1));
  } catch {
    return undefined;
  }
}
