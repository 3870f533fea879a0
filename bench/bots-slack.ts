/**
 * How soon Slack hears back when many ask at once, and how many calls an answer costs. The real Bolt by Socket Mode
 * against the stand-in with Slack's limits, both in this process; the engine is scripted, so that its pace is known.
 * Prints a table, writes bench/results/bots-slack.json. Run: npx tsx bench/bots-slack.ts
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { OPEN_ACCESS } from "../src/bots/access.ts";
import { ChatBot } from "../src/bots/bot.ts";
import { DEFAULT_PACE } from "../src/bots/pace.ts";
import { startSlack } from "../src/bots/slack/start.ts";
import type { ChatEvent } from "../src/core/chat.ts";
import type { ChatEngine, Timer } from "../src/core/ports.ts";
import { MemoryBotState } from "../test/support/memory-bot-state.ts";
import { MemoryEventClaims } from "../test/support/memory-event-claims.ts";
import { MemoryLogger } from "../test/support/memory-logger.ts";
import { SlackStandIn, type StandCommand } from "../test/support/slack/stand-in.ts";
import { type StandChannel, verbsOf } from "../test/support/slack/world.ts";
import { usageOfRows } from "../test/support/usage-rows.ts";

const rounds = 20;
const peoplePerRound = 50;
const longAnswers = 5;
const tokensPerSecond = 40;
const longAnswerTokens = 600;

// The clock of the machine with fractions of a millisecond; the stand-in reads the same one.
const offset = Date.now() - performance.now();
const timer: Timer = {
  now: () => offset + performance.now(),
  async wait(ms, signal) {
    await delay(Math.max(0, ms), undefined, signal === undefined ? {} : { signal }).catch(() => {});
  },
};

/** Speaks at a steady pace. */
const engine: ChatEngine = {
  async *chat(): AsyncGenerator<ChatEvent> {
    yield { type: "start", producer: { model: "bench", quantization: "Q4_K_M" } };
    for (let token = 0; token < longAnswerTokens; token++) {
      await delay(1000 / tokensPerSecond);
      yield { type: "text", text: `word${token % 97} ` };
    }
    yield {
      type: "finish",
      finishReason: "stop",
      usage: { completionTokens: longAnswerTokens },
      timings: { totalMs: 1 },
    };
  },
  models: async () => [{ id: "bench", loaded: true }],
  health: async () => ({ state: "ready", active: 0, queued: 0, slots: peoplePerRound }),
};

const standIn = await SlackStandIn.start({ clock: timer });
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
  pace: DEFAULT_PACE,
  reasoning: "spoiler",
});
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

const quantile = (sorted: readonly number[], share: number) =>
  Math.round(sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)]! * 10) / 10;
const until = async (condition: () => boolean) => {
  while (!condition()) await delay(10);
};

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
acks.sort((a, b) => a - b);

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
gaps.sort((a, b) => a - b);

const result = {
  machine: `${cpus()[0]?.model ?? "unknown"}, ${cpus().length} cores`,
  node: process.version,
  date: new Date().toISOString().slice(0, 10),
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
};
console.table(result);
mkdirSync(new URL("./results/", import.meta.url), { recursive: true });
writeFileSync(new URL("./results/bots-slack.json", import.meta.url), `${JSON.stringify(result, null, 2)}\n`);
await online.stop(0);
await standIn.close();
