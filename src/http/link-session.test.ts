/** Both ends of a link over a wire that loses, doubles, swaps and breaks. */
import { afterEach, describe, expect, it, vi } from "vitest";
import { FakeEngine, sayForever, sayWords } from "../../test/support/fake-engine.ts";
import { type LinkedPair, linkInMemory, type PairOptions } from "../../test/support/link.ts";
import type { ChatEvent, ChatRequest } from "../core/chat.ts";
import { linkHeldMessagesMax } from "../core/limits.ts";
import type { ChatEngine } from "../core/ports.ts";
import type { EngineFrame, RelayFrame } from "./link-frames.ts";
import { fromVectorsResult, toVectorsResult } from "./link-vectors.ts";

const request: ChatRequest = { model: "fake", messages: [{ role: "user", content: "Say it." }], userId: "ann" };
const words = "one two three four five six seven eight nine ten";
const never = new AbortController().signal;

const pairs: LinkedPair[] = [];
afterEach(() => {
  for (const pair of pairs.splice(0)) pair.cut();
});

async function link(engine: ChatEngine, options: PairOptions = {}): Promise<LinkedPair> {
  const pair = await linkInMemory(engine, options);
  pairs.push(pair);
  return pair;
}

async function ask(pair: LinkedPair, signal = never): Promise<ChatEvent[]> {
  const events: ChatEvent[] = [];
  for await (const event of pair.session.chat(request, { signal })) events.push(event);
  return events;
}

const textOf = (events: ChatEvent[]) => events.map((event) => (event.type === "text" ? event.text : "")).join("");
const sayTen = () => new FakeEngine({ script: sayWords(words) });
const framesOf = (pair: LinkedPair, from: "engine" | "api") =>
  pair.said.filter((one) => one.from === from).map(({ message }) => JSON.parse(message) as EngineFrame | RelayFrame);

describe("a link", () => {
  it("sends the first token at once and gathers the others", async () => {
    const engine = new FakeEngine({ script: sayForever, models: [{ id: "fake", loaded: true }] });
    const pair = await link(engine);
    const leaving = new AbortController();
    for await (const event of pair.session.chat(request, { signal: leaving.signal })) {
      if (event.type === "text" && (event.tokenCount ?? 1) > 1) break;
    }
    const answers = framesOf(pair, "engine").filter((frame) => frame.type === "answer");
    const sizes = answers.map(({ events }) =>
      events.reduce((sum, event) => sum + (event.type === "text" ? (event.tokenCount ?? 1) : 0), 0),
    );
    expect(sizes.find((size) => size > 0)).toBe(1);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(16);
    expect(answers[0]!.events[0]!.type).toBe("start");
  });

  it("reads doubled and swapped frames as if nothing had happened", async () => {
    let kept: string | undefined;
    const garble = (message: string, from: "engine" | "api") => {
      if (from === "api") return [message, message];
      if (!message.includes('"answer"')) return [message, message];
      if (kept === undefined) {
        kept = message;
        return message.includes('"finish"') ? [message] : [];
      }
      const before = kept;
      kept = undefined;
      return [message, before, message, before];
    };
    // Two frames: the first token with the start, the rest with the end.
    const events = await ask(await link(sayTen(), { garble, flushMs: 10_000 }));
    expect(textOf(events).trim()).toBe(words);
    expect(events.map(({ type }) => type)).toEqual(["start", "text", "text", "finish"]);
  });

  it("answers a request that is said twice once", async () => {
    const engine = sayTen();
    await ask(await link(engine, { garble: (message) => [message, message, message] }));
    expect(engine.requests).toHaveLength(1);
  });

  it("says so when part of an answer was lost, and frees the engine", async () => {
    const engine = new FakeEngine({ script: sayForever, models: [{ id: "fake", loaded: true }] });
    let answers = 0;
    const garble = (message: string) => (message.includes('"answer"') && ++answers === 3 ? [] : [message]);
    const pair = await link(engine, { garble });
    const events = await ask(pair);
    expect(events.at(-1)).toMatchObject({ type: "error", error: { code: "engine_unavailable" } });
    expect(textOf(events)).not.toBe("");
    await vi.waitFor(() => expect(engine.cancelledCount).toBe(1));
    expect(answers).toBeGreaterThanOrEqual(3 + linkHeldMessagesMax);
  });

  it("gives a request up when its beginning was lost", async () => {
    const garble = (message: string) => (message.includes('"request"') ? [] : [message]);
    const events = await ask(await link(sayTen(), { garble, session: { firstByteMsMax: 30 } }));
    expect(events).toMatchObject([{ type: "error", error: { code: "engine_timeout" } }]);
  });

  it("ends what is under way when the connection breaks, before and after the first word", async () => {
    const engine = new FakeEngine({ script: () => [{ text: "one " }, { hold: "middle" }] });
    const pair = await link(engine);
    const started = ask(pair);
    await engine.reached("middle");
    const held = new FakeEngine({ script: () => [{ hold: "begin" }] });
    const second = await link(held);
    const waiting = ask(second);
    await held.reached("begin");
    pair.cut();
    second.cut();
    expect((await started).map(({ type }) => type)).toEqual(["start", "text", "error"]);
    expect(await waiting).toMatchObject([{ type: "error", error: { code: "engine_unavailable" } }]);
    await vi.waitFor(() => expect([engine.cancelledCount, held.cancelledCount]).toEqual([1, 1]));
    expect(await ask(pair)).toMatchObject([{ type: "error", error: { code: "engine_unavailable" } }]);
    expect(await pair.session.health()).toMatchObject({ state: "stopped" });
  });

  it("never runs further ahead of a slow reader than its window", async () => {
    const engine = new FakeEngine({ script: sayForever, models: [{ id: "fake", loaded: true }] });
    const pair = await link(engine, { session: { window: 4 } });
    const reading = pair.session.chat(request, { signal: never });
    await reading.next();
    const count = () => framesOf(pair, "engine").filter((frame) => frame.type === "answer").length;
    await vi.waitFor(() => expect(count()).toBeGreaterThanOrEqual(4));
    // A hundred turns of both ends' loops bring nothing more.
    for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(count()).toBeLessThanOrEqual(6);
    for (let read = 0; read < 20; read++) await reading.next();
    expect(count()).toBeGreaterThan(6);
    await reading.return();
    await vi.waitFor(() => expect(engine.cancelledCount).toBe(1));
  });

  it("hands text past a reader that waits, in order, with credit for what was handed, until it is refused", async () => {
    const numbers = Array.from({ length: 400 }, (_, number) => ` ${number}`).join("");
    const engine = new FakeEngine({
      script: sayWords(numbers),
      models: [{ id: "fake", contextLength: 10_000, loaded: true }],
    });
    const pair = await link(engine, { session: { window: 4 }, flushMs: 0 });
    const seen: ChatEvent[] = [];
    let offered = 0;
    let straight = 0;
    const relay = {
      take(deltas: readonly ChatEvent[]) {
        // Every fifth time the client is behind.
        if (++offered % 5 === 0) return false;
        straight++;
        seen.push(...deltas);
        return true;
      },
    };
    for await (const event of pair.session.chat(request, { signal: never, relay })) seen.push(event);
    expect(textOf(seen)).toBe(numbers);
    expect(straight).toBeGreaterThan(4);
    expect(seen[0]!.type).toBe("start");
    expect(seen.at(-1)).toMatchObject({ type: "finish", usage: { completionTokens: 400 } });
  });

  it("does not care about clocks: an engine a day behind is measured by its own", async () => {
    const engine = new FakeEngine({ script: sayWords(words), clock: { now: () => Date.now() - 86_400_000 } });
    const timer = { now: () => Date.now() - 86_400_000, wait: waitReally };
    const events = await ask(await link(engine, { timer }));
    const finish = events.at(-1);
    expect(finish).toMatchObject({ type: "finish" });
    if (finish?.type === "finish") expect(finish.timings.totalMs).toBeLessThan(60_000);
  });

  it("tells load and draining as they change, and takes nothing new while draining", async () => {
    const engine = new FakeEngine({ script: () => [{ text: "one " }, { hold: "middle" }, { text: "two" }] });
    const pair = await link(engine);
    const answer = ask(pair);
    await engine.reached("middle");
    await vi.waitFor(async () => expect(await pair.session.health()).toMatchObject({ active: 1 }));
    const drained = pair.drain();
    await vi.waitFor(async () => expect((await pair.session.health()).state).toBe("stopped"));
    expect(await ask(pair)).toMatchObject([{ type: "error", error: { code: "engine_unavailable" } }]);
    engine.release("middle");
    await drained;
    expect((await answer).at(-1)?.type).toBe("finish");
  });

  it("ignores a state that is older than what is known", async () => {
    const states: string[] = [];
    const engine = sayTen();
    const garble = (message: string) => {
      if (message.includes('"state"')) states.push(message);
      return [message];
    };
    const pair = await link(engine, { garble });
    engine.state = "restarting";
    await vi.waitFor(async () => expect((await pair.session.health()).state).toBe("restarting"), 5000);
    engine.state = "ready";
    await vi.waitFor(async () => expect((await pair.session.health()).state).toBe("ready"), 5000);
    pair.session.receive(states[0]!);
    expect((await pair.session.health()).state).toBe("ready");
  });

  it("closes on nonsense from either side", async () => {
    const pair = await link(sayTen());
    pair.session.receive("nonsense");
    expect(pair.closed).toMatchObject({ by: "api", code: 4400 });
    const binary = await link(sayTen());
    binary.session.receive(new ArrayBuffer(8));
    expect(binary.closed).toMatchObject({ by: "api", code: 4400 });
  });

  it("carries calls that are answered whole, and their errors", async () => {
    const vectors = [new Float32Array([0.6, -0.8]), new Float32Array([1, 0])];
    const engine: ChatEngine = Object.assign(sayTen(), {
      embed: async () => ({ producer: { model: "fake" }, vectors, timings: {} }),
      operate: async () => {
        throw new Error("secret of the library");
      },
    });
    const pair = await link(engine);
    const asked = { model: "fake", inputs: ["a", "b"] };
    expect((await pair.session.embed(asked, { signal: never })).vectors).toEqual(vectors);
    await expect(
      pair.session.rerank({ model: "fake", query: "q", documents: ["d"] }, { signal: never }),
    ).rejects.toMatchObject({
      code: "model_not_found",
    });
    const failing = pair.session.operate({ verb: "status" });
    await expect(failing).rejects.toMatchObject({ code: "internal" });
    await expect(failing).rejects.not.toThrow(/secret/);
    await expect(pair.session.embed(asked, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: "engine_unavailable",
    });
  });
});

describe("vectors on a link", () => {
  it("keep every bit", () => {
    const vector = Float32Array.from({ length: 1024 }, (_, place) => Math.sin(place) / 7);
    const embeddings = { producer: { model: "m" }, vectors: [vector], timings: {} };
    expect(fromVectorsResult(JSON.parse(JSON.stringify(toVectorsResult(embeddings)))).vectors[0]).toEqual(vector);
  });

  it.each([{}, { vectors: ["!"] }, { vectors: ["AAA="] }, { vectors: [7] }, null])(
    "that are none are refused",
    (result) => {
      expect(() => fromVectorsResult(result)).toThrow(/could not be read/);
    },
  );
});

function waitReally(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
