/** `snug models`: the commands, and what they print. */
import type { Command } from "commander";
import type { Locale } from "../core/errors.ts";
import { formatBytes, formatParameterCount, formatTokens } from "../core/units.ts";
import { padCells, renderFacts, type Terminal } from "./terminal.ts";

export interface ModelsOptions {
  json?: boolean;
}

/** Each resolves to the process's exit code. */
export interface ModelsActions {
  listModels(options: ModelsOptions): Promise<number>;
  pullModel(name: string, options: ModelsOptions): Promise<number>;
  removeModel(name: string, options: ModelsOptions): Promise<number>;
  modelInfo(name: string, options: ModelsOptions): Promise<number>;
}

/** A model on disk, as far as a list shows it. */
export interface ModelRow {
  id: string;
  source: "snug" | "huggingface" | "ollama" | "file";
  fileBytes: number;
  quantization?: string;
  origin?: string;
  complete: boolean;
}

/** What `info` shows beside the row. */
export interface ModelFacts extends ModelRow {
  path: string;
  files: readonly string[];
  facts: { architecture: string; parameterCount: number; contextLengthTrained: number; quantization?: string };
  layerCount: number;
  plan:
    | {
        offload: "none" | "partial" | "full";
        settings: { contextLength: number; sequenceCount: number; gpuLayers: number };
      }
    | undefined;
}

const texts = {
  en: {
    about: "list, fetch and remove models",
    list: "models on this disk: Snug's own, Hugging Face's cache, Ollama's",
    pull: "fetch a model: a catalogue name, hf:owner/repo[:quantization] or a URL",
    rm: "remove one of Snug's own models",
    info: "what a model is, and how it would run here",
    name: "name of the model",
    json: "print JSON",
    nothing: "No models on this disk yet. Fetch one: snug models pull qwen3-4b. What fits: snug fits",
    sources: { snug: "Snug", huggingface: "Hugging Face", ollama: "Ollama", file: "a file" },
    unfinished: "not finished; pull it again to go on",
    pulled: (id: string, name: string) => `${id} is here. Serve it: SNUG_MODEL=${name} snug start`,
    already: (id: string, name: string) => `${id} was here already. Serve it: SNUG_MODEL=${name} snug start`,
    removed: (id: string, bytes: string) => `${id} was removed; ${bytes} are free again.`,
    model: "Model",
    size: "Size",
    files: (count: number) => `${count} files`,
    file: "File",
    from: "From",
    parameters: "Parameters",
    quantization: "Quantization",
    context: "Trained for",
    tokens: (count: string) => `${count} tokens`,
    layers: "Layers",
    here: "On this machine",
    noFit: "does not fit as things are; see snug fits",
    placed: {
      full: "all layers on the GPU",
      partial: (layers: number) => `${layers} layers on the GPU, the rest in main memory`,
      none: "in main memory, on the CPU",
    },
    plan: (context: string, slots: number) => `${context} tokens, ${slots} at once`,
  },
  zh: {
    about: "查看、下载和删除模型",
    list: "本机磁盘上的模型：Snug 自己的、Hugging Face 缓存、Ollama",
    pull: "下载模型：目录中的名称、hf:作者/仓库[:量化] 或网址",
    rm: "删除 Snug 自己的模型",
    info: "模型的详情，以及在本机如何运行",
    name: "模型名称",
    json: "输出 JSON",
    nothing: "磁盘上还没有模型。下载一个：snug models pull qwen3-4b。查看能跑什么：snug fits",
    sources: { snug: "Snug", huggingface: "Hugging Face", ollama: "Ollama", file: "文件" },
    unfinished: "未下载完，再次 pull 可继续",
    pulled: (id: string, name: string) => `${id} 已就绪。使用：SNUG_MODEL=${name} snug start`,
    already: (id: string, name: string) => `${id} 已在本机。使用：SNUG_MODEL=${name} snug start`,
    removed: (id: string, bytes: string) => `已删除 ${id}，释放 ${bytes}。`,
    model: "模型",
    size: "大小",
    files: (count: number) => `${count} 个文件`,
    file: "文件",
    from: "来源",
    parameters: "参数量",
    quantization: "量化",
    context: "训练上下文",
    tokens: (count: string) => `${count} 个 token`,
    layers: "层数",
    here: "在本机",
    noFit: "目前放不下，参见 snug fits",
    placed: {
      full: "全部层在 GPU 上",
      partial: (layers: number) => `${layers} 层在 GPU 上，其余在内存中`,
      none: "在内存中，由 CPU 运行",
    },
    plan: (context: string, slots: number) => `${context} 个 token，同时 ${slots} 个回答`,
  },
} satisfies Record<Locale, unknown>;

/** Adds `models list|pull|rm|info` to the program. */
export function addModelsCommands(
  program: Command,
  actions: ModelsActions,
  locale: Locale,
  finish: (code: number) => void,
): void {
  const t = texts[locale];
  const models = program.command("models").description(t.about);
  models
    .command("list", { isDefault: true })
    .description(t.list)
    .option("--json", t.json)
    // What stands there in place of a command lands here too.
    .allowExcessArguments()
    .action(async (options: ModelsOptions, list: Command) => {
      const [unknown] = list.args;
      if (unknown !== undefined) models.error(`error: unknown command '${unknown}'`);
      finish(await actions.listModels(options));
    });
  models
    .command("pull")
    .description(t.pull)
    .argument("<name>", t.name)
    .option("--json", t.json)
    .action(async (name: string, options: ModelsOptions) => finish(await actions.pullModel(name, options)));
  models
    .command("rm")
    .description(t.rm)
    .argument("<name>", t.name)
    .option("--json", t.json)
    .action(async (name: string, options: ModelsOptions) => finish(await actions.removeModel(name, options)));
  models
    .command("info")
    .description(t.info)
    .argument("<name>", t.name)
    .option("--json", t.json)
    .action(async (name: string, options: ModelsOptions) => finish(await actions.modelInfo(name, options)));
}

/** One line a model, in columns. */
export function renderModelList(
  models: readonly ModelRow[],
  { locale, paint }: Pick<Terminal, "locale" | "paint">,
): string {
  const t = texts[locale];
  if (models.length === 0) return t.nothing;
  const width = Math.max(...models.map(({ id }) => id.length));
  return models
    .map(({ id, fileBytes, quantization, source, origin, complete }) => {
      const from = origin === undefined ? t.sources[source] : `${t.sources[source]}  ${origin}`;
      const row = `${padCells(id, width)}  ${padCells(quantization ?? "", 10)}  ${padCells(formatBytes(fileBytes), 9)}  ${paint("dim", from)}`;
      return complete ? row : `${row}  ${paint("yellow", t.unfinished)}`;
    })
    .join("\n");
}

/** @param name by which it can be served, where that is not its own */
export function renderPulled(
  { id, already }: { id: string; already: boolean },
  locale: Locale,
  name: string = id,
): string {
  return already ? texts[locale].already(id, name) : texts[locale].pulled(id, name);
}

export function renderRemoved({ id, bytesFreed }: { id: string; bytesFreed: number }, locale: Locale): string {
  return texts[locale].removed(id, formatBytes(bytesFreed));
}

export function renderModelInfo(model: ModelFacts, { locale, paint }: Pick<Terminal, "locale" | "paint">): string {
  const t = texts[locale];
  const { facts, files, origin, plan } = model;
  const size = formatBytes(model.fileBytes);
  const rows: [string, string][] = [
    [t.model, paint("bold", model.id)],
    [t.parameters, `${formatParameterCount(facts.parameterCount)} (${facts.architecture})`],
    [t.quantization, model.quantization ?? facts.quantization ?? "?"],
    [t.size, files.length > 1 ? `${size}, ${t.files(files.length)}` : size],
    [t.layers, String(model.layerCount)],
    [t.context, t.tokens(formatTokens(facts.contextLengthTrained))],
    [t.file, model.path],
    ...(origin === undefined ? [] : ([[t.from, origin]] as [string, string][])),
    [t.here, plan === undefined ? paint("yellow", t.noFit) : renderPlan(plan, locale)],
  ];
  return renderFacts(rows, paint);
}

function renderPlan({ offload, settings }: NonNullable<ModelFacts["plan"]>, locale: Locale): string {
  const t = texts[locale];
  const placed = offload === "partial" ? t.placed.partial(settings.gpuLayers) : t.placed[offload];
  return `${placed}; ${t.plan(formatTokens(settings.contextLength), settings.sequenceCount)}`;
}
