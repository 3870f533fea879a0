/** `snug compare` and `snug bench`: a model measured on this machine, when nobody else is using it. */
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import {
  type BenchOptions,
  type CompareOptions,
  renderBench,
  renderBenchFiles,
  renderComparison,
  renderShared,
} from "../cli/compare.ts";
import { createStepBar } from "../cli/progress.ts";
import type { Terminal } from "../cli/terminal.ts";
import { AppError } from "../core/errors.ts";
import { benchModel } from "../engine/bench.ts";
import { compareModel } from "../engine/compare/compare.ts";
import { MachineLearning } from "../engine/learning.ts";
import { deviceKey } from "../engine/memory-records.ts";
import { anonymised, type BenchProfile } from "../fit/bench-profile.ts";
import { findCatalogueModel } from "../fit/catalogue.ts";
import { drawComparison } from "../fit/compare-picture.ts";
import { compareStepLabel, renderCompareMarkdown } from "../fit/compare-render.ts";
import { parseCompareRequest } from "../fit/compare-report.ts";
import { createCompareTools, measuredBuild, readMachine } from "./compare-tools.ts";
import { catchInterrupts } from "./interrupt.ts";
import { createLogger } from "./logger.ts";
import { createModelStore } from "./model-store.ts";
import { llamaChildProgram } from "./package-files.ts";
import type { Settings } from "./settings.ts";

const clock = { now: () => Date.now() };
const logger = createLogger({
  level: "error",
  plain: true,
  write: (line) => process.stderr.write(line),
  now: clock.now,
});

/** How long to look for a server on this machine. */
const serverLookMsMax = 1000;
/** As commands that were interrupted end. */
const interruptedCode = 130;

const texts = {
  en: {
    busy: (count: number) =>
      `A Snug on this machine is answering ${count} request${count === 1 ? "" : "s"}, which measuring would slow down. Wait, or use --force.`,
    idle: "A Snug runs on this machine: its model keeps its memory, and requests to it would disturb the measuring.",
    cancelled: "Cancelled; nothing is left behind.",
  },
  zh: {
    busy: (count: number) => `本机的 Snug 正在回答 ${count} 个请求，测量会拖慢它们。请稍候，或使用 --force。`,
    idle: "本机正在运行 Snug：它的模型占着内存，其间的请求会干扰测量。",
    cancelled: "已取消，没有留下任何文件。",
  },
};

export async function compare(
  model: string,
  options: CompareOptions,
  settings: Settings,
  terminal: Terminal,
): Promise<number> {
  const { quantizations, prompt, contexts, maxTokens, quality, force } = options;
  const request = parseCompareRequest({ model, quantizations, prompts: prompt, contexts, maxTokens, quality, force });
  await requireQuiet(settings, options, terminal);
  const learning = await MachineLearning.open(settings.dataDir, logger);
  const tools = createCompareTools(settings, {
    learning,
    clock,
    isBusy: async () => ((await requestsHere(settings)) ?? 0) > 0,
  });
  return await interruptible(terminal, async (signal, show) => {
    const report = await compareModel(request, tools, {
      signal,
      onProgress: (progress) => show(compareStepLabel(progress, terminal.locale), progress.share),
    });
    show(undefined, 1);
    if (options.svg !== undefined) await write(options.svg, drawComparison(report, terminal.locale));
    if (options.json) terminal.print(JSON.stringify(report, null, 2));
    else if (options.markdown) terminal.print(renderCompareMarkdown(report, terminal.locale));
    else terminal.print(renderComparison(report, terminal));
    return report.variants.every(({ failure }) => failure !== undefined) ? 1 : 0;
  });
}

const benchDefaults = { contexts: [128, 512, 2048], parallel: [1, 2, 4], tokens: 64, repetitions: 3 };

export async function bench(
  model: string,
  options: BenchOptions,
  settings: Settings,
  terminal: Terminal,
): Promise<number> {
  const amount = (given: number | undefined, usual: number, most: number, name: string) => {
    const value = given ?? usual;
    if (value >= 1 && value <= most) return value;
    throw new AppError("invalid_request", `--${name} is 1 to ${most}.`, { param: name });
  };
  const decodeTokens = amount(options.tokens, benchDefaults.tokens, 4096, "tokens");
  const repetitions = amount(options.repetitions, benchDefaults.repetitions, 20, "repetitions");
  const contexts = (options.contexts ?? benchDefaults.contexts).map((one) => amount(one, 1, 1e6, "contexts"));
  const sequenceCounts = (options.parallel ?? benchDefaults.parallel).map((one) => amount(one, 1, 64, "parallel"));
  await requireQuiet(settings, options, terminal);
  const learning = await MachineLearning.open(settings.dataDir, logger);
  return await interruptible(terminal, async (signal, show) => {
    const reading = await readMachine(learning);
    const file = await createModelStore(settings).get(model, {
      signal,
      reading: async () => reading,
      wish: settings.load,
    });
    const { id: name, path, quantization } = file;
    const profile = await benchModel(
      { name, path, contexts, sequenceCounts, decodeTokens, repetitions, ...(quantization && { quantization }) },
      { program: llamaChildProgram, build: measuredBuild, reading, wish: settings.load, clock },
      { signal, onProgress: (share) => show(name, share) },
    );
    show(undefined, 1);
    remember(profile, learning, deviceKey({ ...reading, gpus: profile.machine.gpus.length === 0 ? [] : reading.gpus }));
    await learning.settled();
    const out = options.out ?? join(settings.dataDir, "measured", `${name.replaceAll("/", "-")}.json`);
    await write(out, `${JSON.stringify(profile, null, 1)}\n`);
    terminal.print(options.json ? JSON.stringify(profile, null, 2) : renderBench(profile, terminal));
    terminal.note(renderBenchFiles(out, terminal.locale));
    if (options.share !== undefined) {
      const shared = anonymised(profile, (known) => findCatalogueModel(known) !== undefined);
      const content = JSON.stringify(shared, null, 1);
      await write(options.share, `${content}\n`);
      terminal.note(renderShared(options.share, content, terminal.locale));
    }
    return 0;
  });
}

/** The engine's own plans go by these runs as by its answers. */
function remember(profile: BenchProfile, learning: MachineLearning, device: string): void {
  const { architecture, name = architecture } = profile.model;
  for (const { decodeTokensPerSecond, prefillTokensPerSecond, promptTokens, ...run } of profile.runs) {
    const { gpuLayerSplit, ...settings } = run.settings;
    learning.speed.add({
      at: clock.now(),
      device,
      build: profile.machine.build,
      architecture,
      model: name,
      ...run,
      settings: { ...settings, gpuLayerSplit: [...gpuLayerSplit] },
      decodeTokensPerSecond,
      ...(prefillTokensPerSecond === undefined || promptTokens === undefined
        ? {}
        : { prefill: { promptTokens, tokensPerSecond: prefillTokensPerSecond } }),
    });
  }
}

/** Ctrl-C cancels and says so; a second one does not wait for the clearing up. */
async function interruptible(
  terminal: Terminal,
  work: (signal: AbortSignal, show: (label: string | undefined, share: number) => void) => Promise<number>,
): Promise<number> {
  const interrupts = catchInterrupts();
  const show = createStepBar(process.stderr);
  interrupts.second.addEventListener("abort", () => process.exit(interruptedCode));
  try {
    return await work(interrupts.first, show);
  } catch (thrown) {
    show(undefined, 1);
    if (!interrupts.first.aborted) throw thrown;
    terminal.note(terminal.paint("dim", texts[terminal.locale].cancelled));
    return interruptedCode;
  } finally {
    interrupts.release();
  }
}

async function requireQuiet(settings: Settings, { force }: { force?: boolean }, terminal: Terminal): Promise<void> {
  const requests = await requestsHere(settings);
  if (requests === undefined) return;
  const t = texts[terminal.locale];
  if (requests > 0 && force !== true) {
    throw new AppError("engine_overloaded", t.busy(requests), { details: { requests } });
  }
  terminal.note(terminal.paint("yellow", t.idle));
}

/** Requests that an API or engine on this machine's port has in hand; undefined when none runs there. */
async function requestsHere({ host, port }: Settings): Promise<number | undefined> {
  const health = await fetch(`http://${host}:${port}/health`, { signal: AbortSignal.timeout(serverLookMsMax) })
    .then((reply): Promise<unknown> => reply.json())
    .catch(() => undefined);
  if (typeof health !== "object" || health === null) return undefined;
  const engine = "engine" in health ? health.engine : health;
  if (typeof engine !== "object" || engine === null || !("active" in engine && "queued" in engine)) return undefined;
  return Number(engine.active) + Number(engine.queued);
}

async function write(path: string, content: string): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, content);
  } catch (cause) {
    throw new AppError("permission_denied", `${path} could not be written. Check its folder and permissions.`, {
      cause,
    });
  }
}
