/** `snug start`: everything, until Ctrl-C. */
import { setFlagsFromString } from "node:v8";
import { renderBanner } from "../cli/banner.ts";
import { createProgressBar } from "../cli/progress.ts";
import type { Terminal } from "../cli/terminal.ts";
import { createHardwareProbe } from "../engine/hardware.ts";
import { parseBotSettings } from "./bots.ts";
import { createFitDesk } from "./fit-desk.ts";
import { aborted, catchInterrupts } from "./interrupt.ts";
import { createLogOutput } from "./log-output.ts";
import { createLogger } from "./logger.ts";
import { startServer } from "./node.ts";
import { llamaChildProgram, packageVersion } from "./package-files.ts";
import type { Settings } from "./settings.ts";

const texts = {
  en: {
    loading: "Loading the model …",
    failed: (reason: string) =>
      `The model is not available: ${reason}\nThe API runs all the same; /v1/fits and /v1/usage answer.`,
    stopping: "Stopping; running answers may end. Ctrl-C again stops at once.",
  },
  zh: {
    loading: "正在加载模型…",
    failed: (reason: string) => `模型不可用：${reason}\nAPI 仍在运行，/v1/fits 和 /v1/usage 可以使用。`,
    stopping: "正在停止，等待进行中的回答结束。再按一次 Ctrl-C 立即停止。",
  },
};

/**
 * V8 doubles its space for new objects step by step, from 1 MB to 16, and shrinks it in every pause; what outgrows a small
 * step is copied, and lives on until a full collection. In one step, a tenth of the time of every answer is saved.
 */
const roomForNewObjects = "--semi-space-growth-factor=16";

/** @returns exit code 0 after an orderly stop */
export async function start(settings: Settings, terminal: Terminal): Promise<number> {
  const startedAt = performance.now();
  setFlagsFromString(roomForNewObjects);
  const t = texts[terminal.locale];
  const bots = parseBotSettings(process.env);
  const interrupts = catchInterrupts();
  const logger = createLogger({
    level: process.stderr.isTTY ? "warn" : "info",
    plain: process.stderr.isTTY === true,
    write: createLogOutput((text) => void process.stderr.write(text)).write,
    now: () => Date.now(),
  });
  const hardware = await createHardwareProbe({ program: llamaChildProgram }).read();
  const server = await startServer({
    settings,
    bots,
    hardware,
    fits: createFitDesk(),
    logger,
    signal: interrupts.first,
    environment: process.env,
    onProgress: createProgressBar(settings.model ?? "", process.stderr, () => performance.now()),
  });
  if (process.stderr.isTTY) terminal.note(terminal.paint("dim", t.loading));
  const problem = await Promise.race([server.ready, aborted(interrupts.first).then(() => undefined)]);
  if (!interrupts.first.aborted) {
    const model = settings.engineUrl === undefined ? (await server.engine.models())[0] : undefined;
    terminal.print(
      renderBanner(
        {
          version: packageVersion,
          hardware,
          model,
          slots: await server.slots(),
          engineUrl: settings.engineUrl,
          address: server.address,
          dataDir: settings.dataDir,
          newAdminKey: server.newAdminKey,
          bots: { discord: bots.discord !== undefined, slack: bots.slack !== undefined },
          startedInMs: performance.now() - startedAt,
        },
        terminal,
      ),
    );
    if (problem !== undefined) terminal.note(terminal.paint("red", t.failed(problem.message)));
  }
  await aborted(interrupts.first);
  terminal.note(terminal.paint("dim", t.stopping));
  const stopped = server.stop();
  await Promise.race([stopped, aborted(interrupts.second).then(() => server.stop({ drainMs: 0 }))]);
  interrupts.release();
  return 0;
}
