/**
 * The Worker as it would be deployed, in workerd itself: bundled and bound as wrangler.toml says, reached over its own
 * socket without anything in front. `wrangler dev` has a proxy there, which hides when clients leave.
 */

import { readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { Miniflare } from "miniflare";
import { unstable_getMiniflareWorkerOptions as readWorkerOptions } from "wrangler";
import { childrenOf } from "./snug-process.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

export interface RunningWorker {
  url: string;
  adminKey: string;
  /** Of workerd. */
  pid: number;
  miniflare: Miniflare;
  stop(): Promise<void>;
}

export const workerAdminKey = "admin-key-of-the-worker-in-workerd";

/**
 * @param entry another script around the Worker's
 * @param options `inspectorPort` opens V8's inspector there; without `minify` its profiles name functions
 */
export async function startWorker(
  settings: Record<string, string> = {},
  entry = "src/entries/worker.ts",
  { inspectorPort, minify = true }: { inspectorPort?: number; minify?: boolean } = {},
): Promise<RunningWorker> {
  const folder = await mkdtemp(join(tmpdir(), "snug-workerd-"));
  const script = join(folder, "worker.mjs");
  await build({
    entryPoints: [join(root, entry)],
    outfile: script,
    bundle: true,
    minify,
    format: "esm",
    target: "es2024",
    conditions: ["workerd", "worker", "browser"],
    external: ["node:*", "cloudflare:*"],
    logLevel: "error",
  });
  const before = new Set(childrenOf(process.pid));
  const { workerOptions } = readWorkerOptions(join(root, "wrangler.toml"));
  const { assets: _, ...options } = workerOptions;
  const miniflare = new Miniflare({
    ...options,
    ...(inspectorPort === undefined ? {} : { inspectorPort }),
    name: "snug",
    modules: [{ type: "ESModule", path: script }],
    modulesRoot: folder,
    rootPath: folder,
    bindings: { ...options.bindings, SNUG_ADMIN_KEY: workerAdminKey, ...settings },
    // Log lines of the Worker.
    handleRuntimeStdio(stdout: Readable, stderr: Readable) {
      stdout.resume();
      stderr.resume();
    },
    unsafeDirectSockets: [{ host: "127.0.0.1", port: 0 }],
  });
  await miniflare.ready;
  const database = await miniflare.getD1Database("DB");
  for (const statement of migrations()) await database.prepare(statement).run();
  const url = (await miniflare.unsafeGetDirectURL()).href.replace(/\/$/, "");
  const pid = childrenOf(process.pid).find((child) => !before.has(child) && commandOf(child).includes("workerd"));
  return {
    url,
    adminKey: workerAdminKey,
    pid: pid ?? 0,
    miniflare,
    async stop() {
      await miniflare.dispose();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function commandOf(pid: number): string {
  return readFileSync(`/proc/${pid}/cmdline`, "utf8");
}

function migrations(): string[] {
  const folder = join(root, "migrations");
  return readdirSync(folder)
    .filter((name) => name.endsWith(".sql"))
    .sort()
    .flatMap((name) => readFileSync(join(folder, name), "utf8").split("--> statement-breakpoint"))
    .filter((statement) => statement.trim() !== "");
}
