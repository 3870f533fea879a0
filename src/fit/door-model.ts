/** The model of a request as a spec: by name, by size, from a file's header, a config or metadata. */
import { AppError } from "../core/errors.ts";
import { viewFor } from "./answer-model-notes.ts";
import { textOnly } from "./answer-text-only.ts";
import { type CatalogueModel, findCatalogueModel, specFromCatalogue, suggestModels } from "./catalogue.ts";
import type { FitsPlanRequest } from "./door-schema.ts";
import type { LoadedGguf } from "./gguf-load.ts";
import type { KnownMachine } from "./learned.ts";
import { specFromConfig, specFromGguf, specFromMetadata, specFromParameterCount } from "./model.ts";
import { type FitsQuery, type ModelReference, parseQuery } from "./query.ts";
import { recommendModels } from "./recommend.ts";
import type { Hardware, ModelSpec, Wish } from "./types.ts";

export interface DoorDependencies {
  /** Reads the header behind a path, a URL or an `hf:` reference; throws AppError for what it will not or cannot read. */
  loadGguf(location: string): Promise<LoadedGguf>;
  /** The machine that answers, where it has learned something. */
  machine?(): KnownMachine | undefined;
}

export interface DoorModel {
  model: ModelSpec;
  /** The catalogue's row, when the model is one. */
  row?: CatalogueModel;
  notes: string[];
}

/** What choosing among a family's sizes needs to know. */
export interface ModelCircumstances {
  hardware: Hardware;
  wish: Wish;
  dependencies: DoorDependencies;
}

export async function modelOf(model: FitsPlanRequest["model"], around: ModelCircumstances): Promise<DoorModel> {
  const found = await findModel(model, around);
  const { model: planned, notes } = viewFor(found.model, false, found.row);
  return { ...found, model: planned, notes: [...found.notes, ...notes.map(({ en }) => en)] };
}

/** The same for a model a question names. */
export async function modelOfReference(reference: ModelReference, around: ModelCircumstances): Promise<DoorModel> {
  const found = await referredModel(reference, around);
  return { ...found, model: textOnly(found.model) };
}

async function findModel(model: FitsPlanRequest["model"], around: ModelCircumstances): Promise<DoorModel> {
  if (typeof model === "string") return await namedModel(model, around);
  if ("gguf" in model) return { model: await ggufModel(model.gguf, around.dependencies), notes: [] };
  const { name, parameterCount, fileBytes } = model;
  const options = {
    ...(name === undefined ? {} : { name }),
    ...(parameterCount === undefined ? {} : { parameterCount }),
    ...(fileBytes === undefined ? {} : { fileBytes }),
  };
  const spec = "config" in model ? specFromConfig(model.config, options) : specFromMetadata(model.metadata, options);
  return { model: spec, notes: [] };
}

async function namedModel(name: string, around: ModelCircumstances): Promise<DoorModel> {
  const found = findCatalogueModel(name);
  if (found !== undefined) return fromRow(found.model);
  const reference = referenceIn(name);
  if (reference !== undefined) return await referredModel(reference, around);
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

async function referredModel(reference: ModelReference, around: ModelCircumstances): Promise<DoorModel> {
  switch (reference.kind) {
    case "catalogue":
      return fromRow(rowOf(reference.name));
    case "family":
      return familyMember(reference, around);
    case "gguf":
      return { model: await ggufModel(reference.location, around.dependencies), notes: [] };
    case "size": {
      const { parameterCount, activeParameterCount, name } = reference;
      const model = specFromParameterCount(parameterCount, {
        ...(name === undefined ? {} : { name }),
        ...(activeParameterCount === undefined ? {} : { activeParameterCount }),
      });
      return { model, notes: [] };
    }
  }
}

function fromRow(row: CatalogueModel): DoorModel {
  return { model: specFromCatalogue(row), row, notes: [] };
}

function rowOf(name: string): CatalogueModel {
  const found = findCatalogueModel(name);
  if (found === undefined)
    throw new AppError("model_not_found", `${JSON.stringify(name)} is not in the catalogue.`, { param: "model" });
  return found.model;
}

/** The member that serves best on the machine, else the smallest there is. */
function familyMember(
  { name, candidates }: Extract<ModelReference, { kind: "family" }>,
  { hardware, wish }: ModelCircumstances,
): DoorModel {
  const best = recommendModels(hardware, { candidates, purposes: ["chat"], count: 1, wish })[0]?.model;
  const rows = candidates.map(rowOf).sort((a, b) => a.parameterCount - b.parameterCount);
  const row = rows.find((one) => one.name === best) ?? rows[0]!;
  return { ...fromRow(row), notes: [`${name} comes in several sizes; ${row.name} was taken.`] };
}

async function ggufModel(location: string, { loadGguf }: DoorDependencies): Promise<ModelSpec> {
  const { header, name, quantization, projectorBytes } = await loadGguf(location);
  const spec = specFromGguf(header, name === undefined ? {} : { name });
  if (quantization !== undefined) spec.quantization = quantization;
  if (projectorBytes !== undefined) spec.projectorBytes = projectorBytes;
  return spec;
}

/** The header of the file or repository a question names; undefined where it names none. */
export async function readQueryModel(query: FitsQuery, dependencies: DoorDependencies): Promise<ModelSpec | undefined> {
  return query.model?.kind === "gguf" ? await ggufModel(query.model.location, dependencies) : undefined;
}
