/**
 * The machine door: a fit request as JSON in, a plan, a refusal or an error as JSON out. The same for a line of
 * `snug fits --batch` and the body of `POST /v1/fits`. Pure but for the injected reader of GGUF headers.
 */
import type * as z from "zod";
import { AppError, toAppError } from "../core/errors.ts";
import { fitBodyBytesMax } from "../core/limits.ts";
import { findCatalogueModel, specFromCatalogue, suggestModels } from "./catalogue.ts";
import { hardwareOf } from "./door-hardware.ts";
import {
  type FitsPlanReply,
  type FitsPlanRequest,
  type FitsReply,
  type FitsSettings,
  fitsPlanRequestSchema,
  fitsQueryRequestSchema,
  fitsSettingsSchema,
} from "./door-schema.ts";
import type { LoadedGguf } from "./gguf-load.ts";
import { specFromConfig, specFromGguf, specFromMetadata, specFromParameterCount } from "./model.ts";
import { planFit } from "./plan.ts";
import { estimateQuality } from "./quality.ts";
import { findQuantization } from "./quantization-list.ts";
import { type FitsQuery, type ModelReference, parseQuery } from "./query.ts";
import { estimateSpeed } from "./speed.ts";
import type { FitPlan, FitRefusal, Hardware, KvCacheType, ModelSpec, Wish } from "./types.ts";

export type { LoadedGguf } from "./gguf-load.ts";

export interface DoorDependencies {
  /** Reads the header behind a path, a URL or an `hf:` reference; throws AppError for what it will not or cannot read. */
  loadGguf(location: string): Promise<LoadedGguf>;
}

/** Answers one request, decoded from JSON and not checked yet. Never throws: what is wrong is the reply's `error`. */
export async function answerFitsRequest(body: unknown, dependencies: DoorDependencies): Promise<FitsReply> {
  const id = idOf(body);
  try {
    if (typeof body !== "object" || body === null || Array.isArray(body)) throw invalid("A request is a JSON object.");
    const answer = "query" in body ? await answerQuery(body, dependencies) : await answerPlan(body, dependencies);
    return answer.kind === "plan" ? { id, plan: answer } : { id, refusal: answer };
  } catch (thrown) {
    return { id, error: errorOf(toAppError(thrown)) };
  }
}

/** One line of JSON in, one line of JSON out; a blank line gives a blank line. */
export async function answerFitsLine(line: string, dependencies: DoorDependencies): Promise<string> {
  if (line.trim() === "") return "";
  if (line.length > fitBodyBytesMax) {
    const error = new AppError(
      "payload_too_large",
      `The line has ${line.length} characters; the limit is ${fitBodyBytesMax}.`,
    );
    return JSON.stringify({ id: null, error: errorOf(error) } satisfies FitsReply);
  }
  let body: unknown;
  try {
    body = JSON.parse(line);
  } catch {
    const error = invalid(
      "The line is not JSON. Write one JSON object per line; NaN and Infinity are no JSON numbers.",
    );
    return JSON.stringify({ id: null, error: errorOf(error) } satisfies FitsReply);
  }
  return JSON.stringify(await answerFitsRequest(body, dependencies));
}

type Answer = FitsPlanReply | (Omit<FitRefusal, "nearest"> & { nearest?: FitsPlanReply });

async function answerPlan(body: object, dependencies: DoorDependencies): Promise<Answer> {
  const request = parse(fitsPlanRequestSchema, body);
  const hardware = hardwareOf(request.hardware);
  const wish = wishOf(request.settings ?? {});
  const quantization = quantizationOf(request.quantization);
  if (quantization !== undefined) wish.quantization = quantization;
  const model = await modelOf(request.model, hardware, wish, dependencies);
  return enrich(planFit(model, hardware, wish), model, hardware);
}

async function answerQuery(body: object, dependencies: DoorDependencies): Promise<Answer> {
  const { query: text } = parse(fitsQueryRequestSchema, body);
  const query = parseQuery(text);
  if (query.kind !== "fit" || query.model === undefined || query.hardware === undefined) {
    throw invalid(
      `A plan needs a model and a machine, and ${JSON.stringify(text)} lacks ${missingOf(query)}.`,
      "query",
    );
  }
  const { hardware, wish, promptTokens } = query;
  const model = await specOf(query.model, hardware, wish, dependencies);
  return enrich(planFit(model, hardware, wish), model, hardware, promptTokens);
}

function missingOf({ model, hardware }: FitsQuery): string {
  if (model === undefined && hardware === undefined) return "both";
  return model === undefined ? "the model" : "the machine";
}

async function modelOf(
  model: FitsPlanRequest["model"],
  hardware: Hardware,
  wish: Wish,
  dependencies: DoorDependencies,
): Promise<ModelSpec> {
  if (typeof model === "string") return await namedModel(model, hardware, wish, dependencies);
  if ("gguf" in model) return await ggufModel(model.gguf, dependencies);
  const { parameterCount, fileBytes } = model;
  const options = {
    ...(parameterCount === undefined ? {} : { parameterCount }),
    ...(fileBytes === undefined ? {} : { fileBytes }),
  };
  return "config" in model ? specFromConfig(model.config, options) : specFromMetadata(model.metadata, options);
}

async function namedModel(
  name: string,
  hardware: Hardware,
  wish: Wish,
  dependencies: DoorDependencies,
): Promise<ModelSpec> {
  const found = findCatalogueModel(name);
  if (found !== undefined) return specFromCatalogue(found.model);
  const reference = referenceIn(name);
  if (reference !== undefined) return await specOf(reference, hardware, wish, dependencies);
  const near = suggestModels(name, 3).map((model) => model.name);
  const hint = near.length === 0 ? "Give its config or its GGUF metadata." : `Did you mean ${near.join(", or ")}?`;
  throw new AppError("model_not_found", `${JSON.stringify(name)} is no model Snug knows. ${hint}`, {
    param: "model",
    ...(near.length === 0 ? {} : { details: { suggestions: near } }),
  });
}

/** "13b" and "hf:owner/repo" in the place of a name. */
function referenceIn(text: string): ModelReference | undefined {
  try {
    return parseQuery(text).model;
  } catch (error) {
    if (error instanceof AppError) return undefined;
    throw error;
  }
}

async function specOf(
  reference: ModelReference,
  hardware: Hardware,
  wish: Wish,
  dependencies: DoorDependencies,
): Promise<ModelSpec> {
  switch (reference.kind) {
    case "catalogue":
      return specFromCatalogue(catalogueRow(reference.name));
    case "family":
      return pickFromFamily(reference.candidates, hardware, wish);
    case "gguf":
      return await ggufModel(reference.location, dependencies);
    case "size": {
      const { parameterCount, activeParameterCount, name } = reference;
      return specFromParameterCount(parameterCount, {
        ...(name === undefined ? {} : { name }),
        ...(activeParameterCount === undefined ? {} : { activeParameterCount }),
      });
    }
  }
}

function catalogueRow(name: string) {
  const found = findCatalogueModel(name);
  if (found === undefined)
    throw new AppError("model_not_found", `${JSON.stringify(name)} is not in the catalogue.`, { param: "model" });
  return found.model;
}

/** The largest of a family that runs on the GPUs alone, else the smallest there is. */
function pickFromFamily(candidates: readonly string[], hardware: Hardware, wish: Wish): ModelSpec {
  const specs = candidates.map((name) => specFromCatalogue(catalogueRow(name)));
  specs.sort((a, b) => b.parameterCount - a.parameterCount);
  const best = specs.find((spec) => {
    const answer = planFit(spec, hardware, wish);
    return answer.kind === "plan" && answer.fits && answer.offload === "full";
  });
  return best ?? specs[specs.length - 1]!;
}

async function ggufModel(location: string, { loadGguf }: DoorDependencies): Promise<ModelSpec> {
  const { header, name, quantization, projectorBytes } = await loadGguf(location);
  const spec = specFromGguf(header, name === undefined ? {} : { name });
  if (quantization !== undefined) spec.quantization = quantization;
  if (projectorBytes !== undefined) spec.projectorBytes = projectorBytes;
  return spec;
}

function quantizationOf(name: string | undefined): string | undefined {
  if (name === undefined) return undefined;
  const known = findQuantization(name);
  if (known === undefined)
    throw invalid(`${JSON.stringify(name)} is no quantization Snug knows. Try Q4_K_M.`, "quantization");
  return known.name;
}

function wishOf({ kvCacheTypeK, kvCacheTypeV, ...rest }: FitsSettings): Wish {
  const wish: Wish = { ...withoutUndefined(rest) };
  if (kvCacheTypeK !== undefined) wish.kvCacheTypeK = kvCacheTypeK.toUpperCase() as KvCacheType;
  if (kvCacheTypeV !== undefined) wish.kvCacheTypeV = kvCacheTypeV.toUpperCase() as KvCacheType;
  return wish;
}

function withoutUndefined<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, one]) => one !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };
}

/** Adds what the plan costs in speed and quality. */
function enrich(answer: FitPlan | FitRefusal, model: ModelSpec, hardware: Hardware, promptTokens?: number): Answer {
  if (answer.kind === "plan") return enrichPlan(answer, model, hardware, promptTokens);
  const { nearest, ...rest } = answer;
  const refusal = { ...rest, shortfallBytes: Math.ceil(rest.shortfallBytes) };
  return nearest === undefined ? refusal : { ...refusal, nearest: enrichPlan(nearest, model, hardware, promptTokens) };
}

function enrichPlan(plan: FitPlan, model: ModelSpec, hardware: Hardware, promptTokens?: number): FitsPlanReply {
  const question = { model, plan, hardware, ...(promptTokens === undefined ? {} : { promptTokens }) };
  const { assumptions, ...speed } = estimateSpeed(question);
  const quality = estimateQuality(model, plan.model.quantization);
  return { ...plan, assumptions: [...plan.assumptions, ...assumptions], speed, quality };
}

/** The planner names a setting by itself; in a request it stands under `settings`. */
const settingNames: ReadonlySet<string> = new Set(Object.keys(fitsSettingsSchema.shape));

function errorOf(error: AppError) {
  const { code, message, param = null, details } = error.toFacts();
  const field = param !== null && settingNames.has(param) ? `settings.${param}` : param;
  return { code, message, param: field, ...(details === undefined ? {} : { details }) };
}

function idOf(body: unknown): string | number | null {
  if (typeof body !== "object" || body === null || !("id" in body)) return null;
  const { id } = body;
  if (typeof id === "string") return id.slice(0, 200);
  return typeof id === "number" ? id : null;
}

function invalid(message: string, param?: string): AppError {
  return new AppError("invalid_request", message, param === undefined ? {} : { param });
}

/** Checks a body; the first thing wrong becomes an AppError that names the field. */
function parse<T>(schema: z.ZodType<T>, body: object): T {
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const { path, message } = deepest(result.error.issues);
  const param = pathText(path);
  throw invalid(
    param === "" ? `The request is wrong: ${message}.` : `${param} is wrong: ${message}.`,
    param === "" ? undefined : param,
  );
}

type Issue = z.core.$ZodIssue;

/** Of alternatives the one that went furthest is the one that was meant. */
function deepest(issues: readonly Issue[]): { path: PropertyKey[]; message: string } {
  const [issue] = issues;
  if (issue === undefined) return { path: [], message: "it does not have the expected form" };
  const message = issue.message.replace(/^Invalid input: /, "").replace(/\.$/, "");
  if (issue.code === "unrecognized_keys") {
    return { path: [...issue.path, issue.keys[0] ?? ""], message: "there is no such field" };
  }
  if (issue.code !== "invalid_union") return { path: issue.path, message };
  const inner = issue.errors
    .map((alternative) => deepest(alternative))
    .sort((a, b) => b.path.length - a.path.length)[0];
  if (inner === undefined || inner.path.length === 0) return { path: issue.path, message: alternatives(issue.path) };
  return { path: [...issue.path, ...inner.path], message: inner.message };
}

function alternatives(path: readonly PropertyKey[]): string {
  if (path[0] === "model") return "expected a name, or an object with gguf, config or metadata";
  if (path[0] === "hardware") return "expected a name, or an object with devices";
  return "none of the allowed forms";
}

function pathText(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, key) => {
    if (typeof key === "number") return `${text}[${key}]`;
    return text === "" ? String(key) : `${text}.${String(key)}`;
  }, "");
}
