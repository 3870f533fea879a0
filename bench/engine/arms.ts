/** The three programs: node-llama-cpp alone, our engine over HTTP, llama-server over HTTP. */
import { type ChildProcess, fork, spawn } from "node:child_process";
import { existsSync, mkdtempSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Answer, type Arm, type ArmSettings, type AskOptions, promptOf } from "./arm.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const built = join(root, "dist", "entries", "cli.js");

export async function startRaw(settings: ArmSettings): Promise<Arm> {
  const child = fork(new URL("./raw-process.ts", import.meta.url), [JSON.stringify(settings)], {
    execArgv: ["--import", "tsx"],
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  const waiting = new Map<number, (answer: Answer) => void>();
  await new Promise<void>((resolve) => {
    child.on("message", (message: { ready?: boolean; id: number } & Answer) => {
      if (message.ready) resolve();
      else waiting.get(message.id)?.(message);
    });
  });
  let next = 1;
  return {
    name: "node-llama-cpp in one process",
    pid: child.pid!,
    async ask(words, { maxTokens, prefix }) {
      const id = next++;
      child.send({ id, prompt: promptOf(words, prefix), maxTokens });
      return await new Promise((resolve) => waiting.set(id, resolve));
    },
    stop: () => end(child),
  };
}

export async function startSnug(settings: ArmSettings, more: Record<string, string> = {}): Promise<Arm> {
  const port = Number(more.PORT ?? (await freePort()));
  const start = existsSync(built) ? [built] : ["--import", "tsx", join(root, "src", "entries", "cli.ts")];
  const child = spawn(process.execPath, [...start, "engine"], {
    cwd: root,
    stdio: ["ignore", "ignore", process.env.BENCH_LOG === undefined ? "ignore" : "inherit"],
    env: {
      ...process.env,
      PORT: `${port}`,
      SNUG_MODEL: settings.modelPath,
      SNUG_CONTEXT: `${settings.contextLength}`,
      SNUG_SLOTS: `${settings.sequenceCount}`,
      SNUG_BATCH: `${settings.batchSize}`,
      SNUG_THREADS: `${settings.threads}`,
      SNUG_GPU: "off",
      SNUG_FLASH_ATTENTION: "on",
      SNUG_BACKEND: "node-llama-cpp",
      SNUG_DATA_DIR: mkdtempSync(join(tmpdir(), "snug-bench-")),
      ...more,
    },
  });
  return await httpArm("Snug's engine over HTTP", child, port);
}

export async function startServer(path: string, settings: ArmSettings, more: readonly string[] = []): Promise<Arm> {
  const port = await freePort();
  const { modelPath, contextLength, sequenceCount, batchSize, threads } = settings;
  const numbers = {
    "-c": contextLength * sequenceCount,
    "-np": sequenceCount,
    "-b": batchSize,
    "-ub": batchSize,
    "-t": threads,
  };
  const args = Object.entries(numbers).flatMap(([name, value]) => [name, `${value}`]);
  const fixed = ["-fa", "on", "-dev", "none", "--fit", "off", "--cache-ram", "0", "--no-webui", "--offline"];
  const child = spawn(path, ["-m", modelPath, ...args, ...fixed, ...more, "--port", `${port}`], { stdio: "ignore" });
  return await httpArm("llama-server over HTTP", child, port);
}

async function httpArm(name: string, child: ChildProcess, port: number): Promise<Arm> {
  const baseUrl = `http://127.0.0.1:${port}`;
  while (!(await fetch(`${baseUrl}/health`).catch(() => undefined))?.ok) {
    if (child.exitCode !== null) throw new Error(`${name} did not start`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const { data } = (await (await fetch(`${baseUrl}/v1/models`)).json()) as { data: { id: string }[] };
  const model = data[0]!.id;
  return {
    name,
    pid: child.pid!,
    ask: (words, options) => askOver(baseUrl, model, promptOf(words, options.prefix), options),
    stop: () => end(child),
  };
}

interface Chunk {
  choices?: { delta?: { content?: string | null } }[];
  snug?: { tokens?: number };
  timings?: { queue_ms?: number };
}

async function askOver(baseUrl: string, model: string, content: string, options: AskOptions): Promise<Answer> {
  const askedAt = performance.now();
  const tokenAt: number[] = [];
  let queueMs: number | undefined;
  try {
    const reply = await fetch(`${baseUrl}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        model,
        messages: [{ role: "user", content }],
        stream: true,
        temperature: 0,
        max_tokens: options.maxTokens,
        ...(options.userId === undefined ? {} : { user: options.userId }),
      }),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    if (!reply.ok || reply.body === null) throw new Error(`${reply.status} ${await reply.text()}`);
    for await (const data of dataLines(reply.body)) {
      const chunk = JSON.parse(data) as Chunk;
      queueMs = chunk.timings?.queue_ms ?? queueMs;
      if (!chunk.choices?.[0]?.delta?.content) continue;
      const now = performance.now();
      for (let token = 0; token < (chunk.snug?.tokens ?? 1); token++) tokenAt.push(now);
      options.onToken?.();
    }
  } catch (thrown) {
    if (options.signal?.aborted !== true) throw thrown;
  }
  return { askedAt, tokenAt, endedAt: performance.now(), ...(queueMs === undefined ? {} : { queueMs }) };
}

/** As cheap as can be: the reader shares the machine with what is measured. */
async function* dataLines(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let held = "";
  for await (const bytes of body) {
    const lines = (held + decoder.decode(bytes, { stream: true })).split("\n");
    held = lines.pop() ?? "";
    for (const line of lines) if (line.startsWith("data: {")) yield line.slice(6);
  }
}

export async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, "127.0.0.1", resolve));
  const address = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  return typeof address === "object" && address !== null ? address.port : 0;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  const kill = setTimeout(() => child.kill("SIGKILL"), 5000);
  await gone;
  clearTimeout(kill);
}
