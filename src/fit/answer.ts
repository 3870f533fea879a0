/**
 * `answerQuery`: a question read by `parseQuery` to the full answer as data. Pure: no I/O, no clock. A question about a
 * GGUF file is answered from its header when the caller has read it, else from the catalogue's model of that name.
 */
import { AppError } from "../core/errors.ts";
import { alternativesFor } from "./answer-alternatives.ts";
import { planFramework, pythonFrameworkOf } from "./answer-frameworks.ts";
import { contextNote, distillNote, viewFor } from "./answer-model-notes.ts";
import {
  asVectors,
  buildFamilyOf,
  makesVectors,
  type PlannedFit,
  type PlanQuestion,
  planWithFigures,
  wishOfFramework,
  withFigures,
} from "./answer-plan.ts";
import {
  fitVerdict,
  machinesVerdict,
  modelsVerdict,
  nearestLoad,
  refusalVerdict,
  wholePlan,
} from "./answer-sentences.ts";
import { textOnly } from "./answer-text-only.ts";
import type { FitsAnswer, TermEntry, Verdict } from "./answer-types.ts";
import { CATALOGUE_MODELS, type CatalogueModel, specFromCatalogue } from "./catalogue.ts";
import { estimateFrameworkSpeed } from "./framework-speed.ts";
import { launchRecipes, type ModelFiles } from "./launch.ts";
import { type KnownMachine, learnedNote, taughtHardware } from "./learned.ts";
import { specFromParameterCount } from "./model.ts";
import type { SpeedPoint } from "./picture.ts";
import { GLOSSARY } from "./query-terms.ts";
import type { FitsQuery, Localized, ModelReference } from "./query-types.ts";
import { recommendModels } from "./recommend.ts";
import { decodeSpeedDefault, recommendMachines } from "./recommend-hardware.ts";
import { type MemoryBar, memoryBars } from "./render-memory.ts";
import { estimateSpeed, type MeasuredRun, type SpeedEstimate } from "./speed.ts";
import type { FitPlan, FitRefusal, Hardware, ModelSpec, Wish } from "./types.ts";

export type { FitsAnswer } from "./answer-types.ts";

export interface AnswerOptions {
  /** The model of a `gguf` question, from its header. */
  model?: ModelSpec;
  /** Runs measured on this machine; they correct the speed. */
  measured?: readonly MeasuredRun[];
  /** The machine that answers; questions about it are answered with what it has learned. */
  machine?: KnownMachine;
}

/**
 * @throws AppError invalid_request for what the planner cannot plan (more GPUs than it covers, an unknown
 * quantization), model_not_found for a file whose header was not given and whose name says nothing.
 */
export function answerQuery(query: FitsQuery, options: AnswerOptions = {}): FitsAnswer {
  const { hardware } = query;
  const taught = hardware === undefined ? undefined : taughtQuestion(query, hardware, options.machine);
  if (taught === undefined) return answerPlainly(query, options);
  const answer = answerPlainly({ ...query, hardware: taught }, options);
  // What was learned stays here: the answer names the machine as the question did.
  return { ...answer, query, hardware: hardware!, notes: [...answer.notes, learnedNote(options.machine!.learned)] };
}

function taughtQuestion(query: FitsQuery, hardware: Hardware, machine: KnownMachine | undefined): Hardware | undefined {
  const usable = machine?.learned.buildFamily === buildFamilyOf(query.framework);
  return usable && pythonFrameworkOf(query.framework) === undefined ? taughtHardware(hardware, machine) : undefined;
}

function answerPlainly(query: FitsQuery, options: AnswerOptions): FitsAnswer {
  switch (query.kind) {
    case "term":
      return answerTerm(query);
    case "models":
      return answerModels(query, query.hardware!, options);
    case "hardware":
      return answerHardware(query, resolveModel(query, options));
    case "fit":
      return answerFit(query, resolveModel(query, options), query.hardware!, options);
  }
}

/** A model with what is known of its files. */
interface Resolved {
  model: ModelSpec;
  files: ModelFiles;
  row?: CatalogueModel;
  notes: Localized[];
}

function blank(query: FitsQuery, verdict: Verdict): FitsAnswer {
  return {
    query,
    verdict,
    ...(query.hardware !== undefined && { hardware: query.hardware }),
    alternatives: [],
    models: [],
    machines: [],
    terms: [],
    launch: [],
    memory: [],
    speedByContext: [],
    notes: [...query.notes],
    assumptions: [],
  };
}

function answerTerm(query: FitsQuery): FitsAnswer {
  const terms = (query.terms ?? []).flatMap((id): TermEntry[] => {
    const entry = GLOSSARY.find(({ names }) => names[0] === id);
    return entry === undefined ? [] : [{ id, title: entry.title, line: entry.line }];
  });
  const first = terms[0];
  if (first === undefined) throw new AppError("not_found", "The glossary has no such entry.", { param: "query" });
  const titles = (locale: keyof Localized): string => terms.map(({ title }) => title[locale]).join(" · ");
  const verdict: Verdict = { code: "term", line: { en: titles("en"), zh: titles("zh") }, reason: first.line };
  return { ...blank(query, verdict), terms };
}

function row(name: string): CatalogueModel {
  const found = CATALOGUE_MODELS.find((model) => model.name === name);
  if (found === undefined)
    throw new AppError("model_not_found", `The catalogue has no ${name.slice(0, 80)}.`, { param: "model" });
  return found;
}

function resolveModel(query: FitsQuery, options: AnswerOptions): Resolved {
  const found = findModel(query, options);
  const { model, notes } = viewFor(found.model, query.vision === true, found.row);
  return { ...found, model, notes: [...found.notes, ...notes, ...distillNote(found.row, query.text)] };
}

function findModel(query: FitsQuery, options: AnswerOptions): Resolved {
  const reference = query.model!;
  if (options.model !== undefined) return { model: options.model, files: filesOf(reference), notes: [] };
  switch (reference.kind) {
    case "catalogue":
      return fromRow(row(reference.name), []);
    case "family":
      return fromRow(...chooseMember(reference, query));
    case "size":
      return { model: sizedModel(reference), files: {}, notes: [] };
    case "gguf":
      return fromFileName(reference);
  }
}

/** Models of a bare size asked for lately; the planner keeps what it worked out with the object. */
const sizedModels = new Map<string, ModelSpec>();
const sizedModelsMax = 64;

function sizedModel({
  parameterCount,
  activeParameterCount,
  name,
}: Extract<ModelReference, { kind: "size" }>): ModelSpec {
  const key = `${parameterCount} ${activeParameterCount} ${name}`;
  let model = sizedModels.get(key);
  if (model === undefined) {
    const facts = {
      ...(name !== undefined && { name }),
      ...(activeParameterCount !== undefined && { activeParameterCount }),
    };
    model = specFromParameterCount(parameterCount, facts);
    if (sizedModels.size >= sizedModelsMax) sizedModels.clear();
    sizedModels.set(key, model);
  }
  return model;
}

function filesOf(reference: ModelReference): ModelFiles {
  return reference.kind === "gguf" ? { location: reference.location } : {};
}

function fromRow(model: CatalogueModel, notes: Localized[]): Resolved {
  const files: ModelFiles = {
    ...(model.ggufRepository !== undefined && { ggufRepository: model.ggufRepository }),
    ...(model.repository !== undefined && { repository: model.repository }),
  };
  return { model: specFromCatalogue(model), files, row: model, notes };
}

function fromFileName(reference: Extract<ModelReference, { kind: "gguf" }>): Resolved {
  if (reference.catalogueName === undefined) {
    throw new AppError(
      "model_not_found",
      `${reference.location.slice(0, 200)} was not read, and its name is not in the catalogue. Give its size, like "8b".`,
      { param: "model" },
    );
  }
  const resolved = fromRow(row(reference.catalogueName), [
    {
      en: `The file was not read; I planned ${reference.catalogueName} from the catalogue.`,
      zh: `没有读取文件；按目录中的 ${reference.catalogueName} 规划。`,
    },
  ]);
  return { ...resolved, files: { ...resolved.files, location: reference.location } };
}

/** Of a family without a size: the member that serves best on the machine; without one, the most usual size. */
function chooseMember(
  reference: Extract<ModelReference, { kind: "family" }>,
  query: FitsQuery,
): [CatalogueModel, Localized[]] {
  const chosen = query.hardware === undefined ? undefined : bestMember(reference.candidates, query.hardware, query);
  const member = row(chosen ?? usualMember(reference.candidates));
  const others = reference.candidates.filter((name) => name !== member.name).slice(0, 5);
  const note: Localized = {
    en: `${reference.name} comes in several sizes; I took ${member.name}. Also: ${others.join(", ")}.`,
    zh: `${reference.name} 有多个大小；选择了 ${member.name}。另有：${others.join("、")}。`,
  };
  return [member, others.length === 0 ? [] : [note]];
}

function bestMember(candidates: readonly string[], hardware: Hardware, query: FitsQuery): string | undefined {
  const purpose = query.purpose ?? "chat";
  return recommendModels(hardware, { candidates, purposes: [purpose], count: 1, wish: query.wish })[0]?.model;
}

function usualMember(candidates: readonly string[]): string {
  const away = (name: string): number => Math.abs(Math.log(row(name).parameterCount / 8e9));
  return candidates.reduce((best, name) => (away(name) < away(best) - 1e-9 ? name : best));
}

/** The wish with what the software asked for fixes. */
function fullWish(query: FitsQuery): Wish {
  const file = query.model?.kind === "gguf" ? query.model.quantization : undefined;
  const quantization = query.wish.quantization ?? file;
  return {
    ...wishOfFramework(query.framework),
    ...query.wish,
    ...(quantization !== undefined && { quantization }),
  };
}

/** A model read from a file keeps the file's own types. */
function wishFor(query: FitsQuery, model: ModelSpec): Wish {
  const wish = fullWish(query);
  if (model.provenance !== "gguf" || query.wish.quantization !== undefined) return wish;
  const { quantization: _fromName, ...rest } = wish;
  return rest;
}

/** MLX formats are planned as the GGUF mix of their size; the note says so. */
function ggufWish(wish: Wish): Wish {
  const counterpart: Record<string, string> = { "mlx-4bit": "Q4_K_M", "mlx-8bit": "Q8_0" };
  const mix = counterpart[wish.quantization ?? ""];
  return mix === undefined ? wish : { ...wish, quantization: mix };
}

function answerFit(query: FitsQuery, resolved: Resolved, hardware: Hardware, options: AnswerOptions): FitsAnswer {
  const { model } = resolved;
  const wish = wishFor(query, model);
  const question = {
    ...(query.promptTokens !== undefined && { promptTokens: query.promptTokens }),
    ...(options.measured !== undefined && { measured: options.measured }),
  };
  const framework = pythonFrameworkOf(query.framework);
  const answered =
    framework === undefined
      ? planWithFigures(model, hardware, ggufWish(wish), question)
      : planFramework(model, hardware, wish, framework, question);
  const planned = answered.kind === "plan" && makesVectors(model, resolved.row?.uses) ? asVectors(answered) : answered;
  const base = { query, model, hardware, wish, question, ...(resolved.row !== undefined && { row: resolved.row }) };
  const alternatives = alternativesFor({ ...base, planned });
  if (planned.kind === "refusal") return answerRefusal(base, planned, alternatives, resolved);
  const nearest = framework === undefined ? nearestLoad(planned, model, hardware, ggufWish(wish)) : undefined;
  const verdict = fitVerdict({ ...base, plan: planned, nearest });
  const part =
    nearest === undefined ? undefined : { ...nearest, ...(planned.vectors === true ? { vectors: true } : {}) };
  const launched = planned.fits ? planned : part;
  return {
    ...blank(query, verdict),
    plan: planned,
    alternatives,
    notes: [...query.notes, ...resolved.notes, ...contextNote(model, planned.settings.contextLength)],
    // Settings of what has no room would only fail: those of the part that has, or none.
    launch:
      launched === undefined
        ? []
        : launchRecipes({ plan: launched, model, hardware, files: resolved.files }, query.framework),
    memory: memoryBars(planned.devices, hardware, wish.reserveBytes),
    // What only reads, and what does not fit, has no speed of writing to draw.
    speedByContext:
      planned.vectors === true || !planned.fits ? [] : speedByContext(model, planned, hardware, options.measured),
    assumptions: assumptionsOf(planned),
  };
}

interface FitBase {
  query: FitsQuery;
  model: ModelSpec;
  hardware: Hardware;
  wish: Wish;
  question: PlanQuestion;
}

function answerRefusal(
  base: FitBase,
  refusal: FitRefusal,
  alternatives: FitsAnswer["alternatives"],
  resolved: Resolved,
): FitsAnswer {
  const { query, hardware, model, question } = base;
  const { nearest } = refusal;
  return {
    ...blank(query, refusalVerdict(hardware, refusal)),
    refusal: nearest === undefined ? refusal : { ...refusal, nearest: figured(nearest, model, hardware, question) },
    alternatives,
    notes: [...query.notes, ...resolved.notes],
    memory: refusalBars(base, refusal),
    assumptions: refusal.assumptions,
  };
}

/** Plans for Transformers and vLLM come with their figures. */
function figured(plan: FitPlan, model: ModelSpec, hardware: Hardware, question: PlanQuestion): FitPlan {
  return isFramework(plan) ? plan : withFigures(plan, model, hardware, question);
}

/** What it would take to hold all of it on the GPUs: the bar that shows by how much it is too large. */
function refusalBars({ model, hardware, wish }: FitBase, refusal: FitRefusal): MemoryBar[] {
  const { nearest } = refusal;
  if (nearest === undefined) return [];
  const whole =
    hardware.gpus.length === 0 || isFramework(nearest) ? undefined : wholePlan(model, hardware, wish, nearest);
  return memoryBars((whole ?? nearest).devices, hardware, wish.reserveBytes);
}

function isFramework(plan: FitPlan): boolean {
  return "framework" in plan;
}

/** The plan's own assumptions and those of its speed, each once. */
function assumptionsOf(plan: PlannedFit): string[] {
  return [...new Set([...plan.assumptions, ...plan.speed.assumptions])];
}

/** Depths of context the chart shows, as shares of the planned length. */
const CHART_SHARES = [0, 0.125, 0.25, 0.5, 0.75, 1];

function speedByContext(
  model: ModelSpec,
  plan: PlannedFit,
  hardware: Hardware,
  measured: readonly MeasuredRun[] | undefined,
): SpeedPoint[] {
  return CHART_SHARES.map((share) => {
    const contextTokens = Math.round(plan.settings.contextLength * share);
    const speed = speedAt(model, plan, hardware, contextTokens, measured);
    return {
      contextTokens,
      tokensPerSecond: speed.decodeTokensPerSecond,
      low: speed.decodeLow,
      high: speed.decodeHigh,
    };
  });
}

function speedAt(
  model: ModelSpec,
  plan: PlannedFit,
  hardware: Hardware,
  depthTokens: number,
  measured: readonly MeasuredRun[] | undefined,
): SpeedEstimate {
  const { framework } = plan;
  if (framework === undefined)
    return estimateSpeed({ model, plan, hardware, depthTokens, ...(measured !== undefined && { measured }) });
  const { quantization } = plan.model;
  return estimateFrameworkSpeed({ model, framework, quantization, hardware, promptTokens: Math.max(1, depthTokens) });
}

const visionNote: Localized = {
  en: "These read pictures; their vision part, usually 0.5 to 2 GiB, comes on top.",
  zh: "这些模型能看图；视觉部分通常 0.5 到 2 GiB，另算。",
};

function seeingModels(): string[] {
  return CATALOGUE_MODELS.filter(({ uses }) => uses.includes("vision")).map(({ name }) => name);
}

const ggufNote: Localized = {
  en: "Models are compared as GGUF; ask about one of them to plan it for that software.",
  zh: "模型按 GGUF 比较；针对某个模型提问可按该软件规划。",
};

function answerModels(query: FitsQuery, hardware: Hardware, options: AnswerOptions): FitsAnswer {
  const picks = recommendModels(hardware, {
    wish: query.wish,
    ...(query.vision === true && { candidates: seeingModels() }),
    ...(query.purpose === undefined ? { count: 2 } : { purposes: [query.purpose], count: 4 }),
    ...(query.decodeTokensPerSecondMin !== undefined && { decodeTokensPerSecondMin: query.decodeTokensPerSecondMin }),
    ...(options.measured !== undefined && { measured: options.measured }),
  });
  const models = picks.map(({ purpose, model, plan }) => ({ purpose, model, plan }));
  const answer = { ...blank(query, modelsVerdict(hardware, models, query)), models };
  if (pythonFrameworkOf(query.framework) !== undefined) answer.notes.push(ggufNote);
  if (query.vision === true) answer.notes.push(visionNote);
  const best = models[0];
  if (best === undefined) return answer;
  const chosen = row(best.model);
  const model = textOnly(specFromCatalogue(chosen));
  return {
    ...answer,
    launch: launchRecipes({ plan: best.plan, model, hardware, files: fromRow(chosen, []).files }, query.framework),
    memory: memoryBars(best.plan.devices, hardware, query.wish.reserveBytes),
    speedByContext: speedByContext(model, best.plan, hardware, options.measured),
    assumptions: assumptionsOf(best.plan),
  };
}

function answerHardware(query: FitsQuery, resolved: Resolved): FitsAnswer {
  const { model } = resolved;
  const wish = wishFor(query, model);
  const asked = query.decodeTokensPerSecondMin;
  const framework = pythonFrameworkOf(query.framework);
  const options = recommendMachines(model, {
    wish: framework === undefined ? ggufWish(wish) : { quantization: framework === "vllm" ? "awq" : "nf4", ...wish },
    ...(framework !== undefined && {
      plan: (spec: ModelSpec, machine: Hardware, own: Wish) => planFramework(spec, machine, own, framework),
    }),
    ...(asked !== undefined && { decodeTokensPerSecondMin: asked }),
    ...(query.promptTokens !== undefined && { promptTokens: query.promptTokens }),
  });
  const machines = options.map(({ label, priceUsd, priceBasis, plan }) => ({ label, priceUsd, priceBasis, plan }));
  const verdict = machinesVerdict(model, machines, asked ?? decodeSpeedDefault);
  const answer = {
    ...blank(query, verdict),
    machines,
    notes: [...query.notes, ...resolved.notes],
    assumptions: [...model.assumptions],
  };
  const best =
    options.find(({ plan }) => plan.speed.decodeTokensPerSecond >= (asked ?? decodeSpeedDefault)) ?? options[0];
  if (best === undefined) return answer;
  return {
    ...answer,
    hardware: best.hardware,
    launch: launchRecipes({ plan: best.plan, model, hardware: best.hardware, files: resolved.files }, query.framework),
    memory: memoryBars(best.plan.devices, best.hardware, wish.reserveBytes),
    speedByContext: speedByContext(model, best.plan, best.hardware, undefined),
    assumptions: assumptionsOf(best.plan),
  };
}
