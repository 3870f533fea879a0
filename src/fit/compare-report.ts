/** One model at several precisions, measured on one machine: what is asked, how it goes, and what came out. */
import * as z from "zod";
import { AppError, type ErrorFacts } from "../core/errors.ts";
import {
  compareContextsMax,
  comparePromptCharsMax,
  comparePromptsMax,
  compareQuantizationsMax,
  compareTokensMax,
  contextTokensMeasuredMax,
  modelNameCharsMax,
} from "../core/limits.ts";
import { canonicalQuantization } from "./quantization-names.ts";

const prompt = z.string("must be a text").trim().min(1, "must not be empty").max(comparePromptCharsMax, "is too long");
const quantization = z
  .string("must be a quantization such as q4_k_m")
  .trim()
  .regex(/^[A-Za-z0-9_-]{1,40}$/, "must be a quantization such as q4_k_m")
  .transform(canonicalQuantization);
const context = z
  .number("must be a number of tokens")
  .int("must be a whole number")
  .min(16, "must be at least 16 tokens")
  .max(contextTokensMeasuredMax, `must be at most ${contextTokensMeasuredMax} tokens`);

export const compareRequestSchema = z.strictObject(
  {
    model: z.string("must be a model's name").trim().min(1, "is missing").max(modelNameCharsMax, "is too long"),
    quantizations: z.array(quantization).min(1, "needs one at least").max(compareQuantizationsMax).optional(),
    prompts: z.array(prompt).max(comparePromptsMax).optional(),
    contexts: z.array(context).min(1, "needs one at least").max(compareContextsMax).optional(),
    maxTokens: z.number("must be a number").int().min(1).max(compareTokensMax).optional(),
    /** Perplexity and divergence; true unless said otherwise. */
    quality: z.boolean("must be true or false").optional(),
    /** Although others use the machine. */
    force: z.boolean("must be true or false").optional(),
  },
  "must be a JSON object",
);

export type CompareRequest = z.infer<typeof compareRequestSchema>;

/** @throws AppError invalid_request; `param` is the field at fault */
export function parseCompareRequest(body: unknown): CompareRequest {
  const parsed = compareRequestSchema.safeParse(body);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  if (issue.code === "unrecognized_keys") {
    const key = issue.keys[0]!.slice(0, 60);
    throw new AppError("invalid_request", `${key} is not known here.`, { param: key });
  }
  const param = issue.path.join(".") || "body";
  throw new AppError("invalid_request", `${param} ${issue.message.replace(/\.$/, "")}.`, { param });
}

export interface TextScore {
  tokens: number;
  /** e to the mean negative log-probability of the tokens. */
  perplexity: number;
}

export interface Divergence {
  mean: number;
  standardError: number;
  /** 99 of 100 tokens lie below. */
  percentile99: number;
  max: number;
  /** Share of the tokens whose most probable successor is the reference's. */
  sameTopShare: number;
}

export interface QualityScore extends TextScore {
  /** Of the perplexity, one standard error. */
  perplexityError: number;
  texts: ({ id: string } & TextScore)[];
  /** From the reference's distribution to this model's, nats; absent for the reference itself. */
  divergence?: Divergence;
}

interface Bytes {
  hostBytes: number;
  gpuBytes: number;
}

export interface VariantSpeed {
  /** Tokens in the cache before the measured answer. */
  contextTokens: number;
  prefillTokensPerSecond: number;
  decodeTokensPerSecond: number;
  /** The planner's, for the same settings. */
  predicted: { prefillTokensPerSecond: number; decodeTokensPerSecond: number };
}

export interface VariantAnswer {
  /** In `prompts`. */
  prompt: number;
  text: string;
  finishReason: string;
  promptTokens: number;
  completionTokens: number;
  timeToFirstTokenMs: number;
  /** Absent for answers too short to time. */
  decodeTokensPerSecond?: number;
}

/** Where the file came from. */
export type VariantOrigin = "disk" | "download" | "quantized here" | "llama-quantize";

export interface VariantResult {
  quantization: string;
  origin?: VariantOrigin;
  fileBytes?: number;
  bitsPerWeight?: number;
  /** Making or fetching the file, milliseconds. */
  prepareMs?: number;
  /** Why it could not be measured, or not to the end. */
  failure?: ErrorFacts;
  load?: { ms: number; threads: number; gpuLayers: number; contextLength: number; backend: string };
  memory?: {
    /** llama.cpp's buffers. */
    predicted: Bytes;
    measured?: Bytes;
    /** The whole process at its largest. */
    rssBytes?: number;
    /** What the driver says was taken of all GPUs together. */
    vramBytesTaken?: number;
  };
  speeds: VariantSpeed[];
  answers: VariantAnswer[];
  quality?: QualityScore;
}

export interface ComparisonReport {
  version: 1;
  model: { name: string; architecture: string; parameterCount: number; demo: boolean };
  machine: { cpu: string; gpus: string[]; backend: string; ramBytesTotal: number };
  /** Milliseconds since the epoch. */
  startedAt: number;
  durationMs: number;
  /** Loading, measuring, answering and scoring; the rest is `overheadMs` and the making of files. */
  measuredMs: number;
  overheadMs: number;
  prompts: string[];
  contexts: number[];
  maxTokens: number;
  /** What quality was measured on. */
  text?: { version: number; windowTokens: number };
  /** The highest precision that ran: divergence is from it. */
  reference?: string;
  /** Highest precision first. */
  variants: VariantResult[];
  /** Others used the machine meanwhile: times are too long. */
  disturbed: boolean;
}

export type CompareStep = "prepare" | "load" | "speed" | "answer" | "quality";

export interface CompareProgress {
  step: CompareStep;
  quantization: string;
  /** Of the whole job, 0 to 1. */
  share: number;
}

/** What a job tells: progress, then one of the others. */
export type CompareEvent =
  | ({ type: "progress" } & CompareProgress)
  | { type: "report"; report: ComparisonReport }
  | { type: "cancelled" }
  | { type: "error"; error: ErrorFacts };

export interface CompareJob {
  id: string;
  state: "running" | "done" | "cancelled" | "failed";
  model: string;
  /** Milliseconds since the epoch. */
  startedAt: number;
  progress?: CompareProgress;
  report?: ComparisonReport;
  error?: ErrorFacts;
}
