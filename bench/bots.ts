/**
 * How soon Discord hears back when many ask at once, and how many writes an answer costs. The real discord.js against
 * the stand-in with Discord's rate limits, both in this process; the engine is scripted, so that its pace is known.
 * Prints a table, writes bench/results/bots.json. Run: npx tsx bench/bots.ts
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { OPEN_ACCESS } from "../src/bots/access.ts";
import { ChatBot } from "../src/bots/bot.ts";
import { startDiscord } from "../src/bots/discord/start.ts";
import { DEFAULT_PACE } from "../src/bots/pace.ts";
import type { ChatEvent } from "../src/core/chat.ts";
import type { ChatEngine, Timer } from "../src/core/ports.ts";
import type { StandInteraction } from "../test/support/discord/interactions.ts";
import { buttonsOf, DiscordStandIn } from "../test/support/discord/stand-in.ts";
import { MemoryBotState } from "../test/support/memory-bot-state.ts";
import { MemoryLogger } from "../test/support/memory-logger.ts";
import { usageOfRows } from "../test/support/usage-rows.ts";

const rounds = 20;
const peoplePerRound = 50;
const longAnswers = 10;
const tokensPerSecond = 40;
const longAnswerTokens = 600;
const shortAnswerTokens = 20;

// The clock of the machine with fractions of a millisecond; the stand-in reads the same one.
const offset = Date.now() - performance.now();
const timer: Timer = {
  now: () => offset + performance.now(),
  async wait(ms, signal) {
    await delay(Math.max(0, ms), undefined, signal === undefined ? {} : { signal }).catch(() => {});
  },
};

/** Speaks at a steady pace; a question that starts with "long" gets the long answer. */
const engine: ChatEngine = {
  async *chat({ messages }): AsyncGenerator<ChatEvent> {
    const tokens = messages.at(-1)!.content.startsWith("long") ? longAnswerTokens : shortAnswerTokens;
    yield { type: "start", producer: { model: "bench", quantization: "Q4_K_M" } };
    for (let token = 0; token < tokens; token++) {
      if (tokens === longAnswerTokens) await delay(1000 / tokensPerSecond);
      yield { type: "text", text: `word${token % 97} ` };
    }
    yield { type: "finish", finishReason: "stop", usage: { completionTokens: tokens }, timings: { totalMs: 1 } };
  },
  models: async () => [{ id: "bench", loaded: true }],
  health: async () => ({ state: "ready", active: 0, queued: 0, slots: peoplePerRound }),
};

const standIn = await DiscordStandIn.start({ clock: timer });
const channel = standIn.world.addChannel(standIn.world.addGuild("Lab"), "general");
let ids = 0;
const newId = () => `b${++ids}`;
const bot = new ChatBot({
  engine,
  state: new MemoryBotState(),
  usage: usageOfRows(),
  fits: { answer: async () => ({ text: "" }), suggest: () => [] },
  timer,
  logger: new MemoryLogger(),
  newId,
  newSeed: () => 1,
  access: OPEN_ACCESS,
  pace: { ...DEFAULT_PACE, questionsPerChannelMax: 1_000_000 },
  reasoning: "spoiler",
});
const online = await startDiscord({
  token: standIn.token,
  bot,
  clock: timer,
  logger: new MemoryLogger(),
  newId,
  apiUrl: standIn.apiUrl,
  register: true,
  admins: [],
  followThreads: "auto",
  answerIn: "channel",
});

const newest = ({ original, followUps }: StandInteraction) =>
  [original, ...followUps].filter((one) => one !== undefined).at(-1);
const isOver = (interaction: StandInteraction) => {
  const message = newest(interaction);
  return message !== undefined && buttonsOf(message).includes("again");
};
const untilOver = async (asked: readonly StandInteraction[]) => {
  while (!asked.every(isOver)) await delay(10);
};
const quantile = (sorted: readonly number[], share: number) =>
  Math.round(sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)]! * 10) / 10;

const acks: number[] = [];
for (let round = 0; round < rounds; round++) {
  const people = Array.from({ length: peoplePerRound }, (_, index) => standIn.world.addUser(`U${round}x${index}`));
  const asked = people.map((person) => standIn.sendCommand(person, channel, "ask", { prompt: "short" }));
  await untilOver(asked);
  // The first round warms up; a bot that has just started is not what people meet.
  if (round > 0) acks.push(...asked.map(({ createdAt, ackedAt }) => ackedAt! - createdAt));
}
acks.sort((a, b) => a - b);

const before = standIn.rest.requests.length;
const startedAt = performance.now();
const talkers = Array.from({ length: longAnswers }, (_, index) => standIn.world.addUser(`L${index}`));
const long = talkers.map((person) => standIn.sendCommand(person, channel, "ask", { prompt: "long" }));
await untilOver(long);
const longMs = performance.now() - startedAt;
const writes = standIn.rest.requests.slice(before).filter(({ route }) => route.startsWith("/webhooks"));
const gaps = long.flatMap(({ token }) => {
  const times = writes.filter(({ parameters }) => parameters[1] === token).map(({ at }) => at);
  return times.slice(1).map((at, index) => at - times[index]!);
});
gaps.sort((a, b) => a - b);

const result = {
  machine: `${cpus()[0]?.model ?? "unknown"}, ${cpus().length} cores`,
  node: process.version,
  date: new Date().toISOString().slice(0, 10),
  interactionsAtOnce: peoplePerRound,
  acknowledgements: acks.length,
  ackMsP50: quantile(acks, 0.5),
  ackMsP99: quantile(acks, 0.99),
  ackMsMax: quantile(acks, 1),
  longAnswers,
  longAnswerSeconds: Math.round(longMs / 100) / 10,
  writesPerLongAnswer: writes.length / longAnswers,
  secondsBetweenWritesP50: Math.round(quantile(gaps, 0.5)) / 1000,
  forced429: standIn.rest.limitedCount,
  breachesOfDiscordsRules: standIn.violations.length,
};
console.table(result);
mkdirSync(new URL("./results/", import.meta.url), { recursive: true });
writeFileSync(new URL("./results/bots.json", import.meta.url), `${JSON.stringify(result, null, 2)}\n`);
await online.stop(0);
await standIn.close();
