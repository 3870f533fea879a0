import { afterEach, describe, expect, test } from "vitest";
import { Stage } from "../support/discord/stage.ts";
import { answerOf, buttonsOf } from "../support/discord/stand-in.ts";
import type { StandChannel, StandMessage, StandUser } from "../support/discord/world.ts";
import { FakeEngine, sayForever } from "../support/fake-engine.ts";

let stage: Stage;
afterEach(async () => {
  await stage.close();
  expect(stage.standIn.violations).toEqual([]);
});

/** An engine with room for history. */
const roomy = (contextLength = 4096) => ({
  engine: () => new FakeEngine({ models: [{ id: "fake", loaded: true, contextLength }] }),
});

/** Says something and waits for the next answer in the channel. */
async function converse(
  user: StandUser,
  channel: StandChannel,
  text: string,
  more: Parameters<typeof stage.standIn.say>[3] = {},
): Promise<StandMessage> {
  const before = stage.said(channel).length;
  // People type; Discord's rate limits count on it.
  stage.timer.advance(5000);
  stage.standIn.say(user, channel, text, more);
  return await stage.answered(() => stage.said(channel)[before], `an answer to ${text}`);
}

const me = () => `<@${stage.standIn.world.bot.id}>`;
const lastRequest = () => stage.engine.requests.at(-1)!.messages;

describe("a mention", () => {
  test("is answered by a reply, without the mention in the question and without a ping", async () => {
    stage = await Stage.open();
    const answer = await converse(stage.ann, stage.channel, `${me()} what is Q4_K_M?`);
    expect(answerOf(answer)).toBe("Hello from the fake engine.");
    expect(answer.repliesTo).toBe(stage.channel.messages[0]!.id);
    expect(lastRequest()).toEqual([{ role: "user", content: "what is Q4_K_M?" }]);
    const [sent] = stage.standIn.requests("POST", "/channels/{channel_id}/messages");
    expect(sent!.body).toMatchObject({ allowed_mentions: { parse: [], replied_user: false }, enforce_nonce: true });
  });

  test("works without the Message Content intent", async () => {
    stage = await Stage.open();
    expect(stage.standIn.gateway.hasMessageContent()).toBe(false);
    await converse(stage.ann, stage.channel, `${me()} hello`);
    expect(lastRequest()).toEqual([{ role: "user", content: "hello" }]);
  });

  test("names other people and channels in the question", async () => {
    stage = await Stage.open();
    await converse(stage.ann, stage.channel, `${me()} greet <@${stage.bob.id}> in <#${stage.channel.id}> <:wave:123>`);
    expect(lastRequest()[0]!.content).toBe("greet @Bob in #general :wave:");
  });

  test("without a question is told how to ask", async () => {
    stage = await Stage.open();
    const answer = await converse(stage.ann, stage.channel, me());
    expect(answer.content).toMatch(/There is no question.*\(request r\d+\)/);
  });

  test("other messages, other bots and messages for others are no questions", async () => {
    stage = await Stage.open({ standIn: { messageContent: true } });
    const robot = stage.standIn.world.addUser("Robot", { bot: true });
    stage.standIn.say(stage.ann, stage.channel, "just talking");
    stage.standIn.say(stage.ann, stage.channel, `<@${stage.bob.id}> look`);
    stage.standIn.say(robot, stage.channel, `${me()} loop?`);
    await converse(stage.ann, stage.channel, `${me()} real`);
    expect(stage.engine.requests).toHaveLength(1);
  });

  test("delivered twice is answered once", async () => {
    stage = await Stage.open();
    const { id } = stage.standIn.mention(stage.ann, stage.channel, "once");
    await stage.answered(() => stage.said()[0]);
    // discord.js drops an id it has cached, so the repeat is made after the cache forgot it.
    const repeat = stage.standIn.mention(stage.ann, stage.channel, "once");
    await stage.answered(() => stage.said()[1]);
    expect(repeat.id).not.toBe(id);
    await stage.bot.ask(questionWithId(id), throwingPlace);
    expect(stage.engine.requests).toHaveLength(2);
  });
});

describe("a reply to the bot", () => {
  test("continues the chain of replies, and says how much of it is used", async () => {
    stage = await Stage.open(roomy());
    stage.engine.script = (request) => [{ text: `answer ${request.messages.length}` }];
    const first = await converse(stage.ann, stage.channel, `${me()} one`);
    const second = await converse(stage.ann, stage.channel, "two", { repliesTo: first });
    const third = await converse(stage.bob, stage.channel, "three", { repliesTo: second });
    expect(lastRequest()).toEqual([
      { role: "user", content: "Ann: one" },
      { role: "assistant", content: "answer 1" },
      { role: "user", content: "Ann: two" },
      { role: "assistant", content: "answer 3" },
      { role: "user", content: "Bob: three" },
    ]);
    expect(third.content).toContain("using the last 4 messages");
    expect(first.content).not.toContain("using the last");
  });

  test("to a command's answer knows the command's question", async () => {
    stage = await Stage.open(roomy());
    const { original } = await stage.ask(stage.ann, "What is NF4?");
    await converse(stage.ann, stage.channel, "and INT4?", { repliesTo: original! });
    expect(lastRequest()).toEqual([
      { role: "user", content: "What is NF4?" },
      { role: "assistant", content: "Hello from the fake engine." },
      { role: "user", content: "and INT4?" },
    ]);
  });

  test("after a restart reads the answer back from the chat", async () => {
    stage = await Stage.open(roomy());
    const { original } = await stage.ask(stage.ann, "What is NF4?");
    const first = await converse(stage.ann, stage.channel, `${me()} one`);
    await stage.restart();
    await converse(stage.ann, stage.channel, "and INT4?", { repliesTo: original! });
    expect(lastRequest()).toEqual([
      { role: "user", content: "What is NF4?" },
      { role: "assistant", content: "Hello from the fake engine." },
      { role: "user", content: "and INT4?" },
    ]);
    await converse(stage.ann, stage.channel, "two", { repliesTo: first });
    expect(lastRequest()).toEqual([
      { role: "user", content: "one" },
      { role: "assistant", content: "Hello from the fake engine." },
      { role: "user", content: "two" },
    ]);
  });

  test("leaves out what was stopped before it said anything, failed, or was answered again", async () => {
    stage = await Stage.open(roomy());
    const first = await converse(stage.ann, stage.channel, `${me()} one`);
    stage.engine.script = () => [{ text: "Better." }];
    const press = await stage.standIn.press(stage.ann, first, "again");
    const better = await stage.answered(() => press.followUps[0]);
    await converse(stage.ann, stage.channel, "two", { repliesTo: better });
    expect(lastRequest().map(({ content }) => content)).toEqual(["Better.", "two"].slice(1));
  });

  test("uses the newest messages that fit the context", async () => {
    stage = await Stage.open(roomy(120));
    stage.engine.script = () => [{ text: "ok" }];
    let last = await converse(stage.ann, stage.channel, `${me()} question number 0`);
    for (let index = 1; index < 8; index++) {
      last = await converse(stage.ann, stage.channel, `question number ${index}`, { repliesTo: last });
    }
    const contents = lastRequest().map(({ content }) => content);
    expect(contents.at(-1)).toBe("question number 7");
    expect(contents).toContain("question number 6");
    expect(contents).not.toContain("question number 0");
    expect(lastRequest()[0]!.role).toBe("user");
    expect(last.content).toMatch(/using the last [2-8] messages/);
  });

  test("is asked again with less history when the engine counts more tokens than expected", async () => {
    stage = await Stage.open(roomy(2000));
    stage.engine.script = () => [{ text: "word ".repeat(300) }];
    const first = await converse(stage.ann, stage.channel, `${me()} one`);
    const models = [{ id: "fake", loaded: true, contextLength: 100 }];
    const small = new FakeEngine({ models });
    const counts: number[] = [];
    stage.engine.chat = (request, options) => {
      counts.push(request.messages.length);
      return small.chat(request, options);
    };
    const answer = await converse(stage.ann, stage.channel, "two", { repliesTo: first });
    expect(counts[0]).toBe(3);
    expect(counts.at(-1)).toBe(1);
    expect(answerOf(answer)).toBe("Hello from the fake engine.");
  });
});

describe("a thread", () => {
  const thread = () => stage.standIn.world.addChannel(stage.guild, "talk", { type: 11, parentId: stage.channel.id });
  const open = async (messageContent: boolean) => {
    stage = await Stage.open({ ...roomy(), standIn: { messageContent }, offline: true });
    const channel = thread();
    await stage.connect();
    return channel;
  };

  test("is followed after one mention, where the bot may read it", async () => {
    const channel = await open(true);
    expect(stage.online!.followThreads).toBe(true);
    stage.standIn.say(stage.ann, channel, "nobody asked the bot yet");
    await converse(stage.ann, channel, `${me()} one`);
    await converse(stage.ann, channel, "two, without a mention");
    expect(lastRequest().map(({ content }) => content)).toEqual([
      "nobody asked the bot yet\n\none",
      "Hello from the fake engine.",
      "two, without a mention",
    ]);
    stage.standIn.say(stage.ann, channel, `<@${stage.bob.id}> not for the bot`);
    await converse(stage.ann, channel, "three");
    expect(stage.engine.requests).toHaveLength(3);
  });

  test("is followed again after a restart, known by its messages", async () => {
    stage = await Stage.open({ ...roomy(), standIn: { messageContent: true }, offline: true });
    const channel = thread();
    const { world } = stage.standIn;
    stage.standIn.say(stage.ann, channel, `${me()} before the restart`);
    channel.messages.push({ ...channel.messages[0]!, id: world.newId(), author: world.bot, content: "old answer" });
    await stage.connect();
    await converse(stage.ann, channel, "after the restart");
    expect(stage.engine.requests).toHaveLength(1);
  });

  test("needs a mention each time where the bot may not read it", async () => {
    const channel = await open(false);
    expect(stage.online!.followThreads).toBe(false);
    await converse(stage.ann, channel, `${me()} one`);
    stage.standIn.say(stage.ann, channel, "two, without a mention");
    await converse(stage.ann, channel, `${me()} three`);
    expect(stage.engine.requests).toHaveLength(2);
    expect(lastRequest().map(({ content }) => content)).toEqual(["one", "Hello from the fake engine.", "three"]);
  });

  test("is not followed when switched off", async () => {
    stage = await Stage.open({ discord: { followThreads: "off" }, standIn: { messageContent: true } });
    expect(stage.online!.followThreads).toBe(false);
    expect(stage.standIn.gateway.hasMessageContent()).toBe(false);
  });

  test("is opened for the answer when so set", async () => {
    stage = await Stage.open({ discord: { answerIn: "thread" } });
    const question = stage.standIn.mention(stage.ann, stage.channel, "in a thread please");
    const opened = await stage.advanceUntil(
      () => stage.guild.channels.find((channel) => channel.id === question.id),
      "the thread",
    );
    expect(opened.name).toBe("in a thread please");
    expect(answerOf(await stage.answered(() => stage.said(opened)[0]))).toBe("Hello from the fake engine.");
  });
});

describe("a direct message", () => {
  test("is a question, and the conversation is remembered", async () => {
    stage = await Stage.open(roomy());
    const channel = stage.standIn.world.directChannel(stage.ann);
    await converse(stage.ann, channel, "hello");
    const second = await converse(stage.ann, channel, "again");
    expect(lastRequest().map(({ content }) => content)).toEqual(["hello", "Hello from the fake engine.", "again"]);
    expect(second.content).toContain("using the last 2 messages");
  });

  test("in Chinese is answered in Chinese without a setting", async () => {
    stage = await Stage.open();
    const channel = stage.standIn.world.directChannel(stage.ann);
    const answer = await converse(stage.ann, channel, "这张显卡够吗");
    expect(answer.components[0]).toMatchObject({ components: [{ label: "重新生成" }, {}, {}] });
    const traditional = await converse(stage.bob, stage.standIn.world.directChannel(stage.bob), "這張顯示卡夠嗎");
    expect(traditional.components[0]).toMatchObject({ components: [{ label: "重新產生" }, {}, {}] });
  });
});

describe("/forget", () => {
  test("ends the use of what its caller said, also by others", async () => {
    stage = await Stage.open({ ...roomy(), standIn: { messageContent: true }, offline: true });
    const channel = stage.standIn.world.addChannel(stage.guild, "talk", { type: 11, parentId: stage.channel.id });
    await stage.connect();
    await converse(stage.ann, channel, `${me()} my secret`);
    stage.timer.advance(1000);
    await converse(stage.bob, channel, "my question");
    stage.timer.advance(1000);
    const forget = await stage.standIn.slash(stage.ann, channel, "forget");
    const done = await stage.standIn.until(() => forget.original, "the reply");
    expect(done.content).toContain("Forgotten");
    expect(done.flags & 64).toBe(64);
    stage.timer.advance(1000);
    await converse(stage.bob, channel, "and now?");
    expect(lastRequest().map(({ content }) => content)).toEqual([
      "my question",
      "Hello from the fake engine.",
      "and now?",
    ]);
    await converse(stage.ann, channel, "what did I say?");
    expect(
      lastRequest()
        .map(({ content }) => content)
        .join(" "),
    ).not.toMatch(/secret|my question/);
  });
});

describe("a deleted message", () => {
  const talking = async () => {
    stage = await Stage.open();
    stage.engine.script = function* () {
      yield { text: "First words. " };
      yield { hold: "talking" };
      yield* sayForever();
    };
    const question = stage.standIn.mention(stage.ann, stage.channel, "talk");
    await stage.engine.reached("talking");
    const answer = await stage.advanceUntil(
      () => stage.said()[0]?.content.includes("First words.") && stage.said()[0],
      "the first words",
    );
    return { question, answer };
  };

  test("that was the question stops the work and is noted", async () => {
    const { question, answer } = await talking();
    stage.standIn.delete(question);
    await stage.answered(() => answer);
    expect(stage.engine.cancelledCount).toBe(1);
    expect(answer.content).toContain("stopped: the question was deleted");
    expect(buttonsOf(answer)).toEqual([]);
  });

  test("that was the answer stops the work, and nothing is written any more", async () => {
    const { answer } = await talking();
    stage.standIn.delete(answer);
    await stage.settled();
    expect(stage.engine.cancelledCount).toBe(1);
    expect(stage.said()).toEqual([]);
  });

  test("that was the channel stops the work", async () => {
    await talking();
    stage.standIn.gateway.dispatch("CHANNEL_DELETE", { id: stage.channel.id, type: 0, guild_id: stage.guild.id });
    await stage.settled();
    expect(stage.engine.cancelledCount).toBe(1);
  });
});

function questionWithId(id: string): Parameters<typeof stage.bot.ask>[0] {
  return {
    id,
    asker: { id: "1", name: "Ann", roleIds: [], isAdmin: false, isManager: false },
    where: { source: "discord", channelId: "1", direct: true },
    locale: "en",
    text: "again",
    files: [],
    history: async () => [],
  };
}

const throwingPlace: Parameters<typeof stage.bot.ask>[1] = {
  get platform(): never {
    throw new Error("A repeated question must not be answered");
  },
  successor: async () => undefined,
  post: async () => {
    throw new Error("A repeated question must not be answered");
  },
  typing: async () => {},
};
