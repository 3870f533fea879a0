import { afterEach, describe, expect, test } from "vitest";
import type { ChatBotOptions } from "../../src/bots/bot.ts";
import { AppError } from "../../src/core/errors.ts";
import type { UsageGroupQuery, UsageRow } from "../../src/core/ports.ts";
import { Stage } from "../support/slack/stage.ts";
import type { ResponseReply } from "../support/slack/stand-in.ts";
import { blockText, shownText } from "../support/slack/world.ts";
import { usageOfRows } from "../support/usage-rows.ts";

let stage: Stage;
afterEach(async () => {
  await stage.close();
  expect(stage.standIn.violations).toEqual([]);
});

/** What the caller of a command reads. */
const readReply = ({ body }: ResponseReply) => (body.blocks ?? []).map(blockText).join("\n");

async function call(user: "ann" | "admin", command: string, text = "") {
  const sent = await stage.standIn.slash(stage[user], stage.channel, command, text);
  return await stage.until(() => sent.replies[0], `the reply to ${command}`);
}

describe("commands to the caller alone", () => {
  test("/models lists the models and says which answers here", async () => {
    stage = await Stage.open();
    const reply = await call("ann", "/models");
    expect(reply.body.response_type).toBe("ephemeral");
    expect(readReply(reply)).toContain("**fake** · F16 · ready · used in this channel");
    expect(stage.said()).toEqual([]);
  });

  test("/help names the commands, and /stats to administrators alone", async () => {
    stage = await Stage.open();
    const help = readReply(await call("ann", "/help"));
    expect(help).toContain("`/ask` in any channel, `--private` if only you");
    expect(help).toContain("Write in the thread under an answer");
    expect(help).toContain("@snug");
    expect(help).not.toContain("/stats");
    expect(readReply(await call("admin", "/help"))).toContain("/stats");
  });

  test("/help in another language keeps the names that Slack knows", async () => {
    stage = await Stage.open();
    stage.ann.locale = "zh-CN";
    const help = readReply(await call("ann", "/help"));
    expect(help).toContain("在任何频道使用 `/ask`；加上 `--private`");
    expect(help).toContain("- `/usage` 你自己的请求数");
    expect(help).not.toMatch(/\/\p{Script=Han}/u);
  });

  test("/model and /persona say how they are typed here", async () => {
    stage = await Stage.open();
    expect(readReply(await call("ann", "/model"))).toContain("Choose another with `/model …`.");
    expect(readReply(await call("ann", "/persona"))).toContain("Set one with `/persona …`.");
  });

  test("/usage is one's own, in one's language", async () => {
    const asked: unknown[] = [];
    stage = await Stage.open({ bot: { usage: usageOf(asked) } });
    stage.ann.locale = "zh-TW";
    const reply = await call("ann", "/usage", "week");
    expect(readReply(reply)).toMatch(/7 天/);
    expect(asked[0]).toMatchObject({ userId: `slack:${stage.ann.id}` });
  });

  test("/stats is refused to others and names people to administrators without calling them", async () => {
    stage = await Stage.open();
    expect(readReply(await call("ann", "/stats"))).toContain("Only administrators");
    await stage.close();
    stage = await Stage.open({ bot: { usage: usageOf() } });
    const { ann } = stage;
    usageRows.push(usageRow(ann.id));
    const stats = readReply(await call("admin", "/stats"));
    expect(stats).toContain("@Ann: 1 question, 30 tokens");
    usageRows.length = 0;
  });

  test("administrators can be named in the settings", async () => {
    stage = await Stage.open({ bot: { usage: usageOf() }, offline: true });
    stage.slackOptions.admins = [stage.ann.id];
    await stage.connect();
    expect(readReply(await call("ann", "/stats"))).toContain("Everybody");
  });

  test("/model is for those who manage, and changes what answers here", async () => {
    stage = await Stage.open();
    expect(readReply(await call("ann", "/model", "fake"))).toContain("Only those who manage");
    expect(readReply(await call("admin", "/model", "fake"))).toContain("now asks **fake**");
    expect(await stage.state.channelSettings("slack", stage.channel.id)).toEqual({ model: "fake" });
  });

  test("a command nobody knows is acknowledged and answered", async () => {
    stage = await Stage.open();
    const reply = await call("ann", "/nonsense");
    expect(reply.body.response_type).toBe("ephemeral");
    expect(readReply(reply)).toMatch(/^⚠️ \/nonsense: .+ \(request r\d+\)$/);
  });

  test("a command under a longer name is the same command", async () => {
    stage = await Stage.open();
    expect(readReply(await call("ann", "/snug-models"))).toContain("**fake**");
  });
});

describe("/fits", () => {
  const picture = { name: "fits.png", contentType: "image/png", bytes: new Uint8Array([1, 2]), description: "A bar" };

  test("is answered in the channel, with the picture in the thread", async () => {
    const fits = { answer: async (query: string) => ({ text: `**${query}** fits`, picture }), suggest: () => [] };
    stage = await Stage.open({ bot: { fits } });
    await stage.standIn.slash(stage.ann, stage.channel, "/fits", "13b 6gb");
    const file = await stage.until(() => stage.said().find(({ files }) => files.length > 0), "the picture");
    const root = stage.said()[0]!;
    expect(shownText(root)).toBe("**13b 6gb** fits");
    expect(file).toMatchObject({ threadTs: root.ts, files: [{ name: "fits.png", altText: "A bar" }] });
  });

  test("goes the command's own way where the bot may not write", async () => {
    stage = await Stage.open();
    const closed = stage.standIn.world.addChannel("secret", { kind: "group", botIsMember: false });
    const sent = await stage.standIn.slash(stage.ann, closed, "/fits", "13b 6gb");
    const reply = await stage.until(() => sent.replies[0], "the reply");
    expect(reply.body.response_type).toBe("in_channel");
    expect(readReply(reply)).toBe("fits 13b 6gb");
  });

  test("an unreadable question is a sentence with a request id, to its asker alone", async () => {
    const answer = () => Promise.reject(new AppError("invalid_request", "No."));
    stage = await Stage.open({ bot: { fits: { answer, suggest: () => [] } } });
    const reply = await call("ann", "/fits", "???");
    expect(reply.body.response_type).toBe("ephemeral");
    expect(readReply(reply)).toMatch(/⚠️ .*\(request r\d+\)/);
    expect(readReply(await call("ann", "/fits"))).toContain("/fits 13b 6gb");
    expect(stage.said()).toEqual([]);
  });
});

describe("the shortcut on a message", () => {
  test("opens a form in the person's language and answers under the message", async () => {
    stage = await Stage.open();
    stage.ann.locale = "zh-CN";
    const { message } = await stage.standIn.say(stage.bob, stage.channel, "Entropy never falls.");
    await stage.standIn.askAbout(stage.ann, message);
    const view = await stage.until(() => stage.standIn.world.views[0], "the form");
    expect(JSON.stringify(view)).toContain("提问");
    await stage.standIn.submit(stage.ann, view, "Why?");
    const answer = await stage.answered();
    expect(answer.threadTs).toBe(message.ts);
    expect(shownText(answer)).toContain("> Why?\nHello from the fake engine.");
    expect(stage.engine.requests[0]!.messages.at(-1)!.content).toContain("Entropy never falls.");
  });

  test("without a question asks for an explanation", async () => {
    stage = await Stage.open();
    const { message } = await stage.standIn.say(stage.bob, stage.channel, "Entropy never falls.");
    await stage.standIn.askAbout(stage.ann, message);
    await stage.standIn.submit(stage.ann, await stage.until(() => stage.standIn.world.views[0], "the form"), null);
    await stage.answered();
    expect(stage.engine.requests[0]!.messages.at(-1)!.content).toContain("Explain this message.");
  });

  test("after a restart says that the message is no longer in mind", async () => {
    stage = await Stage.open();
    const { message } = await stage.standIn.say(stage.bob, stage.channel, "Entropy never falls.");
    await stage.standIn.askAbout(stage.ann, message);
    const view = await stage.until(() => stage.standIn.world.views[0], "the form");
    await stage.restart();
    await stage.standIn.submit(stage.ann, view, "Why?");
    const direct = stage.standIn.world.direct(stage.ann);
    await stage.until(() => direct.messages.some((one) => shownText(one).includes("no longer have")), "the word");
  });
});

describe("the app's tabs", () => {
  const homeText = (userId: string) => (stage.standIn.world.homes.get(userId) ?? []).map(blockText).join("\n");

  test("Home shows usage, models and how to ask; the statistics to administrators alone", async () => {
    stage = await Stage.open({ bot: { usage: usageOf() } });
    await stage.standIn.openHome(stage.ann, "home");
    await stage.until(() => stage.standIn.world.homes.has(stage.ann.id), "the tab");
    expect(homeText(stage.ann.id)).toContain("Your last 24 hours");
    expect(homeText(stage.ann.id)).toContain("*fake* · F16");
    expect(homeText(stage.ann.id)).not.toContain("Everybody");
    await stage.standIn.openHome(stage.admin, "home");
    await stage.until(() => stage.standIn.world.homes.has(stage.admin.id), "the tab");
    expect(homeText(stage.admin.id)).toContain("Everybody, last 24 hours");
  });

  const pictureOf = (userId: string) =>
    (stage.standIn.world.homes.get(userId) ?? []).find(({ type }) => type === "image");
  const drawn = () => {
    const { bytes = new Uint8Array() } = stage.standIn.world.files.at(-1) ?? {};
    return new TextDecoder().decode(bytes);
  };
  const drawPng: ChatBotOptions["drawPng"] = async (render, locale) => {
    const svg = render(locale);
    return svg === undefined ? undefined : new TextEncoder().encode(svg);
  };

  test("Home has a picture of everybody's use for administrators, once Slack has looked at it", async () => {
    stage = await Stage.open({ bot: { usage: usageOfRows([usageRow("U1")]), drawPng } });
    stage.standIn.world.picturesTakeLooks = 2;
    await stage.standIn.openHome(stage.ann, "home");
    await stage.standIn.openHome(stage.admin, "home");
    const picture = await stage.until(() => pictureOf(stage.admin.id), "the picture");
    expect(picture.alt_text).toBe("Tokens read and written, day by day");
    expect(drawn()).toContain("Tokens of the last 14 days");
    expect(homeText(stage.admin.id)).toContain("Everybody, last 24 hours");
    expect(pictureOf(stage.ann.id)).toBeUndefined();
  });

  test("the picture is uploaded again only when it changed, and then takes the old one's place", async () => {
    const usage = usageOfRows([usageRow("U1")]);
    stage = await Stage.open({ bot: { usage, drawPng } });
    const open = async () => {
      stage.standIn.world.homes.clear();
      await stage.standIn.openHome(stage.admin, "home");
      return await stage.until(() => pictureOf(stage.admin.id), "the picture");
    };
    const first = await open();
    expect(await open()).toEqual(first);
    usage.rows.push({ ...usageRow("U2"), usage: { promptTokens: 9_000 } });
    expect(await open()).not.toEqual(first);
    await stage.until(() => stage.standIn.world.files.length === 1, "the old picture to go");
  });

  test("without the right to upload the statistics stand there in words", async () => {
    stage = await Stage.open({ bot: { usage: usageOfRows([usageRow("U1")]), drawPng } });
    stage.standIn.missingScopes.add("files.getUploadURLExternal");
    await stage.standIn.openHome(stage.admin, "home");
    await stage.until(() => stage.logger.lines.some(({ message }) => message === "the tab has no picture"), "the word");
    expect(homeText(stage.admin.id)).toContain("Everybody, last 24 hours");
    expect(pictureOf(stage.admin.id)).toBeUndefined();
  });

  test("Messages suggests at most four questions in the person's language", async () => {
    stage = await Stage.open();
    stage.ann.locale = "zh-CN";
    await stage.standIn.openHome(stage.ann, "messages");
    const prompts = await stage.until(() => stage.standIn.world.prompts[0], "the questions");
    expect(prompts.prompts).toHaveLength(4);
    expect(JSON.stringify(prompts)).toContain("你能做什么");
  });
});

describe("by signed requests", () => {
  test("the same questions are answered, acknowledged first", async () => {
    stage = await Stage.open({ by: "http" });
    const { command, answer } = await stage.ask(stage.ann, "Hi");
    expect(command.delivery).toMatchObject({ status: 200, reply: "" });
    expect(shownText(answer)).toContain("Hello from the fake engine.");
    const direct = stage.standIn.world.direct(stage.bob);
    const { deliveries } = await stage.standIn.say(stage.bob, direct, "Hi");
    await stage.standIn.repeat(deliveries[0]!);
    await stage.standIn.repeat(deliveries[0]!, "Ev0OTHER");
    await stage.answered(1, direct);
    await stage.quiet();
    expect(stage.engine.requests).toHaveLength(2);
    const press = await stage.standIn.press(stage.ann, answer, "up");
    await stage.until(() => press.replies.length === 1, "the thanks");
    expect(stage.standIn.socketCount).toBe(0);
  });

  test("Stop by Slack's button works", async () => {
    stage = await Stage.open({ by: "http" });
    stage.engine.script = () => [{ text: "One. " }, { hold: "on" }];
    await stage.standIn.slash(stage.ann, stage.channel, "/ask", "Talk");
    await stage.engine.reached("on");
    const message = await stage.until(() => stage.answers()[0], "the first word");
    await stage.standIn.stopSession(stage.ann, stage.channel, message.threadTs!);
    await stage.until(() => stage.bot.runningCount === 0, "the end");
    expect(shownText(message)).toContain("stopped");
  });

  const status = async (request: Request) => (await stage.online!.fetch!(request)).status;
  const event = { type: "event_callback", event: { type: "message" } };

  test("a wrong, missing, old or future signature is refused", async () => {
    stage = await Stage.open({ by: "http" });
    const { standIn } = stage;
    expect(await status(standIn.signed("events_api", event))).toBe(200);
    expect(await status(standIn.signed("events_api", event, { secret: "other" }))).toBe(401);
    expect(await status(standIn.signed("events_api", event, { offsetMs: -301_000 }))).toBe(401);
    expect(await status(standIn.signed("events_api", event, { offsetMs: 301_000 }))).toBe(401);
    expect(await status(standIn.signed("events_api", event, { offsetMs: 290_000 }))).toBe(200);
    const bare = new Request("http://127.0.0.1/slack/events", { method: "POST", body: "{}" });
    expect(await status(bare)).toBe(401);
    expect(await status(new Request("http://127.0.0.1/slack/events"))).toBe(405);
  });

  test("the address is verified, and what is no JSON or too large is refused", async () => {
    stage = await Stage.open({ by: "http" });
    const { standIn } = stage;
    const verification = standIn.signed("events_api", { type: "url_verification", challenge: "abc" });
    expect(await (await stage.online!.fetch!(verification)).json()).toEqual({ challenge: "abc" });
    expect(await status(standIn.signed("events_api", {}, { body: "not json" }))).toBe(400);
    expect(await status(standIn.signed("events_api", {}, { body: "x".repeat(2_000_000) }))).toBe(413);
  });
});

const usageRows: UsageRow[] = [];

/** @param asked gets every query */
function usageOf(asked: unknown[] = []) {
  const ledger = usageOfRows(usageRows);
  return {
    groups: async (query: UsageGroupQuery) => {
      asked.push(query);
      return await ledger.groups(query);
    },
  };
}

function usageRow(userId: string): UsageRow {
  return {
    id: "1",
    at: Date.UTC(2026, 0, 5, 11),
    keyId: "k",
    source: "slack",
    userId: `slack:${userId}`,
    model: "fake",
    stream: true,
    usage: { promptTokens: 10, completionTokens: 20 },
    timings: {},
    aborted: false,
    settled: true,
    interrupted: false,
  };
}
