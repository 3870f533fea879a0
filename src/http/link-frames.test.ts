import { describe, expect, it } from "vitest";
import type { ChatEvent } from "../core/chat.ts";
import { AppError, ERROR_CODES } from "../core/errors.ts";
import { decodeEngineFrame, decodeRelayFrame, type EngineFrame, encodeFrame, type RelayFrame } from "./link-frames.ts";

/** Repeatable chance (mulberry32). */
function createRandom(seed: number) {
  let state = seed;
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    next,
    below: (count: number) => Math.floor(next() * count),
    one: <T>(list: readonly T[]) => list[Math.floor(next() * list.length)]!,
  };
}
type Random = ReturnType<typeof createRandom>;

const texts = ["", "Hello", "你好，世界", '\u2028"\\\n\t', "👩‍👩‍👧", "\ud800", "x".repeat(300), "</script>", "\0"];

function makeEvent(random: Random): ChatEvent {
  const usage = {
    promptTokens: random.below(1e6),
    completionTokens: random.below(1e6),
    estimated: random.next() < 0.5,
  };
  const timings = { totalMs: random.next() * 1e6, queueMs: random.below(100) };
  return random.one<ChatEvent>([
    { type: "queued", position: random.below(100), estimatedWaitMs: random.next() * 1e5 },
    { type: "start", producer: { model: random.one(texts), engineId: "e" }, promptTokens: random.below(1e5) },
    { type: "text", text: random.one(texts), tokenCount: random.below(64) },
    { type: "text", text: random.one(texts) },
    { type: "reasoning", text: random.one(texts) },
    { type: "tool_call", index: random.below(4), id: "c", name: "f", arguments: random.one(texts) },
    {
      type: "finish",
      finishReason: random.one(["stop", "length", "tool_calls", "content_filter"] as const),
      usage,
      timings,
    },
    { type: "cancelled", usage: {}, timings },
    { type: "error", error: { code: random.one(ERROR_CODES), message: random.one(texts), details: { a: 1 } } },
  ]);
}

function makeEngineFrame(random: Random): EngineFrame {
  const numbers = { id: random.below(2 ** 48), seq: random.below(2 ** 31) };
  const health = { state: "ready", active: random.below(9), queued: random.below(9), slots: 4 } as const;
  const models = [{ id: random.one(texts) || "m", loaded: true, contextLength: 4096 }];
  const facts = { hardware: { gpus: [{ name: random.one(texts), vramBytesTotal: 6 * 2 ** 30 }] } };
  const events = [
    ...Array.from({ length: random.below(3) }, () => makeEvent(random)).filter(
      ({ type }) => !/finish|cancelled|error/.test(type),
    ),
    makeEvent(random),
  ];
  return random.one<EngineFrame>([
    { type: "answer", ...numbers, events },
    { type: "answer", ...numbers, events },
    {
      type: "hello",
      ...numbers,
      version: 1,
      engine: "home",
      instance: "i",
      software: "1",
      health,
      models,
      draining: false,
      facts,
    },
    { type: "state", ...numbers, health },
    { type: "state", ...numbers, models, draining: true },
    { type: "result", ...numbers, result: { vectors: ["AAAA"] } },
    { type: "failure", ...numbers, error: { code: random.one(ERROR_CODES), message: random.one(texts) } },
  ]);
}

function makeRelayFrame(random: Random): RelayFrame {
  const numbers = { id: random.below(2 ** 48), seq: random.below(2 ** 31) };
  return random.one<RelayFrame>([
    { type: "welcome", ...numbers, version: 1 },
    { type: "cancel", ...numbers },
    { type: "credit", ...numbers, taken: random.below(1e6) },
    { type: "call", ...numbers, call: { method: "operate", request: { verb: "status" } } },
    {
      type: "request",
      ...numbers,
      window: 64,
      request: {
        model: "m",
        messages: [{ role: "user", content: random.one(texts) }],
        temperature: random.next(),
        terms: { keyId: "k" },
      },
    },
  ]);
}

/** What both ends of a connection that damages messages might see. */
function damage(message: string, random: Random): string {
  const at = random.below(message.length + 1);
  return random.one([
    () => message.slice(0, at),
    () => message.slice(at),
    () => message + message,
    () =>
      `${message.slice(0, at)}${random.one(["{", "]", '"', "0", "null", "\\u0000", "-1", "1e999", "[[[["])}${message.slice(at)}`,
    () => message.replace(/\d+/, random.one(["-1", "1.5", "1e400", '"7"', "null", "9007199254740993"])),
    () =>
      message.replace(
        /"type":"\w+"/,
        random.one(['"type":"__proto__"', '"type":"constructor"', '"type":7', '"type":"answer"', '"type":"hello"']),
      ),
    () => message.replace(/"(\w+)":/, random.one(['"__proto__":', '"toString":', '"":'])),
  ])();
}

describe("frames", () => {
  it("come out as they went in, whatever they hold (5,000 of each side)", () => {
    const random = createRandom(1);
    for (let i = 0; i < 5000; i++) {
      const said = makeEngineFrame(random);
      // JSON has no lone surrogates to lose: they are written as escapes.
      expect(decodeEngineFrame(encodeFrame(said))).toEqual(said);
      const asked = makeRelayFrame(random);
      expect(decodeRelayFrame(encodeFrame(asked))).toEqual(asked);
    }
  });

  it("that were damaged are read as some frame, passed over, or refused with a sentence (20,000)", () => {
    const random = createRandom(2);
    let refused = 0;
    for (let i = 0; i < 20_000; i++) {
      const engineSide = random.next() < 0.5;
      const message = damage(encodeFrame(engineSide ? makeEngineFrame(random) : makeRelayFrame(random)), random);
      try {
        const frame = engineSide ? decodeEngineFrame(message) : decodeRelayFrame(message);
        if (frame !== undefined) expect(Number.isSafeInteger(frame.id) && Number.isSafeInteger(frame.seq)).toBe(true);
      } catch (thrown) {
        refused++;
        expect(thrown).toBeInstanceOf(AppError);
        expect((thrown as AppError).code).toBe("invalid_request");
        expect((thrown as AppError).message.length).toBeLessThan(250);
      }
    }
    expect(refused).toBeGreaterThan(5000);
  });

  it.each([
    ["nothing", ""],
    ["a number", "7"],
    ["a list", "[]"],
    ["no type", '{"id":1,"seq":0}'],
    ["an answer without events", '{"type":"answer","id":1,"seq":0,"events":[]}'],
    [
      "an answer that goes on after its end",
      '{"type":"answer","id":1,"seq":0,"events":[{"type":"cancelled","usage":{},"timings":{}},{"type":"text","text":"a"}]}',
    ],
    [
      "a negative count of tokens",
      '{"type":"answer","id":1,"seq":0,"events":[{"type":"finish","finishReason":"stop","usage":{"promptTokens":-1},"timings":{}}]}',
    ],
    [
      "an unknown finish reason",
      '{"type":"answer","id":1,"seq":0,"events":[{"type":"finish","finishReason":"eos","usage":{},"timings":{}}]}',
    ],
    ["an unknown error code", '{"type":"failure","id":1,"seq":0,"error":{"code":"toString","message":""}}'],
    ["a fraction for a number", '{"type":"answer","id":1.5,"seq":0,"events":[{"type":"text","text":"a"}]}'],
    [
      "a name with a slash",
      '{"type":"hello","id":0,"seq":0,"version":1,"engine":"a/b","instance":"i","software":"","health":{"state":"ready","active":0,"queued":0,"slots":1},"models":[],"draining":false,"facts":{}}',
    ],
  ])("with %s are refused", (_what, message) => {
    expect(() => decodeEngineFrame(message)).toThrow(AppError);
  });

  it("of a type not known here are passed over, so that a newer end may say more", () => {
    expect(decodeEngineFrame('{"type":"weather","id":0,"seq":3,"sunny":true}')).toBeUndefined();
    expect(decodeRelayFrame('{"type":"weather","id":0,"seq":3}')).toBeUndefined();
  });

  it("too long for the other end are not sent, and too long ones are not read", () => {
    const request = { model: "m", messages: [{ role: "user" as const, content: "深".repeat(3_000_000) }] };
    expect(() => encodeFrame({ type: "request", id: 1, seq: 0, request, window: 64 })).toThrow(/too large/);
    expect(() => decodeEngineFrame(" ".repeat(2 * 1024 * 1024))).toThrow(/longer than/);
    expect(() => decodeEngineFrame(`${"[".repeat(500_000)}${"]".repeat(500_000)}`)).toThrow(AppError);
  });

  it("with more facts of a machine than anybody reads are refused", () => {
    const message = JSON.stringify({ type: "state", id: 0, seq: 1, facts: { hardware: "x".repeat(20_000) } });
    expect(() => decodeEngineFrame(message)).toThrow(/facts/);
  });
});
