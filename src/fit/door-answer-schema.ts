/** `FitsAnswer` as JSON: what `GET /v1/fits` and `snug fits --json` give for every kind of question. */
import * as z from "zod";
import type { FitsAnswer } from "./answer-types.ts";
import {
  alternativeSchema,
  bareRefusalSchema,
  localizedSchema,
  plannedSchema,
  wishSchema,
} from "./door-plan-schema.ts";

const backend = z.enum(["cuda", "vulkan", "rocm", "metal", "cpu"]);
const frameworkName = z.enum([
  "snug",
  "llama.cpp",
  "ollama",
  "lmstudio",
  "transformers",
  "vllm",
  "tensorrt-llm",
  "mlx",
]);
const purpose = z.enum(["chat", "code", "long", "fast"]);

const hardwareSchema = z.object({
  name: z.string().optional(),
  gpus: z
    .array(
      z.object({
        id: z.string(),
        name: z.string().optional(),
        vramBytesTotal: z.number(),
        vramBytesFree: z.number().optional(),
        bandwidthBytesPerSecond: z.number().optional(),
        fp16FlopsPerSecond: z.number().optional(),
        int8OpsPerSecond: z.number().optional(),
        generation: z.string().optional(),
        laptop: z.boolean().optional(),
      }),
    )
    .readonly(),
  backend,
  ramBytesTotal: z.number().optional(),
  ramBytesFree: z.number().optional(),
  ramBandwidthBytesPerSecond: z.number().optional(),
  unifiedMemory: z.boolean().optional(),
});

const modelReferenceSchema = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("catalogue"), name: z.string() }),
  z.object({ kind: z.literal("family"), name: z.string(), candidates: z.array(z.string()).readonly() }),
  z.object({
    kind: z.literal("size"),
    parameterCount: z.number(),
    activeParameterCount: z.number().optional(),
    name: z.string().optional(),
  }),
  z.object({
    kind: z.literal("gguf"),
    location: z.string(),
    catalogueName: z.string().optional(),
    quantization: z.string().optional(),
  }),
]);

const querySchema = z.object({
  kind: z.enum(["fit", "models", "hardware", "term"]),
  text: z.string().describe("As typed"),
  locale: z.enum(["en", "zh"]),
  model: modelReferenceSchema.optional(),
  hardware: hardwareSchema.optional(),
  wish: wishSchema.describe("Settings the question fixes"),
  framework: frameworkName.optional(),
  backend: backend.optional(),
  purpose: purpose.optional(),
  vision: z.literal(true).describe("Pictures are to be read too").optional(),
  decodeTokensPerSecondMin: z.number().optional(),
  promptTokens: z.number().optional(),
  terms: z.array(z.string()).readonly().optional(),
  echo: localizedSchema.describe("The question as understood"),
  notes: z.array(localizedSchema).readonly(),
});

const barSchema = z.object({
  id: z.string(),
  kind: z.enum(["gpu", "host"]),
  label: z.string(),
  layers: z.number(),
  usedBytes: z.number(),
  capacityBytes: z.number(),
  totalBytes: z.number(),
  parts: z.array(
    z.object({
      kind: z.enum(["weights", "kvCache", "state", "compute", "runtime", "others", "reserve", "free", "over"]),
      bytes: z.number(),
    }),
  ),
});

const recipeSchema = z.object({
  framework: frameworkName,
  title: z.string(),
  language: z.enum(["sh", "ini", "dockerfile", "python"]),
  text: z.string(),
  exact: z.boolean().describe("It loads the very format and settings of the plan"),
  notes: z.array(localizedSchema),
  source: z.string(),
});

export const fitsAnswerSchema = z
  .object({
    query: querySchema,
    verdict: z.object({
      code: z.enum(["full", "partial", "cpu", "none", "models", "machines", "term"]),
      line: localizedSchema,
      reason: localizedSchema,
    }),
    plan: plannedSchema.optional(),
    refusal: bareRefusalSchema.optional(),
    hardware: hardwareSchema.optional(),
    alternatives: z.array(alternativeSchema),
    models: z.array(z.object({ purpose, model: z.string(), plan: plannedSchema })),
    machines: z.array(
      z.object({
        label: z.string(),
        priceUsd: z.number().describe("US dollars, rough"),
        priceBasis: z.enum(["launch", "used"]),
        plan: plannedSchema,
      }),
    ),
    terms: z.array(z.object({ id: z.string(), title: localizedSchema, line: localizedSchema })),
    launch: z.array(recipeSchema).describe("Copy-paste settings, the asked-for software first"),
    memory: z.array(barSchema),
    speedByContext: z.array(
      z.object({ contextTokens: z.number(), tokensPerSecond: z.number(), low: z.number(), high: z.number() }),
    ),
    notes: z.array(localizedSchema),
    assumptions: z.array(z.string()),
  })
  .meta({ title: "Fit answer", description: "Whatever was asked: the verdict first, then what it rests on" });

type Shape = z.infer<typeof fitsAnswerSchema>;

/** A member that the answer has and the schema lacks, or the other way round, does not compile. */
type Same<Left, Right> = [keyof Left, Left, keyof Right] extends [keyof Right, Right, keyof Left] ? true : never;

export const fitsAnswerSchemaIsComplete: Same<FitsAnswer, Shape> & Same<FitsAnswer["query"], Shape["query"]> = true;
