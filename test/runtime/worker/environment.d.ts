import type { D1Migration } from "cloudflare:test";
import type worker from "../../../src/entries/worker.ts";
import type { WorkerEnvironment } from "../../../src/entries/worker-environment.ts";

declare global {
  namespace Cloudflare {
    interface GlobalProps {
      mainModule: { default: typeof worker };
    }
    interface Env extends Omit<WorkerEnvironment, "DB"> {
      DB: D1Database;
      SNUG_ENGINE_URL: string;
      SNUG_ENGINE_TOKEN: string;
      SNUG_ADMIN_KEY: string;
      /** Read on the Node side by vitest.config.ts. */
      MIGRATIONS: D1Migration[];
    }
  }
}
