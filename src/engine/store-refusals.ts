/** What is said about a name that leads to no model, or to one that must be left alone. */
import { AppError } from "../core/errors.ts";
import { suggestModels } from "../fit/catalogue.ts";
import { shown, splitName } from "./store-names.ts";
import { familyOf, type StoredModel } from "./store-scan.ts";

const namesShownMax = 20;

/** @param all on this disk */
export function unknownModel(name: string, all: readonly StoredModel[]): AppError {
  const here = all.filter(({ complete }) => complete).map(({ id }) => id);
  const there =
    here.length === 0 ? "Nothing is on this disk yet" : `On this disk: ${here.slice(0, namesShownMax).join(", ")}`;
  const near = suggestModels(name, 3).map((model) => model.id);
  const hint = near.length === 0 ? "" : ` Did you mean ${near.join(", ")}?`;
  return new AppError(
    "model_not_found",
    `There is no model called ${shown(name)}. ${there}.${hint} A path, a URL of a GGUF file, or hf:owner/repo works too.`,
  );
}

/** Of what would have to be fetched before it can be looked into. */
export function notFetched(name: string): AppError {
  const message = `${shown(name)} is not on this disk. Fetch it: snug models pull ${name}. What it would need: snug fits ${name}`;
  return new AppError("model_not_found", message);
}

/** Why a name cannot be removed: somebody else's model, several models, or none. */
export function notRemovable(name: string, all: readonly StoredModel[]): AppError {
  const other = all.find(({ id, source }) => source !== "snug" && id.toLowerCase() === name.toLowerCase());
  if (other !== undefined) {
    const owner = other.source === "ollama" ? "Ollama" : "the Hugging Face cache";
    const how = other.source === "ollama" ? `ollama rm ${other.id}` : "hf cache delete";
    return new AppError("permission_denied", `${other.id} belongs to ${owner}; remove it there: ${how}`);
  }
  const own = all.filter(({ source }) => source === "snug").map(({ id }) => id);
  const [plain] = splitName(name);
  const meant = own.filter((id) => familyOf(id) === plain);
  if (meant.length > 0) {
    const message = `${shown(name)} may be ${meant.join(", ")}; remove one by its whole name.`;
    return new AppError("model_not_found", message);
  }
  const there = own.length === 0 ? "it holds none" : `it holds ${own.slice(0, namesShownMax).join(", ")}`;
  return new AppError("model_not_found", `Snug's folder has no model called ${shown(name)}; ${there}.`);
}
