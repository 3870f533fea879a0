/** How fast answers were, kept in the data folder: what the planner predicts the next model, depth and mix from. */
import * as z from "zod";
import { speedRecordsMax, speedSamplesMax } from "../core/limits.ts";
import type { Logger } from "../core/ports.ts";
import { type LearnedRun, median } from "../fit/learned.ts";
import { amount, runSettingsSchema, settingsOfRun, tokenWorkSchema } from "../fit/speed-run-schema.ts";
import { RecordFile } from "./record-file.ts";

const rates = z.array(z.number().positive()).max(speedSamplesMax);

const recordSchema = z.object({
  /** Milliseconds since the epoch, of the last sample. */
  at: z.number(),
  /** `deviceKey`. */
  device: z.string(),
  build: z.string(),
  architecture: z.string(),
  model: z.string(),
  settings: runSettingsSchema,
  /** Of the last sample. */
  depthTokens: amount,
  work: tokenWorkSchema,
  /** The last few answers alike: tokens per second, oldest first. */
  decodeTokensPerSecond: rates.min(1),
  /** Left out by builds that did not keep it. */
  cpuCores: amount.positive().optional(),
  prefill: z.object({ promptTokens: amount.positive(), tokensPerSecond: rates.min(1) }).optional(),
});

export type SpeedRecord = z.infer<typeof recordSchema>;

/** One answer, alone on the machine from its first token to its last. */
export interface SpeedSample extends Omit<SpeedRecord, "decodeTokensPerSecond" | "prefill"> {
  decodeTokensPerSecond: number;
  prefill?: { promptTokens: number; tokensPerSecond: number };
}

export class SpeedRecords {
  readonly #file: RecordFile<typeof recordSchema>;

  private constructor(file: RecordFile<typeof recordSchema>) {
    this.#file = file;
  }

  /** A missing file is an empty one; a damaged one is begun anew with a warning. Never rejects. */
  static async open(path: string, logger: Logger): Promise<SpeedRecords> {
    return new SpeedRecords(await RecordFile.open({ path, schema: recordSchema, recordsMax: speedRecordsMax, logger }));
  }

  /** The longest untouched first. */
  get all(): readonly SpeedRecord[] {
    return this.#file.all;
  }

  /** Joins the samples of answers alike, so that one that was disturbed is outvoted and none crowds out the others. */
  add(sample: SpeedSample): void {
    const key = keyOf(sample);
    this.#file.update((records) => {
      const known = records.find((record) => keyOf(record) === key);
      return [...records.filter((record) => record !== known), joined(known, sample)];
    });
  }

  /** Resolves when all is written. */
  async settled(): Promise<void> {
    await this.#file.settled();
  }
}

function joined(
  known: SpeedRecord | undefined,
  { decodeTokensPerSecond, prefill, ...sample }: SpeedSample,
): SpeedRecord {
  const before = known?.prefill;
  const record: SpeedRecord = {
    ...sample,
    decodeTokensPerSecond: withRate(known?.decodeTokensPerSecond, decodeTokensPerSecond),
    ...(before === undefined ? {} : { prefill: before }),
  };
  if (prefill === undefined) return record;
  const { promptTokens, tokensPerSecond } = prefill;
  // Prompts of other lengths are read at other rates.
  const alike =
    before !== undefined && before.promptTokens < 2 * promptTokens && promptTokens < 2 * before.promptTokens;
  const rates = withRate(alike ? before.tokensPerSecond : undefined, tokensPerSecond);
  return { ...record, prefill: { promptTokens, tokensPerSecond: rates } };
}

function withRate(rates: readonly number[] | undefined, rate: number): number[] {
  return [...(rates ?? []), rate].slice(-speedSamplesMax);
}

/** Answers alike: same machine, build, model and settings, and a depth of the same power of two. */
function keyOf({
  device,
  build,
  architecture,
  model,
  settings,
  depthTokens,
}: Omit<SpeedSample, "decodeTokensPerSecond" | "prefill">): string {
  const { quantization, gpuLayers, hostExpertLayers, flashAttention, kvCacheTypeK, kvCacheTypeV } = settings;
  const depth = Math.floor(Math.log2(Math.max(1, depthTokens)));
  const placed = [gpuLayers, hostExpertLayers, flashAttention, kvCacheTypeK, kvCacheTypeV];
  return JSON.stringify([device, build, architecture, model, quantization, ...placed, depth]);
}

/** A record as the planner learns from it: the median of its samples. */
export function learnedRun(record: SpeedRecord): LearnedRun {
  const { architecture, settings, work, depthTokens, prefill, cpuCores } = record;
  return {
    architecture,
    settings: settingsOfRun(settings),
    work,
    depthTokens,
    decodeTokensPerSecond: median(record.decodeTokensPerSecond),
    ...(cpuCores === undefined ? {} : { cpuCores }),
    ...(prefill === undefined
      ? {}
      : { prefillTokensPerSecond: median(prefill.tokensPerSecond), promptTokens: prefill.promptTokens }),
  };
}
