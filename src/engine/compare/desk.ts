/** Comparisons as jobs of an engine: one at a time, followed and cancelled by id, the last few reports kept. */
import { randomUUID } from "node:crypto";
import { AppError, toAppError } from "../../core/errors.ts";
import { compareJobsKept } from "../../core/limits.ts";
import type { Clock, EngineHealth, Logger } from "../../core/ports.ts";
import type { CompareEvent, CompareJob, CompareRequest, ComparisonReport } from "../../fit/compare-report.ts";
import type { CompareOptions } from "./compare.ts";

export interface CompareDeskOptions {
  /** Measures; `compareModel` with its tools. */
  compare(request: CompareRequest, options: CompareOptions): Promise<ComparisonReport>;
  /** Of the engine whose machine is measured on. */
  health(): Promise<EngineHealth>;
  clock: Clock;
  logger: Logger;
}

interface Job {
  view: CompareJob;
  abort: AbortController;
  /** Called with every event; the last one is terminal. */
  listeners: Set<(event: CompareEvent) => void>;
  ended: CompareEvent | undefined;
  settled: Promise<void>;
}

export class CompareDesk {
  readonly #options: CompareDeskOptions;
  readonly #jobs = new Map<string, Job>();

  constructor(options: CompareDeskOptions) {
    this.#options = options;
  }

  /** @throws AppError engine_overloaded while another runs, or while the engine answers somebody and `force` is not set */
  async start(request: CompareRequest): Promise<CompareJob> {
    if (request.force !== true) await this.#requireQuiet();
    const running = [...this.#jobs.values()].find(({ ended }) => ended === undefined);
    if (running !== undefined) {
      const message = `A comparison of ${running.view.model} is running; wait for it or cancel it.`;
      throw new AppError("engine_overloaded", message, { retryAfterMs: 30_000, details: { id: running.view.id } });
    }
    const id = `cmp-${randomUUID()}`;
    const view: CompareJob = { id, state: "running", model: request.model, startedAt: this.#options.clock.now() };
    const abort = new AbortController();
    const job: Job = { view, abort, listeners: new Set(), ended: undefined, settled: Promise.resolve() };
    this.#jobs.set(id, job);
    this.#forgetOld();
    job.settled = this.#run(job, request);
    return { ...view };
  }

  /** Newest first. */
  list(): CompareJob[] {
    return [...this.#jobs.values()].map(({ view }) => ({ ...view })).reverse();
  }

  /** @throws AppError not_found */
  get(id: string): CompareJob {
    return { ...this.#find(id).view };
  }

  /** From the last word on; ends with a terminal event. Throws AppError not_found. */
  async *events(id: string, signal: AbortSignal): AsyncGenerator<CompareEvent, void, undefined> {
    const job = this.#find(id);
    // Only the newest progress matters to a reader that is behind.
    let latest: CompareEvent | undefined =
      job.ended ?? (job.view.progress === undefined ? undefined : { type: "progress", ...job.view.progress });
    let wake = () => {};
    const listener = (event: CompareEvent) => {
      latest = event;
      wake();
    };
    const leave = () => wake();
    job.listeners.add(listener);
    signal.addEventListener("abort", leave);
    try {
      while (!signal.aborted) {
        const event = latest;
        latest = undefined;
        if (event !== undefined) yield event;
        if (event !== undefined && event.type !== "progress") return;
        if (latest === undefined) {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
    } finally {
      job.listeners.delete(listener);
      signal.removeEventListener("abort", leave);
    }
  }

  /** Resolves when nothing of it is left. Throws AppError not_found. */
  async cancel(id: string): Promise<CompareJob> {
    const job = this.#find(id);
    job.abort.abort(cancelled());
    await job.settled;
    return { ...job.view };
  }

  /** Ends what runs. */
  async stop(): Promise<void> {
    for (const job of this.#jobs.values()) job.abort.abort(cancelled());
    await Promise.all([...this.#jobs.values()].map(({ settled }) => settled));
  }

  async #requireQuiet(): Promise<void> {
    const { active, queued } = await this.#options.health();
    if (active + queued === 0) return;
    const people = active + queued === 1 ? "One request is" : `${active + queued} requests are`;
    const message = `${people} being answered here, which a comparison would slow down. Try again later, or force it.`;
    throw new AppError("engine_overloaded", message, { retryAfterMs: 60_000, details: { active, queued } });
  }

  async #run(job: Job, request: CompareRequest): Promise<void> {
    const { view, abort } = job;
    try {
      const report = await this.#options.compare(request, {
        signal: abort.signal,
        onProgress: (progress) => {
          view.progress = progress;
          for (const listener of job.listeners) listener({ type: "progress", ...progress });
        },
      });
      view.state = "done";
      view.report = report;
      this.#end(job, { type: "report", report });
    } catch (thrown) {
      if (abort.signal.aborted) {
        view.state = "cancelled";
        this.#end(job, { type: "cancelled" });
        return;
      }
      const error = toAppError(thrown);
      if (error.code === "internal") this.#options.logger.error("A comparison failed.", { cause: thrown });
      view.state = "failed";
      view.error = error.toFacts();
      this.#end(job, { type: "error", error: view.error });
    }
  }

  #end(job: Job, event: CompareEvent): void {
    delete job.view.progress;
    job.ended = event;
    for (const listener of job.listeners) listener(event);
  }

  #find(id: string): Job {
    const job = this.#jobs.get(id);
    if (job === undefined) throw new AppError("not_found", `There is no comparison ${id.slice(0, 64)} here.`);
    return job;
  }

  #forgetOld(): void {
    for (const [id, { ended }] of this.#jobs) {
      if (this.#jobs.size <= compareJobsKept) return;
      if (ended !== undefined) this.#jobs.delete(id);
    }
  }
}

function cancelled(): AppError {
  return new AppError("engine_unavailable", "The comparison was cancelled.");
}
