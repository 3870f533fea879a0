/** `snug models`: the store in the terminal. */
import { resolve } from "node:path";
import { type ModelsOptions, renderModelInfo, renderModelList, renderPulled, renderRemoved } from "../cli/models.ts";
import { createProgressBar } from "../cli/progress.ts";
import type { Terminal } from "../cli/terminal.ts";
import { createHardwareProbe } from "../engine/hardware.ts";
import { catchInterrupts } from "./interrupt.ts";
import { createModelStore } from "./model-store.ts";
import { llamaChildProgram } from "./package-files.ts";
import type { Settings } from "./settings.ts";

const readHardware = () => createHardwareProbe({ program: llamaChildProgram }).read();

export async function listModels(options: ModelsOptions, settings: Settings, terminal: Terminal): Promise<number> {
  const models = await createModelStore(settings).list();
  terminal.print(options.json ? JSON.stringify({ models }, null, 2) : renderModelList(models, terminal));
  return 0;
}

/** Progress goes to stderr; Ctrl-C leaves what is there for the next pull. */
export async function pullModel(
  name: string,
  options: ModelsOptions,
  settings: Settings,
  terminal: Terminal,
): Promise<number> {
  const interrupts = catchInterrupts();
  try {
    const pulled = await createModelStore(settings).get(name, {
      signal: interrupts.first,
      reading: readHardware,
      wish: settings.load,
      onProgress: createProgressBar(name, process.stderr, () => performance.now()),
    });
    // A file elsewhere is found by its path alone.
    const served = resolve(name) === pulled.path ? pulled.path : pulled.id;
    terminal.print(options.json ? JSON.stringify(pulled, null, 2) : renderPulled(pulled, terminal.locale, served));
    return 0;
  } finally {
    interrupts.release();
  }
}

export async function removeModel(
  name: string,
  options: ModelsOptions,
  settings: Settings,
  terminal: Terminal,
): Promise<number> {
  const removed = await createModelStore(settings).remove(name);
  terminal.print(options.json ? JSON.stringify(removed, null, 2) : renderRemoved(removed, terminal.locale));
  return 0;
}

export async function modelInfo(
  name: string,
  options: ModelsOptions,
  settings: Settings,
  terminal: Terminal,
): Promise<number> {
  const info = await createModelStore(settings).info(name, await readHardware(), settings.load);
  terminal.print(options.json ? JSON.stringify(info, null, 2) : renderModelInfo(info, terminal));
  return 0;
}
