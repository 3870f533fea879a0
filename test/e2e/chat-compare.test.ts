/** /compare through the real platform libraries. */
import { afterEach, describe, expect, test } from "vitest";
import { ScriptedComparisons } from "../support/compare-port.ts";
import { Stage as DiscordStage, ways } from "../support/discord/stage.ts";
import { buttonsOf } from "../support/discord/stand-in.ts";
import { Stage as SlackStage } from "../support/slack/stage.ts";
import { shownText, verbsOf } from "../support/slack/world.ts";

const png = Uint8Array.from([0x89, 0x50, 0x4e, 0x47]);
const botWith = (compare: ScriptedComparisons) =>
  ({ capabilities: ["compare"], compare, drawPng: async () => png }) as const;

describe.each(ways)("in Discord, by %s", (by) => {
  let stage: DiscordStage;
  afterEach(async () => {
    await stage.close();
    expect(stage.standIn.violations).toEqual([]);
  });

  test("a comparison is followed in one message, which ends as a table with a picture", async () => {
    const port = new ScriptedComparisons();
    stage = await DiscordStage.open({ by, bot: botWith(port) });
    const options = { model: "tiny", quantizations: "f16,q8_0" };
    const interaction = await stage.standIn.slash(stage.admin, stage.channel, "compare", options);
    const message = await stage.advanceUntil(() => interaction.original, "the first word");
    expect(buttonsOf(message)).toEqual(["halt"]);
    port.running(0.5);
    await stage.advanceUntil(() => message.content.includes("F16: measuring speed (50 %)"), "the progress");
    port.done();
    await stage.advanceUntil(() => message.content.includes("42.0 tokens/s"), "the report");
    await stage.settled();
    expect(port.requests).toEqual([{ model: "tiny", quantizations: ["F16", "Q8_0"] }]);
    expect(message.attachments.map(({ name }) => name)).toEqual(["compare.png"]);
    expect(buttonsOf(message)).toEqual([]);
  });

  test("a comparison is cancelled by its button", async () => {
    const port = new ScriptedComparisons();
    stage = await DiscordStage.open({ by, bot: botWith(port) });
    const interaction = await stage.standIn.slash(stage.admin, stage.channel, "compare", {});
    const message = await stage.advanceUntil(() => interaction.original, "the first word");
    await stage.standIn.press(stage.admin, message, "halt");
    await stage.advanceUntil(() => message.content.includes("was cancelled"), "the end");
    expect(port.cancelled).toEqual(["local:cmp-1"]);
  });

  test("others are not offered it, and are refused", async () => {
    const port = new ScriptedComparisons();
    stage = await DiscordStage.open({ by, bot: botWith(port) });
    await expect(stage.standIn.slash(stage.ann, stage.channel, "compare", {})).rejects.toThrow("is not offered");
    const interaction = await stage.standIn.slash(stage.ann, stage.channel, "compare", {}, { unseen: true });
    const message = await stage.advanceUntil(() => interaction.original, "the refusal");
    expect(message.content).toContain("Only administrators can use this command.");
    expect(port.requests).toEqual([]);
  });
});

describe("in Slack", () => {
  let stage: SlackStage;
  afterEach(async () => {
    await stage.close();
    expect(stage.standIn.violations).toEqual([]);
  });

  test("a comparison is followed under the command, and ends as a table with a picture", async () => {
    const port = new ScriptedComparisons();
    stage = await SlackStage.open({ bot: botWith(port) });
    await stage.standIn.slash(stage.admin, stage.channel, "/compare", "--quantizations f16,q8_0 tiny");
    const message = await stage.until(() => stage.answers()[0], "the first word");
    expect(verbsOf(message)).toEqual(["halt"]);
    port.done();
    await stage.until(() => shownText(message).includes("42.0 tokens/s"), "the report");
    await stage.until(() => stage.bot.runningCount === 0, "the picture");
    expect(port.requests).toEqual([{ model: "tiny", quantizations: ["F16", "Q8_0"] }]);
    expect(verbsOf(message)).toEqual([]);
    expect(stage.said().flatMap(({ files }) => files.map(({ name }) => name))).toEqual(["compare.png"]);
  });

  test("a comparison is cancelled by its button", async () => {
    const port = new ScriptedComparisons();
    stage = await SlackStage.open({ bot: botWith(port) });
    await stage.standIn.slash(stage.admin, stage.channel, "/compare", "");
    const message = await stage.until(() => stage.answers()[0], "the first word");
    await stage.standIn.press(stage.admin, message, "halt");
    await stage.until(() => shownText(message).includes("was cancelled"), "the end");
    expect(port.cancelled).toEqual(["local:cmp-1"]);
  });

  test("others are refused without a word to the channel", async () => {
    const port = new ScriptedComparisons();
    stage = await SlackStage.open({ bot: botWith(port) });
    const sent = await stage.standIn.slash(stage.ann, stage.channel, "/compare", "tiny");
    const reply = await stage.until(() => sent.replies[0], "the refusal");
    expect(reply.body.response_type).toBe("ephemeral");
    expect(JSON.stringify(reply.body.blocks)).toContain("Only administrators can use this command.");
    expect(stage.said()).toEqual([]);
    expect(port.requests).toEqual([]);
  });
});
