/**
 * How soon Slack hears back when many ask at once, and how many calls an answer costs. The real Bolt by Socket Mode
 * against the stand-in with Slack's limits, both in this process; the engine is scripted, so that its pace is known.
 * Prints a table, writes bench/results/bots-slack.json. Run: npx tsx bench/bots-slack.ts
 */
import { startSlack } from "../src/bots/slack/start.ts";
import { MemoryEventClaims } from "../test/support/memory-event-claims.ts";
import { MemoryLogger } from "../test/support/memory-logger.ts";
import { SlackStandIn, type StandCommand } from "../test/support/slack/stand-in.ts";
import { type StandChannel, verbsOf } from "../test/support/slack/world.ts";
import { createBenchBot, newId, peoplePerRound, quantile, report, rounds, timer, until } from "./bots-bench.ts";

const longAnswers = 5;

const standIn = await SlackStandIn.start({ clock: timer });
const bot = createBenchBot();
const online = await startSlack({
  botToken: standIn.botToken,
  receive: { by: "socket", appToken: standIn.appToken },
  bot,
  claims: new MemoryEventClaims(),
  timer,
  logger: new MemoryLogger(),
  newId,
  admins: [],
  followThreads: true,
  apiUrl: standIn.apiUrl,
});

// People everybody knows already: users.info allows a hundred a minute, and a workspace is not new every day.
const people = Array.from({ length: peoplePerRound }, (_, index) => standIn.world.addUser(`P${index}`));
const lab = standIn.world.addChannel("lab");

const acks: number[] = [];
for (let round = 0; round < rounds; round++) {
  const asked: StandCommand[] = await Promise.all(people.map((person) => standIn.slash(person, lab, "/models")));
  await until(() => asked.every(({ replies }) => replies.length === 1));
  // The first round warms up; a bot that has just started is not what people meet.
  if (round > 0) acks.push(...asked.map(({ delivery }) => delivery.ackedAt! - delivery.sentAt));
}

const before = standIn.api.requests.length;
const channels: StandChannel[] = Array.from({ length: longAnswers }, (_, index) =>
  standIn.world.addChannel(`c${index}`),
);
const startedAt = performance.now();
await Promise.all(channels.map((channel, index) => standIn.slash(people[index]!, channel, "/ask", "long")));
await until(() => channels.every(({ messages }) => messages.some((one) => verbsOf(one).includes("again"))));
const longMs = performance.now() - startedAt;
const calls = standIn.api.requests.slice(before);
const gaps = channels
  .flatMap(({ messages }) => messages.filter(({ stream }) => stream !== undefined))
  .flatMap(({ versions }) => versions.slice(1).map(({ at }, index) => at - versions[index]!.at));

report("bots-slack", {
  commandsAtOnce: peoplePerRound,
  acknowledgements: acks.length,
  ackMsP50: quantile(acks, 0.5),
  ackMsP99: quantile(acks, 0.99),
  ackMsMax: quantile(acks, 1),
  longAnswersAtOnce: longAnswers,
  longAnswerSeconds: Math.round(longMs / 100) / 10,
  callsPerLongAnswer: calls.length / longAnswers,
  secondsBetweenWritesP50: Math.round(quantile(gaps, 0.5)) / 1000,
  secondsBetweenWritesMax: Math.round(quantile(gaps, 1)) / 1000,
  refusedForHaste: standIn.api.limitedCount,
  breachesOfSlacksRules: standIn.violations.length,
});
await online.stop(0);
await standIn.close();
