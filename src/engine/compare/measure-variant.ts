/** One precision of a comparison: planned, loaded, timed, asked and scored in a child of its own. */
import type { ChatRequest } from "../../core/chat.ts";
import { AppError, toAppError } from "../../core/errors.ts";
import { referenceBytesMax } from "../../core/limits.ts";
import type { HardwareReading } from "../../core/ports.ts";
import type { CompareStep, VariantOrigin, VariantResult, VariantSpeed } from "../../fit/compare-report.ts";
import type { GgufHeader } from "../../fit/gguf.ts";
import { specFromGguf } from "../../fit/model.ts";
import { estimateSpeed } from "../../fit/speed.ts";
import { readModelHeader } from "../check-model.ts";
import type { LoadedModel } from "../ipc.ts";
import { chosenDevices, hardwareOf, type LoadWish, planLoad, predictedMemory } from "../load-plan.ts";
import { QUALITY_TEXTS } from "../quality-text.ts";
import type { ChildProgram } from "../supervisor.ts";
import type { ScoreTask } from "../task.ts";
import { type Workbench, withWorkbench } from "../workbench.ts";

/** As llama.cpp's perplexity tool has it unless told otherwise. */
export const windowTokensDefault = 512;
/** Scored tokens; more narrow the error by the root of their number. */
const scoredTokensMax = 1024;
/** Written at each depth: long enough to time, short enough to keep the depth. */
export const speedTokens = 64;
/** Room for a prompt's template beside its own tokens. */
const templateTokens = 256;
/** A token is at least a byte; Chinese takes up to three for a character. */
const tokensPerChar = 1.5;

export interface VariantPlan {
  quantization: string;
  path: string;
  origin: VariantOrigin;
  prepareMs: number;
  prompts: readonly string[];
  contexts: readonly number[];
  maxTokens: number;
  /** Undefined leaves quality out. */
  reference: ScoreTask["reference"] | undefined;
}

export interface VariantTools {
  program: ChildProgram;
  reading: HardwareReading;
  /** Free bytes of every GPU by its driver, undefined where none tells. */
  readVramFree(): Promise<number[] | undefined>;
  wish: LoadWish;
  signal: AbortSignal;
  onStep(step: CompareStep, share: number): void;
}

/** Never throws for what a variant does; throws the signal's reason when it aborts. */
export async function measureVariant(
  plan: VariantPlan,
  tools: VariantTools,
): Promise<{ result: VariantResult; measuredMs: number }> {
  const { quantization, path, origin, prepareMs } = plan;
  const result: VariantResult = {
    quantization,
    origin,
    ...(origin === "disk" ? {} : { prepareMs }),
    speeds: [],
    answers: [],
  };
  const clock = { ms: 0 };
  try {
    const header = await readModelHeader(path);
    result.fileBytes = header.fileBytes;
    await new VariantRun(header, plan, tools, result, clock).run();
  } catch (thrown) {
    tools.signal.throwIfAborted();
    result.failure = toAppError(thrown).toFacts();
  }
  return { result, measuredMs: clock.ms };
}

class VariantRun {
  readonly #header: GgufHeader;
  readonly #plan: VariantPlan;
  readonly #tools: VariantTools;
  readonly #result: VariantResult;
  readonly #clock: { ms: number };

  constructor(
    header: GgufHeader,
    plan: VariantPlan,
    tools: VariantTools,
    result: VariantResult,
    clock: { ms: number },
  ) {
    this.#header = header;
    this.#plan = plan;
    this.#tools = tools;
    this.#result = result;
    this.#clock = clock;
  }

  async run(): Promise<void> {
    const { program, reading, wish, signal } = this.#tools;
    const spec = specFromGguf(this.#header, { name: this.#plan.quantization });
    this.#result.bitsPerWeight = (this.#header.fileBytes * 8) / spec.parameterCount;
    const contextLength = this.#contextLength(spec.contextLengthTrained);
    const load = planLoad(spec, reading, { ...wish, contextLength, sequenceCount: 1 });
    const machine = load.settings.gpu === false ? chosenDevices(reading, false) : chosenDevices(reading, wish.gpu);
    const hardware = hardwareOf(machine, 0, wish);
    const memory: NonNullable<VariantResult["memory"]> = { predicted: predictedMemory(load.plan) };
    this.#result.memory = memory;
    const vramBefore = reading.gpus.length === 0 ? undefined : await this.#tools.readVramFree();
    await withWorkbench(
      program,
      1,
      async (bench) => {
        const loaded = await this.#timed("load", () =>
          bench.load({ ...load.settings, modelPath: this.#plan.path }, signal),
        );
        this.#noteLoad(loaded, memory);
        const vramAfter = vramBefore === undefined ? undefined : await this.#tools.readVramFree();
        if (vramBefore !== undefined && vramAfter?.length === vramBefore.length) {
          memory.vramBytesTaken = sum(vramBefore) - sum(vramAfter);
        }
        for (const contextTokens of this.#plan.contexts) {
          if (contextTokens + speedTokens >= loaded.contextLength) continue;
          const measured = await this.#speed(bench, contextTokens);
          const expected = estimateSpeed({
            model: spec,
            plan: load.plan,
            hardware,
            promptTokens: contextTokens,
            depthTokens: contextTokens + speedTokens / 2,
          });
          const { prefillTokensPerSecond, decodeTokensPerSecond } = expected;
          this.#result.speeds.push({ ...measured, predicted: { prefillTokensPerSecond, decodeTokensPerSecond } });
        }
        for (const [index, prompt] of this.#plan.prompts.entries()) await this.#answer(bench, index, prompt);
        // Before the scoring, which holds whole distributions beside the model.
        if (bench.rssBytesMax > 0) memory.rssBytes = bench.rssBytesMax;
        await this.#score(bench, loaded);
      },
      load.settings.gpuEnvironment,
    );
  }

  #contextLength(trained: number): number {
    const { contexts, prompts, maxTokens } = this.#plan;
    const wanted = Math.max(
      windowTokensDefault,
      ...contexts.map((tokens) => tokens + speedTokens + 1),
      ...prompts.map((prompt) => Math.ceil(prompt.length * tokensPerChar) + templateTokens + maxTokens),
    );
    return Math.min(trained, Math.ceil(wanted / 256) * 256);
  }

  #noteLoad(loaded: LoadedModel, memory: NonNullable<VariantResult["memory"]>): void {
    const { loadMs: ms, threads, gpuLayers, contextLength, backend } = loaded;
    this.#result.load = { ms, threads, gpuLayers, contextLength, backend };
    if (loaded.memory === undefined) return;
    const { model, context } = loaded.memory;
    memory.measured = {
      hostBytes: model.hostBytes + context.hostBytes,
      gpuBytes: model.gpuBytes + context.gpuBytes,
    };
  }

  async #speed(bench: Workbench, contextTokens: number): Promise<Omit<VariantSpeed, "predicted">> {
    const { contexts } = this.#plan;
    const { prefillTokens, prefillMs, decodeTokens, decodeMs } = await this.#timed(
      "speed",
      (onProgress) =>
        bench.run(
          { kind: "measure", depthTokens: contextTokens, decodeTokens: speedTokens, sequenceCount: 1 },
          { signal: this.#tools.signal, onProgress },
        ),
      [contexts.indexOf(contextTokens), contexts.length],
    );
    return {
      contextTokens,
      prefillTokensPerSecond: (prefillTokens / prefillMs) * 1000,
      decodeTokensPerSecond: (decodeTokens / decodeMs) * 1000,
    };
  }

  async #answer(bench: Workbench, index: number, prompt: string): Promise<void> {
    const request: ChatRequest = {
      model: this.#plan.quantization,
      messages: [{ role: "user", content: prompt }],
      maxTokens: this.#plan.maxTokens,
      // Differences are to be the precision's, not chance's.
      temperature: 0,
    };
    const answer = await this.#timed(
      "answer",
      (onProgress) => bench.answer(request, { signal: this.#tools.signal, onProgress }),
      [index, this.#plan.prompts.length],
    );
    const { text, finishReason, usage, timings, timeToFirstTokenMs } = answer;
    const decode = timings.completionTokensPerSecond;
    this.#result.answers.push({
      prompt: index,
      text,
      finishReason,
      promptTokens: usage.promptTokens ?? 0,
      completionTokens: usage.completionTokens ?? 0,
      timeToFirstTokenMs,
      ...(decode === undefined ? {} : { decodeTokensPerSecond: decode }),
    });
  }

  async #score(bench: Workbench, loaded: LoadedModel): Promise<void> {
    const { reference } = this.#plan;
    if (reference === undefined) return;
    const { vocabularySize = 1 } = this.#header;
    const task: ScoreTask = {
      kind: "score",
      texts: QUALITY_TEXTS,
      windowTokens: Math.min(windowTokensDefault, loaded.contextLength),
      tokensMax: Math.min(scoredTokensMax, Math.floor(referenceBytesMax / (4 * vocabularySize))),
      reference,
    };
    this.#result.quality = await this.#timed("quality", (onProgress) =>
      bench.run(task, { signal: this.#tools.signal, onProgress }),
    );
  }

  /** @param part of `parts` alike */
  async #timed<T>(
    step: CompareStep,
    work: (onProgress: (done: number, total: number) => void) => Promise<T>,
    [part, parts]: readonly [number, number] = [0, 1],
  ): Promise<T> {
    const onStep = (name: CompareStep, share: number) => this.#tools.onStep(name, (part + share) / parts);
    onStep(step, 0);
    const startedAt = performance.now();
    try {
      return await work((done, total) => onStep(step, total > 0 ? Math.min(1, done / total) : 0));
    } finally {
      this.#clock.ms += performance.now() - startedAt;
      onStep(step, 1);
    }
  }
}

function sum(bytes: readonly number[]): number {
  return bytes.reduce((total, one) => total + one, 0);
}

/** For a variant whose file could not be had. */
export function failedVariant(quantization: string, thrown: unknown): VariantResult {
  const error = thrown instanceof AppError ? thrown : toAppError(thrown);
  return { quantization, failure: error.toFacts(), speeds: [], answers: [] };
}
