import { describe, expect, it } from "vitest";
import { AppError, type Locale } from "../core/errors.ts";
import { type DeployOptions, type DeployTools, deploy } from "./deploy.ts";
import type { Terminal } from "./terminal.ts";

const config = `name = "snug"

[[d1_databases]]
binding = "DB"
database_name = "snug"
# A comment between.
database_id = "00000000-0000-0000-0000-000000000000"

[[queues.producers]]
binding = "RECEIPTS"
queue = "snug-receipts"

[[env.staging.d1_databases]]
binding = "DB"
database_name = "snug-staging"
database_id = "00000000-0000-0000-0000-000000000000"

[[env.staging.queues.producers]]
binding = "RECEIPTS"
queue = "snug-receipts-staging"
`;

const botsConfig = `name = "snug-bots"

[[d1_databases]]
binding = "DB"
database_name = "snug"
database_id = "00000000-0000-0000-0000-000000000000"
`;

/** An account at Cloudflare as far as wrangler shows it. */
function createAccount(more: { loggedIn?: boolean; failing?: string; settings?: Record<string, string> } = {}) {
  const account = {
    databases: [] as { name: string; uuid: string }[],
    queues: new Set<string>(),
    secrets: new Map<string, string>(),
    botsSecrets: new Map<string, string>(),
    botsConfig,
    calls: [] as string[],
    config,
    keys: 0,
  };
  const tools: DeployTools = {
    async wrangler(args, input) {
      const call = args.join(" ");
      account.calls.push(call);
      const good = (stdout = "") => ({ code: 0, stdout, stderr: "" });
      const bad = (stderr: string) => ({ code: 1, stdout: "", stderr });
      if (more.failing !== undefined && call.startsWith(more.failing))
        return bad("first line\nA request failed. [code: 10000]");
      if (call === "whoami")
        return more.loggedIn === false ? good("You are not authenticated.") : good("ann@example.com");
      if (call === "d1 list --json") return good(`\n banner \n${JSON.stringify(account.databases)}`);
      if (args[0] === "d1" && args[1] === "create") {
        account.databases.push({ name: args[2]!, uuid: `id-of-${args[2]}` });
        return good();
      }
      if (call.startsWith("queues info")) return account.queues.has(args[2]!) ? good() : bad("Queue does not exist.");
      if (call.startsWith("queues create")) account.queues.add(args[2]!);
      if (call.startsWith("deploy") && call.includes("wrangler.bots.toml"))
        return good("Uploaded snug-bots\n  https://snug-bots.ann.workers.dev");
      if (call.startsWith("deploy"))
        return good("Uploaded snug\n  https://snug.ann.workers.dev\nCurrent Version ID: 1");
      const secrets = call.includes("wrangler.bots.toml") ? account.botsSecrets : account.secrets;
      if (call.startsWith("secret list")) return good(JSON.stringify([...secrets.keys()].map((name) => ({ name }))));
      if (call.startsWith("secret put")) secrets.set(args[2]!, input ?? "");
      return good();
    },
    readConfig: () => account.config,
    writeConfig: (text) => {
      account.config = text;
    },
    newSecret: () => "sk-snug-admin",
    readBotsConfig: () => account.botsConfig,
    writeBotsConfig: (text) => {
      account.botsConfig = text;
    },
    makeKey: async (_url, adminKey, { name }) => {
      if (adminKey !== account.secrets.get("SNUG_ADMIN_KEY")) throw new Error("The admin key is another.");
      return `sk-snug-${name}-${++account.keys}`;
    },
    setting: (name) => more.settings?.[name],
  };
  return { account, tools };
}

async function run(tools: DeployTools, options: DeployOptions = {}, locale: Locale = "en") {
  let output = "";
  const write = (text: string) => {
    output += text;
  };
  const terminal: Terminal = {
    locale,
    write,
    writeAll: async (text) => write(text),
    print: (line = "") => write(`${line}\n`),
    note: () => {},
    columns: 80,
    interactive: false,
    coloured: false,
    paint: (_style, text) => text,
  };
  const report = await deploy(options, tools, terminal);
  return { report, output };
}

const changes = (calls: string[]) => calls.filter((call) => /create|put|deploy|apply/.test(call));

describe("snug deploy", () => {
  it("makes what is missing, in order, and ends with the command for the GPU machine", async () => {
    const { account, tools } = createAccount();
    const { report, output } = await run(tools);
    expect(changes(account.calls)).toEqual([
      "d1 create snug",
      "queues create snug-receipts",
      "d1 migrations apply DB --remote",
      "deploy --minify",
      "secret put SNUG_ADMIN_KEY",
    ]);
    expect(account.config).toContain('database_id = "id-of-snug"');
    expect(account.config.match(/0000-000000000000/g)).toHaveLength(1);
    expect(account.secrets.get("SNUG_ADMIN_KEY")).toBe("sk-snug-admin");
    expect(report).toMatchObject({ url: "https://snug.ann.workers.dev", adminKey: "sk-snug-admin" });
    expect(output).toContain("snug engine --connect https://snug.ann.workers.dev --link-token sk-snug-engine-1");
    for (const number of [1, 2, 3, 4, 5, 6, 7]) expect(output).toContain(`${number}/7`);
  });

  it("run again brings tables and Worker up to date and leaves everything else, keys above all", async () => {
    const { account, tools } = createAccount();
    await run(tools);
    const before = { ...account, config: account.config };
    account.calls.length = 0;
    const { report, output } = await run(tools);
    expect(changes(account.calls)).toEqual(["d1 migrations apply DB --remote", "deploy --minify"]);
    expect(account.config).toBe(before.config);
    expect(report).not.toHaveProperty("adminKey");
    expect(account.keys).toBe(1);
    expect(output).not.toContain("sk-snug");
  });

  it("goes on where a run broke off", async () => {
    const broken = createAccount({ failing: "deploy" });
    await expect(run(broken.tools)).rejects.toThrow(/wrangler deploy --minify failed:\n[\s\S]*code: 10000/);
    const { account, tools } = createAccount();
    account.databases.push(...broken.account.databases);
    account.queues.add("snug-receipts");
    account.config = broken.account.config;
    await run(tools);
    expect(changes(account.calls)).toEqual([
      "d1 migrations apply DB --remote",
      "deploy --minify",
      "secret put SNUG_ADMIN_KEY",
    ]);
  });

  it("brings the bots along: the database's id, their Worker, a key, and the secrets that are set", async () => {
    const { account, tools } = createAccount({ settings: { DISCORD_PUBLIC_KEY: "public", DISCORD_TOKEN: "token" } });
    const { report, output } = await run(tools, { bots: true });
    expect(changes(account.calls).slice(5)).toEqual([
      "deploy --minify --config wrangler.bots.toml",
      "secret put SNUG_API_KEY --config wrangler.bots.toml",
      "secret put DISCORD_PUBLIC_KEY --config wrangler.bots.toml",
      "secret put DISCORD_TOKEN --config wrangler.bots.toml",
    ]);
    expect(account.botsConfig).toContain('database_id = "id-of-snug"');
    expect(Object.fromEntries(account.botsSecrets)).toEqual({
      SNUG_API_KEY: "sk-snug-bots-2",
      DISCORD_PUBLIC_KEY: "public",
      DISCORD_TOKEN: "token",
    });
    expect(report).toMatchObject({
      botsUrl: "https://snug-bots.ann.workers.dev",
      botsMissing: ["SLACK_SIGNING_SECRET", "SLACK_BOT_TOKEN"],
    });
    expect(output).toContain("snug bots register discord --endpoint https://snug-bots.ann.workers.dev");
    expect(output).not.toContain("sk-snug-bots");

    account.calls.length = 0;
    const config = account.botsConfig;
    await run(tools, { bots: true });
    expect(changes(account.calls)).toEqual([
      "d1 migrations apply DB --remote",
      "deploy --minify",
      "deploy --minify --config wrangler.bots.toml",
    ]);
    expect(account.botsConfig).toBe(config);
    expect(account.keys).toBe(2);
  });

  it("adds the bots later with the admin key of the environment, and says what is missing without it", async () => {
    const { account, tools } = createAccount();
    await run(tools);
    await expect(run(tools, { bots: true }, "zh")).rejects.toThrow(/SNUG_ADMIN_KEY/);
    const later = { ...tools, setting: (name: string) => (name === "SNUG_ADMIN_KEY" ? "sk-snug-admin" : undefined) };
    const { report } = await run(later, { bots: true });
    expect(account.botsSecrets.get("SNUG_API_KEY")).toBe("sk-snug-bots-2");
    expect(report.botsMissing).toHaveLength(4);
  });

  it("has bots beside the API alone, and says what it would run for them", async () => {
    const { account, tools } = createAccount({ settings: { SLACK_BOT_TOKEN: "token" } });
    await expect(run(tools, { bots: true, env: "staging" })).rejects.toThrow(/without --env/);
    const { report, output } = await run(tools, { bots: true, dryRun: true });
    expect(account.calls).toEqual([]);
    expect(report.steps.map(({ step }) => step).slice(7)).toEqual([
      ...["botsConfig", "botsWorker", "botsKey", "botsSecrets"],
    ]);
    expect(output).toContain("secret put SLACK_BOT_TOKEN --config wrangler.bots.toml");
    expect(output).not.toContain("put DISCORD_TOKEN");
  });

  it("says what it would run, and runs nothing, for --dry-run", async () => {
    const { account, tools } = createAccount();
    const { report, output } = await run(tools, { dryRun: true });
    expect(account.calls).toEqual([]);
    expect(account.config).toBe(config);
    expect(report.steps.map(({ state }) => state)).toEqual(Array(7).fill("would run"));
    expect(output).toContain("wrangler d1 create snug");
  });

  it("takes the names of an environment", async () => {
    const { account, tools } = createAccount();
    await run(tools, { env: "staging" });
    expect(account.calls).toContain("d1 create snug-staging");
    expect(account.calls).toContain("deploy --minify --env staging");
    expect(account.config).toContain('database_id = "id-of-snug-staging"');
    await expect(run(tools, { env: "moon" })).rejects.toThrow(/env\.moon/);
  });

  it("asks for a login first, and changes nothing without", async () => {
    const { account, tools } = createAccount({ loggedIn: false });
    await expect(run(tools)).rejects.toThrow(AppError);
    await expect(run(tools, {}, "zh")).rejects.toThrow(/wrangler login/);
    expect(changes(account.calls)).toEqual([]);
  });

  it("prints only JSON for --json, in Chinese too nothing else", async () => {
    const { tools } = createAccount();
    expect((await run(tools, { json: true }, "zh")).output).toBe("");
    expect((await run(tools, {}, "zh")).output).toContain("管理员密钥保持不变");
  });
});
