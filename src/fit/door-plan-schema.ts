/** Plans, refusals and errors as JSON. */
import * as z from "zod";
import { FORMAT_NAMES } from "./quantization-formats.ts";

/** A sentence or label in every language the product speaks. */
export const localizedSchema = z.object({ en: z.string(), zh: z.string() });

const deviceSchema = z.object({
  id: z.string(),
  kind: z.enum(["gpu", "host"]),
  name: z.string().optional(),
  layers: z.number(),
  weightBytes: z.number(),
  kvCacheBytes: z.number(),
  recurrentStateBytes: z.number(),
  computeBufferBytes: z.number(),
  outputBufferBytes: z.number(),
  runtimeBytes: z.number(),
  totalBytes: z.number(),
  freeBytesBefore: z.number(),
  freeBytesAfter: z.number(),
});

const buildFamily = z.enum(["node-llama-cpp", "llama-server", "llama.cpp-2024"]);
const cacheTypes = ["F32", "F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "IQ4_NL"] as const;

const settingsSchema = z.object({
  buildFamily,
  quantization: z.string().optional(),
  contextLength: z.number(),
  sequenceCount: z.number(),
  batchSize: z.number(),
  microBatchSize: z.number(),
  flashAttention: z.boolean(),
  kvCacheTypeK: z.enum(cacheTypes),
  kvCacheTypeV: z.enum(cacheTypes),
  gpuLayers: z.number(),
  hostExpertLayers: z.number(),
  gpuLayerSplit: z.array(z.number()).readonly(),
  draftTokensMax: z.number().optional(),
});

/** What a question fixes; the rest was the planner's to choose. */
export const wishSchema = z.object({
  contextLength: z.number().optional(),
  contextLengthMin: z.number().optional(),
  sequenceCount: z.number().optional(),
  sequenceCountMin: z.number().optional(),
  batchSize: z.number().optional(),
  microBatchSize: z.number().optional(),
  flashAttention: z.boolean().optional(),
  kvCacheTypeK: z.enum(cacheTypes).optional(),
  kvCacheTypeV: z.enum(cacheTypes).optional(),
  gpuLayers: z.number().optional(),
  hostExpertLayers: z.number().optional(),
  quantization: z.string().optional(),
  buildFamily: buildFamily.optional(),
  draftTokensMax: z.number().optional(),
  reserveBytes: z.number().optional(),
  vramBytesMax: z.number().optional(),
});

const modelSchema = z.object({
  name: z.string(),
  quantization: z.string().describe(`A GGUF mix, or one of ${FORMAT_NAMES.join(", ")}`),
  parameterCount: z.number(),
  provenance: z.enum(["gguf", "config", "catalogue", "size"]),
});

const stepSchema = z.object({ setting: z.string(), from: z.string(), to: z.string(), savedBytes: z.number() });

const speedSchema = z.object({
  decodeTokensPerSecond: z.number().describe("One user, one answer at a time"),
  decodeLow: z.number().describe("Nine of ten measurements lie between this and decodeHigh"),
  decodeHigh: z.number(),
  prefillTokensPerSecond: z.number(),
  timeToFirstTokenMs: z.number(),
  atPromptTokens: z.number().describe("The prompt length the rates hold for"),
  bottleneck: z.enum(["memory bandwidth", "compute", "CPU layers", "launch overhead"]),
  assumptions: z.array(z.string()).describe("What was assumed because the machine was not fully named"),
  answerTokensPerSecond: z
    .number()
    .describe("Transformers and vLLM: generated tokens over the whole time, prompt included")
    .optional(),
});

const qualitySchema = z.object({
  perplexityIncreasePercent: z.number().describe("Above the unquantized model's; left out where unmeasured").optional(),
  klDivergence: z.number().describe("Mean, from the unquantized model's next token, nats").optional(),
  source: z.string(),
});

const planFields = {
  kind: z.literal("plan"),
  framework: z
    .enum(["transformers", "vllm"])
    .describe("Where one of these runs the plan; the settings then hold context, sequences and layers only")
    .optional(),
  vectors: z.literal(true).describe("An embedding model: it reads only, so the decode figures say nothing").optional(),
  model: modelSchema,
  fits: z.boolean(),
  probability: z.number().min(0).max(1).describe("That every device has room, given how well free memory is known"),
  offload: z.enum(["none", "partial", "full"]),
  settings: settingsSchema,
  devices: z.array(deviceSchema).describe("GPUs first, then the host; the byte terms of a device sum to totalBytes"),
  steps: z.array(stepSchema).describe("What was given up to make it fit, in order"),
  assumptions: z.array(z.string()),
};

/** A plan as it stands inside other things; a refusal's nearest plan under GGUF may be without speed and quality. */
export const barePlanSchema = z.object({
  ...planFields,
  speed: speedSchema.optional(),
  quality: qualitySchema.optional(),
});

export const plannedSchema = z.object({ ...planFields, speed: speedSchema, quality: qualitySchema });

export const alternativeSchema = z.object({
  kind: z.enum(["quantization", "gguf", "model", "context", "experts", "memory", "machine"]),
  line: localizedSchema.describe("What it is and what it buys"),
  plan: plannedSchema.optional(),
  machine: z.string().describe("Where the plan is for another machine").optional(),
});

const alternatives = z
  .array(alternativeSchema)
  .describe("What stands near and does better, most useful first; none for a load described in full");

/** The plan of a reply. */
export const fitsPlanReplySchema = z.object({
  ...planFields,
  speed: speedSchema,
  quality: qualitySchema,
  alternatives,
});

const refusalFields = {
  kind: z.literal("refusal"),
  model: z.object({ ...modelSchema.shape, quantization: modelSchema.shape.quantization.optional() }),
  reason: z.string(),
  shortfallBytes: z.number(),
  assumptions: z.array(z.string()),
};

export const bareRefusalSchema = z.object({ ...refusalFields, nearest: barePlanSchema.optional() });

/** The refusal of a reply. */
export const fitsRefusalReplySchema = z.object({
  ...refusalFields,
  nearest: plannedSchema.optional().describe("The plan that comes nearest; its `fits` says whether it has room"),
  alternatives,
});

export const fitsErrorSchema = z.object({
  code: z.string().describe("See docs/errors.md"),
  message: z.string(),
  param: z.string().nullable().describe("The field at fault"),
  details: z.record(z.string(), z.unknown()).optional(),
});
