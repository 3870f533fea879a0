import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ChatEvent, ChatMessage } from "../../src/core/chat.ts";
import { createLocalEngine, type LocalEngine } from "../../src/engine/local-engine.ts";
import { childProgram } from "../support/local-engine.ts";

const demoPath = fileURLToPath(new URL("../../models/demo/demo-chat-F16.gguf", import.meta.url));
const readme = readFileSync(new URL("../../models/demo/README.md", import.meta.url), "utf8");
const quiet = { debug() {}, info() {}, warn() {}, error() {} };

let engine: LocalEngine;
beforeAll(async () => {
  engine = createLocalEngine({
    model: { id: "demo", path: demoPath, demo: true },
    settings: { sequenceCount: 2 },
    program: childProgram,
    logger: quiet,
    clock: { now: () => Date.now() },
  });
  await engine.start();
});
afterAll(() => engine.stop({ drainMs: 0 }));

async function converse(messages: ChatMessage[]) {
  let answer = "";
  let finish: Extract<ChatEvent, { type: "finish" }> | undefined;
  const request = { model: "demo", messages, temperature: 0, maxTokens: 160 };
  for await (const event of engine.chat(request, { signal: new AbortController().signal })) {
    if (event.type === "text") answer += event.text;
    if (event.type === "finish") finish = event;
  }
  return { answer, finish };
}

const ask = (content: string) => converse([{ role: "user", content }]);

describe("the demo model", () => {
  test("is the file its README describes", () => {
    const hash = createHash("sha256").update(readFileSync(demoPath)).digest("hex");
    expect(readme).toContain(hash);
  });

  test("says that it is a demo, on one thread whatever the machine has", async () => {
    expect((await engine.models())[0]).toMatchObject({
      id: "demo",
      demo: true,
      loaded: true,
      quantization: "F16",
      parameterCount: 3_869_952,
      contextLength: 1024,
    });
    expect(engine.status().model?.threads).toBe(1);
  });

  test("answers an English question sensibly", async () => {
    const { answer, finish } = await ask("I own a 6 gig card, is a 7B at Q4_K_M going to work?");
    expect(answer).toMatch(/4\.2 GB/);
    expect(answer).toMatch(/5\.6 GB/);
    expect(finish?.finishReason).toBe("stop");
    // On an idle core 60 ms; four spinning threads on two cores took twenty seconds.
    expect(finish?.timings.totalMs).toBeLessThan(3000);
  });

  test("answers a Chinese question in Chinese, characters whole", async () => {
    const { answer, finish } = await ask("KV 缓存是什么？");
    expect(answer).toMatch(/KV 缓存保存.*词元/);
    expect(answer).not.toContain("\uFFFD");
    expect(finish?.timings.totalMs).toBeLessThan(3000);
  });

  test("says politely what it does not know", async () => {
    expect((await ask("Who is the king of Sweden?")).answer).toMatch(/tiny demo|don't know|outside/i);
  });

  test("follows a conversation, with and without what was kept of it", async () => {
    const messages: ChatMessage[] = [
      { role: "user", content: "My laptop has a GPU with 6 GB" },
      { role: "assistant", content: "With 6 GB you can run models up to 7B at Q4_K_M, or up to 4B at Q8_0." },
      { role: "user", content: "could it run a 13B model?" },
    ];
    const fresh = await converse(messages);
    expect(fresh.answer).toMatch(/13B.*No, 6 GB is not enough/);
    expect(fresh.finish?.usage.cachedPromptTokens).toBeLessThan(10);
    await converse(messages.slice(0, 1));
    const kept = await converse(messages);
    expect(kept.finish?.usage.cachedPromptTokens).toBeGreaterThan(30);
    expect(kept.answer).toBe(fresh.answer);
  });
});
