import { setImmediate } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { FakePlace } from "../../test/support/fake-platform.ts";
import { ManualTimer } from "../../test/support/manual-timer.ts";
import { MemoryLogger } from "../../test/support/memory-logger.ts";
import { ReplyWriter, type ReplyWriterOptions } from "./reply-writer.ts";

/** Lets everything run that waits for no clock. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await setImmediate();
}

function open(more: Partial<ReplyWriterOptions> & { expiresAfterMs?: number; next?: FakePlace | "closed" } = {}) {
  const timer = new ManualTimer();
  const { expiresAfterMs, next, ...options } = more;
  const elsewhere = new FakePlace(timer);
  if (next === "closed") elsewhere.faults.push("forbidden");
  const place = new FakePlace(timer, {
    ...(expiresAfterMs === undefined ? {} : { expiresAt: timer.now() + expiresAfterMs }),
    ...(next === undefined ? {} : { next: elsewhere }),
  });
  const lost: string[] = [];
  let expiring = 0;
  const writer = new ReplyWriter(place, {
    timer,
    logger: new MemoryLogger(),
    firstWriteMs: 600,
    movedNote: "continued below",
    onLost: (reason) => lost.push(reason),
    onExpiring: () => expiring++,
    ...options,
  });
  const advance = async (ms: number) => {
    timer.advance(ms);
    await settle();
  };
  const texts = (of = place) => of.messages.filter(({ deleted }) => !deleted).map(({ text }) => text);
  return { timer, place, elsewhere, writer, lost, advance, texts, expiring: () => expiring };
}

describe("pace", () => {
  test("nothing is written before the first delay, unless there is a hurry", async () => {
    const { writer, advance, texts } = open();
    writer.show(() => [{ text: "thinking" }]);
    await advance(599);
    expect(texts()).toEqual([]);
    await advance(1);
    expect(texts()).toEqual(["thinking"]);
    const hurried = open();
    hurried.writer.show(() => [{ text: "queued" }], true);
    await settle();
    expect(hurried.texts()).toEqual(["queued"]);
  });

  test("states between two writes are skipped without being drawn, the newest is shown", async () => {
    const { writer, place, advance } = open();
    let drawnCount = 0;
    for (let index = 0; index < 50; index++) {
      writer.show(() => {
        drawnCount++;
        return [{ text: `state ${index}` }];
      });
      await advance(100);
    }
    const { versions } = place.messages[0]!;
    expect(drawnCount).toBe(versions.length);
    expect(versions.length).toBeLessThan(7);
    const gaps = versions.slice(1).map(({ at }, index) => at - versions[index]!.at);
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(1000);
  });

  test("the last state is written whatever came before, and nothing after it", async () => {
    const { writer, texts, advance } = open();
    writer.show(() => [{ text: "one" }]);
    await advance(600);
    writer.show(() => [{ text: "two" }]);
    const finished = writer.finish([{ text: "three" }]);
    writer.show(() => [{ text: "too late" }]);
    await advance(1000);
    await finished;
    expect(texts()).toEqual(["three"]);
  });

  test("an unchanged state costs no write", async () => {
    const { writer, place, advance } = open();
    writer.show(() => [{ text: "one", buttons: [] }]);
    await advance(600);
    writer.show(() => [{ text: "one", buttons: [] }]);
    await advance(5000);
    expect(place.messages[0]!.versions).toHaveLength(1);
  });
});

describe("pages", () => {
  test("are added as the text grows and removed when it shrinks", async () => {
    const { writer, texts, advance } = open();
    writer.show(() => [{ text: "a" }, { text: "b" }, { text: "c" }]);
    await advance(600);
    expect(texts()).toEqual(["a", "b", "c"]);
    await Promise.all([writer.finish([{ text: "d" }]), advance(1000)]);
    expect(texts()).toEqual(["d"]);
  });
});

describe("faults", () => {
  test("of the platform are repeated with growing waits until it works", async () => {
    const { writer, place, texts, advance } = open();
    place.faults.push("unavailable", "unavailable", "unavailable");
    const finished = writer.finish([{ text: "answer" }]);
    await settle();
    expect(texts()).toEqual([]);
    await advance(1000);
    await advance(2000);
    expect(texts()).toEqual([]);
    await advance(4000);
    await finished;
    expect(texts()).toEqual(["answer"]);
  });

  test("that do not end are given up after the last state was tried enough", async () => {
    const { writer, place, lost, advance } = open();
    place.faults.push(...Array(6).fill("unavailable" as const));
    const finished = writer.finish([{ text: "answer" }]);
    for (let turn = 0; turn < 6; turn++) await advance(30_000);
    await finished;
    expect(lost).toEqual(["unavailable"]);
  });

  test("an edit whose outcome is not known is made again in full", async () => {
    const { writer, place, advance } = open();
    writer.show(() => [{ text: "one", buttons: [] }]);
    await advance(600);
    place.faults.push("unavailable");
    writer.show(() => [{ text: "two", buttons: [] }]);
    await advance(1000);
    writer.show(() => [{ text: "one", buttons: [] }]);
    await advance(2000);
    expect(place.messages[0]!.text).toBe("one");
    expect(place.messages[0]!.versions).toHaveLength(2);
  });

  test.each(["gone", "blocked", "invalid"] as const)("%s ends the reply at once", async (reason) => {
    const { writer, place, lost, advance } = open();
    writer.show(() => [{ text: "one" }]);
    await advance(600);
    place.faults.push(reason);
    await Promise.all([writer.finish([{ text: "two" }]), advance(1000)]);
    expect(lost).toEqual([reason]);
    expect(writer.lost).toBe(reason);
  });

  test("a place that refuses is left for the next one, where the last page is written again", async () => {
    const { writer, place, elsewhere, texts, advance } = open({ next: new FakePlace(new ManualTimer()) });
    writer.show(() => [{ text: "a" }, { text: "b" }]);
    await advance(600);
    place.faults.push("forbidden");
    await Promise.all([writer.finish([{ text: "a" }, { text: "b and more" }]), advance(1000)]);
    expect(texts()).toEqual(["a", "b"]);
    expect(texts(elsewhere)).toEqual(["b and more"]);
  });

  test("without a next place the reply is lost", async () => {
    const { writer, place, lost, advance } = open();
    place.faults.push("forbidden");
    await Promise.all([writer.finish([{ text: "a" }]), advance(1000)]);
    expect(lost).toEqual(["forbidden"]);
  });
});

describe("a place that ends", () => {
  const minutes = 60_000;

  test("is left a minute before, with a note, also when nothing new is to be shown", async () => {
    const next = new FakePlace(new ManualTimer());
    const { writer, elsewhere, texts, advance } = open({ expiresAfterMs: 15 * minutes, next });
    writer.show(() => [{ text: "a" }, { text: "b" }]);
    await advance(600);
    await advance(14 * minutes);
    await advance(1000);
    expect(texts()).toEqual(["a", "b\n_continued below_"]);
    expect(texts(elsewhere)).toEqual(["b"]);
    await Promise.all([writer.finish([{ text: "a" }, { text: "b" }, { text: "c" }]), advance(1000)]);
    expect(texts()).toEqual(["a", "b\n_continued below_"]);
    expect(texts(elsewhere)).toEqual(["b", "c"]);
  });

  test("is told about in time when there is nowhere to go", async () => {
    const { writer, texts, advance, expiring, lost } = open({ expiresAfterMs: 15 * minutes });
    writer.show(() => [{ text: "a" }]);
    await advance(600);
    await advance(14 * minutes);
    await advance(1000);
    expect(expiring()).toBe(1);
    await Promise.all([writer.finish([{ text: "a, cut" }]), advance(1000)]);
    expect(texts()).toEqual(["a, cut"]);
    expect(lost).toEqual([]);
  });

  test("is kept for the rest of its time when the next one refuses", async () => {
    const { writer, elsewhere, texts, advance, expiring } = open({ expiresAfterMs: 15 * minutes, next: "closed" });
    writer.show(() => [{ text: "a" }]);
    await advance(600);
    await advance(14 * minutes);
    await advance(1000);
    expect(expiring()).toBe(1);
    await Promise.all([writer.finish([{ text: "a, cut" }]), advance(1000)]);
    expect(texts()).toEqual(["a, cut"]);
    expect(texts(elsewhere)).toEqual([]);
  });

  test("does not hold the program: no wait is left when the answer is over", async () => {
    const { writer, timer, advance } = open({ expiresAfterMs: 15 * minutes });
    await Promise.all([writer.finish([{ text: "a" }]), advance(1000)]);
    expect(timer.waitingCount).toBe(0);
  });
});
