/** Sessions of the admin page, over any SQLite. */
import { eq, lt } from "drizzle-orm";
import type { SessionStore } from "../core/ports.ts";
import { connect, type Database, translated } from "./usage/database.ts";
import { adminSessions } from "./usage/schema.ts";

export function createSessionStore(database: Database): SessionStore {
  const db = connect(database);
  return {
    async open(session, now) {
      await translated(db.delete(adminSessions).where(lt(adminSessions.expiresAt, now)));
      await translated(db.insert(adminSessions).values(session));
    },
    async find(hash) {
      const [found] = await translated(db.select().from(adminSessions).where(eq(adminSessions.hash, hash)).limit(1));
      return found;
    },
    async close(hash) {
      await translated(db.delete(adminSessions).where(eq(adminSessions.hash, hash)));
    },
  };
}
