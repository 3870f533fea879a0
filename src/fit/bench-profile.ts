/**
 * What `snug bench` measured, as a file: the planner reads it (`--measured`), and without names and paths anybody may
 * share it. Version 1.
 */
import * as z from "zod";
import { AppError } from "../core/errors.ts";
import { findGpu } from "./gpus.ts";
import type { SpeedRun } from "./speed.ts";
import { amount, speedRunOf, speedRunSchema } from "./speed-run-schema.ts";

const word = z.string().max(200);
const bytes = z.object({ hostBytes: amount, gpuBytes: amount });

const rowSchema = z.object({
  contextTokens: amount,
  /** Answers at once. */
  sequenceCount: z.number().int().positive(),
  /** All sequences together. */
  prefillTokensPerSecond: z.number().positive(),
  decodeTokensPerSecond: z.number().positive(),
  /** Of one sequence alone; the planner predicts no other. */
  predicted: z
    .object({ prefillTokensPerSecond: z.number().positive(), decodeTokensPerSecond: z.number().positive() })
    .optional(),
});

const profileSchema = z.object({
  snugBench: z.literal(1),
  /** Day of the measurement, UTC. */
  date: z.string().regex(/^\d{4}-\d\d-\d\d$/),
  machine: z.object({
    /** As the driver names them. */
    gpus: z.array(word).max(64),
    driver: word.optional(),
    cpu: word,
    cores: z.number().int().nonnegative(),
    backend: z.enum(["cpu", "cuda", "vulkan", "metal", "rocm"]),
    ramBytesTotal: amount,
    /** llama.cpp's build. */
    build: word,
  }),
  model: z.object({
    /** Left out of shared files unless the catalogue knows it. */
    name: word.optional(),
    architecture: word,
    parameterCount: amount,
    quantization: word.optional(),
    fileBytes: amount,
  }),
  load: z.object({ ms: amount, threads: amount, predicted: bytes, measured: bytes.optional() }),
  rows: z.array(rowSchema).max(1000),
  /** One sequence each, with the work of a token counted. */
  runs: z.array(speedRunSchema).max(1000),
});

export type BenchRow = z.infer<typeof rowSchema>;

export interface BenchProfile extends Omit<z.infer<typeof profileSchema>, "runs"> {
  runs: SpeedRun[];
}

/** Told apart from rows written by hand. */
export function isBenchProfile(value: unknown): boolean {
  return typeof value === "object" && value !== null && "snugBench" in value;
}

/** @throws AppError invalid_request; `param` is the field at fault */
export function parseBenchProfile(value: unknown): BenchProfile {
  const parsed = profileSchema.safeParse(value);
  if (parsed.success) return { ...parsed.data, runs: parsed.data.runs.map(speedRunOf) };
  const issue = parsed.error.issues[0]!;
  const param = issue.path.join(".") || "snugBench";
  throw new AppError(
    "invalid_request",
    `The bench profile's ${param} is not as snug bench writes it: ${issue.message}.`,
    {
      param: `measured.${param}`,
    },
  );
}

/**
 * The profile without what tells who measured: no model name that is not public, no exact amount of memory, no free-text
 * names of cards that are no product names, and no more than a day of time.
 *
 * @param isPublicModel whether a model's name is one the catalogue has
 */
export function anonymised(profile: BenchProfile, isPublicModel: (name: string) => boolean): BenchProfile {
  const { machine, model } = profile;
  const { name, ...facts } = model;
  return {
    ...profile,
    date: `${profile.date.slice(0, 7)}-01`,
    machine: {
      ...machine,
      gpus: machine.gpus.map((card) => findGpu(card)?.gpu.name ?? "another GPU"),
      cpu: productName(machine.cpu),
      ramBytesTotal: Math.round(machine.ramBytesTotal / 2 ** 32) * 2 ** 32,
    },
    model: { ...facts, ...(name !== undefined && isPublicModel(name) ? { name } : {}) },
    load: { ...profile.load, ms: Math.round(profile.load.ms) },
  };
}

/** Of what a processor calls itself the words that a product name has. */
function productName(cpu: string): string {
  const words = cpu.split(/\s+/).filter((word) => /^[\w()@.+-]{1,24}$/.test(word));
  return words.join(" ").slice(0, 80);
}

/** Predicted over measured less one, percent; undefined where nothing was predicted. */
export function predictionErrorPercent({ predicted, decodeTokensPerSecond }: BenchRow): number | undefined {
  return predicted === undefined ? undefined : (predicted.decodeTokensPerSecond / decodeTokensPerSecond - 1) * 100;
}
