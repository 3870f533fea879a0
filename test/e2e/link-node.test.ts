import { describeLinkedEngine } from "../support/linked-engine.ts";
import { startSnug } from "../support/snug-process.ts";

describeLinkedEngine("the API on Node", async (folder) => {
  const snug = await startSnug({ SNUG_DATA_DIR: folder, SNUG_ENGINE_URL: "link" });
  return {
    address: snug.address,
    key: snug.key,
    async stop() {
      snug.process.kill("SIGKILL");
      await snug.exited;
    },
  };
});
