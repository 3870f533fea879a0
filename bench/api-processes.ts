/** Server processes of a bench: started, watched for CPU time and memory, ended. Linux only. */
import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";

export interface ServerProcess {
  name: string;
  port: number;
  pid: number;
  /** CPU time of all its threads so far, milliseconds. */
  cpuMs(): number;
  /** Memory held now, bytes. */
  residentBytes(): number;
  kill(): void;
}

/** Waits until `ready` finds a port in what the program prints. */
export async function startServer(
  name: string,
  args: string[],
  { env = {}, cwd, ready = /listening (\d+)/ }: { env?: Record<string, string>; cwd?: string; ready?: RegExp } = {},
): Promise<ServerProcess> {
  const child = spawn(process.execPath, args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...env },
    ...(cwd === undefined ? {} : { cwd }),
  });
  const port = await readPort(name, child, ready);
  const pid = child.pid!;
  return {
    name,
    port,
    pid,
    cpuMs: () => cpuMsOf(pid),
    residentBytes: () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) * 1024,
    kill: () => void child.kill("SIGKILL"),
  };
}

function readPort(name: string, child: ChildProcess, ready: RegExp): Promise<number> {
  return new Promise((resolve, reject) => {
    let output = "";
    const read = (data: Buffer) => {
      output += data;
      const found = ready.exec(output)?.[1];
      if (found !== undefined) resolve(Number(found));
    };
    child.stdout!.on("data", read);
    child.stderr!.on("data", read);
    child.once("close", (code) => reject(new Error(`${name} ended with ${code}:\n${output}`)));
  });
}

/** The scheduler's own account in nanoseconds; `stat` only knows hundredths of a second. */
function cpuMsOf(pid: number): number {
  let nanoseconds = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    try {
      nanoseconds += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0]);
    } catch {
      // A thread that ended between the two reads.
    }
  }
  return nanoseconds / 1e6;
}
