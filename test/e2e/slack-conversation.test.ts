import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { createEventClaims } from "../../src/api/bot-claims.ts";
import { openSqlite } from "../../src/entries/sqlite.ts";
import { sayForever } from "../support/fake-engine.ts";
import { Stage } from "../support/slack/stage.ts";
import { ApiError } from "../support/slack/web-api.ts";
import { shownText } from "../support/slack/world.ts";

let stage: Stage;
const cleanups: (() => void)[] = [];
afterEach(async () => {
  await stage.close();
  for (const cleanup of cleanups.splice(0)) cleanup();
  expect(stage.standIn.violations).toEqual([]);
});

/** Ids of the stand-in are counted up, the bot's first. */
const firstChannelId = "C0000002";

/** Claims on disk, as the product keeps them. */
function storedClaims() {
  const folder = mkdtempSync(join(tmpdir(), "snug-slack-"));
  const database = openSqlite(folder);
  cleanups.push(() => {
    database.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return createEventClaims(database);
}

describe("a mention", () => {
  test("is answered once in a thread, though Slack tells of it by two events", async () => {
    stage = await Stage.open();
    const { message, deliveries } = await stage.standIn.say(
      stage.ann,
      stage.channel,
      stage.mention("Who <@U0UNKNOWN> are you &amp; why?"),
    );
    expect(deliveries).toHaveLength(2);
    const answer = await stage.answered();
    expect(answer.threadTs).toBe(message.ts);
    await stage.quiet();
    expect(stage.engine.requests).toHaveLength(1);
    expect(stage.engine.requests[0]!.messages).toEqual([{ role: "user", content: "Who @U0UNKNOWN are you & why?" }]);
  });

  test("by another bot, or a message that calls nobody, is left alone", async () => {
    stage = await Stage.open();
    const robot = stage.standIn.world.addUser("robot", { isBot: true });
    const event = { type: "message", user: robot.id, bot_id: "B0OTHER", channel: stage.channel.id };
    await stage.standIn.event({ ...event, channel_type: "channel", text: stage.mention("hi"), ts: "1.000001" });
    await stage.standIn.say(stage.ann, stage.channel, "Just talking");
    await stage.quiet();
    expect(stage.engine.requests).toEqual([]);
  });
});

describe("a thread", () => {
  test("goes on without a mention and remembers what was said", async () => {
    stage = await Stage.open();
    const { message } = await stage.standIn.say(stage.ann, stage.channel, stage.mention("My name is Ann."));
    await stage.answered(1);
    await stage.standIn.say(stage.ann, stage.channel, "What is my name?", { thread: message.ts });
    const second = await stage.answered(2);
    expect(second.threadTs).toBe(message.ts);
    expect(stage.engine.requests[1]!.messages).toEqual([
      { role: "user", content: "My name is Ann." },
      { role: "assistant", content: "Hello from the fake engine." },
      { role: "user", content: "What is my name?" },
    ]);
    expect(shownText(second)).toContain("using the last 2 messages");
    expect(stage.standIn.requests("conversations.replies")).toEqual([]);
  });

  test("under a slash answer goes on too", async () => {
    stage = await Stage.open();
    const { answer } = await stage.ask(stage.ann, "One?");
    await stage.standIn.say(stage.bob, stage.channel, "Two?", { thread: answer.threadTs! });
    await stage.answered(2);
    expect(stage.engine.requests[1]!.messages.map(({ content }) => content)).toEqual([
      "Ann: One?",
      "Hello from the fake engine.",
      "Bob: Two?",
    ]);
  });

  test("in which people call each other is overheard, not answered", async () => {
    stage = await Stage.open();
    const { message } = await stage.standIn.say(stage.ann, stage.channel, stage.mention("Hi"));
    await stage.answered(1);
    await stage.standIn.say(stage.ann, stage.channel, `<@${stage.bob.id}> look at this`, { thread: message.ts });
    await stage.quiet();
    expect(stage.engine.requests).toHaveLength(1);
    await stage.standIn.say(stage.bob, stage.channel, "Summarize?", { thread: message.ts });
    await stage.answered(2);
    expect(JSON.stringify(stage.engine.requests[1]!.messages)).toContain("look at this");
  });

  test("is followed after a restart, with what Slack lets the bot read", async () => {
    stage = await Stage.open();
    const { message } = await stage.standIn.say(stage.ann, stage.channel, stage.mention("My name is Ann."));
    await stage.answered(1);
    await stage.restart();
    await stage.standIn.say(stage.ann, stage.channel, "What is my name?", { thread: message.ts });
    await stage.answered(2);
    expect(stage.standIn.requests("conversations.replies")).toHaveLength(1);
    expect(JSON.stringify(stage.engine.requests[1]!.messages)).toContain("My name is Ann.");
  });

  test("of which nothing may be read is answered without memory", async () => {
    stage = await Stage.open({ prepare: ({ missingScopes }) => missingScopes.add("conversations.replies") });
    const { message } = await stage.standIn.say(stage.bob, stage.channel, "Something before");
    await stage.standIn.say(stage.ann, stage.channel, stage.mention("And?"), { thread: message.ts });
    await stage.answered();
    expect(stage.engine.requests[0]!.messages).toEqual([{ role: "user", content: "And?" }]);
  });

  test("is forgotten on request", async () => {
    stage = await Stage.open();
    const { message } = await stage.standIn.say(stage.ann, stage.channel, stage.mention("My name is Ann."));
    await stage.answered(1);
    const command = await stage.standIn.slash(stage.ann, stage.channel, "/forget");
    await stage.until(() => command.replies.length === 1, "the word");
    expect(command.replies[0]!.body.text).toContain("Forgotten");
    stage.timer.advance(1000);
    await stage.standIn.say(stage.ann, stage.channel, "What is my name?", { thread: message.ts });
    await stage.answered(2);
    expect(stage.engine.requests[1]!.messages).toEqual([{ role: "user", content: "What is my name?" }]);
  });
});

describe("a direct message", () => {
  test("is answered in its thread, in the person's language", async () => {
    stage = await Stage.open();
    stage.ann.locale = "zh-CN";
    stage.engine.script = () => [{ hold: "later" }, { text: "你好。" }];
    const direct = stage.standIn.world.direct(stage.ann);
    const { message } = await stage.standIn.say(stage.ann, direct, "你好吗？");
    await stage.engine.reached("later");
    await stage.until(() => stage.standIn.world.statusHistory.length > 0, "the status");
    expect(stage.standIn.world.statusHistory[0]).toMatch(/思考|正在/);
    stage.engine.release("later");
    const answer = await stage.answered(1, direct);
    expect(answer.threadTs).toBe(message.ts);
    expect(stage.standIn.requests("users.info")).toHaveLength(1);
  });

  test("with a text file reads it with the bot's token; a picture is refused kindly", async () => {
    stage = await Stage.open();
    const direct = stage.standIn.world.direct(stage.ann);
    const file = (name: string, mimetype: string, text: string) => ({
      id: stage.standIn.world.newId("F"),
      name,
      mimetype,
      bytes: new TextEncoder().encode(text),
    });
    await stage.standIn.say(stage.ann, direct, "Read", { files: [file("a.txt", "text/plain", "The secret is 42.")] });
    await stage.answered(1, direct);
    expect(stage.engine.requests[0]!.messages[0]!.content).toContain("The secret is 42.");
    await stage.standIn.say(stage.ann, direct, "Look", { files: [file("b.png", "image/png", "x")] });
    expect(shownText(await stage.answered(2, direct))).toContain("I can only read text");
  });
});

describe("repeats", () => {
  test("the same event twice is answered once", async () => {
    stage = await Stage.open({ slack: { claims: storedClaims() } });
    const { deliveries } = await stage.standIn.say(stage.ann, stage.standIn.world.direct(stage.ann), "Hi");
    await stage.standIn.repeat(deliveries[0]!);
    await stage.until(() => stage.engine.requests.length > 0, "the question");
    await stage.standIn.repeat(deliveries[0]!);
    await stage.quiet();
    expect(stage.engine.requests).toHaveLength(1);
  });

  test("the same message by another event id is answered once", async () => {
    stage = await Stage.open({ slack: { claims: storedClaims() } });
    const { deliveries } = await stage.standIn.say(stage.ann, stage.standIn.world.direct(stage.ann), "Hi");
    await stage.standIn.repeat(deliveries[0]!, "Ev0OTHER");
    await stage.until(() => stage.engine.requests.length > 0, "the question");
    await stage.standIn.repeat(deliveries[0]!, "Ev0THIRD");
    await stage.quiet();
    expect(stage.engine.requests).toHaveLength(1);
  });

  test("after a restart too", async () => {
    stage = await Stage.open({ slack: { claims: storedClaims() } });
    const direct = stage.standIn.world.direct(stage.ann);
    const { deliveries } = await stage.standIn.say(stage.ann, direct, "Hi");
    await stage.answered(1, direct);
    const command = await stage.standIn.slash(stage.ann, stage.channel, "/ask", "Hi again");
    await stage.answered(1);
    await stage.restart();
    await stage.standIn.repeat(deliveries[0]!);
    await stage.standIn.repeat(deliveries[0]!, "Ev0OTHER");
    await stage.standIn.repeat(command.delivery);
    await stage.quiet();
    expect(stage.engine.requests).toHaveLength(2);
  });
});

describe("the connection", () => {
  test("is opened again when Slack refreshes the socket, and a running answer goes on", async () => {
    stage = await Stage.open();
    stage.engine.script = function* () {
      yield { text: "Before. " };
      yield { hold: "refresh" };
      yield { text: "After." };
    };
    await stage.standIn.slash(stage.ann, stage.channel, "/ask", "Talk");
    await stage.engine.reached("refresh");
    stage.standIn.refreshSocket();
    await stage.until(() => stage.standIn.socketCount === 2 && stage.standIn.connected, "the new socket");
    stage.engine.release("refresh");
    expect(shownText(await stage.answered())).toContain("Before. After.");
    await stage.ask(stage.ann, "Still there?");
  });

  test("that Slack does not give back is told, and the program goes on", async () => {
    const fatal: string[] = [];
    stage = await Stage.open({ slack: { onFatal: ({ code, message }) => fatal.push(`${code} ${message}`) } });
    stage.standIn.fail("apps.connections.open", new ApiError("invalid_auth"), 2);
    stage.standIn.refreshSocket();
    await stage.until(() => fatal.length > 0, "the word");
    expect(fatal[0]).toMatch(/^invalid_configuration .*SLACK_APP_TOKEN/);
  });

  test("a wrong token is named with what to do", async () => {
    stage = await Stage.open({ offline: true });
    stage.slackOptions.botToken = "xoxb-wrong";
    await expect(stage.connect()).rejects.toMatchObject({
      code: "invalid_configuration",
      message: expect.stringContaining("SLACK_BOT_TOKEN"),
    });
    stage.slackOptions.botToken = stage.standIn.botToken;
    stage.slackOptions.receive = { by: "socket", appToken: "xapp-wrong" };
    await expect(stage.connect()).rejects.toMatchObject({
      code: "invalid_configuration",
      message: expect.stringContaining("SLACK_APP_TOKEN"),
    });
  });

  test("the end of the program ends running answers with a note", async () => {
    stage = await Stage.open();
    stage.engine.script = function* () {
      yield { text: "First words. " };
      yield { hold: "talking" };
      yield* sayForever();
    };
    await stage.standIn.slash(stage.ann, stage.channel, "/ask", "Talk");
    await stage.engine.reached("talking");
    await stage.until(() => stage.answers()[0]?.stream !== undefined, "the first words");
    const stopping = stage.online!.stop(0);
    const answer = await stage.answered();
    await stopping;
    expect(shownText(answer)).toContain("interrupted: I am restarting");
  });
});

test("who is not allowed gets a private word on a command and silence on a mention", async () => {
  const nobody = { servers: [], channels: [], roles: [], users: [] };
  stage = await Stage.open({ bot: { access: { allow: nobody, deny: { ...nobody, channels: [firstChannelId] } } } });
  expect(stage.channel.id).toBe(firstChannelId);
  await stage.standIn.say(stage.ann, stage.channel, stage.mention("Hi"));
  const command = await stage.standIn.slash(stage.ann, stage.channel, "/ask", "Hi");
  await stage.until(() => command.replies.length === 1, "the word");
  await stage.quiet();
  expect(command.replies[0]!.body.text).toContain("not allowed");
  expect(stage.said()).toEqual([]);
});

test("threads are left alone where that is set", async () => {
  stage = await Stage.open({ slack: { followThreads: false } });
  const { message } = await stage.standIn.say(stage.ann, stage.channel, stage.mention("Hi"));
  await stage.answered();
  await stage.standIn.say(stage.ann, stage.channel, "And?", { thread: message.ts });
  await stage.quiet();
  expect(stage.engine.requests).toHaveLength(1);
});

test("a deleted question stops its answer", async () => {
  stage = await Stage.open();
  stage.engine.script = function* () {
    yield { text: "First words. " };
    yield { hold: "talking" };
    yield* sayForever();
  };
  const { message } = await stage.standIn.say(stage.ann, stage.channel, stage.mention("Talk"));
  await stage.engine.reached("talking");
  await stage.until(() => stage.answers().length === 1, "the first words");
  await stage.standIn.erase(message);
  await stage.until(() => stage.bot.runningCount === 0, "the end");
  expect(stage.engine.cancelledCount).toBe(1);
});

test.each([
  ["removes the app", { type: "app_uninstalled" }],
  ["revokes its token", { type: "tokens_revoked", tokens: { bot: ["U1"] } }],
])("a workspace that %s ends running answers and is told with what to do", async (_, event) => {
  const told: string[] = [];
  stage = await Stage.open({ slack: { onFatal: (error) => told.push(error.message) } });
  stage.engine.script = function* () {
    yield { text: "First words. " };
    yield { hold: "talking" };
    yield* sayForever();
  };
  await stage.standIn.slash(stage.ann, stage.channel, "/ask", "Talk");
  await stage.engine.reached("talking");
  await stage.standIn.event(event);
  await stage.until(() => told.length === 1 && stage.engine.cancelledCount === 1, "the end");
  expect(told[0]).toContain("SLACK_BOT_TOKEN");
});

test("a person's revoked token is none of the bot's", async () => {
  const told: string[] = [];
  stage = await Stage.open({ slack: { onFatal: (error) => told.push(error.message) } });
  await stage.standIn.event({ type: "tokens_revoked", tokens: { oauth: ["U1"], bot: [] } });
  await stage.ask(stage.ann, "Still there?");
  expect(told).toEqual([]);
});
