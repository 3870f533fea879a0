/**
 * The answer to a question about fitting, as data: what `GET /v1/fits` returns, what the renderers read and what a
 * loader may act on. Plain JSON; bytes, tokens, milliseconds and dollars as numbers, sentences in every language.
 */
import type { PlannedFit } from "./answer-plan.ts";
import type { LaunchRecipe } from "./launch.ts";
import type { SpeedPoint } from "./picture.ts";
import type { FitsQuery, Localized, Purpose } from "./query-types.ts";
import type { MemoryBar } from "./render-memory.ts";
import type { FitRefusal, Hardware } from "./types.ts";

/**
 * `full`: all layers on GPUs. `partial`: some in main memory. `cpu`: none on a GPU. `none`: does not fit.
 * `models`, `machines`, `term`: the question was not whether something fits.
 */
export type VerdictCode = "full" | "partial" | "cpu" | "none" | "models" | "machines" | "term";

export interface Verdict {
  code: VerdictCode;
  /** The first line of every rendering. */
  line: Localized;
  /** The second: why, in numbers. */
  reason: Localized;
}

export type AlternativeKind = "quantization" | "gguf" | "model" | "context" | "experts" | "memory" | "machine";

/** Something near to what was asked that does better, or that fits where this does not. */
export interface Alternative {
  kind: AlternativeKind;
  /** What it is and what it buys, one line. */
  line: Localized;
  plan?: PlannedFit;
  /** Where the plan is for another machine than the one asked about. */
  machine?: string;
}

/** A model for a machine. */
export interface ModelPick {
  purpose: Purpose;
  model: string;
  plan: PlannedFit;
}

/** A machine for a model. */
export interface MachinePick {
  label: string;
  priceUsd: number;
  priceBasis: "launch" | "used";
  plan: PlannedFit;
}

export interface TermEntry {
  id: string;
  title: Localized;
  line: Localized;
}

export interface FitsAnswer {
  query: FitsQuery;
  verdict: Verdict;
  /** The plan that answers; for a refusal the nearest one is in `refusal.nearest`. */
  plan?: PlannedFit;
  refusal?: FitRefusal;
  hardware?: Hardware;
  alternatives: Alternative[];
  /** For a machine without a model: what to run on it, by purpose, best first. */
  models: ModelPick[];
  /** For a model without a machine: what runs it, cheapest first. */
  machines: MachinePick[];
  terms: TermEntry[];
  /** Copy-paste settings for the plan, the asked-for software first. */
  launch: LaunchRecipe[];
  /** Memory of each device, for bars. */
  memory: MemoryBar[];
  /** Generation speed at several depths of context. */
  speedByContext: SpeedPoint[];
  /** What was ambiguous in the question and how it was taken. */
  notes: Localized[];
  /** What was assumed to fill gaps, in plain English. */
  assumptions: string[];
}
