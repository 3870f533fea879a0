/** A question said back in one line, so that a wrong reading is seen at once. */
import { formatBytes, formatParameterCount, formatTokens } from "../core/units.ts";
import { gibLabel } from "./query-hardware.ts";
import { GLOSSARY } from "./query-terms.ts";
import type { FitsQuery, Framework, Localized, ModelReference, Purpose } from "./query-types.ts";
import type { Backend, Hardware, Wish } from "./types.ts";

export const FRAMEWORK_NAMES: Record<Framework, string> = {
  snug: "Snug",
  "llama.cpp": "llama.cpp",
  ollama: "Ollama",
  lmstudio: "LM Studio",
  transformers: "Transformers",
  vllm: "vLLM",
  "tensorrt-llm": "TensorRT-LLM",
  mlx: "MLX",
};

const BACKEND_NAMES: Record<Backend, string> = {
  cuda: "CUDA",
  vulkan: "Vulkan",
  rocm: "ROCm",
  metal: "Metal",
  cpu: "CPU",
};

export const PURPOSE_NAMES: Record<Purpose, Localized> = {
  chat: { en: "chat", zh: "聊天" },
  code: { en: "code", zh: "写代码" },
  long: { en: "long context", zh: "长文本" },
  fast: { en: "fast", zh: "速度优先" },
};

type Locale = keyof Localized;

/** "Qwen3 8B · Q4_K_M · 8 GB GPU · context 16k". */
export function echoQuery(query: Omit<FitsQuery, "echo">): Localized {
  return { en: echoIn(query, "en"), zh: echoIn(query, "zh") };
}

function echoIn(query: Omit<FitsQuery, "echo">, locale: Locale): string {
  if (query.kind === "term") return echoTerms(query.terms ?? [], locale);
  const parts: string[] = [];
  if (query.model !== undefined) parts.push(modelLabel(query.model, locale));
  if (query.wish.quantization !== undefined) parts.push(query.wish.quantization);
  if (query.hardware !== undefined) parts.push(hardwareLabel(query.hardware, locale));
  parts.push(...wishLabels(query.wish, locale));
  if (query.backend !== undefined && query.backend !== "cpu") parts.push(BACKEND_NAMES[query.backend]);
  if (query.framework !== undefined) parts.push(FRAMEWORK_NAMES[query.framework]);
  if (query.purpose !== undefined) parts.push(PURPOSE_NAMES[query.purpose][locale]);
  if (query.vision === true) parts.push(locale === "zh" ? "看图" : "vision");
  if (query.promptTokens !== undefined) {
    const tokens = formatTokens(query.promptTokens);
    parts.push(locale === "zh" ? `提示 ${tokens}` : `prompt ${tokens}`);
  }
  if (query.decodeTokensPerSecondMin !== undefined) parts.push(`≥ ${query.decodeTokensPerSecondMin} t/s`);
  return parts.join(" · ");
}

function echoTerms(ids: readonly string[], locale: Locale): string {
  return ids.map((id) => GLOSSARY.find(({ names }) => names[0] === id)?.title[locale] ?? id).join(" · ");
}

export function modelLabel(model: ModelReference, locale: Locale): string {
  switch (model.kind) {
    case "catalogue":
      return model.name;
    case "family":
      return locale === "zh" ? `${model.name}（任意大小）` : `${model.name} (any size)`;
    case "size": {
      const total = formatParameterCount(model.parameterCount);
      const active = model.activeParameterCount;
      const size = active === undefined ? total : `${total}-A${formatParameterCount(active)}`;
      if (model.name !== undefined) return `${model.name} (${size})`;
      return locale === "zh" ? `${size} 模型` : `${size} model`;
    }
    case "gguf":
      return model.location;
  }
}

export function hardwareLabel(hardware: Hardware, locale: Locale): string {
  const free = hardware.gpus[0]?.vramBytesFree;
  const parts = [hardware.gpus.length === 0 ? (locale === "zh" ? "仅 CPU" : "CPU only") : (hardware.name ?? "GPU")];
  if (free !== undefined) parts.push(locale === "zh" ? `空闲 ${formatBytes(free)}` : `${formatBytes(free)} free`);
  if (hardware.ramBytesTotal !== undefined && hardware.unifiedMemory !== true) {
    const ram = gibLabel(hardware.ramBytesTotal);
    parts.push(locale === "zh" ? `内存 ${ram}` : `${ram} RAM`);
  }
  return parts.join(" + ");
}

function wishLabels(wish: Wish, locale: Locale): string[] {
  const zh = locale === "zh";
  const parts: string[] = [];
  const say = (value: unknown, en: string, chinese: string): void => {
    if (value !== undefined) parts.push(zh ? chinese : en);
  };
  const context = wish.contextLength === undefined ? "" : formatTokens(wish.contextLength);
  say(wish.contextLength, `context ${context}`, `上下文 ${context}`);
  const users = wish.sequenceCount ?? 0;
  say(wish.sequenceCount, `${users} ${users === 1 ? "user" : "users"}`, `${users} 个用户`);
  const { kvCacheTypeK: keys, kvCacheTypeV: values } = wish;
  if (keys !== undefined && keys === values) parts.push(`KV ${keys}`);
  else {
    say(keys, `K ${keys}`, `K ${keys}`);
    say(values, `V ${values}`, `V ${values}`);
  }
  if (wish.flashAttention !== undefined) {
    parts.push(
      wish.flashAttention
        ? zh
          ? "开 flash attention"
          : "flash attention"
        : zh
          ? "关 flash attention"
          : "no flash attention",
    );
  }
  say(wish.gpuLayers, `${wish.gpuLayers} GPU layers`, `GPU ${wish.gpuLayers} 层`);
  say(
    wish.hostExpertLayers,
    `experts of ${wish.hostExpertLayers} layers on the CPU`,
    `${wish.hostExpertLayers} 层专家在 CPU`,
  );
  say(wish.batchSize, `batch ${wish.batchSize}`, `批 ${wish.batchSize}`);
  say(wish.microBatchSize, `micro-batch ${wish.microBatchSize}`, `微批 ${wish.microBatchSize}`);
  const reserve = formatBytes(wish.reserveBytes ?? 0);
  say(wish.reserveBytes, `keep ${reserve} free`, `预留 ${reserve}`);
  const cap = formatBytes(wish.vramBytesMax ?? 0);
  say(wish.vramBytesMax, `at most ${cap} VRAM`, `最多用 ${cap} 显存`);
  return parts;
}
