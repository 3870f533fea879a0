import { describeLinkedEngine } from "../support/linked-engine.ts";
import { startWorker } from "../support/workerd.ts";

describeLinkedEngine("the Worker in workerd", async () => {
  const { url, adminKey, stop } = await startWorker();
  return { address: url, key: adminKey, stop };
});
