/** The real child, killed, stopped and robbed of its file again and again: what the engine makes of it. */
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { SCRIPT_LINES } from "../../test/support/gguf/vocabulary.ts";
import { writeModel } from "../../test/support/gguf/write-model.ts";
import { childProgram, listLogger } from "../../test/support/local-engine.ts";
import type { ChatEvent } from "../core/chat.ts";
import { Ladder } from "./ladder.ts";
import { createLocalEngine, type LocalEngine, type LocalEngineOptions } from "./local-engine.ts";

let folder: string;
let path: string;
let log: string[];
const engines: LocalEngine[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "snug-ladder-"));
  path = writeModel(join(folder, "tiny.gguf"), { shape: "tiny", brain: "script" }).path;
  log = [];
});
afterEach(async () => {
  for (const engine of engines.splice(0)) await engine.stop({ drainMs: 0 });
  rmSync(folder, { recursive: true });
});

function prepared(options: Partial<LocalEngineOptions> = {}): LocalEngine {
  const engine = createLocalEngine({
    model: { id: "tiny", path },
    program: childProgram,
    logger: listLogger(log),
    clock: { now: () => Date.now() },
    ladder: new Ladder({ fixed: new Set(["contextLength"]) }),
    ...options,
    settings: { gpu: false, gpuLayers: 0, threadsMax: 1, sequenceCount: 2, batchSize: 256, contextLength: 512 },
    times: { restartDelayMsFirst: 1, restartDelayMsMax: 1, ...options.times },
  });
  engines.push(engine);
  return engine;
}

/** Several loads, each of which takes seconds on a busy machine. */
const slow = { timeout: 90_000 };

/** @param onFirstText called once */
async function answer(engine: LocalEngine, onFirstText = () => {}): Promise<ChatEvent[]> {
  const events: ChatEvent[] = [];
  const request = { model: "tiny", messages: [{ role: "user" as const, content: "Say it." }], temperature: 0 };
  for await (const event of engine.chat(request, { signal: new AbortController().signal })) {
    if (event.type === "text" && !events.some(({ type }) => type === "text")) onFirstText();
    events.push(event);
  }
  return events;
}

const textOf = (events: readonly ChatEvent[]) =>
  events
    .map((event) => (event.type === "text" ? event.text : ""))
    .join("")
    .trim();

/** Sends a signal to the child that serves now, and resolves when another one does, or none will. */
async function strike(engine: LocalEngine, signal: NodeJS.Signals): Promise<void> {
  const { childPid } = engine.status();
  process.kill(childPid!, signal);
  await expect
    .poll(
      () => {
        const { health, childPid: pid } = engine.status();
        return pid !== childPid && (health.state === "ready" || health.state === "failed");
      },
      { timeout: 60_000 },
    )
    .toBe(true);
}

const stepsOf = (engine: LocalEngine) =>
  engine.status().ladderSteps.map(({ setting, from, to }) => `${setting} ${from} to ${to}`);

function expectLogged(engine: LocalEngine, reason: RegExp): void {
  for (const step of engine.status().ladderSteps) {
    expect(step.reason).toMatch(reason);
    const told = (line: string) => line.startsWith("warn ") && line.includes(`"setting":"${step.setting}"`);
    expect(log.some((line) => told(line) && line.includes(`"to":"${step.to}"`))).toBe(true);
  }
}

describe("a child that is killed again and again", () => {
  test(
    "before its first answer steps down from the second end on, rung by rung, and answers with what is left",
    slow,
    async () => {
      const engine = prepared();
      await engine.start();
      const seen: string[][] = [];
      for (let strikes = 1; strikes <= 3; strikes++) {
        await strike(engine, "SIGKILL");
        seen.push(stepsOf(engine));
      }
      // The first end with smaller settings is the second in a row.
      expect(seen).toEqual([[], ["sequenceCount 2 to 1"], ["sequenceCount 2 to 1", "batchSize 256 to 128"]]);
      expectLogged(engine, /SIGKILL/);
      expect(engine.status()).toMatchObject({
        settings: { sequenceCount: 1, batchSize: 128 },
        health: { state: "ready", slots: 1 },
      });
      expect(textOf(await answer(engine))).toBe(SCRIPT_LINES[0]);
    },
  );

  test("after it had served keeps its settings four times, then steps down instead of giving up", async () => {
    // Seven starts: this child does without a model.
    const quick = `process.on("message", ({ type, id }) => {
      const usage = { promptTokens: 1, completionTokens: 1, cachedPromptTokens: 0 };
      if (type === "load") process.send({ type: "ready", model: { contextLength: 100 } });
      if (type === "admit") process.send({ type: "admitted", id, promptTokens: 1 });
      if (type === "run") process.send({ type: "started", id, cachedPromptTokens: 0 });
      if (type === "run") process.send({ type: "texts", frames: [[id, 1, { type: "text", text: "Yes." }]] });
      if (type === "run") process.send({ type: "ended", id, end: { type: "finish", finishReason: "stop" }, usage, timings: {} });
      if (type === "stop") process.exit(0);
    });`;
    writeFileSync(join(folder, "child.mjs"), quick);
    const engine = prepared({ program: { url: pathToFileURL(join(folder, "child.mjs")), execArgv: [] } });
    await engine.start();
    await answer(engine);
    for (let strikes = 1; strikes <= 4; strikes++) await strike(engine, "SIGKILL");
    expect(stepsOf(engine)).toEqual([]);
    await strike(engine, "SIGKILL");
    expect(stepsOf(engine)).toEqual(["sequenceCount 2 to 1"]);
    expectLogged(engine, /SIGKILL/);
    expect(textOf(await answer(engine))).toBe("Yes.");
  });

  test("while it loads steps down at once each time: the kernel was short of memory", slow, async () => {
    const engine = prepared();
    const started = engine.start();
    const killed = new Set<number>();
    while (stepsOf(engine).length < 2) {
      const { childPid, health } = engine.status();
      expect(health.state).not.toBe("ready");
      if (childPid !== undefined && !killed.has(childPid)) {
        killed.add(childPid);
        process.kill(childPid, "SIGKILL");
      }
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    expect(killed.size).toBe(2);
    expect(stepsOf(engine)).toEqual(["sequenceCount 2 to 1", "batchSize 256 to 128"]);
    expectLogged(engine, /while loading.*SIGKILL/);
    expect(await started).toMatchObject({ sequenceCount: 1 });
    expect(textOf(await answer(engine))).toBe(SCRIPT_LINES[0]);
  });
});

test("a child that hangs in its answers again and again steps down like one that dies", slow, async () => {
  path = writeModel(join(folder, "endless.gguf"), { shape: "small", brain: "endless" }).path;
  const engine = prepared({
    limits: { tokenSilenceMsMax: 2000 },
    times: { pulseIntervalMs: 100, pulsesMissedMax: 100_000 },
  });
  await engine.start();
  while (stepsOf(engine).length === 0) {
    const last = (await answer(engine, () => process.kill(engine.status().childPid!, "SIGSTOP"))).at(-1);
    expect(last).toMatchObject({ type: "error", error: { code: "engine_timeout" } });
  }
  expect(stepsOf(engine)).toEqual(["sequenceCount 2 to 1"]);
  expectLogged(engine, /no sign of life/);
  await expect.poll(() => engine.status().health, { timeout: 60_000 }).toMatchObject({ state: "ready", slots: 1 });
});

describe("a file under a loaded model", () => {
  test(
    "that is taken away disturbs nobody until the child ends, and is loaded again when it is back",
    slow,
    async () => {
      const engine = prepared({ times: { restAfterCrashesMs: 300 } });
      await engine.start();
      renameSync(path, `${path}.away`);
      expect(textOf(await answer(engine))).toBe(SCRIPT_LINES[0]);
      await strike(engine, "SIGKILL");
      expect(engine.status()).toMatchObject({ health: { state: "failed" }, ladderSteps: [] });
      expect((await engine.health()).reason).toMatch(/no model file/);
      expect((await answer(engine)).at(-1)).toMatchObject({ type: "error", error: { code: "engine_unavailable" } });
      renameSync(`${path}.away`, path);
      await expect.poll(() => engine.status().health.state, { timeout: 60_000 }).toBe("ready");
      expect(textOf(await answer(engine))).toBe(SCRIPT_LINES[0]);
    },
  );

  test("that is damaged is told as such, not taken for want of memory", async () => {
    const engine = prepared();
    await engine.start();
    const bytes = readFileSync(path);
    writeFileSync(`${path}.new`, bytes.subarray(0, bytes.length / 2));
    renameSync(`${path}.new`, path);
    await strike(engine, "SIGKILL");
    expect(engine.status()).toMatchObject({ health: { state: "failed" }, ladderSteps: [] });
    expect((await engine.health()).reason).toMatch(/not downloaded completely/);
  });
});
