import { applyD1Migrations, reset } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { expect, test } from "vitest";
import { createUsageStore } from "../../../src/api/usage/store.ts";
import { createD1Database } from "../../../src/entries/d1.ts";
import { describeUsageStore } from "../../contract/usage-store.ts";

describeUsageStore("D1", async () => {
  await reset();
  await applyD1Migrations(env.DB, env.MIGRATIONS);
  return createD1Database(env.DB);
});

test("a ledger whose migrations were not applied says how to apply them", async () => {
  await reset();
  await expect(createUsageStore(createD1Database(env.DB)).check()).rejects.toMatchObject({
    code: "invalid_configuration",
    message: expect.stringContaining("wrangler d1 migrations apply"),
  });
});
