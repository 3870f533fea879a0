/** The models this machine has or can get: found by any of their names, listed, pulled, removed. */
import { mkdir, readdir, rm, rmdir, stat } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import { AppError } from "../core/errors.ts";
import type { HardwareReading } from "../core/ports.ts";
import { MIB } from "../core/units.ts";
import { specFromCatalogue } from "../fit/catalogue.ts";
import type { GgufHeader } from "../fit/gguf.ts";
import { openHttpGguf } from "../fit/gguf-http.ts";
import { type HubReference, parseHubReference } from "../fit/gguf-hub.ts";
import { specFromGguf } from "../fit/model.ts";
import { canonicalQuantization } from "../fit/quantization-names.ts";
import type { FitPlan, ModelSpec } from "../fit/types.ts";
import { type CheckedModel, checkModelFile, fileError, readModelHeader } from "./check-model.ts";
import type { SmallerFile } from "./ladder.ts";
import type { LoadWish } from "./load-plan.ts";
import { chooseQuantization, type QuantizationOffer } from "./store-choice.ts";
import { bytesMissing, type DownloadFile, downloadFile, requireDiskSpace } from "./store-download.ts";
import { planHere, selectOnHub } from "./store-hub.ts";
import { accessHint, catalogueEntry, noRepository, safeSegments, shown, siblings, splitName } from "./store-names.ts";
import { describeFile, fromPath, isPath, parseFileUrl } from "./store-path.ts";
import { notFetched, notRemovable, unknownModel } from "./store-refusals.ts";
import { familyOf, modelId, type StoredModel, scanHubCache, scanOllama, scanOwnFolder } from "./store-scan.ts";

export interface ModelStoreOptions {
  dataDir: string;
  demoPath: string;
  hubCacheDir: string;
  ollamaDirs: readonly string[];
  hubUrl: string;
  hubToken?: string | undefined;
  fetch?: typeof globalThis.fetch;
  /** Between two tries of a broken download. */
  wait?(ms: number, signal: AbortSignal): Promise<void>;
}

/** A model ready to be loaded. */
export interface ResolvedModel {
  /** What clients call it. */
  id: string;
  path: string;
  demo: boolean;
}

/** Of a download of one or several files. */
export interface DownloadProgress {
  bytesDone: number;
  /** undefined when the server does not say. */
  bytesTotal: number | undefined;
}

export interface GetOptions {
  signal: AbortSignal;
  /** For choosing a quantization where the name leaves it open; read only then. */
  reading(): Promise<HardwareReading>;
  wish?: LoadWish;
  onProgress?(progress: DownloadProgress): void;
}

export interface PulledModel extends ResolvedModel {
  quantization?: string;
  fileBytes: number;
  /** Nothing had to be fetched. */
  already: boolean;
}

/** A model that would have to be fetched, by what its repository or server says of it. */
export interface RemoteModel {
  /** What clients would call it. */
  id: string;
  quantization?: string;
  header: GgufHeader;
  /** All parts. */
  fileBytes: number;
  /** Of these, what is not on this disk yet. */
  bytesMissing: number;
  /** Where it would come to lie. */
  folder: string;
}

/** Files to fetch, and who may. */
interface Source {
  id: string;
  files: readonly DownloadFile[];
  /** undefined when only the server will tell. */
  fileBytes: number | undefined;
  quantization?: string;
  access: { token?: string; accessHint?: string };
}

export interface ModelInfo extends StoredModel {
  facts: CheckedModel;
  layerCount: number;
  /** On this machine as it is now; undefined when it does not fit. */
  plan: FitPlan | undefined;
}

export class ModelStore {
  readonly #options: ModelStoreOptions;
  readonly #fetch: typeof globalThis.fetch;
  #downloadBytesPerSecond: number | undefined;

  constructor(options: ModelStoreOptions) {
    this.#options = options;
    this.#fetch = options.fetch ?? globalThis.fetch;
  }

  /** Our own folder, in which nothing of other programs lies. */
  get folder(): string {
    return join(this.#options.dataDir, "models");
  }

  /** Everything on disk, our own first; of two with one name only the first is found by it. */
  async list(): Promise<StoredModel[]> {
    const { hubCacheDir, ollamaDirs } = this.#options;
    const found = await Promise.all([
      scanOwnFolder(this.folder),
      scanHubCache(hubCacheDir),
      ...ollamaDirs.map((folder) => scanOllama(folder)),
    ]);
    return found.flatMap((models) => models.sort((left, right) => left.id.localeCompare(right.id)));
  }

  /**
   * @param wanted undefined or "demo" for the embedded model; a GGUF path; an http(s) URL; `hf:owner/repo[:quantization]`;
   *   the name of a model on disk; a name of the catalogue, with or without a quantization
   * @returns the model on this disk, downloaded if it was not there
   * @throws AppError model_not_found, model_does_not_fit, and as `downloadFile`
   */
  async get(wanted: string | undefined, options: GetOptions): Promise<PulledModel> {
    const found = await this.#locate(wanted, options);
    return "path" in found ? found : await this.#fetchAll(found, options);
  }

  /**
   * What `get` would bring: the model on this disk, or what its header and its server say of it. Fetches nothing else.
   *
   * @throws AppError as `get`
   */
  async preview(wanted: string | undefined, options: GetOptions): Promise<PulledModel | RemoteModel> {
    const found = await this.#locate(wanted, options);
    if ("path" in found) return found;
    const { id, files, quantization, access } = found;
    const header = await openHttpGguf(files[0]!.url, {
      fetch: this.#fetch,
      signal: options.signal,
      ...(access.token === undefined ? {} : { token: access.token }),
    }).catch((thrown) => {
      throw refusedWithHint(thrown, id, access.accessHint);
    });
    const fileBytes = found.fileBytes ?? header.fileBytes;
    const missing = await Promise.all(files.map(bytesMissing));
    // Of a server that states no sizes only the whole is known.
    const unknown = files.some(({ bytes }) => bytes === undefined);
    const have = unknown ? await bytesHere(files) : 0;
    return {
      id,
      ...(quantization === undefined ? {} : { quantization }),
      header,
      fileBytes,
      bytesMissing: unknown ? Math.max(0, fileBytes - have) : missing.reduce((sum, bytes) => sum + bytes, 0),
      folder: this.folder,
    };
  }

  /** How fast files came so far, by the last download of this process that says anything. */
  get downloadBytesPerSecond(): number | undefined {
    return this.#downloadBytesPerSecond;
  }

  async #locate(wanted: string | undefined, options: GetOptions): Promise<PulledModel | Source> {
    if (wanted === undefined || wanted === "demo") return await this.#local("demo", this.#options.demoPath, true);
    const reference = parseHubReference(wanted, this.#options.hubUrl);
    if (reference !== undefined) return await this.#fromHub(reference, options);
    if (/^hf:/i.test(wanted)) {
      throw new AppError("invalid_request", `${shown(wanted)} is no model reference; write hf:owner/repo:Q4_K_M.`);
    }
    if (/^https?:\/\//i.test(wanted)) return await this.#fromUrl(wanted);
    if (isPath(wanted)) return await fromPath(wanted);
    return await this.#fromName(wanted, options);
  }

  /** As `get`, without the network: undefined for what would have to be fetched or chosen by the planner. */
  async lookUp(wanted: string | undefined): Promise<PulledModel | undefined> {
    if (wanted === undefined || wanted === "demo") return await this.#local("demo", this.#options.demoPath, true);
    const reference = parseHubReference(wanted, this.#options.hubUrl);
    if (reference !== undefined) {
      const here = await this.#hubModelHere(reference);
      return here === undefined ? undefined : stored(here);
    }
    if (/^https?:/i.test(wanted)) {
      const path = join(this.folder, parseFileUrl(wanted).name);
      return await this.#local(modelId(path), path).catch(() => undefined);
    }
    if (isPath(wanted)) return await fromPath(wanted);
    const found = await this.find(wanted);
    return found.length === 1 ? stored(found[0]!) : undefined;
  }

  /** The models on disk a name means: itself, or all quantizations of it. Unfinished downloads are none. */
  async find(name: string): Promise<StoredModel[]> {
    const models = (await this.list()).filter(({ complete }) => complete);
    const same = models.find(({ id }) => id.toLowerCase() === name.toLowerCase());
    if (same !== undefined) return [same];
    const [plain, quantization] = splitName(name);
    return models.filter(
      (model) => familyOf(model.id) === plain && (quantization === undefined || model.quantization === quantization),
    );
  }

  /** Smaller quantizations of the model in `path`, largest first: what a load without room can go down to. */
  async smallerFiles(path: string): Promise<SmallerFile[]> {
    const models = await this.list();
    const own = models.find((model) => model.path === path);
    const fileBytes = own?.fileBytes ?? (await stat(path).catch(() => undefined))?.size ?? 0;
    const family = familyOf(own?.id ?? modelId(path));
    return models
      .filter((model) => model.complete && model.source !== "ollama" && model.path !== path)
      .filter((model) => familyOf(model.id) === family && model.fileBytes < fileBytes)
      .flatMap((model) =>
        model.quantization === undefined
          ? []
          : [{ path: model.path, quantization: model.quantization, fileBytes: model.fileBytes }],
      )
      .sort((left, right) => right.fileBytes - left.fileBytes);
  }

  /** @throws AppError model_not_found, permission_denied for what other programs own */
  async remove(name: string): Promise<{ id: string; bytesFreed: number }> {
    const own = await scanOwnFolder(this.folder);
    const model = own.find(({ id }) => id.toLowerCase() === name.toLowerCase());
    if (model === undefined) throw notRemovable(name, await this.list());
    const folder = dirname(model.path);
    const ofIt = (name: string) => modelId(name.replace(/(?:\.part|\.part\.json|\.lock)$/, "")) === model.id;
    for (const name of (await readdir(folder)).filter(ofIt)) await rm(join(folder, name), { force: true });
    await this.#removeEmptyFolders(folder);
    return { id: model.id, bytesFreed: model.fileBytes };
  }

  /**
   * @param name as for `get`, of a model on this disk
   * @throws AppError model_not_found, model_file_invalid
   */
  async info(name: string, reading: HardwareReading, wish: LoadWish = {}): Promise<ModelInfo> {
    const model = isPath(name) ? await describeFile(name) : await this.#hereAs(name);
    const facts = await checkModelFile(model.path);
    const spec = specFromGguf(await readModelHeader(model.path), { name: model.id });
    return { ...model, facts, layerCount: spec.layerCount, plan: planHere(spec, reading, wish) };
  }

  async #hereAs(name: string): Promise<StoredModel> {
    const [found] = await this.find(name);
    if (found !== undefined) return found;
    const remote = /^(?:hf|https?):/i.test(name);
    if (!remote && name !== "demo") throw unknownModel(name, await this.list());
    const here = await this.lookUp(name);
    if (here !== undefined) return await describeFile(here.path);
    throw notFetched(name);
  }

  async #local(id: string, path: string, demo = false): Promise<PulledModel> {
    const { size } = await stat(path).catch((error: NodeJS.ErrnoException) => {
      throw fileError(path, error);
    });
    return { id, path, demo, fileBytes: size, already: true };
  }

  async #fromName(name: string, options: GetOptions): Promise<PulledModel | Source> {
    const found = await this.find(name);
    if (found.length > 0) return stored(found.length === 1 ? found[0]! : await this.#chooseStored(found, options));
    const [, quantization] = splitName(name);
    const entry = catalogueEntry(name);
    if (entry === undefined) throw unknownModel(name, await this.list());
    // The same model may be here under its publisher's spelling.
    const here = (await this.list()).filter((model) => model.complete && catalogueEntry(model.id) === entry);
    const right = here.filter((model) => quantization === undefined || model.quantization === quantization);
    if (right.length > 0) return stored(right.length === 1 ? right[0]! : await this.#chooseStored(right, options));
    if (entry.ggufRepository === undefined) throw noRepository(entry);
    const [owner = "", repo = ""] = entry.ggufRepository.split("/");
    const reference = {
      owner,
      repo,
      revision: "main",
      ...(quantization === undefined ? {} : { selection: quantization }),
    };
    return await this.#fromHub(reference, options, specFromCatalogue(entry));
  }

  async #chooseStored(models: readonly StoredModel[], options: GetOptions): Promise<StoredModel> {
    const reading = await options.reading();
    const offers: QuantizationOffer<StoredModel>[] = [];
    let parameterCount = 1;
    for (const model of models) {
      const spec = specFromGguf(await readModelHeader(model.path), { name: model.id });
      parameterCount = Math.max(parameterCount, spec.parameterCount);
      offers.push({ item: model, ...offerOf(model), plan: () => planHere(spec, reading, options.wish) });
    }
    const chosen = chooseQuantization(offers, parameterCount);
    // None fits as it is: the smallest is refused with the best reason, and may yet fit when others free memory.
    return chosen?.offer.item ?? [...models].sort((left, right) => left.fileBytes - right.fileBytes)[0]!;
  }

  async #fromHub(reference: HubReference, options: GetOptions, known?: ModelSpec): Promise<PulledModel | Source> {
    const folder = join(this.folder, reference.owner, reference.repo);
    const here = await this.#hubModelHere(reference);
    if (here !== undefined) return stored(here);
    const hub = await selectOnHub(reference, { ...this.#options, fetch: this.#fetch }, options, known);
    const files = hub.files.map(
      (file): DownloadFile => ({
        url: file.url,
        path: join(folder, ...safeSegments(file.path)),
        ...(file.bytes > 0 ? { bytes: file.bytes } : {}),
        ...(file.sha256 === undefined ? {} : { sha256: file.sha256 }),
      }),
    );
    return await this.#sourceOf({
      id: modelId(files[0]!.path),
      files,
      fileBytes: hub.fileBytes,
      ...(hub.quantization === undefined ? {} : { quantization: hub.quantization }),
      access: {
        ...(this.#options.hubToken === undefined ? {} : { token: this.#options.hubToken }),
        accessHint: accessHint(this.#options, reference),
      },
    });
  }

  /** A named quantization that is on disk needs no hub, and so no network. */
  async #hubModelHere({ owner, repo, revision, selection }: HubReference): Promise<StoredModel | undefined> {
    if (selection === undefined || revision !== "main") return undefined;
    const origin = `hf:${owner}/${repo}`.toLowerCase();
    const wanted = selection.toLowerCase();
    const models = (await this.list()).filter((model) => model.complete && model.origin?.toLowerCase() === origin);
    return models.find(
      (model) =>
        model.quantization === canonicalQuantization(selection) ||
        basename(model.path).toLowerCase() === basename(wanted),
    );
  }

  async #fromUrl(address: string): Promise<PulledModel | Source> {
    const { url, name } = parseFileUrl(address);
    const files = siblings(name).map((part) => ({
      url: new URL(encodeURIComponent(part) + url.search, url).href,
      path: join(this.folder, part),
    }));
    return await this.#sourceOf({ id: modelId(name), files, fileBytes: undefined, access: {} });
  }

  /** The model itself where all of its files are here. */
  async #sourceOf(source: Source): Promise<PulledModel | Source> {
    const { id, files, fileBytes, quantization } = source;
    const there = await Promise.all(files.map(({ path }) => stat(path).catch(() => undefined)));
    if (there.some((file) => file === undefined)) return source;
    const here = await this.#local(id, files[0]!.path);
    return {
      ...here,
      ...(fileBytes === undefined ? {} : { fileBytes }),
      ...(quantization === undefined ? {} : { quantization }),
    };
  }

  async #fetchAll(source: Source, options: GetOptions): Promise<PulledModel> {
    const { id, files, fileBytes, quantization, access } = source;
    await this.#download(files, fileBytes, options, access);
    return {
      ...(await this.#local(id, files[0]!.path)),
      ...(fileBytes === undefined ? {} : { fileBytes }),
      ...(quantization === undefined ? {} : { quantization }),
      already: false,
    };
  }

  async #download(
    files: readonly DownloadFile[],
    bytesTotal: number | undefined,
    options: GetOptions,
    access: Source["access"],
  ): Promise<void> {
    const missing = await Promise.all(files.map(bytesMissing));
    await mkdir(this.folder, { recursive: true }).catch((cause) => {
      const message = `The folder ${this.folder} cannot be made; set SNUG_DATA_DIR to one that can be written.`;
      throw new AppError("invalid_configuration", message, { cause });
    });
    await requireDiskSpace(
      this.folder,
      missing.reduce((sum, bytes) => sum + bytes, 0),
    );
    let before = 0;
    for (const file of files) {
      const note = this.#rateKeeper();
      await downloadFile(file, {
        ...access,
        signal: options.signal,
        fetch: this.#fetch,
        wait: this.#options.wait ?? waitFor,
        onProgress: (done, total) => {
          note(done);
          options.onProgress?.({
            bytesDone: before + done,
            bytesTotal: bytesTotal ?? (files.length === 1 ? total : undefined),
          });
        },
      });
      before += (await stat(file.path)).size;
    }
  }

  /** Measures one file from its first news on: what an earlier try left counts nothing. */
  #rateKeeper(): (bytesDone: number) => void {
    let first: { bytes: number; at: number } | undefined;
    return (bytesDone) => {
      const now = performance.now();
      first ??= { bytes: bytesDone, at: now };
      const [bytes, seconds] = [bytesDone - first.bytes, (now - first.at) / 1000];
      if (bytes >= rateBytesMin && seconds > 0) this.#downloadBytesPerSecond = bytes / seconds;
    };
  }

  async #removeEmptyFolders(folder: string): Promise<void> {
    const below = relative(this.folder, folder);
    if (below === "" || below.startsWith("..")) return;
    if ((await readdir(folder)).length > 0) return;
    await rmdir(folder);
    await this.#removeEmptyFolders(dirname(folder));
  }
}

/** Less says more of the first connection than of the line. */
const rateBytesMin = 4 * MIB;

/** Of files without a stated size, what is here of them. */
async function bytesHere(files: readonly DownloadFile[]): Promise<number> {
  const sizes = files.flatMap(({ path }) => [path, `${path}.part`]).map((path) => stat(path).catch(() => undefined));
  return (await Promise.all(sizes)).reduce((sum, file) => sum + (file?.size ?? 0), 0);
}

function refusedWithHint(thrown: unknown, id: string, hint: string | undefined): unknown {
  if (!(thrown instanceof AppError) || thrown.code !== "permission_denied" || hint === undefined) return thrown;
  return new AppError("permission_denied", `${id}: ${hint}`, { cause: thrown });
}

function stored(model: StoredModel): PulledModel {
  const { id, path, fileBytes, quantization } = model;
  return { id, path, demo: false, fileBytes, already: true, ...(quantization === undefined ? {} : { quantization }) };
}

function offerOf({ fileBytes, quantization }: StoredModel) {
  return { fileBytes, ...(quantization === undefined ? {} : { quantization }) };
}

function waitFor(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((done) => {
    if (signal.aborted) return done();
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      done();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end, { once: true });
  });
}
