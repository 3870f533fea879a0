/** Both Workers as they are deployed, in real workerd on this machine, with D1 and Durable Objects on disk. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";
import { Miniflare, type WorkerOptions } from "miniflare";
import { createKey } from "../../src/api/auth.ts";
import { createKeyStore } from "../../src/api/key-store.ts";
import { createD1Database, type D1Binding } from "../../src/entries/d1.ts";

const root = join(import.meta.dirname, "../..");

export interface EdgeBots {
  /** Of the bots' Worker. */
  url: string;
  /** The API's Worker. */
  api: (path: string, init?: RequestInit) => Promise<Response>;
  /** Ends workerd at once, as a crash does; what is on disk stays. */
  stop(): Promise<void>;
}

export interface EdgeBotsOptions {
  adminKey: string;
  engineUrl: string;
  /** Secrets and variables of the bots. */
  bindings: Record<string, string>;
  /** Folder of the databases and objects. */
  folder: string;
}

/** What the bots ask the API with. */
const botKey = "sk-snug-key-of-the-bots-in-tests";

const bundles = new Map<string, Promise<string>>();

/** The script a configuration would deploy. */
async function bundle(entry: string): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [join(root, entry)],
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

/** As much of a configuration as the local runtime needs. */
async function workerOf(file: string): Promise<WorkerOptions & { name: string }> {
  const text = readFileSync(join(root, file), "utf8");
  const setting = (name: string) => new RegExp(`^${name} = "([^"]+)"`, "m").exec(text)![1]!;
  const pairs = (table: string, first: string, second: string) =>
    [...text.matchAll(new RegExp(`\\[\\[${table}\\]\\]\\n${first} = "(\\w+)"\\n${second} = "([\\w-]+)"`, "g"))].map(
      ([, one, other]) => [one!, other!] as const,
    );
  const entry = setting("main");
  bundles.set(entry, bundles.get(entry) ?? bundle(entry));
  return {
    name: setting("name"),
    modules: [{ type: "ESModule", path: "worker.js", contents: await bundles.get(entry)! }],
    modulesRoot: "/",
    compatibilityDate: setting("compatibility_date"),
    compatibilityFlags: [...(/^compatibility_flags = \[([^\]]*)\]/m.exec(text)?.[1]?.matchAll(/"(\w+)"/g) ?? [])].map(
      (match) => match[1]!,
    ),
    d1Databases: { DB: "snug" },
    serviceBindings: Object.fromEntries(pairs("services", "binding", "service")),
    durableObjects: Object.fromEntries(
      pairs("durable_objects.bindings", "name", "class_name").map(([name, className]) => [
        name,
        { className, useSQLite: true },
      ]),
    ),
  };
}

export async function startEdgeBots(options: EdgeBotsOptions): Promise<EdgeBots> {
  const { adminKey, engineUrl, bindings, folder } = options;
  const [bots, api] = await Promise.all([workerOf("wrangler.bots.toml"), workerOf("wrangler.toml")]);
  const miniflare = new Miniflare({
    port: 0,
    host: "127.0.0.1",
    d1Persist: join(folder, "d1"),
    durableObjectsPersist: join(folder, "objects"),
    workers: [
      { ...bots, bindings: { ...bindings, SNUG_API_KEY: botKey } },
      { ...api, bindings: { SNUG_ADMIN_KEY: adminKey, SNUG_ENGINE_URL: engineUrl } },
    ],
  });
  await prepare(miniflare, bots.name);
  const url = (await miniflare.ready).href.replace(/\/$/, "");
  return {
    url,
    api: async (path, init) => {
      const worker = await miniflare.getWorker(api.name);
      return (await worker.fetch(`http://snug${path}`, init as never)) as unknown as Response;
    },
    stop: () => miniflare.dispose(),
  };
}

/** What a first deploy does: the tables, and a key for the bots. */
async function prepare(miniflare: Miniflare, worker: string): Promise<void> {
  const database = await miniflare.getD1Database("DB", worker);
  const made = await database.prepare("SELECT name FROM sqlite_master WHERE name = 'api_keys'").all();
  if (made.results.length > 0) return;
  const files = readdirSync(join(root, "migrations")).filter((name) => name.endsWith(".sql"));
  for (const file of files.sort()) {
    const statements = readFileSync(join(root, "migrations", file), "utf8").split("--> statement-breakpoint");
    await database.batch(statements.map((sql) => database.prepare(sql)));
  }
  const keys = createKeyStore(createD1Database(database as unknown as D1Binding));
  await keys.insert(await createKey(botKey, { name: "bots", scopes: ["chat", "compare"], createdAt: Date.now() }));
}
