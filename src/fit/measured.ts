/**
 * Speeds somebody measured on a machine. Written by hand, a list of questions with what came out: each becomes a run with
 * the settings the planner would have chosen. Written by `snug bench`, runs with their work counted. Either takes the
 * place of the fitted constants (docs/speed.md).
 */
import * as z from "zod";
import { AppError } from "../core/errors.ts";
import { fitQueryCharsMax } from "../core/limits.ts";
import { pythonFrameworkOf } from "./answer-frameworks.ts";
import { wishOfFramework } from "./answer-plan.ts";
import { isBenchProfile, parseBenchProfile } from "./bench-profile.ts";
import { type DoorDependencies, modelOfReference } from "./door-model.ts";
import { findGpu } from "./gpus.ts";
import { planFit } from "./plan.ts";
import { type FitsQuery, parseQuery } from "./query.ts";
import { hardwareLabel } from "./query-echo.ts";
import { estimateSpeed, type MeasuredRun, type SpeedRun } from "./speed.ts";
import type { Hardware } from "./types.ts";

/** More tell nothing new. */
export const measuredRunsMax = 1000;
/** Depth of a short answer to a short prompt. */
const depthTokensDefault = 256;
/** Further from the prediction than this is a slip of the pen or another machine. */
const factorMax = 50;

const rate = z.number("must be a number").positive("must be above 0").max(1e7, "is no speed of a language model");
const tokens = z.number("must be a number").int("must be a whole number").max(1e8, "is no number of tokens");

const runSchema = z.strictObject({
  query: z
    .string("must be a question such as qwen3-8b q4_k_m")
    .min(1, "must be a question such as qwen3-8b q4_k_m")
    .max(fitQueryCharsMax, "is too long"),
  decodeTokensPerSecond: rate,
  depthTokens: tokens.nonnegative("must be 0 or more").optional(),
  prefillTokensPerSecond: rate.optional(),
  promptTokens: tokens.positive("must be above 0").optional(),
});

export type QuestionRow = z.infer<typeof runSchema>;

/** As written by hand, or a run as `snug bench` counted it with the GPUs it was counted on. */
export type MeasuredRow = QuestionRow | { run: SpeedRun; gpus: readonly string[] };

/**
 * The rows of a file: a JSON list, one object, one object per line, or the profile of `snug bench`.
 *
 * @throws AppError invalid_request; `param` is the row and field at fault
 */
export function parseMeasuredRows(text: string): MeasuredRow[] {
  const decoded = decode(text.replace(/^\uFEFF/, ""));
  if (isBenchProfile(decoded)) {
    const { machine, runs } = parseBenchProfile(decoded);
    return runs.map((run) => ({ run, gpus: machine.gpus }));
  }
  const rows = Array.isArray(decoded) ? decoded : [decoded];
  if (rows.length === 0) throw invalid("There are no measured runs in the file; see docs/fits-batch.md for the form.");
  if (rows.length > measuredRunsMax) throw invalid(`There are ${rows.length} runs; the limit is ${measuredRunsMax}.`);
  return rows.map(checkRow);
}

function decode(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    const lines = text.split("\n").filter((line) => line.trim() !== "");
    return lines.map((line, index) => {
      try {
        return JSON.parse(line);
      } catch {
        throw invalid(
          lines.length > 1 && index > 0
            ? `Line ${index + 1} of the measured runs is not JSON.`
            : "The measured runs are not JSON; write a list of objects with query and decodeTokensPerSecond.",
        );
      }
    });
  }
}

function checkRow(row: unknown, index: number): QuestionRow {
  const result = runSchema.safeParse(row);
  if (result.success) {
    const { prefillTokensPerSecond, promptTokens } = result.data;
    if (prefillTokensPerSecond !== undefined && promptTokens === undefined)
      throw wrongRow(index, "promptTokens", "must say how long the prompt was that prefillTokensPerSecond holds for");
    return result.data;
  }
  const issue = result.error.issues[0]!;
  if (issue.code === "unrecognized_keys") throw wrongRow(index, issue.keys[0]!.slice(0, 60), "is not known here");
  if (issue.path.length === 0) throw wrongRow(index, "query", "is missing: every run is an object");
  throw wrongRow(index, String(issue.path[0]), issue.message);
}

/**
 * Runs on `hardware`. A row's question may leave the machine out; one that names another machine is refused.
 *
 * @throws AppError invalid_request for rows that say nothing about this machine, and whatever reading a file throws
 */
export async function measuredRuns(
  rows: readonly MeasuredRow[],
  hardware: Hardware,
  dependencies: DoorDependencies,
): Promise<MeasuredRun[]> {
  const runs: MeasuredRun[] = [];
  for (const [index, row] of rows.entries()) {
    runs.push("run" in row ? benchRun(row, index, hardware) : await runOf(row, index, hardware, dependencies));
  }
  return runs;
}

async function runOf(
  row: QuestionRow,
  index: number,
  hardware: Hardware,
  dependencies: DoorDependencies,
): Promise<MeasuredRun> {
  const query = readQuery(row.query, index);
  const reference = query.model;
  if (reference === undefined) throw wrongRow(index, "query", "must name a model, such as qwen3-8b q4_k_m");
  if (pythonFrameworkOf(query.framework) !== undefined)
    throw wrongRow(index, "query", "must be about a GGUF model; speeds of Transformers and vLLM follow other rules");
  checkMachine(query, index, hardware);
  const wish = { ...wishOfFramework(query.framework), ...query.wish };
  const { model } = await modelOfReference(reference, { hardware, wish, dependencies });
  const plan = planFit(model, hardware, wish);
  if (plan.kind === "refusal") throw wrongRow(index, "query", `is about what cannot have run there: ${plan.reason}`);
  const { decodeTokensPerSecond, prefillTokensPerSecond, promptTokens } = row;
  const depthTokens = row.depthTokens ?? promptTokens ?? depthTokensDefault;
  const expected = estimateSpeed({ model, plan, hardware, depthTokens }).decodeTokensPerSecond;
  const factor = decodeTokensPerSecond / expected;
  if (factor > factorMax || factor < 1 / factorMax) {
    const about = Number(expected.toPrecision(2));
    throw wrongRow(index, "decodeTokensPerSecond", `is ${decodeTokensPerSecond}, where about ${about} is expected`);
  }
  return {
    model,
    settings: plan.settings,
    depthTokens,
    decodeTokensPerSecond,
    ...(prefillTokensPerSecond !== undefined && { prefillTokensPerSecond }),
    ...(promptTokens !== undefined && { promptTokens }),
  };
}

/** The work was counted for the GPUs it ran on: on others it lies elsewhere. */
function benchRun({ run, gpus }: Exclude<MeasuredRow, QuestionRow>, index: number, hardware: Hardware): SpeedRun {
  const asked = hardware.gpus.map(({ name }) => name);
  const alike =
    gpus.length === asked.length && asked.every((name, at) => name === undefined || sameCard(name, gpus[at]!));
  if (alike && run.work.gpus.length === gpus.length) return run;
  const there = gpus.length === 0 ? "a machine without a GPU" : gpus.join(" + ");
  throw wrongRow(index, "machine", `was ${there}, and the question is about ${hardwareLabel(hardware, "en")}`);
}

/** Drivers and data sheets write one card in several ways. */
function sameCard(asked: string, measured: string): boolean {
  const nameOf = (text: string) => findGpu(text)?.gpu.name ?? text;
  return nameOf(asked).toLowerCase() === nameOf(measured).toLowerCase();
}

function readQuery(text: string, index: number): FitsQuery {
  try {
    return parseQuery(text);
  } catch (error) {
    if (error instanceof AppError) throw wrongRow(index, "query", `cannot be read: ${error.message}`, error);
    throw error;
  }
}

function checkMachine(query: FitsQuery, index: number, asked: Hardware): void {
  const { hardware } = query;
  if (hardware === undefined) return;
  const alike =
    hardware.gpus.length === asked.gpus.length &&
    hardware.gpus.every(({ name }, at) => name === undefined || name === asked.gpus[at]!.name);
  if (alike) return;
  throw wrongRow(
    index,
    "query",
    `was measured on ${hardwareLabel(hardware, "en")}, and the question is about ${hardwareLabel(asked, "en")}`,
  );
}

function wrongRow(index: number, field: string, message: string, cause?: unknown): AppError {
  return new AppError("invalid_request", `Run ${index + 1}: ${field} ${message}.`.replace(/\.\.$/, "."), {
    param: `measured[${index}].${field}`,
    ...(cause !== undefined && { cause }),
  });
}

function invalid(message: string): AppError {
  return new AppError("invalid_request", message, { param: "measured" });
}
