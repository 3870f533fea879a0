/**
 * Draws the pictures in docs/discord.md: the real bot, API and demo model on the Discord stand-in.
 * Run after `npm run build`: npx tsx tools/screens/discord.ts
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runDiscord } from "../../src/entries/discord.ts";
import { parseDiscordSettings } from "../../src/entries/discord-settings.ts";
import { drawChannel } from "../../test/support/discord/picture.ts";
import { buttonsOf, DiscordStandIn } from "../../test/support/discord/stand-in.ts";
import { administrator, type StandMessage } from "../../test/support/discord/world.ts";
import { writeModel } from "../../test/support/gguf/write-model.ts";
import { MemoryBotState } from "../../test/support/memory-bot-state.ts";
import { MemoryLogger } from "../../test/support/memory-logger.ts";
import { startSnug } from "../../test/support/snug-process.ts";

const folder = mkdtempSync(join(tmpdir(), "snug-screens-"));
const images = new URL("../../docs/images/", import.meta.url);
mkdirSync(images, { recursive: true });
const endlessModel = join(folder, "endless.gguf");
await writeModel(endlessModel, { architecture: "llama", shape: "tiny", type: "F16", brain: "endless" });
const servers = await Promise.all([
  startSnug({ SNUG_DATA_DIR: join(folder, "demo") }),
  startSnug({ SNUG_DATA_DIR: join(folder, "endless"), SNUG_MODEL: endlessModel, SNUG_SLOTS: "1" }),
]);
const standIn = await DiscordStandIn.start({ messageContent: true });
const { world } = standIn;
const guild = world.addGuild("Lab");
const ann = world.addUser("Ann");
const bo = world.addUser("博文", { locale: "zh-CN" });
const admin = world.addUser("Ada", { permissions: administrator });

async function onStage(server: (typeof servers)[number], play: () => Promise<void>): Promise<void> {
  const settings = parseDiscordSettings({ DISCORD_TOKEN: standIn.token, DISCORD_API_URL: standIn.apiUrl })!;
  const api = { url: server.address, key: server.key };
  const run = runDiscord({ settings, api, state: new MemoryBotState(), logger: new MemoryLogger() });
  await run.online;
  await play();
  await run.stop({ drainMs: 0 });
}

const channels = new Map(
  ["ask", "chinese", "fits", "mention", "stats", "queue"].map((name) => [name, world.addChannel(guild, name)]),
);
const channelOf = (name: string) => channels.get(name)!;
const over = (message: StandMessage | undefined) =>
  message !== undefined && buttonsOf(message).includes("up") && message;
const draw = (name: string, messages: readonly StandMessage[], title: string) =>
  writeFileSync(new URL(`discord-${name}.svg`, images), drawChannel(messages, world, title));
const lastOf = (name: string) => channelOf(name).messages.at(-1);

await onStage(servers[0]!, async () => {
  const ask = await standIn.slash(ann, channelOf("ask"), "ask", { prompt: "Does a 13B model fit in 8 GB?" });
  await standIn.until(() => over(ask.original), "an answer");
  draw("ask", channelOf("ask").messages, "/ask and its answer with buttons");

  const chinese = await standIn.slash(bo, channelOf("chinese"), "ask", { prompt: "8G 显存能跑 13B 吗" });
  await standIn.until(() => over(chinese.original), "an answer");
  draw("chinese", channelOf("chinese").messages, "The same in Chinese");

  const fits = await standIn.slash(ann, channelOf("fits"), "fits", { query: "13b 6gb" });
  await standIn.until(() => fits.original, "an answer");
  draw("fits", channelOf("fits").messages, "/fits with the memory bar");

  standIn.mention(ann, channelOf("mention"), "My laptop has a GPU with 6 GB");
  const first = await standIn.until(() => over(lastOf("mention")), "an answer");
  standIn.say(ann, channelOf("mention"), "could it run a 13B model?", { repliesTo: first });
  await standIn.until(() => lastOf("mention") !== first && over(lastOf("mention")), "an answer");
  draw("mention", channelOf("mention").messages, "A mention and a reply that goes on");

  const stats = await standIn.slash(admin, channelOf("stats"), "stats", { period: "day" });
  await standIn.until(() => stats.original, "an answer");
  draw("stats", channelOf("stats").messages, "/stats for administrators");
});

await onStage(servers[1]!, async () => {
  const running = await standIn.slash(ann, channelOf("queue"), "ask", { prompt: "Tell me everything" });
  await standIn.until(() => (running.original?.content.length ?? 0) > 100 || undefined, "the first words");
  const waiting = await standIn.slash(bo, channelOf("queue"), "ask", { prompt: "轮到我了吗" });
  await standIn.until(() => waiting.original?.content.includes("⏳"), "the place in line");
  draw("queue", [waiting.original!], "The place in line, with Stop");
});

for (const server of servers) server.process.kill("SIGKILL");
await Promise.all(servers.map(({ exited }) => exited));
await standIn.close();
rmSync(folder, { recursive: true, force: true });
