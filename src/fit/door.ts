/**
 * The machine door: a fit request as JSON in; a plan, a refusal, an answer or an error as JSON out. The same for a line of
 * `snug fits --batch` and the body of `POST /v1/fits`. Pure but for the injected reader of GGUF headers.
 */
import { AppError, toAppError } from "../core/errors.ts";
import { fitBodyBytesMax } from "../core/limits.ts";
import { answerQuery, type FitsAnswer } from "./answer.ts";
import { type AlternativesInput, alternativesFor } from "./answer-alternatives.ts";
import { planFramework, pythonFrameworkOf } from "./answer-frameworks.ts";
import { contextNote } from "./answer-model-notes.ts";
import {
  asVectors,
  buildFamilyOf,
  makesVectors,
  type PlannedFit,
  type PlanQuestion,
  planWithFigures,
  withFigures,
} from "./answer-plan.ts";
import { formatOf, formatOfConfig } from "./door-format.ts";
import { hardwareOf } from "./door-hardware.ts";
import { type DoorDependencies, modelOf, readQueryModel } from "./door-model.ts";
import { readFitsRequest } from "./door-request.ts";
import {
  type FitsPlanReply,
  type FitsPlanRequest,
  type FitsRefusalReply,
  type FitsReply,
  type FitsSettings,
  fitsSettingsSchema,
} from "./door-schema.ts";
import { learnedNote, taughtHardware } from "./learned.ts";
import { type FitsQuery, type Framework, parseQuery } from "./query.ts";
import type { FitPlan, FitRefusal, Hardware, ModelSpec, Wish } from "./types.ts";

export { type DoorDependencies, readQueryModel } from "./door-model.ts";
export type { LoadedGguf } from "./gguf-load.ts";

/** Answers one request, decoded from JSON and not checked yet. Never throws: what is wrong is the reply's `error`. */
export async function answerFitsRequest(body: unknown, dependencies: DoorDependencies): Promise<FitsReply> {
  try {
    return await answerFitsRequestOrThrow(body, dependencies);
  } catch (thrown) {
    return { id: idOf(body), error: errorOf(toAppError(thrown)) };
  }
}

/** The same for callers with a way of their own to say what is wrong. Throws AppError; `param` is the field at fault. */
export async function answerFitsRequestOrThrow(
  body: unknown,
  dependencies: DoorDependencies,
): Promise<Exclude<FitsReply, { error: unknown }>> {
  const id = idOf(body);
  const request = readFitsRequest(body);
  try {
    const answer =
      "query" in request
        ? await answerText(request.query, request.notes, dependencies)
        : await answerPlan(request.plan, request.notes, dependencies);
    return { id, ...answer };
  } catch (thrown) {
    throw underSettings(thrown);
  }
}

/** One line of JSON in, one line of JSON out; a blank line gives a blank line. */
export async function answerFitsLine(line: string, dependencies: DoorDependencies): Promise<string> {
  if (line.trim() === "") return "";
  if (line.length > fitBodyBytesMax) {
    return lineError(new AppError("payload_too_large", `The line has more than ${fitBodyBytesMax} characters.`));
  }
  let body: unknown;
  try {
    // A file's first line may begin with a byte order mark.
    body = JSON.parse(line.replace(/^\uFEFF/, ""));
  } catch {
    return lineError(
      new AppError(
        "invalid_request",
        "The line is not JSON. Write one JSON object per line; NaN and Infinity are no JSON numbers.",
      ),
    );
  }
  return JSON.stringify(await answerFitsRequest(body, dependencies));
}

function lineError(error: AppError): string {
  return JSON.stringify({ id: null, error: errorOf(error) } satisfies FitsReply);
}

type Answer = { plan: FitsPlanReply } | { refusal: FitsRefusalReply } | { answer: FitsAnswer };

/** A question as a person would write it. */
async function answerText(text: string, notes: readonly string[], dependencies: DoorDependencies): Promise<Answer> {
  const query = parseQuery(text);
  const model = await readQueryModel(query, dependencies);
  const machine = dependencies.machine?.();
  const answer = answerQuery(query, {
    ...(model !== undefined && { model }),
    ...(machine !== undefined && { machine }),
  });
  if (query.kind !== "fit") return { answer: { ...answer, assumptions: [...answer.assumptions, ...notes] } };
  const said = [...answer.notes.map(({ en }) => en), ...notes];
  const { plan, refusal, alternatives } = answer;
  if (plan !== undefined) return { plan: planReply(plan, alternatives, said) };
  return { refusal: refusalReply(refusal!, alternatives, said, (nearest) => nearest) };
}

/** A model and a machine, each given. */
async function answerPlan(
  request: FitsPlanRequest,
  notes: readonly string[],
  dependencies: DoorDependencies,
): Promise<Answer> {
  const format = formatOf(nameOfFormat(request), request.framework);
  const named = hardwareOf(request.hardware);
  const machine = dependencies.machine?.();
  const taught =
    machine?.learned.buildFamily === buildFamilyOf(format.framework) ? taughtHardware(named, machine) : undefined;
  const hardware = taught ?? named;
  const { promptTokens, generatedTokens, frameworkVersion, ...rest } = request.settings ?? {};
  const question: PlanQuestion = withoutUndefined({ promptTokens, generatedTokens, frameworkVersion });
  const wish = wishOf(rest, format.framework, format.quantization);
  const found = await modelOf(request.model, { hardware, wish, dependencies });
  const { model } = found;
  const framework = pythonFrameworkOf(format.framework);
  const answered =
    framework === undefined
      ? planWithFigures(model, hardware, wish, question)
      : planFramework(model, hardware, wish, framework, question);
  const planned = answered.kind === "plan" && makesVectors(model, found.row?.uses) ? asVectors(answered) : answered;
  const around: AlternativesInput = {
    query: questionOf(model, hardware, wish, format.framework, promptTokens),
    model,
    hardware,
    wish,
    question,
    planned,
    ...(found.row !== undefined && { row: found.row }),
  };
  // A load described in full is asked about as it is.
  const described = framework === undefined && wish.gpuLayers !== undefined && wish.contextLength !== undefined;
  const alternatives = described ? [] : alternativesFor(around);
  const learned = taught?.learned === undefined ? [] : [learnedNote(taught.learned).en];
  const length = planned.kind === "plan" ? contextNote(model, planned.settings.contextLength) : [];
  const said = [...found.notes, ...length.map(({ en }) => en), ...format.notes, ...notes, ...learned];
  return planned.kind === "plan"
    ? { plan: planReply(planned, alternatives, said) }
    : {
        refusal: refusalReply(planned, alternatives, said, (nearest) =>
          withFigures(nearest, model, hardware, question),
        ),
      };
}

/** The format asked for, or the one a config for Transformers and vLLM says its weights are in. */
function nameOfFormat({ quantization, framework, model }: FitsPlanRequest): string | undefined {
  if (quantization !== undefined || pythonFrameworkOf(framework) === undefined) return quantization;
  return typeof model === "object" && "config" in model ? formatOfConfig(model.config) : undefined;
}

/** MLX packs weights in 4 or 8 bits; the planner takes the GGUF mix of the same size for it. */
const mlxMixes: Readonly<Record<string, string>> = { "mlx-4bit": "Q4_K_M", "mlx-8bit": "Q8_0" };

function wishOf(
  settings: Omit<FitsSettings, "promptTokens" | "generatedTokens" | "frameworkVersion">,
  framework: Framework | undefined,
  quantization: string | undefined,
): Wish {
  return {
    buildFamily: buildFamilyOf(framework),
    ...withoutUndefined(settings),
    ...(quantization !== undefined && { quantization: mlxMixes[quantization] ?? quantization }),
  };
}

/** The request as a question, for those who look at questions. */
function questionOf(
  model: ModelSpec,
  hardware: Hardware,
  wish: Wish,
  framework: Framework | undefined,
  promptTokens: number | undefined,
): FitsQuery {
  return {
    kind: "fit",
    text: model.name,
    locale: "en",
    model: { kind: "size", parameterCount: model.parameterCount, name: model.name },
    hardware,
    wish,
    ...(framework !== undefined && { framework }),
    ...(promptTokens !== undefined && { promptTokens }),
    echo: { en: model.name, zh: model.name },
    notes: [],
  };
}

function withoutUndefined<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, one]) => one !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };
}

function planReply(
  plan: PlannedFit,
  alternatives: FitsAnswer["alternatives"],
  notes: readonly string[],
): FitsPlanReply {
  return { ...plannedReply(plan, notes), alternatives: alternatives.map(alternativeReply) };
}

/** All that was assumed stands in one place. */
function plannedReply(plan: PlannedFit, notes: readonly string[] = []) {
  return { ...plan, assumptions: [...new Set([...plan.assumptions, ...plan.speed.assumptions, ...notes])] };
}

function alternativeReply(alternative: FitsAnswer["alternatives"][number]) {
  return alternative.plan === undefined ? alternative : { ...alternative, plan: plannedReply(alternative.plan) };
}

function refusalReply(
  { nearest, ...refusal }: FitRefusal,
  alternatives: FitsAnswer["alternatives"],
  notes: readonly string[],
  figured: (nearest: FitPlan) => FitPlan,
): FitsRefusalReply {
  const planned = nearest === undefined || isPlanned(nearest) ? nearest : figured(nearest);
  return {
    ...refusal,
    shortfallBytes: Math.ceil(refusal.shortfallBytes),
    assumptions: [...new Set([...refusal.assumptions, ...notes])],
    ...(planned !== undefined && isPlanned(planned) && { nearest: plannedReply(planned) }),
    alternatives: alternatives.map(alternativeReply),
  };
}

function isPlanned(plan: object): plan is PlannedFit {
  return "speed" in plan && "quality" in plan;
}

/** The planner names a setting by itself; in a request it stands under `settings`. */
const settingNames: ReadonlySet<string> = new Set(Object.keys(fitsSettingsSchema.shape));

function underSettings(thrown: unknown): unknown {
  if (!(thrown instanceof AppError) || thrown.param === undefined || !settingNames.has(thrown.param)) return thrown;
  const { code, message, details, retryAfterMs } = thrown;
  return new AppError(code, message, {
    param: `settings.${thrown.param}`,
    cause: thrown,
    ...(details !== undefined && { details }),
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  });
}

function errorOf(error: AppError) {
  const { code, message, param = null, details } = error.toFacts();
  return { code, message, param, ...(details === undefined ? {} : { details }) };
}

function idOf(body: unknown): string | number | null {
  if (typeof body !== "object" || body === null || !("id" in body)) return null;
  const { id } = body;
  if (typeof id === "string") return id.slice(0, 200);
  return typeof id === "number" && Number.isFinite(id) ? id : null;
}
