/** Several workspaces with tokens of their own: the real Bolt, the real API, the real database file. */
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { createEventClaims } from "../../src/api/bot-claims.ts";
import { createBotStateStore } from "../../src/api/bot-state.ts";
import { createInstallationStore } from "../../src/api/slack-installations.ts";
import { botScopes } from "../../src/bots/slack/manifest.ts";
import { AppError } from "../../src/core/errors.ts";
import { runSlack, type SlackRun } from "../../src/entries/slack.ts";
import { parseSlackSettings } from "../../src/entries/slack-settings.ts";
import { openSqlite, type SqliteDatabase } from "../../src/entries/sqlite.ts";
import { systemTimer } from "../../src/entries/timer.ts";
import { MemoryLogger } from "../support/memory-logger.ts";
import { SlackStandIn } from "../support/slack/stand-in.ts";
import { type StandMessage, shownText, verbsOf } from "../support/slack/world.ts";
import { type SnugServerProcess, startSnug, waitFor } from "../support/snug-process.ts";

const tokenKey = "the key of this test, 32 characters and more";
const cookieName = "__Host-snug-slack-state";

let folder: string;
let server: SnugServerProcess;
let dataDir: string;
let database: SqliteDatabase;
let logger: MemoryLogger;
let run: SlackRun;
let address: string;
let port: number;
/** Both count their ids from the same number, so that whatever forgets the workspace mixes them up. */
let lab: SlackStandIn;
let shop: SlackStandIn;
/** What the clock of the bot is ahead. */
let aheadMs: number;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "snug-slack-install-"));
  server = await startSnug({ SNUG_DATA_DIR: join(folder, "api") });
});

afterAll(async () => {
  server?.process.kill("SIGKILL");
  await server?.exited;
  await rm(folder, { recursive: true, force: true });
});

beforeEach(async () => {
  dataDir = await mkdtemp(join(folder, "bot-"));
  lab = await SlackStandIn.start({ teamId: "T0LAB", botToken: "xoxb-lab-token" });
  shop = await SlackStandIn.start({ teamId: "T0SHOP", botToken: "xoxb-shop-token" });
  lab.others.push(shop);
  for (const { world } of [lab, shop]) {
    world.addChannel("general");
    world.addUser("Ann");
    world.addUser("Ada", { isAdmin: true });
  }
  aheadMs = 0;
  port = await freePort();
});

afterEach(async () => {
  await stop();
  for (const standIn of [lab, shop]) {
    await standIn.close();
    expect(standIn.violations).toEqual([]);
  }
});

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, "127.0.0.1", resolve));
  const { port: free } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return free;
}

async function open(more: Record<string, string> = {}): Promise<AppError | undefined> {
  logger = new MemoryLogger();
  database = openSqlite(dataDir);
  const settings = parseSlackSettings({
    SLACK_CLIENT_ID: lab.clientId,
    SLACK_CLIENT_SECRET: lab.clientSecret,
    SLACK_TOKEN_KEY: tokenKey,
    SLACK_SIGNING_SECRET: lab.signingSecret,
    SLACK_API_URL: lab.apiUrl,
    SLACK_PORT: String(port),
    ...more,
  })!;
  run = runSlack({
    settings,
    api: { url: server.address, key: server.key },
    state: createBotStateStore(database),
    claims: createEventClaims(database),
    installations: createInstallationStore(database),
    logger,
    timer: { ...systemTimer, now: () => systemTimer.now() + aheadMs },
  });
  const online = await run.online;
  if (online instanceof AppError) return online;
  address = online.address!;
  for (const standIn of [lab, shop]) {
    standIn.http = async (request) =>
      fetch(new Request(`${address}/slack/events`, request), { method: "POST", body: await request.text() });
  }
  return undefined;
}

async function stop(): Promise<void> {
  await run.stop({ drainMs: 0 });
  database.close();
}

/** The install page as a browser sees it. */
async function openInstallPage(language = "en") {
  const page = await fetch(`${address}/slack/install`, { headers: { "accept-language": language } });
  const html = await page.text();
  const link = new URL(/href="([^"]+)"/.exec(html)![1]!.replaceAll("&#38;", "&"));
  const cookie = page.headers.get("set-cookie")!;
  return { page, html, link, cookie, state: link.searchParams.get("state")! };
}

async function comeBack(
  query: Record<string, string>,
  state: string | undefined,
): Promise<{ status: number; html: string }> {
  const url = `${address}/slack/oauth_redirect?${new URLSearchParams(query)}`;
  const reply = await fetch(url, { headers: state === undefined ? {} : { cookie: `a=b; ${cookieName}=${state}` } });
  return { status: reply.status, html: await reply.text() };
}

async function install(workspace: SlackStandIn, orgWide = false) {
  const { state } = await openInstallPage();
  return await comeBack({ code: lab.newCode(workspace, orgWide), state }, state);
}

const answersIn = ({ world }: SlackStandIn): StandMessage[] =>
  world.channels[0]!.messages.filter((one) => one.user.isBot && !one.deleted && verbsOf(one).includes("again"));

async function mention(standIn: SlackStandIn, ts?: string): Promise<StandMessage> {
  const { world } = standIn;
  const channel = world.channels[0]!;
  const user = world.users.find(({ name }) => name === "Ann")!;
  const text = `<@${world.bot.id}> What is Q4_K_M?`;
  const message = world.addMessage(channel, user, { text, ...(ts === undefined ? {} : { ts }) });
  await standIn.event({ type: "app_mention", user: user.id, text, ts: message.ts, channel: channel.id });
  return message;
}

const answered = async (standIn: SlackStandIn, count: number): Promise<StandMessage> =>
  await waitFor(
    () => {
      const found = answersIn(standIn);
      return found.length >= count ? found.at(-1) : undefined;
    },
    15_000,
    () => [...lab.recent(), ...shop.recent(), ...logger.lines.slice(-5).map((line) => JSON.stringify(line))].join(", "),
  );

const logged = (pattern: RegExp) => logger.lines.some((line) => pattern.test(JSON.stringify(line)));

async function storedBytes(): Promise<string> {
  const names = await readdir(dataDir, { recursive: true, withFileTypes: true });
  const files = names.filter((entry) => entry.isFile());
  expect(files.length).toBeGreaterThan(0);
  return (await Promise.all(files.map((file) => readFile(join(file.parentPath, file.name), "latin1")))).join("");
}

test("two workspaces install the bot and are answered by their own tokens, over a restart, until one removes it", async () => {
  await open();
  expect((await install(lab)).html).toContain("T0LAB &#38; friends");
  expect((await install(shop)).status).toBe(200);

  // The same channel, person, event and message ids in both.
  const { ts } = await mention(lab);
  await mention(shop, ts);
  for (const standIn of [lab, shop]) {
    expect(shownText(await answered(standIn, 1))).toMatch(/demo · F16/);
    const own = ["chat.startStream", "chat.postMessage"].flatMap((method) => standIn.requests(method));
    expect(own.length).toBeGreaterThan(0);
  }
  expect(lab.world.channels[0]!.id).toBe(shop.world.channels[0]!.id);

  const counted = await waitFor(async () => {
    const reply = await fetch(`${server.address}/v1/usage`, { headers: { authorization: `Bearer ${server.key}` } });
    const { rows } = (await reply.json()) as { rows: { userId: string }[] };
    return rows.length === 2 ? rows.map(({ userId }) => userId).sort() : undefined;
  }, 8_000);
  const person = lab.world.users.find(({ name }) => name === "Ann")!.id;
  expect(counted).toEqual([`slack:T0LAB/${person}`, `slack:T0SHOP/${person}`]);

  const stored = await storedBytes();
  expect(stored).toContain("T0SHOP");
  expect(stored).not.toContain("xoxb-");
  expect(stored).not.toContain(lab.clientSecret);

  await stop();
  await open();
  await mention(lab);
  await answered(lab, 2);

  await shop.uninstall();
  await waitFor(() => logged(/token is deleted.*T0SHOP|T0SHOP.*token is deleted/) || undefined, 20_000);
  expect(await createInstallationStore(database).teamIds()).toEqual(["T0LAB"]);
  await mention(shop);
  await waitFor(() => logged(/T0SHOP has not installed this bot/) || undefined, 20_000);
  expect(answersIn(shop)).toHaveLength(1);
  await mention(lab);
  await answered(lab, 3);

  expect((await install(shop)).status).toBe(200);
  await mention(shop);
  await answered(shop, 2);
  for (const standIn of [lab, shop]) standIn.checkAcknowledged();
});

test("the install page asks for the manifest's scopes, in the reader's language, and its cookie stays with the host", async () => {
  await open();
  const { page, html, link, cookie } = await openInstallPage();
  expect(page.status).toBe(200);
  expect(html).toContain("Add to Slack");
  expect(`${link.origin}${link.pathname}`).toBe("https://slack.com/oauth/v2/authorize");
  expect(link.searchParams.get("client_id")).toBe(lab.clientId);
  expect(link.searchParams.get("scope")).toBe(botScopes.join(","));
  expect(cookie).toMatch(/^__Host-.*; Path=\/; Secure; HttpOnly; SameSite=Lax; Max-Age=600$/);
  expect(page.headers.get("cache-control")).toBe("no-store");
  expect((await openInstallPage("zh-CN,zh;q=0.9")).html).toContain("添加到 Slack");
  expect((await openInstallPage("zh-TW")).html).toContain("新增到 Slack");
});

test("whoever comes back with another state, without the cookie or too late installs nothing", async () => {
  await open();
  const { state } = await openInstallPage();
  const other = (await openInstallPage()).state;
  const code = lab.newCode(lab);
  const forged = state.replace(/^\d+/, (expiry) => String(Number(expiry) + 1));
  for (const [sent, kept] of [
    [state, undefined],
    [state, other],
    [other, state],
    [forged, forged],
    ["", ""],
  ] as const) {
    const { status, html } = await comeBack({ code, state: sent }, kept);
    expect([status, html]).toEqual([400, expect.stringContaining("Nothing was installed")]);
  }
  aheadMs = 601_000;
  expect((await comeBack({ code, state }, state)).status).toBe(400);
  aheadMs = 0;
  expect(lab.requests("oauth.v2.access")).toEqual([]);
  expect((await comeBack({ code, state }, state)).status).toBe(200);
});

test("what was cancelled, used up, organization-wide or not allowed stores nothing and says so", async () => {
  await open({ SLACK_ALLOW: "workspace:T0LAB" });
  const { state } = await openInstallPage();
  expect((await comeBack({ error: "access_denied", state }, state)).html).toContain("cancelled");
  expect((await comeBack({ code: "used", state }, state)).status).toBe(502);
  expect((await install(lab, true)).html).toContain("single workspaces");
  expect((await install(shop)).html).toContain("not open to your workspace");
  expect(await createInstallationStore(database).teamIds()).toEqual([]);
});

test("with another key the bot does not start, and says which setting to look at", async () => {
  await open();
  await install(lab);
  await stop();
  const refused = await open({ SLACK_TOKEN_KEY: `${tokenKey}!` });
  expect(refused).toMatchObject({ code: "invalid_configuration", message: expect.stringContaining("SLACK_TOKEN_KEY") });
});

test("a workspace's administrators run its channels, and only those of the settings everybody's statistics", async () => {
  await open({ SLACK_ADMINS: `T0LAB:${lab.world.users.find(({ name }) => name === "Ada")!.id}` });
  await install(lab);
  await install(shop);
  const ask = async (standIn: SlackStandIn) => {
    const { world } = standIn;
    const ada = world.users.find(({ name }) => name === "Ada")!;
    const { replies } = await standIn.slash(ada, world.channels[0]!, "/stats");
    return (await waitFor(() => replies[0], 20_000)).body.text ?? "";
  };
  expect(await ask(shop)).toMatch(/administrators/);
  expect(await ask(lab)).not.toMatch(/administrators/);
});
