import { applyD1Migrations, reset } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { createBotStateStore } from "../../../src/api/bot-state.ts";
import { createD1Database } from "../../../src/entries/d1.ts";
import { describeBotState } from "../../contract/bot-state.ts";

describeBotState("D1", async () => {
  await reset();
  await applyD1Migrations(env.DB, env.MIGRATIONS);
  return createBotStateStore(createD1Database(env.DB));
});
