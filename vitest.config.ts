import { cloudflareTest, readD1Migrations } from "@cloudflare/vitest-pool-workers";
import { defineConfig } from "vitest/config";

/** Tests that touch nothing outside their own objects: no clock, no environment, no process. */
const unitTests = ["api", "bots", "cli", "core", "fit"].map((room) => `src/${room}/**/*.test.ts`);

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: unitTests,
          // They leave nothing behind, and importing the sources anew for each file costs more than the tests.
          isolate: false,
          testTimeout: 60_000,
          retry: 1,
        },
      },
      {
        test: {
          name: "node",
          include: ["src/**/*.test.ts", "test/**/*.test.ts"],
          exclude: [...unitTests, "test/runtime/worker/**"],
          globalSetup: ["test/support/build.ts"],
          // Deadlines that only a hang meets, whatever else the machine does.
          testTimeout: 60_000,
          hookTimeout: 120_000,
          // Many tests start real processes; on a busy machine one of them may miss a deadline once.
          retry: 1,
        },
      },
      {
        plugins: [
          cloudflareTest(async () => ({
            wrangler: { configPath: "./wrangler.toml" },
            miniflare: {
              bindings: {
                MIGRATIONS: await readD1Migrations("migrations"),
                SNUG_ENGINE_URL: "http://engine.test",
                SNUG_ENGINE_TOKEN: "engine-token",
                // Objects do not see the tests' stand-in for fetch; they are tested over sockets.
                SNUG_RELAY: "worker",
                SNUG_ADMIN_KEY: "admin-key-of-the-worker-tests",
              },
            },
          })),
        ],
        test: {
          name: "workers",
          include: ["test/runtime/worker/**/*.test.ts"],
          testTimeout: 30_000,
          // A line logged while an isolate goes away would count as an error of the run.
          disableConsoleIntercept: true,
        },
      },
    ],
  },
});
