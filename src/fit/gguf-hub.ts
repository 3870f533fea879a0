/** Finds a GGUF in a Hugging Face repository by `hf:owner/repo[@revision][:file or quantization]`. */
import { AppError } from "../core/errors.ts";
import { hubListBytesMax, hubListPagesMax, modelNameCharsMax } from "../core/limits.ts";
import type { GgufHeader } from "./gguf.ts";
import { type HttpOptions, openHttpGguf, statusError } from "./gguf-http.ts";
import { parsePartName, partName } from "./gguf-split.ts";
import { canonicalQuantization, quantizationOfName } from "./quantization-names.ts";

export const hubUrlDefault = "https://huggingface.co";

export interface HubReference {
  owner: string;
  repo: string;
  revision: string;
  /** A file of the repository, or a quantization label; absent: the usual one. */
  selection?: string;
}

export interface HubFile {
  path: string;
  url: string;
  bytes: number;
  /** Of large files, as the hub states it. */
  sha256?: string;
}

export interface HubModel {
  reference: HubReference;
  quantization?: string;
  /** All parts, in order. */
  files: HubFile[];
  fileBytes: number;
  /** The smallest vision or audio projector in the repository. */
  projector?: HubFile;
}

export interface HubOptions extends HttpOptions {
  /** Default `hubUrlDefault`; a mirror or a test server. */
  hubUrl?: string;
}

const NAME = "[A-Za-z0-9][A-Za-z0-9._-]{0,95}";
const REFERENCE = new RegExp(`^hf:(${NAME})/(${NAME})(?:@([\\w./-]{1,100}))?(?:[:/](.+))?$`);
const PAGE = new RegExp(`^/(${NAME})/(${NAME})/(?:resolve|blob)/([^/]+)/(.+\\.gguf)$`, "i");

/** Reads an `hf:` reference or the address of a file on the hub; undefined for anything else. */
export function parseHubReference(text: string, hubUrl: string = hubUrlDefault): HubReference | undefined {
  if (text.length > modelNameCharsMax) return undefined;
  const [, owner, repo, revision, selection] = REFERENCE.exec(text) ?? [];
  if (owner !== undefined && repo !== undefined) {
    return { owner, repo, revision: revision ?? "main", ...(selection === undefined ? {} : { selection }) };
  }
  if (!URL.canParse(text) || new URL(text).origin !== new URL(hubUrl).origin) return undefined;
  const page = PAGE.exec(decodeURIComponent(new URL(text).pathname));
  if (page === null) return undefined;
  return { owner: page[1]!, repo: page[2]!, revision: page[3]!, selection: page[4]! };
}

/** What a repository offers. */
export interface HubListing {
  /** Whole files and complete sets of parts. */
  models: readonly Omit<HubModel, "reference" | "projector">[];
  projector?: HubFile;
}

/** Lists the repository. Throws AppError as `openHttpGguf`. */
export async function listHubModels(reference: HubReference, options: HubOptions): Promise<HubListing> {
  const files = await listFiles(reference, options);
  const projectors = files.filter(({ path }) => isProjector(path)).sort((a, b) => a.bytes - b.bytes);
  return { models: modelsAmong(files), ...(projectors[0] === undefined ? {} : { projector: projectors[0] }) };
}

/** The model `reference` means among those of a listing. Throws AppError model_not_found with what there is. */
export function selectHubModel({ models, projector }: HubListing, reference: HubReference): HubModel {
  return { ...select(models, reference), reference, ...(projector === undefined ? {} : { projector }) };
}

/** Lists the repository and picks the file. Throws AppError model_not_found with what there is, and as `openHttpGguf`. */
export async function resolveHubModel(reference: HubReference, options: HubOptions): Promise<HubModel> {
  return selectHubModel(await listHubModels(reference, options), reference);
}

/** Header of the model an `hf:` reference or a URL names. */
export async function openRemoteGguf(
  text: string,
  options: HubOptions,
): Promise<{ header: GgufHeader; hub?: HubModel }> {
  const reference = parseHubReference(text, options.hubUrl);
  if (reference === undefined) {
    if (text.startsWith("hf:")) {
      throw new AppError(
        "invalid_request",
        `${JSON.stringify(text.slice(0, 200))} is no model reference; write hf:owner/repo:Q4_K_M.`,
      );
    }
    // A token is for the hub alone.
    const { token: _, ...open } = options;
    return { header: await openHttpGguf(text, open) };
  }
  const hub = await resolveHubModel(reference, options);
  return { header: await openHttpGguf(hub.files[0]!.url, options), hub };
}

async function listFiles(reference: HubReference, options: HubOptions): Promise<HubFile[]> {
  const { owner, repo, revision } = reference;
  const hub = options.hubUrl ?? hubUrlDefault;
  const files: HubFile[] = [];
  let page: string | undefined =
    `${hub}/api/models/${owner}/${repo}/tree/${encodeURIComponent(revision)}?recursive=true`;
  for (let pages = 0; page !== undefined && pages < hubListPagesMax; pages++) {
    const response = await fetchList(page, options);
    for (const entry of await readList(response, page)) {
      const file = fileOf(entry, `${hub}/${owner}/${repo}/resolve/${encodeURIComponent(revision)}/`);
      if (file !== undefined) files.push(file);
    }
    page = nextPage(response.headers.get("link"), page);
  }
  return files;
}

async function fetchList(url: string, { fetch, signal, token }: HubOptions): Promise<Response> {
  const headers: Record<string, string> = { accept: "application/json" };
  if (token !== undefined) headers.authorization = `Bearer ${token}`;
  const name = url.replace(/\?.*$/, "");
  let response: Response;
  try {
    response = await fetch(url, { headers, ...(signal === undefined ? {} : { signal }) });
  } catch (cause) {
    signal?.throwIfAborted();
    throw new AppError("engine_unavailable", `${name} did not answer. Try again later.`, { cause });
  }
  if (!response.ok) {
    await response.body?.cancel();
    throw statusError(response, name);
  }
  return response;
}

async function readList(response: Response, url: string): Promise<unknown[]> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of response.body ?? []) {
    bytes += part.byteLength;
    if (bytes > hubListBytesMax) break;
    parts.push(part);
  }
  const text = new TextDecoder().decode(await new Blob(parts as Uint8Array<ArrayBuffer>[]).arrayBuffer());
  try {
    const list: unknown = JSON.parse(text);
    if (Array.isArray(list)) return list;
  } catch {
    // Falls through to the one refusal below.
  }
  throw new AppError(
    "engine_unavailable",
    `${url.replace(/\?.*$/, "")} did not answer with a list of files. Try again later.`,
  );
}

function fileOf(entry: unknown, base: string): HubFile | undefined {
  if (typeof entry !== "object" || entry === null) return undefined;
  const { type, path, size, lfs } = entry as Record<string, unknown>;
  if (type !== "file" || typeof path !== "string" || !/\.gguf$/i.test(path)) return undefined;
  const large = typeof lfs === "object" && lfs !== null ? (lfs as Record<string, unknown>) : {};
  const bytes = [large.size, size].find(
    (value) => typeof value === "number" && Number.isSafeInteger(value) && value >= 0,
  );
  const file: HubFile = {
    path,
    url: base + path.split("/").map(encodeURIComponent).join("/"),
    bytes: Number(bytes ?? 0),
  };
  if (typeof large.oid === "string" && /^[0-9a-f]{64}$/.test(large.oid)) file.sha256 = large.oid;
  return file;
}

function nextPage(link: string | null, current: string): string | undefined {
  const next = /<([^>]+)>;\s*rel="next"/.exec(link ?? "")?.[1];
  if (next === undefined || !URL.canParse(next, current)) return undefined;
  const url = new URL(next, current);
  return url.origin === new URL(current).origin ? url.href : undefined;
}

type Candidate = Omit<HubModel, "reference" | "projector">;

function isProjector(path: string): boolean {
  return /(?:^|[-._/])mmproj/i.test(path);
}

/** Whole files and complete sets of parts; projectors and importance matrices are no models. */
function modelsAmong(files: readonly HubFile[]): Candidate[] {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const candidates: Candidate[] = [];
  for (const file of files) {
    if (isProjector(file.path) || /imatrix/i.test(file.path)) continue;
    const part = parsePartName(file.path);
    if (part !== undefined && part.index > 0) continue;
    const parts =
      part === undefined
        ? [file]
        : Array.from({ length: part.count }, (_, index) => byPath.get(partName(part.prefix, index, part.count)));
    if (parts.some((one) => one === undefined)) continue;
    const complete = parts as HubFile[];
    const quantization = quantizationOfName(file.path);
    const fileBytes = complete.reduce((sum, one) => sum + one.bytes, 0);
    candidates.push({ files: complete, fileBytes, ...(quantization === undefined ? {} : { quantization }) });
  }
  return candidates;
}

/** Tried in turn when nothing was asked for. */
const USUAL = ["Q4_K_M", "UD-Q4_K_XL", "Q4_0", "MXFP4_MOE", "Q8_0"];

function select(models: readonly Candidate[], reference: HubReference): Candidate {
  const { owner, repo, selection } = reference;
  if (models.length === 0) {
    throw new AppError(
      "model_not_found",
      `There is no GGUF model in ${owner}/${repo}. Look for a repository whose name ends in -GGUF.`,
    );
  }
  const found = selection === undefined ? usual(models) : matching(models, selection);
  if (found.length === 1) return found[0]!;
  const names = (found.length === 0 ? models : found).map((model) => model.quantization ?? model.files[0]!.path);
  const list = [...new Set(names)].slice(0, 30).join(", ");
  const paths = found.slice(0, 10).map((model) => model.files[0]!.path);
  throw new AppError(
    "model_not_found",
    found.length === 0
      ? `${owner}/${repo} has no ${JSON.stringify(selection ?? "usual quantization")}; it has ${list}. Add one of them after a colon.`
      : `${owner}/${repo} has several files for that: ${paths.join(", ")}. Name one of them after a colon.`,
    { details: { available: names } },
  );
}

function usual(models: readonly Candidate[]): readonly Candidate[] {
  if (models.length === 1) return models;
  for (const label of USUAL) {
    const found = models.filter((model) => model.quantization === label);
    if (found.length > 0) return found;
  }
  return [];
}

function matching(models: readonly Candidate[], selection: string): readonly Candidate[] {
  const wanted = selection.toLowerCase();
  const byFile = models.filter(({ files }) =>
    files.some(({ path }) => path.toLowerCase() === wanted || path.toLowerCase().endsWith(`/${wanted}`)),
  );
  if (byFile.length > 0) return byFile;
  const label = canonicalQuantization(selection);
  const byLabel = models.filter((model) => model.quantization === label);
  return byLabel.length > 0 ? byLabel : models.filter((model) => model.quantization === `UD-${label}`);
}
