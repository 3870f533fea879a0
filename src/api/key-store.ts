/** API keys by hash, over any SQLite. */
import { asc, count, eq, sql } from "drizzle-orm";
import { keysMax } from "../core/limits.ts";
import type { ApiKey, KeyStore } from "../core/ports.ts";
import { connect, type Database, known, translated } from "./usage/database.ts";
import { apiKeys } from "./usage/schema.ts";

export function createKeyStore(database: Database): KeyStore {
  const db = connect(database);
  return {
    async findByHash(hash) {
      const [found] = await translated(db.select().from(apiKeys).where(eq(apiKeys.hash, hash)).limit(1));
      return found === undefined ? undefined : toKey(found);
    },
    async find(id) {
      const [found] = await translated(db.select().from(apiKeys).where(eq(apiKeys.id, id)).limit(1));
      return found === undefined ? undefined : toKey(found);
    },
    async insert(key) {
      await translated(db.insert(apiKeys).values(key));
    },
    async count() {
      const [row] = await translated(db.select({ keys: count() }).from(apiKeys));
      return row?.keys ?? 0;
    },
    async list() {
      const oldest = [asc(apiKeys.createdAt), asc(apiKeys.id)];
      const found = await translated(
        db
          .select()
          .from(apiKeys)
          .orderBy(...oldest)
          .limit(keysMax),
      );
      return found.map(toKey);
    },
    async revoke(id, at) {
      const [revoked] = await translated(
        db
          .update(apiKeys)
          .set({ revokedAt: sql`coalesce(${apiKeys.revokedAt}, ${at})` })
          .where(eq(apiKeys.id, id))
          .returning(),
      );
      return revoked === undefined ? undefined : toKey(revoked);
    },
  };
}

function toKey(stored: typeof apiKeys.$inferSelect): ApiKey {
  const { hash: _, ...key } = known(stored);
  return key;
}
