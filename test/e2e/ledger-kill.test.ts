/** The API killed under load: what it had acknowledged is in the ledger, and the ledger is sound. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import SqliteFile from "better-sqlite3";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { UsageRow, UsageTotals } from "../../src/core/ports.ts";
import { type Listening, serveEngine } from "../support/engine-server.ts";
import { FakeEngine, type FakeStep, sayForever } from "../support/fake-engine.ts";
import { startSnug } from "../support/snug-process.ts";

/** An answer that ends. */
function* sayMuch(): Generator<FakeStep> {
  for (let word = 0; word < 400; word++) yield { text: "word " };
}

let dataDir: string;
let listening: Listening;
let engine: FakeEngine;

beforeAll(async () => {
  dataDir = mkdtempSync(join(tmpdir(), "snug-kill-"));
  const models = [{ id: "fake", contextLength: 1_000_000_000, loaded: true }];
  engine = new FakeEngine({ models, slots: 32, script: sayMuch });
  listening = await serveEngine(engine);
});

afterAll(async () => {
  await listening.close();
  rmSync(dataDir, { recursive: true, force: true });
});

it("kill -9 under load loses no acknowledged request, and the next start tells which were cut", async () => {
  const environment = { SNUG_DATA_DIR: dataDir, SNUG_ENGINE_URL: listening.url };
  const snug = await startSnug(environment);
  const headers = { authorization: `Bearer ${snug.key}`, "content-type": "application/json" };
  const acknowledged = new Set<string>();
  const whole = new Set<string>();
  let killed = false;

  const ask = async () => {
    const body = { model: "fake", messages: [{ role: "user", content: "Say much." }], stream: true };
    const response = await fetch(`${snug.address}/v1/chat/completions`, {
      method: "POST",
      headers,
      body: JSON.stringify(body),
    });
    const decoder = new TextDecoder();
    let text = "";
    for await (const bytes of response.body!) {
      text += decoder.decode(bytes as Uint8Array, { stream: true });
      const id = /"id":"(chatcmpl-[^"]+)"/.exec(text)?.[1];
      if (id !== undefined) acknowledged.add(id);
      if (id !== undefined && text.includes("data: [DONE]")) whole.add(id);
    }
  };
  const asking = Array.from({ length: 16 }, async () => {
    while (!killed) await ask().catch(() => {});
  });
  await expect.poll(() => whole.size, { timeout: 20_000 }).toBeGreaterThan(20);
  // Those that begin now would never end, so that some are certainly under way when it is killed.
  engine.script = sayForever;
  await expect.poll(() => acknowledged.size - whole.size, { timeout: 20_000 }).toBeGreaterThan(4);
  snug.process.kill("SIGKILL");
  killed = true;
  await Promise.all(asking);
  await snug.exited;

  const file = new SqliteFile(join(dataDir, "snug.db"), { readonly: true });
  expect(file.pragma("integrity_check", { simple: true })).toBe("ok");
  file.close();

  const again = await startSnug(environment);
  const reply = await fetch(`${again.address}/v1/usage?limit=1000`, { headers });
  const { rows, totals } = (await reply.json()) as { rows: UsageRow[]; totals: UsageTotals };
  const byId = new Map(rows.map((row) => [row.id, row]));
  expect(acknowledged.size).toBeGreaterThan(whole.size);
  expect([...acknowledged].filter((id) => !byId.has(id))).toEqual([]);
  for (const id of whole) {
    expect(byId.get(id)).toMatchObject({ settled: true, finishReason: "stop", usage: { completionTokens: 400 } });
  }
  expect(rows.filter((row) => !row.settled && !row.interrupted)).toEqual([]);
  expect(totals.interrupted).toBeGreaterThan(0);
  again.process.kill("SIGTERM");
  expect(await again.exited).toBe(0);
});
