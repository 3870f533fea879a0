import { describe, expect, it } from "vitest";
import { serveEngine } from "../../test/support/engine-server.ts";
import { FakeEngine, type FakeEngineOptions, type FakeStep, sayWords } from "../../test/support/fake-engine.ts";
import { ManualTimer } from "../../test/support/manual-timer.ts";
import type { ChatEvent, ChatRequest } from "../core/chat.ts";
import { AppError } from "../core/errors.ts";
import { answerTokensAssumed, queueWaitMsMax } from "../core/limits.ts";
import type { ChatEngine, ModelListing } from "../core/ports.ts";
import { createHttpEngine } from "../http/client.ts";
import { createRouter, type RouterOptions } from "./router.ts";

const listing = (id: string, loaded = true): ModelListing => ({ id, loaded, contextLength: 1000 });
const say = (text: string, more: FakeEngineOptions = {}) =>
  new FakeEngine({ models: [listing("m")], script: sayWords(text), ...more });
const refuse = (code: ConstructorParameters<typeof AppError>[0]): (() => FakeStep[]) => {
  return () => [{ error: new AppError(code, "Not now.") }];
};

function open(engines: Record<string, ChatEngine>, options: Partial<RouterOptions> = {}, weights: number[] = []) {
  const timer = new ManualTimer();
  const router = createRouter({
    engines: Object.entries(engines).map(([name, engine], place) => ({
      name,
      engine,
      origin: "settings",
      named: true,
      weight: weights[place] ?? 1,
      draining: false,
    })),
    timer,
    ...options,
  });
  const ask = (more: Partial<ChatRequest> = {}, signal = new AbortController().signal) =>
    router.chat({ model: "m", messages: [{ role: "user", content: "Say it." }], ...more }, { signal });
  const answer = async (more: Partial<ChatRequest> = {}) => summary(await collect(ask(more)));
  return { router, timer, ask, answer };
}

async function collect(events: AsyncIterable<ChatEvent>): Promise<ChatEvent[]> {
  const all: ChatEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}

/** "engine: text", or the code of the error. */
function summary(events: ChatEvent[]): string {
  const last = events.at(-1)!;
  if (last.type === "error") return last.error.code;
  const start = events.find((event) => event.type === "start");
  const text = events.map((event) => (event.type === "text" ? event.text : "")).join("");
  return `${start?.producer.engineId}: ${text}`;
}

describe("the choice", () => {
  it("is an engine that has the model loaded before one that must load it", async () => {
    const cold = say("cold", { models: [listing("m", false)] });
    const warm = say("warm");
    const { answer } = open({ cold, warm });
    for (let i = 0; i < 8; i++) expect(await answer({ userId: `u${i}` })).toBe("warm: warm");
  });

  it("is the engine with room on its GPU among those that must load, then one that can make room", async () => {
    const cold = { ...listing("m", false), fileBytes: 8e9 };
    const machine = (text: string, bytesUsed: number, bytesOwn = 0) =>
      new (class extends FakeEngine {
        override async health() {
          const gpu = { name: "GPU", kind: "gpu" as const, bytesTotal: 12e9, bytesUsed, bytesOwn };
          return {
            ...(await super.health()),
            devices: [gpu, { name: "RAM", kind: "host" as const, bytesTotal: 64e9 }],
          };
        }
      })({ models: [cold], script: sayWords(text) });
    const full = machine("full", 11e9);
    const evictable = machine("evictable", 11e9, 10e9);
    const empty = machine("empty", 1e9);
    const silent = say("silent", { models: [cold] });
    const users = ["a", "b", "c", "d"];
    const all = open({ full, evictable, empty, silent });
    for (const userId of users) expect(await all.answer({ userId })).toBe("empty: empty");
    const crowded = open({ full, evictable });
    for (const userId of users) expect(await crowded.answer({ userId })).toBe("evictable: evictable");
    const unknown = open({ full, silent });
    for (const userId of users) expect(await unknown.answer({ userId })).toBe("silent: silent");
  });

  it("is never an engine without the model, and one that nobody has is not found", async () => {
    const { answer } = open({ a: say("a", { models: [listing("other")] }), b: say("b") });
    for (let i = 0; i < 8; i++) expect(await answer({ userId: `u${i}` })).toBe("b: b");
    expect(await answer({ model: "none" })).toBe("model_not_found");
  });

  it("is the engine with a free slot while the other one is busy", async () => {
    const held = { slots: 1, script: () => [{ text: "x" }, { hold: "open" }] };
    const a = say("a", held);
    const b = say("b", held);
    const { ask } = open({ a, b });
    const first = collect(ask());
    const second = collect(ask());
    await Promise.all([a.reached("open"), b.reached("open")]);
    expect([a.requests.length, b.requests.length]).toEqual([1, 1]);
    a.release("open");
    b.release("open");
    await Promise.all([first, second]);
  });

  it("is an engine that says it is fast with the model while it is free, by weight, and a slow one beside it", async () => {
    const fast = (rate: number) => ({ models: [{ ...listing("m"), decodeTokensPerSecond: rate }] });
    const users = ["ann", "bob", "cas", "dan", "eve", "fay", "gus", "hal"];
    const asked = async (engines: Record<string, ChatEngine>, weights?: number[]) => {
      const { answer } = open(engines, {}, weights);
      const all: string[] = [];
      for (const userId of users) all.push(await answer({ userId }));
      return new Set(all.map((text) => text.split(":")[0]));
    };
    const card = say("card", fast(50));
    const cpu = say("cpu", fast(4));
    expect(await asked({ cpu, card })).toEqual(new Set(["card"]));
    // Not so much slower that leaving a conversation's prefix would pay.
    expect(await asked({ card, other: say("other", fast(35)) })).toEqual(new Set(["card", "other"]));
    // An administrator's word counts, and an engine that tells nothing is not taken for slow.
    expect(await asked({ cpu, card }, [30, 1])).toEqual(new Set(["cpu"]));
    expect(await asked({ card, silent: say("silent") })).toEqual(new Set(["card", "silent"]));

    const busy = say("busy", { ...fast(50), slots: 1, script: () => [{ text: "x" }, { hold: "open" }] });
    const { ask, answer } = open({ busy, cpu });
    const first = collect(ask());
    await busy.reached("open");
    expect(await answer()).toBe("cpu: cpu");
    busy.release("open");
    await first;
  });

  it("hears over HTTP how fast an engine is", async () => {
    const fast = { models: [{ ...listing("m"), decodeTokensPerSecond: 62.5 }] };
    const far = await serveEngine(say("far", fast));
    const near = say("near", { models: [{ ...listing("m"), decodeTokensPerSecond: 4 }] });
    const remote = createHttpEngine({ baseUrl: far.url, clock: { now: () => Date.now() } });
    expect(await remote.models()).toMatchObject(fast.models);
    const { answer } = open({ near, far: remote });
    for (let i = 0; i < 4; i++) expect(await answer({ userId: `u${i}` })).toBe("far: far");
    await far.close();
  });

  it("is the same engine for a conversation as it grows, and spreads conversations by weight", async () => {
    const { answer } = open({ a: say("a"), b: say("b") }, {}, [3, 1]);
    const counts: Record<string, number> = {};
    for (let user = 0; user < 200; user++) {
      const begin = { role: "user" as const, content: `question ${user}` };
      const first = await answer({ messages: [begin] });
      const grown = await answer({
        messages: [begin, { role: "assistant", content: "x" }, { role: "user", content: "y" }],
      });
      expect(grown).toBe(first);
      counts[first] = (counts[first] ?? 0) + 1;
    }
    expect(counts["a: a"]).toBeGreaterThan(125);
    expect(counts["a: a"]).toBeLessThan(175);
  });
});

describe("an engine that fails before it begins", () => {
  it.each(["engine_unavailable", "engine_overloaded", "engine_out_of_memory", "internal"] as const)(
    "with %s is replaced by another, and the client does not notice",
    async (code) => {
      const a = say("a", { script: refuse(code) });
      const b = say("b");
      const { answer } = open({ a, b });
      for (let i = 0; i < 6; i++) expect(await answer({ userId: `u${i}` })).toBe("b: b");
      expect(a.requests.length).toBeGreaterThan(0);
    },
  );

  it("because of the request itself is not replaced: its answer is the answer", async () => {
    const engines = {
      a: say("a", { script: refuse("invalid_request") }),
      b: say("b", { script: refuse("invalid_request") }),
    };
    const { answer } = open(engines);
    expect(await answer()).toBe("invalid_request");
    expect(engines.a.requests.length + engines.b.requests.length).toBe(1);
  });

  it("rests after three failures in a row, is tried by one request after its rest, and comes back", async () => {
    const a = say("a", { script: refuse("engine_unavailable") });
    const b = say("b");
    const { answer, timer } = open({ a, b });
    for (let i = 0; i < 60; i++) await answer({ userId: `u${i}` });
    expect(a.requests).toHaveLength(3);
    timer.advance(5_000);
    for (let i = 0; i < 60; i++) await answer({ userId: `u${i}` });
    expect(a.requests).toHaveLength(4);
    a.script = sayWords("a");
    timer.advance(10_000);
    const answers = new Set<string>();
    for (let i = 0; i < 60; i++) answers.add(await answer({ userId: `u${i}` }));
    expect(answers).toEqual(new Set(["a: a", "b: b"]));
  });

  it("as every other does is not set aside: one request cannot rest all engines", async () => {
    const script = (request: ChatRequest): FakeStep[] =>
      request.userId === "poison" ? [{ error: new AppError("engine_unavailable", "Failed.") }] : [{ text: "fine" }];
    const engines = { a: say("a", { script }), b: say("b", { script }) };
    const { answer } = open(engines);
    for (let i = 0; i < 6; i++) expect(await answer({ userId: "poison" })).toBe("engine_unavailable");
    expect(engines.a.requests.length + engines.b.requests.length).toBe(12);
    expect(await answer({ userId: "ann" })).toMatch(/: fine$/);
  });

  it("and has the model alone rests after three failures all the same", async () => {
    const a = new FakeEngine({ models: [listing("only")], script: refuse("engine_unavailable") });
    const { answer } = open({ a, b: say("b") });
    for (let i = 0; i < 6; i++) expect(await answer({ model: "only" })).toBe("engine_unavailable");
    expect(a.requests).toHaveLength(3);
  });

  it("after its first word is not replaced: the error is passed on", async () => {
    const script = () => [{ text: "half" }, { error: new AppError("engine_unavailable", "Gone.") }];
    const { ask } = open({ a: say("a", { script }), b: say("b", { script }) });
    const events = await collect(ask());
    expect(events.map((event) => event.type)).toEqual(["start", "text", "error"]);
  });

  it("in a real process that is gone is replaced by one that is there", async () => {
    const gone = await serveEngine(say("gone"));
    const there = await serveEngine(say("there"));
    const clock = { now: () => Date.now() };
    const { answer, router } = open({
      gone: createHttpEngine({ baseUrl: gone.url, clock }),
      there: createHttpEngine({ baseUrl: there.url, clock }),
    });
    await router.refresh();
    await gone.close();
    for (let i = 0; i < 6; i++) expect(await answer({ userId: `u${i}` })).toBe("there: there");
    await there.close();
  });

  it("and leaves nobody else says so", async () => {
    const engines = { a: say("a"), b: say("b") };
    engines.a.state = "stopped";
    engines.b.state = "failed";
    const { answer } = open(engines);
    expect(await answer()).toBe("engine_unavailable");
    expect(await open({}).answer()).toBe("engine_unavailable");
  });
});

describe("aliases", () => {
  const aliases = new Map([["chat-small", ["first", "m"]]]);

  it("stand for the first model that can be asked, and fall back to the next when it cannot", async () => {
    const first = new FakeEngine({ models: [listing("first")], script: sayWords("first") });
    const { answer, timer, router } = open({ a: first, b: say("second") }, { aliases });
    expect(await answer({ model: "chat-small" })).toBe("a: first");
    expect(first.requests[0]!.model).toBe("first");
    first.script = refuse("engine_unavailable");
    expect(await answer({ model: "chat-small" })).toBe("b: second");
    first.state = "stopped";
    timer.advance(10_000);
    await router.refresh();
    expect(await answer({ model: "chat-small" })).toBe("b: second");
  });

  it("whose engines rest are unavailable for now, not unknown", async () => {
    const a = say("a", { script: refuse("engine_unavailable") });
    const { ask, answer } = open({ a, b: new FakeEngine({ models: [listing("other")] }) }, { aliases });
    for (let i = 0; i < 3; i++) await answer({ model: "chat-small" });
    const events = await collect(ask({ model: "chat-small" }));
    expect(a.requests).toHaveLength(3);
    expect(events).toMatchObject([{ type: "error", error: { code: "engine_unavailable", retryAfterMs: 5_000 } }]);
  });

  it("are listed beside the models", async () => {
    const { router } = open({ a: say("a"), b: say("b") }, { aliases });
    expect((await router.models()).map((model) => model.id)).toEqual(["m", "chat-small"]);
  });
});

describe("when all engines are busy", () => {
  const held = {
    slots: 1,
    script: (request: ChatRequest) => [{ text: request.userId ?? "?" }, { hold: request.userId ?? "?" }],
  };

  it("requests wait in a line that is fair between users, and see their place", async () => {
    const engine = say("a", held);
    const order: string[] = [];
    const { ask } = open({ a: engine, b: say("b", { models: [listing("other")] }) });
    const run = async (userId: string) => {
      for await (const event of ask({ userId })) if (event.type === "start") order.push(userId);
    };
    const first = run("first");
    await engine.reached("first");
    const waiting = ["ann", "ann", "ann", "bob"].map(run);
    const cas = collect(ask({ userId: "cas" }));
    await expect.poll(() => engine.requests.length).toBe(1);
    for (const user of ["first", "ann", "bob", "cas"]) engine.release(user);
    await Promise.all([first, ...waiting]);
    expect((await cas)[0]).toMatchObject({ type: "queued", position: 3 });
    expect(order).toEqual(["first", "ann", "bob", "ann", "ann"]);
    expect(engine.requests.map((request) => request.userId)).toEqual(["first", "ann", "bob", "cas", "ann", "ann"]);
  });

  it("a wait is told by what the engine says of its speed, then by how long its answers take", async () => {
    const fast = { models: [{ ...listing("m"), decodeTokensPerSecond: 100 }] };
    const engine = say("a", { ...held, ...fast });
    const slow = say("b", { models: [{ ...listing("other"), decodeTokensPerSecond: 1 }] });
    const { ask, timer } = open({ a: engine, b: slow });
    const waitOf = async (userId: string) => {
      const seen = await collect(ask({ userId }));
      const [queued] = seen;
      return queued?.type === "queued" ? queued.estimatedWaitMs : undefined;
    };
    const first = collect(ask({ userId: "first" }));
    await engine.reached("first");
    const ann = waitOf("ann");
    await expect.poll(() => timer.waitingCount).toBe(1);
    // One answer of one token took a minute: far slower than told, whatever the reason.
    timer.advance(60_000);
    engine.release("first");
    await first;
    await engine.reached("ann");
    const bob = waitOf("bob");
    await expect.poll(() => timer.waitingCount).toBe(1);
    engine.release("ann");
    engine.release("bob");
    expect(await ann).toBe((answerTokensAssumed / 100) * 1000);
    expect(await bob).toBeGreaterThan(2 * (await ann)!);
  });

  it("a full line refuses quickly, and one that waited too long is sent away", async () => {
    const engine = say("a", held);
    const { ask, answer, timer } = open({ a: engine, b: say("b", { models: [listing("other")] }) }, { waitingMax: 1 });
    const first = collect(ask({ userId: "first" }));
    await engine.reached("first");
    const waiting = collect(ask({ userId: "ann" }));
    await expect.poll(() => timer.waitingCount).toBe(1);
    expect(await answer({ userId: "bob" })).toBe("engine_overloaded");
    timer.advance(queueWaitMsMax);
    expect(summary(await waiting)).toBe("engine_overloaded");
    engine.release("first");
    expect(summary(await first)).toBe("a: first");
  });

  it("one that leaves the line makes room and is not asked", async () => {
    const engine = say("a", held);
    const { ask, router } = open({ a: engine, b: say("b", { models: [listing("other")] }) });
    const first = collect(ask({ userId: "first" }));
    await engine.reached("first");
    const client = new AbortController();
    const waiting = collect(ask({ userId: "ann" }, client.signal));
    await expect.poll(() => router.waiting).toBe(1);
    client.abort();
    expect((await waiting).at(-1)).toMatchObject({ type: "cancelled" });
    expect(router.waiting).toBe(0);
    engine.release("first");
    await first;
    expect(engine.requests).toHaveLength(1);
  });
});

describe("an engine that is drained", () => {
  it("finishes what it has and gets nothing new", async () => {
    const a = say("a", { script: () => [{ text: "a" }, { hold: "open" }] });
    const { ask, answer, router } = open({ a, b: say("b") }, {}, [100, 0.01]);
    const running = collect(ask());
    await a.reached("open");
    expect(router.drain("a", true)).toBe(true);
    for (let i = 0; i < 6; i++) expect(await answer({ userId: `u${i}` })).toBe("b: b");
    a.release("open");
    expect(summary(await running)).toBe("a: a");
    expect(router.drain("none", true)).toBe(false);
  });
});

describe("background knowledge", () => {
  it("is not asked for by every request", async () => {
    const a = say("a");
    let asked = 0;
    const counting: ChatEngine = {
      chat: (request, options) => a.chat(request, options),
      models: () => a.models(),
      health: () => {
        asked++;
        return a.health();
      },
    };
    const { answer } = open({ a: counting, b: say("b") });
    for (let i = 0; i < 50; i++) await answer({ userId: `u${i}` });
    expect(asked).toBe(1);
  });
});
