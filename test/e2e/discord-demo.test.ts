/** The whole way: the real discord.js, the real API with its ledger, the real llama child. Clocks are real too. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { UsageRow } from "../../src/core/ports.ts";
import { type DiscordRun, runDiscord } from "../../src/entries/discord.ts";
import { parseDiscordSettings } from "../../src/entries/discord-settings.ts";
import type { StandInteraction } from "../support/discord/interactions.ts";
import { answerOf, buttonsOf, DiscordStandIn } from "../support/discord/stand-in.ts";
import { administrator, type StandChannel, type StandMessage, type StandUser } from "../support/discord/world.ts";
import { writeModel } from "../support/gguf/write-model.ts";
import { MemoryBotState } from "../support/memory-bot-state.ts";
import { MemoryLogger } from "../support/memory-logger.ts";
import { childrenOf, type SnugServerProcess, startSnug, waitFor } from "../support/snug-process.ts";

let folder: string;
let demo: SnugServerProcess;
let endless: SnugServerProcess;

let standIn: DiscordStandIn;
let run: DiscordRun;
let state: MemoryBotState;
let logger: MemoryLogger;
let channel: StandChannel;
let ann: StandUser;
let bob: StandUser;
let admin: StandUser;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "snug-discord-"));
  const model = join(folder, "endless.gguf");
  await writeModel(model, { architecture: "llama", shape: "tiny", type: "F16", brain: "endless" });
  [demo, endless] = await Promise.all([
    startSnug({ SNUG_DATA_DIR: join(folder, "demo") }),
    // Room for more words than any test waits for, however fast the machine.
    startSnug({ SNUG_DATA_DIR: join(folder, "endless"), SNUG_MODEL: model, SNUG_SLOTS: "1", SNUG_CONTEXT: "100000" }),
  ]);
});

afterAll(async () => {
  for (const server of [demo, endless]) {
    server?.process.kill("SIGKILL");
    await server?.exited;
  }
  await rm(folder, { recursive: true, force: true });
});

afterEach(async () => {
  await run.stop({ drainMs: 0 });
  await standIn.close();
  expect(standIn.violations).toEqual([]);
  expect(standIn.rest.limitedCount).toBe(0);
});

async function open(server: Pick<SnugServerProcess, "address" | "key">, beforeConnect = () => {}) {
  standIn = await DiscordStandIn.start({ messageContent: true });
  const { world } = standIn;
  const guild = world.addGuild("Lab");
  channel = world.addChannel(guild, "general");
  ann = world.addUser("Ann");
  bob = world.addUser("Bob");
  admin = world.addUser("Ada", { permissions: administrator });
  state = new MemoryBotState();
  logger = new MemoryLogger();
  const settings = parseDiscordSettings({ DISCORD_TOKEN: standIn.token, DISCORD_API_URL: standIn.apiUrl })!;
  beforeConnect();
  run = runDiscord({ settings, api: { url: server.address, key: server.key }, state, logger });
  expect(await run.online).toHaveProperty("stop");
}

const finished = (message: StandMessage | undefined) =>
  message !== undefined && (message.content.includes("⚠️") || buttonsOf(message).includes("again")) && message;

/** The newest message of an answer: it has the buttons. */
const newest = ({ original, followUps }: StandInteraction): StandMessage | undefined =>
  [...(original === undefined ? [] : [original]), ...followUps].at(-1);

/** The model's own words, not yet a status in their place. */
const words = (message: StandMessage | undefined): string => {
  const said = answerOf(message).replace(/^> .*\n/, "");
  return /^(Thinking|⏳)/.test(said) ? "" : said;
};

const ended = (interaction: StandInteraction) =>
  standIn.until(() => finished(newest(interaction)), "the end of an answer");

const stop = async (user: StandUser, interaction: StandInteraction) => {
  const stoppable = () => buttonsOf(newest(interaction)!).includes("stop") && newest(interaction);
  await standIn.press(user, await standIn.until(stoppable, "the Stop button"), "stop");
  return await ended(interaction);
};

const ask = async (user: StandUser, prompt: string, options: Record<string, string | boolean> = {}) =>
  await standIn.slash(user, channel, "ask", { prompt, ...options });

const lastSaid = (of: StandChannel) => of.messages.filter(({ author, deleted }) => author.bot && !deleted).at(-1);

async function rowsOf(server: SnugServerProcess): Promise<UsageRow[]> {
  const reply = await fetch(`${server.address}/v1/usage`, { headers: { authorization: `Bearer ${server.key}` } });
  return ((await reply.json()) as { rows: UsageRow[] }).rows;
}

async function activeOf(server: SnugServerProcess): Promise<number> {
  const health = (await (await fetch(`${server.address}/health`)).json()) as { engine: { active: number } };
  return health.engine.active;
}

/** A question to the endless model whose first words are there. */
async function talking(user = ann): Promise<StandInteraction> {
  const interaction = await ask(user, "Talk");
  await standIn.until(() => words(interaction.original).length > 20, "the first words");
  return interaction;
}

describe("with the demo model", () => {
  test("/ask is answered with model, quantization and speed, and stands in the ledger as Discord's", async () => {
    await open(demo);
    const answer = await ended(await ask(ann, "What is Q4_K_M?"));
    expect(answerOf(answer)).toMatch(/^> What is Q4_K_M\?\n[^⚠]*4/);
    expect(answer.content).toMatch(/-# demo · F16 · [\d.]+ tokens\/s$/);
    const [row] = await rowsOf(demo);
    expect(row).toMatchObject({ source: "discord", userId: `discord:${ann.id}`, model: "demo", finishReason: "stop" });
  });

  test("a Chinese question is answered in Chinese, buttons included", async () => {
    await open(demo);
    ann.locale = "zh-CN";
    const answer = await ended(await ask(ann, "你好"));
    expect(answerOf(answer)).toMatch(/\p{Script=Han}{4}/u);
    expect(JSON.stringify(answer.components)).toContain("重新生成");
    expect(answer.content).toContain("token/秒");
  });

  test("a thread is followed and remembers", async () => {
    await open(demo);
    const thread = standIn.world.addChannel(standIn.world.guilds[0]!, "talk", { type: 11, parentId: channel.id });
    standIn.gateway.dispatch("THREAD_CREATE", { ...threadJson(thread), newly_created: true });
    standIn.mention(ann, thread, "My laptop has a GPU with 6 GB");
    await standIn.until(() => finished(lastSaid(thread)), "the first answer");
    const first = lastSaid(thread);
    standIn.say(ann, thread, "could it run a 13B model?");
    const second = await standIn.until(
      () => lastSaid(thread) !== first && finished(lastSaid(thread)),
      "the second answer",
    );
    expect(second.content).toContain("using the last 2 messages");
    expect(answerOf(second).length).toBeGreaterThan(10);
  });

  test("a direct message is answered", async () => {
    await open(demo);
    const direct = standIn.world.directChannel(ann);
    standIn.say(ann, direct, "What is GGUF?");
    expect(answerOf(await standIn.until(() => finished(lastSaid(direct)), "the answer"))).toMatch(/file|llama/i);
  });

  test("a text file is read", async () => {
    await open(demo);
    const file = { name: "q.txt", bytes: "What is NF4?" };
    const interaction = await standIn.slash(ann, channel, "ask", { prompt: "Answer:", file });
    await ended(interaction);
    const [row] = await rowsOf(demo);
    expect(row!.usage.promptTokens).toBeGreaterThan(15);
  });

  test("five people at once are all answered", async () => {
    await open(demo);
    const people = ["Cas", "Dee", "Eve", "Flo", "Gus"].map((name) => standIn.world.addUser(name));
    const asked = await Promise.all(people.map((person) => ask(person, "What is the KV cache?")));
    const answers = await Promise.all(asked.map(ended));
    for (const answer of answers) expect(answerOf(answer)).toMatch(/cache/i);
  });

  test("Regenerate asks again, thumbs are stored with model and latency", async () => {
    await open(demo);
    const answer = await ended(await ask(ann, "What is Q4_K_M?"));
    const press = await standIn.press(ann, answer, "again");
    const second = await standIn.until(() => finished(press.followUps[0]), "the second answer");
    expect(answerOf(second)).toContain("> What is Q4_K_M?");
    await standIn.press(bob, second, "up");
    await waitFor(() => (state.votes.length > 0 ? true : undefined), 20_000);
    expect(state.votes[0]).toMatchObject({ vote: "up", model: "demo", quantization: "F16" });
    expect(state.votes[0]!.timeToFirstTokenMs).toBeGreaterThan(0);
  });

  test("/fits answers with the planner's text and a picture", async () => {
    await open(demo);
    const interaction = await standIn.slash(ann, channel, "fits", { query: "13b 6gb" });
    const reply = await standIn.until(() => interaction.original, "the reply");
    expect(reply.content).toMatch(/^\*\*.*13B.*6 GB/);
    const [picture] = reply.attachments;
    expect([...picture!.bytes.slice(0, 4)]).toEqual([0x89, 0x50, 0x4e, 0x47]);
    expect(picture!.description).toContain("13B");
    expect(await standIn.typing(ann, channel, "fits", "query", "qwen3 8")).toContain("Qwen3 8B");
  });

  test("/stats counts everybody for administrators and is refused to others; /usage is one's own", async () => {
    await open(demo);
    await ended(await ask(ann, "What is GGUF?"));
    const read = async (user: StandUser, name: string, unseen = false) => {
      const interaction = await standIn.slash(user, channel, name, {}, { unseen });
      return (await standIn.until(() => interaction.original, `the reply to /${name}`)).content;
    };
    expect(await read(admin, "stats")).toMatch(/Everybody, last 24 hours\*\*\n\d+ questions?/);
    expect(await read(admin, "stats")).toContain("- discord: ");
    expect(await read(ann, "stats", true)).toContain("Only administrators");
    expect(await read(ann, "usage")).toMatch(/^\*\*Your last 24 hours\*\*\n1 question\n/);
  });

  test("a quota that is reached names the time to wait, for that user alone", async () => {
    const reply = await fetch(`${demo.address}/v1/keys`, {
      method: "POST",
      headers: { authorization: `Bearer ${demo.key}`, "content-type": "application/json" },
      body: JSON.stringify({ name: "discord", scopes: ["chat", "usage"], userLimits: { requestsPerMinute: 1 } }),
    });
    const { secret } = (await reply.json()) as { secret: string };
    await open({ address: demo.address, key: secret });
    await ended(await ask(ann, "What is GGUF?"));
    const refused = await ended(await ask(ann, "What is GGUF?"));
    expect(refused.content).toMatch(/⚠️ .+ \(in about \d+ s\) \(request [0-9a-f]{10}\)$/);
    expect(answerOf(await ended(await ask(bob, "What is GGUF?")))).toMatch(/file|llama/i);
  });

  test("a conversation longer than the context keeps its newest part", async () => {
    const filler = "The KV cache grows with the context. ".repeat(8);
    await open(demo, () => {
      const before = standIn.world.directChannel(ann);
      for (let index = 0; index < 30; index++) standIn.say(ann, before, `Filler number ${index}. ${filler}`);
    });
    const direct = standIn.world.directChannel(ann);
    standIn.say(ann, direct, "What is GGUF?");
    const answer = await standIn.until(() => finished(lastSaid(direct)), "the answer");
    expect(Number(/using the last (\d+) messages/.exec(answer.content)?.[1])).toBeLessThan(30);
    const [row] = await rowsOf(demo);
    expect(row!.usage.promptTokens).toBeLessThan(1024);
    expect(row!.usage.promptTokens).toBeGreaterThan(300);
  });
});

describe("with a model that does not stop by itself", () => {
  test("the answer streams by edits and follow-ups, and Stop frees the slot", async () => {
    await open(endless);
    const interaction = await talking();
    await standIn.until(() => newest(interaction)!.versions.length >= 3 || undefined, "three edits");
    const answer = await stop(ann, interaction);
    expect(answer.content).toContain("-# stopped");
    await waitFor(async () => ((await activeOf(endless)) === 0 ? true : undefined), 20_000);
    for (const { versions } of [interaction.original!, ...interaction.followUps]) {
      const gaps = versions.slice(1).map(({ at }, index) => at - versions[index]!.at);
      for (const gap of gaps) expect(gap).toBeGreaterThanOrEqual(1000);
    }
    expect((await rowsOf(endless))[0]).toMatchObject({ source: "discord", aborted: true });
  });

  test("those who wait see their place, and are answered when it is their turn", async () => {
    await open(endless);
    const first = await talking();
    const second = await ask(bob, "My turn?");
    await standIn.until(() => second.original?.content.includes("Number 1 in line"), "the place in line");
    await stop(ann, first);
    await standIn.until(() => words(second.original).length > 20, "its turn");
    await stop(bob, second);
  });

  test("a deleted question stops the work on the engine", async () => {
    await open(endless);
    const question = standIn.mention(ann, channel, "Talk");
    await standIn.until(() => words(lastSaid(channel)).length > 20, "the first words");
    standIn.delete(question);
    await waitFor(async () => ((await activeOf(endless)) === 0 ? true : undefined), 20_000);
    await standIn.until(() => lastSaid(channel)!.content.includes("the question was deleted"), "the note");
  });

  test("a message deleted mid-stream stops the work on the engine", async () => {
    await open(endless);
    const interaction = await talking();
    standIn.delete(newest(interaction)!);
    await waitFor(async () => ((await activeOf(endless)) === 0 ? true : undefined), 20_000);
  });

  test("a dropped gateway does not disturb the answer", async () => {
    await open(endless);
    const interaction = await talking();
    standIn.gateway.drop(4000);
    await standIn.until(() => standIn.gateway.resumeCount === 1, "the resumption");
    const answer = await stop(ann, interaction);
    expect(answer.content).toContain("-# stopped");
    expect(answer.content).not.toMatch(/⚠️|interrupted/);
  });

  test("kill -9 of the llama child is told in one line, and the next question is answered", async () => {
    await open(endless);
    const interaction = await talking();
    for (const child of childrenOf(endless.process.pid!)) process.kill(child, "SIGKILL");
    const answer = await ended(interaction);
    expect(answer.content).toMatch(/⚠️ .+ \(request [0-9a-f]{10}\)/);
    await stop(ann, await talking());
  });

  test("going off line marks what is still being written", async () => {
    await open(endless);
    const interaction = await talking();
    await run.stop({ drainMs: 100 });
    expect(newest(interaction)!.content).toContain("-# interrupted");
    await waitFor(async () => ((await activeOf(endless)) === 0 ? true : undefined), 20_000);
  });
});

describe("without what is behind it", () => {
  test("an API that is down is told in one line with a request id", async () => {
    await open({ address: "http://127.0.0.1:9", key: "none" });
    const answer = await ended(await ask(ann, "Hello?"));
    expect(answer.content).toMatch(
      /⚠️ The model is not available right now\. Please try again\. \(request [0-9a-f]{10}\)$/,
    );
  });

  test("an engine that is down is told the same way, and /fits still answers", async () => {
    const broken = await startSnug({ SNUG_DATA_DIR: join(folder, "broken"), SNUG_MODEL: join(folder, "missing.gguf") });
    try {
      await open(broken);
      const answer = await ended(await ask(ann, "Hello?"));
      expect(answer.content).toMatch(/⚠️ .+ \(request [0-9a-f]{10}\)$/);
      const fits = await standIn.slash(ann, channel, "fits", { query: "8b 8gb" });
      expect((await standIn.until(() => fits.original, "the reply")).content).toContain("8B");
    } finally {
      broken.process.kill("SIGKILL");
      await broken.exited;
    }
  });

  test("a wrong key is told without the key", async () => {
    await open({ address: demo.address, key: "wrong-key-0123456789" });
    const answer = await ended(await ask(ann, "Hello?"));
    expect(answer.content).toMatch(/administrator.* \(request [0-9a-f]{10}\)$/);
    expect(answer.content).not.toContain("wrong-key");
  });
});

function threadJson(thread: StandChannel) {
  return {
    id: thread.id,
    type: 11,
    guild_id: thread.guildId,
    parent_id: thread.parentId,
    name: thread.name,
    owner_id: "0",
    thread_metadata: {
      archived: false,
      auto_archive_duration: 1440,
      archive_timestamp: "2026-01-01T00:00:00Z",
      locked: false,
    },
  };
}
