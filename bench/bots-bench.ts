/** What the benches of both chat platforms share: a fine clock, an engine of known pace, a bot, and how figures are written. */
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { OPEN_ACCESS } from "../src/bots/access.ts";
import { ChatBot } from "../src/bots/bot.ts";
import { DEFAULT_PACE } from "../src/bots/pace.ts";
import type { ChatEvent } from "../src/core/chat.ts";
import type { ChatEngine, Timer } from "../src/core/ports.ts";
import { MemoryBotState } from "../test/support/memory-bot-state.ts";
import { MemoryLogger } from "../test/support/memory-logger.ts";
import { usageOfRows } from "../test/support/usage-rows.ts";

export const rounds = 20;
export const peoplePerRound = 50;
const tokensPerSecond = 40;
const longAnswerTokens = 600;
const shortAnswerTokens = 20;

// The clock of the machine with fractions of a millisecond; the stand-ins read the same one.
const offset = Date.now() - performance.now();
export const timer: Timer = {
  now: () => offset + performance.now(),
  async wait(ms, signal) {
    await delay(Math.max(0, ms), undefined, signal === undefined ? {} : { signal }).catch(() => {});
  },
};

/** Speaks at a steady pace; a question that starts with "short" is answered briefly and at once. */
const engine: ChatEngine = {
  async *chat({ messages }): AsyncGenerator<ChatEvent> {
    const short = messages.at(-1)!.content.startsWith("short");
    const tokens = short ? shortAnswerTokens : longAnswerTokens;
    yield { type: "start", producer: { model: "bench", quantization: "Q4_K_M" } };
    for (let token = 0; token < tokens; token++) {
      if (!short) await delay(1000 / tokensPerSecond);
      yield { type: "text", text: `word${token % 97} ` };
    }
    yield { type: "finish", finishReason: "stop", usage: { completionTokens: tokens }, timings: { totalMs: 1 } };
  },
  models: async () => [{ id: "bench", loaded: true }],
  health: async () => ({ state: "ready", active: 0, queued: 0, slots: peoplePerRound }),
};

let ids = 0;
export const newId = () => `b${++ids}`;

export function createBenchBot(pace: Partial<typeof DEFAULT_PACE> = {}): ChatBot {
  return new ChatBot({
    engine,
    state: new MemoryBotState(),
    usage: usageOfRows(),
    fits: { answer: async () => ({ text: "" }), suggest: () => [] },
    timer,
    logger: new MemoryLogger(),
    newId,
    newSeed: () => 1,
    access: OPEN_ACCESS,
    pace: { ...DEFAULT_PACE, ...pace },
    reasoning: "spoiler",
  });
}

export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await delay(10);
}

/** In tenths. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((left, right) => left - right);
  return Math.round(sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)]! * 10) / 10;
}

/** Prints the figures and writes them to bench/results. */
export function report(name: string, figures: Record<string, number>): void {
  const result = {
    machine: `${cpus()[0]?.model ?? "unknown"}, ${cpus().length} cores`,
    node: process.version,
    date: new Date().toISOString().slice(0, 10),
    ...figures,
  };
  console.table(result);
  mkdirSync(new URL("./results/", import.meta.url), { recursive: true });
  writeFileSync(new URL(`./results/${name}.json`, import.meta.url), `${JSON.stringify(result, null, 2)}\n`);
}
