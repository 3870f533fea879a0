import { setImmediate } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { FakePlace } from "../../test/support/fake-platform.ts";
import { ManualTimer } from "../../test/support/manual-timer.ts";
import { MemoryBotState } from "../../test/support/memory-bot-state.ts";
import { MemoryLogger } from "../../test/support/memory-logger.ts";
import { usageOfRows } from "../../test/support/usage-rows.ts";
import type { ChatEvent } from "../core/chat.ts";
import { AppError } from "../core/errors.ts";
import type { ChatEngine } from "../core/ports.ts";
import { OPEN_ACCESS } from "./access.ts";
import { chooseModel } from "./answer-run.ts";
import { ChatBot } from "./bot.ts";
import { DEFAULT_PACE } from "./pace.ts";
import type { Question } from "./question.ts";

const producer = { model: "m", quantization: "Q4_K_M" };
const finish: ChatEvent = {
  type: "finish",
  finishReason: "stop",
  usage: {},
  timings: { completionTokensPerSecond: 41.26 },
};

/** Answers with these events and gives what stands in the chat at the end. */
async function answer(events: ChatEvent[], reasoning: "spoiler" | "hidden" = "spoiler") {
  const timer = new ManualTimer();
  const engine: ChatEngine = {
    async *chat() {
      yield* events;
    },
    models: async () => [{ id: "m", loaded: true }],
    health: async () => ({ state: "ready", active: 0, queued: 0, slots: 1 }),
  };
  const bot = new ChatBot({
    engine,
    state: new MemoryBotState(),
    usage: usageOfRows(),
    fits: { answer: async () => ({ text: "" }), suggest: () => [] },
    timer,
    logger: new MemoryLogger(),
    newId: () => "r1",
    newSeed: () => 1,
    access: OPEN_ACCESS,
    pace: DEFAULT_PACE,
    reasoning,
  });
  const place = new FakePlace(timer);
  let over = false;
  void bot.ask(question, place).then(() => {
    over = true;
  });
  while (!over) {
    await setImmediate();
    timer.advance(timer.nextDueMs() ?? 0);
  }
  return place.messages[0]!;
}

const question: Question = {
  id: "q",
  asker: { id: "ann", name: "Ann", roleIds: [], isAdmin: false, isManager: false },
  where: { source: "discord", channelId: "c", direct: false },
  locale: "en",
  text: "?",
  files: [],
  history: async () => [],
};

describe("an answer", () => {
  test("ends with model, quantization and speed in small print", async () => {
    const { text } = await answer([{ type: "start", producer }, { type: "text", text: "Yes." }, finish]);
    expect(text).toBe("Yes.\n_m · Q4_K_M · 41.3 tokens/s_");
  });

  test("shows thoughts that the engine tells apart like those the model writes itself", async () => {
    const events: ChatEvent[] = [
      { type: "start", producer },
      { type: "reasoning", text: "Let me " },
      { type: "reasoning", text: "see." },
      { type: "text", text: "Yes." },
      finish,
    ];
    expect((await answer(events)).text).toMatch(/^\(Thoughts: Let me see\.\)\nYes\.\n/);
    expect((await answer(events, "hidden")).text).toMatch(/^Yes\.\n/);
  });

  test("that says nothing says so", async () => {
    expect((await answer([{ type: "start", producer }, finish])).text).toMatch(/^The model had nothing to say\.\n/);
  });

  test("cut at the token limit says so", async () => {
    const cut: ChatEvent = { type: "finish", finishReason: "length", usage: {}, timings: {} };
    const { text } = await answer([{ type: "start", producer }, { type: "text", text: "And then" }, cut]);
    expect(text).toContain("_cut at the token limit · m");
  });
});

describe("chooseModel", () => {
  const models = [
    { id: "away", loaded: false },
    { id: "Here", loaded: true },
  ];

  test("takes what was asked for, whatever its case, and nothing else", () => {
    expect(chooseModel(models, "here", undefined).id).toBe("Here");
    expect(() => chooseModel(models, "other", "Here")).toThrow(AppError);
  });

  test("takes the preferred one while it is there, else the first that is loaded", () => {
    expect(chooseModel(models, undefined, "away").id).toBe("away");
    expect(chooseModel(models, undefined, "gone").id).toBe("Here");
  });

  test("says so when there is none", () => {
    expect(() => chooseModel([], undefined, undefined)).toThrow("No engine offers a model");
  });
});
