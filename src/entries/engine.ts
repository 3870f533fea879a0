/** `snug engine`: only the engine, for an API elsewhere that names it in SNUG_ENGINE_URL, or that it dials itself. */
import { describeHardware } from "../cli/banner.ts";
import { createProgressBar } from "../cli/progress.ts";
import { renderFacts, type Terminal } from "../cli/terminal.ts";
import { AppError } from "../core/errors.ts";
import { closeMsMax, drainMsMax } from "../core/limits.ts";
import { createEngineApp } from "../engine/app.ts";
import { createHardwareProbe } from "../engine/hardware.ts";
import { startEmbeddedEngine } from "./embedded-engine.ts";
import { openLinks } from "./engine-links.ts";
import { aborted, catchInterrupts } from "./interrupt.ts";
import { listen } from "./listen.ts";
import { createLogger } from "./logger.ts";
import { respondWithSource } from "./node-streams.ts";
import { llamaChildProgram, packageVersion } from "./package-files.ts";
import type { Settings } from "./settings.ts";

/** Addresses only this machine can reach. */
const loopback = /^(127\.|::1$|localhost$)/;

/** @throws AppError invalid_configuration; a model that does not load is one too, since an engine has nothing else to do */
export async function serveEngine(settings: Settings, terminal: Terminal): Promise<number> {
  const listens = settings.connect.length === 0 || settings.portGiven;
  if (listens && settings.engineToken === undefined && !loopback.test(settings.host)) {
    const message = `Others can reach ${settings.host}, so the engine needs a token: set SNUG_ENGINE_TOKEN, or listen on 127.0.0.1.`;
    throw new AppError("invalid_configuration", message);
  }
  const interrupts = catchInterrupts();
  const clock = { now: () => Date.now() };
  const logger = createLogger({
    level: "info",
    plain: process.stderr.isTTY === true,
    write: (line) => process.stderr.write(line),
    now: clock.now,
  });
  const hardware = await createHardwareProbe({ program: llamaChildProgram }).read();
  const onProgress = createProgressBar(settings.model ?? "", process.stderr, () => performance.now());
  const embedded = await startEmbeddedEngine({
    settings,
    hardware,
    clock,
    logger,
    signal: interrupts.first,
    onProgress,
  });
  const links = openLinks(embedded.engine, { hardware, settings, logger });
  const problem = await Promise.race([embedded.ready, aborted(interrupts.first).then(() => undefined)]);
  try {
    if (problem !== undefined) throw problem;
    const { engine } = embedded;
    const app = createEngineApp({
      engine,
      control: engine,
      token: settings.engineToken,
      deadlines: settings.deadlines,
      clock,
      logger,
      respond: respondWithSource,
    });
    const listener = listens ? await listen(app.fetch, settings) : undefined;
    const [model] = await engine.models();
    const zh = terminal.locale === "zh";
    terminal.print(terminal.paint("bold", `Snug engine ${packageVersion}`));
    terminal.print(
      renderFacts(
        [
          [zh ? "硬件" : "Hardware", describeHardware(hardware, terminal.locale)],
          [zh ? "模型" : "Model", `${model?.id ?? "?"} ${model?.quantization ?? ""}`.trim()],
          ...links.apis.map((api): [string, string] => [
            zh ? "连接" : "Link",
            zh ? `${api}，名为 ${links.name}` : `${api} as ${links.name}`,
          ]),
          ...(listener === undefined
            ? []
            : ([
                [zh ? "地址" : "Address", terminal.paint("cyan", listener.address)],
                [zh ? "用法" : "Use", `SNUG_ENGINE_URL=${listener.address} snug start`],
              ] as [string, string][])),
        ],
        terminal.paint,
      ),
    );
    await aborted(interrupts.first);
    listener?.refuse();
    const stopped = links.stop({ drainMs: drainMsMax }).then(() => embedded.stop());
    await Promise.race([stopped, aborted(interrupts.second).then(() => embedded.stop({ drainMs: 0 }))]);
    await listener?.close(closeMsMax);
    return 0;
  } finally {
    await links.stop({ drainMs: 0 });
    await embedded.stop({ drainMs: 0 });
    interrupts.release();
  }
}
