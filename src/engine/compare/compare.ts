/** A comparison from beginning to end. What it makes on the way lies in one folder that goes with it. */
import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { AppError } from "../../core/errors.ts";
import type { Clock, HardwareReading } from "../../core/ports.ts";
import type {
  CompareProgress,
  CompareRequest,
  CompareStep,
  ComparisonReport,
  VariantResult,
} from "../../fit/compare-report.ts";
import { checkModelFile } from "../check-model.ts";
import type { LoadWish } from "../load-plan.ts";
import { qualityTextVersion } from "../quality-text.ts";
import type { ChildProgram } from "../supervisor.ts";
import { failedVariant, measureVariant, speedTokens, windowTokensDefault } from "./measure-variant.ts";
import { findVariants, precisionOf, prepareVariant, type VariantStore, type Variants } from "./variants.ts";

export interface CompareTools {
  program: ChildProgram;
  store: VariantStore;
  /** The machine as it is now. */
  read(): Promise<HardwareReading>;
  readVramFree(): Promise<number[] | undefined>;
  wish: LoadWish;
  /** A folder of ours that can be written; made files and the reference's distribution lie below it. */
  folder: string;
  clock: Clock;
  /** True while others use the machine. */
  isBusy?(): Promise<boolean>;
}

export interface CompareOptions {
  signal: AbortSignal;
  onProgress?(progress: CompareProgress): void;
}

const contextsDefault = [256, 2048];
const quantizationsMade = ["Q8_0", "Q4_K_M"];
const maxTokensDefault = 96;
/** What a person would ask first, in both languages of the text. */
export const promptsDefault = ["What is quantization? Answer in two sentences.", "显存是什么？请用一句话回答。"];
/** Of a variant's time, roughly, for the bar. */
const stepShares: Record<CompareStep, number> = { prepare: 0.2, load: 0.1, speed: 0.25, answer: 0.15, quality: 0.3 };
const folderPrefix = "compare-";

/**
 * @throws AppError when there is nothing to compare; what goes wrong with one variant is in its result
 * @throws the signal's reason when it aborts; nothing is left behind then
 */
export async function compareModel(
  request: CompareRequest,
  tools: CompareTools,
  options: CompareOptions,
): Promise<ComparisonReport> {
  const startedAt = tools.clock.now();
  const begun = performance.now();
  const variants = await findVariants(request.model, tools.store);
  const quantizations = chooseQuantizations(request, variants);
  const folder = await openFolder(tools.folder);
  try {
    const run = new Comparison(request, variants, quantizations, folder, tools, options);
    const results = await run.measureAll();
    const { prepareMs, measuredMs, disturbed, reading } = run;
    const durationMs = performance.now() - begun;
    const reference = results.find(({ quality }) => quality !== undefined)?.quantization;
    return {
      version: 1,
      model: await modelFacts(variants, run.paths),
      machine: {
        cpu: reading.cpu.name,
        gpus: reading.gpus.map(({ name }) => name),
        backend: reading.backend,
        ramBytesTotal: reading.ramBytesTotal,
      },
      startedAt,
      durationMs,
      measuredMs,
      overheadMs: durationMs - measuredMs - prepareMs,
      prompts: [...run.prompts],
      contexts: [...run.contexts],
      maxTokens: run.maxTokens,
      ...(request.quality === false
        ? {}
        : { text: { version: qualityTextVersion, windowTokens: windowTokensDefault } }),
      ...(reference === undefined ? {} : { reference }),
      variants: results,
      disturbed,
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Highest precision first, each once. */
function chooseQuantizations({ quantizations, model }: CompareRequest, variants: Variants): string[] {
  const here = variants.files.map(({ quantization }) => quantization);
  const made = variants.source === undefined ? [] : quantizationsMade;
  const wanted = new Set(quantizations ?? (here.length >= 2 ? here : [...here, ...made]));
  const sorted = [...wanted].sort((left, right) => precisionOf(right) - precisionOf(left));
  if (sorted.length >= 2) return sorted;
  if (sorted.length === 1 && quantizations !== undefined) return sorted;
  const only = here.length === 0 ? "no file" : `only ${here.join(", ")}`;
  throw new AppError(
    here.length === 0 ? "model_not_found" : "invalid_request",
    `Of ${JSON.stringify(model.slice(0, 200))} there is ${only} on this disk. Name the quantizations to fetch or make, such as --quantizations q8_0,q4_k_m; those made here need an F16 or BF16 file.`,
    { param: "quantizations" },
  );
}

async function openFolder(parent: string): Promise<string> {
  try {
    await mkdir(parent, { recursive: true });
    await sweep(parent);
    return await mkdtemp(join(parent, `${folderPrefix}${process.pid}-`));
  } catch (cause) {
    const message = `Nothing can be written below ${parent}; set SNUG_DATA_DIR to a folder that can be written.`;
    throw new AppError("invalid_configuration", message, { cause });
  }
}

/** Folders of processes that were killed in the middle. */
async function sweep(parent: string): Promise<void> {
  for (const name of await readdir(parent)) {
    const pid = Number(new RegExp(`^${folderPrefix}(\\d+)-`).exec(name)?.[1]);
    if (pid > 0 && !isAlive(pid)) await rm(join(parent, name), { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (thrown) {
    return thrown instanceof Error && "code" in thrown && thrown.code === "EPERM";
  }
}

async function modelFacts(variants: Variants, paths: readonly string[]): Promise<ComparisonReport["model"]> {
  const path = paths[0] ?? variants.files[0]?.path;
  const facts = path === undefined ? undefined : await checkModelFile(path).catch(() => undefined);
  return {
    name: variants.name,
    architecture: facts?.architecture ?? "unknown",
    parameterCount: facts?.parameterCount ?? 0,
    demo: variants.demo,
  };
}

class Comparison {
  readonly #variants: Variants;
  readonly #quantizations: readonly string[];
  readonly #folder: string;
  readonly #tools: CompareTools;
  readonly #options: CompareOptions;
  readonly #quality: boolean;
  #contexts: readonly number[];
  readonly prompts: readonly string[];
  readonly maxTokens: number;
  readonly paths: string[] = [];
  prepareMs = 0;
  measuredMs = 0;
  disturbed = false;
  #reading: HardwareReading | undefined;
  #referenceWritten = false;

  constructor(
    request: CompareRequest,
    variants: Variants,
    quantizations: readonly string[],
    folder: string,
    tools: CompareTools,
    options: CompareOptions,
  ) {
    this.#variants = variants;
    this.#quantizations = quantizations;
    this.#folder = folder;
    this.#tools = tools;
    this.#options = options;
    this.#quality = request.quality !== false;
    this.#contexts = request.contexts ?? contextsDefault;
    this.prompts = request.prompts ?? promptsDefault;
    this.maxTokens = request.maxTokens ?? maxTokensDefault;
  }

  get contexts(): readonly number[] {
    return this.#contexts;
  }

  get reading(): HardwareReading {
    if (this.#reading === undefined) throw new Error("the machine is read before anything is measured");
    return this.#reading;
  }

  async measureAll(): Promise<VariantResult[]> {
    this.#reading = await this.#tools.read();
    const results: VariantResult[] = [];
    for (const quantization of this.#quantizations) results.push(await this.#one(quantization, results.length));
    return results;
  }

  async #one(quantization: string, index: number): Promise<VariantResult> {
    const { signal } = this.#options;
    signal.throwIfAborted();
    const startedAt = performance.now();
    let file: Awaited<ReturnType<typeof prepareVariant>>;
    try {
      this.#tell(quantization, index, "prepare", 0);
      file = await prepareVariant(this.#variants, quantization, {
        program: this.#tools.program,
        store: this.#tools.store,
        reading: this.#tools.read,
        folder: this.#folder,
        signal,
        onProgress: (share) => this.#tell(quantization, index, "prepare", share),
      });
    } catch (thrown) {
      signal.throwIfAborted();
      return failedVariant(quantization, thrown);
    } finally {
      this.prepareMs += performance.now() - startedAt;
    }
    this.paths.push(file.path);
    await this.#clipContexts(file.path);
    await this.#lookAround();
    const { result, measuredMs } = await measureVariant(
      {
        quantization,
        ...file,
        prepareMs: performance.now() - startedAt,
        prompts: this.prompts,
        contexts: this.#contexts,
        maxTokens: this.maxTokens,
        reference: this.#reference(),
      },
      {
        ...this.#tools,
        reading: this.reading,
        signal,
        onStep: (step, share) => this.#tell(quantization, index, step, share),
      },
    );
    await this.#lookAround();
    this.measuredMs += measuredMs;
    if (result.quality !== undefined) this.#referenceWritten = true;
    return result;
  }

  /** The first that is scored is the one the others are held against. */
  #reference() {
    if (!this.#quality) return undefined;
    return { mode: this.#referenceWritten ? "read" : "write", path: join(this.#folder, "reference") } as const;
  }

  /** Depths the model was not trained for are moved to the deepest it was. */
  async #clipContexts(path: string): Promise<void> {
    const facts = await checkModelFile(path).catch(() => undefined);
    if (facts === undefined) return;
    const deepest = facts.contextLengthTrained - speedTokens - 1;
    this.#contexts = [...new Set(this.#contexts.map((tokens) => Math.max(1, Math.min(tokens, deepest))))];
  }

  async #lookAround(): Promise<void> {
    if (!this.disturbed && (await this.#tools.isBusy?.()) === true) this.disturbed = true;
  }

  #tell(quantization: string, index: number, step: CompareStep, share: number): void {
    const steps = Object.keys(stepShares) as CompareStep[];
    const before = steps.slice(0, steps.indexOf(step)).reduce((sum, one) => sum + stepShares[one], 0);
    const within = before + stepShares[step] * share;
    this.#options.onProgress?.({ quantization, step, share: (index + within) / this.#quantizations.length });
  }
}
