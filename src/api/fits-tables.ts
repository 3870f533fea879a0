/** The planner's tables of models and cards, filtered. */
import * as z from "zod";
import { CATALOGUE_MODELS, type CatalogueModel } from "../fit/catalogue.ts";
import { bytesField, parameterCountField, squash } from "../fit/door-values.ts";
import { GPUS, type GpuFacts } from "../fit/gpus.ts";
import { parseParameters } from "./parameters.ts";

/** A row as it is told; the shape behind it is the planner's own business. */
export type CatalogueView = Omit<CatalogueModel, "shape">;

const text = z.string().max(200, "must have at most 200 characters").optional();
const limit = z.coerce.number("must be a number").int("must be a whole number").min(1, "must be 1 or more").optional();
const yes = z
  .enum(["true", "false"], "must be true or false")
  .transform((value) => value === "true")
  .optional();

const catalogueFilters = z.strictObject({
  q: text,
  family: text,
  architecture: text,
  use: text,
  parameterCountMin: parameterCountField.optional(),
  parameterCountMax: parameterCountField.optional(),
  releasedSince: z
    .string()
    .regex(/^\d{4}(?:-\d{2})?$/, "must be a month such as 2025-04")
    .optional(),
  limit,
});

/** @throws AppError invalid_request for an unknown or malformed filter */
export function listCatalogue(parameters: Record<string, string>): CatalogueView[] {
  const wanted = parseParameters(catalogueFilters, parameters);
  const {
    parameterCountMin: least = 0,
    parameterCountMax: most = Number.POSITIVE_INFINITY,
    releasedSince = "",
  } = wanted;
  const found = CATALOGUE_MODELS.filter(
    (model) =>
      holds([model.name, ...model.aliases, model.family, model.repository ?? ""], wanted.q) &&
      is(model.family, wanted.family) &&
      is(model.architecture, wanted.architecture) &&
      (wanted.use === undefined || model.uses.some((use) => is(use, wanted.use))) &&
      model.parameterCount >= least &&
      model.parameterCount <= most &&
      model.release >= releasedSince,
  );
  return found.slice(0, wanted.limit).map(({ shape: _shape, ...view }) => view);
}

const gpuFilters = z.strictObject({
  q: text,
  vendor: text,
  generation: text,
  backend: text,
  vramBytesMin: bytesField.optional(),
  laptop: yes,
  unifiedMemory: yes,
  limit,
});

/** @throws AppError invalid_request for an unknown or malformed filter */
export function listGpus(parameters: Record<string, string>): GpuFacts[] {
  const wanted = parseParameters(gpuFilters, parameters);
  const { vramBytesMin: least = 0 } = wanted;
  const found = GPUS.filter(
    (gpu) =>
      holds([gpu.name, gpu.generation], wanted.q) &&
      is(gpu.vendor, wanted.vendor) &&
      is(gpu.generation, wanted.generation) &&
      is(gpu.backend, wanted.backend) &&
      gpu.vramBytes.some((bytes) => bytes >= least) &&
      (wanted.laptop ?? gpu.laptop) === gpu.laptop &&
      (wanted.unifiedMemory ?? gpu.unifiedMemory) === gpu.unifiedMemory,
  );
  return found.slice(0, wanted.limit);
}

function is(value: string, wanted: string | undefined): boolean {
  return wanted === undefined || squash(value) === squash(wanted);
}

/** Any of the names holds the words, whatever their case and punctuation. */
function holds(names: readonly string[], wanted: string | undefined): boolean {
  if (wanted === undefined) return true;
  const key = squash(wanted);
  return names.some((name) => squash(name).includes(key));
}
