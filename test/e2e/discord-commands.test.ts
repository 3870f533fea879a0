import { readFileSync } from "node:fs";
import { afterEach, describe, expect, test } from "vitest";
import { COMMANDS } from "../../src/bots/commands.ts";
import { inviteUrl, registerDiscord } from "../../src/bots/discord/start.ts";
import { AppError } from "../../src/core/errors.ts";
import type { UsageRow } from "../../src/core/ports.ts";
import { Stage, ways } from "../support/discord/stage.ts";
import { answerOf } from "../support/discord/stand-in.ts";
import { manageChannels, ordinary, type StandUser } from "../support/discord/world.ts";
import { FakeEngine } from "../support/fake-engine.ts";
import { usageOfRows } from "../support/usage-rows.ts";

let stage: Stage;
afterEach(async () => {
  await stage.close();
  expect(stage.standIn.violations).toEqual([]);
});

/** Runs a command that is not /ask and gives the reply. */
async function run(user: StandUser, name: string, options: Record<string, string | boolean> = {}, unseen = false) {
  const interaction = await stage.standIn.slash(user, stage.channel, name, options, { unseen });
  return await stage.standIn.until(() => interaction.original, `the reply to /${name}`);
}

const twoModels = [
  { id: "small", quantization: "Q4_K_M", parameterCount: 8.03e9, contextLength: 16_384, loaded: true },
  { id: "demo", quantization: "F16", parameterCount: 3.87e6, contextLength: 1024, loaded: true, demo: true },
];

describe("registration", () => {
  test("offers every command that can be run, with names in three languages", async () => {
    stage = await Stage.open();
    const names = stage.standIn.commands().map((command) => command.name);
    expect(names).toEqual([
      "ask",
      "fits",
      "models",
      "model",
      "persona",
      "stats",
      "usage",
      "forget",
      "help",
      "Ask about this",
    ]);
    expect(stage.online!.registration!.created).toEqual(names);
    const ask = stage.standIn.commands()[0]!;
    expect(ask).toMatchObject({
      name_localizations: { "en-US": "ask", "zh-CN": "提问", "zh-TW": "提問" },
      contexts: [0, 1, 2],
      integration_types: [0, 1],
    });
    const model = stage.standIn.commands().find((command) => command.name === "model");
    expect(model).toMatchObject({ default_member_permissions: "16", contexts: [0, 1], integration_types: [0] });
    expect(stage.standIn.commands().find((command) => command.name === "stats")).toMatchObject({
      default_member_permissions: "0",
    });
  });

  test("hides what the program cannot do yet", async () => {
    stage = await Stage.open({ bot: { capabilities: ["compare"] } });
    expect(stage.standIn.commands().map((command) => command.name)).toContain("compare");
    expect(COMMANDS.find((command) => command.key === "compare")?.needs).toBe("compare");
  });

  test("writes only what differs", async () => {
    stage = await Stage.open();
    const commands = stage.standIn.commands();
    const posts = () => stage.standIn.requests("POST", "/commands").length;
    const first = posts();
    await stage.restart();
    expect(posts()).toBe(first);
    expect(stage.online!.registration!.unchanged).toHaveLength(10);
    commands[1]!.description = "An older text";
    commands.push({ ...commands[2]!, id: "77", name: "gone" });
    const report = await registerDiscord({
      token: stage.standIn.token,
      apiUrl: stage.standIn.apiUrl,
      commands: stage.bot.commands,
    });
    expect(report).toMatchObject({ created: [], changed: ["fits"], removed: ["gone"] });
    expect(posts()).toBe(first + 1);
    expect(commands.map((command) => command.name)).not.toContain("gone");
  });

  test("can be for one server alone", async () => {
    stage = await Stage.open({ offline: true });
    const guildId = stage.guild.id;
    await registerDiscord({
      token: stage.standIn.token,
      apiUrl: stage.standIn.apiUrl,
      commands: stage.bot.commands,
      guildId,
    });
    expect(stage.standIn.commands(guildId)).toHaveLength(10);
    expect(stage.standIn.commands()).toEqual([]);
  });
});

describe.each(ways)("/fits, by %s", (by) => {
  const fits = {
    answer: async (query: string, locale: string) => {
      if (query === "???") throw new AppError("invalid_request", "Unreadable.");
      const picture = {
        name: "memory.png",
        contentType: "image/png",
        bytes: new Uint8Array([137, 80, 78, 71]),
        description: "8 GB of 6 GB",
      };
      return { text: `**${query}** (${locale})`, picture };
    },
    suggest: (typed: string, countMax: number) =>
      Array.from({ length: 40 }, (_, index) => `${typed} ${index}gb`).slice(0, countMax),
  };

  test("replies to everybody with the planner's text and picture", async () => {
    stage = await Stage.open({ by, bot: { fits } });
    stage.ann.locale = "zh-CN";
    const reply = await run(stage.ann, "fits", { query: "13b 6gb" });
    expect(reply.content).toBe("**13b 6gb** (zh-CN)");
    expect(reply.flags & 64).toBe(0);
    expect(reply.attachments[0]).toMatchObject({
      name: "memory.png",
      contentType: "image/png",
      description: "8 GB of 6 GB",
    });
  });

  test("offers at most 25 complete queries while typing", async () => {
    stage = await Stage.open({ by, bot: { fits } });
    const choices = await stage.standIn.typing(stage.ann, stage.channel, "fits", "query", "13b");
    expect(choices).toHaveLength(25);
    expect(choices[0]).toBe("13b 0gb");
  });

  test("says in one line what it cannot read", async () => {
    stage = await Stage.open({ by, bot: { fits } });
    const reply = await run(stage.ann, "fits", { query: "???" });
    expect(reply.content).toMatch(/^⚠️ I could not read that request\. \(request r\d+\)$/);
  });
});

describe.each(ways)("/models and /model, by %s", (by) => {
  const engine = () => new FakeEngine({ models: twoModels });

  test("list what can answer here", async () => {
    stage = await Stage.open({ by, engine });
    const reply = await run(stage.ann, "models");
    expect(reply.content).toBe(
      "**Models**\n- **small** · Q4_K_M · 8.03B · context 16k · ready · used in this channel\n- **demo** · F16 · 4M · context 1k · tiny demo · ready",
    );
    expect(reply.flags & 64).toBe(64);
  });

  test("are suggested while typing", async () => {
    stage = await Stage.open({ by, engine });
    expect(await stage.standIn.typing(stage.ann, stage.channel, "ask", "model", "de")).toEqual(["demo"]);
  });

  test("choose the channel's model, for those who manage it", async () => {
    stage = await Stage.open({ by, engine });
    stage.bob.permissions = ordinary | manageChannels;
    expect((await run(stage.bob, "model", { name: "demo" })).content).toBe("This channel now asks **demo**.");
    await stage.ask(stage.ann, "Hi");
    expect(stage.engine.requests[0]!.model).toBe("demo");
    expect((await run(stage.bob, "model", { name: "huge" })).content).toContain(
      "There is no model “huge”. I have: small, demo.",
    );
    expect((await run(stage.bob, "model", { name: "default" })).content).toContain("back to the default, **small**");
    expect((await run(stage.bob, "model")).content).toContain("asks **small**");
  });

  test("refuse others, also when their client lets them", async () => {
    stage = await Stage.open({ by, engine });
    await expect(run(stage.ann, "model", { name: "demo" })).rejects.toThrow("is not offered");
    const reply = await run(stage.ann, "model", { name: "demo" }, true);
    expect(reply.content).toMatch(/Only those who manage this channel can change that\. \(request r\d+\)/);
    expect(await stage.state.channelSettings("discord", stage.channel.id)).toEqual({});
  });

  test("a thread uses its channel's settings", async () => {
    stage = await Stage.open({ by, engine, offline: true });
    const thread = stage.standIn.world.addChannel(stage.guild, "talk", { type: 11, parentId: stage.channel.id });
    await stage.connect();
    await stage.state.setChannelSettings("discord", stage.channel.id, { model: "demo", persona: "Be brief." });
    const interaction = await stage.standIn.slash(stage.ann, thread, "ask", { prompt: "Hi" });
    await stage.answered(() => interaction.original);
    expect(stage.engine.requests[0]).toMatchObject({
      model: "demo",
      messages: [{ role: "system", content: "Be brief." }, {}],
    });
  });
});

describe.each(ways)("/persona, by %s", (by) => {
  test("is told to the model with every question in the channel until it is removed", async () => {
    stage = await Stage.open({ by });
    const reply = await run(stage.admin, "persona", { text: "You are a pirate.\nRhyme." });
    expect(reply.content).toContain("> You are a pirate.\n> Rhyme.");
    await stage.ask(stage.ann, "Hi");
    expect(stage.engine.requests[0]!.messages[0]).toEqual({ role: "system", content: "You are a pirate.\nRhyme." });
    expect((await run(stage.admin, "persona")).content).toContain("> You are a pirate.");
    await run(stage.admin, "persona", { remove: true });
    await stage.ask(stage.ann, "Hi");
    expect(stage.engine.requests[1]!.messages).toHaveLength(1);
    expect((await run(stage.admin, "persona")).content).toContain("told nothing about a role");
  });
});

describe.each(ways)("/stats and /usage, by %s", (by) => {
  const row = (index: number, userId: string): UsageRow => ({
    id: `u${index}`,
    at: Date.UTC(2026, 0, 5, 11),
    keyId: "k",
    source: "discord",
    userId,
    model: "small",
    stream: true,
    usage: { promptTokens: 100, completionTokens: 20 },
    timings: { timeToFirstTokenMs: 100 * (index + 1), completionTokensPerSecond: 40 },
    settled: true,
    interrupted: false,
    aborted: false,
    ...(index % 4 === 3 ? { errorCode: "engine_timeout" } : {}),
  });
  const open = async () => {
    const usage = usageOfRows();
    stage = await Stage.open({ by, bot: { usage } });
    usage.rows = [0, 1, 2, 3].map((index) => row(index, `discord:${index < 3 ? stage.ann.id : stage.bob.id}`));
    return usage.queries;
  };

  test("/stats shows administrators everybody's use by model, source and user", async () => {
    const queries = await open();
    await stage.state.recordFeedback({
      answerId: "a",
      source: "discord",
      userId: "1",
      vote: "up",
      at: stage.timer.now(),
      model: "small",
    });
    const reply = await run(stage.admin, "stats", { period: "week" });
    expect(reply.content).toContain("**Everybody, last 7 days**\n4 questions, 1 failed\n400 tokens read, 80 written");
    expect(reply.content).toContain(
      "**By model**\n- small: 4 questions, 480 tokens · first word after 200 ms (95 % within 400 ms) · 40.0 tokens/s",
    );
    expect(reply.content).toContain(`**By user**\n- <@${stage.ann.id}>: 3 questions, 360 tokens · first word`);
    expect(reply.content).toContain("**Thumbs**\n- small: 👍 1 · 👎 0");
    expect(reply.flags & 64).toBe(64);
    expect(queries[0]!.since).toBe(stage.timer.now() - 7 * 86_400_000);
  });

  test("/stats is refused to others, also when their client lets them", async () => {
    const queries = await open();
    await expect(run(stage.ann, "stats")).rejects.toThrow("is not offered");
    const reply = await run(stage.ann, "stats", {}, true);
    expect(reply.content).toMatch(/^⚠️ Only administrators can see.*\(request r\d+\)$/);
    expect(queries).toEqual([]);
  });

  test("/stats is open to listed users", async () => {
    await open();
    const { id } = stage.ann;
    await stage.close();
    stage = await Stage.open({ by, discord: { admins: [id] } });
    expect((await run(stage.ann, "stats", {}, true)).content).toContain("No questions yet");
  });

  test("/usage shows a caller their own", async () => {
    const queries = await open();
    const reply = await run(stage.bob, "usage");
    expect(reply.content).toContain(
      "**Your last 24 hours**\n1 question, 1 failed\n100 tokens read, 20 written\n- small: 1",
    );
    expect(queries).toEqual([expect.objectContaining({ userId: `discord:${stage.bob.id}` })]);
  });
});

describe.each(ways)("/help, by %s", (by) => {
  test("lists the commands in the caller's language, /stats for administrators only", async () => {
    stage = await Stage.open({ by });
    const reply = await run(stage.ann, "help");
    expect(reply.content).toContain("`/ask` Ask the language model a question");
    expect(reply.content).toContain(`<@${stage.standIn.world.bot.id}>`);
    expect(reply.content).not.toContain("/stats");
    expect((await run(stage.admin, "help")).content).toContain("/stats");
    stage.ann.locale = "zh-TW";
    const traditional = await run(stage.ann, "help");
    expect(traditional.content).toContain("`/提問` 向語言模型提問");
    expect(traditional.content).toContain("使用 `/提問`；加上 `僅自己可見`");
  });
});

describe.each(ways)("Ask about this, by %s", (by) => {
  test("opens a form and answers about a message the bot could not read otherwise", async () => {
    stage = await Stage.open({ by });
    const message = stage.standIn.say(stage.bob, stage.channel, "Perplexity went from 5.2 to 5.9.");
    const form = await stage.standIn.menu(stage.ann, message, "Ask about this");
    expect(form).toMatchObject({ ackType: 9, modal: { title: "Ask about this message" } });
    const submitted = await stage.standIn.submit(form, { question: "Is that bad?" });
    const answer = await stage.answered(() => submitted.original);
    expect(stage.engine.requests[0]!.messages[0]!.content).toBe(
      'About this message:\n"""\nPerplexity went from 5.2 to 5.9.\n"""\n\nIs that bad?',
    );
    expect(answerOf(answer)).toBe("> Is that bad? ↩ Perplexity went from 5.2 to 5.9.\nHello from the fake engine.");
  });

  test("explains when no question is given", async () => {
    stage = await Stage.open({ by });
    stage.ann.locale = "zh-CN";
    const message = stage.standIn.say(stage.bob, stage.channel, "NF4");
    const form = await stage.standIn.menu(stage.ann, message, "Ask about this");
    const submitted = await stage.standIn.submit(form, { question: "" });
    await stage.answered(() => submitted.original);
    expect(stage.engine.requests[0]!.messages[0]!.content).toContain("请解释这条消息。");
  });

  test.runIf(by === "gateway")("says so when the form outlived the program", async () => {
    stage = await Stage.open({ by });
    const form = await stage.standIn.menu(
      stage.ann,
      stage.standIn.say(stage.bob, stage.channel, "NF4"),
      "Ask about this",
    );
    await stage.restart();
    const submitted = await stage.standIn.submit(form, { question: "?" });
    const reply = await stage.standIn.until(() => submitted.original, "the reply");
    expect(reply.content).toContain("I no longer have that question in mind");
  });
});

describe("files", () => {
  const text = (bytes: string | Uint8Array, name = "notes.txt", contentType = "text/plain") => ({
    name,
    contentType,
    bytes,
  });

  test("of text are read along with the question", async () => {
    stage = await Stage.open();
    await stage.standIn.slash(stage.ann, stage.channel, "ask", { prompt: "Sum it up", file: text("alpha\nbeta\n") });
    await stage.advanceUntil(() => stage.engine.requests.length === 1, "the request");
    await stage.settled();
    expect(stage.engine.requests[0]!.messages[0]!.content).toBe("Sum it up\n\nnotes.txt:\n```\nalpha\nbeta\n```");
  });

  test("in Chinese encodings are understood", async () => {
    stage = await Stage.open();
    // 显存 in GB18030
    const bytes = new Uint8Array([0xcf, 0xd4, 0xb4, 0xe6]);
    await stage.standIn.slash(stage.ann, stage.channel, "ask", { prompt: "?", file: text(bytes) });
    await stage.advanceUntil(() => stage.engine.requests.length === 1, "the request");
    expect(stage.engine.requests[0]!.messages[0]!.content).toContain("显存");
  });

  test.each([
    ["a picture", text(new Uint8Array([1]), "cat.png", "image/png"), "“cat.png” is a picture"],
    ["a PDF", text("%PDF", "paper.pdf", "application/pdf"), "I can only read plain text, not “paper.pdf”"],
    ["a binary", text(new Uint8Array([0, 1, 2]), "a.bin", "application/octet-stream"), "“a.bin” is not one"],
    ["a large file", text("x".repeat(300_000)), "may have 256 KiB"],
  ])("that are %s are refused kindly, without asking the model", async (_what, file, words) => {
    stage = await Stage.open();
    const question = stage.standIn.mention(stage.ann, stage.channel, "what is this?", [file]);
    const answer = await stage.answered(() => stage.said()[0]);
    expect(answer.content).toContain(words);
    expect(answer.content).toMatch(/\(request r\d+\)$/);
    expect(answer.repliesTo).toBe(question.id);
    expect(stage.engine.requests).toEqual([]);
  });
});

describe("who may ask where", () => {
  test("a denied user gets a private word on a command and silence on a mention", async () => {
    stage = await Stage.open({ offline: true });
    const list = { servers: [], channels: [], roles: [], users: [] };
    const denied = { allow: list, deny: { ...list, users: [stage.ann.id] } };
    await stage.close();
    stage = await Stage.open({ bot: { access: denied } });
    const { original } = await stage.ask(stage.ann, "Hi");
    expect(original!.content).toContain("I am not allowed to answer you here");
    stage.standIn.mention(stage.ann, stage.channel, "hello?");
    stage.standIn.mention(stage.bob, stage.channel, "hello!");
    await stage.answered(() => stage.said()[1]);
    expect(stage.engine.requests).toHaveLength(1);
  });

  test("listed channels leave out the others but not direct messages", async () => {
    stage = await Stage.open({ offline: true });
    const list = { servers: [], channels: [], roles: [], users: [] };
    const access = { allow: { ...list, channels: [stage.channel.id] }, deny: list };
    await stage.close();
    stage = await Stage.open({ bot: { access }, offline: true });
    const other = stage.standIn.world.addChannel(stage.guild, "other");
    await stage.connect();
    stage.standIn.mention(stage.ann, other, "here?");
    stage.standIn.mention(stage.ann, stage.channel, "or here?");
    await stage.answered(() => stage.said()[0]);
    const direct = stage.standIn.world.directChannel(stage.ann);
    stage.standIn.say(stage.ann, direct, "or there?");
    await stage.answered(() => stage.said(direct)[0]);
    expect(stage.engine.requests.map(({ messages }) => messages[0]!.content)).toEqual(["or here?", "or there?"]);
  });
});

describe("the invite link", () => {
  test("asks for the permissions the documentation lists, threads only where they are opened", async () => {
    stage = await Stage.open();
    const documented = readFileSync(new URL("../../docs/discord.md", import.meta.url), "utf8");
    const link = (answerIn: "channel" | "thread") => inviteUrl("APPLICATION_ID", answerIn);
    expect(documented).toContain(link("channel"));
    const permissions = (url: string) => BigInt(new URL(url).searchParams.get("permissions")!);
    expect(permissions(link("thread")) - permissions(link("channel"))).toBe(1n << 35n);
    expect(stage.online!.inviteUrl).toBe(link("channel").replace("APPLICATION_ID", stage.standIn.applicationId));
  });
});
