/** One llama-server process: started on a free loopback port with a key of its own, watched until it is ready. */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { AppError } from "../core/errors.ts";
import { isProgram } from "./backend.ts";
import type { ServerLog } from "./llama-server-log.ts";

export interface ServerStart {
  /** The binary. */
  path: string;
  /** Without address and key, which are chosen here. */
  args: readonly string[];
  log: ServerLog;
  /** Each line it writes. */
  onLine(line: string): void;
  /** Known before it is ready, so that it can be ended in any case. */
  onPid(pid: number): void;
}

export interface ServerProcess {
  pid: number;
  baseUrl: string;
  key: string;
  /** Resolves when it ends. */
  exited: Promise<ServerExit>;
  /** At once, whatever it is doing. */
  kill(): void;
}

export interface ServerExit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/** A signal ended it while it was loading: the kernel short of memory, or an assertion of llama.cpp's. */
export class ServerKilled extends Error {
  readonly signal: NodeJS.Signals;

  constructor(signal: NodeJS.Signals) {
    super(`llama-server was ended by ${signal}`);
    this.signal = signal;
  }
}

const readyPollMs = 25;
/** Another process took the port between our look and the server's. */
const startsMax = 3;

/**
 * Resolves when the server answers. Does not give up by itself: its supervisor knows how long a load may take.
 *
 * @throws AppError invalid_configuration, engine_out_of_memory or model_file_invalid when it ends before
 * @throws ServerKilled
 */
export async function startLlamaServer(start: ServerStart): Promise<ServerProcess> {
  if (!(await isProgram(start.path))) throw notStarted(start.path);
  for (let tried = 1; ; tried++) {
    const server = await launch(start);
    const exit = await Promise.race([server.exited, becomesReady(server)]);
    if (exit === undefined) return server;
    const portTaken = /couldn't bind/i.test(start.log.complaint ?? "");
    if (!portTaken || tried === startsMax) throw startError(start, exit);
  }
}

async function launch({ path, args, log, onLine, onPid }: ServerStart): Promise<ServerProcess> {
  const port = await findFreePort();
  const key = randomBytes(24).toString("hex");
  const [command, ...before] = withParent(path);
  const child = spawn(command!, [...before, ...args, "--host", "127.0.0.1", "--port", `${port}`], {
    stdio: ["ignore", "pipe", "pipe"],
    // In the environment, not among the arguments, which every user of the machine can read.
    env: { ...process.env, LLAMA_API_KEY: key, GGML_NO_BACKTRACE: "1" },
    windowsHide: true,
  });
  for (const output of [child.stdout, child.stderr]) readLines(output, log, onLine);
  const exited = exitOf(child);
  if (child.pid !== undefined) onPid(child.pid);
  return {
    pid: child.pid ?? 0,
    baseUrl: `http://127.0.0.1:${port}`,
    key,
    exited,
    kill: () => child.kill("SIGKILL"),
  };
}

/** On Linux the kernel ends the server with the process that started it, even when that one is killed. */
function withParent(path: string): string[] {
  const setpriv = "/usr/bin/setpriv";
  return process.platform === "linux" && existsSync(setpriv) ? [setpriv, "--pdeathsig", "SIGKILL", "--", path] : [path];
}

function readLines(output: Readable, log: ServerLog, onLine: (line: string) => void): void {
  createInterface({ input: output }).on("line", (line) => {
    log.add(line);
    onLine(line);
  });
}

async function exitOf(child: ChildProcess): Promise<ServerExit> {
  return await new Promise((resolve) => {
    child.once("error", () => resolve({ code: null, signal: null }));
    // "close", not "exit": its last words are read by then.
    child.once("close", (code, signal) => resolve({ code, signal }));
  });
}

/** Resolves with nothing once the model is loaded. */
async function becomesReady({ baseUrl, exited }: ServerProcess): Promise<undefined> {
  let ended = false;
  void exited.then(() => {
    ended = true;
  });
  while (!ended) {
    const reply = await fetch(`${baseUrl}/health`).catch(() => undefined);
    await reply?.arrayBuffer().catch(() => {});
    if (reply?.ok === true) return undefined;
    await new Promise((resolve) => setTimeout(resolve, readyPollMs));
  }
  return await new Promise<undefined>(() => {});
}

async function findFreePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve, reject) => {
    probe.once("error", reject);
    probe.listen(0, "127.0.0.1", resolve);
  });
  const address = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  return typeof address === "object" && address !== null ? address.port : 0;
}

function startError({ path, log }: ServerStart, { code, signal }: ServerExit): AppError | ServerKilled {
  if (signal !== null) return new ServerKilled(signal);
  const words = log.complaint;
  if (log.ranOutOfMemory) {
    const message = `llama-server ran out of memory while loading: ${words}. Take a smaller quantization, a shorter context or fewer parallel answers.`;
    return new AppError("engine_out_of_memory", message);
  }
  if (code === null) return notStarted(path);
  if (/invalid argument|error while handling argument|unknown argument/i.test(words ?? "")) {
    const message = `${path} does not know an option Snug needs (${words}); install a newer llama-server.`;
    return new AppError("invalid_configuration", message);
  }
  const message = `llama-server could not load the model: ${words ?? `exit code ${code}`}. Try another file.`;
  return new AppError("model_file_invalid", message);
}

function notStarted(path: string): AppError {
  return new AppError("invalid_configuration", `${path} could not be started; check SNUG_LLAMA_SERVER.`);
}
