/** The machine door in shapes: what a fit request and its reply look like as JSON. */
import * as z from "zod";
import { fitQueryCharsMax, modelNameCharsMax } from "../core/limits.ts";
import { fitsAnswerSchema } from "./door-answer-schema.ts";
import { fitsErrorSchema, fitsPlanReplySchema, fitsRefusalReplySchema } from "./door-plan-schema.ts";
import {
  bandwidthField,
  bytesField,
  choiceField,
  countField,
  countOrZeroField,
  fileBytesField,
  gpuLayersField,
  parameterCountField,
  switchField,
  tokensField,
} from "./door-values.ts";
import type { Framework } from "./query-types.ts";
import type { Backend, BuildFamily, KvCacheType } from "./types.ts";

export { fitsErrorSchema } from "./door-plan-schema.ts";

const cacheType = choiceField<KvCacheType>(["F32", "F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "IQ4_NL"], {
  fp32: "F32",
  float32: "F32",
  fp16: "F16",
  float16: "F16",
  bfloat16: "BF16",
  q8: "Q8_0",
});

const buildFamily = choiceField<BuildFamily>(["node-llama-cpp", "llama-server", "llama.cpp-2024"], {
  snug: "node-llama-cpp",
  "llama.cpp": "llama-server",
  "llama-cli": "llama-server",
  "llama-cpp-python": "llama-server",
  ollama: "llama-server",
  lmstudio: "llama-server",
  koboldcpp: "llama-server",
});

/** Settings that are given instead of chosen. Those left out are the planner's to choose. */
export const fitsSettingsSchema = z.strictObject({
  contextLength: tokensField.describe("Tokens per sequence").optional(),
  contextLengthMin: tokensField.describe("Fewest tokens per sequence to go down to when memory is short").optional(),
  sequenceCount: countField.describe("Conversations at a time").optional(),
  batchSize: countField.optional(),
  microBatchSize: countField.optional(),
  flashAttention: switchField.optional(),
  kvCacheTypeK: cacheType.optional(),
  kvCacheTypeV: cacheType.optional(),
  gpuLayers: gpuLayersField.describe("Layers in VRAM; the output layer counts as one").optional(),
  hostExpertLayers: countOrZeroField.describe("Layers whose experts stay in host memory").optional(),
  draftTokensMax: countOrZeroField.describe("Tokens drafted by the model's own prediction block").optional(),
  reserveBytes: bytesField.describe("Bytes per GPU kept for other programs").optional(),
  vramBytesMax: bytesField.describe("Most bytes to use per GPU").optional(),
  buildFamily: buildFamily.describe("Whose allocations to predict").optional(),
  promptTokens: tokensField.describe("Length of the prompt that `speed` holds for; 512 when left out").optional(),
  generatedTokens: countField
    .describe("Transformers and vLLM: tokens of the context that are generated; 512 when left out")
    .optional(),
  frameworkVersion: choiceField(["2023", "2024", "current"], {})
    .describe("Transformers and vLLM: which generation of the library runs; current when left out")
    .optional(),
});

export const fitsDeviceSchema = z.strictObject({
  name: z.string().max(200).describe("As people type it: fills size, bandwidth and speed").optional(),
  vramBytesTotal: bytesField.describe("May be left out where the name says it").optional(),
  vramBytesFree: bytesField.describe("A reading taken now; left out: only the card is known").optional(),
  bandwidthBytesPerSecond: bandwidthField.optional(),
});

export const fitsHardwareSchema = z.strictObject({
  name: z.string().max(200).optional(),
  devices: z.array(fitsDeviceSchema).max(64),
  ramBytesTotal: bytesField.optional(),
  ramBytesFree: bytesField.optional(),
  ramBandwidthBytesPerSecond: bandwidthField.optional(),
  backend: choiceField<Backend>(["cuda", "vulkan", "rocm", "metal", "cpu"], {
    nvidia: "cuda",
    hip: "rocm",
    mps: "metal",
  }).optional(),
});

const parameterCount = parameterCountField.describe("Published number of parameters");

export const fitsModelSchema = z.union([
  z.string().min(1).max(modelNameCharsMax).describe("A name: Qwen3 8B, llama 3.1 70b, 13b"),
  z.strictObject({ gguf: z.string().min(1).max(modelNameCharsMax).describe("Path, URL or hf:owner/repo[:file]") }),
  z.strictObject({
    config: z.record(z.string(), z.unknown()).describe("A Hugging Face config.json"),
    name: z.string().max(200).optional(),
    parameterCount: parameterCount.optional(),
    fileBytes: fileBytesField.optional(),
  }),
  z.strictObject({
    metadata: z.record(z.string(), z.unknown()).describe("GGUF metadata: general.architecture, <arch>.block_count …"),
    name: z.string().max(200).optional(),
    parameterCount: parameterCount.optional(),
    fileBytes: fileBytesField.describe("Size of the model file").optional(),
  }),
]);

const framework = choiceField<Framework>(
  ["snug", "llama.cpp", "ollama", "lmstudio", "transformers", "vllm", "tensorrt-llm", "mlx"],
  {
    "node-llama-cpp": "snug",
    "llama-server": "llama.cpp",
    gguf: "llama.cpp",
    hf: "transformers",
    huggingface: "transformers",
    bitsandbytes: "transformers",
    trtllm: "tensorrt-llm",
    tensorrt: "tensorrt-llm",
    "mlx-lm": "mlx",
  },
);

const id = z.union([z.string().max(200), z.number(), z.null()]).describe("Comes back with the reply");

/** "13b 6gb": the planner reads it as a person's question. */
export const fitsQueryRequestSchema = z.strictObject({
  id: id.optional(),
  query: z.string().min(1).max(fitQueryCharsMax),
});

export const fitsPlanRequestSchema = z.strictObject({
  id: id.optional(),
  model: fitsModelSchema,
  quantization: z.string().min(1).max(40).describe("Q4_K_M, UD-Q4_K_XL; int8, nf4, gptq-int4, awq, fp8 …").optional(),
  framework: framework
    .describe("What runs the model; left out, the quantization says it, and GGUF in Snug's own engine is the default")
    .optional(),
  hardware: z.union([z.string().min(1).max(200).describe("3060 laptop, 2x3090, m4 pro 48gb"), fitsHardwareSchema]),
  settings: fitsSettingsSchema.optional(),
});

export const fitsRequestSchema = z
  .union([fitsQueryRequestSchema, fitsPlanRequestSchema])
  .meta({ title: "Fit request", description: "One line of `snug fits --batch`, or the body of POST /v1/fits" });

export type FitsPlanRequest = z.infer<typeof fitsPlanRequestSchema>;
export type FitsSettings = z.infer<typeof fitsSettingsSchema>;
export type FitsHardware = z.infer<typeof fitsHardwareSchema>;

const replyId = z.union([z.string(), z.number(), z.null()]);

export const fitsReplySchema = z
  .union([
    z.object({ id: replyId, plan: fitsPlanReplySchema }),
    z.object({ id: replyId, refusal: fitsRefusalReplySchema }),
    z.object({
      id: replyId,
      answer: fitsAnswerSchema.describe("For a question without a model, without a machine, or about a word"),
    }),
    z.object({ id: replyId, error: fitsErrorSchema }),
  ])
  .meta({
    title: "Fit reply",
    description:
      "A plan, a refusal with the nearest plan that fits, the answer to another kind of question, or an error",
  });

export type FitsReply = z.infer<typeof fitsReplySchema>;
export type FitsPlanReply = z.infer<typeof fitsPlanReplySchema>;
export type FitsRefusalReply = z.infer<typeof fitsRefusalReplySchema>;

/** All shapes as JSON Schema documents (draft 2020-12): `answer` is what `GET /v1/fits` gives. */
export function fitsJsonSchema(): { request: object; reply: object; answer: object } {
  return {
    request: z.toJSONSchema(fitsRequestSchema, { io: "input" }),
    reply: z.toJSONSchema(fitsReplySchema, { io: "output", reused: "ref" }),
    answer: z.toJSONSchema(fitsAnswerSchema, { io: "output", reused: "ref" }),
  };
}
