/** `snug start` with a bot's token set: one command runs API, engine and bot. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { answerOf, buttonsOf, DiscordStandIn } from "../support/discord/stand-in.ts";
import { runSnug, startSnug } from "../support/snug-process.ts";

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "snug-bots-"));
});

afterAll(async () => rm(folder, { recursive: true, force: true }));

it("a Discord token makes the same command answer on Discord, by a key of its own, and end in order", async () => {
  const standIn = await DiscordStandIn.start();
  const channel = standIn.world.addChannel(standIn.world.addGuild("Lab"), "general");
  const ann = standIn.world.addUser("Ann");
  const snug = await startSnug({
    SNUG_DATA_DIR: join(folder, "one"),
    DISCORD_TOKEN: standIn.token,
    DISCORD_API_URL: standIn.apiUrl,
    DISCORD_PUBLIC_KEY: standIn.publicKey,
  });
  expect(snug.output()).toMatch(/Discord on · Slack off/);
  await standIn.until(() => standIn.commands().length > 0, "the commands");
  const interaction = await standIn.slash(ann, channel, "ask", { prompt: "What is VRAM?" });
  const complete = () => interaction.original !== undefined && buttonsOf(interaction.original).includes("again");
  await standIn.until(complete, "the end of the answer");
  expect(answerOf(interaction.original)).toMatch(/memory/i);
  const usage = await fetch(`${snug.address}/v1/usage`, { headers: { authorization: `Bearer ${snug.key}` } });
  expect(await usage.json()).toMatchObject({
    rows: [{ source: "discord", keyId: "discord", userId: `discord:${ann.id}` }],
  });
  // The same bot, its commands sent to the API's own address.
  standIn.http = async (request) =>
    fetch(`${snug.address}/discord/interactions`, {
      method: "POST",
      headers: request.headers,
      body: await request.text(),
    });
  const byHttp = await standIn.slash(ann, channel, "ask", { prompt: "What is a KV cache?" });
  const done = () => byHttp.original !== undefined && buttonsOf(byHttp.original).includes("again");
  await standIn.until(done, "the end of the answer by HTTP");
  expect(answerOf(byHttp.original)).toMatch(/^> What is a KV cache\?\n/);
  snug.process.kill("SIGINT");
  expect(await snug.exited).toBe(0);
  await standIn.close();
  expect(standIn.violations).toEqual([]);
});

it("a wrong bot setting is named before anything starts", async () => {
  const snug = runSnug(["start"], {
    PORT: "0",
    SNUG_DATA_DIR: join(folder, "two"),
    DISCORD_TOKEN: "x",
    DISCORD_GUILD: "my server",
  });
  expect(await snug.exited).toBe(1);
  expect(snug.output()).toContain("DISCORD_GUILD");
});

it("the Slack manifest is printed as JSON to paste", async () => {
  const snug = runSnug(["bots", "manifest", "slack"]);
  expect(await snug.exited).toBe(0);
  expect(JSON.parse(snug.stdout())).toMatchObject({
    _metadata: { major_version: 2 },
    features: { slash_commands: expect.any(Array) },
  });
});

it("commands are registered and interactions sent to an address, which Discord must reach", async () => {
  const standIn = await DiscordStandIn.start();
  const settings = { DISCORD_TOKEN: standIn.token, DISCORD_API_URL: standIn.apiUrl };
  const register = async (endpoint: string) => {
    const snug = runSnug(["bots", "register", "discord", "--endpoint", endpoint], settings);
    return { code: await snug.exited, output: snug.output() };
  };
  const { code, output } = await register("https://bots.example.org");
  expect(code, output).toBe(0);
  expect(output).toContain("created: ask, fits");
  expect(standIn.endpoint).toBe("https://bots.example.org/discord/interactions");
  expect(await register("https://deaf.example.org")).toMatchObject({
    code: 1,
    output: expect.stringContaining("DISCORD_PUBLIC_KEY"),
  });
  await standIn.close();
  expect(standIn.violations).toEqual([]);
});
