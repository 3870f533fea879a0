/** Which chat events the bots have acted on, over any SQLite. */
import { and, eq, lt, sql } from "drizzle-orm";
import type { EventClaims } from "../core/ports.ts";
import { connect, type Database, translated } from "./usage/database.ts";
import { botClaims } from "./usage/schema.ts";

export function createEventClaims(database: Database): EventClaims {
  const db = connect(database);
  return {
    async claim(source, keys, at) {
      // One statement, so that of two callers at once one finds the other's rows.
      const wanted = sql.join(
        keys.map((key) => sql`(${source}, ${key}, ${at})`),
        sql`, `,
      );
      const names = sql.join(
        keys.map((key) => sql`${key}`),
        sql`, `,
      );
      const rows = await translated(
        db.all(sql`
          with wanted (source, "key", at) as (values ${wanted})
          insert into ${botClaims} (source, "key", at)
          select source, "key", at from wanted
          where not exists (
            select 1 from ${botClaims} as known where known.source = ${source} and known."key" in (${names})
          )
          returning "key"
        `),
      );
      return rows.length > 0;
    },

    async isClaimed(source, key) {
      const found = await translated(
        db
          .select({ at: botClaims.at })
          .from(botClaims)
          .where(and(eq(botClaims.source, source), eq(botClaims.key, key)))
          .limit(1),
      );
      return found.length > 0;
    },

    async forgetClaims(before) {
      await translated(db.delete(botClaims).where(lt(botClaims.at, before)));
    },
  };
}
