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

/** An account at Cloudflare as far as wrangler shows it. */
function createAccount(more: { loggedIn?: boolean; failing?: string } = {}) {
  const account = {
    databases: [] as { name: string; uuid: string }[],
    queues: new Set<string>(),
    secrets: new Map<string, string>(),
    calls: [] as string[],
    config,
    engineKeys: 0,
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
      if (call.startsWith("deploy"))
        return good("Uploaded snug\n  https://snug.ann.workers.dev\nCurrent Version ID: 1");
      if (call.startsWith("secret list"))
        return good(JSON.stringify([...account.secrets.keys()].map((name) => ({ name }))));
      if (call.startsWith("secret put")) account.secrets.set(args[2]!, input ?? "");
      return good();
    },
    readConfig: () => account.config,
    writeConfig: (text) => {
      account.config = text;
    },
    newSecret: () => "sk-snug-admin",
    makeEngineKey: async () => `sk-snug-engine-${++account.engineKeys}`,
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
    expect(account.engineKeys).toBe(1);
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
