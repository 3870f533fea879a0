/** `snug chat`: asks a running server where there is one it may ask, and the model itself otherwise. */
import { text as readAll } from "node:stream/consumers";
import { runChat } from "../cli/chat.ts";
import type { ChatCommandOptions } from "../cli/program.ts";
import { createProgressBar } from "../cli/progress.ts";
import type { Terminal } from "../cli/terminal.ts";
import { AppError } from "../core/errors.ts";
import type { ChatEngine, Clock, Logger } from "../core/ports.ts";
import { createHardwareProbe } from "../engine/hardware.ts";
import { createHttpEngine } from "../http/client.ts";
import { startEmbeddedEngine } from "./embedded-engine.ts";
import { catchInterrupts } from "./interrupt.ts";
import { createLogger } from "./logger.ts";
import { llamaChildProgram } from "./package-files.ts";
import type { Settings } from "./settings.ts";

interface OpenedEngine {
  engine: ChatEngine;
  /** Set when the model was loaded here: it answers to its own name, whatever path or URL it came from. */
  model?: string;
  close(): Promise<void>;
}

const clock: Clock = { now: () => Date.now() };

/** How long to look for a server on this machine before loading the model here. */
const serverLookMsMax = 1000;

export async function chat(
  prompt: string,
  options: ChatCommandOptions,
  settings: Settings,
  terminal: Terminal,
): Promise<number> {
  const interrupts = catchInterrupts();
  const question = prompt === "-" ? await readAll(process.stdin) : prompt;
  const opened = await openEngine(options, settings, interrupts.first);
  try {
    const model = opened.model ?? options.model ?? (await firstChatModel(opened.engine));
    if (model === undefined) {
      throw new AppError("model_not_found", "The server has no model loaded; name one with --model.");
    }
    const request = { ...options, model, prompt: question, json: options.json === true };
    return await runChat(opened.engine, request, terminal, interrupts.first);
  } finally {
    await opened.close();
    interrupts.release();
  }
}

async function openEngine(options: ChatCommandOptions, settings: Settings, signal: AbortSignal): Promise<OpenedEngine> {
  const remote = await findServer(options, settings);
  if (remote !== undefined) return { engine: remote, close: async () => {} };
  const logger: Logger = createLogger({
    level: "error",
    plain: true,
    write: (line) => process.stderr.write(line),
    now: () => Date.now(),
  });
  const hardware = await createHardwareProbe({ program: llamaChildProgram }).read();
  const onProgress = createProgressBar(settings.model ?? "", process.stderr, () => performance.now());
  const { engine, ready, stop } = await startEmbeddedEngine({ settings, hardware, clock, logger, signal, onProgress });
  const problem = await ready;
  if (problem !== undefined) {
    await stop({ drainMs: 0 });
    throw problem;
  }
  const model = await firstChatModel(engine);
  return { engine, ...(model === undefined ? {} : { model }), close: () => stop({ drainMs: 0 }) };
}

/** The server named on the command line or in the settings, or one that runs on this machine and whose key is known. */
async function findServer({ url, model }: ChatCommandOptions, settings: Settings): Promise<ChatEngine | undefined> {
  const key = process.env.SNUG_API_KEY || settings.adminKey;
  const connect = (baseUrl: string, token: string | undefined) =>
    createHttpEngine({ baseUrl, clock, ...(token === undefined ? {} : { token }) });
  if (url !== undefined) return connect(url, key);
  if (settings.engineUrl !== undefined) return connect(settings.engineUrl, settings.engineToken);
  if (key === undefined || model !== undefined) return undefined;
  const here = `http://${settings.host}:${settings.port}`;
  const health = await fetch(`${here}/health`, { signal: AbortSignal.timeout(serverLookMsMax) })
    .then((reply) => reply.json())
    .catch(() => undefined);
  const isSnug = typeof health === "object" && health !== null && "engine" in health && "version" in health;
  return isSnug ? connect(here, key) : undefined;
}

async function firstChatModel(engine: ChatEngine): Promise<string | undefined> {
  return (await engine.models()).find(({ task }) => task === undefined)?.id;
}
