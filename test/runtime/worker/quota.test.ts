/** Quotas over several isolates: each environment object below has an app of its own, as each isolate does. */
import { applyD1Migrations, createExecutionContext, reset, waitOnExecutionContext } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import worker from "../../../src/entries/worker.ts";

const chunk = (choice: object, extras: object = {}) =>
  `data: ${JSON.stringify({ model: "m", choices: [{ index: 0, ...choice }], ...extras })}\n\n`;
const answer = [
  chunk({ delta: { role: "assistant", content: "Hello" } }),
  chunk({ delta: {}, finish_reason: "stop" }),
  `data: ${JSON.stringify({ choices: [], usage: { prompt_tokens: 50, completion_tokens: 50 } })}\n\ndata: [DONE]\n\n`,
].join("");

let isolates: (typeof env)[];

beforeEach(async () => {
  await reset();
  await applyD1Migrations(env.DB, env.MIGRATIONS);
  isolates = Array.from({ length: 5 }, () => ({ ...env }));
  vi.spyOn(console, "log").mockImplementation(() => {});
  vi.spyOn(globalThis, "fetch").mockImplementation(
    async () => new Response(answer, { headers: { "content-type": "text/event-stream" } }),
  );
});

afterEach(() => {
  vi.restoreAllMocks();
});

async function send(isolate: typeof env, path: string, key: string, body: object): Promise<Response> {
  const context = createExecutionContext();
  const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
  const init = { method: "POST", headers, body: JSON.stringify(body) };
  const reply = await worker.fetch(new Request(`http://worker.test${path}`, init), isolate, context);
  const text = await reply.text();
  await waitOnExecutionContext(context);
  return new Response(text, reply);
}

async function makeKey(limits: object): Promise<string> {
  const made = await send(env, "/v1/keys", env.SNUG_ADMIN_KEY, { name: "k", scopes: ["chat"], ...limits });
  return ((await made.json()) as { secret: string }).secret;
}

const ask = (isolate: typeof env, key: string, user = "ann") =>
  send(isolate, "/v1/chat/completions", key, { model: "m", user, messages: [{ role: "user", content: "Hi" }] });

it("lets in exactly as many as a key may ask, however many isolates are asked at once", async () => {
  const key = await makeKey({ limits: { requestsPerDay: 4 } });
  const replies = await Promise.all(Array.from({ length: 20 }, (_, place) => ask(isolates[place % 5]!, key)));
  const statuses = replies.map((reply) => reply.status);
  expect(statuses.filter((status) => status === 200)).toHaveLength(4);
  expect(statuses.filter((status) => status === 429)).toHaveLength(16);
  const refused = replies.find((reply) => reply.status === 429)!;
  expect(refused.headers.get("x-ratelimit-remaining-requests")).toBe("0");
  expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
});

it("counts tokens of answers in one isolate against requests in another", async () => {
  const key = await makeKey({ userLimits: { tokensPerDay: 150 } });
  expect((await ask(isolates[0]!, key)).status).toBe(200);
  expect((await ask(isolates[1]!, key)).status).toBe(200);
  expect((await ask(isolates[2]!, key)).status).toBe(429);
  expect((await ask(isolates[3]!, key, "bob")).status).toBe(200);
});
