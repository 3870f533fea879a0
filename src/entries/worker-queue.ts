/** Receipts that the ledger did not take when the answer ended: the queue hands them out until it does. */
import { createUsageStore } from "../api/usage/store.ts";
import type { UsageReceipt } from "../core/ports.ts";
import { createD1Database } from "./d1.ts";
import type { WorkerEnvironment } from "./worker-environment.ts";
import { workerLogger } from "./worker-logger.ts";
import type { QueueBatch } from "./workers-runtime.ts";

/** D1 refuses for seconds at a time, when it is overloaded or moves. */
const retrySeconds = 30;

/** A receipt that comes twice changes nothing. */
export async function takeReceipts(batch: QueueBatch<UsageReceipt>, { DB }: WorkerEnvironment): Promise<void> {
  const store = createUsageStore(createD1Database(DB));
  await Promise.all(
    batch.messages.map(async (message) => {
      try {
        await store.settle(message.body);
        message.ack();
      } catch (cause) {
        workerLogger.error("A receipt was refused by the ledger again.", { attempts: message.attempts, cause });
        message.retry({ delaySeconds: retrySeconds });
      }
    }),
  );
}
