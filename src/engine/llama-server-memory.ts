/** Memory of a llama-server that runs beside this process. */
import { readFile } from "node:fs/promises";
import type { MemorySample } from "./ipc.ts";
import type { ServerProcess } from "./llama-server-process.ts";

/** Of the server where the system tells (Linux), else of this process. */
export async function sampleServerMemory({ pid }: Pick<ServerProcess, "pid">): Promise<MemorySample> {
  const text = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
  const kib = /^VmRSS:\s*(\d+) kB/m.exec(text)?.[1];
  return { rssBytes: kib === undefined ? process.memoryUsage.rss() : Number(kib) * 1024 };
}
