/** The Worker as it is deployed, in real workerd on this machine: bundled once, with D1 and Durable Objects on disk. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";
import { Miniflare } from "miniflare";

const root = join(import.meta.dirname, "../..");

export interface EdgeWorker {
  url: string;
  /** Ends workerd at once, as a crash does; what is on disk stays. */
  stop(): Promise<void>;
}

export interface EdgeWorkerOptions {
  /** Secrets and variables. */
  bindings: Record<string, string>;
  /** Folder of the databases and objects. */
  folder: string;
}

let bundled: Promise<string> | undefined;

async function bundle(): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [join(root, "src/entries/worker.ts")],
    bundle: true,
    format: "esm",
    target: "es2024",
    conditions: ["workerd", "worker", "browser"],
    external: ["node:*", "cloudflare:*"],
    write: false,
    logLevel: "error",
  });
  return outputFiles[0]!.text;
}

/** Names of the classes a configuration binds objects to. */
function objectsOf(configuration: string): Record<string, { className: string; useSQLite: true }> {
  const pattern = /\[\[durable_objects\.bindings\]\]\s*name = "(\w+)"\s*class_name = "(\w+)"/g;
  return Object.fromEntries(
    [...configuration.matchAll(pattern)].map(([, name, className]) => [
      name!,
      { className: className!, useSQLite: true },
    ]),
  );
}

export async function startEdgeWorker({ bindings, folder }: EdgeWorkerOptions): Promise<EdgeWorker> {
  bundled ??= bundle();
  const configuration = readFileSync(join(root, "wrangler.toml"), "utf8");
  const miniflare = new Miniflare({
    modules: [{ type: "ESModule", path: "worker.js", contents: await bundled }],
    modulesRoot: "/",
    compatibilityDate: /compatibility_date = "([^"]+)"/.exec(configuration)![1]!,
    compatibilityFlags: ["enable_request_signal"],
    bindings,
    d1Databases: { DB: "snug" },
    durableObjects: objectsOf(configuration),
    d1Persist: join(folder, "d1"),
    durableObjectsPersist: join(folder, "objects"),
    port: 0,
    host: "127.0.0.1",
  });
  const url = (await miniflare.ready).href.replace(/\/$/, "");
  await migrate(miniflare);
  return { url, stop: () => miniflare.dispose() };
}

async function migrate(miniflare: Miniflare): Promise<void> {
  const database = await miniflare.getD1Database("DB");
  const made = await database.prepare("SELECT name FROM sqlite_master WHERE name = 'usage'").all();
  if (made.results.length > 0) return;
  const files = readdirSync(join(root, "migrations"))
    .filter((name) => name.endsWith(".sql"))
    .sort();
  for (const file of files) {
    const statements = readFileSync(join(root, "migrations", file), "utf8").split("--> statement-breakpoint");
    await database.batch(statements.map((sql) => database.prepare(sql)));
  }
}
