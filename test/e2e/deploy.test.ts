/** `snug deploy` as it is run, with a program in wrangler's place that writes down what it was asked. */
import { execFile } from "node:child_process";
import { appendFileSync, copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createKey } from "../../src/api/auth.ts";
import { openApi, type TestApi } from "../support/api.ts";
import { type Listening, listenLocally } from "../support/engine-server.ts";

const root = join(import.meta.dirname, "../..");
let folder: string;
let api: TestApi;
let listening: Listening;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "snug-deploy-"));
  copyFileSync(join(root, "wrangler.toml"), join(folder, "wrangler.toml"));
  api = await openApi();
  listening = await listenLocally(async (request) => {
    // The account hands the secret to the deployed API.
    const secret = join(folder, "secret");
    if (existsSync(secret)) {
      await api.keyStore.insert(
        await createKey(readFileSync(secret, "utf8"), { name: "a", scopes: ["admin"], createdAt: 1 }),
      );
      rmSync(secret);
    }
    return api.app.fetch(request);
  });
  writeFileSync(
    join(folder, "wrangler"),
    `#!${process.execPath}
const fs = require("node:fs");
const args = process.argv.slice(2);
const call = args.join(" ");
const has = (name) => fs.existsSync(${JSON.stringify(folder)} + "/" + name);
const mark = (name) => fs.writeFileSync(${JSON.stringify(folder)} + "/" + name, "");
fs.appendFileSync(${JSON.stringify(join(folder, "calls"))}, call + "\\n");
if (call === "d1 list --json") console.log(has("d1") ? '[{"name":"snug","uuid":"0123"}]' : "[]");
else if (call.startsWith("d1 create")) mark("d1");
else if (call.startsWith("queues info")) process.exitCode = has("queue") ? 0 : 1;
else if (call.startsWith("queues create")) mark("queue");
else if (call.startsWith("deploy")) console.log("Deployed snug triggers\\n  ${listening.url}");
else if (call.startsWith("secret list")) console.log(has("put") ? '[{"name":"SNUG_ADMIN_KEY"}]' : "[]");
else if (call.startsWith("secret put")) { fs.writeFileSync(${JSON.stringify(join(folder, "secret"))}, fs.readFileSync(0, "utf8")); mark("put"); }
`,
    { mode: 0o755 },
  );
});

afterAll(async () => {
  await listening?.close();
  api?.close();
  rmSync(folder, { recursive: true, force: true });
});

async function deploy(...args: string[]) {
  const environment = { ...process.env, SNUG_WRANGLER: join(folder, "wrangler"), SNUG_LANG: "en" };
  const options = { cwd: folder, env: environment };
  const entry = join(root, "dist/entries/cli.js");
  return await promisify(execFile)(process.execPath, [entry, "deploy", ...args], options);
}

const calls = () =>
  existsSync(join(folder, "calls")) ? readFileSync(join(folder, "calls"), "utf8").trim().split("\n") : [];

it("deploys, makes the keys at the API that answers, and is idempotent", async () => {
  const { stdout: plan } = await deploy("--dry-run", "--json");
  expect((JSON.parse(plan) as { steps: object[] }).steps).toHaveLength(7);
  expect(calls()).toEqual([]);

  const { stdout } = await deploy();
  expect(readFileSync(join(folder, "wrangler.toml"), "utf8")).toMatch(
    /database_name = "snug"\n(?:#.*\n)*database_id = "0123"/,
  );
  const [, engineKey] = /--link-token (sk-snug-\S+)/.exec(stdout) ?? [];
  const keys = await api.keyStore.list();
  expect(keys.find(({ scopes }) => scopes[0] === "engine")).toBeDefined();
  expect(engineKey).toBeDefined();

  appendFileSync(join(folder, "calls"), "again\n");
  const { stdout: second } = await deploy();
  const again = calls().slice(calls().indexOf("again") + 1);
  expect(again.filter((call) => /create|put/.test(call))).toEqual([]);
  expect(second).not.toContain("sk-snug");
  expect(await api.keyStore.list()).toHaveLength(keys.length);
}, 60_000);

it("says where it must be run, and shows its help", async () => {
  const entry = join(root, "dist/entries/cli.js");
  const elsewhere = promisify(execFile)(process.execPath, [entry, "deploy"], {
    cwd: tmpdir(),
    env: { ...process.env, SNUG_LANG: "en" },
  });
  await expect(elsewhere).rejects.toMatchObject({ code: 1, stderr: expect.stringContaining("wrangler.toml") });
  expect((await deploy("--help")).stdout).toContain("--dry-run");
});
