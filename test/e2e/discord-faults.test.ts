import { afterEach, describe, expect, test } from "vitest";
import { startDiscord } from "../../src/bots/discord/start.ts";
import type { StandInteraction } from "../support/discord/interactions.ts";
import { Stage } from "../support/discord/stage.ts";
import { answerOf, buttonsOf, type DiscordStandIn, Refusal } from "../support/discord/stand-in.ts";
import { type FakeStep, sayForever } from "../support/fake-engine.ts";

let stage: Stage;
afterEach(async () => {
  await stage.close();
});

const noViolations = () => expect(stage.standIn.violations).toEqual([]);

/** A question whose answer has begun and goes on when the test lets it. */
async function begin(ending: () => Iterable<FakeStep> = () => [{ text: "Last words." }]): Promise<StandInteraction> {
  stage.engine.script = function* () {
    yield { text: "First words. " };
    yield { hold: "talking" };
    yield* ending();
  };
  const interaction = await stage.standIn.slash(stage.ann, stage.channel, "ask", { prompt: "Talk" });
  await stage.engine.reached("talking");
  await stage.advanceUntil(() => interaction.original?.content.includes("First words."), "the first words");
  return interaction;
}

describe("rate limits", () => {
  test("a 429 delays an edit; the last state is written all the same", async () => {
    stage = await Stage.open();
    const interaction = await begin();
    stage.standIn.refuse(({ method }) => method === "PATCH", new Refusal(429, 0, "wait 0.05 s"), 2);
    stage.engine.release("talking");
    expect(answerOf(await stage.answered(() => interaction.original))).toContain("First words. Last words.");
    expect(stage.logger.lines.map(({ message }) => message)).toContain("Discord asked to slow down");
    noViolations();
  });
});

describe("messages that cannot be written", () => {
  test("an answer deleted mid-stream (10008) stops the work quietly", async () => {
    stage = await Stage.open();
    const interaction = await begin(sayForever);
    // Without the event, as when the gateway is away: the next edit tells.
    interaction.original!.deleted = true;
    stage.engine.release("talking");
    await stage.settled();
    expect(stage.engine.cancelledCount).toBe(1);
    expect(stage.said()).toEqual([]);
    noViolations();
  });

  test("a channel that refuses (50013) sends the answer to the asker's direct messages", async () => {
    stage = await Stage.open();
    stage.channel.denied.add("send");
    stage.standIn.mention(stage.ann, stage.channel, "hello?");
    const direct = stage.standIn.world.directChannel(stage.ann);
    expect(answerOf(await stage.answered(() => stage.said(direct)[0]))).toBe("Hello from the fake engine.");
    noViolations();
  });

  test("a channel whose history the bot may not read (160002) gets the answer as an ordinary message", async () => {
    stage = await Stage.open();
    stage.channel.denied.add("history");
    stage.standIn.mention(stage.ann, stage.channel, "hello?");
    const answer = await stage.answered(() => stage.said()[0]);
    expect(answerOf(answer)).toBe("Hello from the fake engine.");
    expect(answer.repliesTo).toBeUndefined();
    expect(stage.said(stage.standIn.world.directChannel(stage.ann))).toEqual([]);
    noViolations();
  });

  test("with direct messages closed as well (50007) the work is ended and logged", async () => {
    stage = await Stage.open();
    stage.channel.denied.add("send");
    stage.ann.closedToDirectMessages = true;
    stage.engine.script = sayForever;
    stage.standIn.mention(stage.ann, stage.channel, "hello?");
    await stage.advanceUntil(() => stage.engine.cancelledCount === 1, "the end of the work");
    await stage.settled();
    const warning = stage.logger.lines.find(({ message }) => message === "a reply can no longer be written");
    expect(warning?.facts).toMatchObject({ reason: "forbidden", platformCode: 50007 });
  });

  test("a thread archived mid-stream (50083) moves the answer on", async () => {
    stage = await Stage.open({ offline: true });
    const thread = stage.standIn.world.addChannel(stage.guild, "talk", { type: 11, parentId: stage.channel.id });
    await stage.connect();
    stage.engine.script = () => [{ text: "First words. " }, { hold: "talking" }, { text: "Last words." }];
    stage.standIn.mention(stage.ann, thread, "talk");
    await stage.engine.reached("talking");
    await stage.advanceUntil(() => stage.said(thread)[0], "the first words");
    thread.archived = true;
    stage.engine.release("talking");
    const direct = stage.standIn.world.directChannel(stage.ann);
    expect(answerOf(await stage.answered(() => stage.said(direct)[0]))).toBe("First words. Last words.");
    noViolations();
  });

  test("an answer the server's filter refuses (200000) ends with one line that says so", async () => {
    stage = await Stage.open();
    stage.standIn.blockedWords.add("forbidden");
    stage.engine.script = () => [{ text: "A forbidden word." }];
    stage.standIn.mention(stage.ann, stage.channel, "say it");
    const answer = await stage.answered(() => stage.said()[0]);
    expect(answer.content).toMatch(/^⚠️ A filter of this server refused the answer\. \(request r\d+\)$/);
    noViolations();
  });

  test("Discord failing for a while (500, connections cut) delays the answer", async () => {
    stage = await Stage.open();
    const interaction = await begin();
    stage.standIn.refuse(({ method }) => method === "PATCH", new Refusal(500, 0, "down"), 5);
    stage.standIn.refuse(({ method }) => method === "PATCH", "hang up", 2);
    stage.engine.release("talking");
    const answer = await stage.answered(() => interaction.original, "the answer", 60_000);
    expect(answerOf(answer)).toContain("First words. Last words.");
    noViolations();
  });

  test("a send that arrived but whose reply was lost does not show twice", async () => {
    stage = await Stage.open();
    const messages = "/channels/{channel_id}/messages";
    // The stand-in takes the message, then the connection breaks before the reply.
    stage.standIn.loseReply(({ method, route }) => method === "POST" && route === messages);
    stage.standIn.mention(stage.ann, stage.channel, "hello");
    expect(answerOf(await stage.answered(() => stage.said()[0]))).toBe("Hello from the fake engine.");
    expect(stage.standIn.requests("POST", messages).filter(({ route }) => route === messages).length).toBeGreaterThan(
      1,
    );
    expect(stage.said()).toHaveLength(1);
    noViolations();
  });
});

describe("command replies", () => {
  test("that are refused become one line with a request id", async () => {
    stage = await Stage.open();
    const edit = ({ route }: { route: string }) => route.endsWith("/messages/@original");
    stage.standIn.refuse(edit, new Refusal(400, 50035, "Invalid Form Body"));
    const interaction = await stage.standIn.slash(stage.ann, stage.channel, "help");
    const reply = await stage.standIn.until(() => interaction.original, "the reply");
    expect(reply.content).toMatch(/^⚠️ Something went wrong on our side\. \(request r\d+\)$/);
    noViolations();
  });
});

describe("interactions out of time", () => {
  test("one that comes too late (10062) is dropped without work", async () => {
    stage = await Stage.open();
    const interaction = stage.standIn.sendCommand(stage.ann, stage.channel, "ask", { prompt: "late" });
    stage.timer.advance(4000);
    await stage.advanceUntil(() => stage.logger.lines.some(({ level }) => level === "warn"), "the log line");
    expect(interaction.ackType).toBeUndefined();
    expect(stage.engine.requests).toEqual([]);
    expect(stage.standIn.violations).toEqual(["an interaction was acknowledged after 4000 ms"]);
  });

  test("one that another process acknowledged (40060) is left to it", async () => {
    stage = await Stage.open();
    stage.standIn.refuse(({ route }) => route.endsWith("/callback"), new Refusal(400, 40060, "Already acknowledged."));
    stage.standIn.sendCommand(stage.ann, stage.channel, "ask", { prompt: "taken" });
    await stage.advanceUntil(
      () => stage.logger.lines.some(({ facts }) => facts.platformCode === 40060),
      "the log line",
    );
    expect(stage.engine.requests).toEqual([]);
    noViolations();
  });

  test("an answer still running before minute 15 goes on as a channel message", async () => {
    stage = await Stage.open();
    const interaction = await begin();
    stage.timer.advance(14 * 60_000);
    const moved = await stage.advanceUntil(() => stage.said()[1], "the channel message");
    expect(moved.interaction).toBeUndefined();
    expect(buttonsOf(moved)).toEqual(["stop"]);
    await stage.advanceUntil(() => interaction.original!.content.includes("continued below"), "the note");
    expect(buttonsOf(interaction.original!)).toEqual([]);
    stage.timer.advance(2 * 60_000);
    stage.engine.release("talking");
    expect(answerOf(await stage.answered(() => moved))).toBe("> Talk\nFirst words. Last words.");
    noViolations();
  });

  test("a private one goes on in direct messages", async () => {
    stage = await Stage.open();
    stage.engine.script = () => [{ text: "First words. " }, { hold: "talking" }, { text: "Last words." }];
    const interaction = await stage.standIn.slash(stage.ann, stage.channel, "ask", { prompt: "Talk", private: true });
    await stage.engine.reached("talking");
    await stage.advanceUntil(() => interaction.original, "the first words");
    stage.timer.advance(14 * 60_000);
    const direct = stage.standIn.world.directChannel(stage.ann);
    const moved = await stage.advanceUntil(() => stage.said(direct)[0], "the direct message");
    stage.engine.release("talking");
    expect(answerOf(await stage.answered(() => moved))).toBe("> Talk\nFirst words. Last words.");
    expect(stage.channel.messages.filter(({ flags }) => (flags & 64) === 0)).toEqual([]);
    noViolations();
  });

  test("a private one with direct messages closed is cut with a note in time", async () => {
    stage = await Stage.open();
    stage.ann.closedToDirectMessages = true;
    stage.engine.script = function* () {
      yield { text: "First words. " };
      yield { hold: "talking" };
      yield* sayForever();
    };
    const interaction = await stage.standIn.slash(stage.ann, stage.channel, "ask", { prompt: "Talk", private: true });
    await stage.engine.reached("talking");
    await stage.advanceUntil(() => interaction.original, "the first words");
    stage.timer.advance(14 * 60_000);
    await stage.answered(() => interaction.original);
    expect(interaction.original!.content).toContain("cut: the platform closes a private reply after 15 minutes");
    expect(stage.engine.cancelledCount).toBe(1);
    noViolations();
  });

  test("in a server the bot is no member of, direct messages take over from the interaction", async () => {
    stage = await Stage.open({ offline: true });
    const foreign = stage.standIn.world.addGuild("Elsewhere", { botIsMember: false });
    const channel = stage.standIn.world.addChannel(foreign, "there");
    await stage.connect();
    stage.engine.script = () => [{ text: "First words. " }, { hold: "talking" }, { text: "Last words." }];
    const options = { userInstalledOnly: true };
    const interaction = await stage.standIn.slash(stage.ann, channel, "ask", { prompt: "Talk" }, options);
    await stage.engine.reached("talking");
    await stage.advanceUntil(() => interaction.original, "the first words");
    stage.timer.advance(14 * 60_000);
    const direct = stage.standIn.world.directChannel(stage.ann);
    const moved = await stage.advanceUntil(() => stage.said(direct)[0], "the direct message");
    stage.engine.release("talking");
    expect(answerOf(await stage.answered(() => moved))).toContain("First words. Last words.");
    noViolations();
  });
});

describe("the gateway", () => {
  test("dropped mid-answer is resumed; the answer goes on and nothing is answered twice", async () => {
    stage = await Stage.open();
    const interaction = await begin();
    stage.standIn.gateway.drop(4000);
    stage.standIn.mention(stage.bob, stage.channel, "asked while away");
    await stage.standIn.until(() => stage.standIn.gateway.resumeCount === 1, "the resumption");
    stage.engine.release("talking");
    expect(answerOf(await stage.answered(() => interaction.original))).toContain("Last words.");
    await stage.answered(() => stage.said()[1]);
    expect(stage.engine.requests).toHaveLength(2);
    expect(stage.standIn.gateway.identifyCount).toBe(1);
    noViolations();
  });

  test("events without members that discord.js relies on do not end the process", async () => {
    stage = await Stage.open();
    const { ann, channel, guild, standIn } = stage;
    standIn.gateway.dispatch("INTERACTION_CREATE", {
      id: "5",
      application_id: standIn.applicationId,
      type: 2,
      token: "broken",
      version: 1,
      channel_id: channel.id,
      channel: { id: channel.id, type: 0 },
      guild_id: guild.id,
      member: { user: { id: ann.id, username: "ann", discriminator: "0", avatar: null }, roles: [], permissions: "0" },
      data: { id: "6", name: "ask", type: 1 },
    });
    const { original } = await stage.ask(stage.ann, "Still there?");
    expect(answerOf(original)).toContain("Hello from the fake engine.");
  });
});

describe("going off line", () => {
  test("waits for answers in flight", async () => {
    stage = await Stage.open();
    const interaction = await begin();
    const stopped = stage.online!.stop(10_000);
    const late = stage.standIn.sendCommand(stage.bob, stage.channel, "ask", { prompt: "too late?" });
    const refusal = await stage.standIn.until(() => late.original, "the refusal");
    expect(refusal.content).toMatch(/I am restarting\. Please ask again in a minute\. \(request r\d+\)/);
    stage.engine.release("talking");
    await stage.advanceUntil(() => stage.bot.runningCount === 0, "the end of the answer");
    await stopped;
    expect(answerOf(interaction.original)).toContain("First words. Last words.");
    await stage.standIn.until(() => !stage.standIn.gateway.isConnected, "the end of the connection");
    noViolations();
  });

  test("marks answers that take too long", async () => {
    stage = await Stage.open();
    const interaction = await begin(sayForever);
    const stopped = stage.online!.stop(10_000);
    stage.timer.advance(10_000);
    await stage.advanceUntil(() => stage.bot.runningCount === 0, "the end of the answer");
    await stopped;
    expect(interaction.original!.content).toContain(
      "First words.\n-# interrupted: I am restarting; ask again in a minute",
    );
    expect(buttonsOf(interaction.original!)).toEqual([]);
    expect(stage.engine.cancelledCount).toBe(1);
    noViolations();
  });
});

describe("coming on line", () => {
  const failing = async (change: (standIn: DiscordStandIn) => Partial<Parameters<typeof startDiscord>[0]>) => {
    stage = await Stage.open({ offline: true });
    const options = stage.discordOptions;
    return await startDiscord({ ...options, ...change(stage.standIn) }).catch((error) => error);
  };

  test("with a wrong token names the setting", async () => {
    const error = await failing(() => ({ token: "wrong.token.here" }));
    expect(error).toMatchObject({ code: "invalid_configuration" });
    expect(error.message).toContain("DISCORD_TOKEN");
  });

  test("with an intent that is not switched on names the switch", async () => {
    const error = await failing(() => ({ followThreads: "on" }));
    expect(error).toMatchObject({ code: "invalid_configuration" });
    expect(error.message).toContain("DISCORD_FOLLOW_THREADS=off");
  });

  test("with Discord out of reach says so", async () => {
    const error = await failing(() => ({ apiUrl: "http://127.0.0.1:9/api" }));
    expect(error).toMatchObject({ code: "engine_unavailable" });
    expect(error.message).toContain("Discord could not be reached");
  });
});
