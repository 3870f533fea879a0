/** How models are found and loaded, from the environment: the part of the settings that overrides the planner. */
import { homedir } from "node:os";
import { join } from "node:path";
import * as z from "zod";
import { parseBytes } from "../core/units.ts";
import type { BackendWish } from "../engine/backend.ts";
import type { LoadWish } from "../engine/load-plan.ts";
import { hubUrlDefault } from "../fit/gguf-hub.ts";
import type { KvCacheType } from "../fit/types.ts";

/** Where models may be and come from. */
export interface ModelPlaces {
  /** Hugging Face's cache, read only. */
  hubCacheDir: string;
  /** Folders of Ollama's models, read only: the user's own and the system service's. */
  ollamaDirs: string[];
  hubUrl: string;
  /** For models whose terms must be accepted first. */
  hubToken: string | undefined;
}

const cacheTypes = ["F32", "F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "IQ4_NL"] as const;
const mib = 1024 ** 2;

/** Left-out and empty are the same. */
const optional = <T extends z.ZodType>(schema: T) =>
  z.preprocess((value) => (value === "" ? undefined : value), schema.optional());
const integer = (min: number, max: number) =>
  z.coerce
    .number({ error: `must be a whole number from ${min} to ${max}` })
    .int(`must be a whole number from ${min} to ${max}`)
    .min(min, `must be at least ${min}`)
    .max(max, `must be at most ${max}`);
const memory = z.string().transform((text, context) => {
  const bytes = parseBytes(text, mib);
  if (bytes !== undefined && bytes < 2 ** 46) return bytes;
  context.addIssue({ code: "custom", message: "must be an amount of memory such as 500MiB, 6GiB, or a number of MiB" });
  return z.NEVER;
});
const cacheType = z
  .string()
  .toUpperCase()
  .pipe(z.enum(cacheTypes, { error: `must be one of ${cacheTypes.join(", ")}` }));
const onOff = z.enum(["on", "off"], { error: 'must be "on" or "off"' });

export const loadEnvironment = {
  SNUG_CONTEXT: optional(integer(256, 10_485_760)),
  SNUG_SLOTS: optional(integer(1, 256)),
  SNUG_BATCH: optional(integer(32, 65_536)),
  SNUG_GPU: optional(
    z.enum(["auto", "cuda", "vulkan", "metal", "off"], { error: "must be auto, cuda, vulkan, metal or off" }),
  ),
  SNUG_GPU_LAYERS: optional(integer(0, 10_000)),
  SNUG_HOST_EXPERT_LAYERS: optional(integer(0, 10_000)),
  SNUG_FLASH_ATTENTION: optional(onOff),
  SNUG_KV_TYPE: optional(cacheType),
  SNUG_KV_TYPE_V: optional(cacheType),
  SNUG_THREADS: optional(integer(1, 1024)),
  SNUG_CHECK_TENSORS: optional(onOff),
  SNUG_RESERVE: optional(memory),
  SNUG_VRAM_LIMIT: optional(memory),
  SNUG_RAM_LIMIT: optional(memory),
  SNUG_BACKEND: optional(
    z.enum(["auto", "node-llama-cpp", "llama-server"], { error: "must be auto, node-llama-cpp or llama-server" }),
  ),
  SNUG_LLAMA_SERVER: optional(z.string()),
  SNUG_KEEP_ALIVE: optional(
    z.coerce
      .number({ error: "must be a number of minutes" })
      .min(0, "must be at least 0")
      .max(100_000, "must be at most 100000"),
  ),
  SNUG_PIN: optional(z.string()),
  HF_ENDPOINT: optional(z.url({ protocol: /^https?$/, error: "must be an http:// or https:// address" })),
  HF_TOKEN: optional(z.string().regex(/^[\x21-\x7e]+$/, "must be printable characters without spaces")),
  HF_HOME: optional(z.string()),
  HF_HUB_CACHE: optional(z.string()),
  OLLAMA_MODELS: optional(z.string()),
};

const loadSchema = z.object(loadEnvironment);
type LoadEnvironment = z.infer<typeof loadSchema>;

/** What the administrator fixed; left out is the planner's. */
export function wishOf(values: LoadEnvironment): LoadWish {
  const kvCacheTypeK: KvCacheType | undefined = values.SNUG_KV_TYPE;
  const kvCacheTypeV: KvCacheType | undefined = values.SNUG_KV_TYPE_V ?? kvCacheTypeK;
  return defined({
    contextLength: values.SNUG_CONTEXT,
    sequenceCount: values.SNUG_SLOTS,
    batchSize: values.SNUG_BATCH,
    gpu: values.SNUG_GPU === "off" ? (false as const) : values.SNUG_GPU,
    gpuLayers: values.SNUG_GPU_LAYERS,
    hostExpertLayers: values.SNUG_HOST_EXPERT_LAYERS,
    flashAttention: isOn(values.SNUG_FLASH_ATTENTION),
    kvCacheTypeK,
    kvCacheTypeV,
    threadsMax: values.SNUG_THREADS,
    checkTensors: isOn(values.SNUG_CHECK_TENSORS),
    reserveBytes: values.SNUG_RESERVE,
    vramLimitBytes: values.SNUG_VRAM_LIMIT,
    ramLimitBytes: values.SNUG_RAM_LIMIT,
  });
}

/** What runs models. */
export interface BackendSettings {
  wanted: BackendWish;
  /** Path of a llama-server; undefined: the one on PATH, if any. */
  serverPath: string | undefined;
}

export function backendOf(values: LoadEnvironment): BackendSettings {
  const { SNUG_BACKEND: backend, SNUG_LLAMA_SERVER: serverPath } = values;
  // Who names a server wants it used.
  return { wanted: backend ?? (serverPath === undefined ? "auto" : "llama-server"), serverPath };
}

/** The names are those the tools themselves go by. */
export function placesOf(values: LoadEnvironment): ModelPlaces {
  const home = homedir();
  const hubHome = values.HF_HOME ?? join(home, ".cache", "huggingface");
  return {
    hubCacheDir: values.HF_HUB_CACHE ?? join(hubHome, "hub"),
    ollamaDirs:
      values.OLLAMA_MODELS === undefined
        ? [join(home, ".ollama", "models"), "/usr/share/ollama/.ollama/models"]
        : [values.OLLAMA_MODELS],
    hubUrl: (values.HF_ENDPOINT ?? hubUrlDefault).replace(/\/+$/, ""),
    hubToken: values.HF_TOKEN,
  };
}

function isOn(value: "on" | "off" | undefined): boolean | undefined {
  return value === undefined ? undefined : value === "on";
}

type Defined<T> = { [Key in keyof T]?: Exclude<T[Key], undefined> };

function defined<T extends object>(values: T): Defined<T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Defined<T>;
}
