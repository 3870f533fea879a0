/** The whole way: the real Bolt, the real API with its ledger, the real llama child. Clocks are real too. */
import { mkdtemp, rm } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { UsageRow } from "../../src/core/ports.ts";
import { runSlack, type SlackRun } from "../../src/entries/slack.ts";
import { parseSlackSettings } from "../../src/entries/slack-settings.ts";
import { writeModel } from "../support/gguf/write-model.ts";
import { MemoryBotState } from "../support/memory-bot-state.ts";
import { MemoryEventClaims } from "../support/memory-event-claims.ts";
import { MemoryLogger } from "../support/memory-logger.ts";
import { SlackStandIn } from "../support/slack/stand-in.ts";
import { type StandChannel, type StandMessage, type StandUser, shownText, verbsOf } from "../support/slack/world.ts";
import { childrenOf, type SnugServerProcess, startSnug, waitFor } from "../support/snug-process.ts";

let folder: string;
let demo: SnugServerProcess;
let endless: SnugServerProcess;

let standIn: SlackStandIn;
let run: SlackRun;
let state: MemoryBotState;
let channel: StandChannel;
let ann: StandUser;
let bob: StandUser;
let admin: StandUser;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "snug-slack-"));
  const model = join(folder, "endless.gguf");
  await writeModel(model, { architecture: "llama", shape: "tiny", type: "F16", brain: "endless" });
  [demo, endless] = await Promise.all([
    startSnug({ SNUG_DATA_DIR: join(folder, "demo") }),
    // Room for more words than any test waits for, however fast the machine.
    startSnug({ SNUG_DATA_DIR: join(folder, "endless"), SNUG_MODEL: model, SNUG_SLOTS: "1", SNUG_CONTEXT: "100000" }),
  ]);
});

afterAll(async () => {
  for (const server of [demo, endless]) {
    server?.process.kill("SIGKILL");
    await server?.exited;
  }
  await rm(folder, { recursive: true, force: true });
});

afterEach(async () => {
  await run.stop({ drainMs: 0 });
  standIn.checkAcknowledged();
  await standIn.close();
  expect(standIn.violations).toEqual([]);
  expect(standIn.api.limitedCount).toBe(0);
});

async function open(server: Pick<SnugServerProcess, "address" | "key">, by: "socket" | "http" = "socket") {
  standIn = await SlackStandIn.start();
  const { world } = standIn;
  channel = world.addChannel("general");
  ann = world.addUser("Ann");
  bob = world.addUser("Bob");
  admin = world.addUser("Ada", { isAdmin: true });
  state = new MemoryBotState();
  const receive =
    by === "socket"
      ? { SLACK_APP_TOKEN: standIn.appToken }
      : { SLACK_SIGNING_SECRET: standIn.signingSecret, SLACK_PORT: String(await freePort()) };
  const settings = parseSlackSettings({
    SLACK_BOT_TOKEN: standIn.botToken,
    SLACK_API_URL: standIn.apiUrl,
    ...receive,
  })!;
  run = runSlack({
    settings,
    api: { url: server.address, key: server.key },
    state,
    claims: new MemoryEventClaims(),
    logger: new MemoryLogger(),
  });
  const online = await run.online;
  if (!("stop" in online)) throw online;
  const { address } = online;
  if (address !== undefined) {
    standIn.http = async (request) =>
      fetch(new Request(`${address}/slack/events`, request), { method: "POST", body: await request.text() });
  }
}

/** A port nobody has right now. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const answers = (of = channel) =>
  of.messages.filter(({ user, threadTs, deleted, files }) => user.isBot && threadTs && !deleted && files.length === 0);

const answered = async (count = 1, of = channel): Promise<StandMessage> =>
  await waitFor(
    () => {
      const found = answers(of).filter((one) => verbsOf(one).includes("again"));
      return found.length >= count ? found.at(-1) : undefined;
    },
    8_000,
    () => standIn.recent().join(", "),
  );

const talking = async (user = ann, text = "Talk"): Promise<StandMessage> => {
  const before = answers().length;
  await standIn.slash(user, channel, "/ask", text);
  return await waitFor(() => answers().find((one, index) => index >= before && shownText(one).length > 30), 20_000);
};

async function rowsOf(server: SnugServerProcess): Promise<UsageRow[]> {
  const reply = await fetch(`${server.address}/v1/usage`, { headers: { authorization: `Bearer ${server.key}` } });
  return ((await reply.json()) as { rows: UsageRow[] }).rows;
}

const isFree = async () => {
  const health = (await (await fetch(`${endless.address}/health`)).json()) as { engine: { active: number } };
  return health.engine.active === 0 ? true : undefined;
};

describe.each(["socket", "http"] as const)("with the demo model, events by %s", (by) => {
  test("/ask is answered with model and speed, and stands in the ledger as Slack's", async () => {
    await open(demo, by);
    await standIn.slash(ann, channel, "/ask", "What is Q4_K_M?");
    const answer = await answered();
    expect(shownText(answer)).toMatch(/^[^⚠]*4[\s\S]*\ndemo · F16 · [\d.]+ tokens\/s$/);
    const [row] = await rowsOf(demo);
    expect(row).toMatchObject({ source: "slack", userId: `slack:${ann.id}`, model: "demo", finishReason: "stop" });
  });

  test("a direct message and its thread are answered once each, however often Slack tells of them", async () => {
    await open(demo, by);
    const direct = standIn.world.direct(ann);
    const { message, deliveries } = await standIn.say(ann, direct, "My laptop has a GPU with 6 GB");
    await standIn.repeat(deliveries[0]!);
    await standIn.repeat(deliveries[0]!, "Ev0OTHER");
    await answered(1, direct);
    await standIn.say(ann, direct, "could it run a 13B model?", { thread: message.ts });
    expect(shownText(await answered(2, direct))).toContain("using the last 2 messages");
    expect(answers(direct)).toHaveLength(2);
  });
});

describe("with the demo model", () => {
  test("a Chinese question is answered in Chinese, buttons included", async () => {
    await open(demo);
    ann.locale = "zh-CN";
    await standIn.slash(ann, channel, "/ask", "你好");
    const answer = await answered();
    expect(shownText(answer)).toMatch(/\p{Script=Han}{4}/u);
    expect(JSON.stringify(answer.blocks)).toContain("重新生成");
  });

  test("a text file is read with the bot's token", async () => {
    await open(demo);
    const bytes = new TextEncoder().encode("What is NF4?");
    const file = { id: standIn.world.newId("F"), name: "q.txt", mimetype: "text/plain", bytes };
    const direct = standIn.world.direct(ann);
    await standIn.say(ann, direct, "Answer:", { files: [file] });
    await answered(1, direct);
    const [row] = await rowsOf(demo);
    expect(row!.usage.promptTokens).toBeGreaterThan(15);
  });

  test("Regenerate asks again, and the old answer keeps its words without buttons", async () => {
    await open(demo);
    await standIn.slash(ann, channel, "/ask", "What is Q4_K_M?");
    const first = await answered();
    await standIn.press(ann, first, "again");
    const second = await waitFor(
      () => answers().find((one) => one !== first && verbsOf(one).includes("again")),
      20_000,
    );
    expect(shownText(second).length).toBeGreaterThan(10);
    await waitFor(() => (verbsOf(first).length === 0 ? true : undefined), 20_000);
    expect(shownText(first)).toContain("demo");
  });

  test("a quota that is reached names the time to wait, for that user alone", async () => {
    const reply = await fetch(`${demo.address}/v1/keys`, {
      method: "POST",
      headers: { authorization: `Bearer ${demo.key}`, "content-type": "application/json" },
      body: JSON.stringify({ name: "slack", scopes: ["chat", "usage"], userLimits: { requestsPerMinute: 1 } }),
    });
    const { secret } = (await reply.json()) as { secret: string };
    await open({ address: demo.address, key: secret });
    await standIn.slash(ann, channel, "/ask", "What is GGUF?");
    await answered(1);
    await standIn.slash(ann, channel, "/ask", "What is GGUF?");
    expect(shownText(await answered(2))).toMatch(/⚠️ .+ \(in about \d+ s\) \(request [0-9a-f]{10}\)$/);
    await standIn.slash(bob, channel, "/ask", "What is GGUF?");
    expect(shownText(await answered(3))).toMatch(/file|llama/i);
  });

  test("five people at once are all answered", async () => {
    await open(demo);
    const people = ["Cas", "Dee", "Eve", "Flo", "Gus"].map((name) => standIn.world.addUser(name));
    for (const person of people) await standIn.slash(person, channel, "/ask", "What is the KV cache?");
    await answered(5);
    for (const answer of answers()) expect(shownText(answer)).toMatch(/cache/i);
  }, 60_000);

  test("/fits answers with the planner's text and a picture", async () => {
    await open(demo);
    await standIn.slash(ann, channel, "/fits", "13b 6gb");
    const picture = await waitFor(() => channel.messages.find(({ files }) => files.length > 0), 20_000);
    const root = channel.messages.find(({ user }) => user.isBot)!;
    expect(shownText(root)).toMatch(/^\*\*.*13B.*6 GB/);
    expect([...picture.files[0]!.bytes.slice(0, 4)]).toEqual([0x89, 0x50, 0x4e, 0x47]);
    expect(picture.threadTs).toBe(root.ts);
  });

  test("/stats counts everybody for administrators", async () => {
    await open(demo);
    await standIn.slash(ann, channel, "/ask", "What is GGUF?");
    await answered();
    const { replies } = await standIn.slash(admin, channel, "/stats");
    const reply = await waitFor(() => replies[0], 20_000);
    expect(reply.body.text).toMatch(/Everybody, last 24 hours/);
    expect(reply.body.text).toContain("- slack: ");
    await standIn.openHome(admin, "home");
    const blocks = () => standIn.world.homes.get(admin.id) ?? [];
    await waitFor(() => blocks().find(({ type }) => type === "image"), 20_000);
    const [picture] = standIn.world.files;
    expect([...picture!.bytes.slice(0, 4)]).toEqual([0x89, 0x50, 0x4e, 0x47]);
  });

  test("thumbs are stored with model and latency", async () => {
    await open(demo);
    await standIn.slash(ann, channel, "/ask", "What is Q4_K_M?");
    await standIn.press(bob, await answered(), "up");
    await waitFor(() => (state.votes.length > 0 ? true : undefined), 20_000);
    expect(state.votes[0]).toMatchObject({ vote: "up", model: "demo", quantization: "F16", source: "slack" });
    expect(state.votes[0]!.timeToFirstTokenMs).toBeGreaterThan(0);
  });
});

describe("with a model that does not stop by itself", () => {
  test("the answer is a native stream, and Slack's own Stop frees the slot", async () => {
    await open(endless);
    const message = await talking();
    expect(message.stream?.state).toBe("open");
    await standIn.stopSession(ann, channel, message.threadTs!);
    expect(shownText(await answered())).toContain("stopped");
    await waitFor(isFree, 20_000);
    await waitFor(async () => ((await rowsOf(endless))[0]!.settled ? true : undefined), 20_000);
    expect((await rowsOf(endless))[0]).toMatchObject({ source: "slack", aborted: true });
  });

  test("those who wait see their place, and are answered when it is their turn", async () => {
    await open(endless);
    const first = await talking();
    await standIn.slash(bob, channel, "/ask", "My turn?");
    const { statusHistory } = standIn.world;
    await waitFor(() => statusHistory.find((status) => status.includes("Number 1 in line")), 20_000);
    await standIn.stopSession(ann, channel, first.threadTs!);
    const second = await waitFor(
      () => answers().find((one) => one.threadTs !== first.threadTs && shownText(one).length > 30),
      20_000,
    );
    await standIn.stopSession(bob, channel, second.threadTs!);
    await waitFor(isFree, 20_000);
  });

  test("a refreshed socket does not disturb the answer", async () => {
    await open(endless);
    const message = await talking();
    standIn.refreshSocket();
    const length = shownText(message).length;
    await waitFor(() => (shownText(message).length > length + 20 ? true : undefined), 20_000);
    await waitFor(() => (standIn.socketCount === 2 && standIn.connected ? true : undefined), 20_000);
    await standIn.stopSession(ann, channel, message.threadTs!);
    await waitFor(isFree, 20_000);
  });

  test("a message deleted mid-stream stops the work on the engine", async () => {
    await open(endless);
    await standIn.erase(await talking());
    await waitFor(isFree, 20_000);
  });

  test("kill -9 of the llama child is told in one line, and the next question is answered", async () => {
    await open(endless);
    await talking();
    for (const child of childrenOf(endless.process.pid!)) process.kill(child, "SIGKILL");
    expect(shownText(await answered())).toMatch(/⚠️ .+ \(request [0-9a-f]{10}\)/);
    const next = await talking();
    await standIn.stopSession(ann, channel, next.threadTs!);
    await waitFor(isFree, 20_000);
  });
});

describe("without what is behind it", () => {
  test("an API that is down is told in one line with a request id", async () => {
    await open({ address: "http://127.0.0.1:9", key: "none" });
    await standIn.slash(ann, channel, "/ask", "Hello?");
    expect(shownText(await answered())).toMatch(/⚠️ The model is not available right now.*\(request [0-9a-f]{10}\)$/);
  });

  test("an engine that is down is told the same way, and /fits still answers", async () => {
    const broken = await startSnug({ SNUG_DATA_DIR: join(folder, "broken"), SNUG_MODEL: join(folder, "missing.gguf") });
    try {
      await open(broken);
      await standIn.slash(ann, channel, "/ask", "Hello?");
      expect(shownText(await answered())).toMatch(/⚠️ .+ \(request [0-9a-f]{10}\)$/);
      await standIn.slash(ann, channel, "/fits", "8b 8gb");
      await waitFor(() => channel.messages.find((one) => shownText(one).includes("**")), 20_000);
    } finally {
      broken.process.kill("SIGKILL");
      await broken.exited;
    }
  });

  test("a wrong token is told and not tried again", async () => {
    await open(demo);
    const settings = parseSlackSettings({
      SLACK_BOT_TOKEN: "xoxb-wrong",
      SLACK_APP_TOKEN: standIn.appToken,
      SLACK_API_URL: standIn.apiUrl,
    })!;
    const parts = { api: { url: demo.address, key: demo.key }, state, logger: new MemoryLogger() };
    const wrong = runSlack({ settings, claims: new MemoryEventClaims(), ...parts });
    expect(await wrong.online).toMatchObject({ code: "invalid_configuration" });
  });
});
