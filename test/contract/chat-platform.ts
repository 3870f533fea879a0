/**
 * What every `ChatPlace` must keep, and how an answer looks on every platform. An implementation is tested by calling
 * `describeChatPlatform` with a maker of places on it.
 */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { OPEN_ACCESS } from "../../src/bots/access.ts";
import { ChatBot } from "../../src/bots/bot.ts";
import { DEFAULT_PACE } from "../../src/bots/pace.ts";
import type { Question } from "../../src/bots/question.ts";
import { AppError } from "../../src/core/errors.ts";
import type { ChatButton, ChatPlace, Timer } from "../../src/core/ports.ts";
import { FakeEngine, type FakeStep, sayForever } from "../support/fake-engine.ts";
import { MemoryBotState } from "../support/memory-bot-state.ts";
import { MemoryLogger } from "../support/memory-logger.ts";
import { usageOfRows } from "../support/usage-rows.ts";

export interface ShownMessage {
  text: string;
  /** Ids as they were given. */
  buttons: string[];
  files: { name: string; bytes: Uint8Array }[];
}

export interface ChatPlatformHarness {
  /** A new, empty place. */
  place(): Promise<ChatPlace>;
  /** What stands in the last place now, oldest first. */
  shown(): ShownMessage[];
  /** Somebody deletes the newest message. */
  deleteNewest(): void;
  timer: Timer;
  /** Moves time on until the condition holds. */
  advanceUntil(condition: () => boolean, what: string): Promise<void>;
  /** What was wrong with requests; empty when all was well. */
  violations(): readonly string[];
  close(): Promise<void>;
}

const button = (id: string, tone: ChatButton["tone"] = "neutral"): ChatButton => ({ id, label: id, emoji: "🔁", tone });

export function describeChatPlatform(name: string, makeHarness: () => Promise<ChatPlatformHarness>): void {
  describe(`${name} keeps the chat platform contract`, () => {
    let harness: ChatPlatformHarness;
    beforeEach(async () => {
      harness = await makeHarness();
    });
    afterEach(async () => {
      await harness.close();
      expect(harness.violations()).toEqual([]);
    });
    describePlaces(() => harness);
    describeAnswers(() => harness);
  });
}

function describePlaces(harness: () => ChatPlatformHarness): void {
  test("a post is shown with its buttons", async () => {
    const place = await harness().place();
    await place.post({ text: "Hello", buttons: [button("stop:1", "danger"), button("up:1", "quiet")] });
    expect(harness().shown()).toEqual([{ text: "Hello", buttons: ["stop:1", "up:1"], files: [] }]);
  });

  test("an edit replaces the text and keeps the buttons unless it names them", async () => {
    const place = await harness().place();
    const message = await place.post({ text: "One", buttons: [button("stop:1")] });
    await message.edit({ text: "Two" });
    expect(harness().shown()).toMatchObject([{ text: "Two", buttons: ["stop:1"] }]);
    await message.edit({ text: "Three", buttons: [button("again:1")] });
    expect(harness().shown()).toMatchObject([{ text: "Three", buttons: ["again:1"] }]);
    await message.edit({ text: "Four", buttons: [] });
    expect(harness().shown()).toMatchObject([{ text: "Four", buttons: [] }]);
  });

  test("posts stand in the order they were made, and edits reach the right one", async () => {
    const place = await harness().place();
    const first = await place.post({ text: "One" });
    const second = await place.post({ text: "Two" });
    await first.edit({ text: "Uno" });
    await second.edit({ text: "Dos" });
    expect(
      harness()
        .shown()
        .map(({ text }) => text),
    ).toEqual(["Uno", "Dos"]);
    expect(first.id).not.toBe(second.id);
  });

  test("files come with a post or an edit", async () => {
    const place = await harness().place();
    const bytes = new TextEncoder().encode("whole answer");
    const file = { name: "answer.md", contentType: "text/markdown", bytes, description: "The answer" };
    const message = await place.post({ text: "One", files: [file] });
    await message.edit({ text: "Two" });
    const second = await place.post({ text: "Three" });
    await second.edit({ text: "Four", files: [file] });
    for (const { files } of harness().shown()) {
      expect(files.map((one) => [one.name, new TextDecoder().decode(one.bytes)])).toEqual([
        ["answer.md", "whole answer"],
      ]);
    }
  });

  test("a message of the greatest length is taken", async () => {
    const place = await harness().place();
    const text = "x".repeat(place.platform.limits.messageCharsMax);
    await place.post({ text });
    expect(harness().shown()[0]!.text).toBe(text);
  });

  test("a deleted message can be removed from the place and cannot be edited", async () => {
    const place = await harness().place();
    const message = await place.post({ text: "One" });
    await message.delete();
    expect(harness().shown()).toEqual([]);
    const second = await place.post({ text: "Two" });
    harness().deleteNewest();
    await expect(second.edit({ text: "Three" })).rejects.toMatchObject({ name: "ChatPlatformError", reason: "gone" });
  });

  test("typing never fails", async () => {
    await expect((await harness().place()).typing()).resolves.toBeUndefined();
  });
}

function describeAnswers(harness: () => ChatPlatformHarness): void {
  /** Answers one question by a script. */
  async function answer(script: () => Iterable<FakeStep>, more: Partial<Question> = {}) {
    const { timer } = harness();
    const engine = new FakeEngine({ clock: timer, models: [{ id: "fake", loaded: true }], script });
    let ids = 0;
    const bot = new ChatBot({
      engine,
      state: new MemoryBotState(),
      usage: usageOfRows(),
      fits: { answer: async () => ({ text: "" }), suggest: () => [] },
      timer,
      logger: new MemoryLogger(),
      newId: () => `r${++ids}`,
      newSeed: () => 1,
      access: OPEN_ACCESS,
      pace: DEFAULT_PACE,
      reasoning: "spoiler",
    });
    const place = await harness().place();
    let over = false;
    const asking = bot.ask({ ...question, ...more }, place).finally(() => {
      over = true;
    });
    return { engine, bot, place, asking, isOver: () => over };
  }

  test("an answer streams and ends with its buttons", async () => {
    const { engine, asking, isOver } = await answer(() => [{ text: "One " }, { hold: "on" }, { text: "two." }]);
    await engine.reached("on");
    await harness().advanceUntil(() => harness().shown()[0]?.text.startsWith("One") === true, "the first word");
    expect(harness().shown()[0]!.buttons).toEqual(["stop:r1"]);
    engine.release("on");
    await harness().advanceUntil(isOver, "the end");
    await asking;
    expect(harness().shown()).toHaveLength(1);
    expect(harness().shown()[0]!.text).toMatch(/^One two\.\n.*fake/);
    expect(harness().shown()[0]!.buttons).toEqual(["again:r1", "up:r1", "down:r1"]);
  });

  test("a pressed Stop ends the work and keeps what was said", async () => {
    const { engine, bot, isOver } = await answer(function* () {
      yield { text: "One " };
      yield { hold: "on" };
      yield* sayForever();
    });
    await engine.reached("on");
    await harness().advanceUntil(() => harness().shown()[0]?.text.startsWith("One") === true, "the first word");
    const press = bot.press("stop:r1", question.asker, question.where, "en");
    expect(press.ack).toEqual({ kind: "silent" });
    await harness().advanceUntil(isOver, "the end");
    expect(engine.cancelledCount).toBe(1);
    expect(harness().shown()[0]!.text).toMatch(/^One\n.*stopped/);
  });

  test("a failure is one line with a request id and another try", async () => {
    const error = new AppError("engine_unavailable", "Gone.");
    const { isOver } = await answer(() => [{ error }]);
    await harness().advanceUntil(isOver, "the end");
    expect(harness().shown()).toEqual([
      {
        text: "⚠️ The model is not available right now. Please try again. (request r1)",
        buttons: ["again:r1"],
        files: [],
      },
    ]);
  });

  test("an answer beyond three messages is shown in three and comes whole as a file", async () => {
    const { messageCharsMax } = (await harness().place()).platform.limits;
    const text = Array.from({ length: messageCharsMax * 0.3 }, (_, index) => `Sentence ${index}.`).join(" ");
    const { place, isOver } = await answer(() => [{ text }]);
    await harness().advanceUntil(isOver, "the end");
    const shown = harness().shown();
    expect(shown).toHaveLength(3);
    for (const message of shown) expect(message.text.length).toBeLessThanOrEqual(place.platform.limits.messageCharsMax);
    expect(shown.map(({ buttons }) => buttons.length)).toEqual([0, 0, 3]);
    expect(new TextDecoder().decode(shown[2]!.files[0]!.bytes)).toBe(text);
  });

  test("thoughts are set apart from the answer", async () => {
    const { place, isOver } = await answer(() => [{ text: "<think>Hm.</think>Yes." }]);
    await harness().advanceUntil(isOver, "the end");
    expect(
      harness()
        .shown()[0]!
        .text.startsWith(`${place.platform.markup.spoiler("Thoughts: Hm.")}\nYes.`),
    ).toBe(true);
  });

  test("an answer deleted while it is written stops the work", async () => {
    const { engine, isOver } = await answer(function* () {
      yield { text: "One " };
      yield { hold: "on" };
      yield* sayForever();
    });
    await engine.reached("on");
    await harness().advanceUntil(() => harness().shown()[0]?.text.startsWith("One") === true, "the first word");
    harness().deleteNewest();
    engine.release("on");
    await harness().advanceUntil(isOver, "the end");
    expect(engine.cancelledCount).toBe(1);
    expect(harness().shown()).toEqual([]);
  });
}

const question: Question = {
  id: "q1",
  asker: { id: "ann", name: "Ann", roleIds: [], isAdmin: false, isManager: false },
  where: { source: "api", channelId: "c1", direct: false },
  locale: "en",
  text: "Go on",
  files: [],
  history: async () => [],
};
