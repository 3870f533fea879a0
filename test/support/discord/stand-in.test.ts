import { REST, Routes } from "discord.js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { checkCommand, checkManners, checkMessage } from "./rules.ts";
import { checkBody, discordApi } from "./schema.ts";
import { DiscordStandIn } from "./stand-in.ts";
import type { StandChannel } from "./world.ts";

const none = { allowed_mentions: { parse: [] } };

describe("the stand-in's rules", () => {
  test.each([
    ["too many characters", { content: "x".repeat(2001), ...none }],
    ["an empty message", { content: " ", ...none }],
    ["embeds of over 6000 characters together", { embeds: Array(2).fill({ description: "x".repeat(3001) }) }],
    ["a long embed description", { embeds: [{ description: "x".repeat(4097) }] }],
    ["too many fields", { embeds: [{ fields: Array(26).fill({ name: "a", value: "b" }) }] }],
    [
      "two buttons with one id",
      { content: "x", components: [{ type: 1, components: [{ custom_id: "a" }, { custom_id: "a" }] }] },
    ],
    [
      "six buttons in a row",
      { content: "x", components: [{ type: 1, components: "abcdef".split("").map((id) => ({ custom_id: id })) }] },
    ],
    ["components v2 with content", { content: "x", flags: 1 << 15 }],
    ["parse and users at once", { content: "x", allowed_mentions: { parse: ["users"], users: ["1"] } }],
  ])("refuse %s", (_what, body) => {
    expect(checkMessage(body, false, 0)).not.toEqual([]);
  });

  test("count missing manners", () => {
    expect(checkManners({ content: "hello" })).not.toEqual([]);
    expect(checkManners({ content: "hello", allowed_mentions: { parse: ["everyone"] } })).not.toEqual([]);
    expect(checkManners({ content: "see https://example.org", ...none })).not.toEqual([]);
    expect(checkManners({ content: "see https://example.org", ...none, flags: 4 })).toEqual([]);
  });

  test.each([
    ["capitals", { name: "Ask", description: "x" }],
    ["no description", { name: "ask" }],
    ["a language Discord lacks", { name: "ask", description: "x", name_localizations: { "zh-HK": "問" } }],
    [
      "an option after an optional one",
      {
        name: "ask",
        description: "x",
        options: [
          { name: "a", description: "x" },
          { name: "b", description: "x", required: true },
        ],
      },
    ],
    [
      "a name twice in one language",
      {
        name: "ask",
        description: "x",
        options: [
          { name: "a", description: "x", name_localizations: { de: "b" } },
          { name: "b", description: "x" },
        ],
      },
    ],
  ])("refuse a command with %s", (_what, command) => {
    expect(checkCommand(command)).not.toEqual([]);
  });
});

describe.runIf(discordApi !== undefined)("Discord's own description", () => {
  const messages = "/channels/{channel_id}/messages";

  test("takes what is right", () => {
    const body = { content: "x", ...none, nonce: "r1", enforce_nonce: true, flags: 4, components: [] };
    expect(checkBody("POST", messages, body)).toEqual([]);
  });

  test.each([
    ["a number for a text", { content: { a: 1 } }],
    ["an unknown member", { content: "x", colour: "red" }],
    ["an unknown kind of mention", { content: "x", allowed_mentions: { parse: ["nobody"] } }],
    ["eleven files", { attachments: Array.from({ length: 11 }, (_, index) => ({ id: String(index) })) }],
    ["a button without a style", { components: [{ type: 1, components: [{ type: 2, custom_id: "a", label: "b" }] }] }],
    [
      "a long label",
      { components: [{ type: 1, components: [{ type: 2, style: 2, custom_id: "a", label: "b".repeat(81) }] }] },
    ],
    ["a long nonce", { content: "x", nonce: "n".repeat(26) }],
  ])("refuses %s", (_what, body) => {
    expect(checkBody("POST", messages, body)).not.toEqual([]);
  });

  test("knows no route that is not there", () => {
    expect(checkBody("POST", "/channels/{channel_id}/shout", {})).not.toEqual([]);
  });
});

describe("the stand-in", () => {
  let standIn: DiscordStandIn;
  let rest: REST;
  let channel: StandChannel;
  let now = Date.UTC(2026, 0, 1);
  beforeAll(async () => {
    standIn = await DiscordStandIn.start({ clock: { now: () => now } });
    rest = new REST({ api: standIn.apiUrl, retries: 0 }).setToken(standIn.token);
    channel = standIn.world.addChannel(standIn.world.addGuild("Lab"), "general");
  });
  afterAll(() => standIn.close());
  const send = (body: object) => rest.post(Routes.channelMessages(channel.id), { body: { ...none, ...body } });
  const command = () => standIn.acknowledged(standIn.world.addUser("Ann"), channel, 5);

  test("refuses a wrong token (401)", async () => {
    const wrong = new REST({ api: standIn.apiUrl }).setToken("wrong");
    await expect(wrong.get(Routes.gatewayBot())).rejects.toMatchObject({ status: 401 });
  });

  test("refuses bad bodies (50035) and remembers them", async () => {
    await expect(send({ content: "x".repeat(2001) })).rejects.toMatchObject({ code: 50035 });
    expect(standIn.violations.splice(0)).toHaveLength(1);
  });

  test("refuses a second acknowledgement (40060) and a late one (10062)", async () => {
    const callback = (id: string, token: string) =>
      rest.post(Routes.interactionCallback(id, token), { body: { type: 5 }, auth: false });
    const taken = command();
    await expect(callback(taken.id, taken.token)).rejects.toMatchObject({ code: 40060 });
    const late = command();
    delete late.ackType;
    now += 3001;
    await expect(callback(late.id, late.token)).rejects.toMatchObject({ code: 10062 });
    expect(standIn.violations.splice(0)).toHaveLength(1);
  });

  test("refuses writes before the acknowledgement (10015) and after 15 minutes (50027)", async () => {
    const interaction = command();
    const edit = () =>
      rest.patch(Routes.webhookMessage(standIn.applicationId, interaction.token), {
        body: { content: "x", ...none },
        auth: false,
      });
    delete interaction.ackType;
    await expect(edit()).rejects.toMatchObject({ code: 10015 });
    interaction.ackType = 5;
    await edit();
    now += 15 * 60_000 + 1;
    await expect(edit()).rejects.toMatchObject({ code: 50027 });
  });

  test("refuses edits of deleted messages (10008) and sends without permission (50013)", async () => {
    const message = (await send({ content: "x" })) as { id: string };
    const route = Routes.channelMessage(channel.id, message.id);
    await rest.delete(route);
    await expect(rest.patch(route, { body: { content: "y", ...none } })).rejects.toMatchObject({ code: 10008 });
    channel.denied.add("send");
    await expect(send({ content: "x" })).rejects.toMatchObject({ code: 50013 });
    channel.denied.clear();
  });

  test("gives back the earlier message for a repeated nonce", async () => {
    const body = { content: "x", nonce: "same", enforce_nonce: true };
    const [first, second] = [await send(body), await send(body)] as { id: string }[];
    expect(second!.id).toBe(first!.id);
  });

  test("slows down who writes too fast (429), as announced in its headers", async () => {
    now += 10_000;
    const url = `${standIn.apiUrl}/v10${Routes.channelMessages(channel.id)}`;
    const headers = { authorization: `Bot ${standIn.token}`, "content-type": "application/json" };
    const replies = [];
    for (let index = 0; index < 6; index++) {
      replies.push(await fetch(url, { method: "POST", headers, body: JSON.stringify({ content: "x", ...none }) }));
    }
    expect(replies.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200, 429]);
    expect(replies[4]!.headers.get("x-ratelimit-remaining")).toBe("0");
    expect(await replies[5]!.json()).toMatchObject({ retry_after: 5 });
    expect(standIn.violations).toEqual([]);
  });
});
