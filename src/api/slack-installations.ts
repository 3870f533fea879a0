/** Workspaces that installed the bot, over any SQLite. Tokens come in encrypted and stay so. */
import { asc, eq } from "drizzle-orm";
import type { InstallationStore } from "../core/ports.ts";
import { connect, type Database, translated } from "./usage/database.ts";
import { slackInstallations } from "./usage/schema.ts";

export function createInstallationStore(database: Database): InstallationStore {
  const db = connect(database);
  const { teamId: id, sealed: text } = slackInstallations;
  return {
    async teamIds() {
      const rows = await translated(db.select({ id }).from(slackInstallations).orderBy(asc(id)));
      return rows.map((row) => row.id);
    },

    async read(teamId) {
      const [found] = await translated(db.select({ text }).from(slackInstallations).where(eq(id, teamId)).limit(1));
      return found?.text;
    },

    async write(teamId, sealed, at) {
      const values = { teamId, sealed, at };
      await translated(
        db.insert(slackInstallations).values(values).onConflictDoUpdate({ target: id, set: { sealed, at } }),
      );
    },

    async remove(teamId) {
      await translated(db.delete(slackInstallations).where(eq(id, teamId)));
    },
  };
}
