/** Runs as files keep them: what comes from a disk or from somebody else is checked before it is calculated with. */
import * as z from "zod";
import type { SpeedRun } from "./speed-measured.ts";
import type { RuntimeSettings } from "./types.ts";

/** Bytes, tokens and the like. */
export const amount = z.number().nonnegative();

const deviceWorkSchema = z.object({
  layers: amount,
  moeLayers: amount,
  recurrentLayers: amount,
  mlaLayers: amount,
  extraNorms: amount,
  denseBytes: amount,
  expertBytes: amount,
  kvBytes: amount,
  residentBytes: amount,
  activeParameters: amount,
  expertParameters: amount,
  expertShare: amount,
  attentionWidth: amount,
  slidingWidth: amount,
});

const cacheType = z.enum(["F32", "F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "IQ4_NL"]);

/** `RuntimeSettings`. */
export const runSettingsSchema = z.object({
  buildFamily: z.enum(["node-llama-cpp", "llama-server", "llama.cpp-2024"]),
  quantization: z.string().optional(),
  contextLength: amount,
  sequenceCount: amount,
  batchSize: amount,
  microBatchSize: amount,
  flashAttention: z.boolean(),
  kvCacheTypeK: cacheType,
  kvCacheTypeV: cacheType,
  gpuLayers: amount,
  hostExpertLayers: amount,
  gpuLayerSplit: z.array(amount),
  draftTokensMax: amount.optional(),
});

/** `TokenWork`. */
export const tokenWorkSchema = z.object({
  gpus: z.array(deviceWorkSchema).max(64),
  host: deviceWorkSchema,
  crossings: amount,
  slidingWindow: amount,
});

/** One measured run; at most ten million tokens a second, which no machine reaches. */
export const speedRunSchema = z.object({
  settings: runSettingsSchema,
  work: tokenWorkSchema,
  depthTokens: amount.max(1e9),
  decodeTokensPerSecond: z.number().positive().max(1e7),
  prefillTokensPerSecond: z.number().positive().max(1e7).optional(),
  promptTokens: amount.positive().max(1e9).optional(),
  cpuCores: amount.positive().max(1e4).optional(),
});

/** The same without members that are undefined. */
export function settingsOfRun(settings: z.infer<typeof runSettingsSchema>): RuntimeSettings {
  const { quantization, draftTokensMax, ...required } = settings;
  return {
    ...required,
    ...(quantization === undefined ? {} : { quantization }),
    ...(draftTokensMax === undefined ? {} : { draftTokensMax }),
  };
}

export function speedRunOf(parsed: z.infer<typeof speedRunSchema>): SpeedRun {
  const { settings, work, depthTokens, decodeTokensPerSecond, prefillTokensPerSecond, promptTokens, cpuCores } = parsed;
  return {
    settings: settingsOfRun(settings),
    work,
    depthTokens,
    decodeTokensPerSecond,
    ...(prefillTokensPerSecond === undefined ? {} : { prefillTokensPerSecond }),
    ...(promptTokens === undefined ? {} : { promptTokens }),
    ...(cpuCores === undefined ? {} : { cpuCores }),
  };
}
