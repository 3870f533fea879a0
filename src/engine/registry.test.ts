/** Several models on a machine with room for one at a time, with real children. */
import { mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { SCRIPT_LINES } from "../../test/support/gguf/vocabulary.ts";
import { type ModelOptions, writeModel } from "../../test/support/gguf/write-model.ts";
import { prepareRegistry, type TestRegistry } from "../../test/support/registry.ts";
import type { ChatEvent } from "../core/chat.ts";
import { isTerminal } from "../core/chat.ts";
import { MIB } from "../core/units.ts";

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

async function prepared(...parameters: Parameters<typeof prepareRegistry>): Promise<TestRegistry> {
  const test = await prepareRegistry(...parameters);
  closers.push(test.close);
  return test;
}

const tiny: ModelOptions = { shape: "tiny", brain: "script" };
const endless: ModelOptions = { shape: "small", brain: "endless" };
/** Room for one "tiny" (4.2 MiB) and not for two, with what the planner doubts of it. */
const roomForOne = 6 * MIB;
/** Room for the large one (33.6 MiB) and not for a tiny one beside it. */
const roomForLarge = 37 * MIB;

interface Answer {
  text: string;
  end: ChatEvent;
}

async function ask(
  { registry }: TestRegistry,
  model: string,
  more: { maxTokens?: number; signal?: AbortSignal; onText?: () => void } = {},
): Promise<Answer> {
  const { maxTokens, signal = new AbortController().signal, onText } = more;
  const messages = [{ role: "user" as const, content: "Say it." }];
  let text = "";
  let end: ChatEvent | undefined;
  const request = { model, messages, temperature: 0, ...(maxTokens === undefined ? {} : { maxTokens }) };
  for await (const event of registry.chat(request, { signal })) {
    if (event.type === "text") {
      text += event.text;
      onText?.();
    }
    if (isTerminal(event)) end = event;
  }
  return { text: text.trim(), end: end! };
}

const states = ({ registry }: TestRegistry) =>
  Object.fromEntries(registry.status().map(({ id, state }) => [id, state]));

describe("models on demand", () => {
  test("are loaded by their first request, and stay side by side while there is room", async () => {
    const test = await prepared({ ann: tiny, bob: tiny });
    expect(states(test)).toEqual({ ann: "unloaded", bob: "unloaded" });
    expect((await ask(test, "ann")).text).toBe(SCRIPT_LINES[0]);
    expect((await ask(test, "BOB")).text).toBe(SCRIPT_LINES[0]);
    expect(states(test)).toEqual({ ann: "ready", bob: "ready" });
    expect(await test.registry.models()).toMatchObject([
      { id: "ann", loaded: true, decodeTokensPerSecond: expect.any(Number) },
      { id: "bob", loaded: true, decodeTokensPerSecond: expect.any(Number) },
    ]);
  });

  test("asked for at once by many are loaded once", async () => {
    const test = await prepared({ ann: tiny });
    const answers = await Promise.all([1, 2, 3].map(() => ask(test, "ann")));
    expect(answers.map(({ text }) => text)).toEqual(Array(3).fill(SCRIPT_LINES[0]));
    expect(test.log.filter((line) => line.includes("The model is loaded."))).toHaveLength(1);
  });

  test("are given up while they load without disturbing anybody", async () => {
    const test = await prepared({ ann: tiny });
    const abort = new AbortController();
    const given = ask(test, "ann", { signal: abort.signal });
    abort.abort();
    expect((await given).end.type).toBe("cancelled");
    expect((await ask(test, "ann")).text).toBe(SCRIPT_LINES[0]);
  });

  test("that must be fetched first tell how far that is, then that they load", async () => {
    let arrived = () => {};
    const arrival = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    const folder = mkdtempSync(join(tmpdir(), "snug-fetched-"));
    closers.push(async () => rmSync(folder, { recursive: true }));
    const { path, fileBytes } = writeModel(join(folder, "ann.gguf"), tiny);
    const { registry } = await prepared(
      { ann: tiny },
      {
        times: { preparationToldAfterMs: 5, preparationToldEveryMs: 5 },
        resolve: async (_wanted, { onProgress }) => {
          onProgress({ bytesDone: 255, bytesTotal: 1000 });
          await arrival;
          return { id: "ann", path, fileBytes, demo: false, already: false };
        },
      },
    );
    const events: ChatEvent[] = [];
    const messages = [{ role: "user" as const, content: "Say it." }];
    const request = { model: "ann", messages, maxTokens: 2 };
    for await (const event of registry.chat(request, { signal: new AbortController().signal })) {
      events.push(event);
      arrived();
    }
    expect(events[0]).toEqual({ type: "queued", position: 1, preparing: { step: "download", share: 0.25 } });
    const later = events.slice(1).filter((event) => event.type === "queued");
    for (const event of later) expect(event.preparing?.step ?? "load").toBe("load");
    expect(events.at(-1)?.type).toBe("finish");
  });

  test("that are not here are refused by name", async () => {
    const { end } = await ask(await prepared({ ann: tiny }), "eve");
    expect(end).toMatchObject({ error: { code: "model_not_found", message: expect.stringContaining('"ann"') } });
  });

  test("that cannot be loaded say why, without folders, and others go on", async () => {
    const test = await prepared({ gone: "missing", ann: tiny });
    const { end } = await ask(test, "gone");
    expect(end).toMatchObject({ error: { code: "engine_unavailable", details: { reason: "model_not_found" } } });
    expect(JSON.stringify(end)).toContain("gone.gguf");
    expect(JSON.stringify(end)).not.toContain("snug-registry-");
    expect(states(test).gone).toBe("failed");
    expect((await ask(test, "ann")).text).toBe(SCRIPT_LINES[0]);
    expect((await test.registry.health()).state).toBe("ready");
  });

  test("are sent out after their keep-alive, unless pinned, and come back when asked for", async () => {
    const test = await prepared({ ann: tiny, bob: tiny }, { keepAliveMs: 100, pinned: ["bob"] });
    await ask(test, "ann");
    await ask(test, "bob");
    await expect.poll(() => states(test)).toEqual({ ann: "unloaded", bob: "ready" });
    expect((await ask(test, "ann")).text).toBe(SCRIPT_LINES[0]);
    expect(states(test).bob).toBe("ready");
  });
});

describe("a machine with room for one", () => {
  test("sends out the one unused for longest, and tells so before it does", async () => {
    const test = await prepared({ ann: tiny, bob: tiny });
    test.limitTo(roomForOne);
    await ask(test, "ann");
    const forecast = await test.registry.plan("bob");
    expect(forecast).toMatchObject({ fits: true, loaded: false, evicts: ["ann"] });
    expect(forecast.estimatedWarmMs).toBeGreaterThan(0);
    expect(forecast.plan!.devices[0]!.kind).toBe("host");
    expect((await ask(test, "bob")).text).toBe(SCRIPT_LINES[0]);
    expect(states(test)).toEqual({ ann: "unloaded", bob: "ready" });
    expect(await test.registry.plan("bob")).toMatchObject({ loaded: true, evicts: [], estimatedWarmMs: 0 });
  });

  test("keeps a pinned one, and refuses the other with what is missing", async () => {
    const test = await prepared({ ann: tiny, bob: tiny }, { pinned: ["ann"] });
    test.limitTo(roomForOne);
    await test.registry.start();
    expect(await test.registry.plan("bob")).toMatchObject({ fits: false, reason: expect.stringMatching(/short/) });
    const { end } = await ask(test, "bob");
    expect(end).toMatchObject({ error: { code: "engine_unavailable", details: { reason: "model_does_not_fit" } } });
    expect(states(test)).toEqual({ ann: "ready", bob: "failed" });
  });

  test("lets a running answer end before its model makes room", async () => {
    const test = await prepared({ ann: endless, bob: tiny });
    test.limitTo(roomForLarge);
    let begun: () => void = () => {};
    const speaking = new Promise<void>((resolve) => {
      begun = resolve;
    });
    const long = ask(test, "ann", { maxTokens: 200, onText: begun });
    await speaking;
    const other = await ask(test, "bob");
    expect(other.text).toBe(SCRIPT_LINES[0]);
    expect((await long).end).toMatchObject({ type: "finish", usage: { completionTokens: 200 } });
    expect(states(test)).toEqual({ ann: "unloaded", bob: "ready" });
  });

  test("does not let a busy model starve the other: after the longest wait it goes, and its line is answered later", async () => {
    const test = await prepared({ ann: endless, bob: tiny }, { times: { swapWaitMsMax: 100, swapDrainMsMax: 1000 } });
    test.limitTo(roomForLarge);
    let begun: () => void = () => {};
    const speaking = new Promise<void>((resolve) => {
      begun = resolve;
    });
    const cut = [ask(test, "ann", { onText: begun }), ask(test, "ann")];
    await speaking;
    // Behind the two that run; it must not be lost with them.
    const waiting = ask(test, "ann", { maxTokens: 3 });
    expect((await ask(test, "bob")).text).toBe(SCRIPT_LINES[0]);
    for (const answer of cut) expect((await answer).end).toMatchObject({ error: { code: "engine_unavailable" } });
    expect((await waiting).end).toMatchObject({ type: "finish", usage: { completionTokens: 3 } });
  });
});

describe("an administrator", () => {
  test("loads, unloads and drains", async () => {
    const { registry, ...rest } = await prepared({ ann: tiny, bob: tiny });
    const test = { registry, ...rest };
    expect(await registry.load("bob")).toMatchObject({ id: "bob", state: "ready" });
    await registry.unload("bob");
    expect(states(test)).toEqual({ ann: "unloaded", bob: "unloaded" });
    await expect(registry.unload("eve")).rejects.toMatchObject({ code: "model_not_found" });
    await expect(registry.plan("eve")).rejects.toMatchObject({ code: "model_not_found" });
    registry.setDraining(true);
    expect((await ask(test, "ann")).end).toMatchObject({ error: { code: "engine_unavailable" } });
    expect((await registry.health()).state).toBe("stopped");
    registry.setDraining(false);
    expect((await ask(test, "ann")).text).toBe(SCRIPT_LINES[0]);
  });

  test("brings back at once what had failed for good", async () => {
    const test = await prepared({ ann: tiny });
    await test.registry.start();
    const { childPid, settings } = test.registry.status()[0]!.engine!;
    renameSync(settings.modelPath, `${settings.modelPath}.away`);
    process.kill(childPid!, "SIGKILL");
    await expect.poll(() => states(test).ann, { timeout: 15_000 }).toBe("failed");
    await expect(test.registry.load("ann")).rejects.toMatchObject({ code: "model_not_found" });
    renameSync(`${settings.modelPath}.away`, settings.modelPath);
    expect(await test.registry.load("ann")).toMatchObject({ id: "ann", state: "ready" });
    expect((await ask(test, "ann")).text).toBe(SCRIPT_LINES[0]);
  });

  test("forgets a name that leads nowhere", async () => {
    const { registry } = await prepared(
      { ann: tiny },
      {
        resolve: async () => {
          throw Object.assign(new Error("no such name"));
        },
      },
    );
    await expect(registry.load("eve")).rejects.toMatchObject({ code: "internal" });
    expect(registry.status().map(({ id }) => id)).toEqual(["ann"]);
  });

  test("who stops everything while a model loads leaves nothing running", async () => {
    const test = await prepared({ ann: tiny });
    const asked = ask(test, "ann");
    await expect.poll(() => states(test).ann).toBe("loading");
    await test.registry.stop({ drainMs: 0 });
    expect((await asked).end).toMatchObject({ error: { code: "engine_unavailable" } });
    expect(states(test).ann).not.toBe("ready");
  });
});
