import { afterEach, describe, expect, it, vi } from "vitest";
import { FakeEngine, type FakeStep, sayWords } from "../../test/support/fake-engine.ts";
import type { ChatEvent } from "../core/chat.ts";
import { AppError } from "../core/errors.ts";
import type { ChatCall } from "./chat-request.ts";
import { answerChat } from "./server.ts";

const call = (more: Partial<ChatCall> = {}): ChatCall => ({
  request: { model: "fake", messages: [{ role: "user", content: "Say it." }] },
  stream: true,
  includeUsage: false,
  ...more,
});

const options = () => ({ id: "chatcmpl-1", created: 1_700_000_000, clientSignal: new AbortController().signal });

function answer(steps: () => Iterable<FakeStep>, more: Partial<ChatCall> = {}): Promise<Response> {
  const engine = new FakeEngine({ script: steps, clock: { now: () => 5 } });
  const asked = call(more);
  return answerChat(asked, (signal) => engine.chat(asked.request, { signal }), options());
}

async function* replay(events: ChatEvent[]): AsyncGenerator<ChatEvent> {
  yield* events;
}

/** The `data:` lines, decoded, and the comments. */
async function readFrames(response: Response) {
  const frames = (await response.text()).split("\n\n").filter((frame) => frame !== "");
  const data = frames.filter((frame) => frame.startsWith("data: ")).map((frame) => frame.slice(6));
  return {
    last: frames.at(-1),
    comments: frames.filter((frame) => frame.startsWith(":")),
    chunks: data.filter((text) => text !== "[DONE]").map((text) => JSON.parse(text)),
  };
}

afterEach(() => {
  vi.useRealTimers();
});

describe("a streamed answer", () => {
  it("begins with the role, ends with the finish reason and [DONE], and says who answered", async () => {
    const response = await answer(sayWords("Eight words"));
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
    const { chunks, last } = await readFrames(response);
    expect(last).toBe("data: [DONE]");
    expect(chunks.map((chunk) => chunk.choices[0].delta)).toEqual([
      { role: "assistant", content: "" },
      { content: "Eight" },
      { content: " words" },
      {},
    ]);
    expect(chunks.map((chunk) => chunk.choices[0].finish_reason)).toEqual([null, null, null, "stop"]);
    for (const chunk of chunks) {
      expect(chunk).toMatchObject({
        id: "chatcmpl-1",
        object: "chat.completion.chunk",
        created: 1_700_000_000,
        model: "fake",
      });
      expect(chunk).not.toHaveProperty("usage");
    }
    expect(chunks.at(-1)).toMatchObject({
      timings: { prompt_n: 2, predicted_n: 2, cache_n: 0, queue_ms: 0, total_ms: 0 },
      snug: { engine: "fake", model: "fake", quantization: "F16", context_length: 64 },
    });
  });

  it("has one more chunk with usage and no choices when asked, and null usage before it", async () => {
    const { chunks } = await readFrames(await answer(sayWords("Eight words"), { includeUsage: true }));
    expect(chunks.slice(0, -1).every((chunk) => chunk.usage === null)).toBe(true);
    expect(chunks.at(-1)).toMatchObject({
      choices: [],
      usage: {
        prompt_tokens: 2,
        completion_tokens: 2,
        total_tokens: 4,
        prompt_tokens_details: { cached_tokens: 0 },
      },
    });
  });

  it("is refused with a status when the error comes first", async () => {
    const error = new AppError("engine_overloaded", "Too many.", { retryAfterMs: 1500 });
    const response = await answer(() => [{ error }]);
    expect(response.status).toBe(503);
    expect(response.headers.get("retry-after")).toBe("2");
    expect(response.headers.get("retry-after-ms")).toBe("1500");
    expect(response.headers.get("x-should-retry")).toBeNull();
    expect(await response.json()).toEqual({
      error: { message: "Too many.", type: "server_error", param: null, code: "engine_overloaded" },
    });
  });

  it("tells clients not to retry what cannot succeed", async () => {
    const response = await answer(() => [{ error: new AppError("engine_out_of_memory", "Out of memory.") }]);
    expect(response.status).toBe(503);
    expect(response.headers.get("x-should-retry")).toBe("false");
  });

  it("breaks off with one error event and no [DONE] when the engine fails in the middle", async () => {
    const error = new AppError("engine_unavailable", "The engine went away.");
    const response = await answer(() => [{ text: "One" }, { error }]);
    expect(response.status).toBe(200);
    const { chunks, last } = await readFrames(response);
    expect(chunks.at(-1)).toMatchObject({
      error: { code: "engine_unavailable", type: "server_error", message: "The engine went away." },
      usage: { prompt_tokens: 2, completion_tokens: 1 },
    });
    expect(last).not.toBe("data: [DONE]");
  });

  it("commits its status with the first place in the queue, told in a comment", async () => {
    const events: ChatEvent[] = [
      { type: "queued", position: 3, estimatedWaitMs: 900 },
      { type: "error", error: { code: "engine_timeout", message: "Waited too long." } },
    ];
    const response = await answerChat(call(), () => replay(events), options());
    expect(response.status).toBe(200);
    const { comments, chunks } = await readFrames(response);
    expect(comments).toEqual([': queued {"position":3,"estimated_wait_ms":900}']);
    expect(chunks).toHaveLength(1);
    expect(chunks[0].error.code).toBe("engine_timeout");
  });

  it("says how many tokens a chunk holds when it is not one", async () => {
    const events: ChatEvent[] = [
      { type: "start", producer: { model: "m" } },
      { type: "text", text: "two tokens", tokenCount: 2 },
      { type: "text", text: "one", tokenCount: 1 },
      { type: "finish", finishReason: "stop", usage: {}, timings: {} },
    ];
    const { chunks } = await readFrames(await answerChat(call(), () => replay(events), options()));
    expect(chunks.map((chunk) => chunk.snug?.tokens)).toEqual([undefined, 2, undefined, undefined]);
  });

  it("leaves unknown usage out instead of calling it 0", async () => {
    const events: ChatEvent[] = [
      { type: "start", producer: { model: "m" } },
      { type: "finish", finishReason: "length", usage: { completionTokens: 4 }, timings: {} },
    ];
    const asked = call({ includeUsage: true });
    const { chunks } = await readFrames(await answerChat(asked, () => replay(events), options()));
    expect(chunks.at(-1).usage).toEqual({ completion_tokens: 4 });
  });

  it("keeps a silent connection open with comments", async () => {
    vi.useFakeTimers();
    const engine = new FakeEngine({ script: () => [{ text: "One" }, { hold: "prefill" }, { text: " two" }] });
    const asked = call();
    const answering = answerChat(asked, (signal) => engine.chat(asked.request, { signal }), {
      ...options(),
      keepAliveMs: 1000,
    });
    const response = await answering;
    const frames = readFrames(response);
    await engine.reached("prefill");
    await vi.advanceTimersByTimeAsync(3500);
    engine.release("prefill");
    const { comments, last } = await frames;
    expect(comments).toEqual([": keep-alive", ": keep-alive", ": keep-alive"]);
    expect(last).toBe("data: [DONE]");
    expect(vi.getTimerCount()).toBe(0);
  });

  it("does not run ahead of a reader that stands still", async () => {
    let produced = 0;
    async function* endless(signal: AbortSignal): AsyncGenerator<ChatEvent> {
      yield { type: "start", producer: { model: "m" } };
      while (!signal.aborted) {
        produced++;
        yield { type: "text", text: "x" };
      }
      yield { type: "cancelled", usage: {}, timings: {} };
    }
    const response = await answerChat(call(), endless, options());
    const reader = response.body!.getReader();
    await reader.read();
    await new Promise((resolve) => setImmediate(resolve));
    expect(produced).toBeLessThanOrEqual(2);
    await reader.cancel();
  });
});

describe("a whole answer", () => {
  it("is one completion with usage, timings and producer", async () => {
    const response = await answer(sayWords("Eight words"), { stream: false });
    expect(await response.json()).toMatchObject({
      id: "chatcmpl-1",
      object: "chat.completion",
      model: "fake",
      choices: [{ index: 0, message: { role: "assistant", content: "Eight words" }, finish_reason: "stop" }],
      usage: { prompt_tokens: 2, completion_tokens: 2, total_tokens: 4 },
      timings: { predicted_n: 2 },
      snug: { engine: "fake", quantization: "F16" },
    });
  });

  it("that fails in the middle is an error with its status, not half a text", async () => {
    const error = new AppError("engine_unavailable", "The engine went away.");
    const response = await answer(() => [{ text: "One" }, { error }], { stream: false });
    expect(response.status).toBe(503);
    expect(await response.json()).toMatchObject({ error: { code: "engine_unavailable" } });
  });
});

describe("an engine that breaks its contract", () => {
  it.each([true, false])("by throwing (stream: %s) becomes internal, without its words", async (stream) => {
    const faults: unknown[] = [];
    // biome-ignore lint/correctness/useYield: it throws before it could
    async function* throwing(): AsyncGenerator<ChatEvent> {
      throw new Error("secret path /home/ann");
    }
    const asked = { ...options(), requestId: "req-9", onFault: (thrown: unknown) => faults.push(thrown) };
    const response = await answerChat(call({ stream }), throwing, asked);
    expect(response.status).toBe(500);
    const { error } = JSON.parse(await response.text());
    expect(error.code).toBe("internal");
    expect(error.message).toContain("req-9");
    expect(error.message).not.toContain("secret");
    expect(faults).toHaveLength(1);
  });

  it("by ending early is a visible truncation", async () => {
    const events: ChatEvent[] = [
      { type: "start", producer: { model: "m" } },
      { type: "text", text: "half" },
    ];
    const { chunks, last } = await readFrames(await answerChat(call(), () => replay(events), options()));
    expect(chunks.at(-1).error.code).toBe("internal");
    expect(last).not.toBe("data: [DONE]");
  });
});
