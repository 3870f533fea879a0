/** Models on this disk: our own folder, Hugging Face's cache and Ollama's blobs. The latter two are only ever read. */
import type { Dirent } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { basename, join, relative, sep } from "node:path";
import * as z from "zod";
import { modelFilesMax, modelFolderDepthMax, ollamaManifestBytesMax } from "../core/limits.ts";
import { parsePartName, partName } from "../fit/gguf-split.ts";
import { quantizationOfName } from "../fit/quantization-names.ts";

/** "file": named by its path, wherever it lies; no list has it. */
export type ModelSource = "snug" | "huggingface" | "ollama" | "file";

export interface StoredModel {
  /** What clients call it. */
  id: string;
  source: ModelSource;
  /** The file; of a split model its first part. */
  path: string;
  /** Every part. */
  files: string[];
  /** Of all parts that are there. */
  fileBytes: number;
  /** From the file's name; Ollama's blobs have none. */
  quantization?: string;
  /** "hf:owner/repo" or "ollama:name:tag", where the place tells. */
  origin?: string;
  /** False for a download that was not finished, and for split models with a part missing. */
  complete: boolean;
}

/** "Qwen3-8B-Q4_K_M" of ".../Qwen3-8B-Q4_K_M.gguf"; the part number of split files goes too. */
export function modelId(path: string): string {
  return basename(path)
    .replace(/\.gguf$/i, "")
    .replace(/-\d{5}-of-\d{5}$/, "");
}

/** Equal for files that are the same model in different quantizations. */
export function familyOf(id: string): string {
  const label = quantizationOfName(id);
  const plain = id.toLowerCase();
  if (label === undefined) return plain;
  const at = plain.lastIndexOf(label.toLowerCase().replace(/_moe$/, ""));
  return at <= 0 ? plain : plain.slice(0, at).replace(/[-._ ]+$/, "");
}

/** GGUF models below our own folder, unfinished downloads among them. */
export async function scanOwnFolder(folder: string): Promise<StoredModel[]> {
  const files = await listFiles(folder);
  const unfinished = files.filter(({ path }) => path.endsWith(".gguf.part")).map(({ path }) => path.slice(0, -5));
  const models = groupParts(
    files.filter(({ path }) => /\.gguf$/i.test(path)),
    "snug",
  );
  for (const model of models) {
    const origin = originOf(relative(folder, model.path));
    if (origin !== undefined) model.origin = origin;
    if (unfinished.some((path) => modelId(path) === model.id)) model.complete = false;
  }
  const known = new Set(models.map(({ id }) => id));
  for (const path of unfinished) {
    if (known.has(modelId(path))) continue;
    known.add(modelId(path));
    const bytes = files.find((file) => file.path === `${path}.part`)?.bytes ?? 0;
    models.push({ ...describe(path, "snug"), files: [`${path}.part`], fileBytes: bytes, complete: false });
  }
  return models;
}

/** "hf:owner/repo" of "owner/repo/…/file.gguf", the layout of our downloads. */
function originOf(path: string): string | undefined {
  const [owner, repo, ...rest] = path.split(sep);
  return owner !== undefined && repo !== undefined && rest.length > 0 ? `hf:${owner}/${repo}` : undefined;
}

/** The newest snapshot of every repository in Hugging Face's cache. */
export async function scanHubCache(folder: string): Promise<StoredModel[]> {
  const models: StoredModel[] = [];
  for (const repository of await listFolder(folder)) {
    const [, owner, repo] = /^models--(.+?)--(.+)$/.exec(repository.name) ?? [];
    if (owner === undefined || repo === undefined) continue;
    const snapshot = await currentSnapshot(join(folder, repository.name));
    if (snapshot === undefined) continue;
    const found = groupParts(
      (await listFiles(snapshot)).filter(({ path }) => /\.gguf$/i.test(path)),
      "huggingface",
    );
    models.push(...found.map((model) => ({ ...model, origin: `hf:${owner}/${repo}` })));
  }
  return models;
}

async function currentSnapshot(repository: string): Promise<string | undefined> {
  const main = await readFile(join(repository, "refs", "main"), "utf8").catch(() => undefined);
  const names = (await listFolder(join(repository, "snapshots"))).map(({ name }) => name).sort();
  const name = names.find((one) => one === main?.trim()) ?? names.at(-1);
  return name === undefined ? undefined : join(repository, "snapshots", name);
}

const manifestSchema = z.object({
  layers: z.array(z.object({ mediaType: z.string(), digest: z.string().regex(/^sha256:[0-9a-f]{64}$/) })).max(64),
});

/** Models Ollama pulled: each manifest names the blob that holds the weights. */
export async function scanOllama(folder: string): Promise<StoredModel[]> {
  const manifests = join(folder, "manifests");
  const models: StoredModel[] = [];
  for (const { path, bytes } of await listFiles(manifests)) {
    if (bytes > ollamaManifestBytesMax) continue;
    const id = ollamaName(relative(manifests, path));
    const manifest = manifestSchema.safeParse(await readJson(path));
    const layer = manifest.data?.layers.find(({ mediaType }) => mediaType === "application/vnd.ollama.image.model");
    if (id === undefined || layer === undefined) continue;
    const blob = join(folder, "blobs", layer.digest.replace(":", "-"));
    const found = await stat(blob).catch(() => undefined);
    if (!found?.isFile()) continue;
    models.push({
      id,
      source: "ollama",
      path: blob,
      files: [blob],
      fileBytes: found.size,
      origin: `ollama:${id}`,
      complete: true,
    });
  }
  return models;
}

/** "qwen3:8b" of "registry.ollama.ai/library/qwen3/8b", "ann/model:tag" of somebody's own. */
function ollamaName(path: string): string | undefined {
  const [registry, namespace, name, tag, ...rest] = path.split(sep);
  if (name === undefined || tag === undefined || rest.length > 0) return undefined;
  const owner = namespace === "library" ? "" : `${namespace}/`;
  return `${registry === "registry.ollama.ai" ? "" : `${registry}/`}${owner}${name}:${tag}`;
}

interface FoundFile {
  path: string;
  bytes: number;
}

/** One entry per model: parts are gathered, projectors and importance matrices are no models. */
function groupParts(files: readonly FoundFile[], source: ModelSource): StoredModel[] {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const models = new Map<string, StoredModel>();
  for (const { path } of files) {
    if (/(?:^|[-._])mmproj/i.test(basename(path)) || /imatrix/i.test(basename(path))) continue;
    const part = parsePartName(path);
    const first = part === undefined ? path : partName(part.prefix, 0, part.count);
    if (models.has(first)) continue;
    const wanted = part === undefined ? [path] : listParts(part.prefix, part.count);
    const there = wanted.flatMap((name) => byPath.get(name) ?? []);
    models.set(first, {
      ...describe(first, source),
      files: there.map((file) => file.path),
      fileBytes: there.reduce((sum, file) => sum + file.bytes, 0),
      complete: there.length === wanted.length,
    });
  }
  return [...models.values()];
}

function listParts(prefix: string, count: number): string[] {
  return Array.from({ length: Math.min(count, modelFilesMax) }, (_, index) => partName(prefix, index, count));
}

function describe(path: string, source: ModelSource): Pick<StoredModel, "id" | "source" | "path" | "quantization"> {
  const quantization = quantizationOfName(modelId(path));
  return { id: modelId(path), source, path, ...(quantization === undefined ? {} : { quantization }) };
}

async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, "utf8"));
  } catch {
    return undefined;
  }
}

async function listFolder(path: string): Promise<Dirent[]> {
  return await readdir(path, { withFileTypes: true }).catch(() => []);
}

/** Files below a folder, links followed, a missing or unreadable folder being empty. Bounded in depth and number. */
async function listFiles(folder: string): Promise<FoundFile[]> {
  const found: FoundFile[] = [];
  const folders: [path: string, depth: number][] = [[folder, 0]];
  for (let next = folders.shift(); next !== undefined && found.length < modelFilesMax; next = folders.shift()) {
    const [path, depth] = next;
    for (const entry of await listFolder(path)) {
      const child = join(path, entry.name);
      // A link to a folder could lead anywhere; one to a file is how the cache works.
      if (entry.isDirectory() && depth < modelFolderDepthMax) folders.push([child, depth + 1]);
      if (!entry.isFile() && !entry.isSymbolicLink()) continue;
      const target = await stat(child).catch(() => undefined);
      if (target?.isFile()) found.push({ path: child, bytes: target.size });
    }
  }
  return found;
}
