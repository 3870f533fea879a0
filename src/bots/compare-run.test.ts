import { setImmediate } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { sampleReport as report } from "../../test/support/compare-port.ts";
import { FakePlace } from "../../test/support/fake-platform.ts";
import { ManualTimer } from "../../test/support/manual-timer.ts";
import { MemoryBotState } from "../../test/support/memory-bot-state.ts";
import { MemoryLogger } from "../../test/support/memory-logger.ts";
import { usageOfRows } from "../../test/support/usage-rows.ts";
import { AppError } from "../core/errors.ts";
import type { CompareJob, CompareRequest } from "../fit/compare-report.ts";
import { OPEN_ACCESS } from "./access.ts";
import { ChatBot } from "./bot.ts";
import { findCommand } from "./commands.ts";
import type { ComparePort } from "./compare-run.ts";
import type { BotLocale } from "./locale/texts.ts";
import { DEFAULT_PACE } from "./pace.ts";

const job: CompareJob = { id: "local:cmp-1", state: "running", model: "tiny", startedAt: 0 };
const admin = { id: "u1", name: "Ann", roleIds: [], isAdmin: true, isManager: true };
const guest = { ...admin, id: "u2", name: "Bob", isAdmin: false, isManager: false };
const where = { source: "discord" as const, channelId: "c1", direct: false };

class FakePort implements ComparePort {
  requests: CompareRequest[] = [];
  cancelled: string[] = [];
  looks: (CompareJob | AppError)[] = [];
  refusal: AppError | undefined;

  async start(request: CompareRequest): Promise<CompareJob> {
    if (this.refusal !== undefined) throw this.refusal;
    this.requests.push(request);
    return job;
  }
  async look(): Promise<CompareJob> {
    const next = this.looks.shift() ?? job;
    if (next instanceof AppError) throw next;
    return next;
  }
  async cancel(id: string): Promise<CompareJob> {
    this.cancelled.push(id);
    return { ...job, state: "cancelled" };
  }
}

function open({ asker = admin, locale = "en" as BotLocale, options = {} as Record<string, string | boolean> } = {}) {
  const timer = new ManualTimer();
  const port = new FakePort();
  const bot = new ChatBot({
    engine: {
      async *chat() {},
      models: async () => [{ id: "loaded-one", loaded: true }],
      health: async () => ({ state: "ready", active: 0, queued: 0, slots: 1 }),
    },
    state: new MemoryBotState(),
    usage: usageOfRows(),
    fits: { answer: async () => ({ text: "" }), suggest: () => [] },
    timer,
    logger: new MemoryLogger(),
    newId: () => "r1",
    newSeed: () => 1,
    access: OPEN_ACCESS,
    pace: DEFAULT_PACE,
    reasoning: "hidden",
    capabilities: ["compare"],
    compare: port,
    drawPng: async (render) => new TextEncoder().encode(render("en") ?? ""),
  });
  const place = new FakePlace(timer);
  let over = false;
  const start = () =>
    void bot.compare({ command: findCommand("compare")!, options, asker, where, locale }, place).then(() => {
      over = true;
    });
  const turn = async () => {
    await setImmediate();
    timer.advance(timer.nextDueMs() ?? 0);
    await setImmediate();
  };
  const finish = async () => {
    while (!over) await turn();
  };
  return { bot, port, place, timer, start, turn, finish, isOver: () => over };
}

describe("/compare", () => {
  it("tells how it is getting on, seldom, and ends as a table with a picture and no button", async () => {
    const { port, place, start, finish } = open({
      options: { model: "tiny", quantizations: "q8_0, f16，q4_k_m", prompt: "Why?", force: true },
    });
    const running = (share: number): CompareJob => ({
      ...job,
      progress: { step: "speed", quantization: "Q8_0", share },
    });
    port.looks = [...[0.1, 0.2, 0.3, 0.4, 0.5, 0.6].map(running), { ...job, state: "done", report }];
    start();
    await finish();
    expect(port.requests).toEqual([
      { model: "tiny", quantizations: ["Q8_0", "F16", "Q4_K_M"], prompts: ["Why?"], force: true },
    ]);
    const [message, ...more] = place.messages;
    expect(more).toEqual([]);
    const shown = message!.versions.map(({ text }) => text);
    expect(shown[0]).toBe("Comparing the precisions of **tiny** …");
    expect(shown.some((text) => /Q8_0: measuring speed \(\d0 %\)/.test(text))).toBe(true);
    // Six looks, a second apart each, and an edit in three seconds at most.
    expect(shown.length).toBeLessThanOrEqual(5);
    expect(message!.text).toContain("Only F16 could be measured: 42.0 tokens/s.");
    expect(message!.buttons).toEqual([]);
    expect(message!.files.map(({ name, contentType }) => [name, contentType])).toEqual([["compare.png", "image/png"]]);
  });

  it("asks about the channel's model in the caller's language when nothing is said", async () => {
    const { port, place, start, finish } = open({ locale: "zh-CN" });
    port.looks = [{ ...job, state: "done", report }];
    start();
    await finish();
    expect(port.requests).toEqual([{ model: "loaded-one" }]);
    expect(place.messages[0]!.versions[0]!.text).toContain("正在对比");
    expect(place.messages[0]!.text).toContain("只有 F16 可以测量");
  });

  it("is cancelled by the button, by who asked and by administrators alone", async () => {
    const { bot, port, place, start, turn, finish, isOver } = open();
    start();
    while (place.messages.length === 0) await turn();
    const button = place.messages[0]!.buttons[0]!;
    expect(button.id).toBe("halt:r1");
    expect(bot.press(button.id, guest, where, "en").ack).toMatchObject({ kind: "notice" });
    await turn();
    expect(isOver()).toBe(false);
    expect(bot.press(button.id, { ...guest, isAdmin: true }, where, "en").ack).toEqual({ kind: "silent" });
    await finish();
    expect(port.cancelled).toEqual([job.id]);
    expect(place.messages[0]!.text).toBe("The comparison was cancelled.");
    expect(place.messages[0]!.buttons).toEqual([]);
    expect(bot.press(button.id, admin, where, "en").ack).toMatchObject({
      kind: "notice",
      text: "This comparison is over.",
    });
  });

  it("is for administrators", async () => {
    const { port, place, start, finish } = open({ asker: guest });
    start();
    await finish();
    expect(port.requests).toEqual([]);
    expect(place.messages[0]!.text).toContain("administrators");
  });

  it.each([
    ["the engine is answering somebody", new AppError("engine_overloaded", "2 requests are being answered here.")],
    ["the key may not", new AppError("permission_denied", "This API key lacks the scope compare.")],
  ])("says why it does not begin when %s", async (_, refusal) => {
    const { port, place, start, finish } = open();
    port.refusal = refusal;
    start();
    await finish();
    expect(place.messages[0]!.text).toContain(refusal.message);
    expect(place.messages[0]!.text).toContain("r1");
  });

  it("refuses what is no quantization before it asks anybody", async () => {
    const { port, place, start, finish } = open({ options: { model: "tiny", quantizations: "../../etc" } });
    start();
    await finish();
    expect(port.requests).toEqual([]);
    expect(place.messages[0]!.text).toContain("quantization");
  });

  it("bears a few failing looks, and ends the job when they go on", async () => {
    const gone = new AppError("engine_unavailable", "The API could not be reached.");
    const first = open();
    first.port.looks = [gone, gone, { ...job, state: "done", report }];
    first.start();
    await first.finish();
    expect(first.place.messages[0]!.text).toContain("42.0 tokens/s");
    const second = open();
    second.port.looks = Array(9).fill(gone);
    second.start();
    await second.finish();
    expect(second.port.cancelled).toEqual([job.id]);
    expect(second.place.messages[0]!.text).toContain("could not be reached");
  });

  it("writes its report anew where its message has gone", async () => {
    const { port, place, start, turn, finish } = open();
    start();
    while (place.messages.length === 0) await turn();
    place.messages[0]!.deleted = true;
    port.looks = [{ ...job, state: "done", report }];
    await finish();
    expect(place.messages[1]!.text).toContain("42.0 tokens/s");
  });

  it("ends when the bot does", async () => {
    const { bot, port, place, start, turn, timer } = open();
    start();
    while (place.messages.length === 0) await turn();
    let drained = false;
    void bot.drain(1000).then(() => {
      drained = true;
    });
    while (!drained) {
      await setImmediate();
      timer.advance(timer.nextDueMs() ?? 0);
    }
    expect(port.cancelled).toEqual([job.id]);
  });
});
