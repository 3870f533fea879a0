import { describe, expect, test } from "vitest";
import type { ChatEvent } from "../core/chat.ts";
import { EventChannel } from "./event-channel.ts";

const text = (value: string): ChatEvent => ({ type: "text", text: value });
const finish: ChatEvent = { type: "finish", finishReason: "stop", usage: {}, timings: {} };

function channel(eventsMax = 4) {
  const calls: string[] = [];
  const target = new EventChannel({
    eventsMax,
    onFull: () => calls.push("full"),
    onDrained: () => calls.push("drained"),
  });
  return { target, calls };
}

async function readAll(target: EventChannel): Promise<ChatEvent[]> {
  const events: ChatEvent[] = [];
  for await (const event of target.read()) events.push(event);
  return events;
}

describe("an event channel", () => {
  test("a reader that waits gets every event as it comes", async () => {
    const { target } = channel();
    const reading = readAll(target);
    for (const event of [text("a"), text("b"), finish]) {
      target.push(event);
      await new Promise(setImmediate);
    }
    expect(await reading).toEqual([text("a"), text("b"), finish]);
  });

  test("a reader that has had a first delta and waits is passed by what a relay takes", async () => {
    const taken: ChatEvent[] = [];
    let open = true;
    const relay = { take: (deltas: readonly ChatEvent[]) => open && taken.push(...deltas) > 0 };
    const target = new EventChannel({ eventsMax: 4, onFull() {}, onDrained() {}, relay });
    const reading = readAll(target);
    const waits = () => new Promise(setImmediate);
    target.push(text("a"));
    await waits();
    target.push(text("b"));
    open = false;
    target.push(text("c"));
    open = true;
    // The reader was woken for "c" and has not taken it yet, so this one must not pass it.
    target.push(text("d"));
    await waits();
    target.push(text("e"));
    target.push(finish);
    expect(await reading).toEqual([text("a"), { type: "text", text: "cd", tokenCount: 2 }, finish]);
    expect(taken).toEqual([text("b"), text("e")]);
  });

  test("a late reader gets joined text with its token count", async () => {
    const { target } = channel();
    target.push(text("a"));
    target.push({ type: "text", text: "b", tokenCount: 3 });
    target.push(finish);
    expect(await readAll(target)).toEqual([{ type: "text", text: "ab", tokenCount: 4 }, finish]);
  });

  test("only the last place in line is kept for a late reader", async () => {
    const { target } = channel();
    target.push({ type: "queued", position: 2 });
    target.push({ type: "queued", position: 1 });
    target.push(finish);
    expect(await readAll(target)).toEqual([{ type: "queued", position: 1 }, finish]);
  });

  test("a reader far behind pauses the producer once, and reading resumes it", async () => {
    const { target, calls } = channel(3);
    for (let i = 0; i < 10; i++) target.push(text("x"));
    expect(calls).toEqual(["full"]);
    const reader = target.read();
    await reader.next();
    expect(calls).toEqual(["full", "drained"]);
    for (let i = 0; i < 10; i++) target.push(text("x"));
    expect(calls).toEqual(["full", "drained", "full"]);
  });

  test("nothing comes after the terminal event", async () => {
    const { target, calls } = channel(1);
    target.push(finish);
    target.push(text("late"));
    expect(await readAll(target)).toEqual([finish]);
    expect(calls).toEqual([]);
  });
});
