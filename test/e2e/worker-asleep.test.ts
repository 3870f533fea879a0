/** An engine's object in workerd sleeps after ten seconds without work; the engine's connection does not notice. */
import { afterAll, beforeAll, expect, it } from "vitest";
import type { LinkDial } from "../../src/http/link-dial.ts";
import { dialEngine } from "../support/dialled-engine.ts";
import { FakeEngine } from "../support/fake-engine.ts";
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

async function ask(): Promise<string> {
  const reply = await fetch(`${worker.url}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${worker.adminKey}`, "content-type": "application/json" },
    body: JSON.stringify({ model: "fake", messages: [{ role: "user", content: "Hi" }] }),
  });
  const { choices } = (await reply.json()) as { choices: { message: { content: string } }[] };
  return choices[0]!.message.content;
}

const objectsMade = async () => ((await (await fetch(`${worker.url}/bench/counts`)).json()) as { made: number }).made;

it("answers after a sleep over the same connection, from what was kept", { timeout: 90_000 }, async () => {
  const said = await ask();
  for (let turn = 0; turn < 4 && (await objectsMade()) < 2; turn++) {
    await new Promise((resolve) => setTimeout(resolve, 11_500));
    expect(await ask()).toBe(said);
  }
  expect(await objectsMade()).toBeGreaterThan(1);
  expect(link.state).toBe("linked");
  expect(engine.requests.length).toBeGreaterThan(1);
});
