/** The bots without a process: the Worker in real workerd answers the stand-ins' signed requests, the engine is scripted. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { availableCommands } from "../../src/bots/commands.ts";
import { registerDiscord } from "../../src/bots/discord/start.ts";
import { ScriptedComparisons } from "../support/compare-port.ts";
import { answerOf, buttonsOf, DiscordStandIn } from "../support/discord/stand-in.ts";
import {
  administrator,
  type StandChannel as DiscordChannel,
  type StandUser as DiscordUser,
} from "../support/discord/world.ts";
import { type EdgeBots, startEdgeBots } from "../support/edge-worker.ts";
import { type Listening, serveEngine } from "../support/engine-server.ts";
import { FakeEngine, sayWords } from "../support/fake-engine.ts";
import { SlackStandIn } from "../support/slack/stand-in.ts";
import { type StandChannel, type StandUser, shownText, verbsOf } from "../support/slack/world.ts";
import { waitFor } from "../support/snug-process.ts";

const adminKey = "admin-key-of-the-edge-tests";

let folder: string;
let engine: FakeEngine;
let comparisons: ScriptedComparisons;
let upstream: Listening;
let discord: DiscordStandIn;
let slack: SlackStandIn;
let worker: EdgeBots;

let guildChannel: DiscordChannel;
let dora: DiscordUser;
let channel: StandChannel;
let ann: StandUser;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "snug-edge-"));
  engine = new FakeEngine({ models: [{ id: "fake", quantization: "F16", contextLength: 1_000_000, loaded: true }] });
  comparisons = new ScriptedComparisons();
  comparisons.now = { ...comparisons.now, id: "cmp-1" };
  upstream = await serveEngine(engine, (app) => {
    app.post("/compare", async (context) => context.json(await comparisons.start(await context.req.json()), 202));
    app.get("/compare/:id", async (context) => context.json(await comparisons.look()));
    app.delete("/compare/:id", async (context) => context.json(await comparisons.cancel(context.req.param("id"))));
  });
  discord = await DiscordStandIn.start();
  slack = await SlackStandIn.start();
  await registerDiscord({ token: discord.token, apiUrl: discord.apiUrl, commands: availableCommands(["compare"]) });
  guildChannel = discord.world.addChannel(discord.world.addGuild("Lab"), "general");
  dora = discord.world.addUser("Dora");
  channel = slack.world.addChannel("general");
  ann = slack.world.addUser("Ann");
  worker = await start();
}, 60_000);

afterAll(async () => {
  await worker?.stop();
  await Promise.all([upstream.close(), discord.close(), slack.close()]);
  rmSync(folder, { recursive: true, force: true });
});

beforeEach(() => {
  engine.script = sayWords("Hello from the fake engine.");
  engine.requests.length = 0;
  engine.cancelledCount = 0;
});

afterEach(() => {
  expect(discord.violations).toEqual([]);
  slack.checkAcknowledged();
  expect(slack.violations).toEqual([]);
});

async function start(): Promise<EdgeBots> {
  const started = await startEdgeBots({
    folder,
    adminKey,
    engineUrl: upstream.url,
    bindings: {
      DISCORD_TOKEN: discord.token,
      DISCORD_PUBLIC_KEY: discord.publicKey,
      DISCORD_API_URL: discord.apiUrl,
      SLACK_BOT_TOKEN: slack.botToken,
      SLACK_SIGNING_SECRET: slack.signingSecret,
      SLACK_API_URL: slack.apiUrl,
    },
  });
  const sendTo = (path: string) => async (request: Request) =>
    fetch(`${started.url}${path}`, { method: "POST", headers: request.headers, body: await request.text() });
  discord.http = sendTo("/discord/interactions");
  slack.http = sendTo("/slack/events");
  return started;
}

const ended = (interaction: Awaited<ReturnType<typeof discord.slash>>) =>
  discord.until(() => {
    const message = interaction.original;
    return message !== undefined && buttonsOf(message).includes("again") && message;
  }, "the end of the answer");

/** Says a few words and then nothing more. */
function* talk() {
  yield { text: "First words. " };
  yield { hold: "for good" };
}

describe("Discord", () => {
  test("/ask is deferred, answered through the webhook, and stands in the ledger as Discord's", async () => {
    const interaction = await discord.slash(dora, guildChannel, "ask", { prompt: "Who are you?" });
    expect(interaction.ackType).toBe(5);
    expect(answerOf(await ended(interaction))).toBe("> Who are you?\nHello from the fake engine.");
    const reply = await worker.api("/v1/usage", { headers: { authorization: `Bearer ${adminKey}` } });
    expect(await reply.json()).toMatchObject({
      rows: [{ source: "discord", userId: `discord:${dora.id}`, settled: true }],
    });
  });

  test("Stop reaches the answer that is being written, and the engine", async () => {
    engine.script = talk;
    const interaction = await discord.slash(dora, guildChannel, "ask", { prompt: "Talk" });
    const message = await discord.until(
      () => interaction.original?.content.includes("First words.") && interaction.original,
      "the first words",
    );
    await discord.press(dora, message, "stop");
    expect(answerOf(await ended(interaction))).toContain("First words.");
    await waitFor(() => (engine.cancelledCount === 1 ? true : undefined), 20_000);
  });

  test("Regenerate, thumbs, suggestions and the caller's language work", async () => {
    dora.locale = "zh-CN";
    const first = await discord.slash(dora, guildChannel, "ask", { prompt: "你是谁？" });
    const message = await ended(first);
    expect(JSON.stringify(message.components)).toContain("🔁");
    const again = await discord.press(dora, message, "again");
    await discord.until(() => again.followUps.some((one) => buttonsOf(one).includes("again")), "the second answer");
    expect(engine.requests).toHaveLength(2);
    const up = await discord.press(dora, again.followUps[0]!, "up");
    await discord.until(() => up.original?.content.includes("谢"), "the thanks");
    expect(await discord.typing(dora, guildChannel, "ask", "model", "fa")).toEqual(["fake"]);
    const fits = await discord.slash(dora, guildChannel, "fits", { query: "13b 6gb" });
    await discord.until(() => fits.original?.content.includes("6 GB"), "the plan");
    dora.locale = "en-US";
  });

  test("/compare measures on the engine's machine, and its report is written", async () => {
    const ada = discord.world.addUser("Ada", { permissions: administrator });
    const interaction = await discord.slash(ada, guildChannel, "compare", { model: "tiny", quantizations: "f16" });
    const message = await discord.until(() => interaction.original, "the first word");
    expect(buttonsOf(message)).toEqual(["halt"]);
    comparisons.done();
    await discord.until(() => interaction.original?.content.includes("42.0 tokens/s"), "the report");
    expect(comparisons.requests).toEqual([{ model: "tiny", quantizations: ["F16"] }]);
  });

  test("the same interaction sent again is answered once", async () => {
    const interaction = await discord.slash(dora, guildChannel, "ask", { prompt: "Once" });
    await ended(interaction);
    const repeated = await discord.http!(discord.signed(interaction.payload!));
    expect(repeated.status).toBe(409);
    const forged = discord.signed(interaction.payload!, { body: JSON.stringify(interaction.payload) });
    forged.headers.set("x-signature-timestamp", "1");
    expect((await discord.http!(forged)).status).toBe(401);
    expect(engine.requests).toHaveLength(1);
  });
});

describe("Slack", () => {
  const answers = () => channel.messages.filter(({ user, threadTs, deleted }) => user.isBot && threadTs && !deleted);
  const answered = (count: number) =>
    waitFor(
      () => {
        const found = answers().filter((one) => verbsOf(one).includes("again"));
        return found.length >= count ? found.at(-1) : undefined;
      },
      15_000,
      () => slack.recent().join(", "),
    );

  test("a mention is answered by a native stream in its thread, told twice and answered once", async () => {
    engine.script = function* () {
      yield { text: "Hello " };
      yield { hold: "the rest" };
      yield { text: "from the fake engine." };
    };
    const { deliveries } = await slack.say(ann, channel, `<@${slack.world.bot.id}> Who are you?`);
    await waitFor(() => answers().find(({ stream }) => stream?.state === "open"), 20_000);
    engine.release("the rest");
    const answer = await answered(1);
    expect(shownText(answer)).toContain("Hello from the fake engine.");
    expect(answer.stream?.state).toBe("stopped");
    await slack.repeat(deliveries[0]!);
    await slack.repeat(deliveries[0]!, "Ev-another");
    await slack.say(ann, channel, "And again?", { thread: answer.threadTs! });
    await answered(2);
    expect(engine.requests).toHaveLength(2);
    expect(engine.requests[1]!.messages.map(({ content }) => content)).toEqual([
      "Who are you?",
      "Hello from the fake engine.",
      "And again?",
    ]);
  });

  test("/ask is acknowledged, answered in a thread, and stopped by Slack's own button", async () => {
    engine.script = talk;
    await slack.slash(ann, channel, "/ask", "Talk");
    const growing = await waitFor(() => answers().find((one) => shownText(one).includes("First words.")), 20_000);
    await slack.stopSession(ann, channel, growing.threadTs!);
    await waitFor(() => (engine.cancelledCount === 1 ? true : undefined), 20_000);
    const ends = await waitFor(
      () => answers().find((one) => one === growing && verbsOf(one).includes("again")),
      20_000,
    );
    expect(shownText(ends)).toContain("First words.");
  });

  test("buttons, commands and the Home tab work", async () => {
    const models = await slack.slash(ann, channel, "/models");
    await waitFor(() => models.replies[0], 20_000);
    expect(JSON.stringify(models.replies[0]!.body)).toContain("fake");
    await slack.openHome(ann, "home");
    await waitFor(() => slack.world.homes.get(ann.id), 20_000);
    const count = answers().filter((one) => verbsOf(one).includes("again")).length;
    await slack.press(ann, answers().findLast((one) => verbsOf(one).includes("again"))!, "again");
    // The old answer's buttons go, so the number of those with buttons stays.
    await waitFor(() => (engine.requests.length === 1 ? true : undefined), 20_000);
    await answered(count);
  });

  test("the address is verified, and a forged request refused", async () => {
    const challenge = slack.signed("events_api", { type: "url_verification", challenge: "abc" });
    expect(await (await slack.http!(challenge)).json()).toEqual({ challenge: "abc" });
    const forged = slack.signed("events_api", { type: "event_callback" }, { secret: "another" });
    expect((await slack.http!(forged)).status).toBe(401);
  });
});

test("an answer that the end of the object cut is begun again and ends where it stood", async () => {
  engine.script = talk;
  const interaction = await discord.slash(dora, guildChannel, "ask", { prompt: "Survive" });
  await discord.until(() => interaction.original?.content.includes("First words."), "the first words");
  await worker.stop();
  engine.script = sayWords("Hello after the restart.");
  worker = await start();
  expect(answerOf(await ended(interaction))).toBe("> Survive\nHello after the restart.");
  expect(interaction.followUps).toEqual([]);
}, 60_000);
