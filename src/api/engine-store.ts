/** Engines registered by administrators, over any SQLite. */
import { asc, eq } from "drizzle-orm";
import { enginesMax } from "../core/limits.ts";
import type { EngineStore } from "../core/ports.ts";
import { connect, type Database, known, translated } from "./usage/database.ts";
import { engines } from "./usage/schema.ts";

export function createEngineStore(database: Database): EngineStore {
  const db = connect(database);
  return {
    async list() {
      const found = await translated(
        db.select().from(engines).orderBy(asc(engines.createdAt), asc(engines.name)).limit(enginesMax),
      );
      return found.map((row) => known(row));
    },
    async put(engine) {
      const { name: _, ...facts } = { token: null, ...engine };
      await translated(db.insert(engines).values(engine).onConflictDoUpdate({ target: engines.name, set: facts }));
    },
    async remove(name) {
      const removed = await translated(
        db.delete(engines).where(eq(engines.name, name)).returning({ name: engines.name }),
      );
      return removed.length > 0;
    },
  };
}
