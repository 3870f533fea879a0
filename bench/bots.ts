/**
 * How soon Discord hears back when many ask at once, and how many writes an answer costs. The real discord.js against
 * the stand-in with Discord's rate limits, both in this process; the engine is scripted, so that its pace is known.
 * Prints a table, writes bench/results/bots.json. Run: npx tsx bench/bots.ts
 */
import { startDiscord } from "../src/bots/discord/start.ts";
import type { StandInteraction } from "../test/support/discord/interactions.ts";
import { buttonsOf, DiscordStandIn } from "../test/support/discord/stand-in.ts";
import { MemoryLogger } from "../test/support/memory-logger.ts";
import { createBenchBot, newId, peoplePerRound, quantile, report, rounds, timer, until } from "./bots-bench.ts";

const longAnswers = 10;

const standIn = await DiscordStandIn.start({ clock: timer });
const channel = standIn.world.addChannel(standIn.world.addGuild("Lab"), "general");
const bot = createBenchBot({ questionsPerChannelMax: 1_000_000 });
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

const acks: number[] = [];
for (let round = 0; round < rounds; round++) {
  const people = Array.from({ length: peoplePerRound }, (_, index) => standIn.world.addUser(`U${round}x${index}`));
  const asked = people.map((person) => standIn.sendCommand(person, channel, "ask", { prompt: "short" }));
  await until(() => asked.every(isOver));
  // The first round warms up; a bot that has just started is not what people meet.
  if (round > 0) acks.push(...asked.map(({ createdAt, ackedAt }) => ackedAt! - createdAt));
}

const before = standIn.rest.requests.length;
const startedAt = performance.now();
const talkers = Array.from({ length: longAnswers }, (_, index) => standIn.world.addUser(`L${index}`));
const long = talkers.map((person) => standIn.sendCommand(person, channel, "ask", { prompt: "long" }));
await until(() => long.every(isOver));
const longMs = performance.now() - startedAt;
const writes = standIn.rest.requests.slice(before).filter(({ route }) => route.startsWith("/webhooks"));
const gaps = long.flatMap(({ token }) => {
  const times = writes.filter(({ parameters }) => parameters[1] === token).map(({ at }) => at);
  return times.slice(1).map((at, index) => at - times[index]!);
});

report("bots", {
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
});
await online.stop(0);
await standIn.close();
