import { defineConfig } from "drizzle-kit";

/** `npx drizzle-kit generate` writes the next file in migrations/; it serves SQLite and D1. */
export default defineConfig({ dialect: "sqlite", schema: "./src/api/usage/schema.ts", out: "./migrations" });
