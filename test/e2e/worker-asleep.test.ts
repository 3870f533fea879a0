/**
 * An engine's connection to real workerd over a wire that stutters; and its object, which sleeps after ten seconds without
 * work, while the connection does not notice.
 */
import { afterAll, beforeAll, expect, it } from "vitest";
import { dialWebSocket } from "../../src/entries/link-socket.ts";
import type { DialledSocket, LinkDial } from "../../src/http/link-dial.ts";
import { dialEngine } from "../support/dialled-engine.ts";
import { FakeEngine, sayWords } from "../support/fake-engine.ts";
import { type RunningWorker, startWorker } from "../support/workerd.ts";

let worker: RunningWorker;
let link: LinkDial;
const engine = new FakeEngine();

beforeAll(async () => {
  worker = await startWorker({}, "bench/worker-link-entry.ts");
  link = await dialEngine(engine, { url: worker.url, token: worker.adminKey, name: "home" });
}, 60_000);

afterAll(async () => {
  await link?.stop();
  await worker?.stop();
});

/** Sends everything twice, and of two frames of an answer the later one first. */
function stutter(socket: DialledSocket, swapped: string[]): DialledSocket {
  let kept: string | undefined;
  const twice = (message: string) => {
    socket.send(message);
    socket.send(message);
  };
  return {
    ...socket,
    send(message) {
      if (kept === undefined && message.includes('"answer"') && !message.includes('"finish"')) {
        kept = message;
        return;
      }
      twice(message);
      if (kept === undefined || !message.includes('"answer"')) return;
      swapped.push(kept);
      twice(kept);
      kept = undefined;
    },
  };
}

async function ask(model = "fake"): Promise<string> {
  const reply = await fetch(`${worker.url}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${worker.adminKey}`, "content-type": "application/json" },
    body: JSON.stringify({ model, messages: [{ role: "user", content: "Hi" }] }),
  });
  const { choices } = (await reply.json()) as { choices: { message: { content: string } }[] };
  return choices[0]!.message.content;
}

const objectsMade = async () => ((await (await fetch(`${worker.url}/bench/counts`)).json()) as { made: number }).made;

it("reads doubled and swapped frames of an engine with a clock of its own as if nothing had happened", async () => {
  const text = "one two three four five six seven eight nine ten";
  const clock = { now: () => Date.now() - 86_400_000 };
  const models = [{ id: "stutter", contextLength: 64, loaded: true }];
  const stutterer = new FakeEngine({ models, script: sayWords(text), clock });
  const swapped: string[] = [];
  const dial = await dialEngine(stutterer, {
    ...{ url: worker.url, token: worker.adminKey, name: "stutterer", flushMs: 0 },
    dial: async (request) => stutter(await dialWebSocket(request), swapped),
  });
  expect(await ask("stutter")).toBe(text);
  expect(swapped.length).toBeGreaterThan(0);
  expect(stutterer.requests).toHaveLength(1);
  expect(dial.state).toBe("linked");
  await dial.stop();
  const headers = { authorization: `Bearer ${worker.adminKey}` };
  const { rows } = (await (await fetch(`${worker.url}/v1/usage`, { headers })).json()) as { rows: object[] };
  expect(rows[0]).toMatchObject({ model: "stutter", settled: true, usage: { completionTokens: 10 } });
  expect((rows[0] as { timings: { totalMs: number } }).timings.totalMs).toBeLessThan(60_000);
});

it("answers after a sleep over the same connection, from what was kept", { timeout: 90_000 }, async () => {
  const said = await ask();
  const awake = await objectsMade();
  for (let turn = 0; turn < 4 && (await objectsMade()) === awake; turn++) {
    await new Promise((resolve) => setTimeout(resolve, 11_500));
    expect(await ask()).toBe(said);
  }
  expect(await objectsMade()).toBeGreaterThan(awake);
  expect(link.state).toBe("linked");
  expect(engine.requests.length).toBeGreaterThan(1);
});
