/** What people call models: taken apart, compared with the catalogue, and turned into file names. */
import { sep } from "node:path";
import { AppError } from "../core/errors.ts";
import { type CatalogueModel, findCatalogueModel } from "../fit/catalogue.ts";
import { tokensOf } from "../fit/catalogue-names.ts";
import type { HubReference } from "../fit/gguf-hub.ts";
import { parsePartName, partName } from "../fit/gguf-split.ts";
import { quantizationOfName } from "../fit/quantization-names.ts";
import { familyOf } from "./store-scan.ts";

/** "qwen3-8b" and "Q4_K_M" of "qwen3-8b:q4_k_m" and of "Qwen3-8B-Q4_K_M". */
export function splitName(name: string): [plain: string, quantization: string | undefined] {
  const dashed = name.replace(/:(?=[^:]*$)/, "-");
  const quantization = quantizationOfName(dashed);
  return quantization === undefined ? [name.toLowerCase(), undefined] : [familyOf(dashed), quantization];
}

/** The name of a model, here or in the catalogue, or a repository on the hub: no path, and no address of one's choice. */
export function isPlainName(name: string): boolean {
  return /^(?:hf:[\w.-]+\/)?[\w.+-]+(?::[\w.+-]+)?$/.test(name) && !/\.gguf$/i.test(name);
}

/** The catalogue's model of exactly this name: a guess must not start a download of gigabytes. */
export function catalogueEntry(name: string): CatalogueModel | undefined {
  const [plain] = splitName(name);
  const entry = findCatalogueModel(plain)?.model;
  if (entry === undefined) return undefined;
  const said = tokensOf(plain).squashed;
  return [entry.id, entry.name, ...entry.aliases].some((known) => tokensOf(known).squashed === said)
    ? entry
    : undefined;
}

export function noRepository(entry: CatalogueModel): AppError {
  return new AppError(
    "model_not_found",
    `No repository with GGUF files of ${entry.name} is known here; name one as hf:owner/repo, or give the path of a file.`,
  );
}

/** The names of all parts when the URL names one of them. */
export function siblings(name: string): string[] {
  const part = parsePartName(name);
  if (part === undefined) return [name];
  return Array.from({ length: part.count }, (_, index) => partName(part.prefix, index, part.count));
}

/** A path from the hub, as folders and a file below ours. */
export function safeSegments(path: string): string[] {
  const segments = path.split("/");
  if (segments.every((segment) => /^[\w+ -][\w.+ -]*$/.test(segment) && !segment.includes(sep))) return segments;
  throw new AppError("invalid_request", `The repository's file ${shown(path)} has a name that cannot be used here.`);
}

export interface HubAccess {
  hubUrl: string;
  hubToken?: string | undefined;
}

/** What to do about a model that is not open to everyone. */
export function accessHint({ hubUrl, hubToken }: HubAccess, { owner, repo }: HubReference): string {
  const page = `${hubUrl}/${owner}/${repo}`;
  return hubToken === undefined
    ? `the model is gated. Sign in and accept its terms at ${page}, make a read token at ${hubUrl}/settings/tokens, set HF_TOKEN to it, and try again.`
    : `the token in HF_TOKEN has no access. Accept the terms at ${page} with the account it belongs to, or set another token.`;
}

/** A refusal of the hub with that advice; everything else as it is. */
export function gated(thrown: unknown, options: HubAccess, reference: HubReference): unknown {
  if (!(thrown instanceof AppError) || thrown.code !== "permission_denied") return thrown;
  const message = `${reference.owner}/${reference.repo}: ${accessHint(options, reference)}`;
  return new AppError("permission_denied", message, { cause: thrown });
}

/** Somebody's text in a message. */
export function shown(text: string): string {
  return JSON.stringify(text.slice(0, 200));
}
