/** The machine door in shapes: what a fit request and its reply look like as JSON. */
import * as z from "zod";
import { fitQueryCharsMax, modelNameCharsMax } from "../core/limits.ts";
import type { KvCacheType } from "./types.ts";

const cacheTypes = [
  "F32",
  "F16",
  "BF16",
  "Q8_0",
  "Q5_1",
  "Q5_0",
  "Q4_1",
  "Q4_0",
  "IQ4_NL",
] as const satisfies KvCacheType[];
const cacheTypesWritten = [
  ...cacheTypes,
  ...cacheTypes.map((type) => type.toLowerCase() as Lowercase<typeof type>),
] as const;

const bytes = z.number().nonnegative().describe("Bytes, as a plain number; not GiB or MB");
const count = z.int().positive();
const cacheType = z.enum(cacheTypesWritten);

/** Settings that are given instead of chosen. Those left out are the planner's to choose. */
export const fitsSettingsSchema = z.strictObject({
  contextLength: count.describe("Tokens per sequence").optional(),
  sequenceCount: count.describe("Conversations at a time").optional(),
  batchSize: count.optional(),
  microBatchSize: count.optional(),
  flashAttention: z.boolean().optional(),
  kvCacheTypeK: cacheType.optional(),
  kvCacheTypeV: cacheType.optional(),
  gpuLayers: z.int().nonnegative().describe("Layers in VRAM; the output layer counts as one").optional(),
  hostExpertLayers: z.int().nonnegative().describe("Layers whose experts stay in host memory").optional(),
  draftTokensMax: z.int().nonnegative().describe("Tokens drafted by the model's own prediction block").optional(),
  reserveBytes: bytes.describe("Bytes per GPU kept for other programs").optional(),
  vramBytesMax: bytes.describe("Most bytes to use per GPU").optional(),
  buildFamily: z
    .enum(["node-llama-cpp", "llama-server", "llama.cpp-2024"])
    .describe("Whose allocations to predict")
    .optional(),
});

export const fitsDeviceSchema = z.strictObject({
  name: z.string().max(200).describe("As people type it: fills bandwidth and speed").optional(),
  vramBytesTotal: bytes,
  vramBytesFree: bytes.describe("A reading taken now; left out: only the card is known").optional(),
  bandwidthBytesPerSecond: z.number().positive().optional(),
});

export const fitsHardwareSchema = z.strictObject({
  name: z.string().max(200).optional(),
  devices: z.array(fitsDeviceSchema).max(64),
  ramBytesTotal: bytes.optional(),
  ramBytesFree: bytes.optional(),
  ramBandwidthBytesPerSecond: z.number().positive().optional(),
  backend: z.enum(["cuda", "vulkan", "rocm", "metal", "cpu"]).optional(),
});

const parameterCount = z.number().positive().describe("Published number of parameters");

export const fitsModelSchema = z.union([
  z.string().min(1).max(modelNameCharsMax).describe("A name: Qwen3 8B, llama 3.1 70b, 13b"),
  z.strictObject({ gguf: z.string().min(1).max(modelNameCharsMax).describe("Path, URL or hf:owner/repo[:file]") }),
  z.strictObject({
    config: z.record(z.string(), z.unknown()).describe("A Hugging Face config.json"),
    parameterCount: parameterCount.optional(),
    fileBytes: bytes.optional(),
  }),
  z.strictObject({
    metadata: z.record(z.string(), z.unknown()).describe("GGUF metadata: general.architecture, <arch>.block_count …"),
    parameterCount: parameterCount.optional(),
    fileBytes: bytes.describe("Size of the model file").optional(),
  }),
]);

const id = z.union([z.string().max(200), z.number(), z.null()]).describe("Comes back with the reply");

/** "13b 6gb": the planner reads it as a person's question. */
export const fitsQueryRequestSchema = z.strictObject({
  id: id.optional(),
  query: z.string().min(1).max(fitQueryCharsMax),
});

export const fitsPlanRequestSchema = z.strictObject({
  id: id.optional(),
  model: fitsModelSchema,
  quantization: z.string().min(1).max(40).describe("Q4_K_M, UD-Q4_K_XL …").optional(),
  hardware: z.union([z.string().min(1).max(200).describe("3060 laptop, 2x3090, m4 pro 48gb"), fitsHardwareSchema]),
  settings: fitsSettingsSchema.optional(),
});

export const fitsRequestSchema = z
  .union([fitsQueryRequestSchema, fitsPlanRequestSchema])
  .meta({ title: "Fit request", description: "One line of `snug fits --batch`, or the body of POST /v1/fits" });

export type FitsPlanRequest = z.infer<typeof fitsPlanRequestSchema>;
export type FitsSettings = z.infer<typeof fitsSettingsSchema>;
export type FitsHardware = z.infer<typeof fitsHardwareSchema>;

const deviceReplySchema = z.object({
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

const settingsReplySchema = z.object({
  buildFamily: z.enum(["node-llama-cpp", "llama-server", "llama.cpp-2024"]),
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

const modelReplySchema = z.object({
  name: z.string(),
  quantization: z.string().optional(),
  parameterCount: z.number(),
  provenance: z.enum(["gguf", "config", "catalogue", "size"]),
});

const stepReplySchema = z.object({ setting: z.string(), from: z.string(), to: z.string(), savedBytes: z.number() });

const speedReplySchema = z.object({
  decodeTokensPerSecond: z.number(),
  decodeLow: z.number(),
  decodeHigh: z.number(),
  prefillTokensPerSecond: z.number(),
  timeToFirstTokenMs: z.number(),
  atPromptTokens: z.number(),
  bottleneck: z.string(),
});

const qualityReplySchema = z.object({
  perplexityIncreasePercent: z.number().optional(),
  klDivergence: z.number().optional(),
  source: z.string(),
});

export const fitsPlanSchema = z.object({
  kind: z.literal("plan"),
  model: modelReplySchema,
  fits: z.boolean(),
  probability: z.number().min(0).max(1).describe("That every device has room, given how well free memory is known"),
  offload: z.enum(["none", "partial", "full"]),
  settings: settingsReplySchema,
  devices: z
    .array(deviceReplySchema)
    .describe("GPUs first, then the host; the byte terms of a device sum to totalBytes"),
  steps: z.array(stepReplySchema).describe("What was given up to make it fit, in order"),
  assumptions: z.array(z.string()),
  speed: speedReplySchema.optional(),
  quality: qualityReplySchema.optional(),
});

export const fitsRefusalSchema = z.object({
  kind: z.literal("refusal"),
  model: modelReplySchema,
  reason: z.string(),
  shortfallBytes: z.number(),
  nearest: fitsPlanSchema.optional().describe("The plan that comes nearest and fits"),
  assumptions: z.array(z.string()),
});

export const fitsErrorSchema = z.object({
  code: z.string().describe("See docs/errors.md"),
  message: z.string(),
  param: z.string().nullable().describe("The field at fault"),
  details: z.record(z.string(), z.unknown()).optional(),
});

const replyId = z.union([z.string(), z.number(), z.null()]);

export const fitsReplySchema = z
  .union([
    z.object({ id: replyId, plan: fitsPlanSchema }),
    z.object({ id: replyId, refusal: fitsRefusalSchema }),
    z.object({ id: replyId, error: fitsErrorSchema }),
  ])
  .meta({ title: "Fit reply", description: "A plan, a refusal with the nearest plan that fits, or an error" });

export type FitsReply = z.infer<typeof fitsReplySchema>;
export type FitsPlanReply = z.infer<typeof fitsPlanSchema>;
export type FitsRefusalReply = z.infer<typeof fitsRefusalSchema>;

/** Both shapes as JSON Schema documents (draft 2020-12). */
export function fitsJsonSchema(): { request: object; reply: object } {
  return {
    request: z.toJSONSchema(fitsRequestSchema, { io: "input" }),
    reply: z.toJSONSchema(fitsReplySchema, { io: "output" }),
  };
}
