/** How much CPU this process may really use: a container sees all cores and is stopped when it uses them. */
import { readFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";

/** Reads a small text file; undefined when there is none. */
export type ReadText = (path: string) => Promise<string | undefined>;

/** Cores by affinity and cgroup quota, at least 1. */
export async function readUsableCores(readText: ReadText = readTextFile): Promise<number> {
  const quota = await readCgroupQuota(readText);
  return Math.max(1, Math.floor(Math.min(availableParallelism(), quota ?? Number.POSITIVE_INFINITY)));
}

/**
 * The smallest CPU quota from this process's cgroup up to the root, in cores; undefined without one.
 * Version 2 keeps "quota period" in `cpu.max`, version 1 has two files.
 */
export async function readCgroupQuota(readText: ReadText): Promise<number | undefined> {
  const membership = (await readText("/proc/self/cgroup")) ?? "";
  const quotas: number[] = [];
  for (const line of membership.split("\n")) {
    const [, controllers, path] = line.split(":");
    if (path === undefined) continue;
    for (const folder of foldersUpwards(path)) {
      if (controllers === "") quotas.push(parseCpuMax(await readText(join("/sys/fs/cgroup", folder, "cpu.max"))));
      else if (controllers?.split(",").includes("cpu")) quotas.push(await readVersion1(folder, readText));
    }
  }
  const quota = Math.min(...quotas);
  return Number.isFinite(quota) ? quota : undefined;
}

async function readVersion1(folder: string, readText: ReadText): Promise<number> {
  const file = (name: string) => join("/sys/fs/cgroup/cpu", folder, name);
  const quota = Number(await readText(file("cpu.cfs_quota_us")));
  const period = Number(await readText(file("cpu.cfs_period_us")));
  return quota > 0 && period > 0 ? quota / period : Number.POSITIVE_INFINITY;
}

function parseCpuMax(text: string | undefined): number {
  const [quota, period] = (text ?? "max").trim().split(/\s+/).map(Number);
  return quota !== undefined && period !== undefined && quota > 0 && period > 0
    ? quota / period
    : Number.POSITIVE_INFINITY;
}

/** "/a/b" → "/a/b", "/a", "/". Inside a container the path may name folders only the host sees; those read as absent. */
function foldersUpwards(path: string): string[] {
  const parts = path.split("/").filter((part) => part !== "" && part !== "..");
  return parts.map((_, index) => `/${parts.slice(0, parts.length - index).join("/")}`).concat("/");
}

async function readTextFile(path: string): Promise<string | undefined> {
  return await readFile(path, "utf8").catch(() => undefined);
}
