/** Settings for the runtimes that read GGUF: our engine, llama.cpp's server, Ollama, LM Studio. */
import { MIB } from "../core/units.ts";
import type { LaunchInput, LaunchRecipe } from "./launch.ts";
import { llamaServerArguments } from "./launch-arguments.ts";
import type { Localized } from "./query-types.ts";

/** Quantizations that are not GGUF: int8, nf4, awq, gptq-int4 … */
const NOT_GGUF = /^(?:int8|int4|nf4|fp4|fp8|fp16|bf16|fp32|awq|gptq|mlx|nvfp4)/;

export function isGguf(quantization: string): boolean {
  return !NOT_GGUF.test(quantization);
}

/** "Qwen3-8B-Q4_K_M.gguf": how files are usually called. */
export function fileName({ plan, files }: LaunchInput): string {
  const named = files.location?.split(/[/:\\]/).at(-1);
  if (named !== undefined && /\.gguf$/i.test(named)) return named;
  // A bare size is no model one could download.
  if (plan.model.provenance === "size") return `YOUR-MODEL-${plan.model.quantization}.gguf`;
  return `${plan.model.name.replace(/[^\w.]+/g, "-")}-${plan.model.quantization}.gguf`;
}

/** `owner/repo` of GGUF files, when known. */
function ggufRepository({ files }: LaunchInput): string | undefined {
  if (files.location?.startsWith("hf:")) return files.location.slice(3).split(/[:@]/)[0];
  return files.ggufRepository;
}

function localPath(input: LaunchInput): string {
  const { location } = input.files;
  if (location !== undefined && !/^(?:hf:|https?:)/.test(location)) return location;
  return `./models/${fileName(input)}`;
}

function downloadNote(input: LaunchInput): Localized[] {
  const repository = ggufRepository(input);
  const { quantization } = input.plan.model;
  if (repository === undefined) return [];
  return [
    {
      en: `Download the ${quantization} file of huggingface.co/${repository} first; its name may differ.`,
      zh: `先下载 huggingface.co/${repository} 的 ${quantization} 文件；文件名可能不同。`,
    },
  ];
}

const startNote: Localized[] = [
  { en: "Write these lines into .env, then: npm start", zh: "把这几行写入 .env，然后运行 npm start。" },
];

/** Our engine plans again when it loads, from the memory it then finds free. */
export function launchSnug(input: LaunchInput): LaunchRecipe | undefined {
  const { plan, files } = input;
  if (!isGguf(plan.model.quantization)) return undefined;
  const { settings } = plan;
  const url = files.location?.startsWith("http") ? files.location : undefined;
  const lines = [
    `SNUG_MODEL=${url ?? localPath(input)}`,
    `SNUG_CONTEXT=${settings.contextLength}`,
    `SNUG_SLOTS=${settings.sequenceCount}`,
  ];
  return {
    framework: "snug",
    title: "Snug (.env)",
    language: "ini",
    text: lines.join("\n"),
    exact: true,
    notes: [...startNote, ...(url === undefined ? downloadNote(input) : [])],
    source: ".env.example",
  };
}

/** llama-server of llama.cpp; every planned setting has an option. Checked: tools/server/README.md. */
export function launchLlamaServer(input: LaunchInput): LaunchRecipe | undefined {
  const { plan, model } = input;
  if (!isGguf(plan.model.quantization)) return undefined;
  const { settings } = plan;
  const repository = ggufRepository(input);
  const file =
    repository === undefined ? `-m ${shell(localPath(input))}` : `-hf ${repository}:${plan.model.quantization}`;
  const options = [file, ...llamaServerArguments(settings, model.layers).map((group) => group.map(shell).join(" "))];
  // -hf would fetch and load a vision part the plan has no room for.
  if (repository !== undefined && model.projectorBytes === undefined) options.push("--no-mmproj");
  if ("vectors" in plan) options.push("--embeddings");
  // With the plan fixed, the server's own search would only refuse to touch settings given by hand.
  options.push("--fit off");
  return {
    framework: "llama.cpp",
    title: "llama.cpp server",
    language: "sh",
    text: `llama-server ${wrap(options)}`,
    exact: true,
    notes: buildNotes(input),
    source: "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
  };
}

/** Our engine's build reserves more for logits than the server, so its plan has room to spare there. */
function buildNotes({ plan }: LaunchInput): Localized[] {
  if (plan.settings.buildFamily === "llama-server") return [];
  return [
    {
      en: "Planned for Snug's engine; llama-server needs a little less for logits.",
      zh: "按 Snug 的引擎规划；llama-server 的 logits 占用略少。",
    },
  ];
}

/** Cache types Ollama accepts. */
const OLLAMA_CACHE_TYPES = new Set(["F16", "Q8_0", "Q4_0"]);

/**
 * Ollama: context and layers in the Modelfile, slots and cache type in the server's environment.
 * Checked: docs/modelfile.mdx, docs/faq.mdx, docs/api.md (num_gpu, num_batch).
 */
export function launchOllama(input: LaunchInput): LaunchRecipe | undefined {
  const { plan } = input;
  if (!isGguf(plan.model.quantization)) return undefined;
  const { settings } = plan;
  const repository = ggufRepository(input);
  const from = repository === undefined ? localPath(input) : `hf.co/${repository}:${plan.model.quantization}`;
  const environment = [
    `OLLAMA_NUM_PARALLEL=${settings.sequenceCount}`,
    `OLLAMA_FLASH_ATTENTION=${settings.flashAttention ? 1 : 0}`,
  ];
  const notes: Localized[] = [];
  const cache = settings.kvCacheTypeK;
  if (cache !== "F16" && OLLAMA_CACHE_TYPES.has(cache)) environment.push(`OLLAMA_KV_CACHE_TYPE=${cache.toLowerCase()}`);
  if (settings.kvCacheTypeV !== cache || !OLLAMA_CACHE_TYPES.has(cache)) {
    notes.push({
      en: "Ollama has one cache type for K and V: f16, q8_0 or q4_0.",
      zh: "Ollama 的 K、V 只能用同一种缓存类型：f16、q8_0 或 q4_0。",
    });
  }
  if (settings.hostExpertLayers > 0) {
    notes.push({
      en: "Ollama cannot place experts apart; it moves whole layers.",
      zh: "Ollama 不能单独放置专家，只能移动整层。",
    });
  }
  const lines = [
    "# Modelfile",
    `FROM ${from}`,
    `PARAMETER num_ctx ${settings.contextLength}`,
    `PARAMETER num_gpu ${settings.gpuLayers}`,
    `# ollama create planned -f Modelfile && ollama run planned`,
    `# server: ${environment.join(" ")} ollama serve`,
  ];
  return {
    framework: "ollama",
    title: "Ollama Modelfile",
    language: "dockerfile",
    text: lines.join("\n"),
    exact: notes.length === 0,
    notes,
    source: "https://github.com/ollama/ollama/blob/main/docs/modelfile.mdx",
  };
}

/** LM Studio's command line; the rest is set in its load dialog. Checked: lmstudio.ai/docs/cli. */
export function launchLmStudio(input: LaunchInput): LaunchRecipe | undefined {
  const { plan, model, hardware } = input;
  if (!isGguf(plan.model.quantization)) return undefined;
  const { settings } = plan;
  const share = settings.gpuLayers / (model.layers.length + 1);
  const offload =
    hardware.gpus.length === 0 || settings.gpuLayers === 0 ? "off" : share >= 1 ? "max" : share.toFixed(2);
  const repository = ggufRepository(input);
  const lines = [];
  if (repository !== undefined)
    lines.push(`lms get https://huggingface.co/${repository}@${plan.model.quantization.toLowerCase()}`);
  lines.push(`lms load --gpu ${offload} --context-length ${settings.contextLength}`);
  const notes: Localized[] = [];
  if (settings.kvCacheTypeK !== "F16") {
    notes.push({
      en: `In the load dialog set K and V cache quantization to ${settings.kvCacheTypeK}.`,
      zh: `在加载对话框里把 K、V 缓存量化设为 ${settings.kvCacheTypeK}。`,
    });
  }
  return {
    framework: "lmstudio",
    title: "LM Studio",
    language: "sh",
    text: lines.join("\n"),
    exact: notes.length === 0 && settings.sequenceCount === 1,
    notes,
    source: "https://lmstudio.ai/docs/cli/load",
  };
}

/** Options over several lines once they get long. */
export function wrap(options: readonly string[]): string {
  const line = options.join(" ");
  if (line.length <= 60) return line;
  const lines: string[] = [];
  for (const option of options) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + option.length < 56) lines[lines.length - 1] = `${last} ${option}`;
    else lines.push(option);
  }
  return lines.join(" \\\n  ");
}

/** Quoted for a POSIX shell when it holds anything but plain characters. */
export function shell(text: string): string {
  return /^[\w./:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** "5GiB" for Accelerate's max_memory, rounded down. */
export function gibText(bytes: number): string {
  const mib = Math.floor(bytes / MIB);
  return mib % 1024 === 0 ? `${mib / 1024}GiB` : `${mib}MiB`;
}
