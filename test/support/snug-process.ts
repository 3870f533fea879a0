/** Runs the built `snug` command the way a user does, and finds its way around it. */
import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const entry = fileURLToPath(new URL("../../dist/entries/cli.js", import.meta.url));

export interface SnugProcess {
  process: ChildProcess;
  /** Everything it printed so far. */
  output(): string;
  /** Resolves with the exit code, or the signal's name. */
  exited: Promise<number | string>;
}

export interface SnugServerProcess extends SnugProcess {
  address: string;
  key: string;
  readyMs: number;
}

/** Settings of the machine the tests run on must not leak in. */
function cleanEnvironment(environment: Record<string, string>): Record<string, string> {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(PORT|SNUG_|DISCORD_|SLACK_|HF_|LC_|LANG|FORCE_COLOR|NO_COLOR)/.test(name),
  );
  return { ...(Object.fromEntries(kept) as Record<string, string>), NO_COLOR: "1", ...environment };
}

export function runSnug(
  args: string[],
  environment: Record<string, string> = {},
  input?: string,
): SnugProcess & { stdout(): string } {
  const child = spawn(process.execPath, [entry, ...args], {
    cwd: root,
    env: cleanEnvironment(environment),
    stdio: "pipe",
  });
  let output = "";
  let stdout = "";
  child.stdout.on("data", (data: Buffer) => {
    output += data;
    stdout += data;
  });
  child.stderr.on("data", (data: Buffer) => {
    output += data;
  });
  child.stdin.on("error", () => {});
  child.stdin.end(input ?? "");
  const exited = new Promise<number | string>((resolve) => {
    child.on("close", (code, signal) => resolve(code ?? signal ?? "gone"));
  });
  return { process: child, output: () => output, stdout: () => stdout, exited };
}

const adminKey = "test-admin-key-0123456789";

/** Starts a server on a free port and waits for its table. Throws with its output when it ends instead. */
export async function startSnug(
  environment: Record<string, string>,
  args: string[] = ["start"],
): Promise<SnugServerProcess> {
  const startedAt = performance.now();
  const snug = runSnug(args, { PORT: "0", SNUG_ADMIN_KEY: adminKey, ...environment });
  const address = await Promise.race([
    waitFor(
      () => /^\s+Address\s+(http:\S+)/m.exec(snug.output())?.[1],
      30_000,
      () => snug.output(),
    ),
    snug.exited.then((code) => {
      throw new Error(`snug ended with ${code}:\n${snug.output()}`);
    }),
  ]);
  return { ...snug, address, key: environment.SNUG_ADMIN_KEY ?? adminKey, readyMs: performance.now() - startedAt };
}

/** Polls, because what is waited for happens in another process. */
export async function waitFor<T>(
  look: () => T | undefined | Promise<T | undefined>,
  msMax: number,
  describe = () => "",
): Promise<T> {
  const until = performance.now() + msMax;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (performance.now() > until) throw new Error(`Nothing within ${msMax} ms. ${describe()}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Direct children of a process. Linux only, like the tests that need it. */
export function childrenOf(pid: number): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((candidate) => {
      try {
        return Number(/^\d+ \(.*\) \S (\d+)/s.exec(readFileSync(`/proc/${candidate}/stat`, "utf8"))?.[1]) === pid;
      } catch {
        return false;
      }
    });
}

export function isAlive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/s.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}
