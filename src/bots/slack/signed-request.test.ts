import { createHmac, randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { MemoryLogger } from "../../../test/support/memory-logger.ts";
import { createSlackRequestReader } from "./signed-request.ts";

const now = Date.UTC(2026, 10, 20);
const secret = "a-signing-secret";
const body = JSON.stringify({ type: "event_callback", event: { type: "message", text: "Grüße, 你好" } });
const read = createSlackRequestReader({ signingSecret: secret, timer: { now: () => now }, logger: new MemoryLogger() });

function request(more: { text?: string; by?: string; at?: number; signature?: string; type?: string } = {}): Request {
  const { text = body, at = now, by = secret } = more;
  const timestamp = Math.floor(at / 1000);
  const digest = createHmac("sha256", by).update(`v0:${timestamp}:${body}`).digest("hex");
  return new Request("http://127.0.0.1/slack/events", {
    method: "POST",
    body: text,
    headers: {
      "content-type": more.type ?? "application/json",
      "x-slack-request-timestamp": String(timestamp),
      "x-slack-signature": more.signature ?? `v0=${digest}`,
    },
  });
}

const status = async (asked: Request) => {
  const found = await read(asked);
  return "answer" in found ? found.answer.status : 200;
};

test("what Slack signed is read", async () => {
  expect(await read(request())).toEqual({ body: JSON.parse(body) });
  expect(await status(request({ at: now - 299_000 }))).toBe(200);
  expect(await status(request({ at: now + 299_000 }))).toBe(200);
});

test("of 10,000 forged, stale, future and truncated requests none is read", async () => {
  const digest = createHmac("sha256", secret)
    .update(`v0:${now / 1000}:${body}`)
    .digest("hex");
  const flipped = (index: number) =>
    digest.slice(0, index) + (Number.parseInt(digest[index]!, 16) ^ 1).toString(16) + digest.slice(index + 1);
  const kinds: ((n: number) => Request)[] = [
    (n) => request({ by: `another-secret-${n}` }),
    (n) => request({ at: now + (n % 2 === 0 ? -1 : 1) * (301_000 + n * 1000) }),
    (n) => request({ signature: `v0=${digest.slice(0, n % 64)}` }),
    (n) => request({ signature: `v0=${flipped(n % 64)}` }),
    () => request({ signature: `v0=${randomBytes(32).toString("hex")}` }),
    () => request({ signature: `v1=${digest}` }),
    (n) => request({ text: body.slice(0, n % body.length) }),
    (n) => request({ text: `${body}${" ".repeat(1 + (n % 9))}` }),
  ];
  const statuses = new Set<number>();
  for (let n = 0; n < 10_000; n++) statuses.add(await status(kinds[n % kinds.length]!(n)));
  expect([...statuses]).toEqual([401]);
}, 60_000);

test("bytes that are no text are checked as they came", async () => {
  const bytes = new Uint8Array([0x7b, 0xff, 0xfe, 0x7d]);
  const timestamp = now / 1000;
  const digest = createHmac("sha256", secret)
    .update(Buffer.concat([Buffer.from(`v0:${timestamp}:`), bytes]))
    .digest("hex");
  const headers = { "x-slack-request-timestamp": String(timestamp), "x-slack-signature": `v0=${digest}` };
  expect(await status(new Request("http://127.0.0.1/", { method: "POST", body: bytes, headers }))).toBe(400);
});
