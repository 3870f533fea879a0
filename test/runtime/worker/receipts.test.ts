/** Receipts that the ledger did not take when an answer ended come by the queue, as often as it takes. */
import { applyD1Migrations, createExecutionContext, createMessageBatch, getQueueResult, reset } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { createUsageStore } from "../../../src/api/usage/store.ts";
import type { UsageReceipt } from "../../../src/core/ports.ts";
import { createD1Database } from "../../../src/entries/d1.ts";
import worker from "../../../src/entries/worker.ts";

const receipt: UsageReceipt = {
  id: "chatcmpl-1",
  engineId: "attic",
  usage: { promptTokens: 5, completionTokens: 7 },
  timings: { totalMs: 12 },
  finishReason: "stop",
  aborted: false,
};

beforeEach(() => reset());
afterEach(() => {
  vi.restoreAllMocks();
});

async function handOut(attempts = 1) {
  const messages = [{ id: "m", timestamp: new Date(), attempts, body: receipt }];
  const batch = createMessageBatch<UsageReceipt>("snug-receipts", messages);
  const context = createExecutionContext();
  await worker.queue(batch, env);
  return await getQueueResult(batch, context);
}

it("completes the row, once, however often the message comes", async () => {
  await applyD1Migrations(env.DB, env.MIGRATIONS);
  const store = createUsageStore(createD1Database(env.DB));
  await store.admit({ id: receipt.id, at: Date.now(), keyId: "k", source: "api", model: "m", stream: true });
  for (let turn = 0; turn < 2; turn++) expect((await handOut()).explicitAcks).toEqual(["m"]);
  expect(await store.rows({})).toMatchObject([{ settled: true, engineId: "attic", usage: { completionTokens: 7 } }]);
  expect(await store.totals({})).toMatchObject({ requests: 1, completionTokens: 7 });
});

it("comes again while the ledger cannot be written", async () => {
  vi.spyOn(console, "error").mockImplementation(() => {});
  const { explicitAcks, retryMessages } = await handOut();
  expect(explicitAcks).toEqual([]);
  expect(retryMessages).toMatchObject([{ msgId: "m" }]);
});
